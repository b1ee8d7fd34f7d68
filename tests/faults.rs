//! Kills in the middle of the work, and the two ledgers compared afterwards: what
//! was acknowledged to the publisher against what arrived at the receivers.
//!
//! `SIDEHOOK_FAULTS_EVENTS` sets the number of events; `tests/kill_loop.rs` goes on
//! killing.

use std::{
    env,
    time::{Duration, Instant},
};

use sidehook_api::v1;
use sidehook_testkit::{
    client::{Client, subscription},
    ledger::Ledger,
    receiver::{Behaviour, Receiver},
    redis_server::RedisServer,
    system::System,
};

/// Events of one story, if not told otherwise.
const EVENTS: u64 = 5_000;
/// Events of one publishing call.
const BATCH: u64 = 50;
/// Receivers, each with a subscription for every event.
const NAMES: [&str; 2] = ["first", "second"];
/// In-flight window of each subscription: what may be repeated when an agent dies.
const WINDOW: u32 = 64;
/// How long everything may take to drain once the fault is healed.
const DRAIN: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum Victim {
    Agent,
    ControlPlane,
    Redis,
}

impl Victim {
    async fn kill(self, system: &mut System) {
        match self {
            Self::Agent => system.kill_agent(),
            Self::ControlPlane => system.kill_server(0),
            Self::Redis => redis(system).kill9(),
        }
    }

    async fn heal(self, system: &mut System) {
        match self {
            Self::Agent => system.start_agent(0),
            Self::ControlPlane => system.restart_server(0).await,
            Self::Redis => redis(system).restart().await,
        }
    }
}

fn redis(system: &mut System) -> &mut RedisServer {
    system.redis.as_mut().expect("the stories are over Redis")
}

/// Receivers, their subscriptions, and both ledgers.
struct Story {
    system: System,
    receivers: Vec<Receiver>,
    ledger: Ledger,
    published: u64,
    /// Replica that the publisher uses: not the one that is killed.
    publisher: Client,
}

impl Story {
    async fn begin() -> Self {
        let system = System::builder()
            .servers(2)
            .lease("15s")
            .heartbeat("2s")
            .start()
            .await;
        let publisher = system.client(1);
        let mut receivers = Vec::new();
        for _ in NAMES {
            let receiver = Receiver::start(Behaviour::Ok).await;
            let mut wanted = subscription(&receiver.url(), "order");
            wanted.max_in_flight = WINDOW;
            wanted.timeouts = Some(v1::Timeouts {
                total: Some(prost_types::Duration {
                    seconds: 5,
                    nanos: 0,
                }),
                ..v1::Timeouts::default()
            });
            publisher.create(wanted).await;
            receivers.push(receiver);
        }
        Self {
            system,
            receivers,
            ledger: Ledger::new(),
            published: 0,
            publisher,
        }
    }

    /// Publishes until `total` events are acknowledged, repeating what got no answer
    /// under the same idempotency keys.
    async fn publish_until(&mut self, total: u64) {
        let patience = Instant::now() + Duration::from_secs(120);
        while self.published < total {
            let count = BATCH.min(total - self.published);
            let batch: Vec<_> = (self.published..self.published + count)
                .map(order)
                .collect();
            self.ledger.published(count);
            loop {
                assert!(Instant::now() < patience, "publishing never resumed");
                let Ok(results) = self.publisher.publish(batch.clone()).await else {
                    continue;
                };
                if results.iter().all(|result| result.error.is_none()) {
                    for result in results {
                        self.ledger.acknowledged(&result.event_id, NAMES);
                    }
                    break;
                }
            }
            self.published += count;
        }
    }

    /// Waits until everything arrived, then compares.
    #[expect(
        clippy::print_stdout,
        reason = "the table is the result of `make faults`"
    )]
    async fn end(mut self, what: &str) {
        let healed = Instant::now();
        loop {
            for (name, receiver) in NAMES.into_iter().zip(&self.receivers) {
                self.ledger.received(name, &receiver.take());
            }
            if self.ledger.is_complete() || healed.elapsed() > DRAIN {
                break;
            }
            // Each request wakes this at most once more than needed.
            let arrivals = self.receivers.iter().map(|receiver| {
                Box::pin(receiver.wait_for(receiver.count() + 1, Duration::from_secs(1)))
            });
            for arrival in arrivals {
                arrival.await;
            }
        }
        let books = self.ledger;
        println!(
            "{what}: drained in {:.1} s\n{books}",
            healed.elapsed().as_secs_f64()
        );
        books.assert_nothing_lost();
        assert_eq!(
            books.unexpected(),
            [],
            "something arrived that nobody published"
        );
        let bound = u64::from(WINDOW) * NAMES.len() as u64;
        assert!(
            books.repeated() <= bound,
            "more repeats than the {bound} in flight"
        );
    }
}

fn order(n: u64) -> v1::Event {
    let mut event = sidehook_testkit::client::event("order", n);
    event.idempotency_key = format!("order-{n}");
    event
}

async fn killed_in_the_middle(victim: Victim) {
    let events = env::var("SIDEHOOK_FAULTS_EVENTS").ok();
    let events = events.and_then(|text| text.parse().ok()).unwrap_or(EVENTS);
    let mut story = Story::begin().await;
    story.publish_until(events / 2).await;
    victim.kill(&mut story.system).await;
    if !matches!(victim, Victim::Redis) {
        story.publish_until(events * 3 / 4).await;
    }
    victim.heal(&mut story.system).await;
    story.publish_until(events).await;
    story.end(&format!("kill -9 of {victim:?}")).await;
}

#[tokio::test]
async fn an_agent_killed_in_the_middle_loses_nothing() {
    killed_in_the_middle(Victim::Agent).await;
}

#[tokio::test]
async fn one_of_two_control_planes_killed_in_the_middle_loses_nothing() {
    killed_in_the_middle(Victim::ControlPlane).await;
}

#[tokio::test]
async fn redis_killed_in_the_middle_loses_nothing() {
    killed_in_the_middle(Victim::Redis).await;
}
