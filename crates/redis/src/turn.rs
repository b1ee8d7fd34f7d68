//! A turn: all calls of a worker's partitions in one pipeline, one write.
//!
//! Each call carries its stamp, so the whole pipeline may be sent again whenever it
//! is not known how far it came: what was executed answers as it did, and ticks
//! have no memory. Calls that break a rule of the port are refused here and are
//! not sent.

use bytes::Bytes;
use redis::{Pipeline, Value};
use sidehook_core::time::Timestamp;
use sidehook_store::{
    CallError, StoreError, rules,
    turn::{Calls, Replies, Turn, TurnReply},
};

use crate::{claim, error, layout::Reader, publish, route::Route, settle, tick};

/// Where in the pipeline a call's answer is, or why it was not sent.
type Place = Result<usize, CallError>;

/// One partition's calls in the pipeline.
#[derive(Default)]
struct Places {
    settle: Option<Place>,
    /// Its SETs are the `staged` commands in front of it.
    publish: Option<Place>,
    staged: usize,
    claim: Option<Place>,
    tick: Option<Place>,
}

/// Executes a turn over a worker's connections.
pub(crate) async fn execute(route: &Route, turn: &Turn) -> Result<TurnReply, StoreError> {
    let now = turn
        .now
        .map(|now| now.as_millis().max(0).to_string())
        .unwrap_or_default();
    let mut pipe = Pipeline::new();
    let mut seen = 0_u64;
    let mut places = Vec::with_capacity(turn.calls.len());
    for calls in &turn.calls {
        let bit = 1_u64 << (calls.partition.number() & 63);
        places.push(if seen & bit == 0 {
            append(&mut pipe, &now, calls)
        } else {
            twice(calls)
        });
        seen |= bit;
    }
    let asks_time = turn.now.is_none() && pipe.is_empty();
    if asks_time {
        pipe.cmd("TIME");
    }
    let promises =
        |calls: &Calls| calls.settle.is_some() || calls.publish.is_some() || calls.claim.is_some();
    let mut values = if turn.calls.iter().any(promises) {
        route.send_kept(pipe).await?
    } else {
        // What a tick did is done again should it be lost: it promises nothing.
        route.send(pipe).await?
    };
    let mut clock = turn.now;
    if asks_time {
        clock = values.first().and_then(time);
    }
    let calls: Vec<_> = turn
        .calls
        .iter()
        .zip(places)
        .map(|(calls, places)| replies(calls, places, &mut values, &mut clock))
        .collect();
    unstage_refused(route, turn, &calls).await;
    let now = match clock {
        Some(now) => now,
        None if answered(&calls) => self::now(route).await?,
        None => return Err(nothing_known(&calls)),
    };
    Ok(TurnReply { now, calls })
}

fn append(pipe: &mut Pipeline, now: &str, calls: &Calls) -> Places {
    let partition = calls.partition;
    let mut places = Places::default();
    if let Some((stamp, call)) = &calls.settle {
        let checked = rules::settle(partition, call);
        places.settle = Some(checked.map(|()| {
            pipe.add_command(settle::command(partition, *stamp, now, call));
            pipe.len() - 1
        }));
    }
    if let Some((stamp, call)) = &calls.publish {
        let checked = rules::publish(partition, *stamp, call);
        places.publish = Some(checked.map(|()| {
            places.staged = publish::append(pipe, partition, *stamp, now, call);
            pipe.len() - 1
        }));
    }
    if let Some((stamp, call)) = &calls.claim {
        let checked = rules::claim(call);
        places.claim = Some(checked.map(|()| {
            pipe.add_command(claim::command(partition, *stamp, now, call));
            pipe.len() - 1
        }));
    }
    if calls.tick {
        pipe.add_command(tick::command(partition, now));
        places.tick = Some(Ok(pipe.len() - 1));
    }
    places
}

/// The places of a partition that the turn has had already.
fn twice(calls: &Calls) -> Places {
    let refused = || {
        Err(CallError::Refused {
            detail: "the partition occurs twice in the turn".to_owned(),
        })
    };
    Places {
        settle: calls.settle.is_some().then(refused),
        publish: calls.publish.is_some().then(refused),
        staged: 0,
        claim: calls.claim.is_some().then(refused),
        tick: calls.tick.then(refused),
    }
}

