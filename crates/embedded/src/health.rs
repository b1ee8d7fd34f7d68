//! Subscriptions' health: one small row that every settle of a subscription rewrites, and
//! the buckets that are over in rows of their own (formats: `layout`).
//!
//! Neither settling nor an export fails on health: a row that cannot be read is begun anew,
//! and where it is the small one, all of that subscription's are.

use std::collections::BTreeMap;

use bytes::Bytes;
use sidehook_core::{
    address::Partition,
    health::{Bucket, Health, Mark, ROWS, Recent, SPANS, keep_newest},
    id::{SubscriptionNumber, TenantId},
    time::Timestamp,
};

use crate::{
    batch::Batch,
    codec::{Reader, Writer},
    error::Fault,
    layout::{self, Queue, QueueKey},
    tables::{Look, View},
};

const WHAT: &str = "a subscription's health";

fn put_notes(to: &mut Writer, notes: &[Bytes]) {
    to.u8(u8::try_from(notes.len()).unwrap_or(u8::MAX));
    for note in notes {
        // A longer one was refused before.
        to.u8(u8::try_from(note.len()).unwrap_or(u8::MAX))
            .bytes(note);
    }
}

fn notes(from: &mut Reader) -> Result<Vec<Bytes>, Fault> {
    let count = from.u8()?;
    let mut notes = Vec::with_capacity(count.into());
    for _ in 0..count {
        let length = from.u8()?;
        notes.push(from.take(length.into())?);
    }
    Ok(notes)
}

fn put_bucket(to: &mut Writer, bucket: &Bucket) {
    to.u32(bucket.number);
    for number in bucket.counts.iter().chain(&bucket.latencies) {
        to.u32(*number);
    }
}

fn bucket(from: &mut Reader) -> Result<Bucket, Fault> {
    let mut bucket = Bucket {
        number: from.u32()?,
        ..Bucket::default()
    };
    for number in bucket.counts.iter_mut().chain(&mut bucket.latencies) {
        *number = from.u32()?;
    }
    Ok(bucket)
}

fn pack_recent(recent: &Recent) -> Vec<u8> {
    let mut to = Writer::with_capacity(512);
    for number in recent.counters.numbers() {
        to.u64(number);
    }
    for bucket in &recent.current {
        put_bucket(&mut to, bucket);
    }
    put_notes(&mut to, &recent.successes);
    put_notes(&mut to, &recent.errors);
    to.finish()
}

fn parse_recent(value: Bytes) -> Result<Recent, Fault> {
    let mut from = Reader::new(WHAT, value);
    let mut counters = [0; 4];
    for number in &mut counters {
        *number = from.u64()?;
    }
    let mut current = [Bucket::default(); ROWS];
    for one in &mut current {
        *one = bucket(&mut from)?;
    }
    let recent = Recent {
        counters: counters.into(),
        current,
        successes: notes(&mut from)?,
        errors: notes(&mut from)?,
    };
    from.end()?;
    Ok(recent)
}

fn pack_over(row: &[Bucket]) -> Vec<u8> {
    let mut to = Writer::with_capacity(size_of_val(row));
    row.iter().for_each(|bucket| put_bucket(&mut to, bucket));
    to.finish()
}

fn parse_over(value: Bytes) -> Result<Vec<Bucket>, Fault> {
    let mut from = Reader::new(WHAT, value);
    let mut row = Vec::new();
    while !from.is_empty() {
        row.push(bucket(&mut from)?);
    }
    Ok(row)
}

/// What is there, or nothing if it cannot be read.
fn readable<T>(read: Result<Option<T>, Fault>) -> Result<Option<T>, Fault> {
    match read {
        Err(Fault::Corrupt(detail, _)) => {
            tracing::error!(%detail, "a subscription's health cannot be read: it begins anew");
            Ok(None)
        }
        other => other,
    }
}

