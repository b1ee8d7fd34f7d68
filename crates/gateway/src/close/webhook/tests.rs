//! What bodies say, and how subscriptions are shown.

use serde_json::json;

use super::*;

fn read(body: &str, purpose: Purpose) -> Result<Said, Vec<String>> {
    let mut wrong = Violations::new();
    let body = Object::parse(body.as_bytes()).expect("an object");
    let said = Said::read(body, purpose, &mut wrong);
    let wrong = wrong.as_slice().iter();
    let wrong: Vec<_> = wrong
        .map(|one| format!("{}: {}", one.field, one.description))
        .collect();
    if wrong.is_empty() {
        Ok(said)
    } else {
        Err(wrong)
    }
}

#[test]
fn a_body_says_what_it_sets_and_null_is_nothing() {
    let body = r#"{
        "url": "https://example.com/hook",
        "events": [
            {"object_type": "lead", "action": "updated", "extra_filter": {"type": "is_null"}},
            {"object_type": "lead", "action": "created", "extra_filter": null}
        ],
        "verify_ssl": false,
        "status": null
    }"#;
    let said = read(body, Purpose::Create).expect("sound");
    assert_eq!(said.mask, ["url", "events", "verify_ssl"]);
    assert_eq!(said.patch.verify_ssl, Some(false));
    assert_eq!(said.patch.events[0].extra_filter, r#"{"type": "is_null"}"#);
    assert_eq!(said.patch.events[1].extra_filter, "");
    let said = read(r#"{"status": "paused"}"#, Purpose::Change).expect("sound");
    assert_eq!(said.mask, ["status"]);
    assert_eq!(said.patch.status(), v1::SubscriptionStatus::Paused);
    assert_eq!(read("{}", Purpose::Change).expect("sound").mask, [""; 0]);
    let back = shown(subscription(), Shown::Alone).to_string();
    let said = read(&back, Purpose::Change).expect("sound");
    assert_eq!(said.mask, ["url", "events", "verify_ssl", "status"]);
    let refused = read(&back, Purpose::Create).expect_err("it is no new one");
    let told = "id: is set by the server: leave it out".to_owned();
    assert!(refused.contains(&told), "{refused:?}");
}

#[test]
fn more_entries_than_there_can_be_are_one_mistake() {
    let events = vec!["7"; 101].join(",");
    let body = format!(r#"{{"url": "https://example.com", "events": [{events}]}}"#);
    assert_eq!(
        read(&body, Purpose::Create).expect_err("too many"),
        ["events: at most 100 entries are allowed"]
    );
}

#[test]
fn everything_wrong_with_a_body_is_told() {
    assert_eq!(
        read("{}", Purpose::Create).expect_err("two are missing"),
        [
            "url: This field is required.",
            "events: This field is required."
        ]
    );
    let body = r#"{"url": "x", "status": "off", "colour": 1, "events": [
        {"object_type": "lead"}, 7, {"object_type": 1, "action": "a", "filter": {}}
    ]}"#;
    assert_eq!(
        read(body, Purpose::Change).expect_err("much is wrong"),
        [
            "events[0].action: This field is required.",
            "events[1]: must be an object",
            "events[2].object_type: must be a string",
            "events[2].filter: is not a field that this takes",
            "status: must be `active` or `paused`",
            "colour: is not a field that this takes",
        ]
    );
}

fn subscription() -> v1::Subscription {
    v1::Subscription {
        id: "whsub_1".to_owned(),
        url: "https://example.com/".to_owned(),
        events: vec![v1::EventPattern {
            object_type: "lead".to_owned(),
            action: "updated".to_owned(),
            extra_filter: String::new(),
        }],
        status: v1::SubscriptionStatus::Active.into(),
        signing: Some(v1::Signing {
            scheme: Some(v1::signing::Scheme::Close(v1::CloseScheme {})),
            keys: vec![v1::SigningKey {
                secret: "5b".repeat(32),
                ..v1::SigningKey::default()
            }],
            local_key: String::new(),
        }),
        created_by: "key_1".to_owned(),
        created_at: Some(prost_types::Timestamp {
            seconds: 1_544_123_709,
            nanos: 590_432_000,
        }),
        ..v1::Subscription::default()
    }
}

