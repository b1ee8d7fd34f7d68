//! Leases, by id, by deadline and by holder; renewing them and giving them back.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use sidehook_core::time::Timestamp;

use super::state::{Item, QueueKey, State};
use crate::{
    clock,
    read::Lease,
    turn::{Holder, LeaseId, Run},
};

/// The open leases of one partition.
#[derive(Default)]
pub(super) struct Leases {
    by_id: BTreeMap<LeaseId, LeaseState>,
    by_deadline: BTreeSet<(Timestamp, LeaseId)>,
    by_holder: HashMap<Holder, BTreeSet<LeaseId>>,
}

/// One open lease.
pub(super) struct LeaseState {
    pub(super) token: u128,
    pub(super) holder: Holder,
    pub(super) deadline: Timestamp,
    pub(super) runs: Vec<Run>,
    /// What was lent, by position; `None` once it is settled.
    pub(super) slots: Vec<Option<(QueueKey, Item)>>,
    pub(super) open: usize,
}

impl Leases {
    pub(super) fn insert(&mut self, id: LeaseId, lease: LeaseState) {
        self.by_deadline.insert((lease.deadline, id));
        self.by_holder.entry(lease.holder).or_default().insert(id);
        self.by_id.insert(id, lease);
    }

    /// The lease, if it is open and `token` is its own.
    pub(super) fn get(&self, id: LeaseId, token: u128) -> Option<&LeaseState> {
        self.by_id.get(&id).filter(|lease| lease.token == token)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LeaseId, &LeaseState)> {
        self.by_id.iter().map(|(id, lease)| (*id, lease))
    }

    /// Takes one delivery out; the lease ends with its last.
    pub(super) fn take(&mut self, id: LeaseId, position: u16) -> Option<(QueueKey, Item)> {
        let lease = self.by_id.get_mut(&id)?;
        let slot = lease.slots.get_mut(usize::from(position))?.take()?;
        lease.open = lease.open.saturating_sub(1);
        if lease.open == 0 {
            self.remove(id);
        }
        Some(slot)
    }

    /// Ends a lease and answers what was still open of it, by position.
    pub(super) fn remove(&mut self, id: LeaseId) -> Vec<(QueueKey, Item)> {
        let Some(lease) = self.by_id.remove(&id) else {
            return Vec::new();
        };
        self.by_deadline.remove(&(lease.deadline, id));
        if let Some(held) = self.by_holder.get_mut(&lease.holder) {
            held.remove(&id);
            if held.is_empty() {
                self.by_holder.remove(&lease.holder);
            }
        }
        lease.slots.into_iter().flatten().collect()
    }

    fn prolong(&mut self, id: LeaseId, token: u128, deadline: Timestamp) -> bool {
        let Some(lease) = self.by_id.get_mut(&id) else {
            return false;
        };
        if lease.token != token {
            return false;
        }
        self.by_deadline.remove(&(lease.deadline, id));
        lease.deadline = deadline;
        self.by_deadline.insert((deadline, id));
        true
    }

    /// A lease that is over.
    pub(super) fn over(&self, now: Timestamp) -> Option<LeaseId> {
        let first = self.by_deadline.first();
        let first = first.filter(|(deadline, _)| *deadline <= now);
        let ahead = self.by_deadline.iter().rev();
        let ahead = ahead.take_while(|(deadline, _)| clock::is_over(*deadline, now));
        first.or_else(|| ahead.last()).map(|(_, id)| *id)
    }

    /// The lease that ends first.
    pub(super) fn first(&self) -> Option<(Timestamp, LeaseId)> {
        self.by_deadline.first().copied()
    }

    /// All of them, the one that ends first in front.
    pub(super) fn by_deadline(&self) -> impl Iterator<Item = &LeaseState> {
        let ids = self.by_deadline.iter();
        ids.filter_map(|(_, id)| self.by_id.get(id))
    }

    fn held_by(&self, holder: &Holder) -> Vec<LeaseId> {
        self.by_holder
            .get(holder)
            .map(|held| held.iter().copied().collect())
            .unwrap_or_default()
    }
}

impl State {
    /// Makes a lease last until `now + term`; whether it holds.
    pub(super) fn renew(
        &mut self,
        now: Timestamp,
        (id, token): (LeaseId, u128),
        term: Duration,
    ) -> bool {
        self.leases.prolong(id, token, now + term)
    }

    /// Gives `holders`' leases back, but not those in `keep`; how many deliveries.
    pub(super) fn release(&mut self, holders: &[Holder], keep: &[LeaseId]) -> u32 {
        let held = holders.iter().map(|holder| self.leases.held_by(holder));
        let mut held: Vec<LeaseId> = held.flatten().collect();
        held.sort_unstable();
        held.dedup();
        held.into_iter()
            .filter(|id| !keep.contains(id))
            .map(|id| self.take_back(id, 0))
            .sum()
    }

    /// Ends a lease: its open deliveries go back to the heads of their queues, in
    /// their order, each with `lost` more leases lost; how many.
    pub(super) fn take_back(&mut self, id: LeaseId, lost: u8) -> u32 {
        let mut open = self.leases.remove(id);
        let mut count = 0;
        for (key, item) in open.iter_mut().rev() {
            item.leases_lost = item.leases_lost.saturating_add(lost);
            self.put_back(*key, item.clone());
            self.align(*key);
            count += 1;
        }
        count
    }

    /// Reads an open lease.
    pub(super) fn lease(&self, id: LeaseId) -> Option<Lease> {
        let lease = self.leases.by_id.get(&id)?;
        let open = (0_u16..)
            .zip(&lease.slots)
            .filter_map(|(position, slot)| slot.as_ref().map(|_| position))
            .collect();
        Some(Lease {
            id,
            token: lease.token,
            holder: lease.holder,
            deadline: lease.deadline,
            runs: lease.runs.clone(),
            open,
        })
    }
}
