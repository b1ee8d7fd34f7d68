//! Presets of retry policies: a curve of delays, and what holds where nothing else is chosen.
//!
//! | preset | the delay b after the receiver's n-th failure | drawn from | shortest, longest | tries for | attempts | then |
//! |---|---|---|---|---|---|---|
//! | `CLOSE` | shortest · 2^(n-1) | [b/2, b] | 5 s, 20 min | 72 h | any number | drops |
//! | `COLLECT` | as `CLOSE` | [b/2, b] | 5 s, 20 min | 24 h | any number | pauses |
//! | `HOOKSHOT` | n⁴ + 15 s | [0.9 b, b] | 16 s, 5 days | 28 days | 25 | drops |
//! | `STANDARD_WEBHOOKS` | its table: 5 s, 5 min, 30 min, 2, 5, 10, 14, 20, 24 h | [0.9 b, b] | 5 s, 24 h | 7 days | 10 | drops |
//!
//! Whichever the curve, a policy's own shortest and longest delay bound b. So a later
//! failure never waits for less than an earlier one could, and a curve says nothing of
//! what a policy forbids.
//!
//! Doubling delays are spread over a factor of two, which drives receivers that failed
//! together apart. The other two curves are promised in numbers ("n⁴ + 15 s"), and are
//! spread over a tenth: at their lengths that is minutes to hours.

use core::time::Duration;

use crate::limits::{
    BACKOFF_INITIAL_DEFAULT, BACKOFF_MAX_DEFAULT, BACKOFF_MAX_MAX, RETRY_AGE_DEFAULT, RETRY_AGE_MAX,
};

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;

/// Delays of the schedule that Standard Webhooks gives, after the first attempt at once.
const STANDARD_WEBHOOKS_S: [u64; 9] = [
    5,
    5 * 60,
    30 * 60,
    2 * HOUR_S,
    5 * HOUR_S,
    10 * HOUR_S,
    14 * HOUR_S,
    20 * HOUR_S,
    24 * HOUR_S,
];

/// What is added to the fourth power.
const HOOKSHOT_BASE_S: u64 = 15;

/// A curve of delays, and the defaults of a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RetryPreset {
    /// As Close retries.
    #[default]
    Close,
    /// As Collect retries.
    Collect,
    /// As Hookshot retries.
    Hookshot,
    /// By the schedule that Standard Webhooks recommends.
    StandardWebhooks,
}

/// What follows once a delivery is given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ExhaustionAction {
    /// The delivery is dead, and the subscription goes on.
    #[default]
    Drop,
    /// The subscription is paused as well.
    Pause,
}

/// What a policy has where nothing is chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    pub(super) initial_backoff: Duration,
    pub(super) max_backoff: Duration,
    pub(super) max_age: Duration,
    pub(super) max_attempts: Option<u32>,
    pub(super) on_exhausted: ExhaustionAction,
}

impl RetryPreset {
    pub(super) const fn defaults(self) -> Defaults {
        let close = Defaults {
            initial_backoff: BACKOFF_INITIAL_DEFAULT,
            max_backoff: BACKOFF_MAX_DEFAULT,
            max_age: RETRY_AGE_DEFAULT,
            max_attempts: None,
            on_exhausted: ExhaustionAction::Drop,
        };
        match self {
            Self::Close => close,
            Self::Collect => Defaults {
                max_age: Duration::from_secs(DAY_S),
                on_exhausted: ExhaustionAction::Pause,
                ..close
            },
            Self::Hookshot => Defaults {
                initial_backoff: Duration::from_secs(1 + HOOKSHOT_BASE_S),
                max_backoff: BACKOFF_MAX_MAX,
                max_age: RETRY_AGE_MAX,
                max_attempts: Some(25),
                ..close
            },
            Self::StandardWebhooks => Defaults {
                initial_backoff: Duration::from_secs(STANDARD_WEBHOOKS_S[0]),
                max_backoff: Duration::from_secs(DAY_S),
                max_age: Duration::from_secs(7 * DAY_S),
                max_attempts: Some(1 + STANDARD_WEBHOOKS_S.len() as u32),
                ..close
            },
        }
    }

    /// The delay before retry `n`, counted from 0, before it is bounded and drawn.
    pub(super) fn delay(self, initial_backoff: Duration, n: u32) -> Duration {
        match self {
            Self::Close | Self::Collect => {
                let factor = 1_u32.checked_shl(n).unwrap_or(u32::MAX);
                initial_backoff.saturating_mul(factor)
            }
            Self::Hookshot => {
                let power = (u64::from(n) + 1).saturating_pow(4);
                Duration::from_secs(power.saturating_add(HOOKSHOT_BASE_S))
            }
            Self::StandardWebhooks => {
                let last = STANDARD_WEBHOOKS_S.len() - 1;
                let place = usize::try_from(n).map_or(last, |n| n.min(last));
                Duration::from_secs(STANDARD_WEBHOOKS_S[place])
            }
        }
    }

    /// How much of a delay is drawn: it is at least that much shorter than it could be.
    pub(super) fn spread(self, delay: Duration) -> Duration {
        match self {
            Self::Close | Self::Collect => delay / 2,
            Self::Hookshot | Self::StandardWebhooks => delay / 10,
        }
    }
}