fn replies(
    calls: &Calls,
    places: Places,
    values: &mut [Value],
    clock: &mut Option<Timestamp>,
) -> Replies {
    let publish = places.publish.map(|place| {
        let at = place?;
        // A segment that was not staged is not missing because of the caller: there
        // was no room, or its slot was about to move and had moved for the script.
        let errors = values[at - places.staged..at].iter();
        let unstaged = errors.filter_map(|value| match value {
            Value::ServerError(error) => Some(error::call_error(error)),
            _ => None,
        });
        let unstaged = unstaged.reduce(|one, next| match one {
            CallError::Full => one,
            _ => next,
        });
        match (body(Ok(at), values, clock), unstaged) {
            (Err(CallError::Refused { .. }), Some(error)) => Err(error),
            (reply, _) => reply,
        }
    });
    Replies {
        settle: calls
            .settle
            .as_ref()
            .zip(places.settle)
            .map(|((_, call), place)| {
                let reply = body(place, values, clock)?;
                settle::decode(reply, call).map_err(error::unreadable)
            }),
        publish: calls
            .publish
            .as_ref()
            .zip(publish)
            .map(|((_, call), reply)| publish::decode(reply?, call).map_err(error::unreadable)),
        claim: calls
            .claim
            .as_ref()
            .zip(places.claim)
            .map(|((stamp, call), place)| {
                let reply = body(place, values, clock)?;
                claim::decode(reply, calls.partition, *stamp, call).map_err(error::unreadable)
            }),
        tick: places.tick.map(|place| {
            let reply = body(place, values, clock)?;
            tick::decode(reply).map_err(error::unreadable)
        }),
    }
}

/// Takes a script's reply apart: status, time, and the rest, which is returned.
fn body(
    place: Place,
    values: &mut [Value],
    clock: &mut Option<Timestamp>,
) -> Result<Bytes, CallError> {
    let value = values.get_mut(place?).map(core::mem::take);
    let reply = match value {
        Some(Value::BulkString(bytes)) => Bytes::from(bytes),
        Some(Value::ServerError(error)) => return Err(error::call_error(&error)),
        _ => {
            return Err(CallError::Unknown {
                detail: "no reply to the call".to_owned(),
            });
        }
    };
    let mut reader = Reader::new("a reply", reply);
    let status = reader.u8().map_err(error::unreadable)?;
    let now = reader.time().map_err(error::unreadable)?;
    clock.get_or_insert(now);
    match status {
        b'=' => Ok(reader.rest()),
        _ => Err(CallError::Superseded),
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    let (seconds, micros): (i64, i64) = redis::from_redis_value(value.clone()).ok()?;
    Some(Timestamp::from_millis(seconds * 1000 + micros / 1000))
}

/// The clock's value.
pub(crate) async fn now(route: &Route) -> Result<Timestamp, StoreError> {
    let mut pipe = Pipeline::new();
    pipe.cmd("TIME");
    let values = route.ask(pipe).await?;
    values
        .first()
        .and_then(time)
        .ok_or_else(|| error::unavailable("no answer to TIME".to_owned()))
}

/// Removes what was staged for publishes that found no room: that is when room
/// matters, and nobody else knows the names. Best effort: the lane's next call
/// writes over them, and `tick` removes those of dead lanes.
async fn unstage_refused(route: &Route, turn: &Turn, replies: &[Replies]) {
    let mut pipe = Pipeline::new();
    for (calls, replies) in turn.calls.iter().zip(replies) {
        if let Some((stamp, call)) = &calls.publish
            && replies.publish == Some(Err(CallError::Full))
        {
            pipe.cmd("UNLINK")
                .arg(publish::staged(calls.partition, *stamp, call));
        }
    }
    if let Err(error) = route.send(pipe).await {
        tracing::debug!(%error, "staged segments stay until their lane's next call");
    }
}

/// The first error of each call.
fn errors(replies: &[Replies]) -> impl Iterator<Item = &CallError> {
    replies.iter().flat_map(|one| {
        [
            one.settle.as_ref().and_then(|one| one.as_ref().err()),
            one.publish.as_ref().and_then(|one| one.as_ref().err()),
            one.claim.as_ref().and_then(|one| one.as_ref().err()),
            one.tick.as_ref().and_then(|one| one.as_ref().err()),
        ]
        .into_iter()
        .flatten()
    })
}

/// Whether anything is known about any call of a turn that none was executed of.
fn answered(replies: &[Replies]) -> bool {
    errors(replies).any(|error| !matches!(error, CallError::Unknown { .. }))
}

fn nothing_known(replies: &[Replies]) -> StoreError {
    let first = errors(replies).next();
    error::unavailable(first.map_or_else(|| "no reply".to_owned(), ToString::to_string))
}
