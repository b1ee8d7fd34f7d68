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
//! first one, whosever failures those were.
//!
//! The back-off before retry `n` (from 0) is drawn from [b/2, b] with
//! b = min(initial · 2^n, max). The receiver's failures count in `n` only themselves;
//! an agent's count everything, so that a missing key is not hammered either.
//! Retry-After never makes a retry earlier than planned, and reaches no further than
//! 24 h and the end of `max_age`.

use core::time::Duration;

use crate::{
    delivery::reason,
    limits::{
        BACKOFF_INITIAL_DEFAULT, BACKOFF_INITIAL_MIN, BACKOFF_MAX_DEFAULT, BACKOFF_MAX_MAX,
        LEASES_LOST_MAX, RETRY_AFTER_MAX, RETRY_AGE_DEFAULT, RETRY_AGE_MAX,
    },
    outcome::{Blame, Outcome, OutcomeKind},
    time::Timestamp,
    violation::Violations,
};

/// When failed deliveries are tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    initial_backoff: Duration,
    max_backoff: Duration,
    max_age: Duration,
    max_attempts: Option<u32>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial_backoff: BACKOFF_INITIAL_DEFAULT,
            max_backoff: BACKOFF_MAX_DEFAULT,
            max_age: RETRY_AGE_DEFAULT,
            max_attempts: None,
        }
    }
}

impl RetryPolicy {
    /// The policy that gives up last, for a delivery whose own cannot be read now: what
    /// it decides leaves everything to the next attempt.
    pub const PATIENT: Self = Self {
        initial_backoff: BACKOFF_INITIAL_DEFAULT,
        max_backoff: BACKOFF_MAX_DEFAULT,
        max_age: RETRY_AGE_MAX,
        max_attempts: None,
    };

    /// A policy as a record keeps it, unchecked. What is not allowed now acts as the
    /// nearest one that is.
    #[must_use]
    pub fn kept(
        initial_backoff: Duration,
        max_backoff: Duration,
        max_age: Duration,
        max_attempts: Option<u32>,
    ) -> Self {
        Self {
            initial_backoff,
            max_backoff,
            max_age,
            max_attempts: max_attempts.filter(|attempts| *attempts > 0),
        }
    }

    /// First and longest back-off, time from the first attempt to the last, and
    /// attempts at most (`None` or `Some(0)`: not limited).
    ///
    /// # Errors
    /// Those that are out of range, by their names.
    pub fn new(
        initial_backoff: Duration,
        max_backoff: Duration,
        max_age: Duration,
        max_attempts: Option<u32>,
    ) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        violations.require(
            (BACKOFF_INITIAL_MIN..=BACKOFF_MAX_MAX).contains(&initial_backoff),
            "initial_backoff",
            "must be between 100 ms and 24 h",
        );
        violations.require(
            max_backoff <= BACKOFF_MAX_MAX,
            "max_backoff",
            "must be at most 24 h",
        );
        violations.require(
            max_backoff >= initial_backoff,
            "max_backoff",
            "must not be shorter than `initial_backoff`",
        );
        violations.require(
            max_age <= RETRY_AGE_MAX,
            "max_age",
            "must be at most 28 days",
        );
        violations.into_result(Self::kept(
            initial_backoff,
            max_backoff,
            max_age,
            max_attempts,
        ))
    }

    /// First back-off.
    #[must_use]
    pub const fn initial_backoff(&self) -> Duration {
        self.initial_backoff
    }

    /// Longest back-off.
    #[must_use]
    pub const fn max_backoff(&self) -> Duration {
        self.max_backoff
    }

    /// No attempt begins later than this after the first one.
    #[must_use]
    pub const fn max_age(&self) -> Duration {
        self.max_age
    }

    /// Attempts that count, at most; `None`: not limited.
    #[must_use]
    pub const fn max_attempts(&self) -> Option<u32> {
        self.max_attempts
    }

    /// The delay before retry `n`, counted from 0; `random01` is from [0, 1].
    #[must_use]
    pub fn backoff(&self, n: u32, random01: f64) -> Duration {
        let factor = 1_u32.checked_shl(n).unwrap_or(u32::MAX);
        let longest = self
            .initial_backoff
            .saturating_mul(factor)
            .min(self.max_backoff)
            .clamp(BACKOFF_INITIAL_MIN, BACKOFF_MAX_MAX);
        let random = if random01.is_finite() {
            random01.clamp(0.0, 1.0)
        } else {
            0.5
        };
        let half = longest / 2;
        // `half` may be rounded down: the sum is still at most `longest`.
        half + half.mul_f64(random)
    }
}

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
        /// Whether the subscription is to be paused: the receiver answered 410.
        gone: bool,
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
    let dead = |reason, gone| Disposition::Dead {
        reason,
        gone,
        state: next,
    };
    if is_gone(outcome) {
        return dead(reason::GONE, true);
    }
    if counted && policy.max_attempts.is_some_and(|max| next.attempts >= max) {
        return dead(reason::EXHAUSTED, false);
    }
    let n = if counted {
        state.attempts
    } else {
        state.attempts_in_all
    };
    let planned = now + policy.backoff(n, random01);
    let last = first_attempt_at + policy.max_age.min(RETRY_AGE_MAX);
    if planned > last {
        return dead(reason::EXHAUSTED, false);
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
