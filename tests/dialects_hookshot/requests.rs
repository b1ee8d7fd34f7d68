//! What was sent, and sending it again.

use super::*;

#[tokio::test]
async fn requests_are_listed_newest_first() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let hook = hook_at(&tenancy, &receiver, json!({})).await;
    let http = tenancy.hookshot();
    let path = format!("{}/requests", path_of(&hook));
    assert_eq!(http.get(&path).await.expect(200), json!([]));
    let mut watch = tenancy.watch().await;
    for action in ["created", "updated"] {
        tenancy.publish(vec![event_of("quote", action, "{}")]).await;
        watch.attempted().await;
    }
    let listed = http.get(&path).await.expect(200);
    let events: Vec<_> = (0..2).map(|at| &listed[at]["event"]).collect();
    assert_eq!(events, [&json!("quote:updated"), &json!("quote:created")]);
    let one = &listed[0];
    for id in ["id", "tenant_id", "delivery_id", "hook_id"] {
        assert!(is_uuid(&one[id]), "{id}: {one}");
    }
    for time in ["enqueued_at", "created_at", "updated_at"] {
        assert!(is_time(&one[time]), "{time}: {one}");
    }
    assert_eq!(one["hook_id"], hook["id"]);
    assert_eq!(one["tenant_id"], hook["tenant_id"]);
    assert_eq!(one["redelivery"], false);
    assert_eq!(one["response_status"], 200);
    assert!(one["response_duration_ms"].is_u64(), "{one}");
    assert_eq!(one.as_object().expect("an object").len(), 11, "{one}");
}

#[tokio::test]
async fn a_request_is_delivered_again() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let hook = hook_at(&tenancy, &receiver, json!({})).await;
    let http = tenancy.hookshot();
    let path = format!("{}/requests", path_of(&hook));
    let mut watch = tenancy.watch().await;
    tenancy
        .publish(vec![event_of("quote", "created", r#"{"n":1}"#)])
        .await;
    watch.attempted().await;
    let first = http.get(&path).await.expect(200)[0].clone();
    let id = first["id"].as_str().expect("an id");
    let again = format!("{path}/{id}/redeliver");
    let answered = http.send("POST", &again, None).await.expect(200);
    assert_eq!(answered["redelivery"], true);
    assert_eq!(answered["event"], "quote:created");
    assert_eq!(answered["id"], first["id"], "the same event");
    assert_ne!(answered["delivery_id"], first["delivery_id"]);
    watch.attempted().await;
    let received = receiver.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].body, received[1].body);
    let listed = http.get(&path).await.expect(200);
    let redelivered = listed.as_array().expect("a list").iter();
    let redelivered: Vec<_> = redelivered
        .filter(|one| one["redelivery"] == true)
        .collect();
    assert_eq!(redelivered.len(), 1, "{listed}");
    assert_eq!(redelivered[0]["response_status"], 200);
    assert_eq!(listed[0]["redelivery"], true, "the newest first");
    assert_eq!(listed[1]["delivery_id"], first["delivery_id"]);
}

#[tokio::test]
async fn requests_of_other_hooks_and_unknown_ones_are_404() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let hook = hook_at(&tenancy, &receiver, json!({})).await;
    let http = tenancy.hookshot();
    let other = made(&http, json!({ "url": URL })).await;
    let mut watch = tenancy.watch().await;
    tenancy
        .publish(vec![event_of("quote", "created", "{}")])
        .await;
    watch.attempted().await;
    let listed = http.get(&format!("{}/requests", path_of(&hook))).await;
    let listed = listed.expect(200);
    let id = listed[0]["id"].as_str().expect("an id");
    for path in [
        format!("{}/requests/{id}/redeliver", path_of(&other)),
        format!("{NOBODY}/requests/{id}/redeliver"),
        format!("{}/requests/nonsense/redeliver", path_of(&hook)),
        format!("{}/requests/{}/redeliver", path_of(&hook), &NOBODY[7..]),
    ] {
        http.send("POST", &path, None).await.expect(404);
    }
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_failed_request_shows_the_receivers_status() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Status(503)).await;
    let hook = hook_at(&tenancy, &receiver, json!({})).await;
    let mut watch = tenancy.watch().await;
    tenancy
        .publish(vec![event_of("quote", "created", "{}")])
        .await;
    let seen = watch.attempted().await;
    assert_eq!(seen.state(), v1::DeliveryState::Retrying);
    let path = format!("{}/requests", path_of(&hook));
    let listed = tenancy.hookshot().get(&path).await.expect(200);
    assert_eq!(listed[0]["response_status"], 503, "{listed}");
}
