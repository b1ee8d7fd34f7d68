//! The power fails beneath the store, again and again, while events are published and
//! delivered: what was written and not synced is gone. What was acknowledged to the
//! publisher, and when, is compared with what arrived.
//!
//! | store | may lose |
//! |---|---|
//! | embedded, `strict` | nothing |
//! | embedded, `relaxed` | what was acknowledged in the last 2 s before, the newest first |
//! | Redis, `appendfsync always` | nothing |
//! | Redis, `appendfsync everysec` | as `relaxed` |
//!
//! What is lost is lost whole: an event that the store still knows reaches all of its
//! receivers. Where nothing may be lost, nothing may be repeated either, for outcomes
//! are as durable as events. After each cut the store is opened, and checked.
//!
//! Redis' file is mended with its own tool before it starts, as the README tells, and
//! Redis refuses one that is torn: `aof-load-truncated no`. Either its machine alone
//! fails, or that of the control plane too; and in every other round it is rewriting its
//! file.
//!
//! `SIDEHOOK_POWER_ROUNDS` sets how often the power fails; 2 times if it is not set, 100
//! in `make soak`.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sidehook_api::v1;
use sidehook_testkit::{
    client::{Client, event},
    ledger::Ledger,
    power::{Disk, Survives, Taken},
    receiver::{Behaviour, Receiver},
    redis_server::RedisServer,
    system::{Place, System},
};
use tokio::{sync::Notify, task::JoinSet};
use tonic::Code;

const NAMES: [&str; 2] = ["first", "second"];
/// Events of one publishing call.
const BATCH: u64 = 5;
/// So often.
const PACE: Duration = Duration::from_millis(20);
/// What may be lost where something may be.
const TAIL: Duration = Duration::from_secs(2);
/// How long the load goes on before the power fails, in milliseconds.
const STRICT_LOAD: Range<u64> = 100..900;
const RELAXED_LOAD: Range<u64> = 500..3_500;
/// How long publishing may stand still, and everything may take to drain.
const PATIENCE: Duration = Duration::from_secs(120);

/// A store whose power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// At this durability.
    Embedded(&'static str),
    /// With this `appendfsync`.
    Redis(&'static str),
}

impl Kind {
    fn is_strict(self) -> bool {
        matches!(self, Self::Embedded("strict") | Self::Redis("always"))
    }
}

/// What both sides know at any time.
#[derive(Default)]
struct Books {
    ledger: Mutex<Ledger>,
    /// When which event was acknowledged, since the last account.
    acknowledged: Mutex<BTreeMap<String, Instant>>,
    /// What was lost as it may be.
    lost: Mutex<BTreeSet<String>>,
    news: Notify,
    enough: AtomicBool,
}

impl Books {
    /// Events that were acknowledged, not lost, and have not arrived everywhere.
    fn open(&self) -> BTreeSet<String> {
        let lost = self.lost.lock();
        let missing = self.ledger.lock().lost().into_iter();
        let missing = missing.map(|(event, _)| event);
        missing.filter(|event| !lost.contains(event)).collect()
    }
}

/// Publishes at its pace until it is enough. A batch is repeated under the same
/// idempotency keys until it is acknowledged. The number of the next event.
async fn publish(client: Client, books: Arc<Books>, mut next: u64) -> u64 {
    let mut pace = tokio::time::interval(PACE);
    while !books.enough.load(Ordering::Relaxed) {
        pace.tick().await;
        let batch = (next..next + BATCH).map(|number| v1::Event {
            idempotency_key: format!("order-{number}"),
            ..event("order", number)
        });
        let batch: Vec<_> = batch.collect();
        books.ledger.lock().published(BATCH);
        let patience = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < patience, "publishing never resumed");
            match client.publish(batch.clone()).await {
                Ok(results) if results.iter().all(|one| one.error.is_none()) => {
                    let now = Instant::now();
                    for result in results {
                        let mut ledger = books.ledger.lock();
                        ledger.acknowledged(&result.event_id, NAMES);
                        books.acknowledged.lock().insert(result.event_id, now);
                    }
                    break;
                }
                _ => tokio::task::yield_now().await,
            }
        }
        next += BATCH;
    }
    next
}

/// The whole of it.
struct Machine {
    kind: Kind,
    disk: Disk,
    redis: Option<RedisServer>,
    system: System,
    receivers: Vec<Receiver>,
    books: Arc<Books>,
    next: u64,
    random: StdRng,
    report: Report,
}

/// What happened.
#[derive(Default)]
struct Report {
    rounds: u64,
    /// What the cuts took, and how many took anything.
    taken: Taken,
    struck: u64,
    /// How long before the cut the oldest event was acknowledged that was lost.
    oldest: Duration,
    mended: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Taken { bytes, names }, struck) = (self.taken, self.struck);
        write!(
            f,
            "{} cuts, {struck} of which took something: {bytes} bytes, {names} names; \
             the oldest that was lost was {} ms old; {} files mended",
            self.rounds,
            self.oldest.as_millis(),
            self.mended
        )
    }
}

