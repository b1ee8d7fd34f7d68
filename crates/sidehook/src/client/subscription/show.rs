//! Subscriptions as tables and as JSON.

mod health;

use serde_json::{Value, json};
use sidehook_api::v1::{self, signing::Scheme, webhook_service_client::WebhookServiceClient};

use crate::client::{
    Failure, Output,
    channel::{Api, pages},
    render::{list, moment, one, some, span as shown, word},
};

/// Largest page of subscriptions.
const PAGE: u32 = 500;

/// Lists up to `limit` subscriptions.
pub(super) async fn show_list(
    client: &WebhookServiceClient<Api>,
    limit: u32,
    output: Output,
) -> Result<(), Failure> {
    let subscriptions = pages(limit, PAGE, |page_size, page_token| {
        let mut client = client.clone();
        async move {
            let request = v1::ListSubscriptionsRequest {
                page_size,
                page_token,
                ..v1::ListSubscriptionsRequest::default()
            };
            let page = client.list_subscriptions(request).await?.into_inner();
            Ok((page.subscriptions, page.next_page_token))
        }
    })
    .await?;
    let head = ["ID", "STATUS", "EVENTS", "URL", "POOL"];
    list(output, &subscriptions, as_json, &head, |subscription| {
        vec![
            subscription.id.clone(),
            standing(subscription),
            patterns_in_brief(subscription).join(", "),
            subscription.url.clone(),
            subscription.pool.clone(),
        ]
    })
}

/// Shows one subscription with its signing keys.
pub(super) fn show(subscription: Option<v1::Subscription>, output: Output) -> Result<(), Failure> {
    let subscription = &subscription.unwrap_or_default();
    let headers = subscription.headers.iter();
    let headers: Vec<_> = headers
        .map(|h| format!("{}: {}", h.name, h.value))
        .collect();
    let keys = subscription
        .signing
        .iter()
        .flat_map(|signing| &signing.keys);
    let keys: Vec<_> = keys
        .map(|key| match moment(key.expires_at.as_ref()).as_str() {
            "" => key.secret.clone(),
            until => format!("{} (until {until})", key.secret),
        })
        .collect();
    let public = subscription.signing.iter().flat_map(|s| &s.keys);
    let public: Vec<_> = public
        .map(|key| key.public_key.as_str())
        .filter(|key| !key.is_empty())
        .collect();
    let local_key = subscription.signing.as_ref();
    let local_key = local_key.map_or("", |signing| &signing.local_key);
    let created = (subscription.created_at.as_ref(), &*subscription.created_by);
    let updated = (subscription.updated_at.as_ref(), &*subscription.updated_by);
    let fields = [
        ("ID", subscription.id.clone()),
        ("URL", subscription.url.clone()),
        ("EVENTS", patterns(subscription).join("\n")),
        ("CAMPAIGN", subscription.campaign_id.clone()),
        ("STATUS", status(subscription)),
        ("PAUSED BY", subscription.pause_reason.clone()),
        ("FAULT", subscription.fault.clone()),
        ("HEALTH", health::state(subscription)),
        ("ATTEMPTS", health::attempts(subscription)),
        ("LATEST ERROR", health::latest_error(subscription)),
        ("LAST FAILURES", health::failures(subscription)),
        ("LAST SUCCESSES", health::successes(subscription)),
        ("SIGNING", signing_in_words(subscription)),
        ("KEYS", keys.join("\n")),
        ("PUBLIC KEY", public.join("\n")),
        ("LOCAL KEY", local_key.to_owned()),
        ("FORMAT", format(subscription)),
        ("EVENT HEADER", subscription.event_header.clone()),
        ("HEADERS", headers.join("\n")),
        (
            "VERIFY TLS",
            subscription.verify_ssl.unwrap_or(true).to_string(),
        ),
        ("POOL", subscription.pool.clone()),
        ("MAX IN FLIGHT", subscription.max_in_flight.to_string()),
        (
            "TIMEOUTS",
            timeouts_in_words(subscription.timeouts.unwrap_or_default()),
        ),
        (
            "RETRIES",
            retries_in_words(subscription.retry_policy.unwrap_or_default()),
        ),
        ("DESCRIPTION", subscription.description.clone()),
        ("OWNER", subscription.owner.clone()),
        ("CREATED (BY)", when_and_who(created)),
        ("UPDATED (BY)", when_and_who(updated)),
        ("ETAG", subscription.etag.clone()),
    ];
    one(output, &as_json(subscription), &fields)
}

