//! What receivers get.

use super::*;

#[tokio::test]
async fn without_types_a_webhook_gets_all_of_collects_events() {
    let tenancy = Tenancy::quiet().await;
    let webhook = made(&tenancy.collect(), json!({ "targetUrl": URL })).await;
    assert_eq!(webhook["types"], json!(TYPES));
    let mut events: Vec<_> = TYPES.iter().map(|name| event(name, "{}")).collect();
    let of_others = v1::Event {
        object_type: "quote".to_owned(),
        ..event("created", "{}")
    };
    events.push(of_others);
    let matched = tenancy.publish(events).await;
    assert_eq!(matched[..25], [1; 25]);
    assert_eq!(matched[25], 0, "another kind of object");
}

#[tokio::test]
async fn each_type_is_taken_and_received() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.collect();
    for name in TYPES {
        let body = json!({ "targetUrl": URL, "types": [name] });
        let webhook = made(&http, body).await;
        assert_eq!(webhook["types"], json!([name]));
        let other = if name == "created" {
            "smsSent"
        } else {
            "created"
        };
        let events = vec![event(name, "{}"), event(other, "{}")];
        assert_eq!(tenancy.publish(events).await, [1, 0], "{name}");
        http.delete(&path_of(&webhook)).await.expect(200);
    }
}

#[tokio::test]
async fn a_secret_token_is_sent_as_it_is_and_without_one_nothing() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let http = tenancy.collect();
    let body = json!({ "targetUrl": receiver.url(), "secretToken": "t0k=en one" });
    let webhook = made(&http, body).await;
    let request = tenancy.sent(&receiver, event("created", "{}")).await;
    assert_eq!(request.header("x-secret-token"), Some("t0k=en one"));
    for nothing in [json!(""), json!(null)] {
        for (token, expected) in [(&json!("two"), Some("two")), (&nothing, None)] {
            let body = json!({ "secretToken": token });
            let changed = http.post(&path_of(&webhook), &body).await.expect(200);
            let shown = changed.get("secretToken").and_then(Value::as_str);
            assert_eq!(shown, expected);
            let request = tenancy.sent(&receiver, event("created", "{}")).await;
            assert_eq!(request.header("x-secret-token"), expected);
        }
    }
}

#[tokio::test]
async fn a_webhook_that_is_paused_receives_nothing() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let http = tenancy.collect();
    let body = json!({ "targetUrl": receiver.url(), "status": "paused" });
    let webhook = made(&http, body).await;
    assert_eq!(webhook["status"], "paused");
    assert_eq!(tenancy.publish(vec![event("created", "{}")]).await, [0]);
    let activate = json!({ "status": "active" });
    http.post(&path_of(&webhook), &activate).await.expect(200);
    tenancy.sent(&receiver, event("smsSent", "{}")).await;
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn deliveries_are_not_signed() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    made(&tenancy.collect(), json!({ "targetUrl": receiver.url() })).await;
    let request = tenancy.sent(&receiver, event("created", "{}")).await;
    for header in ["x-signature", "webhook-signature", "close-sig-hash"] {
        assert_eq!(request.header(header), None, "{header}");
    }
}

#[tokio::test]
async fn a_campaign_confines_a_webhook_to_its_events() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.collect();
    let body = json!({ "targetUrl": URL, "campaignId": "sGyGrNPDxQDy6ZRAm" });
    let webhook = made(&http, body).await;
    assert_eq!(webhook["campaignId"], "sGyGrNPDxQDy6ZRAm");
    let of = |campaign: &str| v1::Event {
        campaign_id: campaign.to_owned(),
        ..event("created", "{}")
    };
    let events = || vec![of("sGyGrNPDxQDy6ZRAm"), of("another"), of("")];
    assert_eq!(tenancy.publish(events()).await, [1, 0, 0]);
    let change = json!({ "campaignId": "another" });
    let changed = http.post(&path_of(&webhook), &change).await.expect(200);
    assert_eq!(changed["campaignId"], "another");
    assert_eq!(tenancy.publish(events()).await, [0, 1, 0]);
    for nothing in [json!(null), json!("")] {
        let change = json!({ "campaignId": nothing });
        let changed = http.post(&path_of(&webhook), &change).await.expect(200);
        assert_eq!(changed.get("campaignId"), None);
        assert_eq!(
            tenancy.publish(events()).await,
            [1, 1, 1],
            "of every campaign"
        );
    }
}

#[tokio::test]
async fn a_delivery_is_the_raw_data() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    made(&tenancy.collect(), json!({ "targetUrl": receiver.url() })).await;
    let data = "{\"name\": \"Zoë 東京 🎉\",  \"b\":1.10}";
    let request = tenancy.sent(&receiver, event("created", data)).await;
    assert_eq!(request.body, data.as_bytes(), "byte for byte");
    assert_eq!(request.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn after_a_day_of_failures_a_webhook_is_to_be_paused() {
    let tenancy = Tenancy::quiet().await;
    made(&tenancy.collect(), json!({ "targetUrl": URL })).await;
    let request = v1::ListSubscriptionsRequest::default();
    let answer = tenancy.client.webhooks().list_subscriptions(request).await;
    let native = answer
        .expect("listed")
        .into_inner()
        .subscriptions
        .swap_remove(0);
    let policy = native.retry_policy.expect("shown");
    assert_eq!(policy.preset(), v1::RetryPreset::Collect);
    assert_eq!(policy.max_age.expect("shown").seconds, 24 * 3_600);
    assert_eq!(policy.on_exhausted(), v1::ExhaustionAction::Pause);
}

#[tokio::test]
async fn a_webhook_is_paused_once_a_delivery_is_given_up() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Status(500)).await;
    let http = tenancy.collect();
    let webhook = made(&http, json!({ "targetUrl": receiver.url() })).await;
    let hurried = v1::UpdateSubscriptionRequest {
        subscription: Some(v1::Subscription {
            id: webhook["_id"].as_str().expect("an id").to_owned(),
            retry_policy: Some(v1::RetryPolicy {
                max_attempts: 1,
                ..v1::RetryPolicy::default()
            }),
            ..v1::Subscription::default()
        }),
        ..v1::UpdateSubscriptionRequest::default()
    };
    let mut client = tenancy.client.webhooks();
    client.update_subscription(hurried).await.expect("changed");
    tenancy.publish(vec![event("created", "{}")]).await;
    assert!(receiver.wait_for(1, PATIENCE).await);
    let begun = std::time::Instant::now();
    while http.get(&path_of(&webhook)).await.expect(200)["status"] != "paused" {
        assert!(begun.elapsed() < PATIENCE, "it is not paused");
    }
    let activate = json!({ "status": "active" });
    let active = http.post(&path_of(&webhook), &activate).await.expect(200);
    assert_eq!(active["status"], "active");
}
