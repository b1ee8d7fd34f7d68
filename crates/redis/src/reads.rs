//! Reading events and deliveries, and redelivering.

use bytes::Bytes;
use redis::{Cmd, Pipeline, Value};
use sidehook_core::{
    address::{DeliveryId, Partition, SegmentId},
    id::TenantId,
    time::Timestamp,
};
use sidehook_store::{
    StoreError,
    hint::{BlockId, HistoryRecord},
    read::{LogCursor, LogPage, Redeliver, Segment, Whereabouts},
};

use crate::{
    catalog::one,
    connection::Link,
    layout::{self, Reader, corrupt},
    leases::{by_partition, bytes, list},
    scripts,
};

/// Reads strings of many partitions: one MGET for each partition.
async fn strings<T>(
    link: &Link,
    items: &[T],
    partition: impl Fn(&T) -> Partition,
    key: impl Fn(&T) -> Vec<u8>,
) -> Result<Vec<Option<Bytes>>, StoreError> {
    let mut found = vec![None; items.len()];
    if items.is_empty() {
        return Ok(found);
    }
    let sorted = by_partition(items, |item| partition(item));
    let mut pipe = Pipeline::new();
    for items in sorted.values() {
        let cmd = pipe.cmd("MGET");
        for (_, item) in items {
            cmd.arg(key(item));
        }
    }
    for (items, reply) in sorted.values().zip(link.ask(&pipe).await?) {
        for ((place, _), value) in items.iter().zip(list(reply)) {
            if let Value::BulkString(bytes) = value {
                found[*place] = Some(bytes.into());
            }
        }
    }
    Ok(found)
}

pub(crate) async fn segments(
    link: &Link,
    ids: &[SegmentId],
) -> Result<Vec<Option<Segment>>, StoreError> {
    let key = |id: &SegmentId| layout::key(id.partition, "seg:", &layout::segment(*id));
    let found = strings(link, ids, |id| id.partition, key).await?;
    found
        .into_iter()
        .map(|one| one.map(layout::parse_segment).transpose())
        .collect()
}

pub(crate) async fn log(
    link: &Link,
    tenant: TenantId,
    from: Option<LogCursor>,
    max: usize,
) -> Result<LogPage, StoreError> {
    let partition = Partition::of(tenant);
    let below = from.map(|cursor| cursor.0.to_string()).unwrap_or_default();
    let mut script = scripts::call(&scripts::LOG_PAGE, partition);
    script
        .arg(&tenant.to_bytes()[..])
        .arg(below)
        .arg(max.clamp(1, 1_000));
    let mut parts = list(one(link, script).await?).into_iter().map(bytes);
    let (Some(last), Some(more), Some(oldest)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(corrupt("a page of the log"));
    };
    let mut page = LogPage::default();
    if !oldest.is_empty() {
        page.retained_since = Some(Reader::new("a log entry", oldest).time()?);
    }
    if more[..] == b"1"[..] {
        let last = core::str::from_utf8(&last)
            .ok()
            .and_then(|last| last.parse().ok());
        page.next = Some(LogCursor(last.ok_or_else(|| corrupt("a log's position"))?));
    }
    for entry in parts {
        let mut reader = Reader::new("a log entry", entry);
        let _published = reader.time()?;
        page.segments.push(reader.segment(partition)?);
    }
    Ok(page)
}

/// Where one segment's records are in one history block.
struct Stretch {
    segment: usize,
    block: BlockId,
    offset: usize,
    count: u16,
}

