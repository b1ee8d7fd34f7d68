//! Filters over the wire: they are checked where subscriptions change, and hold where events are published.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

mod support;

use sidehook_api::v1;
use support::{
    Api, assert_field, assert_reason, event, pattern, start, start_with, subscription, with,
};
use tonic::Code;
use tonic_types::StatusExt as _;

/// Holds for events of this user.
fn of_user(user: &str) -> String {
    format!(
        r#"{{"type":"field_accessor","field":"user_id","filter":{{"type":"equals","value":"{user}"}}}}"#
    )
}

fn filtered(filter: &str) -> v1::EventPattern {
    v1::EventPattern {
        extra_filter: filter.to_owned(),
        ..pattern("opportunity", "*")
    }
}

async fn matched(api: &Api, user: &str) -> u32 {
    let event = v1::Event {
        user_id: user.to_owned(),
        ..event()
    };
    api.publish(event).await.unwrap().matched
}

#[tokio::test]
async fn only_events_for_which_the_filter_holds_are_sent() {
    let api = start().await;
    let asked = v1::Subscription {
        events: vec![filtered(&of_user("user_1"))],
        ..subscription()
    };
    let created = api.create(asked).await.unwrap();
    assert_eq!(created.events[0].extra_filter, of_user("user_1"));
    let users = ["user_1", "user_2", ""];
    for (user, expected) in users.into_iter().zip([1, 0, 0]) {
        assert_eq!(matched(&api, user).await, expected, "{user}");
    }
    let changed = v1::Subscription {
        id: created.id.clone(),
        events: vec![filtered(&of_user("user_2"))],
        ..v1::Subscription::default()
    };
    api.update(changed, &["events"]).await.unwrap();
    for (user, expected) in users.into_iter().zip([0, 1, 0]) {
        assert_eq!(matched(&api, user).await, expected, "{user}");
    }
    let read = api.get(&api.admin, &created.id).await.unwrap();
    assert_eq!(read.events[0].extra_filter, of_user("user_2"));
    let deliveries = api
        .deliveries_of(v1::ListDeliveriesRequest::default())
        .await;
    assert_eq!(deliveries.len(), 2);
}

#[tokio::test]
async fn an_event_that_several_entries_want_is_sent_once() {
    let api = start().await;
    let any_user = r#"{"type":"field_accessor","field":"user_id","filter":{"type":"non_null"}}"#;
    let asked = v1::Subscription {
        events: vec![filtered(&of_user("user_1")), filtered(any_user)],
        ..subscription()
    };
    api.create(asked).await.unwrap();
    for (user, expected) in [("user_1", 1), ("user_2", 1), ("", 0)] {
        assert_eq!(matched(&api, user).await, expected, "{user}");
    }
}

