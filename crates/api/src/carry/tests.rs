//! What a later version wrote survives a change by this one.
//!
//! A later version is played by the present descriptors with one more field in every
//! message of ours, and by numbers and oneof members that nobody has given out.

#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use prost_reflect::prost_types::{
    FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use sidehook_core::{
    id::SubscriptionId,
    retry::ExhaustionAction,
    signing::Scheme,
    subscription::{Format, PauseReason, Status},
    time::Timestamp,
    version::Version,
};

use super::*;
use crate::{
    record::{
        StoredSubscription, change_subscription, decode_subscription, encode_subscription,
        foreign_subscription,
    },
    record_v1,
    subscription::{apply_update, create},
    v1,
};

const RECORD: &str = "sidehook.record.v1.SubscriptionRecord";
/// The field that the later version has in every message.
const LATER: u32 = 1_000;
const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_123);
const VERSION: Version = Version {
    counter: 3,
    nonce: 9,
};

static LATER_POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut files = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let ours = |file: &&mut FileDescriptorProto| file.package().starts_with("sidehook.");
    for file in files.file.iter_mut().filter(ours) {
        for message in &mut file.message_type {
            message.field.push(FieldDescriptorProto {
                name: Some("later".to_owned()),
                number: Some(LATER as i32),
                label: Some(Label::Optional.into()),
                r#type: Some(Type::String.into()),
                json_name: Some("later".to_owned()),
                ..Default::default()
            });
        }
    }
    DescriptorPool::from_file_descriptor_set(files).unwrap()
});

fn later(bytes: &[u8]) -> DynamicMessage {
    let descriptor = LATER_POOL.get_message_by_name(RECORD).unwrap();
    DynamicMessage::decode(descriptor, bytes).unwrap()
}

