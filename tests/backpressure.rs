//! A tenant whose receiver does not keep up: its publishers are refused and told when to
//! come back, nobody else is, and once the receiver answers again everything drains and
//! publishing goes on without anybody's help. A log that is full loses its oldest events
//! and nothing else.

use std::time::{Duration, Instant};

use sidehook_api::v1;
use sidehook_testkit::{
    client::{Client, event},
    ledger::Ledger,
    receiver::{Behaviour, Receiver},
    system::System,
};
use tonic::Code;
use tonic_types::StatusExt as _;

const PATIENCE: Duration = Duration::from_secs(60);
/// Events of one call.
const BATCH: u64 = 40;
/// Bytes of an event's payload.
const PAYLOAD: usize = 4_096;
/// Both budgets, the smallest that there are.
const BUDGET: u64 = 2 << 20;
/// What the server's configuration says of them.
const LIMITS: &str = "[limits]\ntenant_pending_bytes = \"2MiB\"\ntenant_log_bytes = \"2MiB\"\n";
const NAME: &str = "receiver";
const PENDING: &str = "PENDING_BUDGET_EXHAUSTED";
const LOG: &str = "LOG_BUDGET_EXHAUSTED";

fn large(n: u64) -> v1::Event {
    let mut one = event("order", n);
    let filling = "x".repeat(PAYLOAD);
    one.data = format!(r#"{{"n":{n},"filling":"{filling}"}}"#).into();
    one.idempotency_key = format!("order-{n}");
    one
}

/// A publisher and a receiver, and what became of their events.
struct Books {
    client: Client,
    receiver: Receiver,
    ledger: Ledger,
    published: u64,
    refused: u64,
    /// Why publishes may be refused.
    reasons: &'static [&'static str],
}

impl Books {
    async fn open(client: Client, behaviour: Behaviour) -> Self {
        let receiver = Receiver::start(behaviour).await;
        client.subscribe(&receiver.url(), "order").await;
        Self {
            client,
            receiver,
            ledger: Ledger::new(),
            published: 0,
            refused: 0,
            reasons: &[PENDING],
        }
    }

    /// Publishes the next events and books what became of each; whether all were
    /// accepted.
    async fn publish(&mut self) -> bool {
        let batch = self.published..self.published + BATCH;
        self.published += BATCH;
        self.ledger.published(BATCH);
        let results = self.client.publish(batch.map(large).collect()).await;
        let mut all = true;
        for result in results.expect("an answer for each event") {
            let Some(error) = result.error else {
                self.ledger.acknowledged(&result.event_id, [NAME]);
                continue;
            };
            all = false;
            self.refused += 1;
            assert_eq!(error.code, Code::ResourceExhausted as i32, "{error:?}");
            assert!(self.reasons.contains(&&*error.reason), "{error:?}");
            let wait = error.retry_after.expect("when to come back");
            assert!((1..=30).contains(&wait.seconds), "{wait:?}");
        }
        all
    }

    /// Publishes until that is refused.
    async fn flood(&mut self) {
        while self.publish().await {
            let bytes = self.published * PAYLOAD as u64;
            assert!(bytes < 2 * BUDGET, "{bytes} bytes are never too much");
        }
    }

    /// Waits until all that was accepted has arrived.
    async fn drain(&mut self) {
        let begun = Instant::now();
        loop {
            self.ledger.received(NAME, &self.receiver.take());
            if self.ledger.is_complete() {
                return;
            }
            let waited = begun.elapsed();
            assert!(waited < PATIENCE, "it does not drain:\n{}", self.ledger);
            let more = self.receiver.count() + 1;
            self.receiver
                .wait_for(more, Duration::from_millis(100))
                .await;
        }
    }

    /// Publishes until that is accepted again: the last outcomes may be on their way.
    async fn resume(&mut self) {
        let begun = Instant::now();
        while !self.publish().await {
            assert!(begun.elapsed() < PATIENCE, "it is refused for ever");
            let more = self.receiver.count() + 1;
            self.receiver
                .wait_for(more, Duration::from_millis(100))
                .await;
        }
    }

    fn close(&self) {
        self.ledger.assert_nothing_lost();
        let stray = self.ledger.unexpected();
        assert_eq!(stray, [], "refused events were delivered");
        assert_eq!(self.ledger.repeated(), 0);
    }
}

