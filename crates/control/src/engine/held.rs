//! Calls whose fate was not known when they were made, until they are made again.
//!
//! A store may lose a part of itself for a while: a node of a Cluster that is replaced, a
//! slot that moves. The calls of its partitions are repeated after a back-off, and what
//! a worker has for other partitions does not wait for it.

use std::time::{Duration, Instant};

use sidehook_runtime::backoff::Backoff;
use sidehook_store::turn::Calls;

use super::worker::Flight;
use crate::board::{Partitions, bit};

/// See the module.
pub(super) struct Held {
    all: Vec<(Calls, Flight)>,
    /// When they are made again.
    until: Option<Instant>,
    backoff: Backoff,
}

impl Held {
    pub(super) fn new() -> Self {
        Self {
            all: Vec::new(),
            until: None,
            backoff: Backoff::new(Duration::from_millis(20), Duration::from_secs(2)),
        }
    }

    /// Keeps what a partition has left. The tick is none of it: it has its own time.
    pub(super) fn hold(&mut self, mut calls: Calls, flight: Flight) {
        calls.tick = false;
        let mut held = self.all.iter_mut();
        match held.find(|(one, _)| one.partition == calls.partition) {
            Some((one, its)) => join(one, its, calls, flight),
            None => self.all.push((calls, flight)),
        }
    }

    /// Has what is held made again after the next wait, if no time is set yet.
    pub(super) fn wait(&mut self, now: Instant, jitter: f64) {
        if self.until.is_none() && !self.all.is_empty() {
            self.until = Some(now + self.backoff.next(jitter));
        }
    }

    /// Nothing is amiss: the next wait is the shortest.
    pub(super) fn all_is_well(&mut self) {
        if self.all.is_empty() {
            self.backoff.reset();
        }
    }

    /// What is held, if its time has come.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(Calls, Flight)> {
        if self.until.is_none_or(|until| until > now) {
            return Vec::new();
        }
        self.until = None;
        core::mem::take(&mut self.all)
    }

    pub(super) const fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Where something is held.
    pub(super) fn partitions(&self) -> Partitions {
        self.calls()
            .fold(0, |all, calls| all | bit(calls.partition))
    }

    pub(super) fn calls(&self) -> impl Iterator<Item = &Calls> {
        self.all.iter().map(|(calls, _)| calls)
    }
}

/// Adds to a partition's calls others of kinds that it has none of.
pub(super) fn join(calls: &mut Calls, flight: &mut Flight, more: Calls, its: Flight) {
    if more.settle.is_some() {
        (calls.settle, flight.settle) = (more.settle, its.settle);
    }
    if more.publish.is_some() {
        (calls.publish, flight.publish) = (more.publish, its.publish);
    }
    if more.claim.is_some() {
        (calls.claim, flight.claim) = (more.claim, its.claim);
    }
    calls.tick |= more.tick;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use sidehook_core::address::{Lane, Partition, Sequence};
    use sidehook_store::turn::{Claim, Settle, Stamp};

    fn calls(partition: u8) -> Calls {
        Calls::new(Partition::new(partition).unwrap())
    }

    fn stamp(sequence: u32) -> Stamp {
        Stamp {
            lane: Lane::from_random(7),
            sequence: Sequence::new(sequence).unwrap(),
        }
    }

    #[test]
    fn what_is_held_comes_back_once_its_time_has_come() {
        let (mut held, now) = (Held::new(), Instant::now());
        held.wait(now, 0.5);
        assert_eq!((held.until(), held.due(now).len()), (None, 0));
        let mut one = calls(1);
        (one.claim, one.tick) = (Some((stamp(1), Claim::default())), true);
        held.hold(one, Flight::default());
        held.wait(now, 0.5);
        let until = held.until().unwrap();
        assert!(until > now && held.due(now).is_empty());
        // What joins later does not put it off.
        let mut same = calls(1);
        same.settle = Some((stamp(2), Settle::default()));
        held.hold(same, Flight::default());
        held.hold(calls(2), Flight::default());
        held.wait(now + Duration::from_millis(1), 0.5);
        assert_eq!(held.until(), Some(until));
        assert_eq!((held.calls().count(), held.partitions()), (2, 0b110));
        let due = held.due(until);
        assert_eq!((due.len(), held.partitions()), (2, 0));
        let (both, _) = &due[0];
        assert!(both.settle.is_some() && both.claim.is_some() && !both.tick);
        assert_eq!(held.until(), None);
    }

    #[test]
    fn waits_grow_until_all_is_well() {
        let (mut held, now) = (Held::new(), Instant::now());
        let wait = |held: &mut Held| {
            held.hold(calls(1), Flight::default());
            held.wait(now, 0.5);
            let until = held.until().unwrap();
            held.due(until);
            until - now
        };
        let first = wait(&mut held);
        let second = wait(&mut held);
        assert!(second > first, "{second:?} after {first:?}");
        held.all_is_well();
        assert_eq!(wait(&mut held), first);
    }
}
