//! Subscriptions' health: packed as the settle script keeps it, and read back.
//!
//! Four fields of the partition's hash `health` are one subscription's (see `layout`):
//! `h`, which every settle of it rewrites, is kept small; `e` is touched by failures, `0`
//! and `1` when a stretch of time is over.

use std::{collections::BTreeMap, sync::LazyLock};

use bytes::{BufMut as _, Bytes};
use redis::Pipeline;
use sidehook_core::{
    address::Partition,
    health::{Bucket, CLASSES, Health, Mark, NOTES, ROWS, SPANS},
    id::{SubscriptionNumber, TenantId},
    limits::CALL_RECORDS,
};
use sidehook_store::StoreError;

use crate::{
    inspect::{QueueKey, queue_key},
    layout::{self, Reader},
    leases::{bytes, list},
    route::Route,
};

/// What the fields of a subscription begin with.
const KINDS: [u8; 2 + ROWS] = [b'h', b'e', b'0', b'1'];

/// What the script is told of what is kept.
pub(crate) static TERMS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut terms = Vec::new();
    terms.put_u32(NOTES as u32);
    for span in SPANS {
        terms.put_u32(u32::try_from(span.width.as_millis()).unwrap_or(u32::MAX));
        terms.put_u32(span.kept as u32);
    }
    terms
});

/// The byte that stands for a mark in a settle's item; its note goes to `notes`.
pub(crate) fn put_mark(mark: Option<&Mark>, notes: &mut Vec<u8>) -> u8 {
    let Some(mark) = mark else {
        return 0;
    };
    put_note(notes, &mark.note);
    (1 + CLASSES * mark.kind as usize + mark.latency.class()) as u8
}

/// A note that is longer than a length can tell was refused before.
fn put_note(to: &mut Vec<u8>, note: &Bytes) {
    to.push(note.len() as u8);
    to.extend_from_slice(note);
}

fn put_bucket(to: &mut Vec<u8>, bucket: &Bucket) {
    to.put_u32(bucket.number);
    let numbers = bucket.counts.iter().chain(&bucket.latencies);
    numbers.for_each(|number| to.put_u32(*number));
}

/// The four rows of a health that another store kept; empty ones of an empty health.
pub(crate) fn pack(health: &Health) -> [Vec<u8>; KINDS.len()] {
    if health.is_empty() {
        return [const { Vec::new() }; KINDS.len()];
    }
    let recent = &health.recent;
    // No settle has this stamp.
    let mut head = vec![0; 12];
    let counters = recent.counters.numbers();
    counters.iter().for_each(|number| head.put_u64(*number));
    for bucket in &recent.current {
        put_bucket(&mut head, bucket);
    }
    for note in &recent.successes {
        put_note(&mut head, note);
    }
    let mut errors = Vec::new();
    for note in &recent.errors {
        put_note(&mut errors, note);
    }
    let [minutes, hours] = health.over.each_ref().map(|row| {
        let mut packed = Vec::new();
        row.iter()
            .for_each(|bucket| put_bucket(&mut packed, bucket));
        packed
    });
    [head, errors, minutes, hours]
}

fn bucket(reader: &mut Reader) -> Result<Bucket, StoreError> {
    let mut bucket = Bucket {
        number: reader.u32()?,
        ..Bucket::default()
    };
    for number in bucket.counts.iter_mut().chain(&mut bucket.latencies) {
        *number = reader.u32()?;
    }
    Ok(bucket)
}

fn notes(mut reader: Reader) -> Result<Vec<Bytes>, StoreError> {
    let mut notes = Vec::new();
    while !reader.is_empty() {
        let length = reader.u8()?;
        notes.push(reader.take(length.into())?);
    }
    Ok(notes)
}

/// Adds one row, of this kind, to a health; an absent one is empty.
fn take(health: &mut Health, kind: u8, row: Bytes) -> Result<(), StoreError> {
    if row.is_empty() {
        return Ok(());
    }
    let mut reader = Reader::new("a subscription's health", row);
    match kind {
        b'h' => {
            let _stamp = reader.take(12)?;
            let mut counters = [0; 4];
            for number in &mut counters {
                *number = reader.u64()?;
            }
            health.recent.counters = counters.into();
            for current in &mut health.recent.current {
                *current = bucket(&mut reader)?;
            }
            health.recent.successes = notes(reader)?;
        }
        b'e' => health.recent.errors = notes(reader)?,
        digit => {
            let place = usize::from(digit.wrapping_sub(b'0'));
            if let Some(over) = health.over.get_mut(place) {
                while !reader.is_empty() {
                    over.push(bucket(&mut reader)?);
                }
            }
        }
    }
    Ok(())
}

