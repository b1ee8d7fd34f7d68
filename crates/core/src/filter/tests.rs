//! Examples of the language; `tests/` compares thousands of random ones with a naive reference.

mod agreement;
mod events;
mod explanations;
mod generate;
mod reference;
mod refusals;
mod steps;

use std::sync::Arc;

use super::*;

/// The reference payload that the language's authors show.
const WON: &str = r#"{
  "date_created": "2019-01-15T12:48:23.395000", "id": "ev_2sYKRjcrA79yKxi3S4Crd7",
  "meta": {"request_method": "PUT", "request_path": "/api/v1/opportunity/oppo_7H/"},
  "action": "updated", "object_type": "opportunity", "user_id": "user_N6", "lead_id": null,
  "changed_fields": ["confidence", "status_id", "status_type"],
  "previous_data": {"status_type": "active", "confidence": 70},
  "data": {
    "contact_name": "Mr. Jones", "status_type": "won", "status_label": "Won", "date_lost": null, "note": "",
    "value": 100000, "confidence": 100, "custom.cf_x": ["a", "b"], "ratio": 0.1, "big": 9007199254740993,
    "tags": [{"name": "hot", "weight": 1.0}, {"name": "new", "seen": [1, [2]]}, "loose", null]
  }
}"#;

fn filter(json: &str) -> Arc<Filter> {
    Arc::new(Filter::parse(json, "extra_filter").expect(json))
}

fn holds(json: &str, event: &str) -> bool {
    let mut set = FilterSet::default();
    let key = set.insert(&filter(json));
    let document = Document::Json(event.as_bytes());
    set.read(&document)
        .expect("JSON")
        .holds(key)
        .expect("few steps")
}

