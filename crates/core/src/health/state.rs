//! The state of a receiver, from its buckets alone.
//!
//! | state | when |
//! |---|---|
//! | `Unknown` | nothing was counted |
//! | `Failing` | since its last success it has failed at least [`FAILURES`] times, and none of the newest five minutes with attempts has a success |
//! | `Degraded` | not failing; of the attempts of the newest [`LOOKED_AT`] five minutes with attempts at least one in [`DEGRADED_SHARE`] failed |
//! | `Healthy` | else |
//!
//! A single success ends `Failing` at once; `Degraded` ends as its failures grow old or
//! few. Stretches without attempts are passed over, so that a receiver with one event a day
//! is judged by its last days.

use super::{Bucket, HOURS, Health, MINUTES};

/// Failures from which on a receiver without a success is failing: one may be an accident.
const FAILURES: u64 = 3;
/// One failure in so many attempts is too much.
const DEGRADED_SHARE: u64 = 10;
/// Buckets with attempts that are looked at for that.
const LOOKED_AT: usize = 3;

/// How a receiver does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing was counted yet.
    #[default]
    Unknown,
    /// It takes what it is sent.
    Healthy,
    /// It fails at some of what it is sent.
    Degraded,
    /// It takes nothing.
    Failing,
}

impl State {
    /// The word that the API shows; empty for `Unknown`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }
}

/// The newest buckets without a success.
fn failing(row: &[Bucket]) -> &[Bucket] {
    let last = row.iter().rposition(|bucket| bucket.successes() > 0);
    row.get(last.map_or(0, |last| last + 1)..).unwrap_or(&[])
}

impl Health {
    /// How the receiver does.
    #[must_use]
    pub fn state(&self) -> State {
        let row = self.row(MINUTES);
        if row.is_empty() {
            return State::Unknown;
        }
        let failures = failing(&row).iter().map(Bucket::failures).sum::<u64>();
        if failures >= FAILURES {
            return State::Failing;
        }
        let newest = row.iter().rev().take(LOOKED_AT);
        let (failed, all) = newest.fold((0, 0), |(failed, all), bucket| {
            let failures = bucket.failures();
            (failed + failures, all + failures + bucket.successes())
        });
        match failed * DEGRADED_SHARE >= all {
            true => State::Degraded,
            false => State::Healthy,
        }
    }

    /// How many of the newest hours with attempts had failures only, at most 81.
    #[must_use]
    pub fn failing_hours(&self) -> u32 {
        u32::try_from(failing(&self.row(HOURS)).len()).unwrap_or(u32::MAX)
    }
}
