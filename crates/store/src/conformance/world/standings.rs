//! Where every delivery stands, as the store itself tells: each is in exactly one of
//! ready, leased, waiting, delivered, dead and cancelled.
//!
//! Where it is queued, lent or waits, a partition laid open says; how it ended, the
//! records of its attempts, which carry its name here; and cancelled is what ended
//! without a record, which only a deleted subscription's may. Records of attempts are kept
//! for their age; an event that is older stays for what is unfinished alone.

use std::collections::HashMap;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use sidehook_core::{
    address::{DeliveryId, Partition, SegmentId},
    id::SubscriptionNumber,
    limits::LOG_AGE,
    time::Timestamp,
};

use super::{World, words};
use crate::{inspect::Inspection, ledger::Told};

/// What a record of an attempt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::conformance) enum Attempt {
    /// It arrived.
    Delivered = 1,
    /// It will not be tried again.
    Dead = 2,
    /// It will.
    Failed = 3,
}

/// The record of an attempt.
pub(in crate::conformance) fn record(id: DeliveryId, attempt: Attempt, noise: u8) -> Bytes {
    let mut record = BytesMut::with_capacity(9);
    record.put_u8(attempt as u8);
    record.put_u32(id.subscription().0);
    record.put_u16(id.generation());
    record.put_u8(id.index());
    record.put_u8(noise);
    record.freeze()
}

/// What [`record`] made a record of.
fn read(segment: SegmentId, mut record: Bytes) -> Option<(DeliveryId, u8)> {
    if record.len() != 9 {
        return None;
    }
    let attempt = record.get_u8();
    let subscription = SubscriptionNumber(record.get_u32());
    let generation = record.get_u16();
    let id = DeliveryId::new(segment, record.get_u8(), subscription, generation);
    Some((id, attempt))
}

/// How often each delivery is found in each place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    ready: u32,
    leased: u32,
    waiting: u32,
    delivered: u32,
    dead: u32,
}

impl Found {
    const fn places(self) -> u32 {
        self.ready + self.leased + self.waiting + self.delivered + self.dead
    }
}

impl World<'_> {
    /// Compares where the deliveries of a partition stand with each other.
    pub(super) async fn standings(&self, partition: Partition, seen: &Inspection) -> Told {
        let mut found: HashMap<DeliveryId, Found> = HashMap::new();
        for (_, id) in &seen.ready {
            found.entry(*id).or_default().ready += 1;
        }
        for (_, id, _) in &seen.leased {
            found.entry(*id).or_default().leased += 1;
        }
        for (_, id, _) in &seen.waiting {
            found.entry(*id).or_default().waiting += 1;
        }
        let segments = self.ledger.segments().iter();
        let segments = segments.filter(|one| one.segment.partition == partition);
        let (ids, ages): (Vec<SegmentId>, Vec<Timestamp>) =
            segments.map(|one| (one.segment, one.at)).unzip();
        let there = self.store.segments(&ids).await.map_err(words)?;
        let outcomes = self.store.outcomes(&ids).await.map_err(words)?;
        // Whether the records of attempts, too, are of an age to be kept.
        let mut kept = HashMap::new();
        for (((segment, at), there), outcomes) in ids.into_iter().zip(ages).zip(there).zip(outcomes)
        {
            if there.is_some() {
                kept.insert(segment, at + LOG_AGE > self.now);
            }
            for (id, attempt) in outcomes.into_iter().filter_map(|one| read(segment, one)) {
                let stands = found.entry(id).or_default();
                stands.delivered += u32::from(attempt == Attempt::Delivered as u8);
                stands.dead += u32::from(attempt == Attempt::Dead as u8);
            }
        }
        for line in self.ledger.lines() {
            let id = line.delivery;
            let Some(is_recent) = id.segment().and_then(|segment| kept.get(&segment)) else {
                continue;
            };
            let stands = found.get(&id).copied().unwrap_or_default();
            let subscription = self.ledger.subscription(line.subscription());
            let deleted = subscription.is_none_or(|one| one.queue.is_none());
            let count = stands.places();
            if count > 1 || (count == 0 && *is_recent && !deleted) {
                return Err(format!("{id} is not in one place: {stands:?}"));
            }
        }
        Ok(())
    }
}
