//! Lending: around the pool's ring of tenants, one queue of each at a time, at
//! most a quantum per visit, never beyond a queue's window. A tenant who has had their
//! share of the demand is passed over where they stand.

use sidehook_core::{
    id::TenantId,
    limits::{CALL_RECORDS, CLAIM_QUANTUM},
    pool::Pool,
    time::Timestamp,
    version::Version,
};

use super::{
    lease::LeaseState,
    state::{Item, QueueKey, State},
};
use crate::{
    error::CallError,
    read::Whereabouts,
    rules,
    shares::Shares,
    turn::{Claim, ClaimReply, Demand, Grant, LeaseId, Run, Stamp},
};

impl State {
    pub(super) fn claim(
        &mut self,
        now: Timestamp,
        stamp: Stamp,
        call: &Claim,
    ) -> Result<ClaimReply, CallError> {
        rules::claim(call)?;
        let mut left = u32::try_from(CALL_RECORDS).unwrap_or(u32::MAX);
        let mut grants = Vec::with_capacity(call.demands.len());
        let mut shares: Vec<Shares> = call.demands.iter().map(Shares::of).collect();
        for (place, (demand, shares)) in call.demands.iter().zip(&mut shares).enumerate() {
            let lease = rules::address(self.partition, stamp, place).map(LeaseId);
            let grant = lease.and_then(|lease| self.grant(now, lease, demand, shares, &mut left));
            grants.push(grant);
        }
        let more = call.demands.iter().zip(&shares).map(|(demand, shares)| {
            let open = |tenant| shares.left(tenant) > 0;
            self.rings.has(&demand.pool, open)
        });
        let more = more.collect();
        let catalogs = self.catalogs_of(&grants);
        Ok(ClaimReply {
            grants,
            more,
            catalogs,
        })
    }

    fn grant(
        &mut self,
        now: Timestamp,
        lease: LeaseId,
        demand: &Demand,
        shares: &mut Shares,
        left: &mut u32,
    ) -> Option<Grant> {
        let lent = self.lend(&demand.pool, demand.max_deliveries.min(*left), shares);
        if lent.is_empty() {
            return None;
        }
        *left = left.saturating_sub(u32::try_from(lent.len()).unwrap_or(u32::MAX));
        for ((tenant, number), item) in &lent {
            let known = self.known.entry(item.id(*number));
            let (_, place) = known.or_insert_with(|| (*tenant, Whereabouts::default()));
            place.leased = true;
        }
        let deadline = now + demand.lease;
        let runs = runs(&lent);
        self.leases.insert(
            lease,
            LeaseState {
                token: demand.token,
                holder: demand.holder,
                deadline,
                runs: runs.clone(),
                open: lent.len(),
                slots: lent.into_iter().map(Some).collect(),
            },
        );
        Some(Grant {
            lease,
            deadline,
            runs,
        })
    }

    fn lend(&mut self, pool: &Pool, max: u32, shares: &mut Shares) -> Vec<(QueueKey, Item)> {
        let mut lent = Vec::new();
        let mut left = max;
        while left > 0 {
            let Some(key) = self.rings.next(pool, |tenant| shares.left(tenant) > 0) else {
                break;
            };
            let Some(queue) = self.queues.get_mut(&key) else {
                continue;
            };
            let take = CLAIM_QUANTUM.min(queue.room()).min(left);
            let take = take.min(shares.left(key.0));
            let take = take.min(u32::try_from(queue.ready.len()).unwrap_or(u32::MAX));
            lent.extend(queue.ready.drain(..take as usize).map(|item| (key, item)));
            queue.in_flight += take;
            left -= take;
            shares.take(key.0, take);
            queue.on_ring = queue.eligible();
            if queue.on_ring {
                self.rings.add(pool, key);
            }
        }
        lent
    }

    fn catalogs_of(&self, grants: &[Option<Grant>]) -> Vec<(TenantId, Version)> {
        let mut tenants: Vec<_> = grants
            .iter()
            .flatten()
            .flat_map(|grant| grant.runs.iter().map(|run| run.tenant))
            .collect();
        tenants.sort_unstable();
        tenants.dedup();
        tenants
            .into_iter()
            .filter_map(|tenant| Some((tenant, self.tenants.get(&tenant)?.version)))
            .collect()
    }
}

/// Joins neighbours of one segment and queue into runs.
pub(super) fn runs(lent: &[(QueueKey, Item)]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for ((tenant, subscription), item) in lent {
        if let Some(last) = runs.last_mut()
            && item.retry.is_none()
            && last.retry.is_none()
            && (last.tenant, last.subscription) == (*tenant, *subscription)
            && last.segment == item.segment
            && last.generation == item.generation
            && (last.leases_lost, last.charge) == (item.leases_lost, item.charge)
        {
            last.indices.push(item.index);
            continue;
        }
        runs.push(Run {
            tenant: *tenant,
            subscription: *subscription,
            segment: item.segment,
            indices: vec![item.index],
            leases_lost: item.leases_lost,
            charge: item.charge,
            generation: item.generation,
            retry: item.retry.clone(),
        });
    }
    runs
}
