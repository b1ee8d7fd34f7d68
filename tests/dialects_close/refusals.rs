//! What is refused, and in which words.

use super::*;

#[tokio::test]
async fn an_unknown_subscription_is_404_whatever_is_asked() {
    let (tenancy, other) = (Tenancy::quiet().await, Tenancy::quiet().await);
    let foreign = made(&other.close(), body(URL)).await;
    let http = tenancy.close();
    for path in [NOBODY, "/api/v1/webhook/nonsense/", &path_of(&foreign)] {
        for reply in [
            http.get(path).await,
            http.put(path, &json!({ "status": "paused" })).await,
            http.delete(path).await,
        ] {
            let told = reply.expect(404);
            assert!(told["error"].is_string(), "{told}");
            assert_eq!(told.as_object().expect("an object").len(), 1, "{told}");
        }
    }
    assert_eq!(read(&other.close(), &foreign).await, foreign);
}

#[tokio::test]
async fn without_a_valid_credential_it_is_401() {
    let tenancy = Tenancy::quiet().await;
    let key = &tenancy.tenant.key;
    for http in [
        tenancy.anonymous(),
        tenancy.close_with("nobody's"),
        tenancy.anonymous().authorized(&basic("", key)),
        tenancy.anonymous().authorized("Bearer nobody's"),
        tenancy.anonymous().authorized(key),
    ] {
        let refused = http.get(ALL).await;
        assert!(refused.expect(401)["error"].is_string());
        assert!(refused.header("www-authenticate").is_some());
        http.post(ALL, &body(URL)).await.expect(401);
        http.post(ALL, &json!({})).await.expect(401);
        http.get("/api/v1/webhook/nonsense/").await.expect(401);
    }
    assert_eq!(count(&tenancy.close()).await, 0);
}

#[tokio::test]
async fn a_missing_field_is_named_in_these_words() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.close();
    for (body, fields) in [
        (
            json!({ "events": [{ "object_type": "lead", "action": "updated" }] }),
            json!({ "url": REQUIRED }),
        ),
        (json!({ "url": URL }), json!({ "events": REQUIRED })),
        (json!({}), json!({ "url": REQUIRED, "events": REQUIRED })),
        (
            json!({ "url": URL, "events": [
                { "object_type": "lead", "action": "updated" },
                { "object_type": "lead" },
            ]}),
            json!({ "events": { "errors": { "1": { "field-errors": { "action": REQUIRED } } } } }),
        ),
    ] {
        let told = http.post(ALL, &body).await.expect(400);
        assert_eq!(told, json!({ "errors": [], "field-errors": fields }));
    }
    assert_eq!(count(&http).await, 0);
}

#[tokio::test]
async fn a_wrong_field_is_named() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.close();
    let webhook = made(&http, body(URL)).await;
    for (change, field) in [
        (json!({ "url": "example.com" }), "url"),
        (json!({ "url": 1 }), "url"),
        (json!({ "events": [] }), "events"),
        (
            json!({ "events": [{ "object_type": "a b", "action": "c" }] }),
            "events",
        ),
        (json!({ "verify_ssl": "no" }), "verify_ssl"),
        (json!({ "status": "off" }), "status"),
        (json!({ "colour": "red" }), "colour"),
    ] {
        let told = http.put(&path_of(&webhook), &change).await.expect(400);
        let fields = told["field-errors"].as_object().expect("an object");
        assert_eq!(fields.keys().collect::<Vec<_>>(), [field], "{change}");
    }
    assert_eq!(read(&http, &webhook).await, webhook);
}

#[tokio::test]
async fn malformed_json_is_400() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.close();
    let trailing_comma = format!(r#"{{"url": "{URL}",}}"#);
    for body in [&*trailing_comma, "", "{", "[]", "null"] {
        let sent = Some(("application/json", body.as_bytes()));
        let told = http.send("POST", ALL, sent).await.expect(400);
        let errors = told["errors"].as_array().expect("a list");
        assert_eq!(errors.len(), 1, "{body}");
    }
    assert_eq!(count(&http).await, 0);
}

#[tokio::test]
async fn other_methods_are_405_and_other_types_415() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.close();
    let webhook = made(&http, body(URL)).await;
    let patched = http.json("PATCH", &path_of(&webhook), &json!({})).await;
    assert!(patched.expect(405)["error"].is_string());
    let allowed = patched.header("allow").expect("it says which");
    for method in ["GET", "PUT", "DELETE"] {
        assert!(allowed.contains(method), "{allowed}");
    }
    http.delete(ALL).await.expect(405);
    let text = body(URL).to_string();
    for kind in ["application/x-www-form-urlencoded", "text/plain"] {
        let sent = Some((kind, text.as_bytes()));
        let told = http.send("POST", ALL, sent).await.expect(415);
        assert!(told["error"].is_string(), "{told}");
    }
    assert_eq!(count(&http).await, 1);
}

#[tokio::test]
async fn a_wrong_filter_is_refused_with_the_path_of_the_node() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.close();
    let mut filtered = body(URL);
    filtered["events"][0]["extra_filter"] = json!({
        "type": "and",
        "filters": [{ "type": "is_null" }, { "type": "nonsense" }],
    });
    let told = http.post(ALL, &filtered).await.expect(400);
    let node = "/field-errors/events/errors/0/field-errors/extra_filter/field-errors/filters";
    let node = told.pointer(node).unwrap_or_else(|| panic!("{told}"));
    assert!(
        node["errors"]["1"].is_object() || node["errors"]["1"].is_string(),
        "{told}"
    );
    assert_eq!(count(&http).await, 0);
}

#[tokio::test]
async fn a_member_changes_their_own_and_no_others() {
    let tenancy = Tenancy::quiet().await;
    let admin = tenancy.close();
    let member = tenancy.close_with(&tenancy.key(Role::Member).await);
    let (theirs, own) = (
        made(&admin, body(URL)).await,
        made(&member, body(URL)).await,
    );
    let change = json!({ "url": "https://b.example/" });
    for reply in [
        member.put(&path_of(&theirs), &change).await,
        member.delete(&path_of(&theirs)).await,
    ] {
        assert!(reply.expect(403)["error"].is_string());
    }
    assert_eq!(read(&admin, &theirs).await, theirs, "nothing was changed");
    let changed = member.put(&path_of(&own), &change).await.expect(200);
    assert_eq!(changed["url"], "https://b.example/");
    assert_eq!(read(&member, &theirs).await["signature_key"], json!(null));
    admin.put(&path_of(&own), &change).await.expect(200);
    member.delete(&path_of(&own)).await.expect(200);
}

#[tokio::test]
async fn a_key_that_may_only_read_is_403() {
    let tenancy = Tenancy::quiet().await;
    let webhook = made(&tenancy.close(), body(URL)).await;
    let viewer = tenancy.close_with(&tenancy.key(Role::Viewer).await);
    assert_eq!(read(&viewer, &webhook).await["signature_key"], json!(null));
    let told = viewer.post(ALL, &body(URL)).await.expect(403);
    assert!(told["error"].is_string(), "{told}");
    viewer.delete(&path_of(&webhook)).await.expect(403);
    let publisher = tenancy.close_with(&tenancy.key(Role::Publisher).await);
    publisher.get(ALL).await.expect(403);
    assert_eq!(count(&tenancy.close()).await, 1);
}