fn status(subscription: &v1::Subscription) -> String {
    word(subscription.status().as_str_name(), "SUBSCRIPTION_STATUS_")
}

/// The status, or that it does not deliver for a reason that the whole of it tells.
fn standing(subscription: &v1::Subscription) -> String {
    if subscription.fault.is_empty() {
        status(subscription)
    } else {
        "fault".to_owned()
    }
}

fn format(subscription: &v1::Subscription) -> String {
    word(subscription.format().as_str_name(), "DELIVERY_FORMAT_")
}

/// What is wanted, as --events takes it.
fn patterns(subscription: &v1::Subscription) -> Vec<String> {
    let events = subscription.events.iter();
    events
        .map(|event| match event.extra_filter.as_str() {
            "" => pattern(event),
            filter => format!("{} {filter}", pattern(event)),
        })
        .collect()
}

/// The same without the filters, only that there are some.
fn patterns_in_brief(subscription: &v1::Subscription) -> Vec<String> {
    let events = subscription.events.iter();
    events
        .map(|event| match event.extra_filter.as_str() {
            "" => pattern(event),
            _ => format!("{} (filter)", pattern(event)),
        })
        .collect()
}

fn pattern(event: &v1::EventPattern) -> String {
    format!("{}:{}", event.object_type, event.action)
}

fn scheme(subscription: &v1::Subscription) -> &'static str {
    match subscription
        .signing
        .as_ref()
        .and_then(|signing| signing.scheme.as_ref())
    {
        Some(Scheme::StandardWebhooks(_)) => "standard_webhooks",
        Some(Scheme::Close(_)) => "close",
        Some(Scheme::HmacHeader(_)) => "hmac_header",
        Some(Scheme::Unsigned(_)) => "unsigned",
        // One of a later version: never taken for none.
        None => "unknown",
    }
}

