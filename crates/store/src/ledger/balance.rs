//! Comparing: a partition laid open, and what a store tells of single deliveries,
//! with what the ledger knows.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sidehook_core::{
    address::{DeliveryId, Partition, SegmentId},
    id::{SubscriptionNumber, TenantId},
    limits::LOG_AGE,
    pool::Pool,
    time::Timestamp,
};

use super::{Ledger, Standing, Told, demand};
use crate::{
    inspect::Inspection,
    read::{Lease, Segment, Whereabouts},
};

type Places = BTreeMap<(TenantId, DeliveryId), Standing>;

/// Everything that contradicts itself in a partition laid open, whatever happened
/// before: a delivery in two places, a counter that does not count, a fault that the
/// store found itself.
///
/// # Errors
/// The first contradiction.
pub fn sound(seen: &Inspection) -> Told {
    places(seen)?;
    let mut lent: BTreeMap<(TenantId, SubscriptionNumber), u32> = BTreeMap::new();
    for (tenant, id, _) in &seen.leased {
        *lent.entry((*tenant, id.subscription())).or_default() += 1;
    }
    let counted = seen.in_flight.iter();
    let counted: BTreeMap<_, _> = counted
        .map(|(tenant, one, n)| ((*tenant, *one), *n))
        .collect();
    demand(lent == counted, || {
        format!("in flight are {lent:?}, counted are {counted:?}")
    })?;
    demand(seen.faults.is_empty(), || {
        format!("faults: {:?}", seen.faults)
    })
}

/// Where each unfinished delivery is; fails if one is in two places.
fn places(seen: &Inspection) -> Result<Places, String> {
    let ready = seen.ready.iter().map(|(t, id)| (*t, *id, Standing::Ready));
    let leased = seen.leased.iter();
    let leased = leased.map(|(t, id, lease)| (*t, *id, Standing::Leased(*lease)));
    let waiting = seen.waiting.iter();
    let waiting = waiting.map(|(t, id, due)| (*t, *id, Standing::Waiting(*due)));
    let mut places = Places::new();
    for (tenant, id, standing) in ready.chain(leased).chain(waiting) {
        if let Some(other) = places.insert((tenant, id), standing) {
            return Err(format!("{id} is {standing:?} and {other:?}"));
        }
    }
    Ok(places)
}

impl Ledger {
    /// Compares a partition laid open at `now`.
    ///
    /// # Errors
    /// The first difference.
    pub fn balance(&self, partition: Partition, seen: &Inspection) -> Told {
        sound(seen)?;
        let told = places(seen)?;
        let here = |tenant: TenantId| Partition::of(tenant) == partition;
        let lines = self.lines.iter();
        let known: Places = lines
            .filter(|line| line.unfinished() && here(line.tenant))
            .map(|line| ((line.tenant, line.delivery), line.standing))
            .collect();
        for ((tenant, id), standing) in &known {
            let there = told.get(&(*tenant, *id));
            demand(there == Some(standing), || {
                format!("{id} must be {standing:?} and is {there:?}")
            })?;
        }
        let stray = told.keys().find(|key| !known.contains_key(*key));
        demand(stray.is_none(), || {
            format!("{stray:?} is there and must not be")
        })?;
        let mine = self.segments.iter();
        let mine = mine.filter(|one| here(one.tenant) && !one.gone).count();
        demand(mine == seen.segments, || {
            format!("{mine} segments, not {}", seen.segments)
        })?;
        self.healthy(partition, seen)?;
        let tenants: BTreeSet<TenantId> = self.catalogs.keys().copied().collect();
        for tenant in tenants.into_iter().filter(|tenant| here(*tenant)) {
            let wanted = self.used(tenant);
            let told = seen.used.get(&tenant).copied().unwrap_or_default();
            demand(wanted == told, || {
                format!("{tenant} has {wanted:?}, not {told:?}")
            })?;
        }
        Ok(())
    }

    /// Compares what a store tells of a tenant's deliveries.
    ///
    /// # Errors
    /// The first difference.
    pub fn located(&self, tenant: TenantId, asked: &[DeliveryId], told: &[Whereabouts]) -> Told {
        for (id, told) in asked.iter().zip(told) {
            let place = self.places.get(id).and_then(|place| self.lines.get(*place));
            let mine = place.filter(|line| line.tenant == tenant && line.unfinished());
            let wanted = mine.map_or_else(Whereabouts::default, |line| Whereabouts {
                retry: line.retry.clone(),
                due: match line.standing {
                    Standing::Waiting(due) => Some(due),
                    _ => None,
                },
                leased: matches!(line.standing, Standing::Leased(_)),
            });
            demand(*told == wanted, || {
                format!("{id} is {wanted:?}, not {told:?}")
            })?;
        }
        demand(asked.len() == told.len(), || "one answer each".to_owned())
    }

