//! Every table, key and packed value, in one place.
//!
//! Keys begin with their partition (one byte), so that all of one partition is a
//! range of each table; the registry's begin with their kind. Numbers are
//! big-endian, so that keys sort as the numbers do. Names below stand for
//!
//! ```text
//! segment   lane 8, sequence 4, ordinal 1     also a lease's name, from its claim's stamp
//! queue     tenant 16, subscription 4
//! place     generation 2, segment 13, index 1  a delivery in its queue
//! version   counter 8, nonce 8
//! pool      owner 16, length 2, name           the only part of a key without a fixed size
//! holder    agent 16, session 8
//! header    recorded 1, leases lost 1, charge 4, generation 2, segment 13
//! run       queue 20, header 21, count 1, indices; if recorded: length 4, what it remembers
//! ```
//!
//! | table | key, after the partition | value |
//! |---|---|---|
//! | `meta` | `format` (no partition) | number 4: [`FORMAT`] |
//! | `meta` | `name` (no partition) | random 16: which store it is |
//! | `meta` | `commit` (no partition) | number 8 of the last commit; relaxed level only |
//! | `registry` | kind 1 (no partition), key | record |
//! | `tenants` | tenant | version 16, last position in the log 8, subscriptions 4, position up to which the log was trimmed 8, pending bytes 8, log bytes 8, budgets as told last: pending 8, log 8 (both 0: none) |
//! | `subscriptions` | queue | version 16, record |
//! | `graves` | queue | version that the deleted subscription had |
//! | `queues` | queue | window 4, in flight 4, ready 8, head 8, tail 8, ring position 8 (0: in none), charges of what is queued and waits 8, paused 1, stage 1, pool |
//! | `health` | queue | attempts of each kind 8, the newest bucket of each row, notes of successes, notes of failures: a count 1, for each length 1, note. A bucket: number 4, attempts of each kind 4, by class of time 4 (`health.rs`) |
//! | `health_over` | queue, row 1 | that row's buckets that are over, oldest first |
//! | `entries` | queue, position 8 | header 17, indices: deliveries of one segment. Positions run from head to tail without gaps; they begin in the middle, so that both ends can grow |
//! | `clearing` | queue | nothing: a deleted queue that still holds something |
//! | `records` | queue, place | leases lost 1, charge 4, waits 1, due 8, what it remembers: retried deliveries and redeliveries |
//! | `due` | time 8, queue, place | nothing: what waits |
//! | `segments` | segment, part 1 | tenant 16, events 1, length 4 each (0: not accepted), then the records; cut into parts ([`cut`]) |
//! | `states` | segment | tenant 16, published 8, position in the log 8, unfinished 4, outcome rows 4, bytes that it counts for 4, how it leaves 1 |
//! | `outcomes` | segment, row 4 | tenant 16, then for each attempt of one settle: length 4, record |
//! | `made` | segment, subscription 4, index 1 | the generation that was redelivered last 2 |
//! | `log` | tenant, position 8 | segment 13, published 8 |
//! | `ages` | time 8, segment | nothing: what leaves, by the time when it was published; 0: its last delivery has ended; 1: it is the oldest of a log beyond its budget |
//! | `leases` | lease 13 | token 16, holder 24, deadline 8, open positions 16 (bits), runs |
//! | `deadlines` | deadline 8, lease 13 | nothing |
//! | `holders` | holder 24, lease 13 | nothing |
//! | `lent` | segment, subscription 4, lease 13 | nothing: which leases hold something of a segment |
//! | `keys` | tenant 16, key 16 | content 16, event 16, time 8 |
//! | `lapses` | time 8, segment | tenant 16, keys 16 each: the keys of one publish, in the order in which they lapse |
//! | `lanes` | kind 1, lane 8 | sequence 4, reply (`replies.rs`) |
//! | `ring_tenants` | pool, position 8 | tenant 16: whose turn it is |
//! | `ring_queues` | pool, tenant 16, position 8 | subscription 4 |
//! | `ring_places` | pool, tenant 16 | the tenant's position in `ring_tenants` 8 |
//! | `damaged` | table 1, key | what was taken out of a table that is walked through, or of a lease, because of something unreadable |
//!
//! The payload of a segment is written once and never touched again; what changes
//! with each settle is in `states`, a row that fits into a few bytes.

