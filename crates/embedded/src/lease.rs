//! Leases: opening and closing them, renewing them, giving them back. A lease is
//! one row; beside it stand one row each for its deadline and its holder, and one
//! for each segment and subscription of which it holds something, so that a
//! delivery can be found without looking through all leases.

use core::time::Duration;

use sidehook_core::{
    address::{Partition, SegmentId},
    id::SubscriptionNumber,
    limits::CALL_RECORDS,
    time::Timestamp,
};
use sidehook_store::turn::{Holder, LeaseId, Run};

use crate::{
    batch::Batch,
    error::Fault,
    layout::{self, Entry, Loan, Place},
    tables::{DAMAGED_LEASE, Index},
};

/// Adds up to the entry of a run's deliveries, a few of them.
pub(crate) fn entry_of(run: &Run, indices: Vec<u8>) -> Entry {
    Entry {
        recorded: run.retry.is_some(),
        leases_lost: run.leases_lost,
        charge: run.charge,
        generation: run.generation,
        segment: run.segment,
        indices,
    }
}

/// What a lease holds something of, each once.
fn held(loan: &Loan) -> Vec<(SegmentId, SubscriptionNumber)> {
    let runs = loan.runs.iter();
    let mut held: Vec<_> = runs.map(|run| (run.segment, run.subscription)).collect();
    held.sort_unstable();
    held.dedup();
    held
}

