//! A subscription in Close's words, and Close's words as a subscription.

use std::str::FromStr;

use serde::Serialize;
use serde_json::value::RawValue;
use sidehook_api::v1;
use sidehook_core::violation::Violations;

use crate::{
    json::{Given, Object},
    times,
};

/// Said of a field that must be given.
const REQUIRED: &str = "This field is required.";

/// Fields that only the server sets.
const SERVER: &[&str] = &[
    "id",
    "pause_reason",
    "health_status",
    "latest_error",
    "counters",
    "history",
    "recent_consecutive_fail_buckets_cnt",
    "signature_key",
    "created_by",
    "updated_by",
    "date_created",
    "date_updated",
];

/// Where a webhook is shown: its key is not in lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// By itself.
    Alone,
    /// In a list.
    Listed,
}

/// A webhook as Close shows it.
#[derive(Debug, Serialize)]
pub(super) struct Webhook {
    id: String,
    url: String,
    events: Vec<Pattern>,
    verify_ssl: bool,
    status: &'static str,
    pause_reason: Option<String>,
    health_status: Option<String>,
    latest_error: Option<String>,
    counters: Counters,
    history: History,
    recent_consecutive_fail_buckets_cnt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_key: Option<Option<String>>,
    created_by: Option<String>,
    updated_by: Option<String>,
    date_created: Option<String>,
    date_updated: Option<String>,
}

#[derive(Debug, Serialize)]
struct Pattern {
    object_type: String,
    action: String,
    extra_filter: Option<Box<RawValue>>,
}

/// Attempts ever; empty while there were none.
#[derive(Debug, Default, Serialize)]
struct Counters {
    #[serde(flatten)]
    all: Option<Counted>,
}

#[derive(Debug, Serialize)]
struct Counted {
    first_success: u64,
    first_fail: u64,
    retry_success: u64,
    retry_fail: u64,
}

#[derive(Debug, Default, Serialize)]
struct History {
    errors: Vec<Noted>,
    successes: Vec<Noted>,
}

#[derive(Debug, Serialize)]
struct Noted {
    attempt_number: u32,
    datetime: Option<String>,
    error: Option<String>,
    event_id: String,
    response_status_code: Option<u32>,
}

/// The text, where Close writes null for none.
fn nullable(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl Webhook {
    /// A subscription as Close shows it.
    pub(super) fn new(from: v1::Subscription, shown: Shown) -> Self {
        let is_paused = from.status() == v1::SubscriptionStatus::Paused;
        let key = signature_key(from.signing.as_ref());
        let events = from.events.into_iter().map(|pattern| Pattern {
            object_type: pattern.object_type,
            action: pattern.action,
            extra_filter: RawValue::from_string(pattern.extra_filter).ok(),
        });
        Self {
            events: events.collect(),
            id: from.id,
            url: from.url,
            verify_ssl: from.verify_ssl.unwrap_or(true),
            status: if is_paused { "paused" } else { "active" },
            pause_reason: nullable(from.pause_reason),
            health_status: None,
            latest_error: None,
            counters: Counters::default(),
            history: History::default(),
            recent_consecutive_fail_buckets_cnt: 0,
            signature_key: (shown == Shown::Alone).then_some(key),
            created_by: nullable(from.created_by),
            updated_by: nullable(from.updated_by),
            date_created: from.created_at.as_ref().map(times::close),
            date_updated: from.updated_at.as_ref().map(times::close),
        }
    }
}

/// The newest key, if it signs as Close does. Null where the caller may not see it, too.
fn signature_key(signing: Option<&v1::Signing>) -> Option<String> {
    let signing = signing?;
    match signing.scheme {
        Some(v1::signing::Scheme::Close(_)) => signing.keys.first().map(|key| key.secret.clone()),
        _ => None,
    }
}

/// What a body says of a webhook, as a patch and the fields that it sets.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) patch: v1::Subscription,
    pub(super) mask: Vec<String>,
}

/// Whether a body makes a webhook or changes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// `url` and `events` must be there.
    Create,
    /// What is not there stays as it is.
    Change,
}

