//! A Redis master killed under load, and its replica in its place: what was
//! acknowledged to the publisher against what arrived at the receivers.
//!
//! With `store.replicas = 1` an acknowledgement means that the replica has it too:
//! nothing is lost, and while no replica is there nothing is acknowledged. Without it
//! an acknowledgement means one machine, and what that had not passed on is lost: how
//! much is printed, and shown to be that and nothing else.
//!
//! The replica is behind for certain, not by chance: between the two is a line, and it
//! is held up before the master dies. In a Cluster one master of three dies, and who
//! is not on it does not notice.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use sidehook_testkit::{
    fault_proxy::FaultProxy,
    ledger::Ledger,
    load::Load,
    process::{Process, loopback},
    receiver::Behaviour,
    redis_cluster::{MASTERS, RedisCluster},
    redis_sentinels::RedisSentinels,
    redis_server::RedisServer,
    system::System,
};

const ALWAYS: [&str; 2] = ["--appendfsync", "always"];
/// How long a receiver takes: somebody is always in the middle of an answer.
const ANSWER: Behaviour = Behaviour::After(Duration::from_millis(5));
/// Events meanwhile, of those whom it does not concern.
const FEW: u64 = 100;
/// Events of the one call that may be on its way back to the publisher.
const IN_FLIGHT: u64 = 10;
/// Events before and after: enough to be in the middle of it.
const SOME: u64 = 300;
/// Longer than there is no master, or no replica: what is in flight meanwhile is
/// reported afterwards, and nothing need be repeated.
const LEASE: &str = "60s";
/// How long everything may take to drain once there is a master.
const DRAIN: Duration = Duration::from_secs(60);

/// A master, its replica behind a line, three Sentinels, and a system over them.
struct Watched {
    // Dropped in this order: who depends goes before what it depends on.
    load: Load,
    _system: System,
    sentinels: RedisSentinels,
    line: FaultProxy,
    replica: RedisServer,
    master: RedisServer,
}

impl Watched {
    async fn start(replicas: u32, behaviour: Behaviour) -> Self {
        let master = RedisServer::start_with(&ALWAYS).await;
        let replica = master.replica(&ALWAYS).await;
        let sentinels = RedisSentinels::start(&master, 1).await;
        let line = FaultProxy::start(loopback(master.port())).await;
        let system = system(&sentinels.url(), replicas).await;
        let load = Load::start(system.client(1), behaviour).await;
        load.until_acknowledged(SOME).await;
        Self {
            load,
            _system: system,
            sentinels,
            line,
            replica,
            master,
        }
    }

    /// From now on the replica hears of nothing; what was acknowledged before the
    /// time that is answered it has.
    async fn hold_up(&self) -> Instant {
        self.replica.follow(self.line.address().port()).await;
        let safe = Instant::now();
        self.master.wait_replicated(&self.replica).await;
        self.line.stall();
        safe
    }

    /// Kills the master and waits for the promotion of its replica; how long it took.
    async fn fail_over(&mut self) -> Duration {
        let killed = Instant::now();
        self.master.kill9();
        // What is on the line is gone with it.
        self.line.cut();
        let promoted = self.sentinels.wait_promoted(self.master.port()).await;
        assert_eq!(promoted, self.replica.port());
        killed.elapsed()
    }
}

/// Two control planes that wait for so many replicas, and an agent.
async fn system(url: &str, replicas: u32) -> System {
    let store = format!("redis = \"{url}\"\nreplicas = {replicas}\nresponse_timeout = \"1s\"");
    let system = System::builder()
        .servers(2)
        .lease(LEASE)
        .heartbeat("2s")
        .store(&store);
    system.start().await
}

/// Ends the load and books what arrived; `these` may be lost.
#[expect(clippy::print_stdout, reason = "the figures are a result")]
async fn drain(
    what: &str,
    promoted: Duration,
    load: &mut Load,
    these: &BTreeSet<String>,
) -> Ledger {
    let stall = load.stop().await;
    let (drained, ledger) = load.drain_but(these, DRAIN).await;
    let [promoted, stall, drained] = [promoted, stall, drained].map(|time| time.as_secs_f64());
    println!(
        "{what}: promoted after {promoted:.1} s, no acknowledgement for {stall:.1} s, \
         drained in {drained:.1} s\n{ledger}"
    );
    ledger
}

