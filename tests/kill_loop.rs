//! One process after another killed without warning, under load: three control
//! planes on one Redis or on a Redis Cluster whose masters have a replica each, or one
//! on an embedded store, four agents, fifty receivers. What was acknowledged to the
//! publisher is compared with what arrived.
//!
//! The loop goes on for `SIDEHOOK_FAULTS_SECONDS`: ten in `make test`, a minute in
//! `make faults`, half an hour in `make soak`.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sidehook_testkit::{
    client::{Client, event, subscription},
    ledger::Ledger,
    process::Process,
    receiver::{Behaviour, Receiver},
    redis_cluster::{MASTERS, RedisCluster},
    system::{Builder, System},
};
use tokio::{sync::Notify, task::JoinSet, time::MissedTickBehavior};

/// Control planes on one Redis.
const SERVERS: usize = 3;
const AGENTS: usize = 4;
const RECEIVERS: usize = 50;
/// Object types; each is of interest to `RECEIVERS / KINDS` receivers.
const KINDS: usize = 25;
/// Deliveries that an agent has at most: what its death may repeat.
const CAPACITY: u32 = 64;
/// The first receiver answers at once, the last after so long, those between them
/// by their number: somebody is always in the middle of an answer.
const SLOWEST: Duration = Duration::from_millis(250);
/// One event of each kind is published so often.
const PACE: Duration = Duration::from_millis(100);
/// Milliseconds between two kills.
const GAP: std::ops::Range<u64> = 1_000..3_000;
/// How long a publisher repeats what got no answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long everything may take to drain once the last victim is back.
const DRAIN: Duration = Duration::from_secs(60);
const SEED: u64 = 20_261_121;

/// The publisher's side: what it does and what it was told.
struct Publisher {
    clients: Vec<Client>,
    ledger: Arc<Mutex<Ledger>>,
    enough: Arc<AtomicBool>,
}

impl Publisher {
    /// Publishes at its pace until it has been enough. A batch is repeated, at the
    /// next replica and under the same idempotency keys, until it is acknowledged.
    async fn run(self) {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = 0;
        while !self.enough.load(Ordering::Relaxed) {
            pace.tick().await;
            self.publish(round).await;
            round += 1;
        }
    }

    async fn publish(&self, round: u64) {
        let batch: Vec<_> = (0..KINDS)
            .map(|kind| {
                let number = round * KINDS as u64 + kind as u64;
                let mut event = event(&object_type(kind), number);
                event.idempotency_key = format!("order-{number}");
                event
            })
            .collect();
        self.ledger.lock().published(KINDS as u64);
        let patience = Instant::now() + PATIENCE;
        for client in self.clients.iter().cycle() {
            assert!(Instant::now() < patience, "publishing never resumed");
            let Ok(results) = client.publish(batch.clone()).await else {
                continue;
            };
            if results.iter().any(|result| result.error.is_some()) {
                continue;
            }
            let mut ledger = self.ledger.lock();
            for (kind, result) in results.iter().enumerate() {
                let names: Vec<_> = interested(kind).map(name).collect();
                ledger.acknowledged(&result.event_id, names.iter().map(String::as_str));
            }
            return;
        }
    }
}

fn object_type(kind: usize) -> String {
    format!("kind_{kind}")
}

/// The receivers that want this kind.
fn interested(kind: usize) -> impl Iterator<Item = usize> {
    (kind..RECEIVERS).step_by(KINDS)
}

fn name(receiver: usize) -> String {
    format!("receiver-{receiver}")
}

/// The whole of it.
struct Loop {
    system: System,
    servers: usize,
    agents: Vec<Process>,
    receivers: Vec<Receiver>,
    news: Arc<Notify>,
    ledger: Arc<Mutex<Ledger>>,
    kills: [u64; 3],
    /// The store, if it is a Cluster of the test's own.
    cluster: Option<RedisCluster>,
}

impl Loop {
    async fn start(builder: Builder, servers: usize) -> Self {
        let system = builder
            .servers(servers)
            .capacity(CAPACITY)
            .lease("15s")
            .heartbeat("2s")
            .without_agent()
            .start()
            .await;
        let news = Arc::new(Notify::new());
        let mut receivers = Vec::new();
        for number in 0..RECEIVERS {
            let news = Arc::clone(&news);
            let pause = Behaviour::After(SLOWEST * number as u32 / RECEIVERS as u32);
            let receiver = Receiver::start_with(pause, move |_| news.notify_one()).await;
            let wanted = subscription(&receiver.url(), &object_type(number % KINDS));
            system.client(number % servers).create(wanted).await;
            receivers.push(receiver);
        }
        let agents = (0..AGENTS).map(|number| agent(&system, number % servers, number));
        let agents = agents.collect();
        Self {
            system,
            servers,
            agents,
            receivers,
            news,
            ledger: Arc::default(),
            kills: [0; 3],
            cluster: None,
        }
    }

