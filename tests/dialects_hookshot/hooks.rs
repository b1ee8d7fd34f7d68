//! Hooks made, read, changed and deleted.

use super::*;

#[tokio::test]
async fn a_url_is_enough_and_the_hook_is_not_active() {
    let tenancy = Tenancy::quiet().await;
    let hook = made(&tenancy.hookshot(), json!({ "url": URL })).await;
    assert!(is_uuid(&hook["id"]), "{hook}");
    assert!(is_uuid(&hook["tenant_id"]) && is_uuid(&hook["owner_id"]));
    assert!(is_time(&hook["created_at"]) && is_time(&hook["updated_at"]));
    assert_eq!(
        hook,
        json!({
            "id": hook["id"],
            "active": false,
            "confirmed": false,
            "events": [],
            "config": { "url": URL, "secret": null, "header": null },
            "owner_id": hook["owner_id"],
            "tenant_id": hook["tenant_id"],
            "created_at": hook["created_at"],
            "updated_at": hook["created_at"],
        })
    );
}

#[tokio::test]
async fn a_hook_with_everything_nests_its_config() {
    let tenancy = Tenancy::quiet().await;
    let body = json!({
        "active": true,
        "events": ["application_form", "quote:created"],
        "header": "X-Token: abc",
        "secret": "geheim",
        "url": URL,
    });
    let hook = made(&tenancy.hookshot(), body).await;
    let config = json!({ "url": URL, "secret": "geheim", "header": "X-Token: abc" });
    assert_eq!(hook["active"], true);
    assert_eq!(hook["events"], json!(["application_form", "quote:created"]));
    assert_eq!(hook["config"], config);
    let names: Vec<_> = hook.as_object().expect("an object").keys().collect();
    assert_eq!(names.len(), 9, "{names:?}");
    let read = tenancy.hookshot().get(&path_of(&hook)).await.expect(200);
    assert_eq!(read, hook);
}

#[tokio::test]
async fn the_list_is_a_bare_array_with_whole_hooks() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.hookshot();
    assert_eq!(http.get("/hooks").await.expect(200), json!([]));
    let first = made(&http, json!({ "url": URL, "secret": "s" })).await;
    let second = made(&http, json!({ "url": URL })).await;
    assert_eq!(http.get("/hooks").await.expect(200), json!([first, second]));
}

#[tokio::test]
async fn a_hook_is_found_by_either_text_of_its_id() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.hookshot();
    let created = tenancy.client.create(subscription(URL, "quote")).await;
    let listed = http.get("/hooks").await.expect(200);
    let uuid = listed[0]["id"].as_str().expect("an id").to_owned();
    for id in [&created.id, &uuid, &uuid.to_uppercase()] {
        let read = http.get(&format!("/hooks/{id}")).await.expect(200);
        assert_eq!(read["id"], json!(uuid), "{id}");
    }
}

#[tokio::test]
async fn put_changes_what_is_given_and_keeps_the_rest() {
    changes_by("PUT").await;
}

#[tokio::test]
async fn patch_changes_what_is_given_and_keeps_the_rest() {
    changes_by("PATCH").await;
}

async fn changes_by(method: &str) {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.hookshot();
    let body = json!({
        "active": true, "events": ["quote"], "header": "A: b", "secret": "s", "url": URL,
    });
    let mut hook = made(&http, body).await;
    for (body, member, value) in [
        (json!({ "active": false }), "/active", json!(false)),
        (json!({ "events": ["*"] }), "/events", json!(["*"])),
        (json!({ "header": "C: d" }), "/config/header", json!("C: d")),
        (json!({ "secret": "t" }), "/config/secret", json!("t")),
        (
            json!({ "url": "https://b.example/" }),
            "/config/url",
            json!("https://b.example/"),
        ),
        (json!({}), "/confirmed", json!(false)),
    ] {
        let changed = http.json(method, &path_of(&hook), &body).await.expect(200);
        *hook.pointer_mut(member).expect("a member") = value;
        hook["updated_at"] = changed["updated_at"].clone();
        assert_eq!(changed, hook, "{body}");
        assert_eq!(http.get(&path_of(&hook)).await.expect(200), hook, "{body}");
    }
}

