//! A Redis Cluster of three masters, each with a replica if wanted.
//!
//! Put together by the commands that `redis-cli --cluster create` sends, without its
//! pauses; what must have come about is asked of the nodes. A node that is silent for
//! a second has failed, and a slot that is lost leaves the others at work
//! (`cluster-require-full-coverage no`).
//!
//! Every node keeps its port, its file and its name over `kill9` and `restart`.

mod migration;
mod node;

use std::time::Duration;

pub use self::migration::Migration;
use self::node::Node;
use crate::{
    process::{POLL, within},
    redis_server::{RedisServer, hosts},
};

/// Masters of a new cluster, by whose numbers its nodes are called.
pub const MASTERS: usize = 3;
/// Slots of every cluster.
const SLOTS: usize = 16_384;
/// How long a node may be silent, in milliseconds.
const NODE_TIMEOUT: &str = "1000";
/// How long all nodes may take to agree on something.
const AGREE: Duration = Duration::from_secs(60);

/// A running cluster.
pub struct RedisCluster {
    /// The masters, then the replica of each if there are any.
    nodes: Vec<Node>,
}

impl RedisCluster {
    /// Three masters with an equal share of the slots each. `arguments` are further
    /// ones of every server.
    ///
    /// # Panics
    ///
    /// If redis-server is not installed or the nodes do not agree within a minute.
    pub async fn start(arguments: &[&str]) -> Self {
        Self::start_nodes(MASTERS, arguments).await
    }

    /// As `start`, and a replica for each: of master `n` the node `n + 3`.
    ///
    /// # Panics
    ///
    /// As `start`.
    pub async fn start_with_replicas(arguments: &[&str]) -> Self {
        Self::start_nodes(MASTERS * 2, arguments).await
    }

    async fn start_nodes(count: usize, arguments: &[&str]) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(Node::start(arguments).await);
        }
        let cluster = Self { nodes };
        cluster.join().await;
        cluster
    }

    /// Makes one cluster of nodes that know nothing of each other.
    async fn join(&self) {
        let share = SLOTS.div_ceil(MASTERS);
        for (number, node) in self.nodes.iter().enumerate() {
            let epoch = (number + 1).to_string();
            node.tell(&["SET-CONFIG-EPOCH", &epoch]).await;
            if number < MASTERS {
                let first = number * share;
                let last = (first + share).min(SLOTS) - 1;
                node.tell(&["ADDSLOTSRANGE", &first.to_string(), &last.to_string()])
                    .await;
            }
            let (port, bus) = (node.server.port().to_string(), node.bus.to_string());
            self.nodes[0]
                .tell(&["MEET", "127.0.0.1", &port, &bus])
                .await;
        }
        self.wait("all have met", async |node| {
            node.view()
                .await
                .is_some_and(|view| view.len() == self.nodes.len())
        })
        .await;
        for (number, replica) in self.nodes.iter().enumerate().skip(MASTERS) {
            let master = &self.nodes[number - MASTERS];
            replica.tell(&["REPLICATE", &master.id]).await;
        }
        for replica in self.nodes.iter().skip(MASTERS) {
            replica.server.wait_following().await;
        }
        self.wait_healed().await;
    }

    /// Waits until every node, as the nodes see it, is well and every slot served.
    ///
    /// # Panics
    ///
    /// If that is not so within a minute.
    pub async fn wait_healed(&self) {
        let masters = self.nodes.len().min(MASTERS);
        self.wait("all nodes are well", async |node| {
            let Some(view) = node.view().await else {
                return false;
            };
            let owners = view
                .iter()
                .filter(|one| one.is_master && !one.slots.is_empty());
            node.says("cluster_state:ok").await
                && node.says(&format!("cluster_slots_ok:{SLOTS}")).await
                && view.iter().all(|one| one.is_well)
                && owners.count() <= masters
        })
        .await;
        for node in &self.nodes {
            if node.server.is_master().await == Some(false) {
                node.server.wait_following().await;
            }
        }
    }

    /// Waits until every node that runs agrees to something.
    async fn wait(&self, what: &str, holds: impl AsyncFn(&Node) -> bool) {
        for node in &self.nodes {
            within(AGREE, what, async {
                while !holds(node).await {
                    tokio::time::sleep(POLL).await;
                }
            })
            .await;
        }
    }

    /// What a client is told: the masters of the beginning.
    #[must_use]
    pub fn url(&self) -> String {
        let masters = self.nodes.iter().take(MASTERS);
        let ports: Vec<_> = masters.map(|node| node.server.port()).collect();
        format!("redis://{}/", hosts(&ports))
    }

    /// A node's server.
    #[must_use]
    pub fn node(&self, number: usize) -> &RedisServer {
        &self.nodes[number].server
    }

    /// A node's server, to be killed and started again.
    #[must_use]
    pub fn node_mut(&mut self, number: usize) -> &mut RedisServer {
        &mut self.nodes[number].server
    }

    /// The node that owns this slot, as the first node that answers has it.
    ///
    /// # Panics
    ///
    /// If none owns it, or none answers.
    pub async fn owner(&self, slot: u16) -> usize {
        let found = self.find_owner(slot).await;
        found.unwrap_or_else(|| panic!("nobody owns the slot {slot}"))
    }

    async fn find_owner(&self, slot: u16) -> Option<usize> {
        for node in &self.nodes {
            let Some(view) = node.view().await else {
                continue;
            };
            let mut owners = view.iter().filter(|one| one.is_master && one.is_well);
            let owner = owners.find(|one| one.slots.iter().any(|range| range.contains(&slot)))?;
            return self.nodes.iter().position(|one| one.id == owner.id);
        }
        None
    }

    /// A slot that this node owns, as it sees it; `None` if it has none, or no answer.
    pub async fn slot_of(&self, number: usize) -> Option<u16> {
        let node = &self.nodes[number];
        let view = node.view().await?;
        let own = view.iter().find(|one| one.id == node.id && one.is_master)?;
        own.slots.first().map(|range| *range.start())
    }

    /// Waits until another node than this one owns the slot; which one does.
    ///
    /// # Panics
    ///
    /// If that is not so within a minute.
    pub async fn wait_promoted(&self, slot: u16, before: usize) -> usize {
        within(AGREE, "a replica is promoted", async {
            loop {
                let owner = self.find_owner(slot).await;
                if let Some(owner) = owner.filter(|owner| *owner != before) {
                    return owner;
                }
                tokio::time::sleep(POLL).await;
            }
        })
        .await
    }

    /// The slot of a key.
    ///
    /// # Panics
    ///
    /// If no node answers.
    pub async fn slot(&self, key: &str) -> u16 {
        for node in &self.nodes {
            let ask = ["CLUSTER", "KEYSLOT", key];
            if let Ok(slot) = node.server.try_command(&ask).await {
                return slot.parse().expect("a slot is a number");
            }
        }
        panic!("no node answers");
    }

    /// Removes everything.
    ///
    /// # Panics
    ///
    /// If a master of the beginning does not answer, or is none any more.
    pub async fn flush(&self) {
        for node in self.nodes.iter().take(MASTERS) {
            node.server.command(&["FLUSHALL"]).await;
        }
    }
}