impl Said {
    /// Reads a body. What is wrong is noted.
    pub(super) fn read(mut body: Object<'_>, purpose: Purpose, wrong: &mut Violations) -> Self {
        let mut said = Self::default();
        let missing = |wrong: &mut Violations, name: &str, is_absent: bool| {
            if is_absent && purpose == Purpose::Create {
                wrong.add(name, REQUIRED);
            }
        };
        match body.text("url", wrong) {
            Given::Value(url) => said.set("url", |patch| patch.url = url),
            Given::Null | Given::Absent => missing(wrong, "url", true),
        }
        match body.list("events", wrong) {
            Given::Value(events) => {
                let events = patterns(&events, wrong);
                said.set("events", |patch| patch.events = events);
            }
            Given::Null | Given::Absent => missing(wrong, "events", true),
        }
        if let Some(verify) = body.flag("verify_ssl", wrong).value() {
            said.set("verify_ssl", |patch| patch.verify_ssl = Some(verify));
        }
        if let Some(status) = body.text("status", wrong).value() {
            match status.parse::<Status>() {
                Ok(Status(status)) => said.set("status", |patch| patch.set_status(status)),
                Err(()) => wrong.add("status", "must be `active` or `paused`"),
            }
        }
        body.finish(SERVER, wrong);
        said
    }

    fn set(&mut self, field: &str, set: impl FnOnce(&mut v1::Subscription)) {
        set(&mut self.patch);
        self.mask.push(field.to_owned());
    }
}

struct Status(v1::SubscriptionStatus);

impl FromStr for Status {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "active" => Ok(Self(v1::SubscriptionStatus::Active)),
            "paused" => Ok(Self(v1::SubscriptionStatus::Paused)),
            _ => Err(()),
        }
    }
}

