//! Turns of a random sequence, their repeats, and turns that come too late.

use std::collections::BTreeSet;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sidehook_core::address::{Partition, Sequence};

use super::{World, words};
use crate::{
    conformance::{desk::tick_out, draw::Draw},
    error::CallError,
    ledger::Told,
    turn::{Calls, Claim, Publish, Replies, Settle, Stamp, TickReply, Turn},
};

/// Kinds of stamped calls.
const SETTLE: u8 = 0;
const PUBLISH: u8 = 1;
const CLAIM: u8 = 2;

impl World<'_> {
    fn draw_calls(&mut self, partition: Partition, random: StdRng) -> Calls {
        let mut draw = Draw {
            random,
            ledger: &self.ledger,
            now: self.now,
            tenants: &self.tenants,
            trims: self.trims,
        };
        let lane = self.lanes[usize::from(draw.one_in(3))];
        let sequence = Sequence::new(self.next).unwrap_or(Sequence::FIRST);
        self.next += 1;
        let stamp = Stamp { lane, sequence };
        let mut calls = Calls::new(partition);
        if draw.one_in(2) {
            calls.settle = Some((stamp, draw.settle(partition)));
        }
        if draw.one_in(2) {
            calls.publish = Some((stamp, draw.publish(partition, stamp)));
        }
        if draw.one_in(2) {
            calls.claim = Some((stamp, draw.claim()));
        }
        calls.tick = draw.one_in(4);
        let asked = [
            (SETTLE, calls.settle.is_some()),
            (PUBLISH, calls.publish.is_some()),
            (CLAIM, calls.claim.is_some()),
        ];
        for (kind, _) in asked.into_iter().filter(|(_, asked)| *asked) {
            self.last.insert((partition, lane, kind), sequence.number());
        }
        calls
    }

    pub(super) async fn turn(&mut self, seed: u64) -> Told {
        let mut random = StdRng::seed_from_u64(seed);
        let all = self.partitions.clone();
        let some = all.into_iter().filter(|_| random.random_range(0..3) > 0);
        let some: Vec<Partition> = some.collect();
        let mut turn = Turn {
            now: Some(self.now),
            calls: Vec::new(),
        };
        for partition in some {
            let random = StdRng::seed_from_u64(random.random());
            turn.calls.push(self.draw_calls(partition, random));
        }
        self.tell(&turn);
        let reply = self.store.turn(0, &turn).await.map_err(words)?;
        if reply.now != self.now || reply.calls.len() != turn.calls.len() {
            return Err(format!("not an answer to that turn: {reply:?}"));
        }
        for (calls, replies) in turn.calls.iter().zip(&reply.calls) {
            self.account(calls, replies).await?;
        }
        for calls in &mut turn.calls {
            calls.tick = false;
        }
        self.sent = Some((turn, reply.calls));
        Ok(())
    }

    /// Tells the ledger of one partition's calls, in the order of their execution.
    async fn account(&mut self, calls: &Calls, replies: &Replies) -> Told {
        let (now, partition) = (self.now, calls.partition);
        if let Some((_, call)) = &calls.settle {
            self.ledger.settled(now, call, answer(&replies.settle)?)?;
        }
        if let Some((stamp, call)) = &calls.publish {
            let answer = answer(&replies.publish)?;
            self.ledger
                .published(now, partition, *stamp, call, answer)?;
        }
        if let Some((_, call)) = &calls.claim {
            let answer = answer(&replies.claim)?;
            self.ledger.claimed(now, partition, call, answer)?;
        }
        if calls.tick {
            let first = answer(&replies.tick)?.leases_lost;
            self.tick(partition, first).await?;
        }
        Ok(())
    }

    /// Ticks until all is done that is due; `before` lost their lease already.
    pub(super) async fn tick(&mut self, partition: Partition, before: u32) -> Told {
        let (lost, last) = tick_out(self.store, self.now, partition).await?;
        self.ledger.ticked(self.now, partition, before + lost)?;
        self.due(partition, &last)
    }

    fn due(&self, partition: Partition, told: &TickReply) -> Told {
        let wanted = self.ledger.due(partition);
        let due: BTreeSet<_> = told.due.iter().cloned().collect();
        if wanted != due {
            return Err(format!("work is due for {wanted:?}, not {due:?}"));
        }
        match (self.ledger.next_due(partition), told.next_due) {
            (Some(wanted), None) => Err(format!("{wanted:?} is forgotten")),
            (Some(wanted), Some(told)) if told > wanted => {
                Err(format!("{wanted:?} is the next time, not {told:?}"))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn repeat(&mut self) -> Told {
        let Some((mut turn, wanted)) = self.sent.clone() else {
            return Ok(());
        };
        turn.now = Some(self.now);
        self.tell("the last turn again");
        let told = self.store.turn(1, &turn).await.map_err(words)?;
        for (wanted, told) in wanted.iter().zip(&told.calls) {
            let same = wanted.settle == told.settle
                && wanted.publish == told.publish
                && wanted.claim == told.claim;
            if !same {
                return Err(format!("repeated, it answers {told:?}, not {wanted:?}"));
            }
        }
        Ok(())
    }

    pub(super) async fn outdated(&mut self, seed: u64) -> Told {
        let known = self.last.iter().filter(|(_, last)| **last > 1);
        let mut known: Vec<_> = known.map(|(line, last)| (*line, *last)).collect();
        known.sort_unstable();
        let mut random = StdRng::seed_from_u64(seed);
        if known.is_empty() {
            return Ok(());
        }
        let place = random.random_range(0..known.len());
        let ((partition, lane, kind), last) = known.swap_remove(place);
        let number = random.random_range(1..last);
        let sequence = Sequence::new(number).unwrap_or(Sequence::FIRST);
        let stamp = Stamp { lane, sequence };
        let mut calls = Calls::new(partition);
        match kind {
            SETTLE => calls.settle = Some((stamp, Settle::default())),
            PUBLISH => calls.publish = Some((stamp, Publish::default())),
            _ => calls.claim = Some((stamp, Claim::default())),
        }
        let turn = Turn {
            now: Some(self.now),
            calls: vec![calls],
        };
        self.tell(&turn);
        let told = self.store.turn(0, &turn).await.map_err(words)?;
        let told = told.calls.first().ok_or("a turn without an answer")?;
        let right = match kind {
            SETTLE => matches!(told.settle, Some(Err(CallError::Superseded))),
            PUBLISH => matches!(told.publish, Some(Err(CallError::Superseded))),
            _ => matches!(told.claim, Some(Err(CallError::Superseded))),
        };
        if right {
            Ok(())
        } else {
            Err(format!("not superseded: {told:?}"))
        }
    }

    /// Executes one partition's calls and tells the ledger.
    pub(super) async fn execute(&mut self, calls: Calls) -> Result<Replies, String> {
        let turn = Turn {
            now: Some(self.now),
            calls: vec![calls],
        };
        self.tell(&turn);
        let reply = self.store.turn(0, &turn).await.map_err(words)?;
        let replies = reply.calls.into_iter().next();
        let replies = replies.ok_or("a turn without an answer")?;
        for calls in &turn.calls {
            self.account(calls, &replies).await?;
        }
        Ok(replies)
    }
}

/// The answer to a call that must succeed.
pub(super) fn answer<R>(reply: &Option<Result<R, CallError>>) -> Result<&R, String> {
    match reply {
        Some(Ok(reply)) => Ok(reply),
        Some(Err(error)) => Err(words(error)),
        None => Err("a call without an answer".to_owned()),
    }
}