    fn publisher(&self, enough: &Arc<AtomicBool>) -> Publisher {
        Publisher {
            clients: (0..self.servers).map(|n| self.system.client(n)).collect(),
            ledger: Arc::clone(&self.ledger),
            enough: Arc::clone(enough),
        }
    }

    /// Kills one process and starts it again at once, as a supervisor would.
    async fn kill_one(&mut self, random: &mut StdRng) {
        let is_redis = self.system.redis.is_some() || self.cluster.is_some();
        let kinds = if is_redis { 3 } else { 2 };
        let victim = random.random_range(0..kinds);
        self.kills[victim] += 1;
        match victim {
            0 => {
                let number = random.random_range(0..AGENTS);
                self.agents[number].kill9();
                self.agents[number] = agent(&self.system, number % self.servers, number);
            }
            1 => {
                let number = random.random_range(0..self.servers);
                self.system.restart_server(number).await;
            }
            _ => match (&mut self.cluster, &mut self.system.redis) {
                (Some(cluster), _) => kill_node(cluster, random).await,
                (None, redis) => redis.as_mut().expect("one of three kinds").restart().await,
            },
        }
    }

    /// Books what has arrived since the last time.
    fn book(&self) {
        for (number, receiver) in self.receivers.iter().enumerate() {
            let requests = receiver.take();
            self.ledger.lock().received(&name(number), &requests);
        }
    }

    /// Waits until everything that was acknowledged has arrived, or for too long.
    async fn drain(&self) -> Duration {
        let healed = Instant::now();
        loop {
            self.book();
            if self.ledger.lock().is_complete() || healed.elapsed() > DRAIN {
                return healed.elapsed();
            }
            // Without news for a second it looks whether its time is over.
            let _ = tokio::time::timeout(Duration::from_secs(1), self.news.notified()).await;
        }
    }
}

/// Kills a node and starts it again: at once, or when another has its slots. Goes on
/// only when all nodes are well, for nobody promises anything to those who lose a
/// master and its replica at one time.
async fn kill_node(cluster: &mut RedisCluster, random: &mut StdRng) {
    let victim = random.random_range(0..MASTERS * 2);
    let slot = cluster.slot_of(victim).await;
    cluster.node_mut(victim).kill9();
    if let Some(slot) = slot
        && random.random()
    {
        cluster.wait_promoted(slot, victim).await;
    }
    cluster.node_mut(victim).restart().await;
    cluster.wait_healed().await;
}

fn agent(system: &System, server: usize, number: usize) -> Process {
    system.another_agent(&format!("agent-{number}"), server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_over_redis_loses_nothing() {
    // At the level at which nothing may be lost, however long a sync takes.
    let system = System::builder().redis(&["--appendfsync", "always"]);
    kill_one_after_another(system, SERVERS, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes the cores of a smaller test: part of `make soak`"]
async fn killing_over_a_redis_cluster_loses_nothing() {
    let cluster = RedisCluster::start_with_replicas(&["--appendfsync", "always"]).await;
    let store = format!("redis = \"{}\"\nreplicas = 1", cluster.url());
    let system = System::builder().store(&store);
    kill_one_after_another(system, SERVERS, Some(cluster)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_over_an_embedded_store_loses_nothing() {
    kill_one_after_another(System::builder().embedded(), 1, None).await;
}

#[expect(
    clippy::print_stdout,
    reason = "the table is the result of `make faults`"
)]
async fn kill_one_after_another(builder: Builder, servers: usize, cluster: Option<RedisCluster>) {
    let seconds = env::var("SIDEHOOK_FAULTS_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let mut all = Loop::start(builder, servers).await;
    all.cluster = cluster;
    let enough = Arc::new(AtomicBool::new(false));
    let mut publisher = JoinSet::new();
    publisher.spawn(all.publisher(&enough).run());
    let mut random = StdRng::seed_from_u64(SEED);
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(10));
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(random.random_range(GAP))).await;
        all.kill_one(&mut random).await;
        all.book();
    }
    enough.store(true, Ordering::Relaxed);
    publisher.join_all().await;
    let drained = all.drain().await.as_secs_f64();
    let [agents, servers, redis] = all.kills;
    let books = all.ledger.lock();
    println!(
        "killed: agents {agents}, control planes {servers}, Redis {redis}; \
         drained in {drained:.1} s\n{books}"
    );
    books.assert_nothing_lost();
    assert_eq!(books.unexpected(), [], "never acknowledged");
    let bound = agents * u64::from(CAPACITY);
    assert!(
        books.repeated() <= bound,
        "more repeats than the {bound} in flight at agents' deaths"
    );
}