use bytes::Bytes;
use redb::TableDefinition;
use sidehook_core::{
    address::{EventId, Partition, SegmentId},
    id::{SubscriptionNumber, TenantId},
    pool::Pool,
    time::Timestamp,
    version::Version,
};
use sidehook_store::{
    budget::{Budget, Usage},
    catalog::QueueSettings,
    read::Lease,
    turn::{Holder, Idempotency, LeaseId, Run},
};

use crate::{
    codec::{Reader, Writer, millis},
    error::Fault,
};

mod keys;
mod payload;

pub(crate) use keys::*;
pub(crate) use payload::*;

/// The format of everything below. A store of another format is refused.
pub(crate) const FORMAT: u32 = 2;

/// A table: bytes by bytes.
pub(crate) type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// A subscription's queue.
pub(crate) type QueueKey = (TenantId, SubscriptionNumber);

/// The position of a new queue's first entry: in the middle.
const MIDDLE: u64 = 1 << 63;

/// A tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TenantRow {
    pub(crate) version: Version,
    /// Position of the last segment of its log, ever.
    pub(crate) position: u64,
    pub(crate) subscriptions: u32,
    /// Position up to which all segments have left, or leave with their last delivery.
    pub(crate) front: u64,
    pub(crate) used: Usage,
    /// As told last.
    pub(crate) budget: Option<Budget>,
}

impl TenantRow {
    pub(crate) fn pack(self) -> Vec<u8> {
        let mut to = Writer::with_capacity(68);
        to.version(self.version)
            .u64(self.position)
            .u32(self.subscriptions)
            .u64(self.front)
            .u64(self.used.pending)
            .u64(self.used.log)
            .u64(self.budget.map_or(0, |budget| budget.pending))
            .u64(self.budget.map_or(0, |budget| budget.log));
        to.finish()
    }

    pub(crate) fn parse(value: Bytes) -> Result<Self, Fault> {
        let mut from = Reader::new("a tenant", value);
        let row = Self {
            version: from.version()?,
            position: from.u64()?,
            subscriptions: from.u32()?,
            front: from.u64()?,
            used: Usage {
                pending: from.u64()?,
                log: from.u64()?,
            },
            budget: None,
        };
        let (pending, log) = (from.u64()?, from.u64()?);
        let budget = (pending > 0 || log > 0).then_some(Budget { pending, log });
        Ok(Self { budget, ..row })
    }

    /// Whether the log is beyond its budget.
    pub(crate) fn is_over(&self) -> bool {
        self.budget.is_some_and(|budget| self.used.log > budget.log)
    }
}

/// How far a queue is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its subscription is there.
    Live,
    /// Deleted; it still holds deliveries that are to end.
    Clearing,
    /// Deleted and empty; something of it is still lent.
    Cleared,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Queue {
    pub(crate) settings: QueueSettings,
    pub(crate) in_flight: u32,
    /// Deliveries that are queued.
    pub(crate) ready: u64,
    /// Position of the first entry.
    pub(crate) head: u64,
    /// Position behind the last entry.
    pub(crate) tail: u64,
    /// Position in its tenant's ring; 0: in none.
    pub(crate) ring: u64,
    /// Charges of what is queued and waits.
    pub(crate) owed: u64,
    pub(crate) stage: Stage,
}

impl Queue {
    pub(crate) const fn new(settings: QueueSettings) -> Self {
        Self {
            settings,
            in_flight: 0,
            ready: 0,
            head: MIDDLE,
            tail: MIDDLE,
            ring: 0,
            owed: 0,
            stage: Stage::Live,
        }
    }