/// Ends a load of which nothing may be missing, and nothing come twice.
async fn drain_whole(what: &str, promoted: Duration, load: &mut Load) {
    let ledger = drain(what, promoted, load, &BTreeSet::new()).await;
    ledger.assert_nothing_lost();
    assert_eq!(ledger.unexpected(), [], "nobody published it");
    assert_eq!(ledger.repeated(), 0, "no lease ran out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_that_was_waited_for_has_everything() {
    let mut story = Watched::start(1, ANSWER).await;
    story.hold_up().await;
    // What comes now would be on one machine only: it is refused.
    let before = story.load.acknowledged();
    story.load.until_refused(1).await;
    let since = story.load.acknowledged() - before;
    assert!(since <= IN_FLIGHT, "no replica has them: {since}");
    let before = story.load.acknowledged();

    let promoted = story.fail_over().await;
    // The new master has no replica: still nobody could keep a promise.
    story.load.until_refused(1).await;
    assert_eq!(story.load.acknowledged(), before, "there is no replica");
    let _second = story.replica.replica(&ALWAYS).await;
    story.load.until_acknowledged(SOME).await;

    drain_whole("Sentinel, its only replica", promoted, &mut story.load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_second_replica_everything_goes_on_by_itself() {
    let mut master = RedisServer::start_with(&ALWAYS).await;
    let replicas = [master.replica(&ALWAYS).await, master.replica(&ALWAYS).await];
    let sentinels = RedisSentinels::start(&master, replicas.len()).await;
    let system = system(&sentinels.url(), 1).await;
    let mut load = Load::start(system.client(1), ANSWER).await;
    load.until_acknowledged(SOME).await;
    let killed = Instant::now();
    master.kill9();
    let port = sentinels.wait_promoted(master.port()).await;
    let promoted = killed.elapsed();
    assert!(replicas.iter().any(|replica| replica.port() == port));
    load.until_acknowledged(SOME).await;
    drain_whole("Sentinel, one of two replicas", promoted, &mut load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_waiting_only_what_the_dead_master_kept_for_itself_is_lost() {
    // Nothing is delivered before the end: what a receiver has cannot be lost.
    let mut story = Watched::start(0, Behaviour::Held).await;
    let safe = story.hold_up().await;
    story.load.until_acknowledged(SOME).await;
    let promoted = story.fail_over().await;
    let alone = story.load.acknowledged_within(safe..Instant::now());
    story.load.until_acknowledged(SOME).await;

    story.load.receiver.release();
    let what = "Sentinel, replicas = 0";
    let ledger = drain(what, promoted, &mut story.load, &alone).await;
    let lost = ledger.lost();
    assert!(!lost.is_empty(), "the dead master kept nothing for itself");
    for (event, _) in &lost {
        assert!(alone.contains(event), "{event} was on both, or is younger");
    }
}

/// A tenant whose partition is on one node of the Cluster.
struct Settled {
    node: usize,
    load: Load,
    _agent: Process,
}

/// The keys of tenants' catalogs, and the node of each.
async fn catalogs(cluster: &RedisCluster) -> BTreeMap<Vec<u8>, usize> {
    let mut found = BTreeMap::new();
    for node in 0..MASTERS {
        let keys = cluster
            .node(node)
            .try_bytes(&["KEYS", "{sh??}:cat:*"])
            .await;
        found.extend(keys.expect("it answers").into_iter().map(|key| (key, node)));
    }
    found
}

/// Makes tenants until there is one on each node.
async fn settle(system: &System, cluster: &RedisCluster) -> Vec<Settled> {
    let mut settled: Vec<Settled> = Vec::new();
    while settled.len() < MASTERS {
        let before = catalogs(cluster).await;
        let name = format!("tenant-{}", before.len());
        let tenant = system.tenant_named(&name).await;
        let client = system.client_of(&tenant, 1);
        client.subscribe("http://127.0.0.1:9/", "nothing").await;
        let mut after = catalogs(cluster).await;
        after.retain(|key, _| !before.contains_key(key));
        let (_, node) = after.pop_first().expect("a tenant has a catalog");
        if settled.iter().all(|one| one.node != node) {
            settled.push(Settled {
                node,
                load: Load::start(client, ANSWER).await,
                _agent: system.agent_of(&tenant, &name, 0),
            });
        }
    }
    settled
}

/// What happens to a master.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// It is killed, and started again once it has a successor.
    Kill,
    /// It is silent with all its connections open, and goes on when it has a successor,
    /// taking itself for the master.
    Silence,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_of_a_cluster_dies_and_only_its_own_wait() {
    a_master_of_a_cluster_fails(Fault::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_of_a_cluster_is_silent_for_a_while_and_only_its_own_wait() {
    a_master_of_a_cluster_fails(Fault::Silence).await;
}

async fn a_master_of_a_cluster_fails(fault: Fault) {
    let mut cluster = RedisCluster::start_with_replicas(&ALWAYS).await;
    let system = system(&cluster.url(), 1).await;
    let registry = cluster.owner(cluster.slot("{shsys}").await).await;
    let mut settled = settle(&system, &cluster).await;
    for one in &settled {
        one.load.until_acknowledged(SOME).await;
    }
    let is_victim = |one: &Settled| one.node != registry;
    let at = settled.iter().position(is_victim).expect("there are three");
    let victim = settled.swap_remove(at);
    let slot = {
        let keys = catalogs(&cluster).await;
        let mut its = keys.iter().filter(|(_, node)| **node == victim.node);
        let key = String::from_utf8_lossy(its.next().expect("it has one").0).into_owned();
        cluster.slot(&key[..6]).await
    };

    let failed = Instant::now();
    match fault {
        Fault::Kill => cluster.node_mut(victim.node).kill9(),
        Fault::Silence => cluster.node(victim.node).pause(),
    }
    let succeeds = async {
        let owner = cluster.wait_promoted(slot, victim.node).await;
        assert_eq!(owner, victim.node + MASTERS, "its replica");
        failed.elapsed()
    };
    let others_go_on = async {
        for other in &settled {
            other.load.until_acknowledged(FEW).await;
        }
    };
    let refused = victim.load.until_refused(1);
    let (promoted, ..) = tokio::join!(succeeds, others_go_on, refused);
    let before = victim.load.acknowledged();
    // The new master has no replica before the old one follows it.
    victim.load.until_refused(1).await;
    assert_eq!(victim.load.acknowledged(), before, "there is no replica");
    match fault {
        Fault::Kill => cluster.node_mut(victim.node).restart().await,
        Fault::Silence => cluster.node(victim.node).resume(),
    }
    victim.load.until_acknowledged(SOME).await;

    settled.push(victim);
    for (number, one) in settled.iter_mut().enumerate() {
        let who = if number == MASTERS - 1 {
            "its"
        } else {
            "another"
        };
        let what = format!("Cluster, {fault:?}, tenant on {who} master");
        drain_whole(&what, promoted, &mut one.load).await;
    }
}
