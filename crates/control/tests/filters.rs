//! Filters over the wire: they are checked where subscriptions change, and hold where events are published.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

mod support;

use sidehook_api::v1;
use support::{Api, assert_field, event, pattern, start, subscription};

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
    let with = |filter: &str| v1::Subscription {
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
        assert_field(api.create(with(filter)).await, &path);
    }
    assert_eq!(api.list().await, []);
}
