//! What tenants have and may have, counted anew from all lines whenever somebody asks.

use sidehook_core::{address::Partition, id::TenantId, limits::LOG_AGE, time::Timestamp};

use super::{Ledger, Published};
use crate::{
    budget::{Exhausted, Usage, Which},
    turn::TenantPublish,
};

impl Ledger {
    /// What a tenant has.
    #[must_use]
    pub fn used(&self, tenant: TenantId) -> Usage {
        let lines = self.lines.iter();
        let mine = lines.filter(|line| line.tenant == tenant && line.unfinished());
        let kept = self.segments.iter();
        let kept = kept.filter(|one| one.tenant == tenant && !one.gone);
        Usage {
            pending: mine.map(|line| line.charge).sum(),
            log: kept.map(|one| one.bytes).sum(),
        }
    }

    /// What refuses a tenant's events, if something must.
    pub(super) fn exhausted(&mut self, now: Timestamp, call: &TenantPublish) -> Option<Exhausted> {
        self.budgets.insert(call.tenant, call.budget);
        let used = self.used(call.tenant);
        let sum = call.budget.log + call.budget.pending;
        let (which, used, budget) = if used.pending >= call.budget.pending {
            (Which::Pending, used.pending, call.budget.pending)
        } else if used.log >= sum {
            (Which::Log, used.log, sum)
        } else {
            return None;
        };
        let mut events = call.events.iter();
        let is_new = events.any(|event| {
            let key = event.idempotency.as_ref();
            key.is_none_or(|key| self.key_used(now, call.tenant, key).is_none())
        });
        is_new.then_some(Exhausted {
            which,
            used,
            budget,
        })
    }

    /// Lets everything leave that must: what waited for its last delivery, what is
    /// beyond its tenant's budget, what is past its age.
    pub(super) fn trim(&mut self, now: Timestamp, partition: Partition) {
        let here = |one: &Published| Partition::of(one.tenant) == partition;
        for place in 0..self.segments.len() {
            if self.is_at(place, |one| here(one) && one.overdue) {
                self.leave(place);
            }
        }
        let budgets = self.budgets.clone().into_iter();
        for (tenant, budget) in budgets.filter(|(one, _)| Partition::of(*one) == partition) {
            while self.used(tenant).log > budget.log {
                let mut places = 0..self.segments.len();
                let stays = |one: &Published| one.tenant == tenant && !one.overdue && !one.gone;
                let Some(oldest) = places.find(|place| self.is_at(*place, stays)) else {
                    break;
                };
                self.leave(oldest);
            }
        }
        for place in 0..self.segments.len() {
            if self.is_at(place, |one| here(one) && one.at + LOG_AGE <= now) {
                self.leave(place);
            }
        }
    }

    fn is_at(&self, place: usize, what: impl Fn(&Published) -> bool) -> bool {
        self.segments.get(place).is_some_and(what)
    }

    /// A segment leaves, at once or with its last delivery.
    fn leave(&mut self, place: usize) {
        let Some(one) = self.segments.get_mut(place) else {
            return;
        };
        let mut lines = self.lines.iter();
        let mine = |line: &super::Line| line.delivery.segment() == Some(one.segment);
        one.gone |= !lines.any(|line| line.unfinished() && mine(line));
        one.overdue = true;
    }
}
