//! Errors of operations, and the one place that puts them on the wire.
//!
//! Operations answer an [`OperationError`]: a variant per cause. A cause is described
//! once (code, reason, words, what to do next), and the description becomes a
//! `tonic::Status` with `google.rpc` details for a call, or a [`v1::PublishError`] for
//! one event of a batch.
//!
//! | cause | code | reason |
//! |---|---|---|
//! | wrong fields | INVALID_ARGUMENT | `INVALID_FIELD`, and `BadRequest` names the fields |
//! | a message larger than is taken | INVALID_ARGUMENT | `MESSAGE_TOO_LARGE` |
//! | a message that cannot be read | INVALID_ARGUMENT | `MESSAGE_MALFORMED` |
//! | no such thing, or somebody else's | NOT_FOUND | `NOT_FOUND`, and `kind` says of what |
//! | wrong etag, or a faster change | ABORTED | `ETAG_MISMATCH` |
//! | idempotency key used for other content | ALREADY_EXISTS | `IDEMPOTENCY_KEY_REUSED` |
//! | not possible as things stand | FAILED_PRECONDITION | one per case |
//! | a limit of the tenant is reached | RESOURCE_EXHAUSTED | one per case |
//! | no or no valid credential | UNAUTHENTICATED | `NO_CREDENTIAL`, `INVALID_CREDENTIAL`, `EXPIRED_CREDENTIAL` |
//! | a credential without the right | PERMISSION_DENIED | `RIGHT_MISSING`, and `rpc` says to what |
//! | a subscription that is somebody else's | PERMISSION_DENIED | `NOT_OWNER` |
//! | the store or the process is away | UNAVAILABLE | `UNAVAILABLE`, and `RetryInfo` |
//! | what no caller can help | INTERNAL | `INTERNAL` |
//!
//! INTERNAL is logged here, because its detail concerns the operator and is kept from
//! the caller; all others are the caller's affair and are not logged.

use core::time::Duration;
use std::collections::HashMap;