    pub(crate) const fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Live)
    }

    /// Deliveries that the window leaves room for.
    pub(crate) const fn room(&self) -> u32 {
        self.settings.window.saturating_sub(self.in_flight)
    }

    /// Whether something may be lent.
    pub(crate) const fn eligible(&self) -> bool {
        self.is_live() && !self.settings.paused && self.room() > 0 && self.ready > 0
    }

    pub(crate) fn pack(&self) -> Vec<u8> {
        let stage = match self.stage {
            Stage::Live => 0,
            Stage::Clearing => 1,
            Stage::Cleared => 2,
        };
        let mut to = Writer::with_capacity(80);
        to.u32(self.settings.window)
            .u32(self.in_flight)
            .u64(self.ready)
            .u64(self.head)
            .u64(self.tail)
            .u64(self.ring)
            .u64(self.owed)
            .flag(self.settings.paused)
            .u8(stage)
            .pool(&self.settings.pool);
        to.finish()
    }

    pub(crate) fn parse(value: Bytes) -> Result<Self, Fault> {
        let mut from = Reader::new("a queue", value);
        let window = from.u32()?;
        let in_flight = from.u32()?;
        let (ready, head, tail, ring) = (from.u64()?, from.u64()?, from.u64()?, from.u64()?);
        let owed = from.u64()?;
        let paused = from.flag()?;
        let stage = match from.u8()? {
            0 => Stage::Live,
            1 => Stage::Clearing,
            2 => Stage::Cleared,
            _ => return Err(from.malformed()),
        };
        let pool = from.pool()?;
        Ok(Self {
            settings: QueueSettings {
                pool,
                window,
                paused,
            },
            in_flight,
            ready,
            head,
            tail,
            ring,
            owed,
            stage,
        })
    }
}

/// Deliveries of one segment in one queue, one behind the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Whether they have a record of their own; then there is one index.
    pub(crate) recorded: bool,
    pub(crate) leases_lost: u8,
    /// What each counts for in its tenant's pending bytes.
    pub(crate) charge: u32,
    pub(crate) generation: u16,
    pub(crate) segment: SegmentId,
    pub(crate) indices: Vec<u8>,
}

impl Entry {
    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut to = Writer::with_capacity(ENTRY_HEADER + self.indices.len());
        to.flag(self.recorded)
            .u8(self.leases_lost)
            .u32(self.charge)
            .u16(self.generation)
            .segment(self.segment)
            .bytes(&self.indices);
        to.finish()
    }

    pub(crate) fn parse(partition: Partition, value: Bytes) -> Result<Self, Fault> {
        let mut from = Reader::new("a queue's entry", value);
        let entry = Self {
            recorded: from.flag()?,
            leases_lost: from.u8()?,
            charge: from.u32()?,
            generation: from.u16()?,
            segment: from.segment(partition)?,
            indices: Vec::new(),
        };
        if from.is_empty() {
            return Err(from.malformed());
        }
        let indices = from.rest().to_vec();
        Ok(Self { indices, ..entry })
    }

    /// What all of them count for.
    pub(crate) fn charges(&self) -> u64 {
        u64::from(self.charge) * self.indices.len() as u64
    }
}

/// Bytes of an entry before its indices.
pub(crate) const ENTRY_HEADER: usize = 21;

/// The segment of an entry that cannot be read as a whole; `None` if that part of it
/// cannot either.
pub(crate) fn segment_of_entry(partition: Partition, value: &Bytes) -> Option<SegmentId> {
    let mut from = Reader::new("a queue's entry", value.clone());
    from.take(8).ok()?;
    from.segment(partition).ok()
}

/// What a retried delivery or a redelivery has of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) leases_lost: u8,
    /// What it counts for in its tenant's pending bytes.
    pub(crate) charge: u32,
    /// When it is due, while it waits.
    pub(crate) due: Option<Timestamp>,
    pub(crate) retry: Bytes,
}

impl Record {
    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut to = Writer::with_capacity(14 + self.retry.len());
        to.u8(self.leases_lost)
            .u32(self.charge)
            .flag(self.due.is_some())
            .time(self.due.unwrap_or_default())
            .bytes(&self.retry);
        to.finish()
    }

    pub(crate) fn parse(value: Bytes) -> Result<Self, Fault> {
        let mut from = Reader::new("a delivery's record", value);
        let leases_lost = from.u8()?;
        let charge = from.u32()?;
        let waits = from.flag()?;
        let due = from.time()?;
        Ok(Self {
            leases_lost,
            charge,
            due: waits.then_some(due),
            retry: from.rest(),
        })
    }
}

/// What changes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentState {
    pub(crate) tenant: TenantId,
    pub(crate) published: Timestamp,
    /// Its place in the tenant's log.
    pub(crate) position: u64,
    pub(crate) unfinished: u32,
    /// Rows of attempts so far.
    pub(crate) outcomes: u32,
    /// What it counts for in its tenant's log.
    pub(crate) bytes: u32,
    pub(crate) leaving: Leaving,
}

