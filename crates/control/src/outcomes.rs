//! From outcomes to what the store is told.
//!
//! What becomes of a delivery is decided by [`decide`](sidehook_core::retry::decide)
//! with its subscription's policy, which it brings along; here that decision becomes a disposition and an
//! attempt record. A frame is acknowledged once everything in it is settled, or is
//! void: an outcome whose lease is over decides nothing any more.
//!
//! Every outcome gives a delivery of credit back, void ones too: the agent has no
//! other way to say that it is done with it.

use std::sync::Arc;

use sidehook_api::{
    agent::read_outcome,
    agent_v1,
    health::encode_note,
    record::{AttemptEntry, encode_retry},
};
use sidehook_core::{
    delivery::{Attempt, DeliveryState, reason},
    health::{Kind, Latency, Mark, Note},
    id::AgentId,
    limits::{CALL_BYTES, CALL_RECORDS},
    outcome::{AttemptError, Blame, Outcome},
    retry::{self, RetryState},
    subscription::PauseReason,
    time::Timestamp,
};
use sidehook_session::server_end::{LeaseRef, Lent, Receipt};
use sidehook_store::turn::{Disposition, LeaseId, SettleItem};
use tonic::Status;

use crate::{
    agents::{Session, Ticket},
    board::Tally,
    engine::{Pause, SettlePiece, Shared},
};

/// Bytes of an attempt record beside body and texts, at most.
const RECORD_OVERHEAD: usize = 256;

/// Takes one frame of outcomes.
pub(crate) fn receive(
    shared: &Shared,
    session: &Arc<Session>,
    frame: agent_v1::Outcomes,
) -> Result<(), Status> {
    let sequence = frame.sequence;
    let mut taken: Vec<(LeaseRef, Vec<(Lent, agent_v1::Outcome)>)> =
        Vec::with_capacity(frame.leases.len());
    let (mut reported, mut void, mut known) = (0_u32, 0_u64, Tally::default());
    {
        let mut end = session.end.lock();
        match end.receive(sequence) {
            Receipt::New => {}
            Receipt::Repeat => {
                session.outbox.acknowledge(end.ack());
                return Ok(());
            }
            Receipt::Gap => {
                let text = "Outcomes are not numbered from 1 without a gap";
                return Err(Status::invalid_argument(text));
            }
            Receipt::TooMany => {
                let text = "more Outcomes wait to be settled than an agent may send";
                return Err(Status::resource_exhausted(text));
            }
        }
        for group in frame.leases {
            let count = u32::try_from(group.outcomes.len()).unwrap_or(u32::MAX);
            reported = reported.saturating_add(count);
            let Some(lease) = LeaseRef::from_slice(&group.lease) else {
                void += u64::from(count);
                continue;
            };
            let mut deliveries = Vec::with_capacity(group.outcomes.len());
            for outcome in group.outcomes {
                match end.take(lease, outcome.position) {
                    Ok(lent) => {
                        known.add(lent.tenant, 1, lent.bytes.into());
                        deliveries.push((lent, outcome));
                    }
                    Err(_void) => void += 1,
                }
            }
            taken.push((lease, deliveries));
        }
    }
    shared.metrics.outcomes_void.increment(void);
    // Before the settles are queued, so that the turn that takes them claims as well.
    let waiting = shared.board.lock().give_back(session.key, reported, &known);
    let pieces = Decider::new(shared, session).pieces(taken);
    let ticket = Arc::new(Ticket::new(
        Arc::clone(session),
        sequence,
        pieces.len().max(1),
    ));
    if pieces.is_empty() {
        ticket.settled();
    } else {
        let pieces = pieces.into_iter().map(|piece| SettlePiece {
            ticket: Some(Arc::clone(&ticket)),
            ..piece
        });
        shared.settle(pieces.collect());
    }
    shared.wake(waiting);
    Ok(())
}

/// Why a delivery that was lent is not assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reject {
    /// It lost its lease too often.
    LeasesLost,
    /// Its subscription is gone.
    SubscriptionDeleted,
    /// Its event is gone.
    EventExpired,
    /// Its event's record is corrupt.
    EventUnreadable,
    /// It can be made another time.
    Release,
    /// It can be made once something can be read again: not at once.
    HoldBack,
}

