//! What is refused, and in which words.

use super::*;

#[tokio::test]
async fn a_target_is_required_and_nothing_else() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.collect();
    for body in [
        json!({}),
        json!({ "types": ["created"] }),
        json!({ "targetUrl": null }),
        json!({ "targetUrl": "" }),
        json!({ "targetUrl": "yourserver.com" }),
    ] {
        let told = http.post("/v1/webhooks", &body).await.expect(400);
        let line = told["error"].as_str().expect("a line");
        assert!(line.starts_with("targetUrl"), "{line}");
    }
    assert_eq!(all(&http).await, json!([]));
    made(&http, json!({ "targetUrl": URL })).await;
}

#[tokio::test]
async fn other_spellings_are_refused() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.collect();
    for name in [
        "portalSubmitted",
        "formSubmitted",
        "Created",
        "created ",
        "status_changed",
        "*",
        "",
    ] {
        let body = json!({ "targetUrl": URL, "types": ["smsSent", name] });
        let told = http.post("/v1/webhooks", &body).await.expect(400);
        let line = told["error"].as_str().expect("a line");
        assert!(
            line.starts_with("types[1]: must be one of created, "),
            "{line}"
        );
    }
    assert_eq!(all(&http).await, json!([]));
}

#[tokio::test]
async fn a_wrong_change_changes_nothing() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.collect();
    let webhook = made(&http, json!({ "targetUrl": URL })).await;
    for (body, member) in [
        (json!({ "status": "off" }), "status"),
        (json!({ "status": "paused", "types": "created" }), "types"),
        (
            json!({ "status": "paused", "targetUrl": "ftp://a/" }),
            "targetUrl",
        ),
        (
            json!({ "status": "paused", "secretToken": "a\nb" }),
            "secretToken",
        ),
        (json!({ "status": "paused", "colour": "red" }), "colour"),
    ] {
        let told = http.post(&path_of(&webhook), &body).await.expect(400);
        let line = told["error"].as_str().expect("a line");
        assert!(line.starts_with(member), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }
    assert_eq!(all(&http).await, json!([webhook]));
}

#[tokio::test]
async fn an_unknown_webhook_is_404_whatever_is_asked() {
    let (tenancy, other) = (Tenancy::quiet().await, Tenancy::quiet().await);
    let foreign = made(&other.collect(), json!({ "targetUrl": URL })).await;
    let http = tenancy.collect();
    for path in [NOBODY, "/v1/webhooks/eqQkPdnqwN7J38QEx", &path_of(&foreign)] {
        let told = http.get(path).await.expect(404);
        assert!(told["error"].is_string());
        let pause = json!({ "status": "paused" });
        http.post(path, &pause).await.expect(404);
        http.delete(path).await.expect(404);
    }
    assert_eq!(all(&other.collect()).await, json!([foreign]));
}

#[tokio::test]
async fn without_a_valid_key_it_is_401() {
    let tenancy = Tenancy::quiet().await;
    let key = &tenancy.tenant.key;
    for http in [
        tenancy.anonymous(),
        tenancy.collect_with("nobody's"),
        tenancy.anonymous().authorized(&basic(key, "")),
        tenancy.anonymous().authorized(&format!("Bearer {key}")),
        tenancy.anonymous().authorized("Basic !"),
    ] {
        let refused = http.get("/v1/webhooks").await;
        assert!(refused.expect(401)["error"].is_string());
        let challenge = refused.header("www-authenticate").expect("a challenge");
        assert!(challenge.starts_with("Basic "), "{challenge}");
        let body = json!({ "targetUrl": URL });
        http.post("/v1/webhooks", &body).await.expect(401);
    }
    assert_eq!(all(&tenancy.collect()).await, json!([]));
}

#[tokio::test]
async fn a_key_that_may_only_read_is_403() {
    let tenancy = Tenancy::quiet().await;
    let body = json!({ "targetUrl": URL, "secretToken": "geheim" });
    let webhook = made(&tenancy.collect(), body).await;
    let viewer = tenancy.collect_with(&tenancy.key(Role::Viewer).await);
    let read = viewer.get(&path_of(&webhook)).await.expect(200);
    assert_eq!(read["secretToken"], "[redacted]");
    let body = json!({ "targetUrl": URL });
    let told = viewer.post("/v1/webhooks", &body).await.expect(403);
    assert!(told["error"].is_string());
    viewer.post(&path_of(&webhook), &body).await.expect(403);
    viewer.delete(&path_of(&webhook)).await.expect(403);
    assert_eq!(all(&tenancy.collect()).await, json!([webhook]));
}

#[tokio::test]
async fn malformed_json_is_400_in_one_line() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.collect();
    let trailing_comma = format!("{{\n\"targetUrl\": \"{URL}\",\n}}");
    for body in [&*trailing_comma, "", "{", "[]", "null", "targetUrl=a"] {
        let sent = Some(("application/json", body.as_bytes()));
        let told = http.send("POST", "/v1/webhooks", sent).await.expect(400);
        let line = told["error"].as_str().expect("a line");
        assert!(!line.contains('\n'), "{line}");
    }
    assert_eq!(all(&http).await, json!([]));
}
