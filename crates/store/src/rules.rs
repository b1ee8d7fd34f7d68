//! The rules of the port that can be checked without a store: every backend
//! refuses the same calls, before it changes anything.

use std::collections::{BTreeSet, HashSet};

use sidehook_core::{
    address::{Partition, SegmentId},
    health::{Health, NOTES, SPANS},
    id::{SubscriptionNumber, TenantId},
    limits::{CALL_BYTES, CALL_PAIRS, CALL_RECORDS, CLAIM_SHARES, HEALTH_NOTE_BYTES, LEASE_MAX},
};

use crate::{
    error::CallError,
    image::Image,
    turn::{Claim, Disposition, LeaseId, Publish, Settle, SettleItem, Stamp, TenantPublish},
};

/// The id of a publish call's segment, or (in a [`LeaseId`]) of a claim's lease,
/// by the place of its tenant or demand in the call; `None` beyond the 127th.
#[must_use]
pub fn address(partition: Partition, stamp: Stamp, place: usize) -> Option<SegmentId> {
    let ordinal = u8::try_from(place).ok().filter(|ordinal| *ordinal < 128)?;
    Some(SegmentId {
        partition,
        lane: stamp.lane,
        sequence: stamp.sequence,
        ordinal,
    })
}

/// Checks a publish.
///
/// # Errors
/// [`CallError::Refused`]: too large, too many pairs of event and target, a tenant
/// twice or of another partition, an event's id that is not its place, targets that
/// do not ascend.
pub fn publish(partition: Partition, stamp: Stamp, call: &Publish) -> Result<(), CallError> {
    let events = call.tenants.iter().map(|one| one.events.len()).sum();
    within("events", events)?;
    within("tenants", call.tenants.len())?;
    let bytes: usize = call
        .tenants
        .iter()
        .flat_map(|one| &one.events)
        .map(|event| event.record.len())
        .sum();
    if bytes > CALL_BYTES && events > 1 {
        return Err(refused(format!("{bytes} bytes in one publish")));
    }
    let events = call.tenants.iter().flat_map(|one| &one.events);
    let pairs: usize = events.map(|event| event.targets.len()).sum();
    if pairs > CALL_PAIRS {
        return Err(refused(format!("{pairs} deliveries in one publish")));
    }
    let mut seen = HashSet::with_capacity(call.tenants.len());
    for (place, one) in call.tenants.iter().enumerate() {
        if !seen.insert(one.tenant) {
            return Err(refused(format!("{} occurs twice", one.tenant)));
        }
        if Partition::of(one.tenant) != partition {
            return Err(refused(format!("{} lies in another partition", one.tenant)));
        }
        events_of(one, address(partition, stamp, place))?;
    }
    Ok(())
}

fn events_of(one: &TenantPublish, segment: Option<SegmentId>) -> Result<(), CallError> {
    for (place, event) in one.events.iter().enumerate() {
        if event.id.segment() != segment || usize::from(event.id.index()) != place {
            return Err(refused(format!("{} is not the id of its place", event.id)));
        }
        if !event.targets.is_sorted_by(|one, next| one < next) {
            return Err(refused(format!("targets of {} do not ascend", event.id)));
        }
    }
    Ok(())
}

/// Checks a claim.
///
/// # Errors
/// [`CallError::Refused`]: too many demands or shares, a demand for nothing or for
/// longer than any lease lasts, a tenant's share twice in one.
pub fn claim(call: &Claim) -> Result<(), CallError> {
    within("demands", call.demands.len())?;
    let shares: usize = call.demands.iter().map(|demand| demand.shares.len()).sum();
    if shares > CLAIM_SHARES {
        return Err(refused(format!("{shares} shares in one call")));
    }
    for demand in &call.demands {
        if demand.max_deliveries == 0 || demand.per_tenant == 0 {
            return Err(refused("a demand for no deliveries".to_owned()));
        }
        if demand.lease > LEASE_MAX {
            return Err(refused(format!("a lease of {:?}", demand.lease)));
        }
        let tenants = demand.shares.iter().map(|(tenant, _)| tenant);
        if tenants.collect::<HashSet<_>>().len() < demand.shares.len() {
            return Err(refused("a tenant has two shares".to_owned()));
        }
    }
    Ok(())
}

/// Checks a settle.
///
/// # Errors
/// [`CallError::Refused`]: too many items, a lease twice or of another partition,
/// a position twice, a mark of what was never attempted or with a long note.
pub fn settle(partition: Partition, call: &Settle) -> Result<(), CallError> {
    within("items", call.leases.iter().map(|one| one.items.len()).sum())?;
    within("leases", call.leases.len())?;
    let mut leases: HashSet<LeaseId> = HashSet::with_capacity(call.leases.len());
    for one in &call.leases {
        if !leases.insert(one.lease) {
            return Err(refused("a lease occurs twice".to_owned()));
        }
        if one.lease.0.partition != partition {
            return Err(refused("a lease lies in another partition".to_owned()));
        }
        positions_of(&one.items)?;
        one.items.iter().try_for_each(mark_of)?;
    }
    Ok(())
}