/// Settles deliveries that were lent but not assigned.
pub(crate) fn reject(
    shared: &Shared,
    session: Option<&Arc<Session>>,
    lease: LeaseRef,
    rejects: Vec<(u16, Lent, Reject)>,
) {
    let now = shared.clock.now();
    let agent = session.map_or(AgentId::from_bits(0), |session| session.holder.agent);
    let mut piece = piece_of(lease, session);
    for (position, lent, reject) in rejects {
        let disposition = match reject {
            Reject::Release | Reject::HoldBack => Disposition::Release,
            Reject::LeasesLost => {
                shared.metrics.outcomes_dead.increment(1);
                let attempt = lost_attempt(&lent, agent, now);
                end(
                    &lent,
                    DeliveryState::Dead,
                    reason::LEASES_LOST,
                    Some(attempt),
                )
            }
            Reject::SubscriptionDeleted => end(
                &lent,
                DeliveryState::Cancelled,
                reason::SUBSCRIPTION_DELETED,
                None,
            ),
            Reject::EventExpired => {
                end(&lent, DeliveryState::Cancelled, reason::EVENT_EXPIRED, None)
            }
            Reject::EventUnreadable => {
                shared.metrics.outcomes_dead.increment(1);
                end(&lent, DeliveryState::Dead, reason::EVENT_UNREADABLE, None)
            }
        };
        piece.items.push(item(position, &lent, disposition, None));
        piece.bytes += RECORD_OVERHEAD;
    }
    shared.settle(vec![piece]);
}

fn piece_of(lease: LeaseRef, session: Option<&Arc<Session>>) -> SettlePiece {
    SettlePiece {
        lease: LeaseId(lease.id),
        token: lease.token,
        items: Vec::new(),
        bytes: 0,
        retry_at: None,
        session: session.cloned(),
        ticket: None,
        alone: false,
    }
}

fn item(position: u16, lent: &Lent, disposition: Disposition, mark: Option<Mark>) -> SettleItem {
    SettleItem {
        position,
        tenant: lent.tenant,
        subscription: lent.subscription,
        segment: lent.segment,
        index: lent.index,
        generation: lent.generation,
        disposition,
        mark,
    }
}

/// What an attempt adds to its subscription's health: nothing unless the receiver took it or
/// failed.
fn mark_of(lent: &Lent, outcome: &Outcome) -> Option<Mark> {
    let is_success = outcome.is_success();
    let counts = is_success || outcome.blame() == Some(Blame::Receiver);
    if !counts || lent.policy.is_none() {
        return None;
    }
    let note = Note {
        delivery_id: lent.id(),
        accepted_at: lent.accepted_at,
        at: outcome.started_at + outcome.duration,
        attempt_number: lent.retry.next_number(),
        response_status: outcome.response_status,
        error: outcome.error(),
        detail: outcome.error_detail.clone(),
    };
    Some(Mark {
        kind: Kind::of(lent.retry.attempts == 0, is_success),
        latency: Latency::of(outcome.duration),
        note: encode_note(&note),
    })
}

/// The attempt that stands for leases that were lost: the platform's failure.
fn lost_attempt(lent: &Lent, agent_id: AgentId, now: Timestamp) -> Attempt {
    Attempt {
        number: lent.retry.next_number(),
        started_at: now,
        duration: core::time::Duration::ZERO,
        agent_id,
        response_status: 0,
        response_body: bytes::Bytes::new(),
        error: Some(AttemptError::LeaseLost),
        error_detail: "agents took the delivery and were not heard of again".to_owned(),
    }
}

fn end(lent: &Lent, state: DeliveryState, reason: &str, attempt: Option<Attempt>) -> Disposition {
    let entry = AttemptEntry {
        delivery_id: lent.id(),
        state,
        attempt,
        reason: reason.to_owned(),
        next_attempt_at: None,
    };
    Disposition::End {
        record: entry.encode(),
    }
}

fn again(lent: &Lent, attempt: Option<Attempt>, at: Timestamp, state: &RetryState) -> Disposition {
    let entry = AttemptEntry {
        delivery_id: lent.id(),
        state: DeliveryState::Retrying,
        attempt,
        reason: String::new(),
        next_attempt_at: Some(at),
    };
    Disposition::Retry {
        at,
        retry: encode_retry(state),
        record: entry.encode(),
    }
}

/// Decides the outcomes of one frame.
struct Decider<'a> {
    shared: &'a Shared,
    session: &'a Arc<Session>,
    now: Timestamp,
    tell: bool,
}