fn shown(from: v1::Subscription, shown: Shown) -> serde_json::Value {
    serde_json::to_value(Webhook::new(from, shown)).expect("JSON")
}

#[test]
fn a_new_webhook_is_shown_whole() {
    assert_eq!(
        shown(subscription(), Shown::Alone),
        json!({
            "id": "whsub_1",
            "url": "https://example.com/",
            "events": [{"object_type": "lead", "action": "updated", "extra_filter": null}],
            "verify_ssl": true,
            "status": "active",
            "pause_reason": null,
            "health_status": null,
            "latest_error": null,
            "counters": {},
            "history": {"errors": [], "successes": []},
            "recent_consecutive_fail_buckets_cnt": 0,
            "signature_key": "5b".repeat(32),
            "created_by": "key_1",
            "updated_by": null,
            "date_created": "2018-12-06T19:15:09.590432",
            "date_updated": null,
        })
    );
}

#[test]
fn the_health_of_the_receiver_is_shown() {
    let record = v1::HealthRecord {
        attempt_number: 2,
        time: Some(prost_types::Timestamp {
            seconds: 1_544_123_709,
            nanos: 0,
        }),
        error: "Exception name: HTTPError, Status code: 404".to_owned(),
        event_id: "ev_1".to_owned(),
        response_status_code: 404,
        ..v1::HealthRecord::default()
    };
    let health = v1::SubscriptionHealth {
        status: "failing".to_owned(),
        latest_error: record.error.clone(),
        counters: Some(v1::HealthCounters {
            first_fail: 1,
            retry_fail: 1,
            ..v1::HealthCounters::default()
        }),
        errors: vec![record],
        consecutive_failing_buckets: 3,
        ..v1::SubscriptionHealth::default()
    };
    let failing = v1::Subscription {
        health: Some(health),
        ..subscription()
    };
    let shown = shown(failing, Shown::Listed);
    assert_eq!(shown["health_status"], json!("failing"));
    assert_eq!(
        shown["latest_error"],
        json!("Exception name: HTTPError, Status code: 404")
    );
    assert_eq!(
        shown["counters"],
        json!({"first_success": 0, "first_fail": 1, "retry_success": 0, "retry_fail": 1})
    );
    assert_eq!(
        shown["history"],
        json!({"successes": [], "errors": [{
            "attempt_number": 2,
            "datetime": "2018-12-06T19:15:09.000000",
            "error": "Exception name: HTTPError, Status code: 404",
            "event_id": "ev_1",
            "response_status_code": 404,
        }]})
    );
    assert_eq!(shown["recent_consecutive_fail_buckets_cnt"], json!(3));
}

#[test]
fn a_key_is_shown_where_it_is_closes_and_not_in_lists() {
    let listed = shown(subscription(), Shown::Listed);
    assert!(listed.get("signature_key").is_none());
    let mut other = subscription();
    if let Some(signing) = &mut other.signing {
        let unsigned = v1::signing::Scheme::Unsigned(v1::UnsignedScheme {});
        signing.scheme = Some(unsigned);
    }
    assert_eq!(shown(other, Shown::Alone)["signature_key"], json!(null));
}

#[test]
fn a_paused_webhook_says_why_and_filters_are_json() {
    let mut paused = subscription();
    paused.set_status(v1::SubscriptionStatus::Paused);
    paused.pause_reason = "api".to_owned();
    paused.events[0].extra_filter = r#"{"type":"equals","value":1e400}"#.to_owned();
    let text = serde_json::to_string(&Webhook::new(paused, Shown::Listed)).expect("JSON");
    let expected = r#""extra_filter":{"type":"equals","value":1e400}"#;
    assert!(text.contains(expected), "{text}");
    assert!(
        text.contains(r#""status":"paused","pause_reason":"api""#),
        "{text}"
    );
}
