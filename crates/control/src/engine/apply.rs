//! What the store's answers mean.
//!
//! Each answer either finishes its call, which then leaves the turn, or leaves it
//! there to be repeated: unchanged when its fate is unknown, on a new lane when the
//! old one is out of step.

use std::{collections::HashMap, sync::Arc};

use sidehook_core::{address::Partition, id::TenantId, version::Version};
use sidehook_store::{
    CallError,
    turn::{Calls, ClaimReply, Disposition, Replies, Settle, SettleReply, TickReply},
};

use super::{
    Complaint, Shared,
    compose::{ClaimFlight, SettleFlight},
    lane::CallKind,
    worker::{Flight, Worker, index},
};
use crate::{
    board::{Answer, Reservation},
    leases::{self, Granted},
};

mod publish;

/// Applies the answers of one partition. Calls that are to be repeated stay in
/// `calls`; answers why, if any stayed.
pub(super) fn replies(
    worker: &mut Worker,
    calls: &mut Calls,
    flight: &mut Flight,
    replies: Replies,
) -> Option<String> {
    let settle = replies
        .settle
        .and_then(|reply| settled(worker, calls, flight, reply));
    let publish = replies
        .publish
        .and_then(|reply| publish::published(worker, calls, flight, reply));
    let claim = replies
        .claim
        .and_then(|reply| claimed(worker, calls, flight, reply));
    if let Some(reply) = replies.tick {
        ticked(worker, calls.partition, reply);
    }
    settle.or(publish).or(claim)
}

/// Whether the fate of any of the calls, the tick among them, is not known.
pub(super) fn is_unknown(replies: &Replies) -> bool {
    fn unknown<T>(reply: Option<&Result<T, CallError>>) -> bool {
        matches!(reply, Some(Err(CallError::Unknown { .. })))
    }
    unknown(replies.settle.as_ref())
        || unknown(replies.publish.as_ref())
        || unknown(replies.claim.as_ref())
        || unknown(replies.tick.as_ref())
}

/// What an error means for a call.
enum Fate {
    Repeat(String),
    NewLane,
    Refused(String),
}

impl From<CallError> for Fate {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        match error {
            CallError::Unknown { .. } => Self::Repeat(text),
            CallError::Superseded => Self::NewLane,
            CallError::Full | CallError::Refused { .. } => Self::Refused(text),
        }
    }
}

// ---------------------------------------------------------------- settle

fn settled(
    worker: &mut Worker,
    calls: &mut Calls,
    flight: &mut Flight,
    reply: Result<SettleReply, CallError>,
) -> Option<String> {
    let (stamp, _) = calls.settle.as_ref()?;
    let stamp = *stamp;
    let lane = &mut worker.lanes[index(calls.partition)];
    let reply = match reply.map_err(Fate::from) {
        Ok(reply) => {
            lane.spend(CallKind::Settle, stamp);
            Some(reply)
        }
        Err(Fate::Repeat(detail)) => return Some(detail),
        Err(Fate::NewLane) => {
            lane.superseded(stamp);
            let again = lane.stamp(CallKind::Settle);
            if let Some((stamp, _)) = &mut calls.settle {
                *stamp = again;
            }
            return None;
        }
        Err(Fate::Refused(detail)) => {
            lane.spend(CallKind::Settle, stamp);
            let (_, settle) = calls.settle.as_mut()?;
            let apart = flight.settle.as_mut()?.apart(settle);
            if !apart.is_empty() {
                // Whichever is to blame is to fail alone.
                calls.settle = None;
                flight.settle = None;
                let inbox = worker.shared.inbox(calls.partition);
                inbox.settle_apart(calls.partition, apart);
                return None;
            }
            // Repeating is of no use. The leases run out and the deliveries are made
            // again: nothing is lost.
            worker.shared.complain(Complaint::Refused, &detail);
            worker.shared.metrics.settles_refused.increment(1);
            None
        }
    };
    let (_, settle) = calls.settle.take()?;
    let flight = flight.settle.take()?;
    if let Some(reply) = &reply {
        count_settled(worker, &settle, reply);
    }
    finish_settle(worker, calls.partition, flight);
    None
}

fn count_settled(worker: &Worker, settle: &Settle, reply: &SettleReply) {
    let (mut ended, mut retried, mut released, mut stale) = (0, 0, 0, 0);
    for (index, lease) in settle.leases.iter().enumerate() {
        let stale_here = reply.stale.get(index).map_or(&[][..], Vec::as_slice);
        for item in &lease.items {
            let counter = match item.disposition {
                _ if stale_here.contains(&item.position) => &mut stale,
                Disposition::End { .. } => &mut ended,
                Disposition::Retry { .. } => &mut retried,
                Disposition::Release => &mut released,
            };
            *counter += 1;
        }
    }
    let metrics = &worker.shared.metrics;
    metrics.settled_ended.increment(ended);
    metrics.settled_retried.increment(retried);
    metrics.settled_released.increment(released);
    metrics.settled_stale.increment(stale);
}

