//! How a subscription's receiver does: what is counted of attempts, and what that says.
//!
//! # What counts
//! An attempt that the receiver answered for: a success, or a failure that is the
//! receiver's own. An agent's or the platform's failure says nothing about a receiver, nor
//! does what was never begun. Of each attempt that counts a settle call carries a [`Mark`]:
//! whether it was the first one of its delivery, whether it succeeded, roughly how long it
//! took, and a [note](Mark::note) for people. A store counts a mark where it settles the
//! delivery: never of a stale position, once however often the call is repeated, and not
//! for a subscription that is deleted, whose health goes away with it.
//!
//! # What is kept
//! | what | of it | why |
//! |---|---|---|
//! | [`Counters`] | since the subscription was made | for people |
//! | rows of [`Bucket`]s, one for each of [`SPANS`] | the newest ones | all that is *decided*: states, rates and times over windows |
//! | notes | the newest [`NOTES`] successes and failures | for people: `latest_error` is the newest failure, which no success removes |
//!
//! Adding to a bucket is commutative: it does not matter which replica settles first, how
//! marks are cut into calls, or in which order those come, as long as they come in the same
//! stretch of the *store's* clock. So every replica reads the same health, nobody has to
//! compare and set, and settling never fails on it. Only which notes are the newest goes by
//! the order of calls.
//!
//! Two rows and not one: five minutes are short enough to see that a receiver has recovered,
//! and hours reach over the three days after which one is given up, in a few KiB. The newest
//! bucket of each row, the counters and the notes of successes are one small record that
//! every call of a subscription rewrites ([`Recent`]); older buckets are touched only when
//! one more joins them.
//!
//! # When the clock jumps
//! A bucket is over once the clock is in another stretch, later or earlier. Where it has
//! gone back a stretch may have two buckets; [`Health::row`] adds them up, and passes over
//! those that are later than the one that is counted in: they tell of a time that is yet to
//! come, and would be taken for the newest until then. Nothing waits for a time, so nothing
//! can be stuck.
//!
//! # What is decided
//! See [`State`]. It is a function of the buckets alone, without a clock: a receiver to
//! whom nothing is sent stays what it was when something was sent last.

mod latency;
mod note;
mod state;
#[cfg(test)]
mod tests;

use core::time::Duration;

use bytes::Bytes;

use crate::{limits::HEALTH_NOTE_BYTES, time::Timestamp};

pub use latency::{CLASSES, Latency};
pub use note::Note;
pub use state::State;

/// How long the stretches of a row's buckets are, and how many of them are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Length of one stretch.
    pub width: Duration,
    /// Buckets that are kept beside the newest one.
    pub kept: usize,
}

impl Span {
    /// The number of the stretch that a moment lies in, counted from 1970.
    #[must_use]
    pub fn number(self, at: Timestamp) -> u32 {
        let width_ms = i64::try_from(self.width.as_millis()).unwrap_or(i64::MAX);
        u32::try_from(at.as_millis() / width_ms.max(1)).unwrap_or(0)
    }
}

/// Rows of buckets that are kept.
pub const ROWS: usize = 2;
/// Place of the row of five minutes each, two hours of them.
pub const MINUTES: usize = 0;
/// Place of the row of one hour each, three days and eight hours of them.
pub const HOURS: usize = 1;

/// The rows.
pub const SPANS: [Span; ROWS] = [
    Span {
        width: Duration::from_secs(300),
        kept: 24,
    },
    Span {
        width: Duration::from_secs(3_600),
        kept: 80,
    },
];

/// Notes of successes that are kept, and of failures.
pub const NOTES: usize = 5;

/// An attempt that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The first attempt, and the receiver took it.
    FirstSuccess = 0,
    /// The first attempt, and the receiver failed.
    FirstFail = 1,
    /// A later attempt, and the receiver took it.
    RetrySuccess = 2,
    /// A later attempt, and the receiver failed.
    RetryFail = 3,
}

/// How many kinds there are.
pub const KINDS: usize = 4;

