//! Which batches of outcomes are settled.
//!
//! Batches are numbered from 1 and arrive in order, for a stream keeps it; they are
//! settled in any order, since each may wait for several partitions.

use std::collections::BTreeSet;

/// Batches that may wait to be settled, or be settled above one that waits. An agent
/// that goes beyond does not heed its credit.
const WINDOW: u64 = 65_536;

/// What to do with a batch that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Settle its outcomes.
    New,
    /// It was here before: say again what is settled, nothing else.
    Repeat,
    /// A number was left out, or too many batches wait: end the session.
    Broken,
}

/// What the agent may forget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// Every batch up to this one.
    pub watermark: u64,
    /// And these above it, ascending.
    pub above: Vec<u64>,
}

/// The batches of one session.
#[derive(Clone, Debug, Default)]
pub struct Acks {
    received: u64,
    watermark: u64,
    above: BTreeSet<u64>,
}

impl Acks {
    /// Notes that a batch arrived.
    pub fn receive(&mut self, sequence: u64) -> Receipt {
        if sequence <= self.received {
            return if sequence == 0 {
                Receipt::Broken
            } else {
                Receipt::Repeat
            };
        }
        if sequence != self.received + 1 || sequence - self.watermark > WINDOW {
            return Receipt::Broken;
        }
        self.received = sequence;
        Receipt::New
    }

    /// Notes that a batch is settled. One that never arrived is passed over.
    pub fn settled(&mut self, sequence: u64) {
        if sequence <= self.watermark || sequence > self.received {
            return;
        }
        self.above.insert(sequence);
        while self.above.remove(&(self.watermark + 1)) {
            self.watermark += 1;
        }
    }

    /// What is settled.
    #[must_use]
    pub fn ack(&self) -> Ack {
        Ack {
            watermark: self.watermark,
            above: self.above.iter().copied().collect(),
        }
    }

    /// Whether all that arrived is settled.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.watermark == self.received
    }
}
