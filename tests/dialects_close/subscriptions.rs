//! Subscriptions made, read, changed and deleted.

use super::*;

#[tokio::test]
async fn a_new_subscription_is_answered_with_201_and_whole() {
    let tenancy = Tenancy::quiet().await;
    let webhook = made(&tenancy.close(), body(URL)).await;
    let id = webhook["id"].as_str().expect("an id");
    assert!(id.starts_with("whsub_"), "{id}");
    let key = webhook["signature_key"].as_str().expect("a key");
    assert!(key.len() == 64 && hex::decode(key).is_ok(), "{key}");
    assert!(is_time(&webhook["date_created"]), "{webhook}");
    assert!(webhook["created_by"].is_string());
    assert_eq!(
        webhook,
        json!({
            "id": id,
            "url": URL,
            "events": [{ "object_type": "lead", "action": "updated", "extra_filter": null }],
            "verify_ssl": true,
            "status": "active",
            "pause_reason": null,
            "health_status": null,
            "latest_error": null,
            "counters": {},
            "history": { "errors": [], "successes": [] },
            "recent_consecutive_fail_buckets_cnt": 0,
            "signature_key": key,
            "created_by": webhook["created_by"],
            "updated_by": webhook["created_by"],
            "date_created": webhook["date_created"],
            "date_updated": webhook["date_created"],
        })
    );
    assert_eq!(read(&tenancy.close(), &webhook).await, webhook);
}

#[tokio::test]
async fn a_list_has_data_and_has_more_and_no_keys() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.close();
    let empty = json!({ "data": [], "has_more": false });
    assert_eq!(http.get(ALL).await.expect(200), empty);
    let mut webhook = made(&http, body(URL)).await;
    let shown = webhook.as_object_mut().expect("an object");
    shown.remove("signature_key").expect("a new one has it");
    let listed = http.get(ALL).await.expect(200);
    assert_eq!(listed, json!({ "data": [webhook], "has_more": false }));
}

#[tokio::test]
async fn pages_have_a_limit_and_a_beginning() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.close();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(made(&http, body(URL)).await["id"].clone());
    }
    for (query, expected, has_more) in [
        ("_limit=2", &ids[..2], true),
        ("_limit=2&_skip=2", &ids[2..], false),
        ("_limit=2&_skip=1", &ids[1..], false),
        ("_limit=3", &ids[..], false),
        ("_skip=3", &[], false),
        ("_skip=100", &[], false),
    ] {
        let page = http.get(&format!("{ALL}?{query}")).await.expect(200);
        let found = page["data"].as_array().expect("a list").iter();
        let found: Vec<_> = found.map(|one| one["id"].clone()).collect();
        assert_eq!(found, expected, "{query}");
        assert_eq!(page["has_more"], has_more, "{query}");
    }
    for query in ["_limit=0", "_limit=x", "_skip=-1", "_page=1"] {
        http.get(&format!("{ALL}?{query}")).await.expect(400);
    }
}

#[tokio::test]
async fn every_put_is_partial_and_answers_whole() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.close();
    let mut webhook = made(&http, body(URL)).await;
    let events = json!([{ "object_type": "lead", "action": "*", "extra_filter": null }]);
    for (change, member, value) in [
        (
            json!({ "url": "https://b.example/" }),
            "url",
            json!("https://b.example/"),
        ),
        (json!({ "verify_ssl": false }), "verify_ssl", json!(false)),
        (json!({ "events": events }), "events", events.clone()),
        (json!({}), "status", json!("active")),
    ] {
        let changed = http.put(&path_of(&webhook), &change).await.expect(200);
        webhook[member] = value;
        webhook["date_updated"] = changed["date_updated"].clone();
        assert_eq!(changed, webhook, "{change}");
        assert_eq!(read(&http, &webhook).await, webhook, "{change}");
    }
}

#[tokio::test]
async fn null_means_not_given() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.close();
    let mut body = body(URL);
    body["verify_ssl"] = json!(null);
    let webhook = made(&http, body).await;
    assert_eq!(webhook["verify_ssl"], true);
    let nulls = json!({ "url": null, "events": null, "verify_ssl": null, "status": null });
    let changed = http.put(&path_of(&webhook), &nulls).await.expect(200);
    assert_eq!(changed, webhook);
}

#[tokio::test]
async fn arrays_are_replaced_whole() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.close();
    let mut two = body(URL);
    two["events"] = json!([
        { "object_type": "lead", "action": "updated" },
        { "object_type": "lead", "action": "created" },
    ]);
    let webhook = made(&http, two).await;
    let one = json!({ "events": [{ "object_type": "task", "action": "created" }] });
    let changed = http.put(&path_of(&webhook), &one).await.expect(200);
    let expected = json!([{ "object_type": "task", "action": "created", "extra_filter": null }]);
    assert_eq!(changed["events"], expected);
}

#[tokio::test]
async fn a_deletion_answers_an_empty_object() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.close();
    let webhook = made(&http, body(URL)).await;
    let deleted = http.delete(&path_of(&webhook)).await.expect(200);
    assert_eq!(deleted, json!({}));
    let told = http.get(&path_of(&webhook)).await.expect(404);
    assert!(told["error"].is_string(), "{told}");
    assert_eq!(count(&http).await, 0);
}

#[tokio::test]
async fn the_key_is_the_user_name_or_a_bearer_token() {
    let tenancy = Tenancy::quiet().await;
    let key = &tenancy.tenant.key;
    for authorization in [
        basic(key, ""),
        basic(key, "ignored"),
        format!("Bearer {key}"),
        format!("bearer {key}"),
    ] {
        let http = tenancy.anonymous().authorized(&authorization);
        assert_eq!(count(&http).await, 0);
    }
}

#[tokio::test]
async fn paths_answer_with_and_without_the_slash() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.close();
    let first = http.post("/api/v1/webhook", &body(URL)).await.expect(201);
    let second = http.post("/api/v1/webhook/", &body(URL)).await.expect(201);
    for webhook in [first, second] {
        let path = path_of(&webhook);
        let bare = path.trim_end_matches('/');
        for path in [bare, &path] {
            let found = http.get(path).await.expect(200);
            assert_eq!(found["id"], webhook["id"]);
            let pause = json!({ "status": "paused" });
            http.put(path, &pause).await.expect(200);
            http.put(path, &json!({ "status": "active" }))
                .await
                .expect(200);
            let listed = http.get("/api/v1/webhook").await.expect(200);
            assert_eq!(listed, http.get("/api/v1/webhook/").await.expect(200));
        }
    }
}

#[tokio::test]
async fn a_pause_says_that_the_api_asked_for_it() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.close();
    let webhook = made(&http, body(URL)).await;
    let lead = || vec![event_of("lead", "updated", "{}")];
    assert_eq!(tenancy.publish(lead()).await, [1]);
    let pause = json!({ "status": "paused" });
    let paused = http.put(&path_of(&webhook), &pause).await.expect(200);
    assert_eq!(paused["status"], "paused");
    assert_eq!(paused["pause_reason"], "api");
    assert_eq!(tenancy.publish(lead()).await, [0]);
    let resume = json!({ "status": "active" });
    let resumed = http.put(&path_of(&webhook), &resume).await.expect(200);
    assert_eq!(resumed["status"], "active");
    assert_eq!(resumed["pause_reason"], json!(null));
    assert_eq!(tenancy.publish(lead()).await, [1]);
}
