//! What is refused, by which path and in which words.

use super::*;
use crate::limits::{FILTER_BYTES, FILTER_DEPTH, FILTER_NODES};

fn refused(json: &str) -> Vec<(String, String)> {
    let violations = Filter::parse(json, "extra_filter").expect_err(json);
    let all = violations.as_slice().iter();
    all.map(|wrong| (wrong.field.clone(), wrong.description.clone()))
        .collect()
}

/// The paths and the beginnings of the descriptions.
#[track_caller]
fn check(json: &str, expected: &[(&str, &str)]) {
    let found = refused(json);
    let same = |((path, what), (field, begin)): (&(String, String), &(&str, &str))| {
        path == field && what.starts_with(begin)
    };
    assert!(
        found.len() == expected.len() && found.iter().zip(expected).all(same),
        "{json}: {found:#?}"
    );
}

#[test]
fn the_path_of_the_bad_node_is_told() {
    for (json, path, what) in [
        ("", "extra_filter", "not JSON: EOF"),
        (
            r#"{"type":"is_null",}"#,
            "extra_filter",
            "not JSON: key must be a string at line 1 column 19",
        ),
        (
            "null",
            "extra_filter",
            "must be an object such as {\"type\":\"is_null\"}, not null",
        ),
        ("[]", "extra_filter", "must be an object"),
        (
            "{}",
            "extra_filter.type",
            "required: one of equals, not_equals, is_null",
        ),
        (
            r#"{"type":"like"}"#,
            "extra_filter.type",
            "unknown type: must be one of equals",
        ),
        (
            r#"{"type":7}"#,
            "extra_filter.type",
            "must be one of equals, ",
        ),
        (r#"{"type":"equals"}"#, "extra_filter.value", "required"),
        (
            r#"{"type":"is_null","value":1}"#,
            "extra_filter.value",
            "unknown key: `is_null` has `type`",
        ),
        (
            r#"{"type":"equals","value":1,"Value":2}"#,
            "extra_filter.Value",
            "unknown key: `equals` has `type`, `value`",
        ),
        (
            r#"{"type":"and","filters":[]}"#,
            "extra_filter.filters",
            "at least one filter",
        ),
        (r#"{"type":"or"}"#, "extra_filter.filters", "required"),
        (
            r#"{"type":"or","filters":{}}"#,
            "extra_filter.filters",
            "must be an array of filters, not an object",
        ),
        (
            r#"{"type":"and","filters":[{"type":"is_null"},{"type":"not","filter":3}]}"#,
            "extra_filter.filters[1].filter",
            "must be an object such as {\"type\":\"is_null\"}, not a number",
        ),
        (
            r#"{"type":"field_accessor","field":["a"],"filter":{"type":"is_null"}}"#,
            "extra_filter.field",
            "must be a string, not an array",
        ),
        (
            r#"{"type":"field_accessor","field":"a"}"#,
            "extra_filter.filter",
            "required",
        ),
    ] {
        check(json, &[(path, what)]);
    }
}

#[test]
fn keys_and_texts_are_unambiguous() {
    for (json, path, what) in [
        (
            r#"{"type":"is_null","type":"non_null"}"#,
            "extra_filter.type",
            "the key is given twice",
        ),
        (
            r#"{"type":"equals","value":{"a b":[{"x":1,"\u0078":1}]}}"#,
            "extra_filter.value[\"a b\"][0].x",
            "the key is given twice",
        ),
        (
            r#"{"type":"equals","value":["\ud800"]}"#,
            "extra_filter.value[0]",
            "half of a surrogate pair",
        ),
    ] {
        check(json, &[(path, what)]);
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let json = r#"{"type":"or","filters":[{"type":"x"},{"type":"equals","valeu":1},true]}"#;
    check(
        json,
        &[
            ("extra_filter.filters[0].type", "unknown type"),
            ("extra_filter.filters[1].value", "required"),
            ("extra_filter.filters[1].valeu", "unknown key"),
            ("extra_filter.filters[2]", "must be an object"),
        ],
    );
}

#[test]
fn what_is_not_yet_known_cannot_be_asked_for() {
    for field in ["id", "date_created", "date_updated"] {
        let what = "events are matched before they have one";
        check(&at(&[field], IS_NULL), &[("extra_filter.field", what)]);
        let both = format!(
            r#"{{"type":"not","filter":{}}}"#,
            at(&[field, "x"], IS_NULL)
        );
        check(&both, &[("extra_filter.filter.field", what)]);
        assert!(Filter::parse(&at(&["data", field], IS_NULL), "").is_ok());
    }
}

#[test]
fn limits_are_held() {
    let nots = |count: usize| {
        format!(
            "{}{IS_NULL}{}",
            r#"{"type":"not","filter":"#.repeat(count),
            "}".repeat(count)
        )
    };
    assert!(Filter::parse(&nots(FILTER_DEPTH - 1), "").is_ok());
    let path = format!("extra_filter{}", ".filter".repeat(FILTER_DEPTH));
    check(&nots(FILTER_DEPTH), &[(&path, "nested deeper than 32")]);
    let deep = refused(&nots(1_000));
    assert_eq!(deep.len(), 1);
    assert!(deep[0].0.starts_with("extra_filter.filter.filter"));

    let nulls = |count| {
        format!(
            r#"{{"type":"or","filters":[{}]}}"#,
            vec![IS_NULL; count].join(",")
        )
    };
    assert!(Filter::parse(&nulls(FILTER_NODES - 1), "").is_ok());
    check(
        &nulls(2 * FILTER_NODES),
        &[("extra_filter.filters[255]", "more than 256 nodes")],
    );

    let long = |bytes: usize| leaf("equals", &format!("\"{}\"", "x".repeat(bytes - 28)));
    assert!(Filter::parse(&long(FILTER_BYTES), "").is_ok());
    check(
        &long(FILTER_BYTES + 1),
        &[("extra_filter", "at most 32768 bytes")],
    );

    let lists = |count: usize| {
        leaf(
            "equals",
            &format!("{}{}", "[".repeat(count), "]".repeat(count)),
        )
    };
    assert!(Filter::parse(&lists(95), "").is_ok());
    let path = format!("extra_filter.value{}", "[0]".repeat(95));
    check(
        &lists(96),
        &[(&path, "arrays and objects are nested deeper")],
    );
    assert_eq!(refused(&lists(10_000)).len(), 1);
}

#[test]
fn what_a_record_keeps_is_held_to_no_limit_of_size() {
    let nulls = format!(
        r#"{{"type":"or","filters":[{}]}}"#,
        vec![IS_NULL; 2_000].join(",")
    );
    let kept = Filter::kept(&nulls);
    assert_eq!(kept.to_string(), nulls);
    assert_eq!(kept.explain("null").expect("JSON")[0].holds, Some(true));
}

#[test]
fn what_is_not_understood_is_kept_and_holds_for_nothing() {
    for text in [
        r#"{"type":"starts_with",  "value":"x"}"#,
        "no JSON",
        "",
        &"[".repeat(100_000),
    ] {
        let kept = Arc::new(Filter::kept(text));
        assert_eq!(kept.to_string(), text);
        let found = kept.explain(r#""x""#).expect("JSON");
        assert_eq!((found[0].kind, found[0].holds), ("unknown", Some(false)));
        let mut set = FilterSet::default();
        let key = set.insert(&kept);
        assert_eq!(
            set.read(&Document::Json(b"{}")).expect("JSON").holds(key),
            Ok(false)
        );
    }
}

#[test]
fn many_mistakes_make_no_endless_answer() {
    let json = format!(
        r#"{{"type":"or","filters":[{}]}}"#,
        vec!["1"; 10_000].join(",")
    );
    assert_eq!(refused(&json).len(), crate::limits::VIOLATIONS);
}
