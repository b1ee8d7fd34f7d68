//! Why a command failed, for a person at a shell: what is wrong, and what to do next.
//!
//! What is wrong is the server's to say, which knows it best and says it to every client
//! alike. What to do next is this program's: it knows its own commands and flags.

use std::fmt::{self, Display};

use sidehook_control::{
    auth::rights::{Rule, rule},
    errors::{ABOUT_KIND, ABOUT_RPC, DOMAIN},
};
use sidehook_core::{
    id::TenantId,
    principal::{Principal, Role},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::terminal::harmless;

/// Why a command failed: what is wrong, and what to do next.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    next: Vec<String>,
}

impl Failure {
    /// A failure that explains itself.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            next: Vec::new(),
        }
    }

    /// Adds a line: a detail, or what to do.
    pub(crate) fn hint(mut self, line: impl Into<String>) -> Self {
        self.next.push(line.into());
        self
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Much of it is what the server said, or a file.
        f.write_str(&harmless(&self.what))?;
        self.next
            .iter()
            .try_for_each(|line| write!(f, "\n  {}", harmless(line)))
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        if let Some(failure) = super::reach::broken(&status) {
            return failure;
        }
        let fields = status.get_details_bad_request();
        let fields = fields.map_or_else(Vec::new, |wrong| wrong.field_violations);
        if !fields.is_empty() {
            let mut failure = Self::new("the server refuses these fields:");
            for wrong in &fields {
                let flag = flag(&wrong.field).map_or_else(String::new, |flag| format!(" ({flag})"));
                failure = failure.hint(format!("{}{flag}: {}", wrong.field, wrong.description));
            }
            let advice = fields.iter();
            let advice = advice.filter_map(|wrong| about_field(&wrong.field, &wrong.description));
            return advice.fold(failure, Self::hint);
        }
        let failure = Self::new(message(&status));
        advice(&status).into_iter().fold(failure, Self::hint)
    }
}

impl Failure {
    /// A call that failed and may have published nevertheless, if the server may have done what it was asked without
    /// being able to say so; else as any call's failure. `has_key`: whether a repeat of the event would be recognised.
    pub(super) fn of_publish(status: Status, has_key: bool) -> Self {
        if !is_ambiguous(status.code()) {
            return status.into();
        }
        let failure = super::reach::broken(&status);
        let failure = failure.unwrap_or_else(|| Self::new(message(&status)));
        failure.hint(if has_key {
            "the event may have been published: repeat it, which is safe because it has an \
             `idempotency_key`"
        } else {
            "the event may have been published, and a repeat would be another event: look into \
             `sidehook event list` before you repeat it. With an `idempotency_key` in the event a \
             repeat is safe"
        })
    }

    /// A stream that failed, without advice: what may be repeated its events tell.
    pub(super) fn of_stream(status: Status) -> Self {
        if !is_ambiguous(status.code()) {
            return status.into();
        }
        super::reach::broken(&status).unwrap_or_else(|| Self::new(message(&status)))
    }
}

/// Whether a call that ended so may have been carried out nevertheless.
pub(super) const fn is_ambiguous(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
    )
}

fn message(status: &Status) -> String {
    match status.message() {
        "" => status.code().to_string(),
        message => message.to_owned(),
    }
}

/// What to do, by the reason that the server gives to programs. Its words are for people and may change. What stands
/// in between (a proxy) gives no reason, so that there the code must do.
fn advice(status: &Status) -> Option<String> {
    let info = status.get_details_error_info();
    let info = info.filter(|info| info.domain == DOMAIN);
    let Some(info) = info else {
        return match status.code() {
            Code::Unauthenticated => Some(KEY.to_owned()),
            Code::Unavailable => Some(AGAIN.to_owned()),
            _ => None,
        };
    };
    let about = |key: &str| info.metadata.get(key).map(String::as_str);
    match info.reason.as_str() {
        "NO_CREDENTIAL" | "INVALID_CREDENTIAL" | "EXPIRED_CREDENTIAL" => Some(KEY.to_owned()),
        "RIGHT_MISSING" => roles(about(ABOUT_RPC)?),
        "NOT_FOUND" => {
            let kind = about(ABOUT_KIND)?;
            let thing = THINGS.iter().find(|thing| thing.name == kind);
            thing.map(Thing::advice)
        }
        "NOT_OWNER" => Some("an admin makes it yours with --owner".to_owned()),
        "ETAG_MISMATCH" => Some("read it again and repeat with the new --etag".to_owned()),
        "UNAVAILABLE" => Some(AGAIN.to_owned()),
        "PENDING_BUDGET_EXHAUSTED" | "LOG_BUDGET_EXHAUSTED" => Some(BEHIND.to_owned()),
        _ => None,
    }
}

const KEY: &str = "give the API key in SIDEHOOK_API_KEY, --api-key-file or --api-key; `sidehook dev` prints \
                   its key when it starts";
