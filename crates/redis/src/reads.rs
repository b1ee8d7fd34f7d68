//! Reading events and deliveries, and redelivering.

use std::collections::BTreeMap;

use bytes::Bytes;
use redis::{Cmd, Pipeline, Value};
use sidehook_core::{
    address::{DeliveryId, Partition, SegmentId},
    id::TenantId,
    limits::DELIVERY_OVERHEAD,
    time::Timestamp,
};
use sidehook_store::{
    StoreError,
    hint::{BlockId, HistoryRecord},
    read::{LogCursor, LogPage, Redeliver, Segment, Whereabouts},
};

use crate::{
    layout::{self, Reader, corrupt},
    leases::{by_partition, bytes, list},
    route::Route,
    scripts,
};

/// Reads strings of many partitions: one MGET for each partition.
async fn strings<T>(
    route: &Route,
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
    for (items, reply) in sorted.values().zip(route.ask(pipe).await?) {
        for ((place, _), value) in items.iter().zip(list(reply)) {
            if let Value::BulkString(bytes) = value {
                found[*place] = Some(bytes.into());
            }
        }
    }
    Ok(found)
}

pub(crate) async fn segments(
    route: &Route,
    ids: &[SegmentId],
) -> Result<Vec<Option<Segment>>, StoreError> {
    let key = |id: &SegmentId| layout::key(id.partition, "seg:", &layout::segment(*id));
    let found = strings(route, ids, |id| id.partition, key).await?;
    found
        .into_iter()
        .map(|one| one.map(layout::parse_segment).transpose())
        .collect()
}

pub(crate) async fn log(
    route: &Route,
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
    let mut parts = list(route.one(script).await?).into_iter().map(bytes);
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

pub(crate) async fn history(
    route: &Route,
    block: &BlockId,
) -> Result<Vec<HistoryRecord>, StoreError> {
    let Some((partition, stamp)) = layout::parse_block_id(block) else {
        return Ok(Vec::new());
    };
    let mut cmd = Cmd::new();
    cmd.arg("GET").arg(layout::key(partition, "blk:", stamp));
    let text = bytes(route.one(cmd).await?);
    let mut reader = Reader::new("a history block", text);
    let mut records = Vec::new();
    while !reader.is_empty() {
        records.push(reader.record()?);
    }
    Ok(records)
}

pub(crate) async fn locate(
    route: &Route,
    tenant: TenantId,
    deliveries: &[DeliveryId],
) -> Result<Vec<Whereabouts>, StoreError> {
    let mut found = vec![Whereabouts::default(); deliveries.len()];
    // Each name once: the script goes from what is lent to who asked for it.
    let mut asked: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    for (at, delivery) in deliveries.iter().enumerate() {
        if let Some(place) = layout::place(*delivery) {
            let queue = layout::queue(tenant, delivery.subscription());
            let name = [&queue[..], &place].concat();
            asked.entry(name).or_default().push(at);
        }
    }
    let mut cursor = Bytes::from_static(b"0");
    while !asked.is_empty() {
        let mut script = scripts::call(&scripts::LOCATE, Partition::of(tenant));
        script.arg(&cursor[..]);
        script.arg(asked.keys().collect::<Vec<_>>());
        let mut rows = list(route.one(script).await?).into_iter();
        cursor = rows.next().map(bytes).unwrap_or_default();
        for (places, row) in asked.values().zip(rows) {
            let place = whereabouts(row)?;
            for at in places {
                found[*at] = place.clone();
            }
        }
        if cursor.is_empty() || cursor[..] == b"0"[..] {
            break;
        }
        asked.retain(|_, places| places.iter().any(|at| !found[*at].leased));
    }
    Ok(found)
}

fn whereabouts(row: Value) -> Result<Whereabouts, StoreError> {
    let mut row = list(row).into_iter();
    let record = row.next().map(bytes).unwrap_or_default();
    let due = row.next().map(bytes).unwrap_or_default();
    let mut place = Whereabouts {
        leased: matches!(row.next(), Some(Value::Int(1))),
        ..Whereabouts::default()
    };
    if !record.is_empty() {
        place.retry = Some(record.slice(5..));
    }
    if !due.is_empty() {
        let due = core::str::from_utf8(&due)
            .ok()
            .and_then(|due| due.parse().ok());
        let due: f64 = due.ok_or_else(|| corrupt("the time of a retry"))?;
        place.due = Some(Timestamp::from_millis(due as i64));
    }
    Ok(place)
}

pub(crate) async fn redeliver(route: &Route, call: &Redeliver) -> Result<bool, StoreError> {
    let Some(place) = layout::place(call.delivery) else {
        return Ok(false);
    };
    let queue = layout::queue(call.tenant, call.subscription);
    let mut script = scripts::call(&scripts::REDELIVER, Partition::of(call.tenant));
    script.arg(&queue[..]).arg(&place[..]).arg(&call.retry[..]);
    script.arg(DELIVERY_OVERHEAD);
    Ok(matches!(route.one_kept(script).await?, Value::Int(1)))
}
