//! What is refused, and in which words.

use super::*;

fn assert_refused(reply: &Reply, body: &Value) {
    assert_eq!(&reply.expect(422), body);
}

#[tokio::test]
async fn an_unknown_hook_is_404_whatever_is_asked() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.hookshot();
    for path in [NOBODY, "/hooks/nonsense", "/hooks/%ff"] {
        let told = http.get(path).await.expect(404);
        assert!(told["error"].is_string(), "{told}");
        http.put(path, &json!({ "active": false }))
            .await
            .expect(404);
        http.json("PATCH", path, &json!({})).await.expect(404);
        http.delete(path).await.expect(404);
        http.get(&format!("{path}/requests")).await.expect(404);
    }
}

#[tokio::test]
async fn a_hook_of_another_tenant_is_404() {
    let (tenancy, other) = (Tenancy::quiet().await, Tenancy::quiet().await);
    let hook = made(&other.hookshot(), json!({ "url": URL })).await;
    let http = tenancy.hookshot();
    http.get(&path_of(&hook)).await.expect(404);
    http.delete(&path_of(&hook)).await.expect(404);
    other.hookshot().get(&path_of(&hook)).await.expect(200);
}

#[tokio::test]
async fn without_a_valid_token_it_is_401() {
    let tenancy = Tenancy::quiet().await;
    let key = &tenancy.tenant.key;
    for http in [
        tenancy.anonymous(),
        tenancy.hookshot_with("nobody's"),
        tenancy.anonymous().authorized(&basic(key, "")),
        tenancy.anonymous().authorized(key),
    ] {
        let refused = http.get("/hooks").await;
        assert!(refused.expect(401)["error"].is_string());
        assert!(refused.header("www-authenticate").is_some());
        http.post("/hooks", &json!({ "url": URL }))
            .await
            .expect(401);
    }
    assert_eq!(
        tenancy.hookshot().get("/hooks").await.expect(200),
        json!([])
    );
}

#[tokio::test]
async fn a_header_without_colon_is_refused_in_these_words() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.hookshot();
    let words = json!({ "header": ["colon separated key value pair"] });
    let body = json!({ "url": URL, "header": "nothing" });
    assert_refused(&http.post("/hooks", &body).await, &words);
    assert_eq!(
        http.get("/hooks").await.expect(200),
        json!([]),
        "none was made"
    );
    let hook = made(&http, json!({ "url": URL, "header": "A: b" })).await;
    let body = json!({ "header": "nothing" });
    assert_refused(&http.put(&path_of(&hook), &body).await, &words);
    assert_eq!(http.get(&path_of(&hook)).await.expect(200), hook);
}

#[tokio::test]
async fn an_empty_or_missing_url_is_refused_in_these_words() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.hookshot();
    let words = json!({ "url": ["can't be blank"] });
    for body in [
        json!({}),
        json!({ "url": "" }),
        json!({ "url": null }),
        json!({ "url": " ", "active": false }),
    ] {
        assert_refused(&http.post("/hooks", &body).await, &words);
    }
    let hook = made(&http, json!({ "url": URL })).await;
    let blank = json!({ "url": "" });
    assert_refused(&http.put(&path_of(&hook), &blank).await, &words);
    assert_eq!(http.get("/hooks").await.expect(200), json!([hook]));
}

#[tokio::test]
async fn every_other_wrong_member_is_named_too() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.hookshot();
    for (body, member) in [
        (json!({ "url": "example.com" }), "url"),
        (json!({ "url": URL, "header": "Host: a" }), "header"),
        (json!({ "url": URL, "header": "A: \u{e4}" }), "header"),
        (json!({ "url": URL, "events": ["a:b:c"] }), "events"),
        (json!({ "url": URL, "events": [""] }), "events"),
        (json!({ "url": URL, "events": "*" }), "events"),
        (json!({ "url": URL, "active": "yes" }), "active"),
        (json!({ "url": URL, "secret": "x".repeat(2_000) }), "secret"),
        (json!({ "url": URL, "colour": "red" }), "colour"),
    ] {
        let told = http.post("/hooks", &body).await.expect(422);
        let told = told.as_object().expect("an object");
        assert_eq!(told.keys().collect::<Vec<_>>(), [member], "{body}");
        let texts = told[member].as_array().expect("texts");
        assert!(!texts.is_empty() && texts.iter().all(Value::is_string));
    }
    assert_eq!(http.get("/hooks").await.expect(200), json!([]));
}

#[tokio::test]
async fn malformed_json_is_400() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.hookshot();
    let trailing_comma = format!(r#"{{"url": "{URL}",}}"#);
    for body in [&*trailing_comma, "", "{", "[]", "null", "url=a"] {
        let sent = Some(("application/json", body.as_bytes()));
        let refused = http.send("POST", "/hooks", sent).await;
        assert!(refused.expect(400)["error"].is_string(), "{body}");
    }
    assert_eq!(http.get("/hooks").await.expect(200), json!([]));
}

#[tokio::test]
async fn an_active_hook_needs_an_event() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.hookshot();
    for body in [
        json!({ "url": URL, "active": true }),
        json!({ "url": URL, "active": true, "events": [] }),
    ] {
        let told = http.post("/hooks", &body).await.expect(422);
        assert!(told["events"].is_array(), "{told}");
    }
    assert_eq!(http.get("/hooks").await.expect(200), json!([]));
}

#[tokio::test]
async fn it_is_the_merged_hook_that_needs_an_event() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.hookshot();
    let hook = made(&http, json!({ "url": URL })).await;
    let activate = json!({ "active": true });
    let told = http.put(&path_of(&hook), &activate).await.expect(422);
    assert!(told["events"].is_array(), "{told}");
    let both = json!({ "active": true, "events": ["quote"] });
    let active = http.put(&path_of(&hook), &both).await.expect(200);
    assert_eq!(active["active"], true);
    let empty = json!({ "events": [] });
    http.put(&path_of(&hook), &empty).await.expect(422);
    assert_eq!(http.get(&path_of(&hook)).await.expect(200), active);
    let rest = json!({ "active": false, "events": [] });
    let paused = http.put(&path_of(&hook), &rest).await.expect(200);
    assert_eq!(
        (&paused["active"], &paused["events"]),
        (&json!(false), &json!([]))
    );
}

#[tokio::test]
async fn who_may_only_read_sees_no_secret_and_changes_nothing() {
    let tenancy = Tenancy::quiet().await;
    let body = json!({ "url": URL, "secret": "geheim", "header": "X-Token: geheim" });
    let hook = made(&tenancy.hookshot(), body).await;
    let viewer = tenancy.hookshot_with(&tenancy.key(Role::Viewer).await);
    let read = viewer.get(&path_of(&hook)).await;
    assert!(!String::from_utf8_lossy(&read.body).contains("geheim"));
    assert_eq!(read.expect(200)["config"]["secret"], "[redacted]");
    viewer
        .put(&path_of(&hook), &json!({ "url": URL }))
        .await
        .expect(403);
    viewer.delete(&path_of(&hook)).await.expect(403);
    viewer
        .post("/hooks", &json!({ "url": URL }))
        .await
        .expect(403);
    let unchanged = tenancy.hookshot().get("/hooks").await.expect(200);
    assert_eq!(unchanged, json!([hook]));
}
