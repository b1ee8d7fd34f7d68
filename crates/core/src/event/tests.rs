//! What publishers may get wrong.

use proptest::prelude::*;

use super::*;

fn event() -> Event {
    Event {
        idempotency_key: String::new(),
        object_type: Word::new("lead".to_owned()).expect("a word"),
        action: Word::new("created".to_owned()).expect("a word"),
        object_id: String::new(),
        user_id: String::new(),
        lead_id: String::new(),
        request_id: String::new(),
        campaign_id: String::new(),
        organization_id: String::new(),
        occurred_at: None,
        data: Bytes::from_static(b"{}"),
        previous_data: Bytes::new(),
        changed_fields: Vec::new(),
        meta: Bytes::new(),
    }
}

fn fields(event: &Event, payload_max: usize) -> Vec<String> {
    event
        .check(payload_max)
        .as_slice()
        .iter()
        .map(|wrong| wrong.field.clone())
        .collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_small_event_is_fine() {
    assert_eq!(fields(&event(), 2), NOTHING);
}

#[test]
fn words_have_no_stars_colons_or_blanks() {
    let word = |text: &str| Word::new(text.to_owned());
    assert_eq!(word(""), Err(WordError::Empty));
    assert_eq!(word(&"x".repeat(101)), Err(WordError::TooLong));
    assert!(word(&"x".repeat(100)).is_ok());
    for (text, position) in [("a b", 1), ("*", 0), ("a:b", 1), ("é", 0), ("a\n", 1)] {
        assert_eq!(
            word(text),
            Err(WordError::Character { position }),
            "{text:?}"
        );
    }
}

#[test]
fn the_platforms_types_are_reserved() {
    let event = Event {
        object_type: TEST_OBJECT_TYPE,
        ..event()
    };
    assert_eq!(fields(&event, 100), ["object_type"]);
    // And the constants are words.
    for word in [TEST_OBJECT_TYPE, TEST_ACTION] {
        assert_eq!(Word::new(word.as_str().to_owned()), Ok(word));
    }
}

#[test]
fn payloads_are_json() {
    for (text, fine) in [
        ("", false),
        ("{", false),
        ("{}x", false),
        ("{'a':1}", false),
        ("NaN", false),
        ("null", true),
        ("[1,2]", true),
        (" {\"a\": 1.50} \n", true),
    ] {
        let event = Event {
            data: Bytes::from(text),
            ..event()
        };
        assert_eq!(fields(&event, 100).is_empty(), fine, "{text}");
    }
    let utf8 = Event {
        data: Bytes::from_static(b"\"\xff\""),
        ..event()
    };
    assert_eq!(fields(&utf8, 100), ["data"]);
    let deep = "[".repeat(20_000) + &"]".repeat(20_000);
    assert_eq!(
        fields(
            &Event {
                data: Bytes::from(deep),
                ..event()
            },
            50_000
        ),
        NOTHING
    );
}

#[test]
fn meta_is_an_object() {
    for (text, fine) in [
        ("[]", false),
        ("1", false),
        ("{}", true),
        (" {}", true),
        ("{", false),
    ] {
        let event = Event {
            meta: Bytes::from(text),
            ..event()
        };
        assert_eq!(fields(&event, 100).is_empty(), fine, "{text}");
    }
}

#[test]
fn the_payload_is_bounded_as_a_whole() {
    let event = Event {
        data: Bytes::from_static(b"\"1234\""),
        previous_data: Bytes::from_static(b"{}"),
        meta: Bytes::from_static(b"{}"),
        ..event()
    };
    assert_eq!(event.payload_bytes(), 10);
    assert_eq!(fields(&event, 10), NOTHING);
    assert_eq!(fields(&event, 9), ["data"]);
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let event = Event {
        idempotency_key: "k".repeat(257),
        object_id: "x".repeat(201),
        user_id: "a\u{1b}[31m".to_owned(),
        campaign_id: "c".repeat(201),
        changed_fields: vec!["ok".to_owned(), String::new(), "y".repeat(201)],
        data: Bytes::from_static(b"?"),
        previous_data: Bytes::from_static(b"?"),
        meta: Bytes::from_static(b"[]"),
        ..event()
    };
    let expected = [
        "idempotency_key",
        "object_id",
        "user_id",
        "campaign_id",
        "changed_fields[1]",
        "changed_fields[2]",
        "data",
        "previous_data",
        "meta",
    ];
    assert_eq!(fields(&event, 100), expected);
    let many = Event {
        changed_fields: vec!["f".to_owned(); 1_001],
        ..self::event()
    };
    assert_eq!(fields(&many, 100), ["changed_fields"]);
}

#[test]
fn times_have_a_range() {
    assert!(OccurredAt::new(0, 999_999_999).is_some());
    assert_eq!(OccurredAt::new(0, 1_000_000_000), None);
    assert_eq!(OccurredAt::new(253_402_300_800, 0), None);
    assert_eq!(OccurredAt::new(-62_135_596_801, 0), None);
}

proptest! {
    #[test]
    fn no_input_panics(
        data: Vec<u8>,
        meta: Vec<u8>,
        object_id: String,
        changed_fields: Vec<String>,
        word: String,
        max: usize,
    ) {
        let _ = Word::new(word);
        let event =
            Event { data: data.into(), meta: meta.into(), object_id, changed_fields, ..event() };
        let _ = event.check(max);
    }
}
