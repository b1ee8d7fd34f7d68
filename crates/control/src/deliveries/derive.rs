//! Where a delivery stands.
//!
//! Most deliveries never have a record of their own. Where one stands follows from its
//! event's matches (it exists), the attempt records of its segment (how it ended), and
//! what the store says of unfinished ones:
//!
//! | last attempt record | store says | state |
//! |---|---|---|
//! | delivered, dead, cancelled | – | that |
//! | none, or retrying | lent | IN_FLIGHT |
//! | none, or retrying | subscription deleted | CANCELLED |
//! | retrying | due then | RETRYING |
//! | none, or retrying | nothing | QUEUED |
//!
//! Where the store is asked, the attempt records are read again afterwards: a delivery
//! that ended between the two readings is then seen to have ended.
//!
//! Generations beyond those with records exist if the store remembers something of
//! them: a redelivery has no attempt yet.

use std::collections::HashMap;

use sidehook_api::{delivery::attempt_to_proto, record::AttemptEntry, time::timestamp, v1};
use sidehook_core::{
    address::{DeliveryId, SegmentId},
    delivery::{DeliveryState, reason},
    id::{SubscriptionId, SubscriptionNumber},
};
use sidehook_store::read::{Segment, Whereabouts};

use crate::{errors::OperationError, eventlog::stored_events};

/// An event for a subscription, whatever the generation.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) event_id: String,
    pub(super) object_type: String,
    pub(super) action: String,
    pub(super) segment: SegmentId,
    pub(super) index: u8,
    pub(super) subscription: SubscriptionNumber,
    /// Its place among the segment's pairs.
    pub(super) entry: u32,
}

/// The subscription of a pair.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    There(SubscriptionId),
    /// With its id, if it is still known.
    Deleted(Option<SubscriptionId>),
}

impl Owner {
    fn id(self) -> String {
        match self {
            Self::There(id) | Self::Deleted(Some(id)) => id.to_string(),
            Self::Deleted(None) => String::new(),
        }
    }
}

pub(super) type PairKey = (SegmentId, u8, SubscriptionNumber);
/// The attempt records of pairs, oldest first.
pub(super) type Attempts = HashMap<PairKey, Vec<AttemptEntry>>;

impl Pair {
    pub(super) const fn key(&self) -> PairKey {
        (self.segment, self.index, self.subscription)
    }

    pub(super) fn delivery(&self, generation: u16) -> DeliveryId {
        DeliveryId::new(self.segment, self.index, self.subscription, generation)
    }
}

/// A segment's pairs, newest event first.
pub(super) fn pairs(id: SegmentId, segment: Segment) -> Result<Vec<Pair>, OperationError> {
    let mut pairs = Vec::new();
    for stored in stored_events(segment) {
        let (index, stored) = stored?;
        let event = sidehook_api::event::to_proto(&stored)?;
        for subscription in stored.matches {
            pairs.push(Pair {
                event_id: event.id.clone(),
                object_type: event.object_type.clone(),
                action: event.action.clone(),
                segment: id,
                index,
                subscription,
                entry: u32::try_from(pairs.len()).unwrap_or(u32::MAX),
            });
        }
    }
    Ok(pairs)
}

fn latest_generation(attempts: &[AttemptEntry]) -> u16 {
    let generations = attempts.iter().map(|entry| entry.delivery_id.generation());
    generations.max().unwrap_or(0)
}

fn last_of(attempts: &[AttemptEntry], id: DeliveryId) -> Option<&AttemptEntry> {
    attempts.iter().rfind(|entry| entry.delivery_id == id)
}

/// What attempt records leave open of a pair: its latest generation if it has not
/// ended, and the one that may follow if it has.
pub(super) fn undecided(pair: &Pair, attempts: Option<&Vec<AttemptEntry>>) -> Option<DeliveryId> {
    let attempts = attempts.map_or(&[][..], Vec::as_slice);
    let latest = pair.delivery(latest_generation(attempts));
    let ended = last_of(attempts, latest).is_some_and(|entry| entry.state.is_final());
    if ended {
        latest.next_generation()
    } else {
        Some(latest)
    }
}

pub(super) fn generations(
    pair: &Pair,
    attempts: Vec<AttemptEntry>,
    located: &HashMap<DeliveryId, Whereabouts>,
    owner: Owner,
) -> Vec<(DeliveryId, v1::Delivery)> {
    let latest = latest_generation(&attempts);
    let remembered = |id: &DeliveryId| {
        located
            .get(id)
            .is_some_and(|at| at.leased || at.retry.is_some() || at.due.is_some())
    };
    let next = pair.delivery(latest).next_generation().filter(remembered);
    let known = (0..=latest).map(|generation| pair.delivery(generation));
    known
        .chain(next)
        .map(|id| {
            let own = attempts.iter().filter(|entry| entry.delivery_id == id);
            let own: Vec<_> = own.collect();
            (id, show(pair, id, &own, located.get(&id), owner))
        })
        .collect()
}

fn show(
    pair: &Pair,
    id: DeliveryId,
    attempts: &[&AttemptEntry],
    located: Option<&Whereabouts>,
    owner: Owner,
) -> v1::Delivery {
    let last = attempts.last().filter(|entry| entry.state.is_final());
    let due = located
        .and_then(|at| at.due)
        .filter(|_| !attempts.is_empty());
    let (state, reason) = match (last, located) {
        (Some(last), _) => (last.state, last.reason.clone()),
        (None, Some(at)) if at.leased => (DeliveryState::InFlight, String::new()),
        (None, _) if matches!(owner, Owner::Deleted(_)) => {
            let reason = reason::SUBSCRIPTION_DELETED.to_owned();
            (DeliveryState::Cancelled, reason)
        }
        (None, _) if due.is_some() => (DeliveryState::Retrying, String::new()),
        (None, _) => (DeliveryState::Queued, String::new()),
    };
    let made: Vec<_> = attempts
        .iter()
        .filter_map(|entry| entry.attempt.as_ref())
        .map(attempt_to_proto)
        .collect();
    v1::Delivery {
        id: id.to_string(),
        event_id: pair.event_id.clone(),
        subscription_id: owner.id(),
        generation: id.generation().into(),
        state: v1::DeliveryState::from(state).into(),
        next_attempt_at: due
            .filter(|_| state == DeliveryState::Retrying)
            .map(timestamp),
        reason,
        attempt_count: u32::try_from(made.len()).unwrap_or(u32::MAX),
        attempts: made,
        object_type: pair.object_type.clone(),
        action: pair.action.clone(),
        last_attempt: None,
    }
}