use sidehook_api::{record_error::CorruptRecord, v1, violation::field_violations};
use sidehook_core::{address::EventId, limits::FRAME_BYTES, violation::Violations};
use sidehook_store::{
    StoreError,
    budget::{Exhausted, Which},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

/// The domain of our reasons in `ErrorInfo`.
pub const DOMAIN: &str = "sidehook";

/// Key in the metadata of `ErrorInfo`, with NOT_FOUND: what was looked for, for example `subscription`.
pub const ABOUT_KIND: &str = "kind";
/// Key in the metadata of `ErrorInfo`, with RIGHT_MISSING: the path of the RPC.
pub const ABOUT_RPC: &str = "rpc";

/// Key in the metadata of `ErrorInfo`, with PENDING_BUDGET_EXHAUSTED and LOG_BUDGET_EXHAUSTED:
/// the bytes that the tenant has.
pub const ABOUT_USED: &str = "used_bytes";
/// Key in the metadata of `ErrorInfo`, beside [`ABOUT_USED`]: the bytes from which on it is
/// refused.
pub const ABOUT_BUDGET: &str = "budget_bytes";

/// Wrong fields that the message tells of; the details tell of more.
const TOLD: usize = 3;
/// Bytes of wrong fields in the details: they travel as a header, and clients allow as
/// little as 8 KiB of those.
const DETAIL_BYTES: usize = 2_500;

/// How long a caller is asked to wait when nothing better is known.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// Fields are wrong; nothing was changed.
    #[error("{}", told(.0))]
    Invalid(Violations),
    /// The message is larger than [`FRAME_BYTES`].
    #[error("a message may have at most {FRAME_BYTES} bytes, unpacked: send smaller batches")]
    MessageTooLarge,
    /// The message is not what the RPC takes.
    #[error("the message cannot be read: is it made from our .proto files?")]
    MessageMalformed,
    /// No such thing in the caller's tenant.
    #[error("there is no {kind} `{id}`")]
    NotFound {
        /// What was looked for, for example `subscription`.
        kind: &'static str,
        /// The id that was given.
        id: String,
    },
    /// Something else is there than the caller's etag says, or somebody was faster.
    #[error("the subscription was changed meanwhile: read it again and repeat the change")]
    EtagMismatch,
    /// The idempotency key stands for other content.
    #[error(
        "the idempotency key was used for other content by event `{0}`: use a new key for new content"
    )]
    KeyReused(EventId),
    /// Not possible as things stand.
    #[error("{message}")]
    Precondition {
        /// For programs.
        reason: &'static str,
        /// For people: what stands in the way and what to do.
        message: String,
    },
    /// A limit of the tenant is reached.
    #[error("{message}")]
    Exhausted {
        /// For programs.
        reason: &'static str,
        /// For people: which limit and what to do.
        message: String,
        /// When to try again, if waiting helps.
        retry_after: Option<Duration>,
    },
    /// The tenant has used up one of its budgets.
    #[error("{message}")]
    OverBudget {
        /// Which, and by how much.
        told: Exhausted,
        /// For people: which it is and what to do.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// Nobody that we know.
    #[error("{message}")]
    Unauthenticated {
        /// For programs.
        reason: &'static str,
        /// For people: what to do.
        message: &'static str,
    },
    /// Somebody that we know, without the right.
    #[error("{message}")]
    Denied {
        /// Path of the RPC, for programs.
        rpc: String,
        /// For people: who may not do what.
        message: String,
    },
    /// Somebody that we know, about something that is another's.
    #[error("{0}")]
    NotTheirs(String),
    /// It may work later.
    #[error("{message}")]
    Unavailable {
        /// What is away.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// What no caller can help. The detail is logged and not shown.
    #[error("{0}")]
    Internal(String),
}

impl OperationError {
    /// One wrong field.
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        let mut violations = Violations::new();
        violations.add(field, description);
        Self::Invalid(violations)
    }

    /// No such thing.
    pub fn not_found(kind: &'static str, id: impl ToString) -> Self {
        Self::NotFound {
            kind,
            id: id.to_string(),
        }
    }

    /// The same, with the paths of wrong fields under `prefix`.
    #[must_use]
    pub fn under(self, prefix: &str) -> Self {
        match self {
            Self::Invalid(violations) => Self::Invalid(violations.under(prefix)),
            other => other,
        }
    }

    /// This process is going away; another replica, or the next process, will answer.
    #[must_use]
    pub fn draining() -> Self {
        Self::Unavailable {
            message: "this server is shutting down: connect again".to_owned(),
            retry_after: RETRY_AFTER,
        }
    }
}

impl From<Violations> for OperationError {
    fn from(violations: Violations) -> Self {
        Self::Invalid(violations)
    }
}

impl From<StoreError> for OperationError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable {
                detail,
                retry_after,
            } => {
                tracing::debug!(detail, "the store is unavailable");
                Self::Unavailable {
                    // Not "try again": a write may have been made.
                    message: "the store does not answer".to_owned(),
                    retry_after: retry_after.max(Duration::from_millis(1)),
                }
            }
            StoreError::Corrupt { detail } => Self::Internal(detail),
        }
    }
}

impl From<CorruptRecord> for OperationError {
    fn from(error: CorruptRecord) -> Self {
        Self::Internal(error.to_string())
    }
}

/// The first wrong fields, and how many more there are.
fn told(violations: &Violations) -> String {
    let all = violations.as_slice();
    let first = all.iter().take(TOLD);
    let first: Vec<_> = first
        .map(|wrong| format!("{}: {}", wrong.field, wrong.description))
        .collect();
    match all.len().saturating_sub(TOLD) {
        0 => first.join("; "),
        more => format!("{}; and {more} more", first.join("; ")),
    }
}

/// An error in the terms of `google.rpc`.
struct Described {
    code: Code,
    reason: &'static str,
    message: String,
    /// For programs: what the reason is about.
    about: Vec<(&'static str, String)>,
    violations: Violations,
    retry_after: Option<Duration>,
}

/// The reason of a tenant that is over this budget.
const fn over(budget: Which) -> &'static str {
    match budget {
        Which::Pending => "PENDING_BUDGET_EXHAUSTED",
        Which::Log => "LOG_BUDGET_EXHAUSTED",
    }
}

