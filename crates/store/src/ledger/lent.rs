//! Lending and what comes of it.

use std::collections::HashSet;

use sidehook_core::{
    address::{DeliveryId, Partition},
    id::{SubscriptionNumber, TenantId},
    limits::CALL_RECORDS,
    pool::Pool,
    time::Timestamp,
};

use super::{Ledger, Loan, Standing, Told, demand};
use crate::turn::{
    Claim, ClaimReply, Demand, Disposition, Grant, Holder, LeaseId, LeaseSettle, Run, Settle,
    SettleItem, SettleReply,
};

impl Ledger {
    /// Deliveries of a subscription that are lent.
    fn in_flight(&self, key: (TenantId, SubscriptionNumber)) -> usize {
        let lent = |standing| matches!(standing, Standing::Leased(_));
        let mine = self.lines.iter().filter(|one| one.subscription() == key);
        mine.filter(|one| lent(one.standing)).count()
    }

    /// Whether the pool has something in this partition that may be lent.
    pub(super) fn has_work(&self, partition: Partition, pool: &Pool) -> bool {
        self.has_work_of(partition, pool, |_| true)
    }

    /// The same, of tenants that are `open` alone.
    fn has_work_of(
        &self,
        partition: Partition,
        pool: &Pool,
        open: impl Fn(TenantId) -> bool,
    ) -> bool {
        self.subscriptions.iter().any(|(key, one)| {
            let Some(queue) = &one.queue else {
                return false;
            };
            let ready = |line: &super::Line| {
                line.subscription() == *key && line.standing == Standing::Ready
            };
            queue.pool == *pool
                && !queue.paused
                && open(key.0)
                && Partition::of(key.0) == partition
                && self.in_flight(*key) < queue.window as usize
                && self.lines.iter().any(ready)
        })
    }

    /// A claim was executed.
    ///
    /// # Errors
    /// It lent what it may not, or less than it could.
    pub fn claimed(
        &mut self,
        now: Timestamp,
        partition: Partition,
        call: &Claim,
        answer: &ClaimReply,
    ) -> Told {
        let demands = call.demands.len();
        demand(
            answer.grants.len() == demands && answer.more.len() == demands,
            || "a claim answers every demand".to_owned(),
        )?;
        let mut lent = 0;
        let mut tenants = HashSet::new();
        for (wanted, grant) in call.demands.iter().zip(&answer.grants) {
            let count = match grant {
                Some(grant) => self.lend(now, wanted, grant)?,
                None => 0,
            };
            lent += count;
            demand(
                count <= wanted.max_deliveries as usize && lent <= CALL_RECORDS,
                || format!("{count} lent to one demand, {lent} so far"),
            )?;
            let over = self.over_share(wanted, grant.as_ref());
            demand(over.is_none(), || format!("{over:?} is above its share"))?;
            let short = count < wanted.max_deliveries as usize && lent < CALL_RECORDS;
            let open = |tenant| share_left(wanted, grant.as_ref(), tenant) > 0;
            let has = short && self.has_work_of(partition, &wanted.pool, open);
            demand(!has, || {
                format!("{:?} could have been lent more than {count}", wanted.pool)
            })?;
            let runs = grant.iter().flat_map(|grant| &grant.runs);
            tenants.extend(runs.map(|run| run.tenant));
        }
        let grants = answer.grants.iter().map(Option::as_ref);
        for ((wanted, more), grant) in call.demands.iter().zip(&answer.more).zip(grants) {
            let open = |tenant| share_left(wanted, grant, tenant) > 0;
            let has = self.has_work_of(partition, &wanted.pool, open);
            demand(has == *more, || {
                format!("{:?} has more: {has}", wanted.pool)
            })?;
        }
        let told: HashSet<_> = answer.catalogs.iter().copied().collect();
        let known = tenants.into_iter().map(|one| (one, self.catalog(one)));
        demand(
            told.len() == answer.catalogs.len() && told == known.collect(),
            || format!("the catalogs of the grants' tenants, each once: {told:?}"),
        )
    }

    /// A tenant of whom a demand was lent more than it may.
    fn over_share(&self, wanted: &Demand, grant: Option<&Grant>) -> Option<TenantId> {
        let mut tenants = self.catalogs.keys().copied();
        tenants.find(|tenant| share_left(wanted, grant, *tenant) < 0)
    }

    fn lend(&mut self, now: Timestamp, wanted: &Demand, grant: &Grant) -> Result<usize, String> {
        demand(grant.deadline == now + wanted.lease, || {
            format!("the lease ends at {:?}", now + wanted.lease)
        })?;
        let mut deliveries = Vec::new();
        for run in &grant.runs {
            for index in &run.indices {
                let id = DeliveryId::new(run.segment, *index, run.subscription, run.generation);
                self.lend_one(run, id, wanted, grant.lease)?;
                deliveries.push(id);
            }
        }
        let count = deliveries.len();
        demand(count > 0, || "a grant of nothing".to_owned())?;
        self.loans.push(Loan {
            lease: grant.lease,
            token: wanted.token,
            holder: wanted.holder,
            deadline: grant.deadline,
            deliveries,
        });
        Ok(count)
    }

    fn lend_one(&mut self, run: &Run, id: DeliveryId, wanted: &Demand, lease: LeaseId) -> Told {
        let key = (run.tenant, run.subscription);
        let queue = self.queue(key).cloned();
        let queue = queue.ok_or_else(|| format!("{id}: its subscription is gone"))?;
        demand(!queue.paused && queue.pool == wanted.pool, || {
            format!("{id} is lent while paused or to the wrong pool")
        })?;
        let in_flight = self.in_flight(key);
        demand(in_flight < queue.window as usize, || {
            format!("{id} goes beyond a window of {}", queue.window)
        })?;
        let line = self.line(id)?;
        demand(line.standing == Standing::Ready, || {
            format!("{id} is lent, but is {:?}", line.standing)
        })?;
        let told = (run.tenant, run.leases_lost, &run.retry);
        let known = (line.tenant, line.leases_lost, &line.retry);
        demand(told == known, || format!("{id} is {known:?}, not {told:?}"))?;
        line.standing = Standing::Leased(lease);
        Ok(())
    }

