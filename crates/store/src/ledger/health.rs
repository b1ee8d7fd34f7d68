//! Health, from a flat list of all attempts that counted.
//!
//! Time only goes on in the sequences that a ledger is kept of, so that every stretch of it
//! has one bucket at most.

use std::collections::BTreeMap;

use bytes::Bytes;
use sidehook_core::{
    address::Partition,
    health::{Bucket, HOURS, Health, Kind, MINUTES, Mark},
    time::Timestamp,
};

use super::{Ledger, Told, demand};
use crate::{inspect::Inspection, turn::SettleItem};

/// Of each row the length of its stretches, in milliseconds, and how many of them are kept
/// beside the newest.
const ROWS: [(usize, i64, usize); 2] = [(MINUTES, 300_000, 24), (HOURS, 3_600_000, 80)];

/// Notes of either kind that are kept.
const NOTES: usize = 5;

/// The buckets that must be there, oldest first.
fn buckets(marks: &[(Timestamp, Mark)], width_ms: i64, kept: usize) -> Vec<Bucket> {
    let mut all: BTreeMap<i64, Bucket> = BTreeMap::new();
    for (at, mark) in marks {
        let number = at.as_millis() / width_ms;
        let bucket = all.entry(number).or_insert_with(|| Bucket {
            number: u32::try_from(number).unwrap_or(u32::MAX),
            ..Bucket::default()
        });
        bucket.counts[mark.kind as usize] += 1;
        bucket.latencies[mark.latency.class()] += 1;
    }
    let left = all.len().saturating_sub(kept + 1);
    all.into_values().skip(left).collect()
}

fn newest(marks: &[(Timestamp, Mark)], is_success: bool) -> Vec<Bytes> {
    let ours = marks.iter().map(|(_, mark)| mark);
    let ours = ours.filter(|mark| mark.kind.is_success() == is_success);
    let notes: Vec<Bytes> = ours.map(|mark| mark.note.clone()).collect();
    notes[notes.len().saturating_sub(NOTES)..].to_vec()
}

fn compare(marks: &[(Timestamp, Mark)], told: &Health) -> Told {
    let kinds = [
        Kind::FirstSuccess,
        Kind::FirstFail,
        Kind::RetrySuccess,
        Kind::RetryFail,
    ];
    let count = |kind| marks.iter().filter(|(_, mark)| mark.kind == kind).count() as u64;
    let (wanted, counters) = (kinds.map(count), told.recent.counters.numbers());
    demand(wanted == counters, || {
        format!("counted are {counters:?}, not {wanted:?}")
    })?;
    for (row, width_ms, kept) in ROWS {
        let wanted = buckets(marks, width_ms, kept);
        let buckets = told.row(row);
        demand(wanted == buckets, || {
            format!("the buckets are {buckets:?}, not {wanted:?}")
        })?;
    }
    let wanted = (newest(marks, true), newest(marks, false));
    let notes = (&told.recent.successes, &told.recent.errors);
    demand((&wanted.0, &wanted.1) == notes, || {
        format!("the notes are {notes:?}, not {wanted:?}")
    })
}

impl Ledger {
    /// Notes an attempt that was settled, unless its subscription is gone.
    pub(super) fn mark(&mut self, now: Timestamp, item: &SettleItem) {
        let key = (item.tenant, item.subscription);
        if let Some(mark) = &item.mark
            && self.queue(key).is_some()
        {
            self.marks.entry(key).or_default().push((now, mark.clone()));
        }
    }

    /// Compares the health of a partition's subscriptions.
    pub(super) fn healthy(&self, partition: Partition, seen: &Inspection) -> Told {
        let here = self.marks.iter();
        let here = here.filter(|((tenant, _), _)| Partition::of(*tenant) == partition);
        let mut count = 0;
        for (key, marks) in here {
            count += 1;
            let told = seen.health.get(key).cloned().unwrap_or_default();
            compare(marks, &told).map_err(|wrong| format!("health of {key:?}: {wrong}"))?;
        }
        demand(count == seen.health.len(), || {
            format!("{count} have a health, not {}", seen.health.len())
        })
    }
}