const AGAIN: &str = "this passes: try again in a moment";
const BEHIND: &str = "receivers are behind: `sidehook delivery list` shows what is still to be delivered. Publish again \
                      when they have caught up, or delete the subscription of one that never will";

/// What has an id.
struct Thing {
    name: &'static str,
    prefix: &'static str,
    list: &'static str,
}

const THINGS: &[Thing] = &[
    Thing {
        name: "subscription",
        prefix: "`whsub_`",
        list: "sidehook subscription list",
    },
    Thing {
        name: "delivery",
        prefix: "`dlv_`",
        list: "sidehook deliveries list",
    },
    Thing {
        name: "event",
        prefix: "`ev_`",
        list: "sidehook event list",
    },
    Thing {
        name: "tenant",
        prefix: "`ten_`",
        list: "sidehook admin tenant list",
    },
    Thing {
        name: "API key",
        prefix: "`key_`",
        list: "sidehook admin key list --tenant TENANT",
    },
    Thing {
        name: "user",
        prefix: "`usr_`",
        list: "sidehook admin user list --tenant TENANT",
    },
];

impl Thing {
    fn advice(&self) -> String {
        format!("`{}` shows the ids", self.list)
    }
}

/// The flag that gives a field.
fn flag(field: &str) -> Option<&'static str> {
    let field = field.strip_prefix("subscription.").unwrap_or(field);
    let begins = |prefix: &str| field.starts_with(prefix);
    Some(match field {
        "url" => "--url",
        "status" => "--status",
        "pool" => "--pool",
        "max_in_flight" => "--max-in-flight",
        "campaign_id" => "--campaign",
        "format" => "--format",
        "event_header" => "--event-header",
        "description" => "--description",
        "owner" => "--owner",
        "overlap" => "--overlap",
        "etag" => "--etag",
        "signing_secret" | "new_secret" => "--secret-file",
        "subscription_id" => "--subscription",
        "event_id" => "--event",
        "tenant_id" => "--tenant",
        "user_id" => "--user",
        "expires_at" => "--expires-in",
        "role" | "user.role" => "--role",
        "email" | "user.email" => "--email",
        "user.name" => "--name",
        "signing.local_key" => "--local-key",
        "signing.standard_webhooks.algorithm" => "--algorithm",
        "signing.hmac_header.header" => "--hmac-header",
        "signing.hmac_header.digest" => "--hmac-digest",
        "signing.hmac_header.prefix" => "--hmac-prefix",
        "timeouts.dns" => "--dns-timeout",
        "timeouts.connect" => "--connect-timeout",
        "timeouts.total" => "--timeout",
        "retry_policy.initial_backoff" => "--initial-backoff",
        "retry_policy.max_backoff" => "--max-backoff",
        "retry_policy.max_age" => "--max-age",
        "retry_policy.max_attempts" => "--max-attempts",
        "retry_policy.on_exhausted" => "--on-exhausted",
        "retry_policy.preset" => "--retry-preset",
        _ if begins("events") => "--events",
        _ if begins("headers") => "--header",
        _ => return None,
    })
}

/// What more there is to say about a wrong field.
fn about_field(field: &str, description: &str) -> Option<String> {
    let advice = match field {
        "subscription.events" => {
            "give --events KIND:ACTION, for example --events 'opportunity:*', or '*:*' for all"
        }
        "signing_secret" | "new_secret" => {
            "a secret is `whsec_` and base64 of 24 to 64 bytes, or `whsk_` and base64 of an \
             Ed25519 key (standard-webhooks), 64 hex digits (close), or any text (hmac-header); \
             without --secret or --secret-file one is generated"
        }
        _ => {
            let mut things = THINGS.iter();
            let thing = things.find(|thing| description.contains(thing.prefix));
            return thing.map(Thing::advice);
        }
    };
    Some(advice.to_owned())
}