/// The scheme with what belongs to it.
fn signing_in_words(subscription: &v1::Subscription) -> String {
    let details = Details::of(subscription);
    let header = details.header.map(|header| format!("header {header}"));
    let prefix = details.prefix.filter(|prefix| !prefix.is_empty());
    let prefix = prefix.map(|prefix| format!("prefix `{prefix}`"));
    let words = [
        Some(scheme(subscription).to_owned()),
        details.algorithm,
        header,
        details.digest,
        prefix,
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What belongs to some schemes alone.
#[derive(Default)]
struct Details {
    algorithm: Option<String>,
    header: Option<String>,
    digest: Option<String>,
    prefix: Option<String>,
}

impl Details {
    fn of(subscription: &v1::Subscription) -> Self {
        let signing = subscription.signing.as_ref();
        match signing.and_then(|signing| signing.scheme.as_ref()) {
            Some(Scheme::StandardWebhooks(scheme)) => Self {
                algorithm: Some(word(
                    scheme.algorithm().as_str_name(),
                    "STANDARD_WEBHOOKS_ALGORITHM_",
                ))
                .filter(|algorithm| !algorithm.is_empty()),
                ..Self::default()
            },
            Some(Scheme::HmacHeader(scheme)) => Self {
                header: Some(scheme.header.clone()),
                digest: Some(word(scheme.digest().as_str_name(), "HMAC_DIGEST_")),
                prefix: Some(scheme.prefix.clone()),
                ..Self::default()
            },
            _ => Self::default(),
        }
    }
}

fn timeouts_in_words(timeouts: v1::Timeouts) -> String {
    let parts = [
        (shown(timeouts.total.as_ref()), "in all"),
        (shown(timeouts.connect.as_ref()), "for connecting"),
        (shown(timeouts.dns.as_ref()), "for the address"),
    ];
    let parts = parts.iter().filter(|(span, _)| !span.is_empty());
    let parts: Vec<_> = parts.map(|(span, what)| format!("{span} {what}")).collect();
    parts.join(", ")
}

fn retries_in_words(policy: v1::RetryPolicy) -> String {
    let first = shown(policy.initial_backoff.as_ref());
    let most = shown(policy.max_backoff.as_ref());
    let mut words = match policy.preset() {
        v1::RetryPreset::Hookshot => format!("after n^4 + 15 s, from {first} to {most}"),
        v1::RetryPreset::StandardWebhooks => {
            format!("by the table of Standard Webhooks, from {first} to {most}")
        }
        _ => format!("after {first}, doubling up to {most}"),
    };
    let age = shown(policy.max_age.as_ref());
    if !age.is_empty() {
        words.push_str(&format!(", for {age}"));
    }
    if policy.max_attempts > 0 {
        words.push_str(&format!(", at most {} attempts", policy.max_attempts));
    }
    if policy.on_exhausted() == v1::ExhaustionAction::Pause {
        words.push_str(", then it is paused");
    }
    words
}

fn when_and_who((at, who): (Option<&prost_types::Timestamp>, &str)) -> String {
    match (moment(at), who) {
        (at, "") => at,
        (at, who) => format!("{at} ({who})"),
    }
}

fn as_json(subscription: &v1::Subscription) -> Value {
    let retry = subscription.retry_policy.unwrap_or_default();
    let timeouts = subscription.timeouts.unwrap_or_default();
    let signing = subscription.signing.clone().unwrap_or_default();
    let details = Details::of(subscription);
    json!({
        "id": subscription.id,
        "url": subscription.url,
        "events": subscription.events.iter().map(pattern).collect::<Value>(),
        // As text: their numbers mean more than most readers of JSON take in.
        "filters": subscription.events.iter().map(|event| {
            some(event.extra_filter.clone())
        }).collect::<Value>(),
        "campaign_id": some(subscription.campaign_id.clone()),
        "status": status(subscription),
        "pause_reason": some(subscription.pause_reason.clone()),
        "fault": some(subscription.fault.clone()),
        "health": health::as_json(subscription),
        "signing": {
            "scheme": scheme(subscription),
            "algorithm": details.algorithm,
            "header": details.header,
            "digest": details.digest,
            "prefix": details.prefix,
            "local_key": some(signing.local_key),
            "keys": signing.keys.into_iter().map(|key| json!({
                "id": key.id,
                "secret": key.secret,
                "public_key": some(key.public_key),
                "created_at": some(moment(key.created_at.as_ref())),
                "expires_at": some(moment(key.expires_at.as_ref())),
            })).collect::<Value>(),
        },
        "format": some(format(subscription)),
        "event_header": some(subscription.event_header.clone()),
        "headers": subscription.headers.iter().map(|header| json!({
            "name": header.name,
            "value": header.value,
        })).collect::<Value>(),
        "verify_ssl": subscription.verify_ssl.unwrap_or(true),
        "pool": subscription.pool,
        "max_in_flight": subscription.max_in_flight,
        "timeouts": {
            "dns": some(shown(timeouts.dns.as_ref())),
            "connect": some(shown(timeouts.connect.as_ref())),
            "total": some(shown(timeouts.total.as_ref())),
        },
        "retry_policy": {
            "initial_backoff": some(shown(retry.initial_backoff.as_ref())),
            "max_backoff": some(shown(retry.max_backoff.as_ref())),
            "max_age": some(shown(retry.max_age.as_ref())),
            "max_attempts": retry.max_attempts,
            "preset": word(retry.preset().as_str_name(), "RETRY_PRESET_"),
            "on_exhausted": word(retry.on_exhausted().as_str_name(), "EXHAUSTION_ACTION_"),
        },
        "description": some(subscription.description.clone()),
        "created_at": some(moment(subscription.created_at.as_ref())),
        "updated_at": some(moment(subscription.updated_at.as_ref())),
        "created_by": some(subscription.created_by.clone()),
        "updated_by": some(subscription.updated_by.clone()),
        "owner": some(subscription.owner.clone()),
        "etag": subscription.etag,
    })
}
