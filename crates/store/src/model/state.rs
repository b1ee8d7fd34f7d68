//! What one partition holds, and the few moves that everything else is made of.
//!
//! A delivery is in exactly one place: in its queue's `ready` or `waiting`, or in
//! a slot of a lease. [`State::known`] is only an index of those that have
//! something to tell beyond "queued".

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use sidehook_core::{
    address::{DeliveryId, Lane, Partition, SegmentId},
    health::Health,
    id::{SubscriptionNumber, TenantId},
    time::Timestamp,
    version::Version,
};
use tokio::sync::broadcast;

use super::{history::History, idempotency::Keys, lanes::LaneState, lease::Leases, ring::Rings};
use crate::{
    budget::{Budget, Usage},
    catalog::{QueueSettings, Row},
    hint::Hint,
    read::Whereabouts,
};

/// A subscription's queue.
pub(super) type QueueKey = (TenantId, SubscriptionNumber);

/// One partition.
pub(super) struct State {
    pub(super) partition: Partition,
    pub(super) tenants: HashMap<TenantId, Tenant>,
    pub(super) queues: BTreeMap<QueueKey, Queue>,
    pub(super) rings: Rings,
    pub(super) segments: HashMap<SegmentId, SegmentState>,
    /// Segments by age, except those that leave with their last delivery.
    pub(super) ages: BTreeSet<(Timestamp, SegmentId)>,
    /// Those of them whose last delivery has ended.
    pub(super) leaving: BTreeSet<SegmentId>,
    /// Tenants whose log is beyond its budget and has events that may leave.
    pub(super) over: BTreeSet<TenantId>,
    pub(super) leases: Leases,
    /// All that waits, by time.
    pub(super) due: BTreeSet<(Timestamp, QueueKey, DeliveryId)>,
    /// Deliveries that were retried, are redeliveries, or are lent.
    pub(super) known: HashMap<DeliveryId, (TenantId, Whereabouts)>,
    pub(super) keys: Keys,
    pub(super) lanes: HashMap<Lane, LaneState>,
    pub(super) history: History,
    pub(super) hints: broadcast::Sender<Hint>,
}

/// A tenant's subscriptions and log.
#[derive(Default)]
pub(super) struct Tenant {
    pub(super) version: Version,
    pub(super) rows: BTreeMap<SubscriptionNumber, Row>,
    /// Deleted subscriptions, with the version that they had.
    pub(super) deleted: HashMap<SubscriptionNumber, Version>,
    /// Segments by position, with the time of their publication.
    pub(super) log: BTreeMap<u64, (SegmentId, Timestamp)>,
    /// Position of the last segment of the log, ever.
    pub(super) position: u64,
    /// Position up to which all segments have left, or leave with their last delivery.
    pub(super) front: u64,
    pub(super) used: Usage,
    /// As told last.
    pub(super) budget: Option<Budget>,
}

impl Tenant {
    /// Whether the log is beyond its budget.
    pub(super) fn is_over(&self) -> bool {
        self.budget.is_some_and(|budget| self.used.log > budget.log)
    }

    /// The oldest segment that may leave.
    pub(super) fn oldest(&self) -> Option<SegmentId> {
        let mut rest = self.log.range(self.front + 1..);
        rest.next().map(|(_, (id, _))| *id)
    }
}

/// A subscription's deliveries that are not lent.
pub(super) struct Queue {
    pub(super) settings: QueueSettings,
    pub(super) deleted: bool,
    pub(super) in_flight: u32,
    pub(super) ready: VecDeque<Item>,
    pub(super) waiting: BTreeMap<DeliveryId, (Timestamp, Item)>,
    pub(super) on_ring: bool,
    /// Its subscription's health; of no meaning once that is deleted.
    pub(super) health: Health,
}

impl Queue {
    pub(super) fn new(settings: QueueSettings) -> Self {
        Self {
            settings,
            deleted: false,
            in_flight: 0,
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            on_ring: false,
            health: Health::default(),
        }
    }

    /// Deliveries that the window leaves room for.
    pub(super) const fn room(&self) -> u32 {
        self.settings.window.saturating_sub(self.in_flight)
    }

    /// Whether something may be lent.
    pub(super) fn eligible(&self) -> bool {
        !self.settings.paused && !self.deleted && self.room() > 0 && !self.ready.is_empty()
    }
}

