//! The number of the packed format, in the store itself.
//!
//! `{shsys}:format` is written at the first start, and compared before anything else is
//! read or written. A store without it was made before there was one: it has format
//! [`FIRST`]. Whether there is a store already shows by what all of its servers agree on,
//! which each of them writes before it serves anybody.

use redis::{Cmd, Value};
use sidehook_store::{StoreError, format, registry::Kind};

use crate::{error::ConnectError, registry::records, route::Route};

/// The format of `layout.rs`. 2 since tenants' bytes are counted beside what they have.
const FORMAT: u32 = 2;
/// The format of stores without a number.
const FIRST: u32 = 1;

const KEY: &str = "{shsys}:format";

/// Compares the store's format with this version's; a new store gets this version's.
pub(crate) async fn agree(route: &Route) -> Result<(), ConnectError> {
    let told = |error: StoreError| ConnectError::Unreachable(error.to_string());
    let found = find(route).await.map_err(told)?;
    let number = core::str::from_utf8(&found).ok();
    let number = number.and_then(|text| text.parse().ok());
    // What is no number was written by nobody that this version knows.
    format::check(number.unwrap_or(u32::MAX), FORMAT).map_err(ConnectError::Format)
}

async fn find(route: &Route) -> Result<Vec<u8>, StoreError> {
    let command = |words: &[&str]| {
        let mut command = Cmd::new();
        command.arg(words);
        command
    };
    if let Value::BulkString(found) = route.one(command(&["GET", KEY])).await? {
        return Ok(found);
    }
    let agreed = records(Kind::Agreement);
    let there = route.one(command(&["EXISTS", &agreed])).await?;
    let format = if there == Value::Int(0) {
        FORMAT
    } else {
        FIRST
    };
    let format = format.to_string();
    // Of several servers that start at one moment one is the first.
    route
        .one_kept(command(&["SET", KEY, &format, "NX"]))
        .await?;
    match route.one(command(&["GET", KEY])).await? {
        Value::BulkString(found) => Ok(found),
        _ => Ok(format.into_bytes()),
    }
}
