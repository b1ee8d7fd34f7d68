//! Renewing, releasing and reading leases.

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;
use redis::{Pipeline, Value};
use sidehook_core::{address::Partition, limits::CALL_RECORDS, time::Timestamp};
use sidehook_store::{
    StoreError,
    read::Lease,
    turn::{Holder, LeaseId},
};

use crate::{
    layout::{self, Reader, corrupt},
    route::Route,
    scripts,
};

/// What belongs to one partition, with each item's place in the caller's list.
pub(crate) fn by_partition<T>(
    items: impl IntoIterator<Item = T>,
    partition: impl Fn(&T) -> Partition,
) -> BTreeMap<Partition, Vec<(usize, T)>> {
    let mut sorted: BTreeMap<Partition, Vec<(usize, T)>> = BTreeMap::new();
    for (place, item) in items.into_iter().enumerate() {
        sorted
            .entry(partition(&item))
            .or_default()
            .push((place, item));
    }
    sorted
}

/// Bytes of a value; empty for nil and for what has none.
pub(crate) fn bytes(value: Value) -> Bytes {
    match value {
        Value::BulkString(bytes) => bytes.into(),
        Value::SimpleString(text) => text.into(),
        _ => Bytes::new(),
    }
}

/// Items of a value; none for what is no list.
pub(crate) fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) | Value::Set(items) => items,
        _ => Vec::new(),
    }
}

pub(crate) async fn renew(
    route: &Route,
    now: Option<Timestamp>,
    leases: &[(LeaseId, u128)],
    term: Duration,
) -> Result<Vec<bool>, StoreError> {
    let sorted = by_partition(leases, |lease| lease.0.0.partition);
    let now = now
        .map(|now| now.as_millis().max(0).to_string())
        .unwrap_or_default();
    let mut pipe = Pipeline::new();
    for (partition, leases) in &sorted {
        let mut script = scripts::call(&scripts::RENEW, *partition);
        script
            .arg(&now)
            .arg(u64::try_from(term.as_millis()).unwrap_or(u64::MAX >> 12));
        for (_, (lease, token)) in leases {
            script.arg([&layout::segment(lease.0)[..], &token.to_be_bytes()].concat());
        }
        pipe.add_command(script);
    }
    let mut holds = vec![false; leases.len()];
    for (leases, reply) in sorted.values().zip(route.ask_kept(pipe).await?) {
        for ((place, _), is) in leases.iter().zip(bytes(reply)) {
            holds[*place] = is == b'1';
        }
    }
    Ok(holds)
}

pub(crate) async fn release(
    route: &Route,
    holders: &[Holder],
    keep: &[LeaseId],
) -> Result<u32, StoreError> {
    if holders.is_empty() {
        return Ok(0);
    }
    let packed: Vec<u8> = holders.iter().copied().flat_map(layout::holder).collect();
    let mut count = 0;
    let mut todo: Vec<(Partition, Bytes)> = Partition::all()
        .map(|partition| (partition, Bytes::from_static(b"0")))
        .collect();
    while !todo.is_empty() {
        let mut pipe = Pipeline::new();
        for (partition, cursor) in &todo {
            let kept: Vec<u8> = keep
                .iter()
                .filter(|lease| lease.0.partition == *partition)
                .flat_map(|lease| layout::segment(lease.0))
                .collect();
            let mut script = scripts::call(&scripts::RELEASE, *partition);
            script.arg(&cursor[..]).arg(&packed).arg(kept);
            pipe.add_command(script.arg(CALL_RECORDS).clone());
        }
        let replies = route.ask_kept(pipe).await?;
        let mut next = Vec::new();
        for ((partition, _), reply) in todo.into_iter().zip(replies) {
            let mut reply = list(reply).into_iter();
            if let Some(Value::Int(given)) = reply.next() {
                count += u32::try_from(given).unwrap_or(0);
            }
            let cursor = reply.next().map(bytes).unwrap_or_default();
            if matches!(reply.next(), Some(Value::Int(1))) {
                next.push((partition, cursor));
            }
        }
        todo = next;
    }
    Ok(count)
}

pub(crate) async fn read(
    route: &Route,
    leases: &[LeaseId],
) -> Result<Vec<Option<Lease>>, StoreError> {
    let sorted = by_partition(leases, |lease| lease.0.partition);
    let mut pipe = Pipeline::new();
    for (partition, leases) in &sorted {
        let mut script = scripts::call(&scripts::LEASES, *partition);
        for (_, lease) in leases {
            script.arg(&layout::segment(lease.0)[..]);
        }
        pipe.add_command(script);
    }
    let mut found = vec![None; leases.len()];
    for (leases, reply) in sorted.values().zip(route.ask(pipe).await?) {
        for ((place, id), row) in leases.iter().zip(list(reply)) {
            let row: Vec<Bytes> = list(row).into_iter().map(bytes).collect();
            if let [record, open] = &row[..] {
                found[*place] = Some(parse(**id, record, open)?);
            }
        }
    }
    Ok(found)
}

/// Reads a lease's record and its map of open positions.
pub(crate) fn parse(id: LeaseId, record: &Bytes, open: &Bytes) -> Result<Lease, StoreError> {
    let mut reader = Reader::new("a lease", record.clone());
    let token = reader.u128()?;
    let holder = reader.holder()?;
    let deadline = reader.time()?;
    let mut runs = Vec::new();
    let mut size = 0;
    while !reader.is_empty() {
        let run = reader.run(id.0.partition)?;
        size += run.indices.len();
        layout::push_run(&mut runs, run);
    }
    let is_open = |position: &u16| match open.get(usize::from(*position)) {
        Some(mark) => *mark == b'1',
        None => open.is_empty(),
    };
    let size = u16::try_from(size).map_err(|_| corrupt("a lease"))?;
    Ok(Lease {
        id,
        token,
        holder,
        deadline,
        runs,
        open: (0..size).filter(is_open).collect(),
    })
}