impl Batch<'_> {
    /// Counts attempts that were settled, of each subscription that is there.
    pub(crate) fn count(
        &mut self,
        now: Timestamp,
        marks: &BTreeMap<QueueKey, Vec<&Mark>>,
    ) -> Result<(), Fault> {
        for (key, marks) in marks {
            if !self.queue(*key)?.is_some_and(Queue::is_live) {
                continue;
            }
            let at = layout::queue(*key);
            let mut recent = match readable(self.tables.health.read(&at, parse_recent))? {
                Some(recent) => recent,
                None => {
                    // What is over of it would be more than is counted.
                    self.forget_health(*key)?;
                    Recent::default()
                }
            };
            let over = recent.count(now, marks.iter().copied());
            self.tables.health.put(&at, &pack_recent(&recent))?;
            for ((place, bucket), span) in (0..).zip(over).zip(SPANS) {
                let Some(bucket) = bucket else {
                    continue;
                };
                let at = layout::over(*key, place);
                let row = readable(self.tables.health_over.read(&at, parse_over))?;
                let mut row = row.unwrap_or_default();
                keep_newest(&mut row, bucket, span.kept);
                self.tables.health_over.put(&at, &pack_over(&row))?;
            }
        }
        Ok(())
    }

    /// Takes over what another store kept.
    pub(crate) fn restore_health(&mut self, key: QueueKey, health: &Health) -> Result<(), Fault> {
        if health.is_empty() {
            return Ok(());
        }
        let at = layout::queue(key);
        self.tables.health.put(&at, &pack_recent(&health.recent))?;
        for (place, row) in (0..).zip(&health.over) {
            if !row.is_empty() {
                let at = layout::over(key, place);
                self.tables.health_over.put(&at, &pack_over(row))?;
            }
        }
        Ok(())
    }

    /// Forgets a subscription's health.
    pub(crate) fn forget_health(&mut self, key: QueueKey) -> Result<(), Fault> {
        self.tables.health.delete(&layout::queue(key))?;
        for (place, _) in (0..).zip(SPANS) {
            self.tables.health_over.delete(&layout::over(key, place))?;
        }
        Ok(())
    }
}

fn of_tables(recent: &impl Look, over: &impl Look, key: QueueKey) -> Result<Health, Fault> {
    let at = layout::queue(key);
    let Some(recent) = recent.read(&at, parse_recent)? else {
        return Ok(Health::default());
    };
    let mut health = Health {
        recent,
        ..Health::default()
    };
    for (place, row) in (0..).zip(&mut health.over) {
        let found = over.read(&layout::over(key, place), parse_over)?;
        *row = found.unwrap_or_default();
    }
    Ok(health)
}

impl View {
    /// The health of one subscription, empty if it cannot be read.
    pub(crate) fn readable_health(&self, (tenant, number): QueueKey) -> Result<Health, Fault> {
        let found = self.health(tenant, &[number]);
        let found = readable(found.map(|mut all| all.pop()))?;
        Ok(found.unwrap_or_default())
    }

    /// The health of some of a tenant's subscriptions.
    pub(crate) fn health(
        &self,
        tenant: TenantId,
        numbers: &[SubscriptionNumber],
    ) -> Result<Vec<Health>, Fault> {
        let recent = self.table(layout::HEALTH)?;
        let over = self.table(layout::HEALTH_OVER)?;
        let keys = numbers.iter().map(|number| (tenant, *number));
        keys.map(|key| of_tables(&recent, &over, key)).collect()
    }

    /// The health of every subscription of a partition that has rows of it, and rows that
    /// belong to none of these.
    pub(crate) fn healths(
        &self,
        partition: Partition,
    ) -> Result<(BTreeMap<QueueKey, Health>, usize), Fault> {
        let prefix = layout::partition(partition);
        let recent = self.table(layout::HEALTH)?;
        let over = self.table(layout::HEALTH_OVER)?;
        let mut found = BTreeMap::new();
        for key in recent.keys(&prefix, usize::MAX)? {
            let key = layout::parse_queue(&key)?;
            found.insert(key, of_tables(&recent, &over, key)?);
        }
        let mut strays = 0;
        for key in over.keys(&prefix, usize::MAX)? {
            let queue = key.split_last().map_or(&[][..], |(_row, queue)| queue);
            strays += usize::from(!found.contains_key(&layout::parse_queue(queue)?));
        }
        Ok((found, strays))
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use sidehook_core::health::{Kind, Latency};

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
        let packed = Bytes::from(pack_recent(&health.recent));
        assert!(parse_recent(packed.slice(1..)).is_err());
        assert_eq!(parse_recent(packed).as_ref(), Ok(&health.recent));
        for row in &health.over {
            let packed = Bytes::from(pack_over(row));
            assert!(parse_over(packed.slice(1..)).is_err());
            assert_eq!(parse_over(packed).as_ref(), Ok(row));
        }
    }
}
