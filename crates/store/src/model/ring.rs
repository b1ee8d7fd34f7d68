//! Rings: whose turn it is. Per pool a ring of tenants, per tenant a ring of its
//! subscriptions' queues. A queue is in its pool's ring exactly while it has
//! something that may be lent, so nothing is ever searched: the front is the next.

use std::collections::{BTreeMap, HashMap, VecDeque};

use sidehook_core::{
    id::{SubscriptionNumber, TenantId},
    pool::Pool,
};

use super::state::QueueKey;

/// The rings of one partition.
#[derive(Debug, Default)]
pub(super) struct Rings(BTreeMap<Pool, Ring>);

#[derive(Debug, Default)]
struct Ring {
    tenants: VecDeque<TenantId>,
    queues: HashMap<TenantId, VecDeque<SubscriptionNumber>>,
}

impl Rings {
    /// Adds a queue behind the others of its tenant. `true` if the pool had none.
    pub(super) fn add(&mut self, pool: &Pool, (tenant, number): QueueKey) -> bool {
        if !self.0.contains_key(pool) {
            self.0.insert(pool.clone(), Ring::default());
        }
        let Some(ring) = self.0.get_mut(pool) else {
            return false;
        };
        let first = ring.tenants.is_empty();
        let queues = ring.queues.entry(tenant).or_default();
        if queues.is_empty() {
            ring.tenants.push_back(tenant);
        }
        queues.push_back(number);
        first
    }

    /// Takes a queue out, wherever it is.
    pub(super) fn remove(&mut self, pool: &Pool, (tenant, number): QueueKey) {
        let Some(ring) = self.0.get_mut(pool) else {
            return;
        };
        if let Some(queues) = ring.queues.get_mut(&tenant) {
            queues.retain(|other| *other != number);
            if queues.is_empty() {
                ring.queues.remove(&tenant);
                ring.tenants.retain(|other| *other != tenant);
            }
        }
        self.sweep(pool);
    }

    /// Takes out the queue whose turn it is, of the first tenant that is `open`; that
    /// tenant goes behind the others, those in front of it stay.
    pub(super) fn next(
        &mut self,
        pool: &Pool,
        open: impl Fn(TenantId) -> bool,
    ) -> Option<QueueKey> {
        let ring = self.0.get_mut(pool)?;
        let place = ring.tenants.iter().position(|tenant| open(*tenant))?;
        let tenant = ring.tenants.remove(place)?;
        let queues = ring.queues.get_mut(&tenant)?;
        let number = queues.pop_front();
        if queues.is_empty() {
            ring.queues.remove(&tenant);
        } else {
            ring.tenants.push_back(tenant);
        }
        self.sweep(pool);
        Some((tenant, number?))
    }

    fn sweep(&mut self, pool: &Pool) {
        if self.0.get(pool).is_some_and(|ring| ring.tenants.is_empty()) {
            self.0.remove(pool);
        }
    }

    /// Whether the pool has work of a tenant that is `open`.
    pub(super) fn has(&self, pool: &Pool, open: impl Fn(TenantId) -> bool) -> bool {
        let ring = self.0.get(pool);
        ring.is_some_and(|ring| ring.tenants.iter().any(|tenant| open(*tenant)))
    }

    /// The pools that have work.
    pub(super) fn pools(&self) -> Vec<Pool> {
        self.0.keys().cloned().collect()
    }

    /// Every queue that is in a ring, with its pool.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&Pool, QueueKey)> {
        self.0.iter().flat_map(|(pool, ring)| {
            ring.queues.iter().flat_map(move |(tenant, queues)| {
                queues.iter().map(move |number| (pool, (*tenant, *number)))
            })
        })
    }
}