impl Machine {
    async fn start(kind: Kind) -> Self {
        let disk = Disk::new();
        // Longer than any of the outages, also where building goes on beside the tests.
        let builder = System::builder().lease("60s").heartbeat("2s").capacity(64);
        let (redis, builder) = match kind {
            Kind::Embedded(durability) => {
                let section = format!(
                    "embedded = \"{}\"\ndurability = \"{durability}\"",
                    disk.data().display()
                );
                (None, builder.store(&section).on(&disk))
            }
            Kind::Redis(policy) => {
                let settings = ["--appendfsync", policy, "--aof-load-truncated", "no"];
                let redis = RedisServer::start_on(&disk, &settings).await;
                let section = format!("redis = \"{}\"", redis.url());
                (Some(redis), builder.store(&section))
            }
        };
        let mut system = builder.start().await;
        let books = Arc::<Books>::default();
        let mut receivers = Vec::new();
        for _ in NAMES {
            let told = Arc::clone(&books);
            let tell = move |_: &_| told.news.notify_one();
            let receiver = Receiver::start_with(Behaviour::Ok, tell).await;
            system.client(0).subscribe(&receiver.url(), "order").await;
            receivers.push(receiver);
        }
        // What the stories stand on is not to be lost.
        match &redis {
            Some(redis) => {
                redis
                    .command(&["CONFIG", "SET", "appendfsync", "always"])
                    .await;
                redis.command(&["SET", "synced", "1"]).await;
                redis.command(&["DEL", "synced"]).await;
                let Kind::Redis(policy) = kind else {
                    unreachable!()
                };
                redis
                    .command(&["CONFIG", "SET", "appendfsync", policy])
                    .await;
            }
            None => {
                system.terminate_server().await;
                system.restart_server(0).await;
            }
        }
        Self {
            kind,
            disk,
            redis,
            system,
            receivers,
            books,
            next: 0,
            random: StdRng::seed_from_u64(20_261_121),
            report: Report::default(),
        }
    }

    /// Publishes, cuts the power, turns it on again, and goes on until everything has
    /// arrived that must.
    async fn round(&mut self, survives: Survives) {
        let off = self.fail_under_load(survives).await;
        self.account(off).await;
        self.drain().await;
        self.report.rounds += 1;
    }

    /// Publishes, cuts the power in the middle, and turns it on again; when it was off.
    async fn fail_under_load(&mut self, survives: Survives) -> Range<Instant> {
        self.books.enough.store(false, Ordering::Relaxed);
        let mut publisher = JoinSet::new();
        let books = Arc::clone(&self.books);
        publisher.spawn(publish(self.system.client(0), books, self.next));
        let load = if self.kind.is_strict() {
            STRICT_LOAD
        } else {
            RELAXED_LOAD
        };
        let load = self.random.random_range(load);
        self.load(Duration::from_millis(load)).await;
        let off = self.cut(survives).await;
        self.books.enough.store(true, Ordering::Relaxed);
        let published = publisher.join_next().await.expect("one publisher");
        self.next = published.expect("it goes on");
        off
    }

    /// Lets the load go on, and in every other round Redis rewrite its file at its end.
    async fn load(&mut self, load: Duration) {
        tokio::time::sleep(load).await;
        let rewrite = self.report.rounds % 2 == 1;
        if let (Some(redis), true) = (&self.redis, rewrite) {
            redis.command(&["BGREWRITEAOF"]).await;
            let moment = self.random.random_range(0..60);
            tokio::time::sleep(Duration::from_millis(moment)).await;
        }
    }

    /// Cuts the power and turns it on again; when it was off.
    async fn cut(&mut self, survives: Survives) -> Range<Instant> {
        let with_server = self.redis.is_none() || self.random.random();
        let cut = Instant::now();
        if with_server {
            self.system.kill_server(0);
        }
        if let Some(redis) = &mut self.redis {
            redis.kill9();
        }
        let taken = self.disk.cut(survives, &mut self.random);
        // What was answered by then was answered by who is dead now.
        let off = cut..Instant::now();
        self.report.taken.bytes += taken.bytes;
        self.report.taken.names += taken.names;
        self.report.struck += u64::from(taken != Taken::default());
        match &mut self.redis {
            Some(redis) => {
                if redis.mend() {
                    // Who mends a file sees to it that it is on disk.
                    self.disk.sync();
                    self.report.mended += 1;
                }
                redis.restart().await;
                check(&Place::Redis(redis.url()), &["--in-use"]);
            }
            None => check(&Place::folder(&self.disk.data()), &[]),
        }
        if with_server {
            self.system.restart_server(0).await;
        }
        off
    }

