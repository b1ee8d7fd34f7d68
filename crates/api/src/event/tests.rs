//! What publishers may get wrong, and that the hand-written encoder agrees with the
//! generated decoder.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;

use proptest::prelude::*;
use sidehook_core::{
    address::{Lane, Partition, SegmentId, Sequence},
    event::TEST_OBJECT_TYPE,
};

use super::*;

fn published() -> v1::Event {
    v1::Event {
        idempotency_key: "once".to_owned(),
        object_type: "opportunity".to_owned(),
        action: "updated".to_owned(),
        object_id: "oppo_1".to_owned(),
        changed_fields: vec!["status".to_owned(), "value".to_owned()],
        data: Bytes::from_static(b"{\"a\": 1.50}"),
        previous_data: Bytes::from_static(b"{\"a\":1}"),
        meta: Bytes::from_static(b"{ }"),
        ..v1::Event::default()
    }
}

fn id() -> EventId {
    let segment = SegmentId {
        partition: Partition::new(3).unwrap(),
        lane: Lane::from_random(77),
        sequence: Sequence::new(5).unwrap(),
        ordinal: 1,
    };
    EventId::new(ACCEPTED, segment, 9)
}

const ACCEPTED: Timestamp = Timestamp::from_millis(1_790_000_000_123);
const MATCHES: [SubscriptionNumber; 2] = [SubscriptionNumber(1), SubscriptionNumber(u32::MAX)];

fn fields(proto: v1::Event) -> Vec<String> {
    let violations = from_proto(proto, 1_000).unwrap_err();
    violations
        .as_slice()
        .iter()
        .map(|wrong| wrong.field.clone())
        .collect()
}

#[test]
fn the_record_holds_what_was_published_and_the_stamp() {
    let event = from_proto(published(), 1_000).unwrap();
    let encoded = encode(&event, id(), ACCEPTED, &MATCHES);
    let stored = decode(encoded.record().clone()).unwrap();
    assert_eq!(stored.matches, MATCHES);
    assert_eq!(stored.event, encoded.event());
    let expected = v1::Event {
        id: id().to_string(),
        idempotency_key: String::new(),
        occurred_at: Some(timestamp(ACCEPTED)),
        accepted_at: Some(timestamp(ACCEPTED)),
        ..published()
    };
    assert_eq!(to_proto(&stored).unwrap(), expected);
    assert_eq!(id_of(&stored.event), Some(id()));
    for cut in 0..stored.event.len() {
        // It stands behind the content, and what is cut off has none or is none.
        assert!([None, Some(id())].contains(&id_of(&stored.event[..cut])));
    }
    assert_eq!(id_of(encoded.content()), None);
}

#[test]
fn the_generated_encoder_makes_a_record_of_the_same_length() {
    let encoded = encode(
        &from_proto(published(), 1_000).unwrap(),
        id(),
        ACCEPTED,
        &MATCHES,
    );
    let record = record_v1::EventRecord::decode(encoded.record().clone()).unwrap();
    assert_eq!(record.encode_to_vec(), encoded.record().to_vec());
    assert_eq!(
        v1::Event::decode(encoded.event()).unwrap().encoded_len(),
        encoded.event().len()
    );
}

#[test]
fn content_is_the_same_whenever_it_is_published() {
    let event = from_proto(published(), 1_000).unwrap();
    let other_key = v1::Event {
        idempotency_key: "twice".to_owned(),
        ..published()
    };
    let again = from_proto(other_key, 1_000).unwrap();
    let first = encode(&event, id(), ACCEPTED, &MATCHES);
    let second = encode(
        &again,
        EventId::from_bits(1),
        Timestamp::from_millis(5),
        &[],
    );
    assert_eq!(first.content(), second.content());
    let changed = v1::Event {
        data: Bytes::from_static(b"{}"),
        ..published()
    };
    let changed = encode(
        &from_proto(changed, 1_000).unwrap(),
        id(),
        ACCEPTED,
        &MATCHES,
    );
    assert_ne!(first.content(), changed.content());
}

