//! A subscription's retry policy: a [`RetryPreset`], and what was chosen otherwise.

use core::time::Duration;

use super::preset::{ExhaustionAction, RetryPreset};
use crate::{
    limits::{BACKOFF_INITIAL_MIN, BACKOFF_MAX_MAX, RETRY_AGE_MAX},
    violation::Violations,
};

/// When failed deliveries are tried again, and what follows once they are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    preset: RetryPreset,
    initial_backoff: Duration,
    max_backoff: Duration,
    max_age: Duration,
    max_attempts: Option<u32>,
    on_exhausted: ExhaustionAction,
}

/// What somebody says of a policy; what is absent is as the preset has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryTerms {
    /// The curve of the delays, and the defaults of the rest.
    pub preset: RetryPreset,
    /// Shortest delay.
    pub initial_backoff: Option<Duration>,
    /// Longest delay.
    pub max_backoff: Option<Duration>,
    /// Time from the first attempt to the last.
    pub max_age: Option<Duration>,
    /// Attempts at most; 0 is as absent.
    pub max_attempts: Option<u32>,
    /// What follows once a delivery is given up.
    pub on_exhausted: Option<ExhaustionAction>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::of(RetryPreset::default())
    }
}

impl RetryPolicy {
    /// The policy that gives up last, for a delivery whose own cannot be read now: what
    /// it decides leaves everything to the next attempt.
    pub const PATIENT: Self = Self {
        max_age: RETRY_AGE_MAX,
        ..Self::of(RetryPreset::Close)
    };

    /// The policy that a preset is by itself.
    #[must_use]
    pub const fn of(preset: RetryPreset) -> Self {
        let defaults = preset.defaults();
        Self {
            preset,
            initial_backoff: defaults.initial_backoff,
            max_backoff: defaults.max_backoff,
            max_age: defaults.max_age,
            max_attempts: defaults.max_attempts,
            on_exhausted: defaults.on_exhausted,
        }
    }

    /// A policy as a record keeps it, unchecked. What is not allowed now acts as the
    /// nearest one that is.
    #[must_use]
    pub fn kept(terms: RetryTerms) -> Self {
        let preset = Self::of(terms.preset);
        let max_attempts = terms.max_attempts.filter(|attempts| *attempts > 0);
        Self {
            preset: terms.preset,
            initial_backoff: terms.initial_backoff.unwrap_or(preset.initial_backoff),
            max_backoff: terms.max_backoff.unwrap_or(preset.max_backoff),
            max_age: terms.max_age.unwrap_or(preset.max_age),
            max_attempts: max_attempts.or(preset.max_attempts),
            on_exhausted: terms.on_exhausted.unwrap_or(preset.on_exhausted),
        }
    }

    /// A policy on somebody's terms.
    ///
    /// # Errors
    /// Those that are out of range, by their names.
    pub fn new(terms: RetryTerms) -> Result<Self, Violations> {
        let policy = Self::kept(terms);
        let mut violations = Violations::new();
        violations.require(
            (BACKOFF_INITIAL_MIN..=BACKOFF_MAX_MAX).contains(&policy.initial_backoff),
            "initial_backoff",
            "must be between 100 ms and 5 days",
        );
        violations.require(
            policy.max_backoff <= BACKOFF_MAX_MAX,
            "max_backoff",
            "must be at most 5 days",
        );
        violations.require(
            policy.max_backoff >= policy.initial_backoff,
            "max_backoff",
            "must not be shorter than `initial_backoff`",
        );
        violations.require(
            policy.max_age <= RETRY_AGE_MAX,
            "max_age",
            "must be at most 28 days",
        );
        violations.into_result(policy)
    }

    /// The curve of the delays.
    #[must_use]
    pub const fn preset(&self) -> RetryPreset {
        self.preset
    }

    /// Shortest delay, which the doubling curves begin with.
    #[must_use]
    pub const fn initial_backoff(&self) -> Duration {
        self.initial_backoff
    }

    /// Longest delay.
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

    /// What follows once a delivery is given up.
    #[must_use]
    pub const fn on_exhausted(&self) -> ExhaustionAction {
        self.on_exhausted
    }

    /// The delay before retry `n`, counted from 0; `random01` is from [0, 1].
    #[must_use]
    pub fn backoff(&self, n: u32, random01: f64) -> Duration {
        // Not `clamp`, which panics where a kept policy has them the wrong way round.
        let longest = self
            .preset
            .delay(self.initial_backoff, n)
            .max(self.initial_backoff)
            .min(self.max_backoff)
            .clamp(BACKOFF_INITIAL_MIN, BACKOFF_MAX_MAX);
        let random = if random01.is_finite() {
            random01.clamp(0.0, 1.0)
        } else {
            0.5
        };
        let spread = self.preset.spread(longest);
        (longest - spread + spread.mul_f64(random)).min(longest)
    }
}