fn patterns(events: &[&RawValue], wrong: &mut Violations) -> Vec<v1::EventPattern> {
    let mut patterns = Vec::with_capacity(events.len());
    for (index, event) in events.iter().enumerate() {
        let Some(mut event) = Object::nested(format!("events[{index}]"), event, wrong) else {
            continue;
        };
        let mut named = |event: &mut Object<'_>, name: &str| {
            let before = wrong.as_slice().len();
            let text = event.text(name, wrong).value();
            if text.is_none() && wrong.as_slice().len() == before {
                wrong.add(event.path(name), REQUIRED);
            }
            text.unwrap_or_default()
        };
        let object_type = named(&mut event, "object_type");
        let action = named(&mut event, "action");
        let filter = event.raw("extra_filter", wrong).value();
        event.finish(&[], wrong);
        patterns.push(v1::EventPattern {
            object_type,
            action,
            extra_filter: filter.map_or_else(String::new, |filter| filter.get().to_owned()),
        });
    }
    patterns
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &str, purpose: Purpose) -> Result<Said, Vec<String>> {
        let mut wrong = Violations::new();
        let body = Object::parse(body.as_bytes()).expect("an object");
        let said = Said::read(body, purpose, &mut wrong);
        let wrong = wrong.as_slice().iter();
        let wrong: Vec<_> = wrong
            .map(|one| format!("{}: {}", one.field, one.description))
            .collect();
        if wrong.is_empty() {
            Ok(said)
        } else {
            Err(wrong)
        }
    }

    #[test]
    fn a_body_says_what_it_sets_and_null_is_nothing() {
        let body = r#"{
            "url": "https://example.com/hook",
            "events": [
                {"object_type": "lead", "action": "updated", "extra_filter": {"type": "is_null"}},
                {"object_type": "lead", "action": "created", "extra_filter": null}
            ],
            "verify_ssl": false,
            "status": null
        }"#;
        let said = read(body, Purpose::Create).expect("sound");
        assert_eq!(said.mask, ["url", "events", "verify_ssl"]);
        assert_eq!(said.patch.verify_ssl, Some(false));
        assert_eq!(said.patch.events[0].extra_filter, r#"{"type": "is_null"}"#);
        assert_eq!(said.patch.events[1].extra_filter, "");
        let said = read(r#"{"status": "paused"}"#, Purpose::Change).expect("sound");
        assert_eq!(said.mask, ["status"]);
        assert_eq!(said.patch.status(), v1::SubscriptionStatus::Paused);
        assert_eq!(read("{}", Purpose::Change).expect("sound").mask, [""; 0]);
    }

    #[test]
    fn everything_wrong_with_a_body_is_told() {
        assert_eq!(
            read("{}", Purpose::Create).expect_err("two are missing"),
            [
                "url: This field is required.",
                "events: This field is required."
            ]
        );
        let body = r#"{"url": "x", "status": "off", "id": "whsub_1", "colour": 1, "events": [
            {"object_type": "lead"}, 7, {"object_type": 1, "action": "a", "filter": {}}
        ]}"#;
        assert_eq!(
            read(body, Purpose::Change).expect_err("much is wrong"),
            [
                "events[0].action: This field is required.",
                "events[1]: must be an object",
                "events[2].object_type: must be a string",
                "events[2].filter: is not a field that this takes",
                "status: must be `active` or `paused`",
                "id: is set by the server: leave it out",
                "colour: is not a field that this takes",
            ]
        );
    }

    fn subscription() -> v1::Subscription {
        v1::Subscription {
            id: "whsub_1".to_owned(),
            url: "https://example.com/".to_owned(),
            events: vec![v1::EventPattern {
                object_type: "lead".to_owned(),
                action: "updated".to_owned(),
                extra_filter: String::new(),
            }],
            status: v1::SubscriptionStatus::Active.into(),
            signing: Some(v1::Signing {
                scheme: Some(v1::signing::Scheme::Close(v1::CloseScheme {})),
                keys: vec![v1::SigningKey {
                    secret: "5b".repeat(32),
                    ..v1::SigningKey::default()
                }],
                local_key: String::new(),
            }),
            created_by: "key_1".to_owned(),
            created_at: Some(prost_types::Timestamp {
                seconds: 1_544_123_709,
                nanos: 590_432_000,
            }),
            ..v1::Subscription::default()
        }
    }

    fn shown(from: v1::Subscription, shown: Shown) -> serde_json::Value {
        serde_json::to_value(Webhook::new(from, shown)).expect("JSON")
    }

    #[test]
    fn a_new_webhook_is_shown_whole() {
        assert_eq!(
            shown(subscription(), Shown::Alone),
            json!({
                "id": "whsub_1",
                "url": "https://example.com/",
                "events": [{"object_type": "lead", "action": "updated", "extra_filter": null}],
                "verify_ssl": true,
                "status": "active",
                "pause_reason": null,
                "health_status": null,
                "latest_error": null,
                "counters": {},
                "history": {"errors": [], "successes": []},
                "recent_consecutive_fail_buckets_cnt": 0,
                "signature_key": "5b".repeat(32),
                "created_by": "key_1",
                "updated_by": null,
                "date_created": "2018-12-06T19:15:09.590432",
                "date_updated": null,
            })
        );
    }

    #[test]
    fn a_key_is_shown_where_it_is_closes_and_not_in_lists() {
        let listed = shown(subscription(), Shown::Listed);
        assert!(listed.get("signature_key").is_none());
        let mut other = subscription();
        if let Some(signing) = &mut other.signing {
            let unsigned = v1::signing::Scheme::Unsigned(v1::UnsignedScheme {});
            signing.scheme = Some(unsigned);
        }
        assert_eq!(shown(other, Shown::Alone)["signature_key"], json!(null));
    }

    #[test]
    fn a_paused_webhook_says_why_and_filters_are_json() {
        let mut paused = subscription();
        paused.set_status(v1::SubscriptionStatus::Paused);
        paused.pause_reason = "api".to_owned();
        paused.events[0].extra_filter = r#"{"type":"equals","value":1e400}"#.to_owned();
        let text = serde_json::to_string(&Webhook::new(paused, Shown::Listed)).expect("JSON");
        let expected = r#""extra_filter":{"type":"equals","value":1e400}"#;
        assert!(text.contains(expected), "{text}");
        assert!(
            text.contains(r#""status":"paused","pause_reason":"api""#),
            "{text}"
        );
    }
}
