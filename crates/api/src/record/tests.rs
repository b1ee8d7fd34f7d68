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
fn a_record_of_a_later_version_is_told_and_not_guessed() {
    let mut record = record_v1::SubscriptionRecord::decode(encode_subscription(&stored())).unwrap();
    record.subscription.as_mut().unwrap().status = 99;
    let error = decode_subscription(record.encode_to_vec().into(), VERSION).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unreadable subscription record: status: not a known status"
    );
    let empty = decode_subscription(Bytes::new(), VERSION).unwrap_err();
    assert_eq!(empty.detail, "no subscription");
    let later = record_v1::AttemptRecord {
        delivery_id: Bytes::from_static(&[0; 16]),
        state: 99,
        ..Default::default()
    };
    assert!(AttemptEntry::decode(later.encode_to_vec().into()).is_err());
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
