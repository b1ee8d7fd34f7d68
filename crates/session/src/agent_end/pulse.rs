//! Signs of life, and noticing that the other end gives none.
//!
//! Heartbeats are answered through the path that carries work, so an answer says more than TCP's: a stream whose
//! worker is stuck is as useless as a cut one.

use std::time::Duration;

/// So many heartbeats without an answer mean that the stream is stuck.
const UNANSWERED_MAX: u64 = 3;

/// The heartbeats of one stream.
#[derive(Debug)]
pub(super) struct Pulse {
    every: Duration,
    next: Duration,
    sent: u64,
    answered: u64,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing yet.
    Quiet,
    /// Send a heartbeat with this number.
    Send(u64),
    /// The other end does not answer.
    Stuck,
}

impl Pulse {
    pub(super) fn new(every: Duration, now: Duration) -> Self {
        Self {
            every,
            next: now + every,
            sent: 0,
            answered: 0,
        }
    }

    pub(super) fn beat(&mut self, now: Duration) -> Beat {
        if now < self.next {
            return Beat::Quiet;
        }
        if self.sent - self.answered >= UNANSWERED_MAX {
            return Beat::Stuck;
        }
        self.sent += 1;
        self.next = now + self.every;
        Beat::Send(self.sent)
    }

    pub(super) fn answer(&mut self, number: u64) {
        self.answered = self.answered.max(number.min(self.sent));
    }

    pub(super) fn every(&self) -> Duration {
        self.every
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_unanswered_heartbeats_are_stuck_and_an_answer_saves() {
        let second = Duration::from_secs(1);
        let mut pulse = Pulse::new(second, Duration::ZERO);
        assert_eq!(pulse.beat(second / 2), Beat::Quiet);
        for number in 1..=3 {
            assert_eq!(pulse.beat(second * number), Beat::Send(number.into()));
        }
        pulse.answer(1);
        assert_eq!(pulse.beat(second * 4), Beat::Send(4));
        assert_eq!(pulse.beat(second * 5), Beat::Stuck);
        pulse.answer(99);
        assert_eq!(pulse.beat(second * 5), Beat::Send(5));
    }
}