    /// The loan, if the lease is not over and `token` is its own.
    fn holding(&self, lease: LeaseId, token: u128) -> Option<&Loan> {
        let loan = self.loans.iter().find(|loan| loan.lease == lease)?;
        let open = self
            .lines
            .iter()
            .any(|line| line.standing == Standing::Leased(lease));
        (open && loan.token == token).then_some(loan)
    }

    /// A settle was executed.
    ///
    /// # Errors
    /// The positions that it called stale are not those that are.
    pub fn settled(&mut self, now: Timestamp, call: &Settle, answer: &SettleReply) -> Told {
        demand(call.leases.len() == answer.stale.len(), || {
            "a settle answers for every lease".to_owned()
        })?;
        for (one, told) in call.leases.iter().zip(&answer.stale) {
            let mut stale = self.settle_lease(now, one)?;
            let mut told = told.clone();
            stale.sort_unstable();
            told.sort_unstable();
            demand(stale == told, || {
                format!("{:?}: stale are {stale:?}, not {told:?}", one.lease)
            })?;
        }
        Ok(())
    }

    fn settle_lease(&mut self, now: Timestamp, call: &LeaseSettle) -> Result<Vec<u16>, String> {
        let holding = self.holding(call.lease, call.token).cloned();
        let mut stale = Vec::new();
        for item in &call.items {
            let id = holding
                .as_ref()
                .and_then(|loan| loan.deliveries.get(usize::from(item.position)).copied());
            let held = Standing::Leased(call.lease);
            match id {
                Some(id) if self.line(id)?.standing == held => {
                    self.mark(now, item);
                    self.conclude(id, item)?;
                }
                _ => stale.push(item.position),
            }
        }
        Ok(stale)
    }

    fn conclude(&mut self, id: DeliveryId, item: &SettleItem) -> Told {
        let there = self.queue((item.tenant, item.subscription)).is_some();
        if let Disposition::End { record } | Disposition::Retry { record, .. } = &item.disposition {
            let segment = self
                .segments
                .iter_mut()
                .find(|one| one.segment == item.segment);
            let segment = segment.ok_or_else(|| format!("{id} outlived its event"))?;
            segment.outcomes.push(record.clone());
        }
        let line = self.line(id)?;
        line.standing = match &item.disposition {
            Disposition::End { .. } => Standing::Ended,
            Disposition::Retry { at, retry, .. } if there => {
                line.retry = Some(retry.clone());
                Standing::Waiting(*at)
            }
            Disposition::Release if there => Standing::Ready,
            _ => Standing::Cancelled,
        };
        Ok(())
    }

    /// Ends a lease; how many deliveries it still held.
    pub(super) fn take_back(&mut self, lease: LeaseId, lost: u8) -> u32 {
        let mut count = 0;
        for place in 0..self.lines.len() {
            let there =
                |ledger: &Self, line: &super::Line| ledger.queue(line.subscription()).is_some();
            let standing = match self.lines.get(place) {
                Some(line) if line.standing == Standing::Leased(lease) => {
                    if there(self, line) {
                        Standing::Ready
                    } else {
                        Standing::Cancelled
                    }
                }
                _ => continue,
            };
            if let Some(line) = self.lines.get_mut(place) {
                line.standing = standing;
                line.leases_lost = line.leases_lost.saturating_add(lost);
            }
            count += 1;
        }
        count
    }

    /// Leases were renewed.
    ///
    /// # Errors
    /// It told of one that it holds or not, and the contrary is true.
    pub fn renewed(&mut self, until: Timestamp, leases: &[(LeaseId, u128)], told: &[bool]) -> Told {
        let holds = |(lease, token): &(LeaseId, u128)| self.holding(*lease, *token).is_some();
        let wanted: Vec<bool> = leases.iter().map(holds).collect();
        demand(wanted == told, || format!("renewed: {wanted:?}"))?;
        let held = leases.iter().zip(wanted).filter(|(_, holds)| *holds);
        for ((lease, _), _) in held {
            for loan in self.loans.iter_mut().filter(|loan| loan.lease == *lease) {
                loan.deadline = until;
            }
        }
        Ok(())
    }

    /// A holder's leases were given back.
    ///
    /// # Errors
    /// The number of deliveries is another.
    pub fn released(&mut self, holder: Holder, keep: &[LeaseId], told: u32) -> Told {
        let given: Vec<LeaseId> = self
            .loans
            .iter()
            .filter(|loan| loan.holder == holder && !keep.contains(&loan.lease))
            .map(|loan| loan.lease)
            .collect();
        let wanted: u32 = given
            .into_iter()
            .map(|lease| self.take_back(lease, 0))
            .sum();
        demand(wanted == told, || {
            format!("{wanted} are given back, not {told}")
        })
    }
}

/// What a demand's share of a tenant leaves beyond the grant.
fn share_left(wanted: &Demand, grant: Option<&Grant>, tenant: TenantId) -> i64 {
    let named = wanted.shares.iter().find(|(named, _)| *named == tenant);
    let share = named.map_or(wanted.per_tenant, |(_, share)| *share);
    let runs = grant.iter().flat_map(|grant| &grant.runs);
    let mine = runs.filter(|run| run.tenant == tenant);
    let lent: usize = mine.map(|run| run.indices.len()).sum();
    i64::from(share) - lent as i64
}