/// A call with one event is refused as a whole, with everything that a program needs.
async fn assert_refused(client: &Client) {
    let request = v1::PublishEventRequest {
        event: Some(large(1_000_000)),
    };
    let refused = client.events().publish_event(request).await;
    let status = refused.expect_err("the budget is used up");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().expect("a reason");
    assert_eq!(info.reason, PENDING);
    let number = |key: &str| info.metadata[key].parse::<u64>().expect("a number");
    assert_eq!(number("budget_bytes"), BUDGET);
    let used = number("used_bytes");
    assert!((BUDGET..BUDGET + (1 << 20)).contains(&used), "{used}");
    let wait = details.retry_info().expect("when to come back").retry_delay;
    assert!(wait >= Some(Duration::from_secs(1)), "{wait:?}");
}

async fn a_flood_is_stopped_and_drains(mut system: System) {
    system.reconfigure(0, |text| text + LIMITS).await;
    let tenant = system.tenant_named("quiet").await;
    let _agent = system.agent_of(&tenant, "quiet-agent", 0);
    let mut quiet = Books::open(system.client_of(&tenant, 0), Behaviour::Ok).await;
    let mut flooding = Books::open(system.client(0), Behaviour::Held).await;
    flooding.flood().await;
    assert!(
        flooding.ledger.acknowledged_count() > 300,
        "some found room"
    );
    assert_refused(&flooding.client).await;

    // What was published before is told all the same.
    let known = v1::PublishEventRequest {
        event: Some(large(0)),
    };
    let known = flooding.client.events().publish_event(known).await;
    let known = known.expect("it is known").into_inner();
    assert!(known.result.expect("a result").duplicate);

    // Everybody else goes on, and what was accepted is under way.
    assert!(quiet.publish().await && quiet.publish().await);
    quiet.drain().await;
    assert!(flooding.receiver.wait_for(1, PATIENCE).await);

    flooding.receiver.release();
    flooding.drain().await;
    flooding.resume().await;
    flooding.drain().await;
    assert!(flooding.refused >= 1 && quiet.refused == 0);
    flooding.close();
    quiet.close();
}

#[tokio::test]
async fn a_flood_over_redis_is_stopped_and_drains() {
    a_flood_is_stopped_and_drains(System::builder().start().await).await;
}

#[tokio::test]
async fn a_flood_over_an_embedded_store_is_stopped_and_drains() {
    a_flood_is_stopped_and_drains(System::builder().embedded().start().await).await;
}

/// Events of the log, and when the oldest was published.
async fn logged(client: &Client) -> (usize, Option<prost_types::Timestamp>) {
    let (mut count, mut page_token) = (0, String::new());
    loop {
        let request = v1::ListEventsRequest {
            page_size: 100,
            page_token,
            ..v1::ListEventsRequest::default()
        };
        let page = client.events().list_events(request).await;
        let page = page.expect("a page").into_inner();
        count += page.events.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return (count, page.retained_since);
        }
    }
}

#[tokio::test]
async fn a_full_log_loses_its_oldest_events_and_nothing_else() {
    let mut system = System::builder().start().await;
    system.reconfigure(0, |text| text + LIMITS).await;
    let mut books = Books::open(system.client(0), Behaviour::Ok).await;
    // Events leave the log once a second: whoever publishes both budgets meanwhile waits.
    books.reasons = &[PENDING, LOG];
    assert!(books.publish().await);
    let (count, first) = logged(&books.client).await;
    assert_eq!(count as u64, BATCH);
    while books.published * (PAYLOAD as u64) < 3 * BUDGET {
        books.resume().await;
    }
    books.drain().await;
    let begun = Instant::now();
    loop {
        let (count, oldest) = logged(&books.client).await;
        let bytes = (count * PAYLOAD) as u64;
        if bytes <= BUDGET {
            assert!(bytes > BUDGET / 2, "only {count} events are left");
            let order =
                |time: Option<prost_types::Timestamp>| time.map(|time| (time.seconds, time.nanos));
            assert!(order(oldest) > order(first), "{oldest:?} after {first:?}");
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{count} events stay");
    }
    books.close();
}
