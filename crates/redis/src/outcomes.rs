//! Reading attempts: of whole segments, or of some deliveries.
//!
//! A segment's outcomes say which part of which history block holds attempts of which
//! queue and events, so that only those parts are read. Both are read in rounds of
//! bounded size: an event for many subscriptions has very many attempts.

use bytes::Bytes;
use redis::{Cmd, Pipeline, Value};
use sidehook_core::{
    address::{Partition, SegmentId},
    id::SubscriptionNumber,
    limits::CALL_BYTES,
};
use sidehook_store::{StoreError, read::Pair};

use crate::{
    layout::{self, OUTCOME, Reader, corrupt},
    leases::bytes,
    route::Route,
};

/// Bytes of a segment's outcomes that are read at first; mostly they are all.
const FIRST: usize = 100 * OUTCOME;
/// Bytes of them that are read in each further round.
const FURTHER: usize = 2_000 * OUTCOME;

/// A stretch of attempts: where their records are, and whose they may be.
struct Stretch {
    /// Of the block, in which these are the first byte and the number of bytes.
    stamp: Bytes,
    offset: usize,
    length: usize,
    subscription: u32,
    first: u8,
    last: u8,
    /// Records.
    count: u16,
}

impl Stretch {
    fn read(reader: &mut Reader) -> Result<Self, StoreError> {
        let stretch = Self {
            stamp: reader.take(12)?,
            offset: reader.u32()? as usize,
            length: reader.u32()? as usize,
            subscription: reader.u32()?,
            first: reader.u8()?,
            last: reader.u8()?,
            count: reader.u16()?,
        };
        let _ended = reader.i16()?;
        if stretch.count > 0 && stretch.length == 0 {
            return Err(corrupt("attempts without bytes"));
        }
        Ok(stretch)
    }

    /// Whether it may hold attempts of an event for a subscription.
    fn may_hold(&self, subscription: SubscriptionNumber, index: u8) -> bool {
        let its = self.subscription == subscription.0 || self.subscription == u32::MAX;
        its && (self.first..=self.last).contains(&index)
    }
}

/// Reads parts of strings, in as many rounds as their lengths need.
async fn parts(
    route: &Route,
    wanted: &[(Vec<u8>, usize, usize)],
) -> Result<Vec<Bytes>, StoreError> {
    let mut found = Vec::with_capacity(wanted.len());
    let mut rest = wanted;
    while !rest.is_empty() {
        let (mut count, mut size) = (0, 0);
        for (_, _, length) in rest {
            if count > 0 && size + length > CALL_BYTES {
                break;
            }
            (count, size) = (count + 1, size + length);
        }
        let mut pipe = Pipeline::new();
        for (key, offset, length) in &rest[..count] {
            let mut cmd = Cmd::new();
            cmd.arg("GETRANGE").arg(key).arg(*offset);
            pipe.add_command(cmd.arg(offset + length - 1).clone());
        }
        let values = route.ask(pipe).await?.into_iter();
        found.extend(values.map(|value: Value| bytes(value)));
        rest = &rest[count..];
    }
    Ok(found)
}

/// The stretches of each segment that `keep` wants.
async fn stretches(
    route: &Route,
    ids: &[SegmentId],
    keep: impl Fn(usize, &Stretch) -> bool,
) -> Result<Vec<Vec<Stretch>>, StoreError> {
    let mut found: Vec<Vec<Stretch>> = ids.iter().map(|_| Vec::new()).collect();
    let mut unread: Vec<usize> = (0..ids.len()).collect();
    let (mut offset, mut length) = (0, FIRST);
    while !unread.is_empty() {
        let part = |at: &usize| {
            let name = layout::segment(ids[*at]);
            (
                layout::key(ids[*at].partition, "out:", &name),
                offset,
                length,
            )
        };
        let wanted: Vec<_> = unread.iter().map(part).collect();
        let texts = parts(route, &wanted).await?;
        let full: Vec<bool> = texts.iter().map(|text| text.len() == length).collect();
        for (at, text) in unread.iter().zip(texts) {
            let mut reader = Reader::new("a segment's outcomes", text);
            while !reader.is_empty() {
                let stretch = Stretch::read(&mut reader)?;
                if stretch.count > 0 && keep(*at, &stretch) {
                    found[*at].push(stretch);
                }
            }
        }
        let mut full = full.into_iter();
        unread.retain(|_| full.next().unwrap_or(false));
        (offset, length) = (offset + length, FURTHER);
    }
    Ok(found)
}

/// The records of each segment's stretches; a block that is gone has none.
async fn records(
    route: &Route,
    ids: &[SegmentId],
    stretches: &[Vec<Stretch>],
) -> Result<Vec<Vec<Bytes>>, StoreError> {
    let part = |partition: Partition, stretch: &Stretch| {
        let block = layout::key(partition, "blk:", &stretch.stamp);
        (block, stretch.offset, stretch.length)
    };
    let pairs = ids.iter().zip(stretches);
    let wanted: Vec<_> = pairs
        .flat_map(|(id, all)| all.iter().map(move |one| part(id.partition, one)))
        .collect();
    let mut texts = parts(route, &wanted).await?.into_iter();
    let mut found = Vec::with_capacity(ids.len());
    for all in stretches {
        let mut records = Vec::new();
        for stretch in all {
            let text = texts.next().unwrap_or_default();
            if text.is_empty() {
                continue;
            }
            if text.len() != stretch.length {
                return Err(corrupt("a history block"));
            }
            let mut reader = Reader::new("a history block", text);
            for _ in 0..stretch.count {
                records.push(reader.record()?.record);
            }
        }
        found.push(records);
    }
    Ok(found)
}

/// The attempts of whole segments.
pub(crate) async fn of_segments(
    route: &Route,
    ids: &[SegmentId],
) -> Result<Vec<Vec<Bytes>>, StoreError> {
    let stretches = stretches(route, ids, |_, _| true).await?;
    records(route, ids, &stretches).await
}

/// The attempts of some pairs, among others of their neighbours.
pub(crate) async fn of_pairs(route: &Route, pairs: &[Pair]) -> Result<Vec<Bytes>, StoreError> {
    let mut sorted = pairs.to_vec();
    sorted.sort_unstable_by_key(|pair| pair.segment);
    let groups: Vec<&[Pair]> = sorted
        .chunk_by(|one, next| one.segment == next.segment)
        .collect();
    let ids: Vec<SegmentId> = groups.iter().map(|group| group[0].segment).collect();
    let keep = |at: usize, stretch: &Stretch| {
        let mut wanted = groups[at].iter();
        wanted.any(|pair| stretch.may_hold(pair.subscription, pair.index))
    };
    let stretches = stretches(route, &ids, keep).await?;
    let found = records(route, &ids, &stretches).await?;
    Ok(found.into_iter().flatten().collect())
}
