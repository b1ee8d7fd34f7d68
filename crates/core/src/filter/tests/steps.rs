//! What filters may take on one event.

use super::*;
use crate::limits::FILTER_STEPS;

const ELEMENTS: usize = 131_000;

fn zeros() -> String {
    format!("[{}0]", "0,".repeat(ELEMENTS - 1))
}

/// Leaves that find nothing, each another filter.
fn leaves(count: usize) -> impl Iterator<Item = Arc<Filter>> {
    (1..=count).map(|value| filter(&leaf("contains", &value.to_string())))
}

#[test]
fn a_hostile_payload_ends_within_the_steps_of_an_event() {
    let mut set = FilterSet::default();
    let keys: Vec<FilterKey> = leaves(100).map(|filter| set.insert(&filter)).collect();
    let payload = zeros();
    let mut reading = set.read(&Document::Json(payload.as_bytes())).expect("JSON");
    let verdicts: Vec<_> = keys.iter().map(|key| reading.holds(*key)).collect();
    let done = verdicts.iter().take_while(|v| **v == Ok(false)).count();
    assert!((1..100).contains(&done), "{done}");
    assert!(verdicts[done..].iter().all(|v| *v == Err(TooCostly)));
    assert_eq!(reading.steps.spent(), FILTER_STEPS);
    assert!((done + 1) * ELEMENTS > usize::try_from(FILTER_STEPS).expect("small") / 2);
    assert_eq!(
        reading.holds(keys[0]),
        Ok(false),
        "what is known stays known"
    );
    assert_eq!(reading.holds(keys[done]), Err(TooCostly));
}

/// The steps of one filter on a payload.
fn steps(json: &str, payload: &str) -> u64 {
    let mut set = FilterSet::default();
    let key = set.insert(&filter(json));
    let mut reading = set.read(&Document::Json(payload.as_bytes())).expect("JSON");
    reading.holds(key).expect("few steps");
    reading.steps.spent()
}

#[test]
fn all_that_takes_time_is_counted() {
    let any = |filter: &str| format!(r#"{{"type":"any_array_value","filter":{filter}}}"#);
    let text = format!("\"{}\"", "a".repeat(160_000));
    let number = format!("[{}]", "1".repeat(160_000));
    let members = format!("[{{{}\"z\":0}}]", r#""a":0,"#.repeat(5_000));
    let empty = format!("[{}{{}}]", "{},".repeat(999));
    let keys = |count: usize| {
        let members: Vec<String> = (0..count).map(|key| format!("\"k{key}\":0")).collect();
        format!("{{{}}}", members.join(","))
    };
    for (json, payload, least) in [
        (leaf("contains", "1"), &zeros(), 131_000),
        (any(&leaf("equals", "1")), &zeros(), 262_000),
        (leaf("contains", r#""b""#), &text, 10_000),
        (leaf("equals", r#""b""#), &text, 1),
        (leaf("contains", "1.5"), &number, 10_000),
        (any(&at(&["a"], &leaf("equals", "1"))), &members, 5_000),
        (leaf("contains", r#"{"a":1,"z":0}"#), &members, 10_000),
        (leaf("contains", &keys(500)), &empty, 500_000),
    ] {
        let spent = steps(&json, payload);
        assert!(
            (least..=4 * least + 10).contains(&spent),
            "{json:.60}: {spent}"
        );
    }
}

#[test]
fn usual_filters_take_few() {
    let won = at(&["data", "status_type"], &leaf("equals", r#""won""#));
    assert!(steps(&won, WON) < 10);
    assert!(steps(&at(&["changed_fields"], &leaf("contains", r#""x""#)), WON) < 10);
}

#[test]
fn an_explanation_has_the_steps_of_an_event() {
    let any = |filter: &str| format!(r#"{{"type":"any_array_value","filter":{filter}}}"#);
    let of = |count: usize| {
        let leaves: Vec<String> = (1..=count)
            .map(|value| leaf("contains", &value.to_string()))
            .collect();
        filter(&format!(
            r#"{{"type":"or","filters":[{}]}}"#,
            leaves.join(",")
        ))
    };
    let found = of(2);
    let payload = zeros();
    assert_eq!(
        found.explain(&payload).expect("few steps")[0].holds,
        Some(false)
    );
    assert_eq!(
        of(100).explain(&payload),
        Err(Unexplained::TooCostly(TooCostly))
    );
    // Each level looks into all that is below it.
    let nested = (0..20).fold(leaf("equals", "1"), |filter, _| any(&filter));
    let deep = format!("{}{}{}", "[".repeat(19), zeros(), "]".repeat(19));
    assert_eq!(
        filter(&nested).explain(&deep),
        Err(Unexplained::TooCostly(TooCostly))
    );
}

/// Each repeat of a key forgets what the one before it had, and nothing else: this would take hours if it went by what
/// is asked for.
#[test]
fn many_repeats_of_a_key_with_many_fields_asked_for() {
    let mut set = FilterSet::default();
    for field in 0..20_000 {
        set.insert(&filter(&at(&["a", &format!("f{field}")], NON_NULL)));
    }
    let last = set.insert(&filter(&at(&["a", "f7"], &leaf("equals", "2"))));
    let gone = set.insert(&filter(&at(&["a", "f8", "x"], IS_NULL)));
    let payload = format!(
        r#"{{"a":{{"f7":1,"f8":{{"x":1}}}},{}"a":{{"f7":2}}}}"#,
        r#""a":{},"#.repeat(30_000)
    );
    let mut reading = set.read(&Document::Json(payload.as_bytes())).expect("JSON");
    assert_eq!(
        (reading.holds(last), reading.holds(gone)),
        (Ok(true), Ok(true))
    );
}
