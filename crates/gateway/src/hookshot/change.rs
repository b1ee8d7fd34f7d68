//! What a client wants of a hook: read from a body, and laid over a subscription.
//!
//! A body is flat. The members of `config`, which an answer has, are taken too, and what
//! only the server sets is passed over, so that what was read can be sent back with one
//! thing changed. Null and the empty text take something away.
//!
//! What Hookshot has no words for stays: further headers, filters (`events`), and a way of
//! signing that is none of its own, which only a secret replaces.

use core::time::Duration;

use sidehook_api::v1::{self, SubscriptionStatus, signing::Scheme};
use sidehook_core::violation::Violations;

use super::{ACTIVE, events, hook};
use crate::{
    json::{Given, Object},
    problem::Problem,
    settings::DialectSettings,
    subscriptions::Change,
};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take.
const TOTAL: Duration = Duration::from_secs(60);

/// What only the server sets.
const OF_SERVER: [&str; 6] = [
    "id",
    "confirmed",
    "owner_id",
    "tenant_id",
    "created_at",
    "updated_at",
];

/// A body. Of what it does not have nothing is said; of what it clears the value is
/// empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    active: Option<bool>,
    events: Option<Vec<String>>,
    url: Option<String>,
    header: Option<Option<(String, String)>>,
    secret: Option<String>,
}

impl Wanted {
    /// Reads a body.
    ///
    /// # Errors
    /// It is no object, or everything that is wrong in it.
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        let mut wrong = Violations::new();
        let mut object = Object::parse(body)?;
        for name in OF_SERVER {
            object.raw(name, &mut wrong);
        }
        let mut wanted = Self::of(&mut object, &mut wrong);
        let config = object.raw("config", &mut wrong).value();
        let config = config.and_then(|raw| Object::nested("config".to_owned(), raw, &mut wrong));
        if let Some(mut config) = config {
            let nested = Self::of(&mut config, &mut wrong);
            config.finish(&[], &mut wrong);
            wanted.url = wanted.url.or(nested.url);
            wanted.header = wanted.header.or(nested.header);
            wanted.secret = wanted.secret.or(nested.secret);
        }
        let active = object.flag("active", &mut wrong);
        if active == Given::Null {
            wrong.add("active", "must be true or false");
        }
        wanted.active = active.value();
        wanted.events = match object.texts("events", &mut wrong) {
            Given::Absent => None,
            Given::Null => Some(Vec::new()),
            Given::Value(texts) => Some(texts),
        };
        object.finish(&[], &mut wrong);
        Ok(wrong.into_result(wanted)?)
    }

    /// The members that stand in a body or in its `config`.
    fn of(object: &mut Object<'_>, wrong: &mut Violations) -> Self {
        let url = cleared(object.text("url", wrong));
        if url.as_ref().is_some_and(|url| url.trim().is_empty()) {
            wrong.add("url", "can't be blank");
        }
        let secret = cleared(object.text("secret", wrong));
        if secret.as_deref() == Some(hook::REDACTED) {
            let description = "stands for a secret that was not shown: give the secret itself";
            wrong.add("secret", description);
        }
        Self {
            url,
            header: cleared(object.text("header", wrong)).and_then(|text| header(&text, wrong)),
            secret,
            ..Self::default()
        }
    }

    /// The subscription that a new hook is, and its signing secret. `longest_total` is the
    /// longest time limit of an attempt that the server takes.
    ///
    /// # Errors
    /// It has no URL.
    pub(super) fn create(
        self,
        settings: &DialectSettings,
        longest_total: Duration,
    ) -> Result<(v1::Subscription, String), Problem> {
        let Some(url) = self.url else {
            return Err(Problem::field("url", "can't be blank"));
        };
        let secret = self.secret.unwrap_or_default();
        let scheme = if secret.is_empty() {
            Scheme::Unsigned(v1::UnsignedScheme {})
        } else {
            signature(settings)
        };
        let header = self.header.flatten();
        let subscription = v1::Subscription {
            url,
            events: events::read(&self.events.unwrap_or_default(), &[]),
            status: status(self.active.unwrap_or_default()).into(),
            signing: signing(scheme),
            headers: header.into_iter().map(named).collect(),
            timeouts: Some(v1::Timeouts {
                connect: span(CONNECT.min(longest_total)),
                total: span(TOTAL.min(longest_total)),
                dns: None,
            }),
            format: v1::DeliveryFormat::Raw.into(),
            event_header: settings.hookshot_event_header.clone(),
            retry_policy: Some(v1::RetryPolicy {
                preset: v1::RetryPreset::Hookshot.into(),
                ..v1::RetryPolicy::default()
            }),
            ..v1::Subscription::default()
        };
        Ok((subscription, secret))
    }

    /// What has to change of `current`.
    pub(super) fn lay_over(
        &self,
        current: &v1::Subscription,
        settings: &DialectSettings,
    ) -> Change {
        let mut change = Change::default();
        if let Some(active) = self.active {
            change.patch.set_status(status(active));
            change.mask.push("status");
            change.active_limit = if active { ACTIVE } else { 0 };
        }
        if let Some(texts) = &self.events {
            change.patch.events = events::read(texts, &current.events);
            change.mask.push("events");
        }
        if let Some(url) = &self.url {
            change.patch.url.clone_from(url);
            change.mask.push("url");
        }
        if let Some(header) = &self.header {
            change.patch.headers = replaced(&current.headers, header.clone());
            change.mask.push("headers");
        }
        self.sign(current, settings, &mut change);
        change
    }

    fn sign(&self, current: &v1::Subscription, settings: &DialectSettings, change: &mut Change) {
        let has_secret = hook::has_secret(current);
        match self.secret.as_deref() {
            None => {}
            Some("") if !has_secret => {}
            Some("") => {
                change.patch.signing = signing(Scheme::Unsigned(v1::UnsignedScheme {}));
                change.mask.push("signing");
            }
            Some(secret) => {
                secret.clone_into(&mut change.secret);
                if !has_secret {
                    change.patch.signing = signing(signature(settings));
                    change.mask.push("signing");
                }
            }
        }
    }
}

