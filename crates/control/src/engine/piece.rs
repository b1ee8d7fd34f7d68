//! What waits in an inbox: pieces, each small enough to travel whole.
//!
//! A piece is never divided: whoever makes it keeps it within what one call carries.
//! So an inbox needs no bookkeeping of halves, and each publish piece is answered by
//! one notification.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use sidehook_core::{
    event::Event,
    id::{SubscriptionNumber, TenantId},
    limits::{CALL_BYTES, CALL_PAIRS, CALL_RECORDS},
    pool::Pool,
    time::Timestamp,
    version::Version,
};
use sidehook_store::{
    budget::Budget as TenantBudget,
    turn::{LeaseId, SettleItem},
};
use tokio::{sync::oneshot, time::Instant};

use super::PublishOutcome;
use crate::agents::{Session, Ticket};

/// An event and where it goes.
#[derive(Debug)]
pub(super) struct Matched {
    /// Its place in the publisher's batch.
    pub(super) place: usize,
    /// The event.
    pub(super) event: Event,
    /// The one subscription that it is addressed to.
    pub(super) target: Option<SubscriptionNumber>,
    /// The subscriptions that it goes to.
    pub(super) targets: Vec<SubscriptionNumber>,
}

impl Matched {
    /// Bytes of its record, at most.
    pub(super) fn bytes(&self) -> usize {
        let event = &self.event;
        let texts = [
            event.object_type.as_str(),
            event.action.as_str(),
            &event.object_id,
            &event.user_id,
            &event.lead_id,
            &event.request_id,
            &event.campaign_id,
            &event.organization_id,
        ];
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        let names: usize = event.changed_fields.iter().map(|name| name.len() + 4).sum();
        // Keys, lengths, the id and the times take less than 256 bytes.
        event.payload_bytes() + texts + names + 4 * self.targets.len() + 256
    }
}

/// How much a call carries already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    /// Records.
    pub(super) records: usize,
    /// Bytes.
    pub(super) bytes: usize,
    /// Pairs of event and target.
    pub(super) pairs: usize,
}

impl Load {
    /// Both together.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            bytes: self.bytes + other.bytes,
            pairs: self.pairs + other.pairs,
        }
    }

    /// Whether one call may carry it.
    pub(super) const fn fits(self) -> bool {
        self.records <= CALL_RECORDS && self.bytes <= CALL_BYTES && self.pairs <= CALL_PAIRS
    }
}

/// Events of one tenant.
#[derive(Debug)]
pub(super) struct PublishPiece {
    /// The tenant.
    pub(super) tenant: TenantId,
    /// How much the tenant may have in the store.
    pub(super) budget: TenantBudget,
    /// The catalog that they were matched against.
    pub(super) catalog: Version,
    /// The events.
    pub(super) items: Vec<Matched>,
    /// What they weigh.
    pub(super) load: Load,
    /// The pools that deliver them.
    pub(super) pools: Vec<Pool>,
    /// Whom to tell.
    pub(super) reply: oneshot::Sender<PieceReply>,
    /// Since when it waits.
    pub(super) since: Instant,
    /// Its part of what may wait.
    pub(super) _permit: Permit,
}

/// What became of a publish piece.
#[derive(Debug)]
pub(super) enum PieceReply {
    /// One per event.
    Done(Vec<(usize, PublishOutcome)>),
    /// The catalog has changed: match again.
    Stale {
        /// The present version.
        current: Version,
        /// The events.
        items: Vec<Matched>,
    },
}

/// Outcomes under one lease.
#[derive(Debug)]
pub(crate) struct SettlePiece {
    /// The lease.
    pub(crate) lease: LeaseId,
    /// Its token.
    pub(crate) token: u128,
    /// At most [`CALL_RECORDS`] outcomes.
    pub(crate) items: Vec<SettleItem>,
    /// Bytes of their records.
    pub(crate) bytes: usize,
    /// When the first of them is to be tried again.
    pub(crate) retry_at: Option<Timestamp>,
    /// Whose lease it is, if its session is still there.
    pub(crate) session: Option<Arc<Session>>,
    /// What is acknowledged once all pieces of a frame are settled.
    pub(crate) ticket: Option<Arc<Ticket>>,
    /// Whether it travels without others: a call that it was in was refused.
    pub(crate) alone: bool,
}

/// What may wait for the store, over all workers.
#[derive(Debug)]
pub(super) struct Budget {
    events: AtomicUsize,
    bytes: AtomicUsize,
    max_events: usize,
    max_bytes: usize,
}

/// A part of the budget that gives itself back.
#[derive(Debug)]
pub(super) struct Permit {
    budget: Arc<Budget>,
    events: usize,
    bytes: usize,
}

impl Budget {
    /// At most so much.
    pub(super) const fn new(max_events: usize, max_bytes: usize) -> Self {
        Self {
            events: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            max_events,
            max_bytes,
        }
    }

    /// A part of it, if there is as much left. What is larger than the whole fits when
    /// nothing else waits. What goes to a part of the store that is `away` fits while no
    /// more than half is taken, so that it leaves room for what can be stored.
    pub(super) fn take(
        self: &Arc<Self>,
        events: usize,
        bytes: usize,
        away: bool,
    ) -> Option<Permit> {
        let parts = if away { 2 } else { 1 };
        let before_events = self.events.fetch_add(events, Ordering::Relaxed);
        let before_bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let permit = Permit {
            budget: Arc::clone(self),
            events,
            bytes,
        };
        let fits = before_events + events <= self.max_events / parts
            && before_bytes + bytes <= self.max_bytes / parts;
        (fits || before_events == 0).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.events.fetch_sub(self.events, Ordering::Relaxed);
        self.budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_given_back_and_lets_the_oversized_through_alone() {
        let budget = Arc::new(Budget::new(10, 100));
        let held = budget.take(8, 50, false).expect("there is room");
        assert!(budget.take(3, 1, false).is_none(), "too many events");
        assert!(budget.take(1, 51, false).is_none(), "too many bytes");
        let other = budget.take(2, 50, false).expect("exactly what is left");
        drop((held, other));
        let alone = budget.take(1, 1_000, false).expect("nothing else waits");
        assert!(budget.take(1, 1, false).is_none());
        drop(alone);
        assert!(budget.take(10, 100, false).is_some());
    }
    #[test]
    fn what_goes_to_a_part_that_is_away_leaves_half_of_it() {
        let budget = Arc::new(Budget::new(10, 100));
        let away = budget.take(5, 50, true).expect("half of it");
        assert!(budget.take(1, 1, true).is_none(), "too many events");
        let others = budget.take(5, 50, false).expect("the other half");
        drop(away);
        assert!(budget.take(1, 1, true).is_none(), "half is taken");
        drop(others);
        assert!(budget.take(1, 51, true).is_some(), "nothing else waits");
    }
}