/// How a segment leaves the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// By its age.
    ByAge,
    /// With the next tick: it is the oldest of a log beyond its budget.
    Next,
    /// With its last delivery: its turn to leave has come before.
    WithItsLast,
}

impl SegmentState {
    pub(crate) fn pack(&self) -> Vec<u8> {
        let leaving = match self.leaving {
            Leaving::ByAge => 0,
            Leaving::Next => 1,
            Leaving::WithItsLast => 2,
        };
        let mut to = Writer::with_capacity(45);
        to.tenant(self.tenant)
            .time(self.published)
            .u64(self.position)
            .u32(self.unfinished)
            .u32(self.outcomes)
            .u32(self.bytes)
            .u8(leaving);
        to.finish()
    }

    pub(crate) fn parse(value: Bytes) -> Result<Self, Fault> {
        let mut from = Reader::new("a segment's state", value);
        Ok(Self {
            tenant: from.tenant()?,
            published: from.time()?,
            position: from.u64()?,
            unfinished: from.u32()?,
            outcomes: from.u32()?,
            bytes: from.u32()?,
            leaving: match from.u8()? {
                0 => Leaving::ByAge,
                1 => Leaving::Next,
                2 => Leaving::WithItsLast,
                _ => return Err(from.malformed()),
            },
        })
    }

    /// Its time in `ages`; `None` if it is not there.
    pub(crate) fn age(&self) -> Option<Timestamp> {
        match self.leaving {
            Leaving::ByAge => Some(self.published),
            Leaving::Next => Some(Timestamp::from_millis(1)),
            Leaving::WithItsLast => (self.unfinished == 0).then(Timestamp::default),
        }
    }
}

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loan {
    pub(crate) token: u128,
    pub(crate) holder: Holder,
    pub(crate) deadline: Timestamp,
    /// The positions that are not settled, as bits: a lease has at most 128.
    pub(crate) open: u128,
    pub(crate) runs: Vec<Run>,
}

impl Loan {
    /// Whether a position is not settled yet.
    pub(crate) fn is_open(&self, position: u16) -> bool {
        self.open & bit(position) != 0
    }

    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut to = Writer::with_capacity(64 + self.runs.len() * 48);
        to.u128(self.token)
            .holder(self.holder)
            .time(self.deadline)
            .u128(self.open);
        for run in &self.runs {
            to.run(run);
        }
        to.finish()
    }

    pub(crate) fn parse(partition: Partition, value: Bytes) -> Result<Self, Fault> {
        let mut from = Reader::new("a lease", value);
        let mut loan = Self {
            token: from.u128()?,
            holder: from.holder()?,
            deadline: from.time()?,
            open: from.u128()?,
            runs: Vec::new(),
        };
        while !from.is_empty() {
            loan.runs.push(from.run(partition)?);
        }
        Ok(loan)
    }

    /// The lease, as its readers see it.
    pub(crate) fn read(self, id: LeaseId) -> Lease {
        let open = (0..128).filter(|position| self.is_open(*position));
        Lease {
            id,
            token: self.token,
            holder: self.holder,
            deadline: self.deadline,
            open: open.collect(),
            runs: self.runs,
        }
    }
}

/// A position's bit; none beyond the 128th.
pub(crate) fn bit(position: u16) -> u128 {
    1_u128.checked_shl(position.into()).unwrap_or(0)
}

/// What an idempotency key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyRow {
    pub(crate) content: [u8; 16],
    pub(crate) event: EventId,
    pub(crate) at: Timestamp,
}

impl KeyRow {
    pub(crate) fn pack(self) -> Vec<u8> {
        let mut to = Writer::with_capacity(40);
        to.bytes(&self.content)
            .u128(self.event.bits())
            .time(self.at);
        to.finish()
    }

    pub(crate) fn parse(value: Bytes) -> Result<Self, Fault> {
        let mut from = Reader::new("an idempotency key", value);
        Ok(Self {
            content: from.array()?,
            event: EventId::from_bits(from.u128()?),
            at: from.time()?,
        })
    }
}

#[cfg(test)]
mod tests;
