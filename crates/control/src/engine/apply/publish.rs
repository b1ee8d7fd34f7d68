//! What the answer to a publish means to its publishers.

use std::time::Duration;

use bytes::Bytes;
use sidehook_core::address::EventId;
use sidehook_store::{
    CallError,
    budget::{Exhausted, Which},
    turn::{Calls, EventPublished, PublishReply, TenantPublished},
};

use crate::engine::{
    PublishError, PublishOutcome, Published, Shared,
    compose::{self, PublishFlight},
    lane::CallKind,
    piece::{Matched, PieceReply, PublishPiece},
    worker::{Flight, Worker, index},
};

/// What a publisher whose tenant is over a budget is told to wait: at the budget, and at
/// twice the budget or more.
const ROOM_RETRY_MIN: Duration = Duration::from_secs(1);
const ROOM_RETRY_MAX: Duration = Duration::from_secs(30);

pub(super) fn published(
    worker: &mut Worker,
    calls: &mut Calls,
    flight: &mut Flight,
    reply: Result<PublishReply, CallError>,
) -> Option<String> {
    let (stamp, _) = calls.publish.as_ref()?;
    let stamp = *stamp;
    let lane = &mut worker.lanes[index(calls.partition)];
    match reply {
        Ok(reply) => {
            lane.spend(CallKind::Publish, stamp);
            let (_, call) = calls.publish.take()?;
            let flight = flight.publish.take()?;
            let ids = call.tenants.iter().map(|tenant| {
                let ids: Vec<EventId> = tenant.events.iter().map(|event| event.id).collect();
                ids
            });
            let trims = reply.tenants.iter().any(|tenant| {
                let log = |told: &Exhausted| told.which == Which::Log;
                matches!(tenant, TenantPublished::Exhausted(told) if log(told))
            });
            answer_published(&worker.shared, ids.collect(), flight, reply);
            if trims {
                // Whether it can be trimmed is for a tick to find out.
                let now = worker.shared.clock.now();
                worker.tick_by(calls.partition, now);
            }
        }
        Err(CallError::Unknown { detail }) => return Some(detail),
        Err(CallError::Superseded) => {
            lane.superseded(stamp);
            let stamp = lane.stamp(CallKind::Publish);
            let pieces = flight.publish.take()?.pieces;
            let pieces = pieces.into_iter().map(|(piece, ..)| piece).collect();
            let now = worker.shared.clock.now();
            let (call, again) = compose::publish(calls.partition, stamp, now, pieces);
            calls.publish = Some((stamp, call));
            flight.publish = Some(again);
        }
        Err(error) => {
            calls.publish = None;
            let error = match error {
                CallError::Full => PublishError::Full,
                other => {
                    lane.spend(CallKind::Publish, stamp);
                    PublishError::Refused {
                        detail: other.to_string(),
                    }
                }
            };
            for (piece, ..) in flight.publish.take()?.pieces {
                let refused = piece
                    .items
                    .iter()
                    .map(|item| (item.place, Err(error.clone())));
                let refused = refused.collect();
                // Whoever stopped waiting needs no answer.
                let _ = piece.reply.send(PieceReply::Done(refused));
            }
        }
    }
    None
}

fn answer_published(
    shared: &Shared,
    ids: Vec<Vec<EventId>>,
    flight: PublishFlight,
    reply: PublishReply,
) {
    let tell = tracing::enabled!(target: "sidehook::journey", tracing::Level::DEBUG);
    for ((segment, mut events), answer) in flight.segments.into_iter().zip(&reply.tenants) {
        let TenantPublished::Done(done) = answer else {
            continue;
        };
        let mut accepted = 0;
        for (event, answer) in events.iter_mut().zip(done) {
            if *answer == EventPublished::Accepted {
                accepted += 1;
            } else {
                *event = Bytes::new();
            }
        }
        shared.metrics.published.increment(accepted);
        if accepted > 0 {
            shared.segments.lock().insert(segment, events.into());
        }
    }
    for (piece, place, first) in flight.pieces {
        match reply.tenants.get(place) {
            Some(TenantPublished::Done(done)) => {
                let outcomes = outcomes(&piece, &ids[place][first..], done.get(first..), tell);
                let _ = piece.reply.send(PieceReply::Done(outcomes));
            }
            Some(TenantPublished::Stale { current }) => {
                shared.metrics.publishes_stale.increment(1);
                let again = PieceReply::Stale {
                    current: *current,
                    items: piece.items,
                };
                let _ = piece.reply.send(again);
            }
            Some(TenantPublished::Exhausted(told)) => {
                let count = piece.items.len() as u64;
                shared.metrics.over_budget(told.which).increment(count);
                let _ = piece
                    .reply
                    .send(PieceReply::Done(refused(&piece.items, *told)));
            }
            // The store's answer is short of a tenant: nothing is known, and the
            // publisher is told so.
            None => drop(piece.reply),
        }
    }
}

/// How long a publisher whose tenant is over its budget is asked to wait: the longer, the
/// farther it is.
fn until_room(told: Exhausted) -> Duration {
    let over = told.used.saturating_sub(told.budget);
    let share = over as f64 / told.budget.max(1) as f64;
    ROOM_RETRY_MIN + (ROOM_RETRY_MAX - ROOM_RETRY_MIN).mul_f64(share.min(1.0))
}

fn refused(items: &[Matched], told: Exhausted) -> Vec<(usize, PublishOutcome)> {
    let error = PublishError::OverBudget {
        told,
        retry_after: until_room(told),
    };
    let refused = items.iter();
    refused
        .map(|item| (item.place, Err(error.clone())))
        .collect()
}

fn outcomes(
    piece: &PublishPiece,
    ids: &[EventId],
    done: Option<&[EventPublished]>,
    tell: bool,
) -> Vec<(usize, PublishOutcome)> {
    let answers = piece.items.iter().zip(ids).zip(done.unwrap_or(&[]));
    let outcome = |((item, id), answer): ((&Matched, &EventId), &EventPublished)| {
        let matched = u32::try_from(item.targets.len()).unwrap_or(u32::MAX);
        let outcome = match *answer {
            EventPublished::Accepted => Ok(Published {
                event_id: *id,
                duplicate: false,
                matched,
            }),
            EventPublished::Duplicate(event_id) => Ok(Published {
                event_id,
                duplicate: true,
                matched: 0,
            }),
            EventPublished::KeyReused(event_id) => Err(PublishError::KeyReused(event_id)),
        };
        if tell {
            tracing::debug!(target: "sidehook::journey", step = "published", event = %id);
            tracing::debug!(target: "sidehook::journey", step = "matched", event = %id, matched);
        }
        (item.place, outcome)
    };
    answers.map(outcome).collect()
}
