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
#[derive(Debug, Serialize)]
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

#[derive(Debug, Serialize)]
struct History {
    errors: Vec<Noted>,
    successes: Vec<Noted>,
}

#[derive(Debug, Serialize)]
struct Noted {
    attempt_number: u32,
    datetime: Option<String>,
    error: Option<String>,
    event_id: Option<String>,
    response_status_code: Option<u32>,
}

/// The text, where Close writes null for none.
fn nullable(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl Counters {
    fn new(counters: Option<v1::HealthCounters>) -> Self {
        let counted = counters.filter(|counters| *counters != v1::HealthCounters::default());
        let all = counted.map(|counters| Counted {
            first_success: counters.first_success,
            first_fail: counters.first_fail,
            retry_success: counters.retry_success,
            retry_fail: counters.retry_fail,
        });
        Self { all }
    }
}

impl Noted {
    fn new(record: v1::HealthRecord) -> Self {
        let status = record.response_status_code;
        Self {
            attempt_number: record.attempt_number,
            datetime: record.time.as_ref().map(times::close),
            error: nullable(record.error),
            event_id: nullable(record.event_id),
            response_status_code: (status > 0).then_some(status),
        }
    }
}

impl Webhook {
    /// A subscription as Close shows it.
    pub(super) fn new(from: v1::Subscription, shown: Shown) -> Self {
        let is_paused = from.status() == v1::SubscriptionStatus::Paused;
        let key = signature_key(from.signing.as_ref());
        let health = from.health.unwrap_or_default();
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
            health_status: nullable(health.status),
            latest_error: nullable(health.latest_error),
            counters: Counters::new(health.counters),
            history: History {
                errors: health.errors.into_iter().map(Noted::new).collect(),
                successes: health.successes.into_iter().map(Noted::new).collect(),
            },
            recent_consecutive_fail_buckets_cnt: health.consecutive_failing_buckets,
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
            let is_noted = wrong.as_slice().iter().any(|one| one.field == name);
            if is_absent && !is_noted && purpose == Purpose::Create {
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
        if purpose == Purpose::Change {
            // What was read may be sent back with one thing changed.
            for name in SERVER {
                body.raw(name, wrong);
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
mod tests;
