//! Why a command failed, for a person at a shell: what is wrong, and what to do next.
//!
//! What is wrong is the server's to say, which knows it best and says it to every client
//! alike. What to do next is this program's: it knows its own commands and flags.

use std::fmt::{self, Display};

use sidehook_control::auth::rights::{Rule, rule};
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
        let message = match status.message() {
            "" => status.code().to_string(),
            message => message.to_owned(),
        };
        let advice = match status.code() {
            Code::Unauthenticated => Some(
                "give the API key in SIDEHOOK_API_KEY, --api-key-file or --api-key; `sidehook \
                 dev` prints its key when it starts"
                    .to_owned(),
            ),
            Code::PermissionDenied => roles(&message),
            Code::NotFound => THINGS
                .iter()
                .find(|thing| message.starts_with(&format!("there is no {} ", thing.name)))
                .map(Thing::advice),
            Code::Aborted => Some("read it again and repeat with the new --etag".to_owned()),
            Code::Unavailable => Some("this passes: try again in a moment".to_owned()),
            _ => None,
        };
        let failure = Self::new(message);
        advice.into_iter().fold(failure, Self::hint)
    }
}

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
        "description" => "--description",
        "overlap" => "--overlap",
        "etag" => "--etag",
        "signing_secret" | "new_secret" => "--secret",
        "subscription_id" => "--subscription",
        "event_id" => "--event",
        "tenant_id" => "--tenant",
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
             without --secret one is generated"
        }
        _ => {
            let mut things = THINGS.iter();
            let thing = things.find(|thing| description.contains(thing.prefix));
            return thing.map(Thing::advice);
        }
    };
    Some(advice.to_owned())
}

/// Which roles may make the call that a message of refusal names.
fn roles(message: &str) -> Option<String> {
    let (_, method) = message.split_once("may not call ")?;
    let method = method.split(|c: char| !c.is_alphanumeric()).next()?;
    let services = [
        "WebhookService",
        "EventService",
        "DeliveryService",
        "AgentAdminService",
        "AdminService",
    ];
    let mut rules = services
        .iter()
        .filter_map(|service| rule(&format!("/sidehook.v1.{service}/{method}")));
    let Rule::Needs(right, _) = rules.next()? else {
        return None;
    };
    let roles = [
        ("admin", Role::Admin),
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
            text.contains("(--secret)") && text.contains("64 hex"),
            "{text}"
        );
    }

    #[test]
    fn an_id_that_is_none_or_unknown_tells_what_lists_ids() {
        let text = refused(&[("id", "expected `dlv_` and 22 letters and digits")]);
        assert!(text.contains("`sidehook deliveries list`"), "{text}");
        let text = Failure::from(Status::not_found("there is no event `ev_1`")).to_string();
        assert!(text.contains("`sidehook event list`"), "{text}");
    }

    #[test]
    fn whoever_may_not_is_told_who_may() {
        let denied = |method: &str| {
            let message =
                format!("the key `k` is that of a viewer, which may not call {method}: no");
            Failure::from(Status::permission_denied(message)).to_string()
        };
        let told = denied("CreateSubscription");
        assert!(told.contains("keys of the role admin may"), "{told}");
        let told = denied("PublishEvent");
        assert!(told.contains("admin, publisher"), "{told}");
        let told = denied("CreateTenant");
        assert!(told.contains("only the operator's key"), "{told}");
        assert_eq!(denied("Nothing").lines().count(), 1);
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
