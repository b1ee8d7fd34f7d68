//! Kills in the middle of the work, and the two ledgers compared afterwards: what
//! was acknowledged to the publisher against what arrived at the receivers.
//!
//! The middle is not left to chance: the publisher runs beside the deliveries, never
//! far ahead of them, and the kill comes when between a third and two thirds of the
//! deliveries have arrived, while both go on.
//!
//! How much may be repeated depends on who dies, and follows from what is promised,
//! not from what was seen:
//!
//! | victim | may be repeated | for |
//! |---|---|---|
//! | agent | what it had in flight: the windows of all queues, or its capacity if that is less | nobody else knows how far an attempt was |
//! | control plane | nothing | the agent comes back within its leases and reports |
//! | Redis, `appendfsync always` | nothing | every settle that was acknowledged is on disk |
//! | Redis, `everysec` | what arrived in the last 2 s before | those settles may be lost with the end of the file |
//!
//! Nothing is lost, but under `everysec` what was acknowledged in the last 2 s before.
//!
//! `SIDEHOOK_FAULTS_EVENTS` sets the number of events; `tests/kill_loop.rs` goes on
//! killing.

use std::{
    collections::HashSet,
    env,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sidehook_api::v1;
use sidehook_testkit::{
    client::{Client, event, subscription},
    ledger::Ledger,
    receiver::{Behaviour, Receiver},
    redis_server::RedisServer,
    system::System,
};
use tokio::{sync::Notify, task::JoinSet};

/// Events of one story, if not told otherwise.
const EVENTS: u64 = 5_000;
/// Events of one publishing call.
const BATCH: u64 = 50;
/// How many events the publisher is ahead of the deliveries at most, until the kill.
const LEAD: u64 = 500;
/// Receivers, each with a subscription for every event.
const NAMES: [&str; 2] = ["first", "second"];
/// In-flight window of each subscription.
const WINDOW: u32 = 16;
/// Deliveries that the agent has at most.
const CAPACITY: u32 = 256;
/// How long a receiver takes: somebody is always in the middle of an answer.
const ANSWER: Duration = Duration::from_millis(5);
/// What Redis may lose of its end with `appendfsync everysec`.
const TAIL: Duration = Duration::from_secs(2);
/// How long publishing and delivering may stand still.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long everything may take to drain once the fault is healed.
const DRAIN: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum Victim {
    Agent,
    ControlPlane,
    /// Redis with this `appendfsync`.
    Redis(&'static str),
}

impl Victim {
    async fn kill(self, system: &mut System) {
        match self {
            Self::Agent => system.kill_agent(),
            Self::ControlPlane => system.kill_server(0),
            Self::Redis(_) => redis(system).kill9(),
        }
    }

    async fn heal(self, system: &mut System) {
        match self {
            Self::Agent => system.start_agent(0),
            Self::ControlPlane => system.restart_server(0).await,
            Self::Redis(_) => redis(system).restart().await,
        }
    }

    /// Whether nothing at all may be lost. Redis that syncs every second holds what it
    /// acknowledged back from its file while a sync takes long, for up to two seconds.
    fn keeps_all(self) -> bool {
        !matches!(self, Self::Redis("everysec"))
    }

    /// How many deliveries its death may repeat, `recent` of which arrived in the
    /// last moments before.
    fn repeats(self, recent: u64) -> u64 {
        match self {
            Self::Agent => u64::from(CAPACITY.min(WINDOW * NAMES.len() as u32)),
            Self::Redis("everysec") => recent,
            Self::ControlPlane | Self::Redis(_) => 0,
        }
    }
}

fn redis(system: &mut System) -> &mut RedisServer {
    system.redis.as_mut().expect("the stories are over Redis")
}

/// What both sides know at any time.
#[derive(Default)]
struct Books {
    ledger: Mutex<Ledger>,
    arrivals: Mutex<Vec<Instant>>,
    acknowledgements: Mutex<Vec<(Instant, String)>>,
    /// With each arrival and each acknowledgement.
    news: Notify,
    is_killed: AtomicBool,
}

impl Books {
    /// Deliveries that have arrived.
    fn arrived(&self) -> u64 {
        self.arrivals.lock().len() as u64
    }

    /// Events whose publishing was acknowledged.
    fn acknowledged(&self) -> u64 {
        self.ledger.lock().acknowledged_count() as u64
    }

    async fn wait_until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let held = async {
            loop {
                let news = self.news.notified();
                tokio::pin!(news);
                // Registered before looking: news between the two wakes it.
                news.as_mut().enable();
                if holds(self) {
                    return;
                }
                news.await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, held).await;
        assert!(in_time.is_ok(), "not in time: {what}");
    }
}

/// Publishes until `total` events are acknowledged, repeating what got no answer
/// under the same idempotency keys.
async fn publish(publisher: Client, books: Arc<Books>, total: u64) {
    let mut published = 0;
    while published < total {
        let count = BATCH.min(total - published);
        let batch = (published..published + count).map(|n| v1::Event {
            idempotency_key: format!("order-{n}"),
            ..event("order", n)
        });
        let batch: Vec<_> = batch.collect();
        books.ledger.lock().published(count);
        let results = acknowledged(&publisher, batch).await;
        for result in results {
            let mut ledger = books.ledger.lock();
            ledger.acknowledged(&result.event_id, NAMES);
            let told = (Instant::now(), result.event_id);
            books.acknowledgements.lock().push(told);
        }
        published += count;
        books.news.notify_waiters();
        let is_close = |books: &Books| {
            let delivered = books.arrived() / NAMES.len() as u64;
            books.is_killed.load(Ordering::Relaxed) || published < delivered + LEAD
        };
        books.wait_until("deliveries follow", is_close).await;
    }
}

/// The results of a batch, each without an error.
async fn acknowledged(publisher: &Client, batch: Vec<v1::Event>) -> Vec<v1::PublishResult> {
    let patience = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < patience, "publishing never resumed");
        let Ok(results) = publisher.publish(batch.clone()).await else {
            continue;
        };
        if results.iter().all(|result| result.error.is_none()) {
            return results;
        }
    }
}

