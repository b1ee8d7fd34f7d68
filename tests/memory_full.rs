//! A Redis that is full: publishers are refused and told when to come back, what was
//! accepted is delivered all the same, and with room everything works again without
//! anybody restarting anything.

use std::time::{Duration, Instant};

use sidehook_api::v1;
use sidehook_testkit::{
    client::{Client, event},
    ledger::Ledger,
    receiver::{Behaviour, Receiver},
    redis_server::RedisServer,
    system::System,
};
use tonic::Code;
use tonic_types::StatusExt as _;

const PATIENCE: Duration = Duration::from_secs(60);
const NAMES: [&str; 2] = ["first", "second"];
/// Events of one call.
const BATCH: u64 = 40;

/// An event of 4 KiB.
fn large(n: u64) -> v1::Event {
    let mut one = event("order", n);
    let filling = "x".repeat(4_096);
    one.data = format!(r#"{{"n":{n},"filling":"{filling}"}}"#).into();
    one.idempotency_key = format!("order-{n}");
    one
}

struct Books {
    ledger: Ledger,
    receivers: Vec<Receiver>,
    published: u64,
    refused: u64,
}

impl Books {
    /// Publishes the next events and books what became of each; whether all were
    /// accepted.
    async fn publish(&mut self, client: &Client) -> bool {
        let batch = (self.published..self.published + BATCH)
            .map(large)
            .collect();
        self.published += BATCH;
        self.ledger.published(BATCH);
        let mut all = true;
        for result in client
            .publish(batch)
            .await
            .expect("an answer for each event")
        {
            let Some(error) = result.error else {
                self.ledger.acknowledged(&result.event_id, NAMES);
                continue;
            };
            all = false;
            self.refused += 1;
            assert_eq!(error.code, Code::ResourceExhausted as i32, "{error:?}");
            assert_eq!(error.reason, "STORE_FULL");
            let wait = error.retry_after.expect("when to come back");
            assert!(wait.seconds > 0, "{wait:?}");
        }
        all
    }

    /// Waits until all that was accepted has arrived.
    async fn drain(&mut self) {
        let begun = Instant::now();
        loop {
            for (name, receiver) in NAMES.into_iter().zip(&self.receivers) {
                self.ledger.received(name, &receiver.take());
            }
            if self.ledger.is_complete() {
                return;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "it does not drain:\n{}",
                self.ledger
            );
            for receiver in &self.receivers {
                receiver
                    .wait_for(receiver.count() + 1, Duration::from_millis(100))
                    .await;
            }
        }
    }
}

/// A call with one event is refused as a whole.
async fn assert_refused(client: &Client) {
    let request = v1::PublishEventRequest {
        event: Some(large(1_000_000)),
    };
    let refused = client.events().publish_event(request).await;
    let status = refused.expect_err("there is no room");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().expect("a reason").reason, "STORE_FULL");
    let wait = details.retry_info().expect("when to come back").retry_delay;
    assert!(wait > Some(Duration::ZERO), "{wait:?}");
}

fn redis(system: &System) -> &RedisServer {
    system.redis.as_ref().expect("it is over Redis")
}

#[tokio::test]
async fn a_full_redis_refuses_publishers_delivers_the_rest_and_recovers() {
    let mut system = System::builder().servers(2).without_agent().start().await;
    let (client, other) = (system.client(0), system.client(1));
    let mut receivers = Vec::new();
    for _ in NAMES {
        let receiver = Receiver::start(Behaviour::FailFirst(3)).await;
        client.subscribe(&receiver.url(), "order").await;
        receivers.push(receiver);
    }
    let mut books = Books {
        ledger: Ledger::new(),
        receivers,
        published: 0,
        refused: 0,
    };
    redis(&system).leave_room(3 << 20).await;
    while books.publish(&client).await {
        assert!(books.published < 10_000, "it is never full");
    }
    assert!(books.ledger.acknowledged_count() > 100, "some found room");

    // Less than nothing is left, and the agent comes only now.
    redis(&system)
        .command(&["CONFIG", "SET", "maxmemory", "1mb"])
        .await;
    assert_refused(&client).await;
    system.start_agent(0);
    books.drain().await;
    assert!(!books.publish(&other).await, "on the other replica too");
    assert_refused(&other).await;

    redis(&system)
        .command(&["CONFIG", "SET", "maxmemory", "0"])
        .await;
    assert!(books.publish(&client).await, "there is room again");
    assert!(books.publish(&other).await, "on the other replica too");
    books.drain().await;
    assert!(books.refused > 40);
    books.ledger.assert_nothing_lost();
    assert_eq!(
        books.ledger.unexpected(),
        [],
        "refused events were delivered"
    );
    assert_eq!(books.ledger.repeated(), 0);
}
