//! What must hold of a Redis before it is used.

use std::collections::HashMap;

use redis::{FromRedisValue as _, Pipeline, Value};
use sidehook_store::port::Durability;

use crate::{ConnectError, connection::Link};

/// Checks the server; the durability that really holds, or `declared` where the
/// server does not tell (managed services refuse CONFIG).
pub(crate) async fn check(
    link: &Link,
    declared: Option<Durability>,
) -> Result<Durability, ConnectError> {
    let mut pipe = Pipeline::new();
    pipe.cmd("INFO").arg("server");
    pipe.cmd("INFO").arg("memory");
    pipe.cmd("CONFIG").arg("GET").arg("append*");
    let mut values = link
        .send(&pipe)
        .await
        .map_err(|error| ConnectError::Unreachable(error.to_string()))?
        .into_iter();
    let server = info(values.next());
    let memory = info(values.next());
    let found = server.get("redis_version").cloned().unwrap_or_default();
    let major = found.split('.').next().and_then(|major| major.parse().ok());
    if major.unwrap_or(0) < 7 {
        return Err(ConnectError::Version { found });
    }
    if let Some(policy) = memory.get("maxmemory_policy")
        && policy != "noeviction"
    {
        return Err(ConnectError::Eviction {
            found: policy.clone(),
        });
    }
    let settings = match values.next() {
        Some(Value::ServerError(_)) | None => None,
        Some(value) => HashMap::<String, String>::from_redis_value(value).ok(),
    };
    Ok(settings
        .as_ref()
        .and_then(durability)
        .or(declared)
        .unwrap_or(Durability::Volatile))
}

/// The durability that the server's settings give; `None` if they do not tell.
fn durability(settings: &HashMap<String, String>) -> Option<Durability> {
    let on = settings.get("appendonly")? == "yes";
    let fsync = settings.get("appendfsync")?;
    Some(match fsync.as_str() {
        "always" if on => Durability::Strict,
        "everysec" if on => Durability::Relaxed,
        _ => Durability::Volatile,
    })
}

/// Reads `name:value` lines; nothing from an error.
fn info(value: Option<Value>) -> HashMap<String, String> {
    let text = match value {
        Some(Value::BulkString(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Some(Value::VerbatimString { text, .. }) => text,
        _ => String::new(),
    };
    text.lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
