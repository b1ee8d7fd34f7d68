//! Buckets of tokens: what limits how often something may be done, the same for all who
//! use the store.
//!
//! A bucket holds at most [`Rate::burst`] tokens, and gets [`Rate::per_second`] of them
//! back each second. Of a bucket one number is kept, the moment at which it will be full
//! again, in whole microseconds: what it holds follows from that, and a full one needs
//! no record. So buckets leave by themselves: a call removes some that are full by now,
//! and a tick more.
//!
//! However many callers take, and wherever: between two moments of the store's clock no
//! more tokens are granted than `burst + per_second × time`. All roundings are in favour
//! of that. The clock may jump. A jump forward is time that passes, and brings `burst` at
//! most. After a way back a bucket is taken for empty if it says less (it cannot be
//! emptier), and fills from then on: what was granted before is not granted again. One
//! that is not asked for, and will be full later than any bucket can be, is from such a
//! clock and leaves at the next tick.
//!
//! A limit that changes applies to a bucket as it is: what is missing of it is so many
//! microseconds, not tokens. What is taken is no promise and need not outlast a failure
//! of the store: after one a bucket may be full that was not.

use core::time::Duration;
use std::collections::{BTreeSet, HashMap};

use sidehook_core::{id::TenantId, limits::REQUEST_BURST_MAX, time::Timestamp};

/// The longest that any bucket takes to be full.
pub const FULL_AFTER_MAX: Duration = Duration::from_secs(REQUEST_BURST_MAX as u64);
/// Full buckets that a call removes beside as many as it asks for.
pub const SWEPT: usize = 16;

const SECOND_US: u64 = 1_000_000;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come back in a second; 0 counts as 1.
    pub per_second: u32,
    /// Tokens of a full bucket; 0 counts as 1.
    pub burst: u32,
}

impl Rate {
    /// The same within what the arithmetic is exact for.
    #[must_use]
    pub fn bounded(self) -> Self {
        use sidehook_core::limits::REQUESTS_PER_SECOND_MAX;
        Self {
            per_second: self.per_second.clamp(1, REQUESTS_PER_SECOND_MAX),
            burst: self.burst.clamp(1, REQUEST_BURST_MAX),
        }
    }

    /// How long so many tokens take to come, in microseconds, rounded up.
    #[must_use]
    pub fn takes_us(self, tokens: u32) -> u64 {
        (u64::from(tokens) * SECOND_US).div_ceil(self.per_second.max(1).into())
    }

    /// Tokens of a bucket that will be full in `full_in_us`.
    #[must_use]
    pub fn left(self, full_in_us: u64) -> u32 {
        let room = self.takes_us(self.burst).saturating_sub(full_in_us);
        let tokens = room.saturating_mul(self.per_second.into()) / SECOND_US;
        u32::try_from(tokens).map_or(self.burst, |tokens| tokens.min(self.burst))
    }
}

/// What is asked of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Whose it is: this decides where in the store it lies.
    pub tenant: TenantId,
    /// Which of theirs.
    pub bucket: [u8; 16],
    /// Its rate, the same in all calls, but for changes of the limit.
    pub rate: Rate,
    /// How many tokens; as many as there are will be granted.
    pub tokens: u32,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Tokens granted.
    pub granted: u32,
    /// Tokens left then.
    pub left: u32,
    /// When the bucket will be full again, from now.
    pub full_in: Duration,
    /// When there will be a token again, from now; zero if there is one.
    pub next_in: Duration,
}

impl Taken {
    /// What a bucket that granted `granted` and will be full in `full_in_us` tells.
    #[must_use]
    pub fn told(rate: Rate, granted: u32, full_in_us: u64) -> Self {
        let left = rate.left(full_in_us);
        let next = match left {
            0 => (full_in_us + rate.takes_us(1)).saturating_sub(rate.takes_us(rate.burst)),
            _ => 0,
        };
        Self {
            granted,
            left,
            full_in: Duration::from_micros(full_in_us),
            next_in: Duration::from_micros(next),
        }
    }
}