/// A delivery, as its queue knows it.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) segment: SegmentId,
    pub(super) index: u8,
    pub(super) generation: u16,
    pub(super) leases_lost: u8,
    /// What it counts for in its tenant's pending bytes.
    pub(super) charge: u32,
    pub(super) retry: Option<Bytes>,
}

impl Item {
    pub(super) fn id(&self, number: SubscriptionNumber) -> DeliveryId {
        DeliveryId::new(self.segment, self.index, number, self.generation)
    }
}

/// A published segment.
pub(super) struct SegmentState {
    pub(super) tenant: TenantId,
    pub(super) published: Timestamp,
    /// Its place in the tenant's log.
    pub(super) position: u64,
    /// What it counts for in its tenant's log.
    pub(super) bytes: u32,
    pub(super) records: Vec<Bytes>,
    pub(super) outcomes: Vec<Bytes>,
    pub(super) unfinished: u32,
    /// The generation of each delivery that was redelivered last.
    pub(super) made: HashMap<(SubscriptionNumber, u8), u16>,
    /// It is past its age, or was the oldest of a log beyond its budget, and leaves with
    /// its last delivery.
    pub(super) overdue: bool,
}

impl State {
    pub(super) fn new(partition: Partition, hints: broadcast::Sender<Hint>) -> Self {
        Self {
            partition,
            tenants: HashMap::new(),
            queues: BTreeMap::new(),
            rings: Rings::default(),
            segments: HashMap::new(),
            ages: BTreeSet::new(),
            leaving: BTreeSet::new(),
            over: BTreeSet::new(),
            leases: Leases::default(),
            due: BTreeSet::new(),
            known: HashMap::new(),
            keys: Keys::default(),
            lanes: HashMap::new(),
            history: History::new(partition),
            hints,
        }
    }

    /// Tells listeners, if there are any.
    pub(super) fn hint(&self, hint: Hint) {
        // No receiver is no error: hints are for whoever listens.
        let _ = self.hints.send(hint);
    }

    /// Puts a queue into its pool's ring or takes it out, as its state wants.
    pub(super) fn align(&mut self, key: QueueKey) {
        let Some(queue) = self.queues.get_mut(&key) else {
            return;
        };
        let wanted = queue.eligible();
        if wanted == queue.on_ring {
            return;
        }
        queue.on_ring = wanted;
        if !wanted {
            self.rings.remove(&queue.settings.pool, key);
        } else if self.rings.add(&queue.settings.pool, key) {
            let pool = queue.settings.pool.clone();
            self.hint(Hint::Due {
                partition: self.partition,
                pool,
            });
        }
    }

    /// Counts a lent delivery as back; forgets a deleted queue with its last one.
    pub(super) fn land(&mut self, key: QueueKey) {
        let Some(queue) = self.queues.get_mut(&key) else {
            return;
        };
        queue.in_flight = queue.in_flight.saturating_sub(1);
        if queue.deleted && queue.in_flight == 0 {
            self.queues.remove(&key);
        }
    }

    /// Puts a lent delivery back to the head of its queue, or ends it if its
    /// subscription is gone. The caller aligns the queue.
    pub(super) fn put_back(&mut self, key: QueueKey, item: Item) {
        let id = item.id(key.1);
        match self.queues.get_mut(&key) {
            Some(queue) if !queue.deleted => {
                if item.retry.is_none() {
                    self.known.remove(&id);
                } else if let Some((_, place)) = self.known.get_mut(&id) {
                    place.leased = false;
                }
                queue.ready.push_front(item);
            }
            _ => self.end(key, &item),
        }
        self.land(key);
    }

    /// Forgets an ended delivery, and lets its segment go if that waited for it.
    pub(super) fn end(&mut self, key: QueueKey, item: &Item) {
        self.known.remove(&item.id(key.1));
        if let Some(tenant) = self.tenants.get_mut(&key.0) {
            tenant.used.pending -= u64::from(item.charge).min(tenant.used.pending);
        }
        let Some(state) = self.segments.get_mut(&item.segment) else {
            return;
        };
        state.unfinished = state.unfinished.saturating_sub(1);
        if state.unfinished == 0 && state.overdue {
            self.leaving.insert(item.segment);
        }
    }

    /// Charges a tenant for new deliveries.
    pub(super) fn owe(&mut self, tenant: TenantId, bytes: u64) {
        self.tenants.entry(tenant).or_default().used.pending += bytes;
    }
}
