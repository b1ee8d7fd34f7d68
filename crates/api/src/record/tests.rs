//! What is written can be read, and nothing else can.

#![allow(clippy::unwrap_used, reason = "tests")]

use core::time::Duration;

use proptest::prelude::*;
use sidehook_core::{
    id::{AgentId, SubscriptionId},
    outcome::AttemptError,
    subscription::{PauseReason, Status},
};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_123);
const VERSION: Version = Version {
    counter: 3,
    nonce: 9,
};

fn stored() -> StoredSubscription {
    let hmac = v1::HmacHeaderScheme {
        header: "X-Mine".to_owned(),
        digest: v1::HmacDigest::Sha1.into(),
        prefix: "sha1=".to_owned(),
    };
    let proto = v1::Subscription {
        url: "http://example.com/".to_owned(),
        events: vec![v1::EventPattern {
            object_type: "*".to_owned(),
            action: "a".to_owned(),
            extra_filter: String::new(),
        }],
        signing: Some(v1::Signing {
            scheme: Some(v1::signing::Scheme::HmacHeader(hmac)),
            local_key: "mine".to_owned(),
            keys: Vec::new(),
        }),
        headers: vec![v1::Header {
            name: "X-A".to_owned(),
            value: "1".to_owned(),
        }],
        verify_ssl: Some(false),
        campaign_id: "camp_1".to_owned(),
        format: v1::DeliveryFormat::Raw.into(),
        event_header: "X-Event".to_owned(),
        pool: "platform/eu".to_owned(),
        retry_policy: Some(v1::RetryPolicy {
            max_attempts: 4,
            ..Default::default()
        }),
        ..v1::Subscription::default()
    };
    let made = subscription::create(&proto, SubscriptionId::from_bits(7), "key_me", NOW).unwrap();
    let key = record_v1::SealedKey {
        id: "1".to_owned(),
        created_at_ms: 5,
        ..Default::default()
    };
    let status = Status::Paused {
        reason: PauseReason::Gone,
    };
    StoredSubscription {
        subscription: Subscription {
            status,
            version: VERSION,
            ..made
        },
        keys: vec![key],
    }
}

#[test]
fn a_subscription_comes_back_under_the_stores_version() {
    let stored = stored();
    let record = encode_subscription(&stored);
    assert_eq!(
        decode_subscription(record.clone(), VERSION).unwrap(),
        stored
    );
    let proto = record_v1::SubscriptionRecord::decode(record).unwrap();
    assert_eq!(
        proto.subscription.unwrap().etag,
        "",
        "the version is the store's to keep"
    );
}

#[test]
fn only_what_is_no_record_cannot_be_read() {
    let empty = decode_subscription(Bytes::new(), VERSION).unwrap_err();
    assert_eq!(empty.detail, "no subscription");
    let nameless = record_v1::SubscriptionRecord {
        subscription: Some(v1::Subscription::default()),
        ..Default::default()
    };
    let nameless = decode_subscription(encode(&nameless), VERSION).unwrap_err();
    assert_eq!(nameless.to_string(), "unreadable subscription record: id");
}

/// A subscription that breaks every rule there is for input.
fn lawless() -> v1::Subscription {
    let long = "x".repeat(5_000);
    let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let header = v1::Header {
        name: "Host".to_owned(),
        value: " é\r\n".to_owned(),
    };
    v1::Subscription {
        id: SubscriptionId::from_bits(7).to_string(),
        url: format!("ftp://user@0x7f.1/{long}#top"),
        events: vec![
            v1::EventPattern {
                object_type: "sidehook.own".to_owned(),
                action: "a b".to_owned(),
                extra_filter: String::new(),
            };
            101
        ],
        signing: Some(v1::Signing {
            scheme: Some(v1::signing::Scheme::HmacHeader(v1::HmacHeaderScheme {
                header: "Not a token".to_owned(),
                digest: v1::HmacDigest::Sha256.into(),
                prefix: "\t".repeat(70),
            })),
            local_key: "NO NAME".to_owned(),
            keys: Vec::new(),
        }),
        headers: vec![header; 21],
        verify_ssl: Some(true),
        pool: "Upper Case".to_owned(),
        timeouts: Some(v1::Timeouts {
            dns: span(0),
            connect: span(-5),
            total: span(7_200),
        }),
        max_in_flight: 5_000,
        retry_policy: Some(v1::RetryPolicy {
            initial_backoff: span(1_000_000),
            max_backoff: span(1),
            max_age: span(i64::MAX),
            max_attempts: 3,
            on_exhausted: 9,
            preset: 9,
        }),
        description: long,
        ..v1::Subscription::default()
    }
}

