//! What Redis' errors mean for the port.
//!
//! The question is always whether a call may have been executed. A reply that names
//! a state of the server (loading, read-only, busy, moved) says that this call was
//! not; but the pipeline around it may have been in part, so the answer is "unknown,
//! repeat it unchanged" and the stamps keep what was done from being done twice. Two
//! answers are of our own making: too few replicas, and a node that was not reached.

use core::time::Duration;

use redis::{ErrorKind, RedisError, ServerError, Value};
use sidehook_store::{CallError, StoreError, format::OtherFormat};

/// The wait that callers are told of.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(250);

/// A store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is none that the client understands.
    #[error("the Redis URL is not usable: {0}")]
    Url(String),
    /// Nobody answers, or not in the protocol.
    #[error("Redis cannot be reached: {0}")]
    Unreachable(String),
    /// A certificate or a key is unusable, or given without TLS.
    #[error("TLS to Redis: {0}")]
    Tls(String),
    /// The user or the password is refused, or missing.
    #[error(
        "Redis refuses the credentials: {0}; put them into the URL, redis://USER:PASSWORD@HOST:PORT/, and those of Sentinels into store.sentinel_username and store.sentinel_password"
    )]
    Credentials(String),
    /// The user may not do what is needed.
    #[error("Redis does not allow its user what is needed: {0}; the README has the ACL line")]
    Rights(String),
    /// It is another kind of system than its address is for, or than it was.
    #[error("the address of Redis does not fit: {0}")]
    Kind(String),
    /// A Cluster that does not serve all keys.
    #[error("the Redis Cluster cannot be used: {0}")]
    Cluster(String),
    /// Nothing can be written there.
    #[error("this Redis is a replica: name its master")]
    Replica,
    /// The server does not tell how safely it keeps things.
    #[error(
        "Redis does not tell its settings (CONFIG GET is refused): say in store.durability what it does"
    )]
    Undeclared,
    /// The server is older than version 7.
    #[error("Redis {found} is too old: version 7 or later is needed")]
    Version {
        /// The server's version.
        found: String,
    },
    /// The store has another packed format than this version.
    #[error(transparent)]
    Format(OtherFormat),
    /// The server would evict keys, and with them deliveries.
    #[error("Redis' maxmemory-policy is `{found}`: set it to `noeviction`, or deliveries are lost")]
    Eviction {
        /// The server's policy.
        found: String,
    },
}

/// Whether the server refuses for a reason that passes.
fn passes(code: &str) -> bool {
    matches!(
        code,
        "LOADING"
            | "READONLY"
            | "MASTERDOWN"
            | "CLUSTERDOWN"
            | "BUSY"
            | "TRYAGAIN"
            | "MOVED"
            | "ASK"
            | "MISCONF"
            | "NOREPLICAS"
            | "NOSCRIPT"
            | "UNKILLABLE"
            | "NOAUTH"
            | "NOPERM"
            | UNREACHED
    )
}

/// A node was not reached while others were.
pub(crate) const UNREACHED: &str = "UNREACHED";

/// What stands for the answer of a node that was not reached.
pub(crate) fn unreached(error: &StoreError) -> Value {
    let detail = match error {
        StoreError::Unavailable { detail, .. } | StoreError::Corrupt { detail } => detail,
    };
    refusal(UNREACHED, detail)
}

/// What stands for the answer to a call that too few replicas have.
pub(crate) fn too_few(have: i64, required: u32, why: &str) -> Value {
    let detail = format!(
        "{have} of the {required} replicas that store.replicas asks for have it: it is repeated {why}"
    );
    let detail = detail.trim_end().to_owned();
    refusal("NOREPLICAS", &detail)
}

/// What stands for the answer to a call whose key nobody has.
pub(crate) fn unserved() -> Value {
    refusal("CLUSTERDOWN", "nobody has the slot")
}

/// An answer as a server refuses.
fn refusal(code: &str, detail: &str) -> Value {
    let detail = detail.replace(['\r', '\n'], " ");
    let answer = format!("*1\r\n-{code} {detail}\r\n");
    let parsed = redis::parse_redis_value(answer.as_bytes());
    match parsed {
        Ok(Value::Array(mut one)) => one.pop().unwrap_or_default(),
        _ => Value::Nil,
    }
}

/// Whether a value is a refusal with one of these codes.
pub(crate) fn has_code(value: &Value, codes: &[&str]) -> bool {
    matches!(value, Value::ServerError(error) if codes.contains(&error.code()))
}

pub(crate) fn text(error: &ServerError) -> String {
    format!("{} {}", error.code(), error.details().unwrap_or_default())
}

/// What a server's answer to one call of a turn means.
pub(crate) fn call_error(error: &ServerError) -> CallError {
    match error.code() {
        "OOM" => CallError::Full,
        code if passes(code) => CallError::Unknown {
            detail: text(error),
        },
        _ => CallError::Refused {
            detail: text(error),
        },
    }
}

/// What a server's answer means for an operation as a whole.
pub(crate) fn store_error(error: &ServerError) -> StoreError {
    if error.code() == "OOM" || passes(error.code()) {
        unavailable(text(error))
    } else {
        StoreError::Corrupt {
            detail: text(error),
        }
    }
}

/// A server that cannot be used now: another may soon be there under its name.
pub(crate) fn unusable(error: &ConnectError) -> StoreError {
    unavailable(error.to_string())
}

/// A failed connection.
pub(crate) fn connect_error(error: &RedisError) -> ConnectError {
    match error.kind() {
        ErrorKind::AuthenticationFailed => ConnectError::Credentials(error.to_string()),
        _ => match error.code() {
            Some("NOAUTH" | "WRONGPASS") => ConnectError::Credentials(error.to_string()),
            Some("NOPERM") => ConnectError::Rights(error.to_string()),
            _ => ConnectError::Unreachable(error.to_string()),
        },
    }
}

/// A failed exchange.
pub(crate) fn exchange_error(error: &RedisError) -> StoreError {
    unavailable(error.to_string())
}

/// The store is away.
pub(crate) const fn unavailable(detail: String) -> StoreError {
    StoreError::Unavailable {
        detail,
        retry_after: RETRY_AFTER,
    }
}

/// What is no map of slots.
pub(crate) fn corrupt_map() -> StoreError {
    crate::layout::corrupt("the map of slots")
}

/// An unreadable reply to one call: it was executed, but what it answered is lost.
pub(crate) fn unreadable(error: StoreError) -> CallError {
    CallError::Refused {
        detail: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_our_own_are_to_be_repeated() {
        let away = unavailable("no\r\nroute".to_owned());
        for (value, words) in [
            (unreached(&away), "no  route"),
            (
                too_few(0, 2, ""),
                "0 of the 2 replicas that store.replicas asks for",
            ),
            (unserved(), "nobody has the slot"),
        ] {
            let Value::ServerError(error) = value else {
                panic!("{value:?} is no refusal");
            };
            let call = call_error(&error);
            assert!(
                matches!(&call, CallError::Unknown { detail } if detail.contains(words)),
                "{call}"
            );
            assert!(matches!(
                store_error(&error),
                StoreError::Unavailable { .. }
            ));
        }
    }
}