fn mark_of(item: &SettleItem) -> Result<(), CallError> {
    let Some(mark) = &item.mark else {
        return Ok(());
    };
    let position = item.position;
    if item.disposition == Disposition::Release {
        return Err(refused(format!(
            "position {position} counts, and was not attempted"
        )));
    }
    if mark.note.len() > HEALTH_NOTE_BYTES {
        let bytes = mark.note.len();
        return Err(refused(format!(
            "position {position}: a note of {bytes} bytes"
        )));
    }
    Ok(())
}

/// Whether a health is no larger than what calls can make of it.
fn fits(health: &Health) -> bool {
    let mut rows = health.over.iter().zip(SPANS);
    let notes = [&health.recent.successes, &health.recent.errors];
    rows.all(|(row, span)| row.len() <= span.kept)
        && notes.iter().all(|notes| notes.len() <= NOTES)
        && notes
            .into_iter()
            .flatten()
            .all(|note| note.len() <= HEALTH_NOTE_BYTES)
}

fn positions_of(items: &[SettleItem]) -> Result<(), CallError> {
    let mut seen = 0_u128;
    for item in items {
        // Positions beyond every lease are stale, not wrong: passed over here.
        let bit = 1_u128.checked_shl(item.position.into()).unwrap_or(0);
        if seen & bit != 0 {
            return Err(refused(format!("position {} occurs twice", item.position)));
        }
        seen |= bit;
    }
    Ok(())
}

/// Checks an import, as far as that can be told from its records alone.
///
/// # Errors
/// [`CallError::Refused`]: too large, a record of another partition or of the
/// registry, deliveries that contradict themselves.
pub fn import(partition: Partition, records: &[Image]) -> Result<(), CallError> {
    let weights = records.iter().map(Image::weight);
    let (count, bytes) = weights.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    within("records", count)?;
    if bytes > CALL_BYTES && records.len() > 1 {
        return Err(refused(format!("{bytes} bytes in one import")));
    }
    for record in records {
        if record.partition() != Some(partition) {
            return Err(refused("a record of another partition".to_owned()));
        }
        let (segment, sound) = match record {
            Image::Segment { id, records, .. } => (Some(id), records.len() <= CALL_RECORDS),
            Image::Attempts { segment, .. } => (Some(segment), true),
            Image::Deliveries { run, due } => {
                let alone = run.retry.is_none() || run.indices.len() == 1;
                let waits = due.is_none() || run.retry.is_some();
                let some = (1..=CALL_RECORDS).contains(&run.indices.len());
                (Some(&run.segment), alone && waits && some)
            }
            Image::Subscription { health, .. } => (None, fits(health)),
            _ => (None, true),
        };
        if !sound || segment.is_some_and(|segment| segment.partition != partition) {
            return Err(refused("a record that contradicts itself".to_owned()));
        }
    }
    Ok(())
}

/// What must be in the store before records are imported: whatever they belong to
/// and do not make themselves. Where something is missing, the import is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Subscriptions that deliveries are for.
    pub queues: BTreeSet<(TenantId, SubscriptionNumber)>,
    /// Segments of deliveries and attempts.
    pub segments: BTreeSet<SegmentId>,
}

impl Needs {
    /// What these records need.
    #[must_use]
    pub fn of(records: &[Image]) -> Self {
        let (mut needs, mut made) = (Self::default(), Self::default());
        for record in records {
            let segment = match record {
                Image::Subscription { tenant, row, .. } => {
                    made.queues.insert((*tenant, row.number));
                    continue;
                }
                Image::Segment { id, .. } => {
                    made.segments.insert(*id);
                    continue;
                }
                Image::Attempts { segment, .. } => segment,
                Image::Deliveries { run, .. } => {
                    let queue = (run.tenant, run.subscription);
                    if !made.queues.contains(&queue) {
                        needs.queues.insert(queue);
                    }
                    &run.segment
                }
                _ => continue,
            };
            if !made.segments.contains(segment) {
                needs.segments.insert(*segment);
            }
        }
        needs
    }

    /// The refusal of an import whose needs are not met.
    #[must_use]
    pub fn unmet() -> CallError {
        refused("a record came before what it belongs to".to_owned())
    }
}

fn within(what: &str, count: usize) -> Result<(), CallError> {
    if count > CALL_RECORDS {
        return Err(refused(format!("{count} {what} in one call")));
    }
    Ok(())
}

fn refused(detail: String) -> CallError {
    CallError::Refused { detail }
}