impl Batch<'_> {
    /// Reads an open lease.
    pub(crate) fn loan(&self, id: LeaseId) -> Result<Option<Loan>, Fault> {
        let parse = |value| Loan::parse(id.0.partition, value);
        self.tables.leases.read(&layout::segment(id.0), parse)
    }

    /// Keeps a new lease.
    pub(crate) fn open_lease(&mut self, id: LeaseId, loan: &Loan) -> Result<(), Fault> {
        self.keep_lease(id, loan)?;
        let deadline = layout::timed(loan.deadline, id.0);
        self.tables.deadlines.put(&deadline, &[])?;
        let holder = layout::holder(loan.holder, id);
        self.tables.holders.put(&holder, &[])?;
        for (segment, number) in held(loan) {
            let key = layout::lent(segment, number, id);
            self.tables.lent.put(&key, &[])?;
        }
        Ok(())
    }

    /// Keeps what changed of a lease other than its deadline; one with nothing open
    /// ends.
    pub(crate) fn keep_lease(&mut self, id: LeaseId, loan: &Loan) -> Result<(), Fault> {
        if loan.open == 0 {
            return self.close_lease(id, loan);
        }
        let key = layout::segment(id.0);
        self.tables.leases.put(&key, &loan.pack())
    }

    fn close_lease(&mut self, id: LeaseId, loan: &Loan) -> Result<(), Fault> {
        self.tables.leases.delete(&layout::segment(id.0))?;
        let deadline = layout::timed(loan.deadline, id.0);
        self.tables.deadlines.delete(&deadline)?;
        let holder = layout::holder(loan.holder, id);
        self.tables.holders.delete(&holder)?;
        for (segment, number) in held(loan) {
            let key = layout::lent(segment, number, id);
            self.tables.lent.delete(&key)?;
        }
        Ok(())
    }

    /// Makes a lease last until `now + term`; whether it holds.
    pub(crate) fn renew(
        &mut self,
        now: Timestamp,
        id: LeaseId,
        token: u128,
        term: Duration,
    ) -> Result<bool, Fault> {
        let Some(mut loan) = self.loan(id)?.filter(|loan| loan.token == token) else {
            return Ok(false);
        };
        let had = layout::timed(loan.deadline, id.0);
        self.tables.deadlines.delete(&had)?;
        loan.deadline = now + term;
        let deadline = layout::timed(loan.deadline, id.0);
        self.tables.deadlines.put(&deadline, &[])?;
        self.keep_lease(id, &loan)?;
        Ok(true)
    }

    /// Gives `holders`' leases back, in their order from `after` on and at most so
    /// many, but not those in `keep`, which is sorted; how many deliveries, and after
    /// which lease to go on.
    pub(crate) fn release(
        &mut self,
        holders: &[Holder],
        keep: &[LeaseId],
        after: Option<LeaseId>,
    ) -> Result<(u32, Option<LeaseId>), Fault> {
        let (mut count, mut left) = (0_u32, CALL_RECORDS);
        let first = after.map(|id| id.0.partition);
        for partition in Partition::all().filter(|one| first.is_none_or(|first| *one >= first)) {
            let after = after.filter(|id| id.0.partition == partition);
            for (id, key) in self.held_by(partition, holders, after, left)? {
                if keep.binary_search(&id).is_err() {
                    let taken = self.take_back(id, 0);
                    let taken = taken.map_err(|fault| fault.blame(Index::Holders, &key))?;
                    count = count.saturating_add(taken);
                }
                left -= 1;
                if left == 0 {
                    return Ok((count, Some(id)));
                }
            }
        }
        Ok((count, None))
    }

    /// The first leases behind `after` that any of the holders has, with their keys.
    fn held_by(
        &self,
        partition: Partition,
        holders: &[Holder],
        after: Option<LeaseId>,
        max: usize,
    ) -> Result<Vec<(LeaseId, Vec<u8>)>, Fault> {
        let mut held = Vec::new();
        for holder in holders {
            let prefix = layout::held(partition, *holder);
            let from = match after {
                // The first key above another one is that one with a zero behind it.
                Some(after) => [&layout::holder(*holder, after)[..], &[0]].concat(),
                None => prefix.clone(),
            };
            for (key, _) in self.tables.holders.some(&prefix, &from, max)? {
                let id = layout::parse_holder(&key);
                held.push((id.map_err(|fault| fault.blame(Index::Holders, &key))?, key));
            }
        }
        held.sort_unstable();
        held.dedup_by_key(|(id, _)| *id);
        held.truncate(max);
        Ok(held)
    }

    /// Ends a lease: its open deliveries go back to the heads of their queues, in
    /// their order, each with `lost` more leases lost; how many. What is of a queue that
    /// cannot be read goes to the damaged rows, and keeps nothing else back.
    pub(crate) fn take_back(&mut self, id: LeaseId, lost: u8) -> Result<u32, Fault> {
        let Some(loan) = self.loan(id)? else {
            let detail = format!("{id:?} has a deadline or a holder, but is no lease");
            return Err(Fault::corrupt(detail));
        };
        self.close_lease(id, &loan)?;
        let mut stranded = Vec::new();
        let mut returned = 0_usize;
        let mut position: usize = loan.runs.iter().map(|run| run.indices.len()).sum();
        for run in loan.runs.iter().rev() {
            position -= run.indices.len();
            let open = (position..).zip(&run.indices);
            let open = open.filter(|(at, _)| loan.is_open(u16::try_from(*at).unwrap_or(u16::MAX)));
            let indices: Vec<u8> = open.map(|(_, index)| *index).collect();
            if indices.is_empty() {
                continue;
            }
            let key = (run.tenant, run.subscription);
            match self.queue(key) {
                Ok(_) => {}
                Err(Fault::Corrupt(detail, _)) => {
                    tracing::error!(%detail, segment = ?run.segment, deliveries = indices.len(),
                        "a lease's deliveries cannot go back: they go to the damaged rows");
                    stranded.push(Run {
                        indices,
                        ..run.clone()
                    });
                    continue;
                }
                Err(fault) => return Err(fault),
            }
            returned += indices.len();
            let mut entry = entry_of(run, indices);
            entry.leases_lost = entry.leases_lost.saturating_add(lost);
            self.put_back(key, &entry)?;
            self.align(key)?;
        }
        self.strand(id, loan, stranded)?;
        Ok(u32::try_from(returned).unwrap_or(u32::MAX))
    }

    /// Keeps what cannot go back, the last first, as a lease of nothing else.
    fn strand(&mut self, id: LeaseId, loan: Loan, mut runs: Vec<Run>) -> Result<(), Fault> {
        let count: usize = runs.iter().map(|run| run.indices.len()).sum();
        if count == 0 {
            return Ok(());
        }
        runs.reverse();
        let left = Loan {
            open: u128::MAX >> 128_usize.saturating_sub(count),
            runs,
            ..loan
        };
        let at = layout::damaged(DAMAGED_LEASE, &layout::segment(id.0));
        self.tables.damaged.put(&at, &left.pack())
    }
}

/// Whether a delivery is lent under a lease.
pub(crate) fn holds(loan: &Loan, place: &Place) -> bool {
    let deliveries = loan
        .runs
        .iter()
        .flat_map(|run| run.indices.iter().map(move |index| (run, *index)));
    (0..).zip(deliveries).any(|(position, (run, index))| {
        loan.is_open(position)
            && (run.tenant, run.subscription) == place.queue
            && (run.segment, index, run.generation)
                == (place.segment, place.index, place.generation)
    })
}
