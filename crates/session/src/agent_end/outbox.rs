//! Outcomes that were sent and are not acknowledged.
//!
//! A batch keeps its content until the control plane says that it is settled. In a new session the batches that are
//! left are numbered anew from 1 and sent once more.

use std::collections::VecDeque;

use bytes::Bytes;

/// Outcomes sent in one frame.
#[derive(Debug)]
pub struct Batch<R> {
    /// Its number in the session, from 1.
    pub sequence: u64,
    /// The outcomes, by lease.
    pub leases: Vec<LeaseReports<R>>,
}

/// Outcomes under one lease.
#[derive(Debug)]
pub struct LeaseReports<R> {
    /// The lease as the control plane named it.
    pub lease: Bytes,
    pub(super) number: u64,
    /// Position in the lease, and how the attempt ended.
    pub outcomes: Vec<(u32, R)>,
}

impl<R> Batch<R> {
    /// How many outcomes it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leases.iter().map(|lease| lease.outcomes.len()).sum()
    }

    /// Whether it holds none; a batch that was made never does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.iter().all(|lease| lease.outcomes.is_empty())
    }
}

/// The batches of this agent that are not acknowledged, in the order of their numbers.
#[derive(Debug)]
pub(super) struct Outbox<R> {
    batches: VecDeque<Batch<R>>,
    newest: u64,
    outcomes: usize,
}

impl<R> Outbox<R> {
    pub(super) const fn new() -> Self {
        Self {
            batches: VecDeque::new(),
            newest: 0,
            outcomes: 0,
        }
    }

    pub(super) fn push(&mut self, leases: Vec<LeaseReports<R>>) -> &Batch<R> {
        self.newest += 1;
        let batch = Batch {
            sequence: self.newest,
            leases,
        };
        self.outcomes += batch.len();
        self.batches.push_back(batch);
        &self.batches[self.batches.len() - 1]
    }

    /// Numbers what is left from 1.
    pub(super) fn renumber(&mut self) {
        self.newest = 0;
        for batch in &mut self.batches {
            self.newest += 1;
            batch.sequence = self.newest;
        }
    }

    /// Takes out what is settled.
    pub(super) fn acknowledge(&mut self, watermark: u64, above: &[u64]) -> Vec<Batch<R>> {
        let mut settled = Vec::new();
        while self
            .batches
            .front()
            .is_some_and(|batch| batch.sequence <= watermark)
        {
            settled.extend(self.batches.pop_front());
        }
        for sequence in above {
            let found = self
                .batches
                .binary_search_by_key(sequence, |batch| batch.sequence);
            settled.extend(found.ok().and_then(|index| self.batches.remove(index)));
        }
        self.outcomes -= settled.iter().map(Batch::len).sum::<usize>();
        settled
    }

    pub(super) fn batches(&self) -> impl Iterator<Item = &Batch<R>> {
        self.batches.iter()
    }

    /// Number of the newest batch of the session.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Outcomes in all batches.
    pub(super) fn outcomes(&self) -> usize {
        self.outcomes
    }
}
