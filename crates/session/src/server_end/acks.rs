//! Which batches of outcomes are settled.
//!
//! Batches are numbered from 1 and arrive in order, for a stream keeps it; they are
//! settled in any order, since each may wait for several partitions. What is kept are
//! those that wait: one that is stuck costs nothing for the batches after it, however
//! many there are. An acknowledgement tells only what is new, for the stream that
//! carries it loses nothing.

use std::collections::BTreeSet;

use sidehook_core::limits::AGENT_CAPACITY_MAX;

use crate::UNACKNOWLEDGED_CAPACITIES;

/// Batches that may wait to be settled. An agent looks at its own limit before it
/// frames at most one more capacity of outcomes, and no batch is without one.
pub(super) const WAITING_MAX: usize = (UNACKNOWLEDGED_CAPACITIES + 1) * AGENT_CAPACITY_MAX as usize;

/// What to do with a batch that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Settle its outcomes.
    New,
    /// It was here before: say again what is settled, nothing else.
    Repeat,
    /// A number was left out, or is zero: end the session.
    Gap,
    /// More batches wait to be settled than an agent may send: end the session.
    TooMany,
}

/// What the agent may forget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// Every batch up to this one.
    pub watermark: u64,
    /// And these above it, which no earlier acknowledgement named.
    pub above: Vec<u64>,
}

impl Ack {
    /// Takes in a `later` one, so that both are said at once.
    pub fn merge(&mut self, later: Self) {
        if later.watermark > self.watermark {
            self.watermark = later.watermark;
            self.above.retain(|sequence| *sequence > later.watermark);
        }
        self.above.extend(later.above);
    }
}

/// The batches of one session.
#[derive(Clone, Debug, Default)]
pub struct Acks {
    received: u64,
    waiting: BTreeSet<u64>,
    /// Settled above one that waits, and not said yet.
    news: Vec<u64>,
}

impl Acks {
    /// Notes that a batch arrived.
    pub fn receive(&mut self, sequence: u64) -> Receipt {
        if sequence > self.received {
            if sequence - self.received > 1 {
                return Receipt::Gap;
            }
            if self.waiting.len() >= WAITING_MAX {
                return Receipt::TooMany;
            }
            self.received = sequence;
            self.waiting.insert(sequence);
            return Receipt::New;
        }
        if sequence == 0 {
            return Receipt::Gap;
        }
        if !self.waiting.contains(&sequence) {
            self.news.push(sequence);
        }
        Receipt::Repeat
    }

    /// Notes that a batch is settled. One that does not wait is passed over.
    pub fn settled(&mut self, sequence: u64) {
        if self.waiting.remove(&sequence) {
            self.news.push(sequence);
        }
    }

    /// What is settled and was not said yet.
    pub fn ack(&mut self) -> Ack {
        let watermark = match self.waiting.first() {
            Some(first) => first - 1,
            None => self.received,
        };
        let mut above = std::mem::take(&mut self.news);
        above.retain(|sequence| *sequence > watermark);
        Ack { watermark, above }
    }

    /// Whether all that arrived is settled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.waiting.is_empty()
    }
}
