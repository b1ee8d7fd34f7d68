//! Which commands the user must be allowed, and whether it is.
//!
//! A script that is refused a command in its middle keeps what it wrote so far, so
//! an access list that lacks one must show before the first call and not at it. The
//! list is read out of the scripts, so that it cannot lack what they call.

use std::{collections::BTreeSet, sync::LazyLock};

use redis::{Cmd, Value};
use sidehook_core::address::Partition;

use crate::{ConnectError, hints, layout, preflight, scripts};

/// Asks Redis what it would allow; see the file.
const ASK: &str = include_str!("scripts/rights.lua");
/// What is called on keys without a script.
const PLAIN: [&str; 14] = [
    "get",
    "hget",
    "hgetall",
    "hkeys",
    "hmget",
    "hscan",
    "lrange",
    "mget",
    "set",
    "strlen",
    "unlink",
    "zcard",
    "zrange",
    "zrangebylex",
];

/// Commands on keys, ours and the scripts'.
static ON_KEYS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let called = scripts::sources().flat_map(|source| source.split("call('").skip(1));
    let called = called.filter_map(|rest| rest.split('\'').next());
    let mut names: BTreeSet<&str> = called.filter(|name| !APART.contains(name)).collect();
    // Scripts write them in capitals.
    names.retain(|name| !PLAIN.contains(&&*name.to_lowercase()));
    names.into_iter().chain(PLAIN).collect()
});
/// Commands of scripts that take no key.
const APART: [&str; 2] = ["TIME", "PUBLISH"];
/// What is needed where replicas are required only, and asked of all.
const WAIT: &str = "WAIT";

/// The command that asks; [`check`] reads its answer.
pub(crate) fn question() -> Cmd {
    // Any partition stands for all: their keys differ in the number only.
    let Some(partition) = Partition::new(0) else {
        return Cmd::new();
    };
    let channel = layout::key(partition, "hints", &[]);
    // Without keys: any node of a Cluster answers.
    let mut cmd = Cmd::new();
    cmd.arg("EVAL").arg(ASK).arg(0);
    cmd.arg(layout::state_key(partition));
    cmd.arg("TIME").arg("").arg(WAIT).arg("");
    cmd.arg("PUBLISH").arg(channel);
    cmd.arg("PSUBSCRIBE").arg(hints::PATTERN);
    // The registry has a tag of its own.
    cmd.arg("HGET").arg("{shsys}:reg:");
    for name in &*ON_KEYS {
        cmd.arg(*name).arg(layout::state_key(partition));
    }
    cmd
}

/// Whether everything is allowed; the answer tells whether `WAIT` is, which not
/// everybody needs.
pub(crate) fn check(answer: Option<Value>) -> Result<bool, ConnectError> {
    let missing = match answer {
        Some(Value::ServerError(error)) => return Err(preflight::refused(&error)),
        Some(Value::Array(missing)) => missing,
        _ => Vec::new(),
    };
    let names: Vec<String> = missing
        .into_iter()
        .filter_map(|name| match name {
            Value::BulkString(name) => Some(String::from_utf8_lossy(&name).to_lowercase()),
            _ => None,
        })
        .collect();
    let (wait, names): (Vec<_>, Vec<_>) = names
        .into_iter()
        .partition(|name| name.eq_ignore_ascii_case(WAIT));
    if names.is_empty() {
        return Ok(wait.is_empty());
    }
    Err(ConnectError::Rights(names.join(", ")))
}