impl Kind {
    /// The kind of an attempt.
    #[must_use]
    pub const fn of(is_first: bool, is_success: bool) -> Self {
        match (is_first, is_success) {
            (true, true) => Self::FirstSuccess,
            (true, false) => Self::FirstFail,
            (false, true) => Self::RetrySuccess,
            (false, false) => Self::RetryFail,
        }
    }

    /// Whether the receiver took it.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, Self::FirstSuccess | Self::RetrySuccess)
    }
}

/// What a settled attempt adds to its subscription's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What it was.
    pub kind: Kind,
    /// How long it took.
    pub latency: Latency,
    /// What the newest few are shown as: the encoded [`Note`], which stores pass on as it
    /// is. At most [`HEALTH_NOTE_BYTES`].
    pub note: Bytes,
}

const _: () = assert!(HEALTH_NOTE_BYTES <= 255, "a length is a byte at rest");

/// Attempts that counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// First attempts that the receiver took.
    pub first_success: u64,
    /// First attempts at which the receiver failed.
    pub first_fail: u64,
    /// Later attempts that the receiver took.
    pub retry_success: u64,
    /// Later attempts at which the receiver failed.
    pub retry_fail: u64,
}

impl Counters {
    /// The number of this kind.
    pub const fn of(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::FirstSuccess => &mut self.first_success,
            Kind::FirstFail => &mut self.first_fail,
            Kind::RetrySuccess => &mut self.retry_success,
            Kind::RetryFail => &mut self.retry_fail,
        }
    }

    /// The numbers in the order of [`Kind`].
    #[must_use]
    pub const fn numbers(self) -> [u64; KINDS] {
        [
            self.first_success,
            self.first_fail,
            self.retry_success,
            self.retry_fail,
        ]
    }
}

impl From<[u64; KINDS]> for Counters {
    fn from([first_success, first_fail, retry_success, retry_fail]: [u64; KINDS]) -> Self {
        Self {
            first_success,
            first_fail,
            retry_success,
            retry_fail,
        }
    }
}

/// The attempts of one stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// The stretch: see [`Span::number`].
    pub number: u32,
    /// Attempts in the order of [`Kind`].
    pub counts: [u32; KINDS],
    /// The same attempts by [`Latency`].
    pub latencies: [u32; CLASSES],
}

impl Bucket {
    /// Attempts that the receiver took.
    #[must_use]
    pub const fn successes(&self) -> u64 {
        self.counts[Kind::FirstSuccess as usize] as u64
            + self.counts[Kind::RetrySuccess as usize] as u64
    }

    /// Attempts at which the receiver failed.
    #[must_use]
    pub const fn failures(&self) -> u64 {
        self.counts[Kind::FirstFail as usize] as u64 + self.counts[Kind::RetryFail as usize] as u64
    }

    /// Whether it has no attempt.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts == [0; KINDS]
    }

    fn count(&mut self, mark: &Mark) {
        let numbers = [
            self.counts.get_mut(mark.kind as usize),
            self.latencies.get_mut(mark.latency.class()),
        ];
        for number in numbers.into_iter().flatten() {
            *number = number.saturating_add(1);
        }
    }

    fn add(&mut self, other: &Self) {
        let mine = self.counts.iter_mut().chain(&mut self.latencies);
        let others = other.counts.iter().chain(&other.latencies);
        for (mine, other) in mine.zip(others) {
            *mine = mine.saturating_add(*other);
        }
    }
}

/// What every attempt that counts changes; beside it there are the buckets that are over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// All attempts ever.
    pub counters: Counters,
    /// The newest bucket of each row; empty where nothing was counted yet.
    pub current: [Bucket; ROWS],
    /// The newest notes of successes, newest last.
    pub successes: Vec<Bytes>,
    /// The newest notes of failures, newest last.
    pub errors: Vec<Bytes>,
}

