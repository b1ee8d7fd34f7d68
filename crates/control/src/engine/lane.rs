//! One partition's lane: where this worker stands in its line of calls.
//!
//! A sequence is used up by an answer, and by a refusal: the call may have been executed
//! and only its reply be unreadable, and the next call must not be given that reply. A
//! store that is full has executed nothing; the next publish takes the place of the one
//! that it had no room for, so that what that left behind is overwritten instead of
//! orphaned.

use sidehook_core::address::{Lane, Sequence};
use sidehook_store::turn::Stamp;

/// The three kinds of calls, each with sequences of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallKind {
    /// Outcomes.
    Settle,
    /// Events.
    Publish,
    /// Demand.
    Claim,
}

/// A lane and the next sequence of each kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneState {
    lane: Lane,
    next: [Sequence; 3],
}

impl LaneState {
    /// A new lane.
    pub(super) fn draw() -> Self {
        Self {
            lane: Lane::from_random(rand::random()),
            next: [Sequence::FIRST; 3],
        }
    }

    /// The stamp of the next call of this kind.
    pub(super) const fn stamp(&self, kind: CallKind) -> Stamp {
        Stamp {
            lane: self.lane,
            sequence: self.next[kind as usize],
        }
    }

    /// The call with this stamp was executed, or may have been. A stamp of an earlier
    /// lane is passed over; a lane that is used up is replaced.
    pub(super) fn spend(&mut self, kind: CallKind, stamp: Stamp) {
        if stamp.lane != self.lane {
            return;
        }
        match stamp.sequence.next() {
            Some(next) => self.next[kind as usize] = next,
            None => *self = Self::draw(),
        }
    }

    /// A call with this stamp was superseded: the lane is out of step.
    pub(super) fn superseded(&mut self, stamp: Stamp) {
        if stamp.lane == self.lane {
            *self = Self::draw();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_count_apart_and_only_what_was_spent() {
        let mut lane = LaneState::draw();
        let first = lane.stamp(CallKind::Publish);
        assert_eq!(lane.stamp(CallKind::Publish), first);
        lane.spend(CallKind::Publish, first);
        assert_eq!(lane.stamp(CallKind::Publish).sequence.number(), 2);
        assert_eq!(lane.stamp(CallKind::Claim).sequence.number(), 1);
    }

    #[test]
    fn a_lane_out_of_step_or_used_up_is_replaced() {
        let mut lane = LaneState::draw();
        let old = lane.stamp(CallKind::Settle);
        lane.superseded(old);
        let new = lane.stamp(CallKind::Settle);
        assert_ne!(new.lane, old.lane);
        lane.spend(CallKind::Settle, old);
        assert_eq!(lane.stamp(CallKind::Settle), new);
        let last = Stamp {
            lane: new.lane,
            sequence: Sequence::new((1 << 30) - 1).expect("the last one"),
        };
        lane.spend(CallKind::Settle, last);
        assert_eq!(lane.stamp(CallKind::Settle).sequence, Sequence::FIRST);
        assert_ne!(lane.stamp(CallKind::Settle).lane, new.lane);
    }
}