impl<'a> Decider<'a> {
    fn new(shared: &'a Shared, session: &'a Arc<Session>) -> Self {
        Self {
            now: shared.clock.now(),
            tell: tracing::enabled!(target: "sidehook::journey", tracing::Level::DEBUG),
            shared,
            session,
        }
    }

    fn pieces(&self, taken: Vec<(LeaseRef, Vec<(Lent, agent_v1::Outcome)>)>) -> Vec<SettlePiece> {
        let mut pieces: Vec<SettlePiece> = Vec::with_capacity(taken.len());
        for (lease, deliveries) in taken {
            let mut piece = piece_of(lease, Some(self.session));
            piece.items.reserve(deliveries.len());
            for (lent, outcome) in deliveries {
                let bytes =
                    outcome.response_body.len() + outcome.error_detail.len() + RECORD_OVERHEAD;
                let full = piece.items.len() >= CALL_RECORDS || piece.bytes + bytes > CALL_BYTES;
                if full && !piece.items.is_empty() {
                    pieces.push(std::mem::replace(
                        &mut piece,
                        piece_of(lease, Some(self.session)),
                    ));
                }
                match read_outcome(outcome, self.now) {
                    Ok((position, outcome)) => {
                        let mark = mark_of(&lent, &outcome);
                        let disposition = self.decide(&lent, outcome, &mut piece.retry_at);
                        piece.items.push(item(position, &lent, disposition, mark));
                        piece.bytes += bytes;
                    }
                    Err(error) => {
                        // It runs out with its lease and is lent again.
                        self.shared.metrics.outcomes_invalid.increment(1);
                        tracing::warn!(%error, agent = %self.session.holder.agent, "an outcome is refused");
                    }
                }
            }
            if !piece.items.is_empty() {
                pieces.push(piece);
            }
        }
        pieces
    }

    fn decide(
        &self,
        lent: &Lent,
        outcome: Outcome,
        retry_at: &mut Option<Timestamp>,
    ) -> Disposition {
        let policy = lent.policy.unwrap_or_default();
        // Successes, which are nearly all, need no randomness.
        let random01 = if outcome.is_success() {
            0.0
        } else {
            rand::random()
        };
        let decision = retry::decide(&policy, lent.retry, &outcome, self.now, random01);
        let metrics = &self.shared.metrics;
        let attempt =
            |outcome| Attempt::of(lent.retry.next_number(), self.session.holder.agent, outcome);
        let deleted = lent.policy.is_none();
        let step = match decision {
            retry::Disposition::Retry { .. } | retry::Disposition::Dead { .. } if deleted => {
                "cancelled"
            }
            retry::Disposition::Delivered => "delivered",
            retry::Disposition::Retry { .. } => "retrying",
            retry::Disposition::Dead { .. } => "dead",
            retry::Disposition::Release => "released",
        };
        if self.tell {
            tracing::debug!(
                target: "sidehook::journey",
                step,
                delivery = %lent.id(),
                attempt = lent.retry.next_number(),
                status = outcome.response_status,
            );
        }
        match decision {
            retry::Disposition::Retry { .. } | retry::Disposition::Dead { .. } if deleted => {
                metrics.outcomes_failed.increment(1);
                let reason = reason::SUBSCRIPTION_DELETED;
                end(lent, DeliveryState::Cancelled, reason, attempt(outcome))
            }
            retry::Disposition::Delivered => {
                metrics.outcomes_delivered.increment(1);
                end(lent, DeliveryState::Delivered, "", attempt(outcome))
            }
            retry::Disposition::Retry { at, state } => {
                metrics.outcomes_failed.increment(1);
                *retry_at = Some(retry_at.map_or(at, |other| other.min(at)));
                again(lent, attempt(outcome), at, &state)
            }
            retry::Disposition::Dead { reason, pause, .. } => {
                metrics.outcomes_dead.increment(1);
                if let Some(reason) = pause {
                    self.pause(lent, reason);
                }
                end(lent, DeliveryState::Dead, reason, attempt(outcome))
            }
            retry::Disposition::Release => Disposition::Release,
        }
    }

    fn pause(&self, lent: &Lent, reason: PauseReason) {
        let pause = Pause {
            tenant: lent.tenant,
            subscription: lent.subscription,
            reason,
        };
        if !self.shared.pauses.ask(pause) {
            // The next such delivery asks again.
            self.shared.metrics.pauses_dropped.increment(1);
        }
    }
}