#[tokio::test]
async fn a_wrong_filter_is_refused_by_the_path_of_its_bad_node() {
    let api = start().await;
    let asked = |filter: &str| v1::Subscription {
        events: vec![pattern("lead", "*"), filtered(filter)],
        ..subscription()
    };
    for (filter, path) in [
        ("{", ""),
        (r#"{"type":"equals"}"#, ".value"),
        (
            r#"{"type":"or","filters":[{"type":"is_null"},{"type":"x"}]}"#,
            ".filters[1].type",
        ),
        (
            r#"{"type":"not","filter":{"type":"is_null","x":1}}"#,
            ".filter.x",
        ),
    ] {
        let path = format!("subscription.events[1].extra_filter{path}");
        assert_field(api.create(asked(filter)).await, &path);
    }
    assert_eq!(api.list().await, []);
}

async fn test_filter(
    api: &Api,
    filter: &str,
    event: Option<v1::Event>,
) -> Result<v1::TestFilterResponse, tonic::Status> {
    let request = v1::TestFilterRequest {
        extra_filter: filter.to_owned(),
        event,
    };
    let answer = api.webhooks().test_filter(with(&api.admin, request)).await;
    Ok(answer?.into_inner())
}

#[tokio::test]
async fn a_filter_is_tried_out_node_by_node() {
    let api = start().await;
    let sample = v1::Event {
        user_id: "user_1".into(),
        data: format!(r#"{{"note":"{}é"}}"#, "x".repeat(498)).into(),
        ..event()
    };
    let note = r#"{"type":"field_accessor","field":"data","filter":{"type":"field_accessor","field":"note","filter":{"type":"contains","value":"y"}}}"#;
    let filter = format!(
        r#"{{"type":"or","filters":[{},{note}]}}"#,
        of_user("user_1")
    );
    let answer = test_filter(&api, &filter, Some(sample)).await.unwrap();
    assert!(answer.holds);
    let found: Vec<_> = answer
        .verdicts
        .iter()
        .map(|node| (&*node.path, &*node.node_type, &*node.field, node.holds))
        .collect();
    let (yes, no) = (true, false);
    assert_eq!(
        found,
        [
            ("", "or", "", yes),
            ("filters[0]", "field_accessor", "user_id", yes),
            ("filters[0].filter", "equals", "", yes),
            ("filters[1]", "field_accessor", "data", no),
            ("filters[1].filter", "field_accessor", "note", no),
            ("filters[1].filter.filter", "contains", "", no),
        ]
    );
    assert!(answer.verdicts.iter().all(|node| node.evaluated));
    assert_eq!(answer.verdicts[2].value, r#""user_1""#);
    let note = &answer.verdicts[5];
    assert_eq!(note.value.len(), 499, "cut before the é");
    assert_eq!(note.value_size_bytes, 502);
}

#[tokio::test]
async fn what_is_wrong_with_filter_and_event_is_told_at_once() {
    let api = start().await;
    let sample = v1::Event {
        data: "{".into(),
        ..event()
    };
    for field in ["extra_filter.value", "event.data"] {
        let answer = test_filter(&api, r#"{"type":"equals"}"#, Some(sample.clone())).await;
        assert_field(answer, field);
    }
    assert_field(test_filter(&api, "", None).await, "extra_filter");
    assert_field(test_filter(&api, "", None).await, "event");
}

/// Looks for another number in the elements of `data` for each number below `count`.
fn hostile(count: u32) -> String {
    let leaf = |value| format!(r#"{{"type":"contains","value":{value}}}"#);
    let leaves: Vec<String> = (1..=count).map(leaf).collect();
    let leaves = leaves.join(",");
    format!(
        r#"{{"type":"field_accessor","field":"data","filter":{{"type":"field_accessor","field":"x","filter":{{"type":"or","filters":[{leaves}]}}}}}}"#
    )
}

fn of_zeros(count: usize) -> v1::Event {
    v1::Event {
        data: format!(r#"{{"x":[0{}]}}"#, ",0".repeat(count)).into(),
        ..event()
    }
}

#[tokio::test]
async fn filters_that_take_too_long_refuse_the_event_and_no_other() {
    let api = start().await;
    let asked = v1::Subscription {
        events: vec![filtered(&hostile(100))],
        ..subscription()
    };
    api.create(asked).await.unwrap();
    let request = v1::PublishEventsRequest {
        events: vec![event(), of_zeros(100_000), of_zeros(10)],
    };
    let answer = api.events().publish_events(with(&api.admin, request)).await;
    let results = answer.unwrap().into_inner().results;
    let refused = results[1].error.as_ref().unwrap();
    assert_eq!(refused.reason, "FILTERS_TOO_COSTLY");
    assert!(results[1].event_id.is_empty());
    for result in [&results[0], &results[2]] {
        assert_eq!((&result.error, result.matched), (&None, 0));
    }
    let tried = test_filter(&api, &hostile(100), Some(of_zeros(100_000))).await;
    assert_reason(tried, Code::ResourceExhausted, "FILTERS_TOO_COSTLY");
    let tried = test_filter(&api, &hostile(2), Some(of_zeros(100_000))).await;
    assert!(!tried.unwrap().holds);
}

#[tokio::test]
async fn filters_are_tried_out_on_events_as_large_as_may_be_published() {
    let any = r#"{"type":"non_null"}"#;
    let api = start_with(|config| config.event_bytes = 1_000).await;
    let answer = test_filter(&api, any, Some(of_zeros(1_000))).await;
    assert_eq!(answer.unwrap_err().code(), Code::InvalidArgument);
    let api = start_with(|config| config.event_bytes = 1024 * 1024).await;
    let answer = test_filter(&api, any, Some(of_zeros(300_000))).await;
    assert!(answer.unwrap().holds);
}

#[tokio::test]
async fn the_filters_of_a_tenant_have_a_bound_together() {
    let api = start().await;
    let long = |length: usize| {
        let value = "x".repeat(length);
        filtered(&format!(r#"{{"type":"equals","value":"{value}"}}"#))
    };
    let large = || v1::Subscription {
        events: vec![long(32_000), long(32_000)],
        ..subscription()
    };
    let mut made = Vec::new();
    let refused = loop {
        match api.create(large()).await {
            Ok(one) => made.push(one),
            Err(status) => break status,
        }
    };
    assert_reason::<()>(Err(refused), Code::ResourceExhausted, "FILTER_LIMIT");
    assert_eq!(made.len(), 32, "of 64,060 bytes, in 2 MiB");
    api.create(subscription()).await.unwrap();
    let change = |events| v1::Subscription {
        id: made[0].id.clone(),
        events,
        ..v1::Subscription::default()
    };
    // What is there may become less, and something else may take its place.
    let small = change(vec![long(2)]);
    api.update(small, &["events"]).await.unwrap();
    let other = api.create(large()).await.unwrap();
    let grown = change(large().events);
    let refused = api.update(grown.clone(), &["events"]).await;
    assert_reason(refused, Code::ResourceExhausted, "FILTER_LIMIT");
    let request = v1::DeleteSubscriptionRequest {
        id: other.id,
        ..v1::DeleteSubscriptionRequest::default()
    };
    let mut webhooks = api.webhooks();
    let deleted = webhooks.delete_subscription(with(&api.admin, request));
    deleted.await.unwrap();
    api.update(grown, &["events"]).await.unwrap();
}

#[tokio::test]
async fn a_flood_of_trials_is_refused_and_told_to_come_again() {
    let api = start().await;
    let filter = hostile(10);
    let flood = futures_util::future::join_all(
        (0..60).map(|_| test_filter(&api, &filter, Some(of_zeros(50_000)))),
    );
    let (tried, refused): (Vec<_>, Vec<_>) = flood.await.into_iter().partition(Result::is_ok);
    assert!(!tried.is_empty());
    let refused = refused.into_iter().map(Result::unwrap_err);
    let mut busy = refused.filter(|status| status.get_error_details().retry_info().is_some());
    let status = busy.next().expect("not all have room");
    assert_reason::<()>(Err(status), Code::ResourceExhausted, "EVALUATIONS_BUSY");
    let next = test_filter(&api, &hostile(10), Some(of_zeros(10))).await;
    assert!(!next.expect("none is left behind").holds);
}