impl Recent {
    /// Counts marks at this time of the store's clock. Answers, for each row, the bucket
    /// that is over by that and is to be kept.
    pub fn count<'m>(
        &mut self,
        now: Timestamp,
        marks: impl IntoIterator<Item = &'m Mark>,
    ) -> [Option<Bucket>; ROWS] {
        let mut over = [None; ROWS];
        for mark in marks {
            let rows = self.current.iter_mut().zip(SPANS).zip(&mut over);
            for ((current, span), over) in rows {
                let number = span.number(now);
                if current.number != number {
                    *over = (!current.is_empty()).then_some(*current);
                    *current = Bucket {
                        number,
                        ..Bucket::default()
                    };
                }
                current.count(mark);
            }
            let counter = self.counters.of(mark.kind);
            *counter = counter.saturating_add(1);
            let notes = match mark.kind.is_success() {
                true => &mut self.successes,
                false => &mut self.errors,
            };
            keep_newest(notes, mark.note.clone(), NOTES);
        }
        over
    }
}

/// All that is kept of a subscription's health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What changes with every attempt.
    pub recent: Recent,
    /// Of each row the buckets that are over, oldest first; none of them is empty.
    pub over: [Vec<Bucket>; ROWS],
}

impl Health {
    /// Counts marks at this time of the store's clock.
    pub fn count<'m>(&mut self, now: Timestamp, marks: impl IntoIterator<Item = &'m Mark>) {
        let over = self.recent.count(now, marks);
        for ((row, bucket), span) in self.over.iter_mut().zip(over).zip(SPANS) {
            if let Some(bucket) = bucket {
                keep_newest(row, bucket, span.kept);
            }
        }
    }

    /// Whether nothing was ever counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The buckets of a row ([`MINUTES`] or [`HOURS`]) in which there were attempts, by
    /// time, each stretch once; none that is later than the one that was counted in last.
    #[must_use]
    pub fn row(&self, row: usize) -> Vec<Bucket> {
        let over = self.over.get(row).into_iter().flatten();
        let current = self.recent.current.get(row);
        let last = current.map_or(0, |bucket| bucket.number);
        let mut all: Vec<Bucket> = over.chain(current).copied().collect();
        all.retain(|bucket| !bucket.is_empty() && bucket.number <= last);
        all.sort_by_key(|bucket| bucket.number);
        let mut merged: Vec<Bucket> = Vec::with_capacity(all.len());
        for bucket in all {
            match merged.last_mut() {
                Some(last) if last.number == bucket.number => last.add(&bucket),
                _ => merged.push(bucket),
            }
        }
        merged
    }

    /// What contradicts itself in it, in words: for whoever checks a store.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let recent = &self.recent;
        let total: u64 = recent.counters.numbers().iter().sum();
        if total == 0 {
            return (!self.is_empty()).then(|| "it counts nothing and has something".to_owned());
        }
        for ((over, current), span) in self.over.iter().zip(&recent.current).zip(SPANS) {
            let told = |numbers: &[u32]| numbers.iter().copied().map(u64::from).sum::<u64>();
            let all = || over.iter().chain([current]);
            if all().any(|one| one.is_empty() || told(&one.counts) != told(&one.latencies)) {
                return Some("a bucket counts attempts otherwise than times".to_owned());
            }
            let counted: u64 = all().map(|one| told(&one.counts)).sum();
            let whole = over.len() < span.kept;
            if over.len() > span.kept || counted > total || (whole && counted < total) {
                let count = over.len();
                return Some(format!(
                    "{count} buckets have {counted} attempts of {total}"
                ));
            }
        }
        let [first_success, first_fail, retry_success, retry_fail] = recent.counters.numbers();
        let notes = [
            (&recent.successes, first_success + retry_success),
            (&recent.errors, first_fail + retry_fail),
        ];
        let wrong = notes
            .iter()
            .any(|(notes, count)| notes.len() as u64 != (*count).min(NOTES as u64));
        wrong.then(|| "more or fewer notes than attempts".to_owned())
    }
}

/// Adds one and lets the oldest go beyond so many.
pub fn keep_newest<T>(to: &mut Vec<T>, one: T, kept: usize) {
    to.push(one);
    let more = to.len().saturating_sub(kept);
    to.drain(..more);
}
