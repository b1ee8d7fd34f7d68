//! What Redis' errors mean for the port.
//!
//! The question is always whether a call may have been executed. A reply that names
//! a state of the server (loading, read-only, busy, moved) says that this call was
//! not; but the pipeline around it may have been in part, so the answer is "unknown,
//! repeat it unchanged" and the stamps keep what was done from being done twice.

use core::time::Duration;

use redis::{ErrorKind, RedisError, ServerError};
use sidehook_store::{CallError, StoreError};

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
        "Redis refuses the credentials: {0}; put them into the URL, redis://USER:PASSWORD@HOST:PORT/"
    )]
    Credentials(String),
    /// The user may not do what is needed.
    #[error("Redis does not allow its user what is needed: {0}; the README has the ACL line")]
    Rights(String),
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
    )
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

/// An unreadable reply to one call: it was executed, but what it answered is lost.
pub(crate) fn unreadable(error: StoreError) -> CallError {
    CallError::Refused {
        detail: error.to_string(),
    }
}