#[test]
fn the_time_given_is_kept_to_the_nanosecond() {
    let given = prost_types::Timestamp {
        seconds: -1,
        nanos: 999_999_999,
    };
    let proto = v1::Event {
        occurred_at: Some(given),
        ..published()
    };
    let encoded = encode(&from_proto(proto, 1_000).unwrap(), id(), ACCEPTED, &[]);
    let stored = v1::Event::decode(encoded.event()).unwrap();
    assert_eq!(stored.occurred_at, Some(given));
    assert_eq!(stored.accepted_at, Some(timestamp(ACCEPTED)));
}

#[test]
fn what_is_not_implemented_or_not_the_clients_is_refused() {
    let now = Some(timestamp(ACCEPTED));
    let proto = v1::Event {
        id: "ev_1".to_owned(),
        ordering_key: "k".to_owned(),
        deliver_after: now,
        expires_at: now,
        headers: HashMap::from([("a".to_owned(), "b".to_owned())]),
        accepted_at: now,
        occurred_at: Some(prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        }),
        ..published()
    };
    let expected = [
        "ordering_key",
        "deliver_after",
        "expires_at",
        "headers",
        "id",
        "accepted_at",
        "occurred_at",
    ];
    assert_eq!(fields(proto), expected);
}

#[test]
fn an_empty_event_lacks_what_is_required() {
    assert_eq!(
        fields(v1::Event::default()),
        ["object_type", "action", "data"]
    );
    let reserved = v1::Event {
        object_type: TEST_OBJECT_TYPE.as_str().to_owned(),
        ..published()
    };
    assert_eq!(fields(reserved), ["object_type"]);
}

#[test]
fn what_is_no_record_is_told() {
    assert!(decode(Bytes::from_static(&[0x0a, 0x7f])).is_err());
    let stored = StoredEvent {
        event: Bytes::from_static(&[0xff]),
        matches: Vec::new(),
    };
    assert_eq!(to_proto(&stored).unwrap_err().what, "event");
}

proptest! {
    #[test]
    fn every_event_comes_back(
        texts in proptest::collection::vec("[a-z]{0,200}", 7),
        word in "[!-)+-9;-~]{1,100}",
        data in "[0-9a-z]{0,300}",
        meta in proptest::bool::ANY,
        changed_fields in proptest::collection::vec("[a-z_]{1,150}", 0..20),
        moment in proptest::option::of((-62_135_596_800_i64..=253_402_300_799, 0..1_000_000_000_i32)),
        matches in proptest::collection::vec(any::<u32>(), 0..300),
    ) {
        let proto = v1::Event {
            idempotency_key: texts[0].clone(),
            object_type: word.clone(),
            action: word,
            object_id: texts[1].clone(),
            user_id: texts[2].clone(),
            lead_id: texts[3].clone(),
            request_id: texts[4].clone(),
            organization_id: texts[5].clone(),
            campaign_id: texts[6].clone(),
            occurred_at: moment.map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos }),
            data: format!("\"{data}\"").into(),
            changed_fields,
            meta: if meta { Bytes::from_static(b"{}") } else { Bytes::new() },
            ..v1::Event::default()
        };
        let matches: Vec<_> = matches.into_iter().map(SubscriptionNumber).collect();
        let event = from_proto(proto.clone(), 1_000).unwrap();
        let stored = decode(encode(&event, id(), ACCEPTED, &matches).record().clone()).unwrap();
        let expected = v1::Event {
            id: id().to_string(),
            idempotency_key: String::new(),
            occurred_at: proto.occurred_at.or(Some(timestamp(ACCEPTED))),
            accepted_at: Some(timestamp(ACCEPTED)),
            ..proto
        };
        prop_assert_eq!(to_proto(&stored).unwrap(), expected);
        prop_assert_eq!(stored.matches, matches);
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        if let Ok(stored) = decode(bytes.into()) {
            let _ = to_proto(&stored);
        }
    }
}