#[tokio::test]
async fn what_was_read_can_be_sent_back() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.hookshot();
    let body = json!({ "events": ["quote"], "header": "A: b", "secret": "s", "url": URL });
    let mut hook = made(&http, body).await;
    let same = http.put(&path_of(&hook), &hook).await.expect(200);
    assert_eq!(same["config"], hook["config"]);
    hook["active"] = json!(true);
    let activated = http.put(&path_of(&hook), &hook).await.expect(200);
    hook["updated_at"] = activated["updated_at"].clone();
    assert_eq!(activated, hook);
}

#[tokio::test]
async fn null_and_the_empty_text_take_header_and_secret_away() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.hookshot();
    for nothing in [json!(null), json!("")] {
        let body = json!({ "header": "A: b", "secret": "s", "url": URL });
        let hook = made(&http, body).await;
        let body = json!({ "header": nothing, "secret": nothing });
        let changed = http.put(&path_of(&hook), &body).await.expect(200);
        let config = json!({ "url": URL, "secret": null, "header": null });
        assert_eq!(changed["config"], config);
    }
}

#[tokio::test]
async fn a_deletion_answers_204_without_a_body() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.hookshot();
    let hook = made(&http, json!({ "url": URL })).await;
    let deleted = http.delete(&path_of(&hook)).await;
    assert_eq!((deleted.status, &*deleted.body), (204, &b""[..]));
    http.get(&path_of(&hook)).await.expect(404);
    let requests = format!("{}/requests", path_of(&hook));
    http.get(&requests).await.expect(404);
    assert_eq!(http.get("/hooks").await.expect(200), json!([]));
}

#[tokio::test]
async fn at_most_ten_are_active() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.hookshot();
    let active = || json!({ "url": URL, "active": true, "events": ["*"] });
    let mut hooks = Vec::new();
    for _ in 0..10 {
        hooks.push(made(&http, active()).await);
    }
    let refused = http.post("/hooks", &active()).await.expect(422);
    let texts = refused["active"].as_array().expect("texts");
    assert_eq!(
        (texts.len(), refused.as_object().expect("one").len()),
        (1, 1)
    );
    let waiting = made(&http, json!({ "url": URL, "events": ["*"] })).await;
    let activate = json!({ "active": true });
    let refused = http.put(&path_of(&waiting), &activate).await.expect(422);
    assert!(refused["active"].is_array(), "{refused}");
    assert_eq!(http.get(&path_of(&waiting)).await.expect(200), waiting);
    let pause = json!({ "active": false });
    http.put(&path_of(&hooks[0]), &pause).await.expect(200);
    http.put(&path_of(&waiting), &activate).await.expect(200);
    // One that is active already takes nobody's place.
    let same = json!({ "active": true, "header": "A: b" });
    http.put(&path_of(&hooks[1]), &same).await.expect(200);
    let listed = http.get("/hooks").await.expect(200);
    assert_eq!(listed.as_array().expect("a list").len(), 11);
}

#[tokio::test]
async fn a_hook_has_hookshots_limits_and_back_off() {
    let tenancy = Tenancy::quiet().await;
    let hook = made(&tenancy.hookshot(), json!({ "url": URL })).await;
    let request = v1::ListSubscriptionsRequest::default();
    let answer = tenancy.client.webhooks().list_subscriptions(request).await;
    let native = answer
        .expect("listed")
        .into_inner()
        .subscriptions
        .swap_remove(0);
    assert_eq!(hook["config"]["url"], json!(native.url));
    let timeouts = native.timeouts.expect("shown");
    assert_eq!(timeouts.connect.expect("shown").seconds, 5);
    assert_eq!(timeouts.total.expect("shown").seconds, 60);
    let policy = native.retry_policy.expect("shown");
    assert_eq!(policy.preset(), v1::RetryPreset::Hookshot);
    assert_eq!(policy.max_attempts, 25);
}
