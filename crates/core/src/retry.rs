//! What happens after an attempt.
//!
//! | outcome | blame | what happens | attempts counted |
//! |---|---|---|---|
//! | 2xx | – | `Delivered` | – |
//! | not started | – | `Release`: back to the queue at once | no |
//! | 410 | receiver | `Dead`, and the subscription is to be paused (`gone`) | yes |
//! | 429, 503 | receiver | `Retry` by the back-off, not before Retry-After | yes |
//! | any other answer, 3xx included; no answer | receiver | `Retry` by the back-off | yes |
//! | egress refused, key missing | agent | `Retry` by the back-off | no |
//! | none: the lease ran out | platform | back to the queue at once; `Dead` the 5th time ([`is_lost_too_often`]) | no |
//!
//! Instead of `Retry`, `Dead` with `retries exhausted` when the policy's attempts are
//! counted up, or when the next attempt would begin later than `max_age` after the
//! first one, whosever failures those were. If the policy says so the subscription is
//! then to be paused (`exhausted`): what comes next would be given up as well.
//!
//! The back-off before retry `n` (from 0) is the policy's: by default drawn from
//! [b/2, b] with b = min(initial · 2^n, max), else by the curve of its preset. The
//! receiver's failures count in `n` only themselves; an agent's count everything, so
//! that a missing key is not hammered either.
//! Retry-After never makes a retry earlier than planned, and reaches no further than
//! 24 h and the end of `max_age`.

mod policy;
mod preset;

pub use policy::{RetryPolicy, RetryTerms};
pub use preset::{ExhaustionAction, RetryPreset};

use core::time::Duration;

use crate::{
    delivery::reason,
    limits::{LEASES_LOST_MAX, RETRY_AFTER_MAX, RETRY_AGE_MAX},
    outcome::{Blame, Outcome, OutcomeKind},
    subscription::PauseReason,
    time::Timestamp,
};

/// What a delivery remembers of its attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryState {
    /// Attempts that count: the receiver's failures.
    pub attempts: u32,
    /// When the first attempt began, whosever failure it was.
    pub first_attempt_at: Option<Timestamp>,
    /// Attempts in all.
    pub attempts_in_all: u32,
}

impl RetryState {
    /// The number of the attempt that comes next, counted from 1.
    #[must_use]
    pub const fn next_number(&self) -> u32 {
        self.attempts_in_all.saturating_add(1)
    }
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The receiver took it.
    Delivered,
    /// It is tried again.
    Retry {
        /// Not before then.
        at: Timestamp,
        /// What it remembers.
        state: RetryState,
    },
    /// It is given up.
    Dead {
        /// Why, one of [`reason`].
        reason: &'static str,
        /// Why the subscription is to be paused, if it is.
        pause: Option<PauseReason>,
        /// What it remembered in the end.
        state: RetryState,
    },
    /// It goes back to the queue at once, as if it had never been lent.
    Release,
}

/// Whether a delivery that lost its lease so often is not attempted again, but dead
/// with [`reason::LEASES_LOST`]: it may be killing agents. Stores only count.
#[must_use]
pub const fn is_lost_too_often(leases_lost: u8) -> bool {
    leases_lost >= LEASES_LOST_MAX
}

/// Decides what becomes of a delivery whose attempt ended with `outcome`.
///
/// `state` is what it remembered before this attempt; `random01` is from [0, 1].
#[must_use]
pub fn decide(
    policy: &RetryPolicy,
    state: RetryState,
    outcome: &Outcome,
    now: Timestamp,
    random01: f64,
) -> Disposition {
    if outcome.is_success() {
        return Disposition::Delivered;
    }
    let Some(blame) = outcome.blame() else {
        return Disposition::Release;
    };
    let counted = blame == Blame::Receiver;
    let first_attempt_at = state.first_attempt_at.unwrap_or(outcome.started_at);
    let next = RetryState {
        attempts: state.attempts.saturating_add(u32::from(counted)),
        first_attempt_at: Some(first_attempt_at),
        attempts_in_all: state.attempts_in_all.saturating_add(1),
    };
    if is_gone(outcome) {
        return Disposition::Dead {
            reason: reason::GONE,
            pause: Some(PauseReason::Gone),
            state: next,
        };
    }
    let exhausted = Disposition::Dead {
        reason: reason::EXHAUSTED,
        pause: match policy.on_exhausted() {
            ExhaustionAction::Drop => None,
            ExhaustionAction::Pause => Some(PauseReason::Exhausted),
        },
        state: next,
    };
    if counted
        && policy
            .max_attempts()
            .is_some_and(|max| next.attempts >= max)
    {
        return exhausted;
    }
    let n = if counted {
        state.attempts
    } else {
        state.attempts_in_all
    };
    let planned = now + policy.backoff(n, random01);
    let last = first_attempt_at + policy.max_age().min(RETRY_AGE_MAX);
    if planned > last {
        return exhausted;
    }
    let asked = retry_after(outcome).map_or(planned, |delay| (now + delay).min(last));
    Disposition::Retry {
        at: planned.max(asked),
        state: next,
    }
}

fn is_gone(outcome: &Outcome) -> bool {
    outcome.kind == OutcomeKind::Response && outcome.response_status == 410
}

fn retry_after(outcome: &Outcome) -> Option<Duration> {
    let applies =
        outcome.kind == OutcomeKind::Response && matches!(outcome.response_status, 429 | 503);
    outcome
        .retry_after
        .filter(|_| applies)
        .map(|delay| delay.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests;
