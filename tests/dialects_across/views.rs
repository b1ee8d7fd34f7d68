//! A subscription of each origin, seen through all.

use super::*;

#[tokio::test]
async fn closes_subscription_is_seen_through_all() {
    let tenancy = Tenancy::quiet().await;
    let body = json!({
        "url": URL,
        "events": [
            { "object_type": "lead", "action": "updated", "extra_filter": { "type": "non_null" } },
            { "object_type": "collect", "action": "created" },
        ],
        "verify_ssl": false,
    });
    tenancy
        .close()
        .post("/api/v1/webhook/", &body)
        .await
        .expect(201);
    let views = views(&tenancy).await;
    assert_eq!(views.collect["targetUrl"], URL);
    assert_eq!(views.collect["types"], json!(["created"]));
    assert_eq!(views.collect["status"], "active");
    assert_eq!(views.hookshot["active"], true);
    assert_eq!(
        views.hookshot["events"],
        json!(["lead:updated", "collect:created"])
    );
    let config = json!({ "url": URL, "secret": null, "header": null });
    assert_eq!(
        views.hookshot["config"], config,
        "its key is no secret of Hookshot's"
    );
    let native = native(&tenancy).await;
    assert_eq!(native.verify_ssl, Some(false));
    assert_eq!(native.events[0].extra_filter, r#"{"type":"non_null"}"#);
    let scheme = native.signing.expect("shown").scheme;
    assert_eq!(scheme, Some(Scheme::Close(v1::CloseScheme {})));
}

#[tokio::test]
async fn collects_webhook_is_seen_through_all() {
    let tenancy = Tenancy::quiet().await;
    let body = json!({ "targetUrl": URL, "types": ["smsSent"], "secretToken": "t" });
    let webhook = tenancy
        .collect()
        .post("/v1/webhooks", &body)
        .await
        .expect(200);
    let views = views(&tenancy).await;
    assert_eq!(views.close["id"], webhook["_id"]);
    assert_eq!(views.close["url"], URL);
    let events = json!([{ "object_type": "collect", "action": "smsSent", "extra_filter": null }]);
    assert_eq!(views.close["events"], events);
    assert_eq!(views.close["status"], "active");
    assert_eq!(views.hookshot["events"], json!(["collect:smsSent"]));
    assert_eq!(views.hookshot["config"]["header"], "x-secret-token: t");
    let native = native(&tenancy).await;
    assert_eq!(native.headers, [header("x-secret-token", "t")]);
    let scheme = native.signing.expect("shown").scheme;
    assert_eq!(scheme, Some(Scheme::Unsigned(v1::UnsignedScheme {})));
}

#[tokio::test]
async fn hookshots_hook_is_seen_through_all() {
    let tenancy = Tenancy::quiet().await;
    let body = json!({
        "url": URL, "events": ["quote", "*"], "header": "X-Secret-Token: t", "secret": "s",
    });
    tenancy.hookshot().post("/hooks", &body).await.expect(201);
    let views = views(&tenancy).await;
    assert_eq!(views.close["status"], "paused");
    assert_eq!(views.close["pause_reason"], "api");
    assert_eq!(views.close["events"][0]["object_type"], "quote");
    assert_eq!(views.close["events"][0]["action"], "*");
    let read = tenancy.close();
    let path = format!(
        "/api/v1/webhook/{}/",
        views.close["id"].as_str().expect("an id")
    );
    let alone = read.get(&path).await.expect(200);
    assert_eq!(
        alone["signature_key"],
        json!(null),
        "its secret is no key of Close's"
    );
    assert_eq!(views.collect["status"], "paused");
    assert_eq!(views.collect["secretToken"], "t");
    assert_eq!(views.collect["types"].as_array().expect("a list").len(), 25);
    let native = native(&tenancy).await;
    let signing = native.signing.expect("shown");
    assert!(matches!(signing.scheme, Some(Scheme::HmacHeader(_))));
    assert_eq!(signing.keys[0].secret, "s");
    let timeouts = native.timeouts.expect("shown");
    assert_eq!(timeouts.connect.expect("shown").seconds, 5);
    assert_eq!(timeouts.total.expect("shown").seconds, 60);
}

#[tokio::test]
async fn a_native_subscription_is_seen_through_all() {
    let tenancy = Tenancy::quiet().await;
    tenancy.client.create(rich()).await;
    let views = views(&tenancy).await;
    let filter: Value = serde_json::from_str(FILTER).expect("JSON");
    assert_eq!(views.close["events"][0]["extra_filter"], filter);
    assert_eq!(views.close["events"][1]["extra_filter"], json!(null));
    assert_eq!(views.collect["types"], json!(["smsSent"]));
    assert!(views.collect.get("secretToken").is_none());
    assert_eq!(views.collect["campaignId"], "campaign");
    let events = json!(["quote:created", "lead", "collect:smsSent"]);
    assert_eq!(views.hookshot["events"], events);
    assert_eq!(views.hookshot["config"]["header"], "X-First: 1");
}

#[tokio::test]
async fn a_hook_without_events_is_seen_through_all() {
    let tenancy = Tenancy::quiet().await;
    tenancy
        .hookshot()
        .post("/hooks", &json!({ "url": URL }))
        .await
        .expect(201);
    let views = views(&tenancy).await;
    assert_eq!(views.close["events"], json!([]));
    assert_eq!(views.collect["types"], json!([]));
    let resume = v1::ResumeSubscriptionRequest {
        id: views.close["id"].as_str().expect("an id").to_owned(),
        ..v1::ResumeSubscriptionRequest::default()
    };
    let refused = tenancy.client.webhooks().resume_subscription(resume).await;
    let code = refused.expect_err("nothing to match").code();
    assert_eq!(code, tonic::Code::FailedPrecondition);
    let path = format!(
        "/api/v1/webhook/{}/",
        views.close["id"].as_str().expect("an id")
    );
    let resume = json!({ "status": "active" });
    let told = tenancy.close().put(&path, &resume).await.expect(400);
    assert!(told["field-errors"]["events"].is_string(), "{told}");
}

#[tokio::test]
async fn a_pause_through_one_is_a_pause_in_all() {
    let tenancy = Tenancy::quiet().await;
    let before = tenancy.client.create(rich()).await;
    let id = &before.id;
    let close = format!("/api/v1/webhook/{id}/");
    let (collect, hookshot) = (format!("/v1/webhooks/{id}"), format!("/hooks/{id}"));
    let (paused, active) = (json!({ "status": "paused" }), json!({ "status": "active" }));
    for round in 0..3 {
        for (wanted, status) in [("paused", &paused), ("active", &active)] {
            let reply = match round {
                0 => tenancy.close().put(&close, status).await,
                1 => tenancy.collect().post(&collect, status).await,
                _ => {
                    let body = json!({ "active": wanted == "active" });
                    tenancy.hookshot().put(&hookshot, &body).await
                }
            };
            reply.expect(200);
            let views = views(&tenancy).await;
            assert_eq!(views.close["status"], wanted);
            assert_eq!(views.collect["status"], wanted);
            assert_eq!(views.hookshot["active"], wanted == "active");
            let native = native(&tenancy).await;
            let is_active = native.status() == SubscriptionStatus::Active;
            assert_eq!(is_active, wanted == "active");
            assert_eq!(without_status(native), without_status(before.clone()));
        }
    }
}

#[tokio::test]
async fn a_deletion_through_one_is_a_deletion_in_all() {
    let tenancy = Tenancy::quiet().await;
    let id = tenancy.client.create(rich()).await.id;
    tenancy.hookshot().delete(&format!("/hooks/{id}")).await;
    let close = tenancy.close().get(&format!("/api/v1/webhook/{id}/")).await;
    close.expect(404);
    tenancy
        .collect()
        .get(&format!("/v1/webhooks/{id}"))
        .await
        .expect(404);
    tenancy
        .hookshot()
        .get(&format!("/hooks/{id}"))
        .await
        .expect(404);
}
