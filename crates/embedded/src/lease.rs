//! Leases: opening and closing them, renewing them, giving them back. A lease is
//! one row; beside it stand one row each for its deadline and its holder, and one
//! for each segment and subscription of which it holds something, so that a
//! delivery can be found without looking through all leases.

use core::time::Duration;

use sidehook_core::{
    address::{Partition, SegmentId},
    id::SubscriptionNumber,
    time::Timestamp,
};
use sidehook_store::turn::{Holder, LeaseId, Run};

use crate::{
    batch::Batch,
    error::Fault,
    layout::{self, Entry, Loan, Place},
};

/// Adds up to the entry of a run's deliveries, a few of them.
pub(crate) fn entry_of(run: &Run, indices: Vec<u8>) -> Entry {
    Entry {
        recorded: run.retry.is_some(),
        leases_lost: run.leases_lost,
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

    /// Gives `holders`' leases back, but not those in `keep`; how many deliveries.
    pub(crate) fn release(&mut self, holders: &[Holder], keep: &[LeaseId]) -> Result<u32, Fault> {
        let mut count = 0;
        for partition in Partition::all() {
            let mut held = Vec::new();
            for holder in holders {
                let prefix = layout::held(partition, *holder);
                for (key, _) in self.tables.holders.all(&prefix)? {
                    held.push(layout::parse_holder(&key)?);
                }
            }
            held.sort_unstable();
            held.dedup();
            for id in held.into_iter().filter(|id| !keep.contains(id)) {
                count += self.take_back(id, 0)?;
            }
        }
        Ok(count)
    }

    /// Ends a lease: its open deliveries go back to the heads of their queues, in
    /// their order, each with `lost` more leases lost; how many.
    pub(crate) fn take_back(&mut self, id: LeaseId, lost: u8) -> Result<u32, Fault> {
        let Some(loan) = self.loan(id)? else {
            let detail = format!("{id:?} has a deadline or a holder, but is no lease");
            return Err(Fault::Corrupt(detail));
        };
        self.close_lease(id, &loan)?;
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
            let mut entry = entry_of(run, indices);
            entry.leases_lost = entry.leases_lost.saturating_add(lost);
            self.put_back(key, &entry)?;
            self.align(key)?;
        }
        Ok(loan.open.count_ones())
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