/// Writes the later version's field into every message, `mark` and its path; answers
/// the paths.
fn mark(message: &mut DynamicMessage, path: &str, mark: &str, paths: &mut Vec<String>) {
    if message.descriptor().get_field(LATER).is_some() {
        let text = Value::String(format!("{mark} {path}"));
        message.set_field_by_number(LATER, text);
        paths.push(path.to_owned());
    }
    for (field, value) in message.fields_mut() {
        let path = format!("{path}.{}", field.name());
        match value {
            Value::Message(inner) => self::mark(inner, &path, mark, paths),
            Value::List(elements) => {
                for (at, element) in elements.iter_mut().enumerate() {
                    if let Value::Message(inner) = element {
                        self::mark(inner, &format!("{path}[{at}]"), mark, paths);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The later version's fields, by what is written in them.
fn marks(message: &DynamicMessage, found: &mut Vec<String>) {
    for (field, value) in message.fields() {
        match value {
            Value::String(text) if field.number() == LATER => found.push(text.clone()),
            Value::Message(inner) => marks(inner, found),
            Value::List(elements) => {
                let inner = elements.iter().filter_map(Value::as_message);
                inner.for_each(|inner| marks(inner, found));
            }
            _ => {}
        }
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

fn key(id: &str) -> record_v1::SealedKey {
    record_v1::SealedKey {
        id: id.to_owned(),
        sealing_key_id: "k".to_owned(),
        sealed: Bytes::copy_from_slice(id.as_bytes()),
        created_at_ms: 5,
        ..Default::default()
    }
}

fn stored() -> StoredSubscription {
    let proto = v1::Subscription {
        url: "http://example.com/".to_owned(),
        events: vec![pattern("order", "*"), pattern("order", "paid")],
        headers: vec![header("X-A", "1"), header("X-B", "2")],
        signing: Some(v1::Signing {
            scheme: Some(v1::signing::Scheme::Close(v1::CloseScheme {})),
            ..Default::default()
        }),
        description: "as it was".to_owned(),
        ..v1::Subscription::default()
    };
    StoredSubscription {
        subscription: create(&proto, SubscriptionId::from_bits(7), "key_me", NOW).unwrap(),
        keys: vec![key("new"), key("old")],
    }
}

/// The present record as the later version wrote it, and the paths of its own fields.
fn of_later() -> (Bytes, Vec<String>) {
    let mut record = later(&encode_subscription(&stored()));
    let mut paths = Vec::new();
    mark(&mut record, "", "is", &mut paths);
    (record.encode_to_vec().into(), paths)
}

fn read(record: &Bytes) -> StoredSubscription {
    decode_subscription(record.clone(), VERSION).unwrap()
}

/// Changes a record as the operations do.
fn update(record: &Bytes, patch: &v1::Subscription, mask: &[&str]) -> Bytes {
    let mut changed = read(record);
    let mask: Vec<String> = mask.iter().map(|path| (*path).to_owned()).collect();
    changed.subscription = apply_update(&changed.subscription, patch, &mask).unwrap();
    change_subscription(record, &changed)
}

/// A record in which `change` was made to the raw form of one of its messages.
fn tampered(record: &Bytes, change: impl Fn(&mut record_v1::SubscriptionRecord)) -> Bytes {
    let mut record = record_v1::SubscriptionRecord::decode(record.clone()).unwrap();
    change(&mut record);
    record.encode_to_vec().into()
}

#[test]
fn a_record_of_this_version_is_not_foreign_and_a_later_ones_is() {
    let own = encode_subscription(&stored());
    assert_eq!(foreign_subscription(&own, &read(&own)), None);
    let (record, paths) = of_later();
    assert!(paths.len() > 10, "{paths:?}");
    assert_eq!(
        foreign_subscription(&record, &read(&record)),
        Some(record.clone())
    );
    assert_eq!(read(&record).subscription, read(&own).subscription);
}

#[test]
fn whatever_is_not_touched_stays_to_the_byte() {
    let (record, _) = of_later();
    assert_eq!(change_subscription(&record, &read(&record)), record);
}

#[test]
fn elements_of_lists_keep_what_is_theirs() {
    let (record, _) = of_later();
    let mut changed = read(&record);
    // A rotation: a new key, the others move down and one gets an end.
    changed.keys.insert(0, key("newest"));
    changed.keys[1].expires_at_ms = 9;
    changed.keys[1].sealed = Bytes::from_static(b"sealed anew");
    let patch = v1::Subscription {
        events: vec![pattern("order", "paid"), pattern("lead", "*")],
        headers: vec![header("X-B", "3")],
        ..Default::default()
    };
    let mask = ["events".to_owned(), "headers".to_owned()];
    changed.subscription = apply_update(&changed.subscription, &patch, &mask).unwrap();
    let mut found = Vec::new();
    marks(&later(&change_subscription(&record, &changed)), &mut found);
    let kept = |path: &str| found.contains(&format!("is {path}"));
    assert!(
        kept("") && kept(".subscription") && kept(".subscription.signing.close"),
        "{found:?}"
    );
    assert!(kept(".keys[0]") && kept(".keys[1]"), "{found:?}");
    assert!(
        kept(".subscription.events[1]"),
        "the one that stays: {found:?}"
    );
    assert!(
        kept(".subscription.headers[1]"),
        "the same name, a new value: {found:?}"
    );
    assert!(
        !kept(".subscription.headers[0]"),
        "it was removed: {found:?}"
    );
    let back = read(&change_subscription(&record, &changed));
    assert_eq!(back.subscription.events, changed.subscription.events);
    assert_eq!(back.keys, changed.keys);
}

#[test]
fn a_scheme_of_a_later_version_is_nothing_and_stays_until_another_is_named() {
    let mut record = later(&encode_subscription(&stored()));
    let subscription = record.get_field_by_name_mut("subscription").unwrap();
    let subscription = subscription.as_message_mut().unwrap();
    let signing = subscription.get_field_by_name_mut("signing").unwrap();
    let signing = signing.as_message_mut().unwrap();
    signing.clear_field_by_name("close");
    // Field 77, of no bytes: a member of the oneof that nobody here knows.
    signing.merge(&[0xea, 0x04, 0x00][..]).unwrap();
    let record = Bytes::from(record.encode_to_vec());
    assert_eq!(read(&record).subscription.signing.scheme, Scheme::Unknown);

    let patch = v1::Subscription {
        description: "changed".to_owned(),
        ..Default::default()
    };
    let described = update(&record, &patch, &["description"]);
    assert_eq!(read(&described).subscription.description, "changed");
    assert_eq!(
        read(&described).subscription.signing.scheme,
        Scheme::Unknown
    );
    assert!(
        described
            .windows(3)
            .any(|bytes| bytes == [0xea, 0x04, 0x00])
    );

    let named = v1::Subscription {
        signing: Some(v1::Signing {
            scheme: Some(v1::signing::Scheme::Unsigned(v1::UnsignedScheme {})),
            ..Default::default()
        }),
        ..Default::default()
    };
    let unsigned = update(&described, &named, &["signing.unsigned"]);
    assert_eq!(
        read(&unsigned).subscription.signing.scheme,
        Scheme::Unsigned
    );
    let comes_back = unsigned.windows(3).any(|bytes| bytes == [0xea, 0x04, 0x00]);
    assert!(
        !comes_back,
        "the later version would sign with what was replaced"
    );
}

#[test]
fn numbers_of_a_later_version_are_read_as_what_is_safe_and_stay() {
    let own = encode_subscription(&stored());
    let later = tampered(&own, |record| {
        let subscription = record.subscription.as_mut().unwrap();
        subscription.status = 99;
        subscription.format = 88;
        let policy = subscription.retry_policy.as_mut().unwrap();
        (policy.preset, policy.on_exhausted) = (66, 55);
        let scheme = v1::StandardWebhooksScheme { algorithm: 77 };
        subscription.signing.as_mut().unwrap().scheme =
            Some(v1::signing::Scheme::StandardWebhooks(scheme));
    });
    let seen = read(&later).subscription;
    let unknown = Status::Paused {
        reason: PauseReason::Unknown,
    };
    assert_eq!(
        (seen.status, seen.signing.scheme),
        (unknown, Scheme::Unknown)
    );
    assert_eq!(seen.format, Format::Unknown);
    let policy = seen.retry_policy;
    assert_eq!(policy.on_exhausted(), ExhaustionAction::Drop);
    let patch = v1::Subscription {
        url: "https://example.com/new".to_owned(),
        ..Default::default()
    };
    let changed = update(&later, &patch, &["url"]);
    let raw = record_v1::SubscriptionRecord::decode(changed.clone()).unwrap();
    let raw = raw.subscription.unwrap();
    let kept = v1::StandardWebhooksScheme { algorithm: 77 };
    assert_eq!(
        (raw.url.as_str(), raw.status),
        ("https://example.com/new", 99)
    );
    let policy = raw.retry_policy.unwrap();
    assert_eq!(
        (raw.format, policy.preset, policy.on_exhausted),
        (88, 66, 55)
    );
    let scheme = raw.signing.unwrap().scheme;
    assert_eq!(scheme, Some(v1::signing::Scheme::StandardWebhooks(kept)));

    // Who resumes it says a status, and leaves no reason of a pause behind.
    let mut resumed = read(&tampered(&later, |record| {
        let subscription = record.subscription.as_mut().unwrap();
        subscription.status = v1::SubscriptionStatus::Paused.into();
        subscription.pause_reason = "circuit".to_owned();
    }));
    assert_eq!(resumed.subscription.status, unknown);
    let paused = encode_subscription(&resumed);
    resumed.subscription.status = Status::Active;
    let raw = record_v1::SubscriptionRecord::decode(change_subscription(&paused, &resumed));
    let raw = raw.unwrap().subscription.unwrap();
    assert_eq!(raw.status(), v1::SubscriptionStatus::Active);
    assert_eq!(raw.pause_reason, "");
}

/// One change of each field that a client can change.
fn patches() -> impl Strategy<Value = (v1::Subscription, &'static str)> {
    let text = "[a-z]{1,9}";
    let seconds = 1..50_i64;
    let patch = v1::Subscription::default;
    let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    prop_oneof![
        text.prop_map(move |path| (
            v1::Subscription {
                url: format!("https://example.com/{path}"),
                ..patch()
            },
            "url"
        )),
        text.prop_map(move |action| (
            v1::Subscription {
                events: vec![pattern("order", &action)],
                ..patch()
            },
            "events"
        )),
        text.prop_map(move |value| (
            v1::Subscription {
                headers: vec![header("X-A", &value), header("X-C", "1")],
                ..patch()
            },
            "headers"
        )),
        text.prop_map(move |description| (
            v1::Subscription {
                description,
                ..patch()
            },
            "description"
        )),
        text.prop_map(move |pool| (v1::Subscription { pool, ..patch() }, "pool")),
        (1..1_000_u32).prop_map(move |max_in_flight| (
            v1::Subscription {
                max_in_flight,
                ..patch()
            },
            "max_in_flight"
        )),
        seconds.clone().prop_map(move |seconds| (
            v1::Subscription {
                timeouts: Some(v1::Timeouts {
                    total: span(seconds),
                    ..Default::default()
                }),
                ..patch()
            },
            "timeouts.total"
        )),
        seconds.prop_map(move |seconds| (
            v1::Subscription {
                retry_policy: Some(v1::RetryPolicy {
                    max_age: span(seconds),
                    ..Default::default()
                }),
                ..patch()
            },
            "retry_policy.max_age"
        )),
        any::<bool>().prop_map(move |verify_ssl| (
            v1::Subscription {
                verify_ssl: Some(verify_ssl),
                ..patch()
            },
            "verify_ssl"
        )),
    ]
}

proptest! {
    #[test]
    fn any_changes_keep_what_they_do_not_name(
        changes in proptest::collection::vec(patches(), 1..6),
    ) {
        let (mut record, paths) = of_later();
        let mut plain = encode_subscription(&stored());
        let mut replaced = Vec::new();
        for (patch, mask) in &changes {
            record = update(&record, patch, &[mask]);
            plain = update(&plain, patch, &[mask]);
            replaced.push(format!(".subscription.{mask}["));
        }
        prop_assert_eq!(read(&record).subscription, read(&plain).subscription);
        let mut found = Vec::new();
        marks(&later(&record), &mut found);
        for path in paths.iter().filter(|path| !replaced.iter().any(|gone| path.starts_with(gone))) {
            prop_assert!(found.contains(&format!("is {path}")), "{path} is lost: {found:?}");
        }
    }

    #[test]
    fn no_bytes_panic(old: Vec<u8>, seen: Vec<u8>, new: Vec<u8>) {
        let _ = carry(RECORD, &old, &seen, new.into());
    }
}