impl From<OperationError> for Described {
    fn from(error: OperationError) -> Self {
        use OperationError as E;
        let message = error.to_string();
        let (mut violations, mut retry_after) = (Violations::new(), None);
        let mut about = Vec::new();
        let (code, reason) = match error {
            E::Invalid(found) => {
                violations = found;
                (Code::InvalidArgument, "INVALID_FIELD")
            }
            E::MessageTooLarge => (Code::InvalidArgument, "MESSAGE_TOO_LARGE"),
            E::MessageMalformed => (Code::InvalidArgument, "MESSAGE_MALFORMED"),
            E::NotFound { kind, .. } => {
                about.push((ABOUT_KIND, kind.to_owned()));
                (Code::NotFound, "NOT_FOUND")
            }
            E::EtagMismatch => (Code::Aborted, "ETAG_MISMATCH"),
            E::KeyReused(_) => (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED"),
            E::Precondition { reason, .. } => (Code::FailedPrecondition, reason),
            E::Exhausted {
                reason,
                retry_after: wait,
                ..
            } => {
                retry_after = wait;
                (Code::ResourceExhausted, reason)
            }
            E::OverBudget {
                told,
                retry_after: wait,
                ..
            } => {
                retry_after = Some(wait);
                about.push((ABOUT_USED, told.used.to_string()));
                about.push((ABOUT_BUDGET, told.budget.to_string()));
                (Code::ResourceExhausted, over(told.which))
            }
            E::Unauthenticated { reason, .. } => (Code::Unauthenticated, reason),
            E::Denied { rpc, .. } => {
                about.push((ABOUT_RPC, rpc));
                (Code::PermissionDenied, "RIGHT_MISSING")
            }
            E::NotTheirs(_) => (Code::PermissionDenied, "NOT_OWNER"),
            E::Unavailable {
                retry_after: wait, ..
            } => {
                retry_after = Some(wait);
                (Code::Unavailable, "UNAVAILABLE")
            }
            E::Internal(detail) => {
                tracing::error!(detail, "an operation failed for a reason of our own");
                return Self {
                    code: Code::Internal,
                    reason: "INTERNAL",
                    message: "internal error: the server's log tells more".to_owned(),
                    about,
                    violations,
                    retry_after,
                };
            }
        };
        Self {
            code,
            reason,
            message,
            about,
            violations,
            retry_after,
        }
    }
}

impl From<OperationError> for Status {
    fn from(error: OperationError) -> Self {
        let described = Described::from(error);
        let about = described.about.into_iter();
        let about: HashMap<_, _> = about.map(|(key, value)| (key.to_owned(), value)).collect();
        let mut details = ErrorDetails::with_error_info(described.reason, DOMAIN, about);
        if !described.violations.is_empty() {
            let fields = field_violations(&described.violations).into_iter();
            let mut bytes = 0;
            let fields = fields
                .take_while(|wrong| {
                    bytes += wrong.field.len() + wrong.description.len();
                    bytes <= DETAIL_BYTES
                })
                .map(|wrong| FieldViolation::new(wrong.field, wrong.description));
            details.set_bad_request(fields.collect::<Vec<_>>());
        }
        if described.retry_after.is_some() {
            details.set_retry_info(described.retry_after);
        }
        Self::with_error_details(described.code, described.message, details)
    }
}

/// What stands behind a refusal of tonic's own: a message that is too large is refused
/// before any code of ours has seen it, in other words and without a reason.
#[must_use]
pub(crate) fn behind(status: &Status) -> Option<OperationError> {
    let unpacking = status
        .message()
        .starts_with("Error decompressing: size limit");
    let unreadable = status
        .message()
        .starts_with("failed to decode Protobuf message");
    match status.code() {
        // No operation answers this one.
        Code::OutOfRange => Some(OperationError::MessageTooLarge),
        Code::ResourceExhausted if unpacking => Some(OperationError::MessageTooLarge),
        Code::Internal if unreadable => Some(OperationError::MessageMalformed),
        _ => None,
    }
}

impl From<OperationError> for v1::PublishError {
    fn from(error: OperationError) -> Self {
        let described = Described::from(error);
        Self {
            code: described.code as i32,
            message: described.message,
            reason: described.reason.to_owned(),
            field_violations: field_violations(&described.violations),
            retry_after: described.retry_after.and_then(|wait| wait.try_into().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_reasons_reach_both_wires() {
        let error = OperationError::field("url", "must begin with `https://` or `http://`");
        let status = Status::from(error.clone());
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            status.message(),
            "url: must begin with `https://` or `http://`"
        );
        let details = status.get_error_details();
        let info = details.error_info().expect("always there");
        assert_eq!((&*info.reason, &*info.domain), ("INVALID_FIELD", DOMAIN));
        let fields = &details.bad_request().expect("fields").field_violations;
        assert_eq!(fields[0].field, "url");
        let item = v1::PublishError::from(error);
        assert_eq!((item.code, &*item.reason), (3, "INVALID_FIELD"));
        assert_eq!(item.field_violations[0].field, "url");
    }

    #[test]
    fn a_message_that_is_not_protobuf_is_the_callers_fault() {
        use prost::Message as _;
        let error = v1::Event::decode(&[0xff; 8][..]).expect_err("no message");
        let refused = Status::internal(error.to_string());
        let status = Status::from(behind(&refused).expect("known"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(behind(&Status::internal("internal error")).is_none());
    }

    #[test]
    fn what_a_reason_is_about_is_for_programs_too() {
        let about = |error: OperationError, key: &str| {
            let details = Status::from(error).get_error_details();
            let info = details.error_info().expect("always there");
            info.metadata.get(key).cloned()
        };
        let unknown = OperationError::not_found("subscription", "whsub_1");
        assert_eq!(about(unknown, ABOUT_KIND).as_deref(), Some("subscription"));
        let denied = OperationError::Denied {
            rpc: "/a.B/C".to_owned(),
            message: "no".to_owned(),
        };
        assert_eq!(about(denied, ABOUT_RPC).as_deref(), Some("/a.B/C"));
        assert_eq!(about(OperationError::draining(), ABOUT_RPC), None);
        let over = OperationError::OverBudget {
            told: Exhausted {
                which: Which::Log,
                used: 70,
                budget: 60,
            },
            message: "too much".to_owned(),
            retry_after: Duration::from_secs(2),
        };
        assert_eq!(about(over.clone(), ABOUT_USED).as_deref(), Some("70"));
        assert_eq!(about(over, ABOUT_BUDGET).as_deref(), Some("60"));
    }

    #[test]
    fn many_wrong_fields_still_fit_a_header() {
        let mut violations = Violations::new();
        for index in 0..1_000 {
            violations.add(format!("events[{index}].action"), "x".repeat(100));
        }
        let status = Status::from(OperationError::Invalid(violations));
        assert!(status.message().ends_with("; and 47 more"), "{status:?}");
        assert!(status.message().len() + status.details().len() < 5_000);
        let details = status.get_error_details();
        assert!(
            details
                .bad_request()
                .expect("fields")
                .field_violations
                .len()
                > 10
        );
    }

    #[test]
    fn a_store_that_is_away_says_when_to_come_back_and_keeps_its_detail() {
        let status = Status::from(OperationError::from(StoreError::Unavailable {
            detail: "10.0.0.7:6379 refused".to_owned(),
            retry_after: Duration::from_secs(2),
        }));
        assert_eq!(status.code(), Code::Unavailable);
        assert!(!status.message().contains("10.0.0.7"));
        let details = status.get_error_details();
        let retry = details.retry_info().expect("retry info");
        assert_eq!(retry.retry_delay, Some(Duration::from_secs(2)));
        let corrupt = StoreError::Corrupt {
            detail: "secret place".to_owned(),
        };
        let status = Status::from(OperationError::from(corrupt));
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("secret place"));
    }
}
