//! What the writer is asked to do: work in parts. A call is one part, a tick one for
//! each of its chores, so that what stops one of them stops no other.

use sidehook_core::time::Timestamp;
use sidehook_store::{
    CallError, StoreError,
    turn::{Calls, Disposition, NewEvent, Replies, SettleItem, Turn, TurnReply},
};
use tokio::sync::oneshot;

use crate::{
    batch::Batch,
    clock,
    error::Fault,
    lanes::{Called, Refusal},
    tick::{Chore, Ticked},
};

/// Bytes that a piece of work takes, whatever it carries.
const BASE_WEIGHT: usize = 256;

/// Work for the writer. Every part may be run more than once: what an earlier run
/// changed was given up with its transaction. Every run does the same, also one that
/// comes after the answer.
pub(crate) trait Work: Send {
    /// How many parts there are.
    fn parts(&self) -> usize;

    /// Runs a part.
    fn run(&mut self, part: usize, batch: &mut Batch<'_>) -> Result<(), Fault>;

    /// A part met something unreadable, and changed nothing.
    fn unreadable(&mut self, part: usize, detail: String);

    /// All that was run is committed: answers.
    fn answer(&mut self);

    /// What became of it is not known: answers so.
    fn fail(&mut self, error: StoreError);

    /// Bytes that keeping it takes, about.
    fn weight(&self) -> usize;
}

/// Where an answer goes. Whoever asked may be gone: then nobody needs it.
pub(crate) type Asker<T> = oneshot::Sender<Result<T, StoreError>>;

/// One operation that is no turn.
pub(crate) struct Operation<T, F> {
    run: F,
    result: Option<Result<T, StoreError>>,
    /// Until it is answered.
    asker: Option<Asker<T>>,
    weight: usize,
}

impl<T, F> Operation<T, F>
where
    T: Send,
    F: FnMut(&mut Batch<'_>) -> Result<T, Fault> + Send,
{
    /// `weight`: the bytes that `run` carries.
    pub(crate) const fn new(run: F, weight: usize, asker: Asker<T>) -> Self {
        Self {
            run,
            result: None,
            asker: Some(asker),
            weight,
        }
    }
}

impl<T, F> Work for Operation<T, F>
where
    T: Send,
    F: FnMut(&mut Batch<'_>) -> Result<T, Fault> + Send,
{
    fn parts(&self) -> usize {
        1
    }

    fn run(&mut self, _part: usize, batch: &mut Batch<'_>) -> Result<(), Fault> {
        self.result = Some(Ok((self.run)(batch)?));
        Ok(())
    }

    fn unreadable(&mut self, _part: usize, detail: String) {
        self.result = Some(Err(StoreError::Corrupt { detail }));
    }

    fn answer(&mut self) {
        if let (Some(result), Some(asker)) = (self.result.take(), self.asker.take()) {
            let _ = asker.send(result);
        }
    }

    fn fail(&mut self, error: StoreError) {
        if let Some(asker) = self.asker.take() {
            let _ = asker.send(Err(error));
        }
    }

    fn weight(&self) -> usize {
        BASE_WEIGHT + self.weight
    }
}

/// One of the calls of a turn.
#[derive(Clone, Copy)]
enum Kind {
    Settle,
    Publish,
    Claim,
    Tick(Chore),
    /// What a tick answers, after its chores.
    Ticked,
}

/// A turn: its calls are the parts, each partition's in the order of the port.
pub(crate) struct TurnWork {
    turn: Turn,
    parts: Vec<(usize, Kind)>,
    /// When it was executed first.
    now: Option<Timestamp>,
    /// Whether there was no room for events when it was executed.
    full: bool,
    replies: Vec<Replies>,
    /// What its ticks did, by their place in the turn.
    ticked: Vec<Ticked>,
    /// Until it is answered.
    asker: Option<Asker<TurnReply>>,
}

impl TurnWork {
    pub(crate) fn new(turn: Turn, asker: Asker<TurnReply>) -> Self {
        let mut seen = 0_u64;
        let mut parts = Vec::new();
        let mut replies = Vec::with_capacity(turn.calls.len());
        for (at, calls) in turn.calls.iter().enumerate() {
            let bit = 1_u64 << (calls.partition.number() & 63);
            if seen & bit == 0 {
                parts.extend(kinds(calls).map(|kind| (at, kind)));
            }
            // What is never run was refused.
            replies.push(refused(calls));
            seen |= bit;
        }
        let ticked = vec![Ticked::default(); turn.calls.len()];
        Self {
            turn,
            parts,
            now: None,
            full: false,
            replies,
            ticked,
            asker: Some(asker),
        }
    }
}

/// The parts that a partition's calls come to.
fn kinds(calls: &Calls) -> impl Iterator<Item = Kind> + use<> {
    let asked = [
        (calls.settle.is_some(), Kind::Settle),
        (calls.publish.is_some(), Kind::Publish),
        (calls.claim.is_some(), Kind::Claim),
    ];
    let chores = Chore::ALL.into_iter().map(Kind::Tick);
    let ticks = chores.chain([Kind::Ticked]);
    let ticks = ticks.filter({
        let tick = calls.tick;
        move |_| tick
    });
    let asked = asked.into_iter().filter(|(is, _)| *is);
    asked.map(|(_, kind)| kind).chain(ticks)
}

/// The answer to calls for a partition that the turn has had already.
fn refused(calls: &Calls) -> Replies {
    let refused = || CallError::Refused {
        detail: "the partition occurs twice in the turn".to_owned(),
    };
    Replies {
        settle: calls.settle.is_some().then(|| Err(refused())),
        publish: calls.publish.is_some().then(|| Err(refused())),
        claim: calls.claim.is_some().then(|| Err(refused())),
        tick: calls.tick.then(|| Err(refused())),
    }
}

/// The answer to a call; a fault is not one.
pub(crate) fn told<R>(called: Called<R>) -> Result<Result<R, CallError>, Fault> {
    match called {
        Ok(reply) => Ok(Ok(reply)),
        Err(Refusal::Call(error)) => Ok(Err(error)),
        Err(Refusal::Fault(fault)) => Err(fault),
    }
}

impl Work for TurnWork {
    fn parts(&self) -> usize {
        self.parts.len()
    }

    fn run(&mut self, part: usize, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let now = *self.now.get_or_insert_with(|| clock(self.turn.now));
        if self.asker.is_some() {
            self.full = batch.full;
        }
        let Some((at, kind)) = self.parts.get(part).copied() else {
            return Ok(());
        };
        let Some(calls) = self.turn.calls.get(at) else {
            return Ok(());
        };
        // After the answer nobody needs another one.
        let mut nowhere = NOTHING;
        let reply = self.replies.get_mut(at).unwrap_or(&mut nowhere);
        let (partition, full) = (calls.partition, self.full);
        match (kind, &calls.settle, &calls.publish, &calls.claim) {
            (Kind::Settle, Some((stamp, call)), ..) => {
                let run = |batch: &mut Batch<'_>| batch.settle(now, partition, call);
                reply.settle = Some(told(batch.stamped(partition, *stamp, run))?);
            }
            (Kind::Publish, _, Some((stamp, call)), _) => {
                let run = |batch: &mut Batch<'_>| match full {
                    true => Err(CallError::Full.into()),
                    false => batch.publish(partition, now, *stamp, call),
                };
                reply.publish = Some(told(batch.stamped(partition, *stamp, run))?);
            }
            (Kind::Claim, .., Some((stamp, call))) => {
                let run = |batch: &mut Batch<'_>| batch.claim(partition, now, *stamp, call);
                reply.claim = Some(told(batch.stamped(partition, *stamp, run))?);
            }
            (Kind::Tick(chore), ..) => {
                if let Some(ticked) = self.ticked.get_mut(at) {
                    batch.chore(partition, now, chore, ticked)?;
                }
            }
            (Kind::Ticked, ..) => {
                let ticked = self.ticked.get(at).copied().unwrap_or_default();
                reply.tick = Some(Ok(batch.ticked(partition, now, ticked)?));
            }
            _ => {}
        }
        Ok(())
    }

    fn unreadable(&mut self, part: usize, detail: String) {
        let Some((at, kind)) = self.parts.get(part).copied() else {
            return;
        };
        let Some(reply) = self.replies.get_mut(at) else {
            return;
        };
        let error = CallError::Refused { detail };
        match kind {
            Kind::Settle => reply.settle = Some(Err(error)),
            Kind::Publish => reply.publish = Some(Err(error)),
            Kind::Claim => reply.claim = Some(Err(error)),
            // The others go on; this one goes on with the next tick.
            Kind::Tick(chore) => {
                if let Some(ticked) = self.ticked.get_mut(at) {
                    ticked.forget(chore);
                }
            }
            Kind::Ticked => reply.tick = Some(Err(error)),
        }
    }

    fn answer(&mut self) {
        let now = self.now.unwrap_or_else(|| clock(self.turn.now));
        let calls = core::mem::take(&mut self.replies);
        if let Some(asker) = self.asker.take() {
            let _ = asker.send(Ok(TurnReply { now, calls }));
        }
    }

    fn fail(&mut self, error: StoreError) {
        if let Some(asker) = self.asker.take() {
            let _ = asker.send(Err(error));
        }
    }

    fn weight(&self) -> usize {
        let calls = self.turn.calls.iter().map(weigh);
        BASE_WEIGHT + calls.sum::<usize>()
    }
}

/// No replies.
const NOTHING: Replies = Replies {
    settle: None,
    publish: None,
    claim: None,
    tick: None,
};

/// Bytes that a partition's calls take, about.
fn weigh(calls: &Calls) -> usize {
    let mut bytes = size_of::<Calls>();
    if let Some((_, settle)) = &calls.settle {
        for item in settle.leases.iter().flat_map(|lease| &lease.items) {
            bytes += size_of::<SettleItem>();
            bytes += item.mark.as_ref().map_or(0, |mark| mark.note.len());
            bytes += match &item.disposition {
                Disposition::End { record } => record.len(),
                Disposition::Retry { retry, record, .. } => retry.len() + record.len(),
                Disposition::Release => 0,
            };
        }
    }
    if let Some((_, publish)) = &calls.publish {
        for event in publish.tenants.iter().flat_map(|one| &one.events) {
            bytes += size_of::<NewEvent>() + event.record.len();
            bytes += size_of_val(&event.targets[..]);
        }
    }
    if let Some((_, claim)) = &calls.claim {
        bytes += size_of_val(&claim.demands[..]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sidehook_core::{
        address::{Lane, Partition, Sequence},
        health::{Kind as Outcome, Latency, Mark},
        id::{SubscriptionNumber, TenantId},
    };
    use sidehook_store::{
        Stamp, rules,
        turn::{LeaseId, LeaseSettle, Settle},
    };

    use super::*;

    #[test]
    fn a_settle_weighs_what_its_notes_do() {
        let tenant = TenantId::from_bits(1);
        let partition = Partition::of(tenant);
        let stamp = Stamp {
            lane: Lane::from_random(1),
            sequence: Sequence::new(1).expect("not the zeroth"),
        };
        let segment = rules::address(partition, stamp, 0).expect("the first");
        let of = |note: Option<usize>| {
            let item = SettleItem {
                position: 0,
                tenant,
                subscription: SubscriptionNumber(1),
                segment,
                index: 0,
                generation: 1,
                disposition: Disposition::Release,
                mark: note.map(|length| Mark {
                    kind: Outcome::FirstFail,
                    latency: Latency::of(core::time::Duration::ZERO),
                    note: Bytes::from(vec![1; length]),
                }),
            };
            let leases = vec![LeaseSettle {
                lease: LeaseId(segment),
                token: 1,
                items: vec![item; 3],
            }];
            let mut calls = Calls::new(partition);
            calls.settle = Some((stamp, Settle { leases }));
            weigh(&calls)
        };
        assert_eq!(of(Some(200)) - of(None), 600);
    }
}
