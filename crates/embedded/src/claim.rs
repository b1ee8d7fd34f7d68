//! Lending: around the pool's ring of tenants, one queue of each at a time, at
//! most a quantum per visit, never beyond a queue's window. A tenant who has had their
//! share of the demand is passed over where they stand: a demand goes once around, so
//! that it looks at each of them once.

use sidehook_core::{
    address::Partition,
    id::TenantId,
    limits::{CALL_RECORDS, CLAIM_QUANTUM},
    pool::Pool,
    time::Timestamp,
    version::Version,
};
use sidehook_store::{
    rules,
    shares::Shares,
    turn::{Claim, ClaimReply, Demand, Grant, LeaseId, Run, Stamp},
};

use crate::{
    batch::Batch,
    error::Fault,
    lanes::Called,
    layout::Loan,
    ring::{Turn, Walk},
    tables::Index,
};

impl Batch<'_> {
    pub(crate) fn claim(
        &mut self,
        partition: Partition,
        now: Timestamp,
        stamp: Stamp,
        call: &Claim,
    ) -> Called<ClaimReply> {
        rules::claim(call)?;
        let mut left = u32::try_from(CALL_RECORDS).unwrap_or(u32::MAX);
        let mut grants = Vec::with_capacity(call.demands.len());
        let mut shares: Vec<Shares> = call.demands.iter().map(Shares::of).collect();
        for (place, (demand, shares)) in call.demands.iter().zip(&mut shares).enumerate() {
            grants.push(match rules::address(partition, stamp, place) {
                Some(id) => self.grant(now, LeaseId(id), demand, shares, &mut left)?,
                None => None,
            });
        }
        let more = call.demands.iter().zip(&shares).map(|(demand, shares)| {
            let mut walk = Walk::from_front(partition, &demand.pool);
            Ok(self.ring_open(&mut walk, shares)?.is_some())
        });
        Ok(ClaimReply {
            more: more.collect::<Result<_, Fault>>()?,
            catalogs: self.catalogs_of(&grants)?,
            grants,
        })
    }

    fn grant(
        &mut self,
        now: Timestamp,
        lease: LeaseId,
        demand: &Demand,
        shares: &mut Shares,
        left: &mut u32,
    ) -> Result<Option<Grant>, Fault> {
        let wanted = demand.max_deliveries.min(*left);
        let runs = self.lend(lease.0.partition, &demand.pool, wanted, shares)?;
        let count: usize = runs.iter().map(|run| run.indices.len()).sum();
        if count == 0 {
            return Ok(None);
        }
        *left = left.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        let loan = Loan {
            token: demand.token,
            holder: demand.holder,
            deadline: now + demand.lease,
            open: u128::MAX >> 128_usize.saturating_sub(count),
            runs,
        };
        self.open_lease(lease, &loan)?;
        Ok(Some(Grant {
            lease,
            deadline: loan.deadline,
            runs: loan.runs,
        }))
    }

    fn lend(
        &mut self,
        partition: Partition,
        pool: &Pool,
        max: u32,
        shares: &mut Shares,
    ) -> Result<Vec<Run>, Fault> {
        let mut runs = Vec::new();
        let mut left = max;
        let mut walk = Walk::from_front(partition, pool);
        while left > 0 {
            let Some(turn) = self.ring_turn(pool, &mut walk, shares)? else {
                break;
            };
            let tenant = turn.queue.0;
            let most = left.min(shares.left(tenant));
            let taken = self.visit(pool, &turn, most, &mut runs);
            let taken = taken.map_err(|fault| fault.blame(Index::RingQueues, &turn.key(pool)))?;
            shares.take(tenant, taken);
            left -= taken;
        }
        Ok(runs)
    }

    /// Takes from the queue whose turn it is, at most `left`; how much.
    fn visit(
        &mut self,
        pool: &Pool,
        turn: &Turn,
        left: u32,
        runs: &mut Vec<Run>,
    ) -> Result<u32, Fault> {
        let key = turn.queue;
        // The reply tells its version: met here, a bad row is this queue's.
        self.tenant(key.0)?;
        let Some(queue) = self.queue(key)? else {
            let detail = format!("{} {:?} is in a ring, but no queue", key.0, key.1);
            return Err(Fault::corrupt(detail));
        };
        // Alone it would have every visit.
        let quantum = if turn.alone { left } else { CLAIM_QUANTUM };
        let ready = u32::try_from(queue.ready).unwrap_or(u32::MAX);
        let take = quantum.min(queue.room()).min(left).min(ready);
        let take = self.lend_from(key, take, runs)?;
        let ring = if self.queue(key)?.is_some_and(|queue| queue.eligible()) && take > 0 {
            self.ring_rotate(pool, turn)?
        } else {
            self.ring_retire(pool, turn)?;
            0
        };
        if let Some(queue) = self.queue_mut(key)? {
            queue.ring = ring;
        }
        Ok(take)
    }

    fn catalogs_of(&mut self, grants: &[Option<Grant>]) -> Result<Vec<(TenantId, Version)>, Fault> {
        let runs = grants.iter().flatten().flat_map(|grant| &grant.runs);
        let mut tenants: Vec<TenantId> = runs.map(|run| run.tenant).collect();
        tenants.sort_unstable();
        tenants.dedup();
        let mut catalogs = Vec::with_capacity(tenants.len());
        for tenant in tenants {
            if let Some(row) = self.tenant(tenant)? {
                catalogs.push((tenant, row.version));
            }
        }
        Ok(catalogs)
    }
}