    /// Finds out what was lost, and whether it may be.
    async fn account(&mut self, off: Range<Instant>) {
        let mut is_gone = false;
        for (at, id, there) in self.recent(&off).await {
            assert!(!(is_gone && there), "{id} is newer than one that is lost");
            if !there {
                is_gone = true;
                let age = off.start.saturating_duration_since(at);
                assert!(
                    !self.kind.is_strict() && age <= TAIL,
                    "{id} is lost, acknowledged {age:?} before the power failed"
                );
                self.report.oldest = self.report.oldest.max(age);
                self.books.lost.lock().insert(id);
            }
        }
    }

    /// What was acknowledged shortly before the cut, the oldest first, and whether the
    /// store knows it.
    async fn recent(&self, off: &Range<Instant>) -> Vec<(Instant, String, bool)> {
        // What earlier cuts took was accounted for then.
        let acknowledged = std::mem::take(&mut *self.books.acknowledged.lock());
        let recent = acknowledged.into_iter().map(|(id, at)| (at, id));
        let mut recent: Vec<_> = recent
            .filter(|(at, _)| *at < off.end && *at + TAIL * 2 > off.start)
            .collect();
        recent.sort_unstable();
        let client = self.system.client(0);
        let mut known = Vec::new();
        for (at, id) in recent {
            let there = knows(&client, &id).await;
            known.push((at, id, there));
        }
        known
    }

    /// Waits until everything has arrived that was acknowledged and is not lost.
    async fn drain(&self) {
        let began = Instant::now();
        loop {
            for (name, receiver) in NAMES.into_iter().zip(&self.receivers) {
                self.books.ledger.lock().received(name, &receiver.take());
            }
            let open = self.books.open();
            if open.is_empty() {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "never arrived: {open:?}");
            // Without news for a second it looks whether its time is over.
            let news = self.books.news.notified();
            let _ = tokio::time::timeout(Duration::from_secs(1), news).await;
        }
    }
}

/// Whether the store knows the event.
async fn knows(client: &Client, id: &str) -> bool {
    let patience = Instant::now() + PATIENCE;
    loop {
        let request = v1::GetEventRequest { id: id.to_owned() };
        match client.events().get_event(request).await {
            Ok(_) => return true,
            Err(status) if status.code() == Code::NotFound => return false,
            Err(status) => assert!(Instant::now() < patience, "{status}"),
        }
    }
}

/// The store is undamaged and does not contradict itself.
fn check(place: &Place, more: &[&str]) {
    let (is_clean, said, wrong) = place.store("check", more);
    assert!(is_clean, "{said}{wrong}");
}

fn rounds() -> u64 {
    let told = env::var("SIDEHOOK_POWER_ROUNDS").ok();
    told.and_then(|text| text.parse().ok()).unwrap_or(2)
}

#[expect(
    clippy::print_stdout,
    reason = "the table is the result of `make soak`"
)]
async fn power_failures(kind: Kind) {
    let mut machine = Machine::start(kind).await;
    for round in 0..rounds() {
        let survives = [Survives::Nothing, Survives::Prefix, Survives::Sectors];
        // Every other round rewrites: each kind of cut meets both.
        machine.round(survives[round as usize % 3]).await;
    }
    let ledger = machine.books.ledger.lock();
    println!("{kind:?}: {}\n{ledger}", machine.report);
    assert_eq!(machine.report.rounds, rounds());
    if kind.is_strict() {
        ledger.assert_nothing_lost();
        assert_eq!(ledger.unexpected(), [], "never acknowledged");
        assert_eq!(ledger.repeated(), 0, "what was settled is sent again");
    } else {
        assert!(!machine.books.lost.lock().is_empty(), "nothing was relaxed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_embedded_store_loses_nothing() {
    power_failures(Kind::Embedded("strict")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relaxed_embedded_store_loses_only_the_newest() {
    power_failures(Kind::Embedded("relaxed")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_syncs_always_loses_nothing() {
    power_failures(Kind::Redis("always")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_syncs_every_second_loses_only_the_newest() {
    power_failures(Kind::Redis("everysec")).await;
}

/// Without this the tests above would prove nothing about the disk they use.
async fn a_lie_loses(kind: Kind) {
    let mut machine = Machine::start(kind).await;
    machine.disk.lie();
    let off = machine.fail_under_load(Survives::Nothing).await;
    let recent = machine.recent(&off).await;
    let lost = recent.iter().filter(|(_, _, there)| !there).count();
    assert!(lost > 0, "all of {} were there", recent.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_lies_loses_what_a_strict_embedded_store_acknowledged() {
    a_lie_loses(Kind::Embedded("strict")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_lies_loses_what_redis_that_syncs_always_acknowledged() {
    a_lie_loses(Kind::Redis("always")).await;
}
