//! Small records of the whole system, in a slot of their own.

use bytes::Bytes;
use redis::{Cmd, Pipeline, Value};
use sidehook_store::{
    StoreError,
    registry::{Entry, Kind, Page},
};

use crate::{
    leases::{bytes, list},
    route::Route,
    scripts,
};

/// Entries of one page at most.
const PAGE: usize = 1_000;

pub(crate) fn records(kind: Kind) -> String {
    format!("{{shsys}}:reg:{}", kind.as_str())
}

fn keys(kind: Kind) -> String {
    format!("{{shsys}}:keys:{}", kind.as_str())
}

pub(crate) async fn get(
    route: &Route,
    kind: Kind,
    key: &[u8],
) -> Result<Option<Bytes>, StoreError> {
    let mut cmd = Cmd::new();
    cmd.arg("HGET").arg(records(kind)).arg(key);
    Ok(match route.one(cmd).await? {
        Value::BulkString(value) => Some(value.into()),
        _ => None,
    })
}

pub(crate) async fn put(
    route: &Route,
    kind: Kind,
    key: &[u8],
    value: Option<Bytes>,
) -> Result<(), StoreError> {
    let mut script = Cmd::new();
    script
        .arg("EVALSHA")
        .arg(scripts::REGISTRY_PUT.hash())
        .arg(3)
        .arg(records(kind))
        .arg(keys(kind))
        .arg(scripts::SYSTEM_GUARD)
        .arg(key);
    if let Some(value) = value {
        script.arg(&value[..]);
    }
    route.one_kept(script).await?;
    Ok(())
}

/// Writes a record unless there is one; answers the one that is there then.
pub(crate) async fn claim(
    route: &Route,
    kind: Kind,
    key: &[u8],
    value: &[u8],
) -> Result<Bytes, StoreError> {
    let mut script = Cmd::new();
    script
        .arg("EVALSHA")
        .arg(scripts::REGISTRY_CLAIM.hash())
        .arg(3)
        .arg(records(kind))
        .arg(keys(kind))
        .arg(scripts::SYSTEM_GUARD)
        .arg(key)
        .arg(value);
    Ok(bytes(route.one_kept(script).await?))
}

/// Reads keys, then their values: a record that is removed in between is left out.
pub(crate) async fn page(
    route: &Route,
    kind: Kind,
    after: &[u8],
    max: usize,
) -> Result<Page, StoreError> {
    let max = max.min(PAGE);
    let mut cmd = Cmd::new();
    // `(` excludes the bound; an empty one excludes nothing but the empty key.
    cmd.arg("ZRANGEBYLEX")
        .arg(keys(kind))
        .arg([b"(", after].concat())
        .arg("+")
        .arg("LIMIT")
        .arg(0)
        .arg(max + 1);
    let mut found: Vec<Bytes> = list(route.one(cmd).await?).into_iter().map(bytes).collect();
    let more = found.len() > max;
    found.truncate(max);
    if found.is_empty() {
        return Ok(Page {
            entries: Vec::new(),
            more,
        });
    }
    let mut pipe = Pipeline::new();
    let cmd = pipe.cmd("HMGET").arg(records(kind));
    for key in &found {
        cmd.arg(&key[..]);
    }
    let values = route.ask(pipe).await?.pop().map(list).unwrap_or_default();
    let entries = found
        .into_iter()
        .zip(values)
        .filter_map(|(key, value)| match value {
            Value::BulkString(value) => Some(Entry {
                key,
                value: value.into(),
            }),
            _ => None,
        })
        .collect();
    Ok(Page { entries, more })
}