    /// Compares the segments that must be there with what a store tells of them. Records
    /// of attempts are kept for their age; of an event that is older, and stays for what is
    /// unfinished, the oldest may have left.
    ///
    /// # Errors
    /// The first difference.
    pub fn kept(
        &self,
        now: Timestamp,
        asked: &[SegmentId],
        told: &[Option<Segment>],
        outcomes: &[Vec<Bytes>],
    ) -> Told {
        for ((id, told), outcomes) in asked.iter().zip(told).zip(outcomes) {
            let Some(one) = self.segments.iter().find(|one| one.segment == *id) else {
                demand(told.is_none() && outcomes.is_empty(), || {
                    format!("{id:?} is there and must not be")
                })?;
                continue;
            };
            if one.gone {
                demand(told.is_none() && outcomes.is_empty(), || {
                    format!("{id:?} is there and must have left")
                })?;
                continue;
            }
            let wanted = Segment {
                tenant: one.tenant,
                records: one.records.clone(),
            };
            demand(told.as_ref() == Some(&wanted), || {
                format!("{id:?} is {wanted:?}, not {told:?}")
            })?;
            let is_whole = *outcomes == one.outcomes;
            let is_old = one.at + LOG_AGE <= now;
            demand(
                is_whole || (is_old && one.outcomes.ends_with(outcomes)),
                || format!("outcomes are {:?}, not {outcomes:?}", one.outcomes),
            )?;
        }
        let count = asked.len();
        demand(told.len() == count && outcomes.len() == count, || {
            "one answer each".to_owned()
        })
    }

    /// Compares open leases with what a store tells of them.
    ///
    /// # Errors
    /// The first difference.
    pub fn leased(&self, told: &[Option<Lease>]) -> Told {
        demand(told.len() == self.loans.len(), || {
            "one answer each".to_owned()
        })?;
        for (loan, told) in self.loans.iter().zip(told) {
            let held: BTreeSet<DeliveryId> = self
                .lines
                .iter()
                .filter(|line| line.standing == Standing::Leased(loan.lease))
                .map(|line| line.delivery)
                .collect();
            let open: Vec<u16> = (0..)
                .zip(&loan.deliveries)
                .filter_map(|(position, id)| held.contains(id).then_some(position))
                .collect();
            let wanted = (loan.token, loan.holder, loan.deadline, &open);
            let same = match told {
                Some(lease) => wanted == (lease.token, lease.holder, lease.deadline, &lease.open),
                None => open.is_empty(),
            };
            demand(same, || {
                format!("{:?} is {wanted:?}, not {told:?}", loan.lease)
            })?;
        }
        Ok(())
    }

    /// The pools that have work due in a partition.
    #[must_use]
    pub fn due(&self, partition: Partition) -> BTreeSet<Pool> {
        let queues = self.subscriptions.values();
        let pools = queues.filter_map(|one| one.queue.as_ref().map(|queue| &queue.pool));
        let mut pools: BTreeSet<Pool> = pools.cloned().collect();
        pools.retain(|pool| self.has_work(partition, pool));
        pools
    }

    /// When the next lease ends or retry is due in a partition.
    #[must_use]
    pub fn next_due(&self, partition: Partition) -> Option<Timestamp> {
        let here = self.lines.iter();
        let here = here.filter(|line| Partition::of(line.tenant) == partition);
        here.filter_map(|line| match line.standing {
            Standing::Waiting(due) => Some(due),
            Standing::Leased(lease) => {
                let loan = self.loans.iter().find(|loan| loan.lease == lease);
                loan.map(|loan| loan.deadline)
            }
            _ => None,
        })
        .min()
    }

    /// A tenant's log, newest first.
    #[must_use]
    pub fn log(&self, tenant: TenantId) -> Vec<SegmentId> {
        let mine = self.segments.iter().rev();
        let mine = mine.filter(|one| one.tenant == tenant && !one.gone);
        mine.map(|one| one.segment).collect()
    }
}