fn finish_settle(worker: &mut Worker, partition: Partition, flight: SettleFlight) {
    for piece in flight.into_pieces() {
        if let Some(at) = piece.retry_at {
            worker.tick_by(partition, at);
        }
        if let Some(ticket) = piece.ticket {
            ticket.settled();
        }
    }
}

// ---------------------------------------------------------------- claim

fn claimed(
    worker: &mut Worker,
    calls: &mut Calls,
    flight: &mut Flight,
    reply: Result<ClaimReply, CallError>,
) -> Option<String> {
    let (stamp, _) = calls.claim.as_ref()?;
    let stamp = *stamp;
    let lane = &mut worker.lanes[index(calls.partition)];
    match reply.map_err(Fate::from) {
        Ok(reply) => {
            lane.spend(CallKind::Claim, stamp);
            let (_, claim) = calls.claim.take()?;
            let tokens = claim.demands.iter().map(|demand| demand.token).collect();
            let flight = flight.claim.take()?;
            let grants = reply.grants.iter().flatten();
            if let Some(deadline) = grants.map(|grant| grant.deadline).min() {
                worker.tick_by(calls.partition, deadline);
            }
            hand_out(&worker.shared, calls.partition, tokens, flight, reply);
        }
        Err(Fate::Repeat(detail)) => return Some(detail),
        Err(Fate::NewLane) => {
            lane.superseded(stamp);
            let again = lane.stamp(CallKind::Claim);
            if let Some((stamp, _)) = &mut calls.claim {
                *stamp = again;
            }
        }
        Err(Fate::Refused(detail)) => {
            lane.spend(CallKind::Claim, stamp);
            worker.shared.complain(Complaint::Refused, &detail);
            calls.claim = None;
            for (reservation, _) in flight.claim.take()?.reservations {
                // Not due at once: the next tick names the pool again.
                let mut board = worker.shared.board.lock();
                let waiting = board.answered(&reservation, &Answer::default());
                board.over(reservation.pool, reservation.partition, false);
                drop(board);
                worker.shared.wake(waiting);
            }
        }
    }
    None
}

fn hand_out(
    shared: &Arc<Shared>,
    partition: Partition,
    tokens: Vec<u128>,
    flight: ClaimFlight,
    reply: ClaimReply,
) {
    let mut granted = Vec::new();
    let mut waiting = 0;
    {
        let asked = flight.reservations.iter().map(|(asked, _)| asked);
        let grants = reply.grants.iter().map(Option::as_ref);
        let claim: Vec<_> = asked.zip(grants.map(leases::tally)).collect();
        let mut board = shared.board.lock();
        board.granted(&claim);
        let mut grants = reply.grants.into_iter();
        for (place, (reservation, stamp)) in flight.reservations.into_iter().enumerate() {
            let more = reply.more.get(place).copied().unwrap_or(false);
            let grant = grants.next().flatten();
            board.over(reservation.pool, partition, more);
            match (grant, tokens.get(place)) {
                (Some(grant), Some(token)) => granted.push(Granted {
                    reservation,
                    stamp,
                    token: *token,
                    grant,
                }),
                _ => waiting |= board.answered(&reservation, &Answer::default()),
            }
        }
    }
    shared.wake(waiting);
    shared.metrics.claims.increment(1);
    if granted.is_empty() {
        shared.metrics.claims_empty.increment(1);
        return;
    }
    let versions: HashMap<TenantId, Version> = reply.catalogs.into_iter().collect();
    leases::hand_out(shared, granted, versions);
}

/// A demand was never made: its session is gone.
pub(super) fn give_up(shared: &Shared, reservation: &Reservation) {
    let mut board = shared.board.lock();
    board.answered(reservation, &Answer::default());
    board.over(reservation.pool, reservation.partition, true);
}

// ---------------------------------------------------------------- tick

fn ticked(worker: &mut Worker, partition: Partition, reply: Result<TickReply, CallError>) {
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => {
            // Ticks need no repeating: the next one does the same.
            tracing::debug!(%error, partition = partition.number(), "a tick failed");
            return;
        }
    };
    let shared = &worker.shared;
    shared
        .metrics
        .leases_lost
        .increment(reply.leases_lost.into());
    if !reply.due.is_empty() {
        let mut board = shared.board.lock();
        for pool in &reply.due {
            board.wake(pool, partition);
        }
    }
    if let Some(due) = reply.next_due {
        worker.tick_by(partition, due);
    }
}
