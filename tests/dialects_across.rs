//! One subscription through several APIs, and the requests that clients of eight languages
//! send.
//!
//! Each dialect shows a subscription of any origin as far as it has words for it, and a
//! change through it keeps what it has none for. The requests are written down as the
//! clients put them on the wire.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sidehook_api::v1::{self, SubscriptionStatus, signing::Scheme};
use sidehook_testkit::{
    http::{Reply, raw, raw_in_parts},
    tenancy::Tenancy,
};

const URL: &str = "https://example.com/hook";
const FILTER: &str =
    r#"{"type":"field_accessor","field":"user_id","filter":{"type":"equals","value":"user_1"}}"#;

fn pattern(object_type: &str, action: &str, extra_filter: &str) -> v1::EventPattern {
    v1::EventPattern {
        object_type: object_type.to_owned(),
        action: action.to_owned(),
        extra_filter: extra_filter.to_owned(),
    }
}

fn header(name: &str, value: &str) -> v1::Header {
    v1::Header {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

/// The only subscription of the tenant, by the native API.
async fn native(tenancy: &Tenancy) -> v1::Subscription {
    let request = v1::ListSubscriptionsRequest::default();
    let mut client = tenancy.client.webhooks();
    let answer = client.list_subscriptions(request).await;
    let mut all = answer.expect("listed").into_inner().subscriptions;
    assert_eq!(all.len(), 1);
    let request = v1::GetSubscriptionRequest {
        id: all.swap_remove(0).id,
    };
    let answer = client.get_subscription(request).await;
    let found = answer.expect("read").into_inner().subscription;
    found.expect("an answer has its subscription")
}

/// The only subscription of the tenant, by each dialect.
struct Views {
    close: Value,
    collect: Value,
    hookshot: Value,
}

async fn views(tenancy: &Tenancy) -> Views {
    let only = |list: Value| {
        assert_eq!(list.as_array().expect("a list").len(), 1, "{list}");
        list[0].clone()
    };
    let close = tenancy.close().get("/api/v1/webhook/").await.expect(200);
    let collect = tenancy.collect().get("/v1/webhooks").await.expect(200);
    let hookshot = tenancy.hookshot().get("/hooks").await.expect(200);
    Views {
        close: only(close["data"].clone()),
        collect: only(collect),
        hookshot: only(hookshot),
    }
}

/// A subscription with what no dialect has words for.
fn rich() -> v1::Subscription {
    v1::Subscription {
        url: URL.to_owned(),
        events: vec![
            pattern("quote", "created", FILTER),
            pattern("lead", "*", ""),
            pattern("collect", "smsSent", FILTER),
        ],
        headers: vec![header("X-First", "1"), header("X-Second", "2")],
        description: "a note".to_owned(),
        campaign_id: "campaign".to_owned(),
        format: v1::DeliveryFormat::CloudEventsBinary.into(),
        max_in_flight: 7,
        ..v1::Subscription::default()
    }
}

/// What must stay the same where only the status is changed.
fn without_status(mut subscription: v1::Subscription) -> v1::Subscription {
    subscription.status = 0;
    subscription.pause_reason.clear();
    subscription.etag.clear();
    subscription.updated_at = None;
    subscription
}

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
async fn a_change_through_hookshot_keeps_what_it_has_no_words_for() {
    let tenancy = Tenancy::quiet().await;
    let before = tenancy.client.create(rich()).await;
    let path = format!("/hooks/{}", before.id);
    let body =
        json!({ "header": "X-New: 3", "events": ["collect:smsSent", "form", "quote:created"] });
    tenancy.hookshot().put(&path, &body).await.expect(200);
    let after = native(&tenancy).await;
    assert_eq!(
        after.headers,
        [header("X-New", "3"), header("X-Second", "2")]
    );
    let expected = [
        pattern("collect", "smsSent", FILTER),
        pattern("form", "*", ""),
        pattern("quote", "created", FILTER),
    ];
    assert_eq!(after.events, expected);
    assert_eq!(after.signing, before.signing);
    assert_eq!(after.timeouts, before.timeouts);
    assert_eq!((&*after.description, after.max_in_flight), ("a note", 7));
    assert_eq!(
        (&*after.campaign_id, after.format),
        ("campaign", before.format)
    );
}

#[tokio::test]
async fn a_change_through_collect_keeps_what_it_has_no_words_for() {
    let tenancy = Tenancy::quiet().await;
    let before = tenancy.client.create(rich()).await;
    let path = format!("/v1/webhooks/{}", before.id);
    let body = json!({ "types": ["created", "smsSent"], "secretToken": "t" });
    tenancy.collect().post(&path, &body).await.expect(200);
    let after = native(&tenancy).await;
    let mut events = before.events.clone();
    events.push(pattern("collect", "created", ""));
    assert_eq!(after.events, events);
    let mut headers = before.headers.clone();
    headers.push(header("x-secret-token", "t"));
    assert_eq!(after.headers, headers);
    assert_eq!(after.signing, before.signing);
    let none = json!({ "types": [], "secretToken": "" });
    tenancy.collect().post(&path, &none).await.expect(200);
    let after = native(&tenancy).await;
    assert_eq!(after.events, before.events[..2]);
    assert_eq!(after.headers, before.headers);
}

#[tokio::test]
async fn a_change_through_close_keeps_what_it_has_no_words_for() {
    let tenancy = Tenancy::quiet().await;
    let before = tenancy.client.create(rich()).await;
    let path = format!("/api/v1/webhook/{}/", before.id);
    let body = json!({ "url": "https://b.example/" });
    tenancy.close().put(&path, &body).await.expect(200);
    let after = native(&tenancy).await;
    assert_eq!(after.url, "https://b.example/");
    let expected = v1::Subscription {
        url: after.url.clone(),
        ..without_status(before)
    };
    assert_eq!(without_status(after), expected);
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

/// How a client puts a request with JSON on the wire.
struct Shape {
    /// Headers, in their order and spelling; `{host}`, `{auth}` and `{length}` are filled
    /// in. Those with `{length}`, and of a body's type, are left out where there is none.
    headers: &'static [&'static str],
    /// As the client's library writes JSON.
    text: fn(&Value) -> String,
    /// Whether a body comes in chunks.
    chunked: bool,
}

fn plain(value: &Value) -> String {
    value.to_string()
}

impl Shape {
    fn request(
        &self,
        host: &str,
        auth: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Vec<u8> {
        let text = body.map(self.text);
        let mut request = format!("{method} {path} HTTP/1.1\r\n");
        for header in self.headers {
            let lower = header.to_ascii_lowercase();
            let is_of_body = ["content-", "transfer-"]
                .iter()
                .any(|name| lower.starts_with(name));
            if is_of_body && text.is_none() {
                continue;
            }
            let length = text.as_ref().map_or(0, String::len).to_string();
            let header = header.replace("{host}", host).replace("{auth}", auth);
            request += &format!("{}\r\n", header.replace("{length}", &length));
        }
        request += "\r\n";
        match text {
            Some(text) if self.chunked => {
                // Two chunks, as a writer with a small buffer makes them.
                let (one, two) = text.split_at(text.len() / 2);
                for part in [one, two] {
                    request += &format!("{:X}\r\n{part}\r\n", part.len());
                }
                request += "0\r\n\r\n";
            }
            Some(text) => request += &text,
            None => {}
        }
        request.into_bytes()
    }
}

/// Makes, reads, changes and deletes a subscription of each dialect with such requests.
async fn serves(shape: &Shape) {
    let tenancy = Tenancy::quiet().await;
    let address = tenancy.anonymous().address();
    let key = &tenancy.tenant.key;
    let basic = |user: &str, password: &str| sidehook_testkit::tenancy::basic(user, password);
    let send = async |auth: &str, method: &str, path: &str, body: Option<&Value>| -> Reply {
        raw(
            address,
            &shape.request(&address.to_string(), auth, method, path, body),
        )
        .await
    };
    let close = json!({ "url": URL, "events": [{ "object_type": "lead", "action": "*" }] });
    let collect = json!({ "targetUrl": URL, "types": ["portalSubmited"] });
    let hookshot = json!({ "url": URL, "events": ["quote"], "secret": "Schlüssel 🔑" });
    for (auth, path, slash, body, status, id, change, method) in [
        (
            basic(key, ""),
            "/api/v1/webhook",
            "/",
            &close,
            201,
            "id",
            json!({ "status": "paused" }),
            "PUT",
        ),
        (
            basic("", key),
            "/v1/webhooks",
            "",
            &collect,
            200,
            "_id",
            json!({ "status": "paused" }),
            "POST",
        ),
        (
            format!("Bearer {key}"),
            "/hooks",
            "",
            &hookshot,
            201,
            "id",
            json!({ "active": false }),
            "PATCH",
        ),
    ] {
        let made = send(&auth, "POST", &format!("{path}{slash}"), Some(body))
            .await
            .expect(status);
        let id = made[id].as_str().expect("an id");
        let one = format!("{path}/{id}{slash}");
        assert_eq!(send(&auth, "GET", &one, None).await.expect(200), made);
        send(&auth, method, &one, Some(&change)).await.expect(200);
        let deleted = send(&auth, "DELETE", &one, None).await;
        assert!(matches!(deleted.status, 200 | 204), "{deleted:?}");
        send(&auth, "GET", &one, None).await.expect(404);
    }
}

#[tokio::test]
async fn curl_is_served() {
    let headers = &[
        "Host: {host}",
        "Authorization: {auth}",
        "User-Agent: curl/8.5.0",
        "Accept: */*",
        "Content-Type: application/json",
        "Content-Length: {length}",
    ];
    let shape = Shape {
        headers,
        text: plain,
        chunked: false,
    };
    serves(&shape).await;
}

/// As `json.dumps`: blanks after colons and commas, ASCII only.
fn as_python(value: &Value) -> String {
    let text = value
        .to_string()
        .replace("\":", "\": ")
        .replace(",\"", ", \"");
    let mut ascii = String::new();
    for char in text.chars() {
        if char.is_ascii() {
            ascii.push(char);
        } else {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                ascii += &format!("\\u{unit:04x}");
            }
        }
    }
    ascii
}

#[tokio::test]
async fn python_requests_is_served() {
    let headers = &[
        "Host: {host}",
        "User-Agent: python-requests/2.31.0",
        "Accept-Encoding: gzip, deflate",
        "Accept: */*",
        "Connection: keep-alive",
        "Content-Length: {length}",
        "Content-Type: application/json",
        "Authorization: {auth}",
    ];
    let shape = Shape {
        headers,
        text: as_python,
        chunked: false,
    };
    serves(&shape).await;
}

#[tokio::test]
async fn node_fetch_is_served() {
    let headers = &[
        "host: {host}",
        "connection: keep-alive",
        "authorization: {auth}",
        "content-type: application/json",
        "accept: */*",
        "accept-language: *",
        "sec-fetch-mode: cors",
        "user-agent: node",
        "accept-encoding: gzip, deflate",
        "content-length: {length}",
    ];
    let shape = Shape {
        headers,
        text: plain,
        chunked: false,
    };
    serves(&shape).await;
}

#[tokio::test]
async fn go_is_served() {
    let headers = &[
        "Host: {host}",
        "User-Agent: Go-http-client/1.1",
        "Content-Length: {length}",
        "Authorization: {auth}",
        "Content-Type: application/json",
        "Accept-Encoding: gzip",
    ];
    // Its encoder ends with a line.
    let text = |value: &Value| format!("{value}\n");
    serves(&Shape {
        headers,
        text,
        chunked: false,
    })
    .await;
}

#[tokio::test]
async fn ruby_is_served() {
    let headers = &[
        "Content-Type: application/json",
        "Accept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3",
        "Accept: */*",
        "User-Agent: Ruby",
        "Host: {host}",
        "Authorization: {auth}",
        "Connection: close",
        "Content-Length: {length}",
    ];
    let shape = Shape {
        headers,
        text: plain,
        chunked: false,
    };
    serves(&shape).await;
}

#[tokio::test]
async fn php_is_served() {
    let headers = &[
        "Content-Length: {length}",
        "User-Agent: GuzzleHttp/7",
        "Content-Type: application/json",
        "Host: {host}",
        "Authorization: {auth}",
    ];
    let text = |value: &Value| as_python(value).replace('/', "\\/");
    serves(&Shape {
        headers,
        text,
        chunked: false,
    })
    .await;
}

#[tokio::test]
async fn java_is_served() {
    // It offers HTTP/2 with every request.
    let headers = &[
        "Connection: Upgrade, HTTP2-Settings",
        "Content-Length: {length}",
        "Host: {host}",
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
        "Upgrade: h2c",
        "User-Agent: Java-http-client/17.0.9",
        "Authorization: {auth}",
        "Content-Type: application/json",
    ];
    let shape = Shape {
        headers,
        text: plain,
        chunked: false,
    };
    serves(&shape).await;
}

#[tokio::test]
async fn c_sharp_is_served() {
    let headers = &[
        "Host: {host}",
        "Authorization: {auth}",
        "Transfer-Encoding: chunked",
        "Content-Type: application/json; charset=utf-8",
    ];
    let shape = Shape {
        headers,
        text: plain,
        chunked: true,
    };
    serves(&shape).await;
}

#[tokio::test]
async fn who_asks_before_sending_a_body_is_told_to_go_on() {
    let tenancy = Tenancy::quiet().await;
    let address = tenancy.anonymous().address();
    let auth = sidehook_testkit::tenancy::basic("", &tenancy.tenant.key);
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
