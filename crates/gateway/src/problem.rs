//! What went wrong, before a dialect puts it into words.
//!
//! There is one way from an RPC's status to a dialect's error: the status is read into a
//! [`Problem`], and the dialect renders it. Problems of HTTP itself (no such path, a body
//! that is no JSON) are of the same type, so that they get the same words.

use core::time::Duration;

use http::StatusCode;
use sidehook_core::violation::{Violation, Violations};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Where the fields of a subscription stand in the requests that carry one.
const SUBSCRIPTION: &str = "subscription.";

/// What kind of problem it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The body cannot be read: it is no JSON, or no object.
    Malformed,
    /// Fields are wrong; [`Problem::fields`] names them.
    Invalid,
    /// No key, or none that is in force.
    Unauthenticated,
    /// The caller may not do this.
    Denied,
    /// No such thing, or somebody else's.
    NotFound,
    /// No such path.
    NoRoute,
    /// The path is there, and not with this method.
    MethodNotAllowed,
    /// The body is not declared to be JSON.
    MediaType,
    /// The body did not come in time.
    BodyTimeout,
    /// The body is too long.
    TooLarge,
    /// Somebody else was faster.
    Conflict,
    /// Not possible as things stand.
    Precondition,
    /// A limit of the tenant is reached, and waiting does not help.
    Limit,
    /// Too much for now; [`Problem::retry_after`] says until when.
    TooMany,
    /// The store or the process is away.
    Unavailable,
    /// A mistake of ours.
    Internal,
}

impl Kind {
    /// The status that HTTP has for it; a dialect may know it by another.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Malformed | Self::Invalid | Self::Precondition | Self::Limit => {
                StatusCode::BAD_REQUEST
            }
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::NotFound | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What kind of problem.
    pub(crate) kind: Kind,
    /// For people: what is wrong and what would be right.
    pub(crate) message: String,
    /// For [`Kind::Invalid`]: the fields, by paths such as `events[1].action`. Fields of
    /// an RPC have the API's own names; those of a subscription stand at the root.
    pub(crate) fields: Vec<Violation>,
    /// The reason that the RPC gave, for example `ACTIVE_LIMIT`; empty if none did.
    pub(crate) reason: String,
    /// When to try again, if that is known.
    pub(crate) retry_after: Option<Duration>,
}

impl Problem {
    /// One of this kind.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            fields: Vec::new(),
            reason: String::new(),
            retry_after: None,
        }
    }

    /// These fields are wrong.
    pub(crate) fn invalid(wrong: Violations) -> Self {
        Self {
            fields: wrong.as_slice().to_vec(),
            ..Self::new(Kind::Invalid, wrong.to_string())
        }
    }

    /// This field is wrong.
    pub(crate) fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        let mut wrong = Violations::new();
        wrong.add(field, description);
        Self::invalid(wrong)
    }

    /// There is no such thing; `kind` says of what.
    pub(crate) fn not_found(kind: &str) -> Self {
        Self::new(Kind::NotFound, format!("there is no such {kind}"))
    }

    /// The caller is not known.
    pub(crate) fn unauthenticated(message: String) -> Self {
        Self::new(Kind::Unauthenticated, message)
    }

    /// A mistake of ours: the detail is logged and not shown.
    pub(crate) fn internal(detail: &str) -> Self {
        tracing::error!(detail, "a request failed for a reason of our own");
        let shown = "internal error: the server's log tells more";
        Self::new(Kind::Internal, shown)
    }

    /// The same, with the fields under other names: `rename` answers the new path, or
    /// `None` to keep the old one.
    pub(crate) fn renamed(mut self, rename: impl Fn(&str) -> Option<String>) -> Self {
        for wrong in &mut self.fields {
            if let Some(name) = rename(&wrong.field) {
                wrong.field = name;
            }
        }
        self
    }
}