pub(crate) async fn outcomes(
    link: &Link,
    ids: &[SegmentId],
) -> Result<Vec<Vec<Bytes>>, StoreError> {
    let key = |id: &SegmentId| layout::key(id.partition, "out:", &layout::segment(*id));
    let texts = strings(link, ids, |id| id.partition, key).await?;
    let mut stretches = Vec::new();
    for (segment, text) in texts.into_iter().enumerate() {
        let mut reader = Reader::new("a segment's outcomes", text.unwrap_or_default());
        while !reader.is_empty() {
            let stamp = reader.take(12)?;
            let offset = reader.u32()? as usize;
            let count = reader.u16()?;
            let _ended = reader.i16()?;
            if count > 0 {
                let block = layout::block_id(ids[segment].partition, &stamp);
                stretches.push(Stretch {
                    segment,
                    block,
                    offset,
                    count,
                });
            }
        }
    }
    let mut names: Vec<BlockId> = stretches.iter().map(|one| one.block.clone()).collect();
    names.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    names.dedup();
    let blocks = blocks(link, &names).await?;
    let mut found = vec![Vec::new(); ids.len()];
    for stretch in stretches {
        let at = names.binary_search_by(|name| name.0.cmp(&stretch.block.0));
        let Some(block) = at.ok().and_then(|at| blocks[at].clone()) else {
            continue;
        };
        if stretch.offset > block.len() {
            return Err(corrupt("a segment's outcomes"));
        }
        let mut reader = Reader::new("a history block", block.slice(stretch.offset..));
        for _ in 0..stretch.count {
            found[stretch.segment].push(reader.record()?.record);
        }
    }
    Ok(found)
}

async fn blocks(link: &Link, names: &[BlockId]) -> Result<Vec<Option<Bytes>>, StoreError> {
    let parsed: Option<Vec<_>> = names.iter().map(layout::parse_block_id).collect();
    let parsed = parsed.ok_or_else(|| corrupt("a history block's id"))?;
    let key = |(partition, stamp): &(Partition, &[u8])| layout::key(*partition, "blk:", stamp);
    strings(link, &parsed, |(partition, _)| *partition, key).await
}

pub(crate) async fn history(
    link: &Link,
    block: &BlockId,
) -> Result<Vec<HistoryRecord>, StoreError> {
    let Some((partition, stamp)) = layout::parse_block_id(block) else {
        return Ok(Vec::new());
    };
    let mut cmd = Cmd::new();
    cmd.arg("GET").arg(layout::key(partition, "blk:", stamp));
    let text = bytes(one(link, cmd).await?);
    let mut reader = Reader::new("a history block", text);
    let mut records = Vec::new();
    while !reader.is_empty() {
        records.push(reader.record()?);
    }
    Ok(records)
}

pub(crate) async fn locate(
    link: &Link,
    tenant: TenantId,
    deliveries: &[DeliveryId],
) -> Result<Vec<Whereabouts>, StoreError> {
    let partition = Partition::of(tenant);
    let mut found = vec![Whereabouts::default(); deliveries.len()];
    let mut script = scripts::call(&scripts::LOCATE, partition);
    let mut asked = Vec::new();
    for (at, delivery) in deliveries.iter().enumerate() {
        let Some(place) = layout::place(*delivery) else {
            continue;
        };
        let queue = layout::queue(tenant, delivery.subscription());
        script.arg([&queue[..], &place].concat());
        asked.push(at);
    }
    if asked.is_empty() {
        return Ok(found);
    }
    for (at, row) in asked.into_iter().zip(list(one(link, script).await?)) {
        let mut row = list(row).into_iter();
        let record = row.next().map(bytes).unwrap_or_default();
        let due = row.next().map(bytes).unwrap_or_default();
        let place = &mut found[at];
        place.leased = matches!(row.next(), Some(Value::Int(1)));
        if !record.is_empty() {
            place.retry = Some(record.slice(1..));
        }
        if !due.is_empty() {
            let due = core::str::from_utf8(&due)
                .ok()
                .and_then(|due| due.parse().ok());
            let due: f64 = due.ok_or_else(|| corrupt("the time of a retry"))?;
            place.due = Some(Timestamp::from_millis(due as i64));
        }
    }
    Ok(found)
}

pub(crate) async fn redeliver(link: &Link, call: &Redeliver) -> Result<bool, StoreError> {
    let Some(place) = layout::place(call.delivery) else {
        return Ok(false);
    };
    let queue = layout::queue(call.tenant, call.subscription);
    let mut script = scripts::call(&scripts::REDELIVER, Partition::of(call.tenant));
    script.arg(&queue[..]).arg(&place[..]).arg(&call.retry[..]);
    Ok(matches!(one(link, script).await?, Value::Int(1)))
}