#[test]
fn rules_of_today_are_not_asked_of_what_is_kept() {
    let given = v1::Subscription {
        id: String::new(),
        ..lawless()
    };
    let refused = subscription::create(&given, SubscriptionId::from_bits(7), "key_me", NOW);
    assert!(refused.is_err(), "as input it stays wrong");
    let record = record_v1::SubscriptionRecord {
        subscription: Some(lawless()),
        ..Default::default()
    };
    let record = encode(&record);
    let kept = decode_subscription(record.clone(), VERSION).unwrap();
    let shown = subscription::to_proto(&kept.subscription);
    for (shown, kept) in [
        (&shown.url, &lawless().url),
        (&shown.pool, &lawless().pool),
        (&shown.description, &lawless().description),
    ] {
        assert_eq!(shown, kept);
    }
    assert_eq!((shown.events.len(), shown.headers.len()), (101, 21));
    // What acts is within today's bounds.
    let timeouts = kept.subscription.timeouts.in_effect();
    assert!(timeouts.dns() >= Duration::from_millis(10));
    assert!(timeouts.total() <= Duration::from_secs(60));
    let policy = kept.subscription.retry_policy;
    assert!(policy.backoff(u32::MAX, 1.0) <= Duration::from_secs(86_400));

    // A change is held to the rules in what it changes, and in nothing else.
    let update = |patch: v1::Subscription, mask: &str| {
        subscription::apply_update(&kept.subscription, &patch, &[mask.to_owned()])
    };
    let patch = v1::Subscription {
        description: "a note".to_owned(),
        url: "https://example.com/".to_owned(),
        max_in_flight: 2_000,
        ..Default::default()
    };
    for mask in ["description", "url"] {
        let changed = update(patch.clone(), mask).unwrap_err();
        assert!(
            changed.as_slice().len() >= 50,
            "too much to tell whose mistake is which"
        );
    }
}

#[test]
fn a_change_is_held_to_the_rules_in_what_it_changes() {
    let mut kept = stored();
    kept.subscription.headers = vec![
        sidehook_core::subscription::StaticHeader {
            name: sidehook_core::subscription::HeaderName::kept("Host".to_owned()),
            value: sidehook_core::subscription::HeaderValue::kept("é".to_owned()),
        };
        2
    ];
    kept.subscription.max_in_flight = 5_000;
    kept.subscription.timeouts = sidehook_core::subscription::Timeouts::kept(
        Duration::from_secs(1),
        Duration::from_secs(300),
        Duration::from_secs(600),
    );
    let kept = decode_subscription(encode_subscription(&kept), VERSION).unwrap();
    let update = |patch: v1::Subscription, mask: &str| {
        subscription::apply_update(&kept.subscription, &patch, &[mask.to_owned()])
    };
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let patch = v1::Subscription {
        description: "a note".to_owned(),
        url: "ftp://example.com/".to_owned(),
        max_in_flight: 2_000,
        headers: vec![v1::Header {
            name: "Host".to_owned(),
            value: "b".to_owned(),
        }],
        timeouts: Some(v1::Timeouts {
            total: seconds(30),
            connect: seconds(500),
            ..Default::default()
        }),
        ..Default::default()
    };
    let described = update(patch.clone(), "description").unwrap();
    assert_eq!(described.description, "a note");
    let same = |changed: &Subscription| {
        (
            changed.max_in_flight,
            changed.headers.clone(),
            changed.timeouts,
        ) == (
            kept.subscription.max_in_flight,
            kept.subscription.headers.clone(),
            kept.subscription.timeouts,
        )
    };
    assert!(same(&described), "what was not changed is as it was");
    let shorter = update(patch.clone(), "timeouts.total").unwrap();
    assert_eq!(shorter.timeouts.total(), Duration::from_secs(30));
    assert_eq!(shorter.timeouts.connect(), Duration::from_secs(300));
    for (mask, field) in [
        ("url", "subscription.url"),
        ("max_in_flight", "subscription.max_in_flight"),
        ("headers", "subscription.headers[0].name"),
        ("timeouts.connect", "subscription.timeouts.connect"),
    ] {
        let wrong = update(patch.clone(), mask).unwrap_err();
        let fields: Vec<_> = wrong
            .as_slice()
            .iter()
            .map(|one| one.field.as_str())
            .collect();
        assert_eq!(fields, [field]);
    }
}