/// The health that these rows of one subscription, as [`pack`] tells them, are.
fn unpack(rows: [Bytes; KINDS.len()]) -> Result<Health, StoreError> {
    let mut health = Health::default();
    for (kind, row) in KINDS.into_iter().zip(rows) {
        take(&mut health, kind, row)?;
    }
    Ok(health)
}

/// Reads the health of a tenant's subscriptions, all of which must be readable.
pub(crate) async fn read(
    route: &Route,
    tenant: TenantId,
    numbers: &[SubscriptionNumber],
) -> Result<Vec<Health>, StoreError> {
    read_each(route, tenant, numbers)
        .await?
        .into_iter()
        .collect()
}

/// What can be read of the health of a tenant's subscriptions; the others' is empty, so
/// that they are exported nevertheless.
pub(crate) async fn read_readable(
    route: &Route,
    tenant: TenantId,
    numbers: &[SubscriptionNumber],
) -> Result<Vec<Health>, StoreError> {
    let each = read_each(route, tenant, numbers).await?.into_iter();
    let each = each.zip(numbers).map(|(found, number)| {
        found.unwrap_or_else(|error| {
            let number = number.0;
            tracing::error!(%tenant, number, %error, "a subscription's health cannot be read: it begins anew");
            Health::default()
        })
    });
    Ok(each.collect())
}

/// Reads in one round trip, in commands that do not hold others up; for each whether it
/// can be read.
async fn read_each(
    route: &Route,
    tenant: TenantId,
    numbers: &[SubscriptionNumber],
) -> Result<Vec<Result<Health, StoreError>>, StoreError> {
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let key = layout::key(Partition::of(tenant), "health", &[]);
    let mut pipe = Pipeline::new();
    for some in numbers.chunks(CALL_RECORDS) {
        let cmd = pipe.cmd("HMGET");
        cmd.arg(&key[..]);
        for number in some {
            let queue = layout::queue(tenant, *number);
            for kind in KINDS {
                cmd.arg([&[kind], &queue[..]].concat());
            }
        }
    }
    let answers = route.ask(pipe).await?;
    let mut rows = answers.into_iter().flat_map(list).map(bytes);
    let mut found = Vec::with_capacity(numbers.len());
    for _ in numbers {
        let own: [Bytes; KINDS.len()] = KINDS.map(|_| rows.next().unwrap_or_default());
        found.push(unpack(own));
    }
    Ok(found)
}

/// The health of each subscription whose fields are among these.
pub(crate) fn of_fields(
    fields: &[(Bytes, Bytes)],
) -> Result<BTreeMap<QueueKey, Health>, StoreError> {
    let mut found: BTreeMap<QueueKey, Health> = BTreeMap::new();
    for (field, row) in fields {
        if let Some(kind) = field.first() {
            let health = found.entry(queue_key(&field.slice(1..))?).or_default();
            take(health, *kind, row.clone())?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use sidehook_core::{
        health::{Kind, Latency},
        time::Timestamp,
    };

    use super::*;

    #[test]
    fn health_survives_its_rows() {
        let mut health = Health::default();
        for number in 0..200_u64 {
            let mark = Mark {
                kind: Kind::of(number % 3 == 0, number % 5 == 0),
                latency: Latency::of(Duration::from_millis(number * 60)),
                note: Bytes::from(vec![number as u8; number as usize % 7]),
            };
            let now = Timestamp::from_millis(1_790_000_000_000 + number as i64 * 700_000);
            health.count(now, [&mark]);
        }
        let mut read = Health::default();
        for (kind, row) in KINDS.into_iter().zip(pack(&health)) {
            let row = Bytes::from(row);
            let cut = row.slice(..row.len() - 1);
            assert!(take(&mut Health::default(), kind, cut).is_err());
            assert_eq!(take(&mut read, kind, row), Ok(()));
        }
        assert_eq!(read, health);
    }
}
