//! Filters of patterns: through the API and through records.

use super::*;
use crate::subscription::kept;

const WON: &str = r#"{"type":"field_accessor","field":"data","filter":{"type":"non_null"}}"#;

fn filtered(filter: &str) -> v1::Subscription {
    let mut proto = minimal();
    proto.events.push(v1::EventPattern {
        extra_filter: filter.to_owned(),
        ..pattern("lead", "updated")
    });
    proto
}

#[test]
fn a_filter_is_shown_without_blanks() {
    let given =
        r#" { "filter": {"type": "non_null"}, "field": "data", "type": "field_accessor" } "#;
    let subscription = new(&filtered(given)).expect("sound");
    let shown = to_proto(&subscription);
    assert_eq!(shown.events[0].extra_filter, "");
    assert_eq!(shown.events[1].extra_filter, WON);
}

#[test]
fn what_is_wrong_with_a_filter_is_told_by_its_path() {
    let wrong = r#"{"type":"and","filters":[{"type":"is_null"},{"type":"like","value":1}]}"#;
    assert_eq!(
        fields(new(&filtered(wrong))),
        ["subscription.events[1].extra_filter.filters[1].type"]
    );
    assert_eq!(
        fields(new(&filtered("null"))),
        ["subscription.events[1].extra_filter"]
    );
}

#[test]
fn the_filters_of_a_subscription_are_bounded_together() {
    let value = "x".repeat(30_000);
    let large = format!(r#"{{"type":"equals","value":"{value}"}}"#);
    let mut proto = filtered(&large);
    proto.events.push(proto.events[1].clone());
    assert!(new(&proto).is_ok());
    proto.events.push(proto.events[1].clone());
    assert_eq!(fields(new(&proto)), ["subscription.events"]);
}

#[test]
fn a_filter_of_a_later_version_stays_as_it_is() {
    let later = r#"{"type":"starts_with", "value":"x"}"#;
    let identity = Identity::of(&new(&minimal()).expect("sound"));
    let current = kept::read(&filtered(later), identity);
    let patch = v1::Subscription {
        description: "changed".to_owned(),
        ..v1::Subscription::default()
    };
    let changed = update(&current, &patch, &["description"]);
    assert_eq!(changed.description, "changed");
    assert_eq!(to_proto(&changed).events[1].extra_filter, later);
    // What was read can be sent back.
    assert_eq!(
        update(&current, &to_proto(&changed), &["events"]).events,
        current.events
    );
    let other = v1::Subscription {
        events: filtered(r#"{"type":"ends_with"}"#).events,
        ..v1::Subscription::default()
    };
    assert_eq!(
        fields(apply_update(&current, &other, &paths(&["events"]))),
        ["subscription.events[1].extra_filter.type"]
    );
}