/// `filter` under the accessors of `fields`.
fn at(fields: &[&str], filter: &str) -> String {
    fields
        .iter()
        .rev()
        .fold(filter.to_owned(), |filter, field| {
            format!(r#"{{"type":"field_accessor","field":"{field}","filter":{filter}}}"#)
        })
}

fn leaf(kind: &str, value: &str) -> String {
    format!(r#"{{"type":"{kind}","value":{value}}}"#)
}

#[track_caller]
fn check(cases: &[(&[&str], String, bool)]) {
    for (fields, node, expected) in cases {
        let json = at(fields, node);
        assert_eq!(holds(&json, WON), *expected, "{json}");
    }
}

const IS_NULL: &str = r#"{"type":"is_null"}"#;
const NON_NULL: &str = r#"{"type":"non_null"}"#;

#[test]
fn equality_is_deep_and_typed() {
    let equals = |value| leaf("equals", value);
    check(&[
        (&["data", "status_type"], equals(r#""won""#), true),
        (&["data", "status_type"], equals(r#""Won""#), false),
        (&["data", "status_type"], equals(r#""w\u006fn""#), true),
        (&["data", "value"], equals("100000"), true),
        (&["data", "value"], equals("1e5"), true),
        (&["data", "value"], equals(r#""100000""#), false),
        (&["data", "ratio"], equals("0.10"), true),
        (&["data", "big"], equals("9007199254740992"), false),
        (&["data", "date_lost"], equals("null"), true),
        (&["data", "nothing"], equals("null"), true),
        (&["data", "date_lost"], equals("false"), false),
        (&["data", "custom.cf_x"], equals(r#"["a","b"]"#), true),
        (&["data", "custom.cf_x"], equals(r#"["b","a"]"#), false),
        (&["data", "custom.cf_x"], equals(r#"["a","b","c"]"#), false),
        (&["data", "custom.cf_x"], equals(r#"["a"]"#), false),
        (&["data", "custom.cf_x"], equals("[]"), false),
        (
            &["previous_data"],
            equals(r#"{"confidence":7e1,"status_type":"active"}"#),
            true,
        ),
        (&["previous_data"], equals(r#"{"confidence":70}"#), false),
        (
            &["previous_data"],
            equals(r#"{"confidence":70,"status_type":"active","x":null}"#),
            false,
        ),
        (&["previous_data"], equals("{}"), false),
        (&[], equals("null"), false),
        (&["data", "nothing"], leaf("not_equals", "1"), true),
        (&["data", "value"], leaf("not_equals", "100000.0"), false),
    ]);
    assert!(!holds(&at(&["a"], &equals("1")), r#"{"a":true}"#));
    assert!(holds(
        &at(&["a"], &equals("[[],{}]")),
        r#"{"a":[ [ ] , { } ]}"#
    ));
    assert!(!holds(
        &at(&["a"], &equals("[[],{}]")),
        r#"{"a":[[[]],{}]}"#
    ));
}

#[test]
fn what_is_missing_is_null() {
    check(&[
        (&["data", "date_lost"], IS_NULL.into(), true),
        (&["data", "nothing"], IS_NULL.into(), true),
        (&["data", "note"], IS_NULL.into(), false),
        (&["data", "note", "of", "a", "text"], IS_NULL.into(), true),
        (&["nothing", "at", "all"], IS_NULL.into(), true),
        (&["data", "custom", "cf_x"], IS_NULL.into(), true),
        (&["data", "custom.cf_x"], NON_NULL.into(), true),
        (&["data", "value"], NON_NULL.into(), true),
        (&["data", "nothing"], NON_NULL.into(), false),
        (&[], NON_NULL.into(), true),
    ]);
}

#[test]
fn contains_looks_for_elements_or_substrings() {
    let contains = |value| leaf("contains", value);
    check(&[
        (&["changed_fields"], contains(r#""status_id""#), true),
        (&["changed_fields"], contains(r#""status""#), false),
        (&["data", "contact_name"], contains(r#""Jones""#), true),
        (&["data", "contact_name"], contains(r#""jones""#), false),
        (&["data", "contact_name"], contains(r#""""#), true),
        (&["data", "note"], contains(r#""""#), true),
        (&["data", "note"], contains(r#""x""#), false),
        (&["data", "value"], contains("1"), false),
        (&["data", "date_lost"], contains("null"), false),
        (&["data"], contains(r#""value""#), false),
        (&["data", "tags"], contains("null"), true),
        (
            &["data", "tags"],
            contains(r#"{"name":"hot","weight":1}"#),
            true,
        ),
        (
            &["data", "tags"],
            contains(r#"{"seen":[1,[2]],"name":"new"}"#),
            true,
        ),
        (&["data", "tags"], contains(r#"{"name":"hot"}"#), false),
        (&["data", "tags"], contains(r#""hot""#), false),
    ]);
}

#[test]
fn any_element_and_what_is_within_it() {
    let any = |filter: &str| format!(r#"{{"type":"any_array_value","filter":{filter}}}"#);
    let name = |text: &str| any(&at(&["name"], &leaf("equals", text)));
    check(&[
        (&["data", "tags"], name(r#""new""#), true),
        (&["data", "tags"], name(r#""old""#), false),
        (&["data", "tags"], name("null"), true),
        (
            &["data", "tags"],
            any(&at(&["seen"], &any(&leaf("contains", "2")))),
            true,
        ),
        (
            &["data", "tags"],
            any(&at(&["seen"], &any(&leaf("equals", "[3]")))),
            false,
        ),
        (
            &["changed_fields"],
            any(&leaf("equals", r#""status_id""#)),
            true,
        ),
        (&["data", "value"], any(NON_NULL), false),
        (&["data", "nothing"], any(IS_NULL), false),
        (&["data"], any(NON_NULL), false),
    ]);
    assert!(!holds(&any(IS_NULL), "[]"));
    assert!(holds(&any(&any(&any(IS_NULL))), "[1,[],[2,[3,null]]]"));
}

#[test]
fn combinators_combine() {
    let of = |kind: &str, filters: &[&str]| {
        format!(r#"{{"type":"{kind}","filters":[{}]}}"#, filters.join(","))
    };
    let not = |filter: &str| format!(r#"{{"type":"not","filter":{filter}}}"#);
    check(&[
        (
            &["data", "value"],
            of("and", &[NON_NULL, &not(IS_NULL)]),
            true,
        ),
        (&["data", "value"], of("and", &[NON_NULL, IS_NULL]), false),
        (&["data", "value"], of("or", &[IS_NULL, NON_NULL]), true),
        (
            &["data", "value"],
            of("or", &[IS_NULL, &not(NON_NULL)]),
            false,
        ),
        (&["data"], not(&at(&["value"], IS_NULL)), true),
    ]);
}

#[test]
fn of_equal_keys_the_last_counts() {
    let event = r#"{"a":{"b":1,"c":2},"\u0061":{"b":3},"l":[{"x":1,"x":2}]}"#;
    assert!(holds(&at(&["a", "b"], &leaf("equals", "3")), event));
    assert!(holds(&at(&["a", "c"], IS_NULL), event));
    assert!(holds(&at(&["a"], &leaf("equals", r#"{"b":3}"#)), event));
    assert!(holds(&at(&["l"], &leaf("contains", r#"{"x":2}"#)), event));
    let x = at(&["x"], &leaf("equals", "1"));
    assert!(!holds(
        &at(
            &["l"],
            &format!(r#"{{"type":"any_array_value","filter":{x}}}"#)
        ),
        event
    ));
    let both = format!(
        r#"{{"type":"and","filters":[{},{}]}}"#,
        at(&["a", "b"], IS_NULL),
        at(&["a"], &leaf("equals", "7")),
    );
    assert!(holds(&both, r#"{"a":{"b":1},"a":7}"#));
}

#[test]
fn half_of_a_surrogate_pair_is_equal_to_nothing() {
    let event = r#"{"a":"x\ud83dy","b":"\ufffd"}"#;
    assert!(!holds(&at(&["a"], &leaf("equals", r#""x\ufffdy""#)), event));
    assert!(holds(&at(&["a"], &leaf("contains", r#""y""#)), event));
    assert!(!holds(&at(&["a"], &leaf("contains", r#""\ufffd""#)), event));
    assert!(holds(&at(&["b"], &leaf("contains", r#""\ufffd""#)), event));
}

#[test]
fn the_nesting_of_a_payload_does_not_matter() {
    let deep = format!("{}{}", r#"{"a":["#.repeat(200_000), "]}".repeat(200_000));
    let event = format!(r#"{{"deep":{deep},"a":1}}"#);
    assert!(holds(&at(&["a"], &leaf("equals", "1")), &event));
    assert!(holds(&at(&["deep", "a"], NON_NULL), &event));
    assert!(!holds(
        &at(&["deep"], &leaf("equals", r#"{"a":[{"a":[]}]}"#)),
        &event
    ));
    assert!(!holds(
        &at(&["deep", "a"], &leaf("contains", "[[]]")),
        &event
    ));
}

#[test]
fn equal_filters_are_one() {
    let mut set = FilterSet::default();
    assert!(set.is_empty());
    let one = set.insert(&filter(r#"{"type":"equals","value":{"b":1,"a":2}}"#));
    let same = set.insert(&filter(r#"{ "value":{"a":2,"b":1}, "type":"equals" }"#));
    let other = set.insert(&filter(r#"{"type":"equals","value":{"b":1,"a":3}}"#));
    assert_eq!(one, same);
    assert_ne!(one, other);
    assert_eq!(set.len(), 2);
    let empty = FilterSet::default();
    let mut reading = empty.read(&Document::Json(b"1")).expect("JSON");
    assert_eq!(reading.holds(other), Ok(false), "a key of another set");
}

#[test]
fn what_is_no_json_is_told() {
    let mut set = FilterSet::default();
    set.insert(&filter(&at(&["a"], IS_NULL)));
    for text in [
        "",
        "{",
        r#"{"a" 1}"#,
        r#"{"a":1"#,
        "{} {}",
        "[",
        r#""\x""#,
        "nul",
        "?",
    ] {
        assert!(
            set.read(&Document::Json(text.as_bytes())).is_err(),
            "{text}"
        );
        assert!(filter(IS_NULL).explain(text).is_err(), "{text}");
    }
    assert_eq!(
        filter(IS_NULL).explain("{\n\"a\": x}"),
        Err(Malformed { at: 7 }.into())
    );
}
