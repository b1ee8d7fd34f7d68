//! What is the same on all paths.

use super::*;

#[tokio::test]
async fn a_revoked_key_is_401_in_all() {
    let tenancy = Tenancy::quiet().await;
    let request = v1::CreateApiKeyRequest {
        tenant_id: tenancy.tenant.id.clone(),
        name: "soon revoked".to_owned(),
        role: v1::Role::Admin.into(),
        ..v1::CreateApiKeyRequest::default()
    };
    let mut admin = tenancy.system.operator(0).admin();
    let made = admin
        .create_api_key(request)
        .await
        .expect("made")
        .into_inner();
    let paths = ["/api/v1/webhook/", "/v1/webhooks", "/hooks"];
    let callers = [
        tenancy.close_with(&made.secret),
        tenancy.collect_with(&made.secret),
        tenancy.hookshot_with(&made.secret),
    ];
    for (http, path) in callers.iter().zip(paths) {
        http.get(path).await.expect(200);
    }
    let request = v1::RevokeApiKeyRequest {
        id: made.api_key.expect("an answer has its key").id,
    };
    admin.revoke_api_key(request).await.expect("revoked");
    let begun = Instant::now();
    for (http, path) in callers.iter().zip(paths) {
        // What a replica knows of a key it may believe for a moment.
        while http.get(path).await.status != 401 {
            assert!(begun.elapsed() < Duration::from_secs(10), "{path}");
        }
    }
}

#[tokio::test]
async fn the_description_has_every_path_and_needs_no_key() {
    let tenancy = Tenancy::quiet().await;
    let described = tenancy.anonymous().get("/openapi.json").await.expect(200);
    for (path, methods) in [
        ("/api/v1/webhook", &["get", "post"][..]),
        ("/api/v1/webhook/{id}", &["get", "put", "delete"]),
        ("/api/v1/event", &["get"]),
        ("/api/v1/event/{id}", &["get"]),
        ("/v1/webhooks", &["get", "post"]),
        ("/v1/webhooks/{id}", &["get", "post", "delete"]),
        ("/hooks", &["get", "post"]),
        ("/hooks/{id}", &["get", "put", "patch", "delete"]),
        ("/hooks/{id}/requests", &["get"]),
        ("/hooks/{id}/requests/{request}/redeliver", &["post"]),
    ] {
        for path in [path.to_owned(), format!("{path}/")] {
            let item = &described["paths"][&path];
            for method in methods {
                assert!(item[method].is_object(), "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn who_asks_before_sending_a_body_is_told_to_go_on() {
    let tenancy = Tenancy::quiet().await;
    let address = tenancy.anonymous().address();
    let auth = basic("", &tenancy.tenant.key);
    let body = json!({ "targetUrl": URL }).to_string();
    let head = format!(
        "POST /v1/webhooks HTTP/1.1\r\nHost: {address}\r\nAuthorization: {auth}\r\n\
         Expect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let reply = raw_in_parts(address, head.as_bytes(), Some(body.as_bytes())).await;
    assert_eq!(reply.expect(200)["targetUrl"], URL);
}

#[tokio::test]
async fn head_and_options_answer_as_get_does() {
    let tenancy = Tenancy::quiet().await;
    for (http, path) in [
        (tenancy.close(), "/api/v1/webhook/"),
        (tenancy.collect(), "/v1/webhooks"),
        (tenancy.hookshot(), "/hooks"),
    ] {
        let head = http.send("HEAD", path, None).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        let options = http.send("OPTIONS", path, None).await;
        let allowed = options.header("allow").expect("it says which");
        assert!(
            allowed.contains("GET") && allowed.contains("POST"),
            "{allowed}"
        );
    }
}

#[tokio::test]
async fn a_path_that_there_is_not_is_told_in_the_words_of_its_neighbours() {
    let tenancy = Tenancy::quiet().await;
    for path in [
        "/",
        "/api/v1/lead/",
        "/v1/other",
        "/hooks/a/b/c",
        "/v1/webhooks/a/b",
    ] {
        let told = tenancy.anonymous().get(path).await.expect(404);
        assert!(told["error"].is_string(), "{path}: {told}");
    }
}