/// A receiver that tells the books of each arrival.
async fn receiver(books: &Arc<Books>, publisher: &Client) -> Receiver {
    let told = Arc::clone(books);
    let tell = move |_: &_| {
        told.arrivals.lock().push(Instant::now());
        told.news.notify_waiters();
    };
    let receiver = Receiver::start_with(Behaviour::After(ANSWER), tell).await;
    let wanted = v1::Subscription {
        max_in_flight: WINDOW,
        timeouts: Some(v1::Timeouts {
            total: Some(prost_types::Duration {
                seconds: 5,
                nanos: 0,
            }),
            ..v1::Timeouts::default()
        }),
        ..subscription(&receiver.url(), "order")
    };
    publisher.create(wanted).await;
    receiver
}

/// What happened shortly before the kill.
struct Recent {
    arrived: u64,
    /// The events whose publishing was acknowledged.
    acknowledged: HashSet<String>,
}

/// Waits for the middle, kills, and tells what happened shortly before.
async fn kill_in_the_middle(
    victim: Victim,
    system: &mut System,
    books: &Books,
    total: u64,
) -> Recent {
    let pairs = total * NAMES.len() as u64;
    let middle: Range<u64> = pairs / 3..pairs * 2 / 3;
    let is_middle = |books: &Books| books.arrived() >= middle.start;
    books.wait_until("a third has arrived", is_middle).await;
    let before = Instant::now();
    victim.kill(system).await;
    let (arrived, acknowledged) = (books.arrived(), books.acknowledged());
    books.is_killed.store(true, Ordering::Relaxed);
    books.news.notify_waiters();
    assert!(middle.contains(&arrived), "{arrived} of {pairs} arrived");
    assert!(acknowledged < total, "publishing was over");
    let wanted = acknowledged * NAMES.len() as u64;
    assert!(arrived < wanted, "nothing was left to deliver: {arrived}");
    let is_recent = |at: Instant| at + TAIL > before;
    let arrivals = books.arrivals.lock();
    let acknowledgements = books.acknowledgements.lock();
    let recent = acknowledgements.iter().filter(|(at, _)| is_recent(*at));
    Recent {
        arrived: arrivals.iter().filter(|at| is_recent(**at)).count() as u64,
        acknowledged: recent.map(|(_, event)| event.clone()).collect(),
    }
}

/// Books what arrived until that is everything, or for too long.
async fn drain(books: &Books, receivers: &[Receiver]) -> Duration {
    let healed = Instant::now();
    loop {
        for (name, receiver) in NAMES.into_iter().zip(receivers) {
            books.ledger.lock().received(name, &receiver.take());
        }
        if books.ledger.lock().is_complete() || healed.elapsed() > DRAIN {
            return healed.elapsed();
        }
        // Without news for a second it looks whether its time is over.
        let news = books.news.notified();
        let _ = tokio::time::timeout(Duration::from_secs(1), news).await;
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the table is the result of `make faults`"
)]
async fn killed_in_the_middle(victim: Victim) {
    let events = env::var("SIDEHOOK_FAULTS_EVENTS").ok();
    let total = events.and_then(|text| text.parse().ok()).unwrap_or(EVENTS);
    let mut system = System::builder()
        .servers(2)
        .capacity(CAPACITY)
        .lease("15s")
        .heartbeat("2s");
    if let Victim::Redis(appendfsync) = victim {
        system = system.redis(&["--appendfsync", appendfsync]);
    }
    let mut system = system.start().await;
    // The publisher uses the replica that is not killed.
    let publisher = system.client(1);
    let books = Arc::<Books>::default();
    let mut receivers = Vec::new();
    for _ in NAMES {
        receivers.push(receiver(&books, &publisher).await);
    }
    let mut publishing = JoinSet::new();
    publishing.spawn(publish(publisher, Arc::clone(&books), total));

    let recent = kill_in_the_middle(victim, &mut system, &books, total).await;
    victim.heal(&mut system).await;
    publishing.join_all().await;
    let drained = drain(&books, &receivers).await.as_secs_f64();

    let ledger = books.ledger.lock();
    let bound = victim.repeats(recent.arrived);
    println!("kill -9 of {victim:?}: drained in {drained:.1} s, at most {bound} repeats\n{ledger}");
    if victim.keeps_all() {
        ledger.assert_nothing_lost();
    }
    let older = |(event, _): &(String, String)| !recent.acknowledged.contains(event);
    let lost: Vec<_> = ledger.lost().into_iter().filter(older).collect();
    assert_eq!(lost, [], "acknowledged longer ago than {TAIL:?}");
    assert_eq!(
        ledger.unexpected(),
        [],
        "something arrived that nobody published"
    );
    let repeated = ledger.repeated();
    assert!(repeated <= bound, "{repeated} repeats, {bound} allowed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_killed_in_the_middle_loses_nothing() {
    killed_in_the_middle(Victim::Agent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_control_planes_killed_in_the_middle_loses_and_repeats_nothing() {
    killed_in_the_middle(Victim::ControlPlane).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_in_the_middle_loses_only_the_newest() {
    killed_in_the_middle(Victim::Redis("everysec")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_syncs_always_killed_in_the_middle_loses_and_repeats_nothing() {
    killed_in_the_middle(Victim::Redis("always")).await;
}
