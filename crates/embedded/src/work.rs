//! What the writer is asked to do: work in parts, each part one call. Usually all
//! parts of all waiting work go into one transaction; only when one of them meets
//! something unreadable is each tried in a transaction of its own, so that the
//! others do not share its fate.

use sidehook_core::time::Timestamp;
use sidehook_store::{
    CallError, StoreError,
    turn::{Calls, Replies, Turn, TurnReply},
};
use tokio::sync::oneshot;

use crate::{
    batch::Batch,
    clock,
    error::Fault,
    lanes::{Called, Refusal},
};

/// Work for the writer. Every part may be run more than once: what an earlier run
/// changed was given up with its transaction.
pub(crate) trait Work: Send {
    /// How many parts there are.
    fn parts(&self) -> usize;

    /// Runs a part.
    fn run(&mut self, part: usize, batch: &mut Batch<'_>) -> Result<(), Fault>;

    /// A part met something unreadable, and changed nothing.
    fn unreadable(&mut self, part: usize, detail: String);

    /// All that was run is committed: answers.
    fn answer(self: Box<Self>);

    /// What became of it is not known: answers so.
    fn fail(self: Box<Self>, error: StoreError);
}

/// Where an answer goes. Whoever asked may be gone: then nobody needs it.
pub(crate) type Asker<T> = oneshot::Sender<Result<T, StoreError>>;

/// One operation that is no turn.
pub(crate) struct Operation<T, F> {
    run: F,
    result: Option<Result<T, StoreError>>,
    asker: Asker<T>,
}

impl<T, F> Operation<T, F>
where
    T: Send,
    F: FnMut(&mut Batch<'_>) -> Result<T, Fault> + Send,
{
    pub(crate) const fn new(run: F, asker: Asker<T>) -> Self {
        Self {
            run,
            result: None,
            asker,
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

    fn answer(self: Box<Self>) {
        if let Some(result) = self.result {
            let _ = self.asker.send(result);
        }
    }

    fn fail(self: Box<Self>, error: StoreError) {
        let _ = self.asker.send(Err(error));
    }
}

/// One of the calls of a turn.
#[derive(Clone, Copy)]
enum Kind {
    Settle,
    Publish,
    Claim,
    Tick,
}

/// A turn: its calls are the parts, each partition's in the order of the port.
pub(crate) struct TurnWork {
    turn: Turn,
    parts: Vec<(usize, Kind)>,
    /// When it was executed.
    now: Timestamp,
    replies: Vec<Replies>,
    asker: Asker<TurnReply>,
}

impl TurnWork {
    pub(crate) fn new(turn: Turn, asker: Asker<TurnReply>) -> Self {
        let mut seen = 0_u64;
        let mut parts = Vec::new();
        let mut replies = Vec::with_capacity(turn.calls.len());
        for (at, calls) in turn.calls.iter().enumerate() {
            let bit = 1_u64 << (calls.partition.number() & 63);
            if seen & bit == 0 {
                let asked = [
                    (calls.settle.is_some(), Kind::Settle),
                    (calls.publish.is_some(), Kind::Publish),
                    (calls.claim.is_some(), Kind::Claim),
                    (calls.tick, Kind::Tick),
                ];
                parts.extend(
                    asked
                        .into_iter()
                        .filter(|(is, _)| *is)
                        .map(|(_, one)| (at, one)),
                );
            }
            // What is never run was refused.
            replies.push(refused(calls));
            seen |= bit;
        }
        Self {
            turn,
            parts,
            now: Timestamp::default(),
            replies,
            asker,
        }
    }
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
        if part == 0 {
            self.now = clock(self.turn.now);
        }
        let now = self.now;
        let Some((at, kind)) = self.parts.get(part).copied() else {
            return Ok(());
        };
        let (Some(calls), Some(reply)) = (self.turn.calls.get(at), self.replies.get_mut(at)) else {
            return Ok(());
        };
        let partition = calls.partition;
        match (kind, &calls.settle, &calls.publish, &calls.claim) {
            (Kind::Settle, Some((stamp, call)), ..) => {
                let run = |batch: &mut Batch<'_>| batch.settle(partition, call);
                reply.settle = Some(told(batch.stamped(partition, *stamp, run))?);
            }
            (Kind::Publish, _, Some((stamp, call)), _) => {
                let run = |batch: &mut Batch<'_>| batch.publish(partition, now, *stamp, call);
                reply.publish = Some(told(batch.stamped(partition, *stamp, run))?);
            }
            (Kind::Claim, .., Some((stamp, call))) => {
                let run = |batch: &mut Batch<'_>| batch.claim(partition, now, *stamp, call);
                reply.claim = Some(told(batch.stamped(partition, *stamp, run))?);
            }
            (Kind::Tick, ..) => reply.tick = Some(Ok(batch.tick(partition, now)?)),
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
            Kind::Tick => reply.tick = Some(Err(error)),
        }
    }

    fn answer(self: Box<Self>) {
        let now = if self.parts.is_empty() {
            clock(self.turn.now)
        } else {
            self.now
        };
        let calls = self.replies;
        let _ = self.asker.send(Ok(TurnReply { now, calls }));
    }

    fn fail(self: Box<Self>, error: StoreError) {
        let _ = self.asker.send(Err(error));
    }
}