/// Which roles may call this RPC.
fn roles(rpc: &str) -> Option<String> {
    let Rule::Needs(right, _) = rule(rpc)? else {
        return None;
    };
    let roles = [
        ("admin", Role::Admin),
        ("member", Role::Member),
        ("publisher", Role::Publisher),
        ("viewer", Role::Viewer),
        ("operator", Role::Operator),
    ];
    let may = roles.into_iter().filter(|(_, role)| {
        let principal = Principal {
            tenant: TenantId::PLATFORM,
            subject: String::new(),
            role: role.clone(),
        };
        principal.may(right)
    });
    let may: Vec<_> = may.map(|(name, _)| name).collect();
    let makes = "an operator makes keys with `sidehook admin key create`";
    Some(match may.as_slice() {
        ["operator"] => "only the operator's key may: `operator_key` of the server".to_owned(),
        [one] => format!("keys of the role {one} may; {makes}"),
        several => format!("keys of these roles may: {}; {makes}", several.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::{ErrorDetails, FieldViolation};

    use super::*;

    fn refused(fields: &[(&str, &str)]) -> String {
        let fields: Vec<_> = fields
            .iter()
            .map(|(field, wrong)| FieldViolation::new(*field, *wrong))
            .collect();
        let details = ErrorDetails::with_bad_request(fields);
        let status = Status::with_error_details(Code::InvalidArgument, "fields", details);
        Failure::from(status).to_string()
    }

    fn status(code: Code, reason: &str, about: &[(&str, &str)]) -> Status {
        let about = about.iter();
        let about = about.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let details =
            ErrorDetails::with_error_info(reason, DOMAIN, about.collect::<HashMap<_, _>>());
        Status::with_error_details(code, "in quite other words", details)
    }

    fn explained(code: Code, reason: &str, about: &[(&str, &str)]) -> String {
        Failure::from(status(code, reason, about)).to_string()
    }

    #[test]
    fn advice_goes_by_the_reason_and_not_by_the_words() {
        let missing = explained(Code::Unauthenticated, "NO_CREDENTIAL", &[]);
        assert!(missing.contains("SIDEHOOK_API_KEY"), "{missing}");
        let changed = explained(Code::Aborted, "ETAG_MISMATCH", &[]);
        assert!(changed.contains("--etag"), "{changed}");
        let away = explained(Code::Unavailable, "UNAVAILABLE", &[]);
        assert!(away.contains("try again"), "{away}");
        for (code, reason) in [(Code::Aborted, "OTHER"), (Code::NotFound, "NOT_FOUND")] {
            assert_eq!(explained(code, reason, &[]).lines().count(), 1);
        }
        let words = Status::not_found("there is no event `ev_1`");
        assert_eq!(Failure::from(words).to_string().lines().count(), 1);
        let proxy = Failure::from(Status::unavailable("no upstream")).to_string();
        assert!(proxy.contains("try again"), "{proxy}");
    }

    #[test]
    fn a_publish_that_may_have_been_made_is_not_simply_repeated() {
        for code in [
            Code::Unavailable,
            Code::DeadlineExceeded,
            Code::Internal,
            Code::Unknown,
        ] {
            let away = || status(code, "UNAVAILABLE", &[]);
            let without = Failure::of_publish(away(), false).to_string();
            assert!(without.contains("may have been published"), "{without}");
            assert!(without.contains("sidehook event list"), "{without}");
            assert!(!without.contains("try again"), "{without}");
            let with = Failure::of_publish(away(), true).to_string();
            assert!(with.contains("which is safe"), "{with}");
            let stream = Failure::of_stream(away()).to_string();
            assert!(!stream.contains("try again"), "{stream}");
        }
        let refused = status(Code::Unauthenticated, "NO_CREDENTIAL", &[]);
        let refused = Failure::of_publish(refused, false).to_string();
        assert!(!refused.contains("may have been"), "{refused}");
    }

    #[test]
    fn wrong_fields_are_told_one_by_one_with_their_flags() {
        assert_eq!(
            refused(&[("subscription.url", "required"), ("page_size", "too large")]),
            "the server refuses these fields:\n  subscription.url (--url): required\n  \
             page_size: too large"
        );
        let text = refused(&[("subscription.events", "empty")]);
        assert!(text.ends_with("or '*:*' for all"), "{text}");
        let text = refused(&[("signing_secret", "must begin with whsec_")]);
        assert!(
            text.contains("(--secret-file)") && text.contains("64 hex"),
            "{text}"
        );
    }

    #[test]
    fn an_id_that_is_none_or_unknown_tells_what_lists_ids() {
        let text = refused(&[("id", "expected `dlv_` and 22 letters and digits")]);
        assert!(text.contains("`sidehook deliveries list`"), "{text}");
        let text = explained(Code::NotFound, "NOT_FOUND", &[(ABOUT_KIND, "event")]);
        assert!(text.contains("`sidehook event list`"), "{text}");
    }

    #[test]
    fn whoever_may_not_is_told_who_may() {
        let denied = |rpc: &str| {
            let rpc = format!("/sidehook.v1.{rpc}");
            explained(
                Code::PermissionDenied,
                "RIGHT_MISSING",
                &[(ABOUT_RPC, &rpc)],
            )
        };
        let told = denied("WebhookService/CreateSubscription");
        assert!(told.contains("may: admin, member;"), "{told}");
        let told = denied("EventService/PublishEvent");
        assert!(told.contains("admin, publisher"), "{told}");
        let told = denied("AdminService/CreateTenant");
        assert!(told.contains("only the operator's key"), "{told}");
        assert_eq!(denied("EventService/Nothing").lines().count(), 1);
    }

    #[test]
    fn a_servers_message_cannot_steer_the_terminal() {
        let status = Status::internal("\x1b[2Jgone\nroot# ");
        let text = Failure::from(status).hint("\u{9b}1m").to_string();
        assert_eq!(text, "\\u001b[2Jgone\\u000aroot# \n  \\u009b1m");
    }

    #[test]
    fn a_missing_key_tells_how_to_give_one() {
        let text = Failure::from(Status::unauthenticated("no credential")).to_string();
        assert!(
            text.starts_with("no credential\n") && text.contains("SIDEHOOK_API_KEY"),
            "{text}"
        );
    }
}