#[test]
fn attempts_of_a_later_version_are_shown_as_far_as_they_are_understood() {
    let later = record_v1::AttemptRecord {
        delivery_id: Bytes::from_static(&[0; 16]),
        state: 99,
        attempt: Some(v1::Attempt {
            number: 2,
            error: 98,
            blame: v1::Blame::Agent.into(),
            response_status: 1_000_000,
            ..Default::default()
        }),
        reason: "merged".to_owned(),
        ..Default::default()
    };
    let entry = AttemptEntry::decode(encode(&later)).unwrap();
    assert_eq!(
        (entry.state, entry.reason.as_str()),
        (DeliveryState::Unknown, "merged")
    );
    let attempt = entry.attempt.unwrap();
    let unknown = AttemptError::Unknown(sidehook_core::outcome::Blame::Agent);
    assert_eq!((attempt.number, attempt.error), (2, Some(unknown)));
    let shown = attempt_to_proto(&attempt);
    assert_eq!((shown.error, shown.blame()), (0, v1::Blame::Agent));
}

fn attempts() -> impl Strategy<Value = Attempt> {
    let errors = prop_oneof![
        Just(None),
        Just(Some(AttemptError::Status)),
        Just(Some(AttemptError::Tls)),
        Just(Some(AttemptError::KeyMissing)),
        Just(Some(AttemptError::LeaseLost)),
    ];
    let numbers = (any::<u32>(), any::<u128>(), any::<u16>(), any::<u64>());
    (numbers, errors, any::<Vec<u8>>(), any::<String>()).prop_map(
        |((number, agent, response_status, micros), error, body, error_detail)| Attempt {
            number,
            started_at: NOW,
            duration: Duration::from_micros(micros),
            agent_id: AgentId::from_bits(agent),
            response_status,
            response_body: body.into(),
            error,
            error_detail,
        },
    )
}

fn states() -> impl Strategy<Value = DeliveryState> {
    prop_oneof![
        Just(DeliveryState::Queued),
        Just(DeliveryState::InFlight),
        Just(DeliveryState::Retrying),
        Just(DeliveryState::Delivered),
        Just(DeliveryState::Dead),
        Just(DeliveryState::Cancelled),
    ]
}

proptest! {
    #[test]
    fn attempts_come_back(
        delivery: u128,
        state in states(),
        attempt in proptest::option::of(attempts()),
        reason: String,
        next in proptest::option::of(1..i64::MAX),
    ) {
        let delivery_id = DeliveryId::from_bits(delivery);
        let next_attempt_at = next.map(Timestamp::from_millis);
        let entry = AttemptEntry { delivery_id, state, attempt, reason, next_attempt_at };
        prop_assert_eq!(AttemptEntry::decode(entry.encode()).unwrap(), entry);
    }

    #[test]
    fn retries_come_back(attempts: u32, first in proptest::option::of(1..i64::MAX), all: u32) {
        let first_attempt_at = first.map(Timestamp::from_millis);
        let state = RetryState { attempts, first_attempt_at, attempts_in_all: all };
        prop_assert_eq!(decode_retry(&encode_retry(&state)).unwrap(), state);
    }

    #[test]
    fn tombstones_come_back(id: u128, ms: i64) {
        let id = SubscriptionId::from_bits(id);
        let tombstone = Tombstone { id, deleted_at: Timestamp::from_millis(ms) };
        prop_assert_eq!(Tombstone::decode(tombstone.encode()).unwrap(), tombstone);
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        let _ = decode_subscription(bytes.clone(), VERSION);
        let _ = AttemptEntry::decode(bytes.clone());
        let _ = Tombstone::decode(bytes.clone());
        let _ = decode_retry(&bytes);
    }
}