impl From<Violations> for Problem {
    fn from(wrong: Violations) -> Self {
        Self::invalid(wrong)
    }
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.clone());
        let reason = reason.unwrap_or_default();
        let retry_after = details.retry_info().and_then(|info| info.retry_delay);
        let kind = match status.code() {
            Code::InvalidArgument if reason == "MESSAGE_TOO_LARGE" => Kind::TooLarge,
            Code::InvalidArgument => Kind::Invalid,
            Code::NotFound => Kind::NotFound,
            Code::Aborted | Code::AlreadyExists => Kind::Conflict,
            Code::FailedPrecondition => Kind::Precondition,
            Code::ResourceExhausted if retry_after.is_some() => Kind::TooMany,
            Code::ResourceExhausted => Kind::Limit,
            Code::Unauthenticated => Kind::Unauthenticated,
            Code::PermissionDenied => Kind::Denied,
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => Kind::Unavailable,
            Code::Internal => Kind::Internal,
            _ => return Self::internal(&status.to_string()),
        };
        let fields = details.bad_request().map(|bad| &*bad.field_violations);
        let fields = fields.unwrap_or_default().iter().map(|wrong| {
            let field = wrong.field.strip_prefix(SUBSCRIPTION);
            Violation {
                field: field.unwrap_or(&wrong.field).to_owned(),
                description: wrong.description.clone(),
            }
        });
        Self {
            kind,
            message: status.message().to_owned(),
            fields: fields.collect(),
            reason,
            retry_after,
        }
    }
}

/// A step of a field's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// A member of an object.
    Name(&'a str),
    /// An element of a list, from 0.
    Index(usize),
}

/// The steps of a path such as `events[1].action`. What has no such form is one name.
pub(crate) fn steps(path: &str) -> Vec<Step<'_>> {
    let parts = path.split('.').flat_map(|part| {
        let (name, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
        let mut steps = vec![Step::Name(name)];
        while let Some((index, tail)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            let Ok(index) = index.parse() else { break };
            steps.push(Step::Index(index));
            rest = tail;
        }
        if !rest.is_empty() {
            steps = vec![Step::Name(part)];
        }
        steps
    });
    parts.collect()
}

/// Seconds to wait, as `retry-after` says them: rounded up, and at least one.
pub(crate) fn whole_seconds(wait: Duration) -> String {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    seconds.max(1).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::{ErrorDetails, FieldViolation};

    use super::*;

    #[test]
    fn a_status_is_read_with_its_fields_reason_and_wait() {
        let mut details =
            ErrorDetails::with_error_info("INVALID_FIELD", "sidehook", HashMap::new());
        details.set_bad_request(vec![
            FieldViolation::new("subscription.events[1].action", "required"),
            FieldViolation::new("page_size", "too many"),
        ]);
        let status = Status::with_error_details(Code::InvalidArgument, "wrong", details);
        let problem = Problem::from(status);
        assert_eq!(problem.kind, Kind::Invalid);
        assert_eq!(problem.reason, "INVALID_FIELD");
        let fields: Vec<_> = problem.fields.iter().map(|one| &*one.field).collect();
        assert_eq!(fields, ["events[1].action", "page_size"]);

        let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(1_200)));
        let status = Status::with_error_details(Code::ResourceExhausted, "slow", details);
        let problem = Problem::from(status);
        assert_eq!(problem.kind, Kind::TooMany);
        assert_eq!(whole_seconds(problem.retry_after.expect("told")), "2");
        let full = Problem::from(Status::resource_exhausted("full"));
        assert_eq!(full.kind, Kind::Limit);
    }

    #[test]
    fn what_nobody_can_help_is_not_shown() {
        let problem = Problem::from(Status::data_loss("a secret"));
        assert_eq!(problem.kind, Kind::Internal);
        assert!(!problem.message.contains("secret"));
    }

    #[test]
    fn paths_have_steps() {
        use Step::{Index, Name};
        assert_eq!(
            steps("events[1].extra_filter.filters[0]"),
            [
                Name("events"),
                Index(1),
                Name("extra_filter"),
                Name("filters"),
                Index(0)
            ]
        );
        assert_eq!(steps("url"), [Name("url")]);
        assert_eq!(steps("a[b].c[1"), [Name("a[b]"), Name("c[1")]);
    }
}