/// Null clears, as the empty text does.
fn cleared(given: Given<String>) -> Option<String> {
    match given {
        Given::Absent => None,
        Given::Null => Some(String::new()),
        Given::Value(text) => Some(text),
    }
}

/// `Name: Value`; `Some(None)` if it is blank. `None`, and noted, if it is neither.
fn header(text: &str, wrong: &mut Violations) -> Option<Option<(String, String)>> {
    if text.trim().is_empty() {
        return Some(None);
    }
    let pair = text.split_once(':');
    let pair = pair.map(|(name, value)| (name.trim(), value.trim()));
    let Some((name, value)) = pair.filter(|(name, value)| !name.is_empty() && !value.is_empty())
    else {
        wrong.add("header", "colon separated key value pair");
        return None;
    };
    if value == hook::REDACTED {
        let description = "has a value that was not shown: give the value itself";
        wrong.add("header", description);
        return None;
    }
    Some(Some((name.to_owned(), value.to_owned())))
}

fn named((name, value): (String, String)) -> v1::Header {
    v1::Header { name, value }
}

/// The headers with another in the place of the first, which is the one that is shown.
fn replaced(current: &[v1::Header], header: Option<(String, String)>) -> Vec<v1::Header> {
    let first = header.map(named);
    let others = current.iter().skip(1);
    let others = others.filter(|other| {
        let clashes = |first: &v1::Header| first.name.eq_ignore_ascii_case(&other.name);
        !first.as_ref().is_some_and(clashes)
    });
    let others: Vec<_> = others.cloned().collect();
    first.into_iter().chain(others).collect()
}

const fn status(active: bool) -> SubscriptionStatus {
    if active {
        SubscriptionStatus::Active
    } else {
        SubscriptionStatus::Paused
    }
}

fn signature(settings: &DialectSettings) -> Scheme {
    Scheme::HmacHeader(v1::HmacHeaderScheme {
        header: "X-Signature".to_owned(),
        digest: settings.hookshot_digest.into(),
        prefix: String::new(),
    })
}

fn signing(scheme: Scheme) -> Option<v1::Signing> {
    Some(v1::Signing {
        scheme: Some(scheme),
        ..v1::Signing::default()
    })
}

fn span(limit: Duration) -> Option<prost_types::Duration> {
    limit.try_into().ok()
}

#[cfg(test)]
mod tests;
