//! A slot on its way to another node, key by key, as `redis-cli --cluster reshard`
//! moves it; here a test says when.
//!
//! There is no way back half-way: an owner that stops sending keys away answers for
//! those that are gone as if they had never been. What is to be undone is finished,
//! and then moved back.

use super::{MASTERS, RedisCluster};

/// How long a key may take, in milliseconds.
const TIMEOUT: &str = "5000";

/// A slot that is being moved. Dropping it leaves the slot as it is: half-moved.
pub struct Migration<'a> {
    cluster: &'a RedisCluster,
    slot: String,
    from: usize,
    to: usize,
}

impl RedisCluster {
    /// Begins to move a slot: from now on its keys may be at its owner or at `to`.
    ///
    /// # Panics
    ///
    /// If a node refuses.
    pub async fn migrate(&self, slot: u16, to: usize) -> Migration<'_> {
        let from = self.owner(slot).await;
        assert!(from != to, "the slot {slot} is there already");
        let migration = Migration {
            cluster: self,
            slot: slot.to_string(),
            from,
            to,
        };
        migration.set(to, "IMPORTING", from).await;
        migration.set(from, "MIGRATING", to).await;
        migration
    }

    /// Moves a slot with all its keys.
    ///
    /// # Panics
    ///
    /// If a node refuses.
    pub async fn reshard(&self, slot: u16, to: usize) {
        let migration = self.migrate(slot, to).await;
        while migration.step(100).await > 0 {}
        migration.finish().await;
    }
}

impl Migration<'_> {
    /// Moves at most so many keys, those at hand first; how many were moved. 0 says
    /// that none is left.
    ///
    /// # Panics
    ///
    /// If a node refuses.
    pub async fn step(&self, keys: usize) -> usize {
        let from = self.cluster.node(self.from);
        let count = keys.to_string();
        let ask = ["CLUSTER", "GETKEYSINSLOT", &self.slot, &count];
        let keys = from.try_bytes(&ask).await.expect("it tells its keys");
        if keys.is_empty() {
            return 0;
        }
        let port = self.cluster.node(self.to).port().to_string();
        let head = ["MIGRATE", "127.0.0.1", &port, "", "0", TIMEOUT, "KEYS"];
        let head = head.iter().map(|word| word.as_bytes());
        let command: Vec<_> = head.chain(keys.iter().map(Vec::as_slice)).collect();
        let moved = from.try_bytes(&command).await;
        moved.unwrap_or_else(|error| panic!("a key cannot be moved: {error}"));
        keys.len()
    }

    /// Gives the slot to where its keys are, once all of them are.
    ///
    /// # Panics
    ///
    /// If keys are left, or a node refuses.
    pub async fn finish(self) {
        while self.step(100).await > 0 {}
        // The new owner first: two that claim it agree, none that does would not.
        self.set(self.to, "NODE", self.to).await;
        for node in (0..MASTERS).filter(|node| *node != self.to) {
            self.set(node, "NODE", self.to).await;
        }
    }

    async fn set(&self, node: usize, state: &str, other: usize) {
        let other = &self.cluster.nodes[other].id;
        let node = &self.cluster.nodes[node];
        node.tell(&["SETSLOT", &self.slot, state, other]).await;
    }
}
