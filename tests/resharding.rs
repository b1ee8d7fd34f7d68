//! Partitions on their way to other nodes of a Redis Cluster, while events are being
//! published to them and delivered from them: nothing is lost, nothing is repeated,
//! who is not moved does not notice, and the store is sound afterwards.

use std::{collections::BTreeSet, time::Duration};

use sidehook_testkit::{
    load::Load,
    process::Process,
    receiver::Behaviour,
    redis_cluster::{MASTERS, RedisCluster},
    system::{Place, System},
};

/// How long a receiver takes: somebody is always in the middle of an answer.
const ANSWER: Behaviour = Behaviour::After(Duration::from_millis(5));
/// Events before and after: enough to be in the middle of it.
const SOME: u64 = 200;
/// Long enough for an outcome to be reported after a half-moved slot is whole again.
const LEASE: &str = "60s";
/// How long everything may take to drain in the end.
const DRAIN: Duration = Duration::from_secs(60);
/// The keys of what belongs to no partition.
const REGISTRY: &str = "{shsys}";

/// A system over a Cluster, and two tenants in partitions of their own.
struct Story {
    // Dropped in this order: who depends goes before what it depends on.
    moved: Load,
    other: Load,
    agents: [Process; 2],
    system: System,
    cluster: RedisCluster,
    /// The slot of the partition of the one that is moved.
    slot: u16,
}

/// The slots with tenants in them.
async fn inhabited(cluster: &RedisCluster) -> BTreeSet<u16> {
    let mut slots = BTreeSet::new();
    for node in 0..MASTERS {
        let keys = cluster
            .node(node)
            .try_bytes(&["KEYS", "{sh??}:cat:*"])
            .await;
        for key in keys.expect("it answers") {
            let tag = String::from_utf8_lossy(&key[..6]).into_owned();
            slots.insert(cluster.slot(&tag).await);
        }
    }
    slots
}

impl Story {
    async fn begin() -> Self {
        let cluster = RedisCluster::start(&[]).await;
        let store = format!("redis = \"{}\"", cluster.url());
        let system = System::builder()
            .servers(2)
            .lease(LEASE)
            .heartbeat("2s")
            .without_agent()
            .store(&store)
            .start()
            .await;
        let mut found = Vec::new();
        while found.len() < 2 {
            let before = inhabited(&cluster).await;
            let name = format!("tenant-{}", before.len());
            let tenant = system.tenant_named(&name).await;
            let client = system.client_of(&tenant, 1);
            client.subscribe("http://127.0.0.1:9/", "nothing").await;
            let mut after = inhabited(&cluster).await;
            after.retain(|slot| !before.contains(slot));
            if let Some(slot) = after.pop_first() {
                let agent = system.agent_of(&tenant, &name, 0);
                found.push((slot, Load::start(client, ANSWER).await, agent));
            }
        }
        let (Some(other), Some(moved)) = (found.pop(), found.pop()) else {
            panic!("two were found");
        };
        let story = Self {
            moved: moved.1,
            other: other.1,
            agents: [moved.2, other.2],
            system,
            cluster,
            slot: moved.0,
        };
        story.goes_on().await;
        story
    }

    /// Both publish on.
    async fn goes_on(&self) {
        self.moved.until_acknowledged(SOME).await;
        self.other.until_acknowledged(SOME).await;
    }

    /// The node after the one that owns the slot.
    async fn next(&self, slot: u16) -> usize {
        (self.cluster.owner(slot).await + 1) % MASTERS
    }

    /// A slot moves on to the next node, with everything in it.
    async fn moves(&self, slot: u16) {
        let next = self.next(slot).await;
        self.cluster.reshard(slot, next).await;
    }

    /// Nothing is lost, unexpected or repeated, and the store is sound.
    #[expect(clippy::print_stdout, reason = "the figures are a result")]
    async fn ends_well(mut self) {
        for (who, load) in [("moved", &mut self.moved), ("not moved", &mut self.other)] {
            let stall = load.stop().await.as_secs_f64();
            let (drained, ledger) = load.drain(DRAIN).await;
            let drained = drained.as_secs_f64();
            println!(
                "{who}: no acknowledgement for {stall:.1} s, drained in {drained:.1} s\n{ledger}"
            );
            ledger.assert_nothing_lost();
            assert_eq!(ledger.unexpected(), [], "nobody published it");
            assert_eq!(ledger.repeated(), 0, "no lease ran out");
        }
        let place = Place::Redis(self.cluster.url());
        let (well, _, error) = place.store("check", &[]);
        let is_told = error.contains("2 other processes use this store");
        assert!(!well && is_told, "both servers are at work: {error}");
        for agent in &mut self.agents {
            agent.terminate();
            let ended = agent.wait_exit(DRAIN).await.expect("it drains");
            assert!(ended.success(), "{ended}");
        }
        self.system.terminate_server().await;
        self.system.kill_server(1);
        let (well, told, error) = place.store("check", &[]);
        assert!(well && told.contains("sound"), "{told}{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_moves_there_and_back_under_load() {
    let story = Story::begin().await;
    let home = story.cluster.owner(story.slot).await;
    for _ in 0..2 {
        story.moves(story.slot).await;
        story.goes_on().await;
    }
    story.cluster.reshard(story.slot, home).await;
    story.goes_on().await;
    story.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_moved_partition_waits_and_others_do_not() {
    let story = Story::begin().await;
    let next = story.next(story.slot).await;
    let migration = story.cluster.migrate(story.slot, next).await;
    assert_eq!(migration.step(3).await, 3);
    story.other.until_acknowledged(SOME).await;
    let before = story.moved.acknowledged();
    // As long as a publisher waits, and less than a lease lasts.
    story.moved.until_refused(1).await;
    assert_eq!(story.moved.acknowledged(), before, "it is nowhere whole");
    story.other.until_acknowledged(SOME).await;
    migration.finish().await;
    story.goes_on().await;
    story.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_moves_to_other_nodes_under_load() {
    let story = Story::begin().await;
    story.moves(story.cluster.slot(REGISTRY).await).await;
    story.goes_on().await;
    for partition in 0..64 {
        let tag = format!("{{sh{partition:02}}}");
        story.moves(story.cluster.slot(&tag).await).await;
    }
    story.goes_on().await;
    // What is in the registry is found where it is now.
    let tenant = story.system.tenant_named("late").await;
    let client = story.system.client_of(&tenant, 0);
    client.subscribe("http://127.0.0.1:9/", "order").await;
    story.ends_well().await;
}
