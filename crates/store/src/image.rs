//! Everything that a store holds, as a stream of records that no kind of store has a
//! share in: what backups are made of, and how a system moves from one kind of store
//! to another.
//!
//! # What is in it
//! Whatever somebody was promised: subscriptions with their versions and health, the log with
//! its attempts, every unfinished delivery with what it remembers, idempotency keys,
//! the registry. Whatever only helps a running process is left out and built anew:
//! rings, lanes, counters, deadlines, history blocks. Leases are left out too: an
//! import is a new start of the agents, so what was lent is written as queued, at the
//! head of its queue, the earliest deadline first. It is delivered at least once.
//! What a deleted subscription still held has ended, and is not written.
//!
//! # Order
//! Of a partition first come tenants, subscriptions and the log, every tenant's in its
//! own order; then deliveries: what was lent, what is queued, what waits; then keys. So
//! nothing comes before what it belongs to, and an import, which is into an empty
//! store, takes it in this order. The registry comes last: as long as it is missing
//! there is no tenant and no credential, so a half-done import serves nobody.

mod copy;
mod tally;

use bytes::Bytes;
pub use copy::{Reading, Writing, contents};
use sidehook_core::{
    address::{EventId, Partition, SegmentId},
    health::{Bucket, Health},
    id::{SubscriptionNumber, TenantId},
    limits::{CALL_BYTES, CALL_RECORDS},
    time::Timestamp,
    version::Version,
};
pub use tally::Tally;

use crate::{
    catalog::{QueueSettings, Row},
    registry::Kind,
    turn::{Idempotency, Run},
};

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// A tenant that has, or had, subscriptions or events.
    Tenant {
        /// The tenant.
        tenant: TenantId,
        /// Its catalog's version.
        version: Version,
    },
    /// A subscription, and how its queue is served.
    Subscription {
        /// The tenant.
        tenant: TenantId,
        /// The subscription.
        row: Row,
        /// Its queue.
        queue: QueueSettings,
        /// Its health; empty if nothing was counted.
        health: Box<Health>,
    },
    /// A number that is never used again.
    Deleted {
        /// The tenant.
        tenant: TenantId,
        /// The deleted subscription.
        number: SubscriptionNumber,
        /// The version that it had.
        version: Version,
    },
    /// The events of one publish call; a tenant's segments in the order of its log,
    /// oldest first.
    Segment {
        /// The segment.
        id: SegmentId,
        /// The tenant.
        tenant: TenantId,
        /// When it was published.
        published: Timestamp,
        /// What it counts for in its tenant's log, in bytes.
        bytes: u32,
        /// The event records by index, empty where an event was not accepted.
        records: Vec<Bytes>,
    },
    /// Attempts at a segment's deliveries, oldest first; behind their segment.
    Attempts {
        /// The segment.
        segment: SegmentId,
        /// The tenant.
        tenant: TenantId,
        /// The attempt records.
        records: Vec<Bytes>,
    },
    /// Unfinished deliveries: behind all that came before of the same queue, or
    /// waiting.
    Deliveries {
        /// Which.
        run: Run,
        /// When they are due, if they wait: then there is one, and it remembers
        /// something.
        due: Option<Timestamp>,
    },
    /// An idempotency key that is in force.
    Key {
        /// The tenant.
        tenant: TenantId,
        /// The key and what it stands for.
        idempotency: Idempotency,
        /// The event that used it.
        event: EventId,
        /// When.
        at: Timestamp,
    },
    /// A registry record.
    Registry {
        /// Its kind.
        kind: Kind,
        /// Its key.
        key: Bytes,
        /// Its value.
        value: Bytes,
    },
}

impl Image {
    /// The tenant whose partition it lies in; `None` for the registry.
    #[must_use]
    pub const fn tenant(&self) -> Option<TenantId> {
        match self {
            Self::Tenant { tenant, .. }
            | Self::Subscription { tenant, .. }
            | Self::Deleted { tenant, .. }
            | Self::Segment { tenant, .. }
            | Self::Attempts { tenant, .. }
            | Self::Key { tenant, .. } => Some(*tenant),
            Self::Deliveries { run, .. } => Some(run.tenant),
            Self::Registry { .. } => None,
        }
    }

    /// The partition that it lies in; `None` for the registry.
    #[must_use]
    pub fn partition(&self) -> Option<Partition> {
        self.tenant().map(Partition::of)
    }

    /// How many records and bytes it counts as in a call that writes it.
    #[must_use]
    pub fn weight(&self) -> (usize, usize) {
        let sum = |records: &[Bytes]| records.iter().map(Bytes::len).sum();
        match self {
            Self::Segment { records, .. } => (1, sum(records)),
            Self::Attempts { records, .. } => (records.len(), sum(records)),
            Self::Subscription { row, health, .. } => (1, row.record.len() + bytes_of(health)),
            Self::Deliveries { run, .. } => (1, run.retry.as_ref().map_or(0, Bytes::len)),
            Self::Registry { value, .. } => (1, value.len()),
            Self::Tenant { .. } | Self::Deleted { .. } | Self::Key { .. } => (1, 0),
        }
    }
}

/// About what a health takes.
fn bytes_of(health: &Health) -> usize {
    let over: usize = health.over.iter().map(Vec::len).sum();
    let recent = &health.recent;
    let notes = recent.successes.iter().chain(&recent.errors);
    let notes: usize = notes.map(Bytes::len).sum();
    (over + recent.current.len()) * size_of::<Bucket>() + notes
}

/// Where an export goes on: opaque to everyone but the store that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub Bytes);

/// Some records of a partition: about as much as a call may write, but never less
/// than a whole segment with all its attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The records; there may be none although more follow.
    pub records: Vec<Image>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// A segment's attempts, in portions that a call can write.
#[must_use]
pub fn attempts(tenant: TenantId, segment: SegmentId, records: Vec<Bytes>) -> Vec<Image> {
    let (mut portions, mut bytes) = (Vec::<Vec<Bytes>>::new(), 0);
    for record in records {
        bytes += record.len();
        match portions.last_mut() {
            Some(last) if last.len() < CALL_RECORDS && bytes <= CALL_BYTES => last.push(record),
            _ => {
                bytes = record.len();
                portions.push(vec![record]);
            }
        }
    }
    let image = |records| Image::Attempts {
        segment,
        tenant,
        records,
    };
    portions.into_iter().map(image).collect()
}

/// The deliveries of a lease that are still open, as runs in their order.
#[must_use]
pub fn open_runs(runs: &[Run], open: &[u16]) -> Vec<Run> {
    let mut position = 0_u16;
    let mut left = Vec::with_capacity(runs.len());
    for run in runs {
        let mut kept = run.clone();
        kept.indices.retain(|_| {
            let is_open = open.binary_search(&position).is_ok();
            position += 1;
            is_open
        });
        if !kept.indices.is_empty() {
            left.push(kept);
        }
    }
    left
}
