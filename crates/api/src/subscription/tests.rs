//! What clients may get wrong when they create and change subscriptions, and that a
//! mask changes what it names and nothing else.

#![allow(clippy::unwrap_used, reason = "tests")]

use core::time::Duration;

use prost::Message;
use sidehook_core::subscription::PauseReason;

use super::*;

mod filters;
mod formats;
mod masks;
mod retries;
mod text;

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_123);

fn minimal() -> v1::Subscription {
    v1::Subscription {
        url: "https://example.com/hook".to_owned(),
        events: vec![pattern("opportunity", "*")],
        ..v1::Subscription::default()
    }
}

fn pattern(object_type: &str, action: &str) -> v1::EventPattern {
    v1::EventPattern {
        object_type: object_type.to_owned(),
        action: action.to_owned(),
        extra_filter: String::new(),
    }
}

fn header(name: &str, value: &str) -> v1::Header {
    v1::Header {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn new(proto: &v1::Subscription) -> Result<Subscription, Violations> {
    create(proto, SubscriptionId::from_bits(42), "key_me", NOW)
}

fn fields<T: core::fmt::Debug>(result: Result<T, Violations>) -> Vec<String> {
    result
        .unwrap_err()
        .as_slice()
        .iter()
        .map(|wrong| wrong.field.clone())
        .collect()
}

fn update(current: &Subscription, patch: &v1::Subscription, mask: &[&str]) -> Subscription {
    apply_update(current, patch, &paths(mask)).unwrap()
}

fn paths(mask: &[&str]) -> Vec<String> {
    mask.iter().map(|path| (*path).to_owned()).collect()
}

#[test]
fn a_minimal_one_gets_the_defaults() {
    let subscription = new(&minimal()).unwrap();
    assert_eq!(subscription.status, Status::Active);
    assert_eq!(subscription.signing, Signing::default());
    assert!(subscription.verify_ssl);
    assert_eq!(subscription.pool.to_string(), "default");
    assert_eq!(subscription.max_in_flight, 64);
    assert_eq!(subscription.timeouts.total(), Duration::from_secs(30));
    assert_eq!(
        subscription.retry_policy.max_age(),
        Duration::from_secs(72 * 3600)
    );
    assert_eq!(subscription.retry_policy.max_attempts(), None);
    assert_eq!(
        (subscription.created_at, subscription.updated_at),
        (NOW, NOW)
    );
    assert_eq!(subscription.created_by, "key_me");
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let hmac = v1::HmacHeaderScheme {
        header: "Host".to_owned(),
        digest: 0,
        prefix: " sha256=".to_owned(),
    };
    let proto = v1::Subscription {
        id: "whsub_x".to_owned(),
        url: "ftp://example.com".to_owned(),
        events: vec![
            pattern("lead", "*"),
            pattern("", "a b"),
            pattern("sidehook.test", "*"),
        ],
        status: 77,
        signing: Some(v1::Signing {
            scheme: Some(v1::signing::Scheme::HmacHeader(hmac)),
            keys: Vec::new(),
            local_key: "Not A Name".to_owned(),
        }),
        headers: vec![
            header("X-A", "1"),
            header("Content-Length", "1"),
            header("x-a", "a\r\nb: c"),
            header("X-A", "2"),
        ],
        pool: "Pool!".to_owned(),
        timeouts: Some(v1::Timeouts {
            dns: seconds(-1),
            connect: None,
            total: None,
        }),
        max_in_flight: 1_001,
        retry_policy: Some(v1::RetryPolicy {
            initial_backoff: seconds(10),
            max_backoff: seconds(5),
            max_age: seconds(29 * 24 * 3600),
            ..v1::RetryPolicy::default()
        }),
        description: "x".repeat(501),
        campaign_id: "c".repeat(201),
        etag: "1-0".to_owned(),
        ..v1::Subscription::default()
    };
    let expected = [
        "id",
        "etag",
        "url",
        "events[1].object_type",
        "events[1].action",
        "events[2].object_type",
        "status",
        "headers[1].name",
        "headers[2].value",
        "pool",
        "timeouts.dns",
        "retry_policy.max_backoff",
        "retry_policy.max_age",
        "max_in_flight",
        "description",
        "campaign_id",
        "headers[3].name",
        "signing.hmac_header.header",
        "signing.hmac_header.prefix",
        "signing.local_key",
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|field| format!("subscription.{field}"))
        .collect();
    assert_eq!(fields(new(&proto)), expected);
}

#[test]
fn an_empty_one_lacks_url_and_events() {
    let empty = v1::Subscription::default();
    assert_eq!(
        fields(new(&empty)),
        ["subscription.url", "subscription.events"]
    );
}

#[test]
fn unknown_numbers_are_refused() {
    let standard = v1::StandardWebhooksScheme { algorithm: 9 };
    let signing = v1::Signing {
        scheme: Some(v1::signing::Scheme::StandardWebhooks(standard)),
        ..v1::Signing::default()
    };
    let proto = v1::Subscription {
        signing: Some(signing),
        ..minimal()
    };
    assert_eq!(
        fields(new(&proto)),
        ["subscription.signing.standard_webhooks.algorithm"]
    );
}

#[test]
fn the_signature_header_is_not_also_static() {
    let scheme = v1::signing::Scheme::HmacHeader(v1::HmacHeaderScheme::default());
    let proto = v1::Subscription {
        signing: Some(v1::Signing {
            scheme: Some(scheme),
            ..v1::Signing::default()
        }),
        headers: vec![header("x-signature", "1")],
        ..minimal()
    };
    assert_eq!(fields(new(&proto)), ["subscription.headers[0].name"]);
}

#[test]
fn going_unsigned_has_to_be_chosen() {
    let signed_as = |signing: v1::Signing| {
        let proto = v1::Subscription {
            signing: Some(signing),
            ..minimal()
        };
        new(&proto).unwrap().signing
    };
    assert_eq!(signed_as(v1::Signing::default()), Signing::default());
    let local = signed_as(v1::Signing {
        local_key: "vault".to_owned(),
        ..v1::Signing::default()
    });
    assert_eq!(local.scheme, Signing::default().scheme);
    let unsigned = signed_as(v1::Signing {
        scheme: Some(v1::signing::Scheme::Unsigned(v1::UnsignedScheme {})),
        ..v1::Signing::default()
    });
    assert_eq!(unsigned.scheme, Scheme::Unsigned);
}

#[test]
fn what_was_read_can_be_sent_back() {
    let current = new(&minimal()).unwrap();
    let mut read = to_proto(&current);
    read.signing
        .as_mut()
        .unwrap()
        .keys
        .push(v1::SigningKey::default());
    assert_eq!(update(&current, &read, &[]), current);
}

#[test]
fn every_path_of_the_message_is_either_changeable_or_output_only() {
    // A field that is added to the proto must be decided on here.
    let descriptor = prost_types::FileDescriptorSet::decode(crate::DESCRIPTORS).unwrap();
    let message = |name: &str| {
        let messages = descriptor.file.iter().flat_map(|file| &file.message_type);
        messages
            .into_iter()
            .find(|message| message.name() == name)
            .unwrap()
            .clone()
    };
    for field in &message("Subscription").field {
        let nested = match field.name() {
            "signing" => message("Signing"),
            "timeouts" => message("Timeouts"),
            "retry_policy" => message("RetryPolicy"),
            _ => prost_types::DescriptorProto::default(),
        };
        assert!(mask::is_known(field.name()), "{}", field.name());
        for leaf in &nested.field {
            let path = format!("{}.{}", field.name(), leaf.name());
            assert!(mask::is_known(&path), "{path}");
        }
    }
}

#[test]
fn pausing_again_keeps_the_first_reason() {
    let gone = Status::Paused {
        reason: PauseReason::Gone,
    };
    let current = Subscription {
        status: gone,
        ..new(&minimal()).unwrap()
    };
    let paused = v1::Subscription {
        status: v1::SubscriptionStatus::Paused.into(),
        ..v1::Subscription::default()
    };
    assert_eq!(update(&current, &paused, &["status"]).status, gone);
    let active = v1::Subscription {
        status: v1::SubscriptionStatus::Active.into(),
        ..v1::Subscription::default()
    };
    let resumed = update(&current, &active, &[]);
    assert_eq!(resumed.status, Status::Active);
    let api = Status::Paused {
        reason: PauseReason::Api,
    };
    assert_eq!(update(&resumed, &paused, &[]).status, api);
}

#[test]
fn schemes_are_switched_by_their_paths() {
    let current = new(&minimal()).unwrap();
    let close = v1::Subscription {
        signing: Some(v1::Signing {
            scheme: Some(v1::signing::Scheme::Close(v1::CloseScheme {})),
            ..v1::Signing::default()
        }),
        ..v1::Subscription::default()
    };
    for mask in [&["signing"][..], &["signing.close"], &[]] {
        assert_eq!(
            update(&current, &close, mask).signing.scheme,
            Scheme::Close,
            "{mask:?}"
        );
    }
}
