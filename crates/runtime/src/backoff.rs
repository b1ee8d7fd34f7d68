//! Jittered exponential back-off, as pure arithmetic.
//!
//! The caller brings the randomness and does the sleeping, so a simulation can replay it. The n-th wait is drawn from
//! `[ceiling / 2, ceiling]`, where the ceiling doubles from `2 × min` up to `max`: already the first wait is spread,
//! so that a thousand agents cut off in one moment do not come back in one moment, and no wait leaves `[min, max]`.

use std::time::Duration;

/// The state of one back-off: which bounds hold, and how many failures in a row there were.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Waits between `min` and `max`; a `max` below `min` is raised to `min`.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        let max = max.max(min);
        Self {
            min,
            max,
            ceiling: Self::first_ceiling(min, max),
        }
    }

    /// What a client uses to reconnect: half a second up to 30 seconds.
    #[must_use]
    pub fn reconnect() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(30))
    }

    /// The wait after one more failure. `rand01` is a uniform draw from `[0, 1)`; other values are clamped.
    pub fn next(&mut self, rand01: f64) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = ceiling.saturating_mul(2).min(self.max);
        let draw = if rand01.is_nan() {
            0.5
        } else {
            rand01.clamp(0.0, 1.0)
        };
        let floor = (ceiling / 2).max(self.min);
        floor + (ceiling - floor).mul_f64(draw)
    }

    /// Begins anew, after a success.
    pub fn reset(&mut self) {
        self.ceiling = Self::first_ceiling(self.min, self.max);
    }

    fn first_ceiling(min: Duration, max: Duration) -> Duration {
        min.saturating_mul(2).min(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_wait_stays_within_bounds_and_the_ceiling_is_reached(
            min_ms in 1_u64..5_000, extra_ms in 0_u64..100_000, draws in prop::collection::vec(-0.5_f64..1.5, 1..40),
        ) {
            let (min, max) = (Duration::from_millis(min_ms), Duration::from_millis(min_ms + extra_ms));
            let mut backoff = Backoff::new(min, max);
            for draw in draws {
                let wait = backoff.next(draw);
                prop_assert!(wait >= min && wait <= max, "{wait:?} outside {min:?}..{max:?}");
            }
            for _ in 0..20 {
                backoff.next(0.5);
            }
            prop_assert_eq!(backoff.next(1.0), max);
            backoff.reset();
            prop_assert_eq!(backoff.next(0.0), min);
        }
    }

    #[test]
    fn waits_double_until_the_bound() {
        let mut backoff = Backoff::reconnect();
        let ceilings: Vec<u128> = (0..7).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(
            ceilings,
            [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]
        );
    }

    #[test]
    fn extreme_bounds_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::ZERO);
        assert_eq!(backoff.next(f64::NAN), Duration::MAX);
        assert_eq!(
            Backoff::new(Duration::ZERO, Duration::ZERO).next(1.0),
            Duration::ZERO
        );
    }
}