/// What is left full in how long, after a bucket that was to be full at `full_at_us` (0:
/// it had no record) gave of what is wanted as much as it had: the tokens granted, and
/// when it will be full then.
#[must_use]
pub fn take(now_us: u64, full_at_us: u64, rate: Rate, wanted: u32) -> (u32, u64) {
    let full_at = full_at_us.clamp(now_us, now_us + rate.takes_us(rate.burst));
    let granted = wanted.min(rate.left(full_at - now_us));
    (granted, full_at + rate.takes_us(granted))
}

/// A moment in microseconds.
#[must_use]
pub fn micros(now: Timestamp) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(0) * 1_000
}

type Key = (TenantId, [u8; 16]);

/// Buckets in memory: for a store that one process has for itself, and which may forget
/// them with that process.
#[derive(Debug, Default)]
pub struct Buckets {
    full_at: HashMap<Key, u64>,
    by_time: BTreeSet<(u64, Key)>,
}

impl Buckets {
    /// Takes tokens, and removes some of the buckets that are full.
    pub fn take(&mut self, now: Timestamp, wants: &[Want]) -> Vec<Option<Taken>> {
        let now_us = micros(now);
        let taken = wants.iter().map(|want| {
            let (key, rate) = ((want.tenant, want.bucket), want.rate.bounded());
            let before = self.full_at.get(&key).copied();
            let (granted, full_at) = take(now_us, before.unwrap_or(0), rate, want.tokens);
            self.put(key, before, full_at);
            Some(Taken::told(rate, granted, full_at - now_us))
        });
        let taken = taken.collect();
        self.sweep(now, wants.len() + SWEPT);
        taken
    }

    fn put(&mut self, key: Key, before: Option<u64>, full_at: u64) {
        if let Some(before) = before {
            self.by_time.remove(&(before, key));
        }
        self.full_at.insert(key, full_at);
        self.by_time.insert((full_at, key));
    }

    /// Removes buckets that are full, and such as are from a clock that was ahead, `most`
    /// at most.
    pub fn sweep(&mut self, now: Timestamp, most: usize) {
        let now_us = micros(now);
        let ahead = micros(now + FULL_AFTER_MAX);
        for _ in 0..most {
            let first = self.by_time.first().filter(|(at, _)| *at <= now_us);
            let last = || self.by_time.last().filter(|(at, _)| *at > ahead);
            let Some(&gone) = first.or_else(last) else {
                return;
            };
            self.by_time.remove(&gone);
            self.full_at.remove(&gone.1);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.full_at.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.full_at.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 3,
        burst: 7,
    };

    fn want(bucket: u8, tokens: u32) -> Want {
        Want {
            tenant: TenantId::from_bits(1),
            bucket: [bucket; 16],
            rate: RATE,
            tokens,
        }
    }

    #[test]
    fn a_full_bucket_holds_its_burst_exactly_whatever_the_rate() {
        for per_second in [1, 3, 7, 99, 9_999, 10_000] {
            for burst in [1, 2, 199, 99_999, 100_000] {
                let rate = Rate { per_second, burst };
                assert_eq!(rate.left(0), burst, "{rate:?}");
                let (granted, full_at) = take(5, 0, rate, u32::MAX);
                assert_eq!(granted, burst);
                assert_eq!(rate.left(full_at - 5), 0, "{rate:?}");
            }
        }
    }

    #[test]
    fn buckets_leave_once_they_are_full_and_when_they_are_from_ahead() {
        let mut buckets = Buckets::default();
        let start = Timestamp::from_millis(1_000_000);
        for bucket in 0..100 {
            buckets.take(start, &[want(bucket, 1)]);
        }
        assert_eq!(buckets.len(), 100);
        buckets.sweep(start, 1_000);
        assert_eq!(buckets.len(), 100, "none is full yet");
        let later = start + Duration::from_millis(334);
        buckets.take(later, &[want(200, 1)]);
        assert_eq!(buckets.len(), 101 - SWEPT - 1);
        buckets.sweep(later, 1_000);
        assert_eq!(buckets.len(), 1);
        let ahead = later + FULL_AFTER_MAX + Duration::from_secs(1);
        buckets.take(ahead, &[want(201, 1)]);
        buckets.sweep(later, 1_000);
        assert_eq!(buckets.len(), 0, "one was full ahead, one is from there");
        assert!(buckets.is_empty() && buckets.by_time.is_empty());
    }
}
