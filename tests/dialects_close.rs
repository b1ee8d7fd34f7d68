//! Close's webhook subscriptions as its clients know them: `/api/v1/webhook/…`.
//!
//! Statement by statement of its public documentation, each with a tenant of its own.

use std::{io::Write as _, process::Command, time::Duration};

use rcgen::generate_simple_self_signed;
use serde_json::{Value, json};
use sidehook_api::v1::{self, Role};
use sidehook_testkit::{
    http::Http,
    receiver::{Behaviour, Received, Receiver},
    tenancy::{Tenancy, basic},
};

const PATIENCE: Duration = Duration::from_secs(30);
const URL: &str = "https://example.com/hook";
const ALL: &str = "/api/v1/webhook/";
/// No subscription has it.
const NOBODY: &str = "/api/v1/webhook/whsub_0000000000000000000000/";
const REQUIRED: &str = "This field is required.";

fn event(object_type: &str, action: &str, data: &str) -> v1::Event {
    v1::Event {
        object_type: object_type.to_owned(),
        action: action.to_owned(),
        data: data.to_owned().into_bytes().into(),
        ..v1::Event::default()
    }
}

async fn publish(tenancy: &Tenancy, events: Vec<v1::Event>) -> Vec<u32> {
    let results = tenancy.client.publish(events).await.expect("published");
    let matched = results.iter().map(|result| {
        assert_eq!(result.error, None);
        result.matched
    });
    matched.collect()
}

/// A subscription of one kind of event.
fn body(url: &str) -> Value {
    json!({
        "url": url,
        "events": [{ "object_type": "lead", "action": "updated" }],
    })
}

async fn made(http: &Http, body: Value) -> Value {
    http.post(ALL, &body).await.expect(201)
}

fn path_of(webhook: &Value) -> String {
    format!("{ALL}{}/", webhook["id"].as_str().expect("an id"))
}

async fn read(http: &Http, webhook: &Value) -> Value {
    http.get(&path_of(webhook)).await.expect(200)
}

async fn count(http: &Http) -> usize {
    let listed = http.get(ALL).await.expect(200);
    listed["data"].as_array().expect("a list").len()
}

/// The first request that the receiver gets for this event.
async fn sent(tenancy: &Tenancy, receiver: &Receiver, event: v1::Event) -> Received {
    let before = receiver.count();
    publish(tenancy, vec![event]).await;
    assert!(receiver.wait_for(before + 1, PATIENCE).await);
    receiver.received().swap_remove(before)
}

type Watched = tonic::Streaming<v1::WatchDeliveriesResponse>;

async fn watch(tenancy: &Tenancy) -> Watched {
    let request = v1::WatchDeliveriesRequest::default();
    let watch = tenancy.client.deliveries().watch_deliveries(request).await;
    let mut watch = watch.expect("a watch").into_inner();
    let on = watch.message().await.expect("a stream");
    assert!(on.is_some(), "the watch is on");
    watch
}

/// The next delivery that has had an attempt.
async fn attempted(watch: &mut Watched) -> v1::Delivery {
    let next = async {
        loop {
            let seen = watch.message().await.expect("a stream").expect("no end");
            let delivery = seen.delivery.expect("a delivery");
            if !delivery.attempts.is_empty() {
                return delivery;
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, next).await;
    in_time.expect("an attempt within 30 s")
}

fn is_time(text: &Value) -> bool {
    let text = text.as_str().unwrap_or_default();
    let pattern: String = text
        .chars()
        .map(|char| if char.is_ascii_digit() { '0' } else { char })
        .collect();
    pattern == "0000-00-00T00:00:00.000000"
}

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
    }
    assert_eq!(count(&tenancy.close()).await, 0);
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
async fn a_pause_says_that_the_api_asked_for_it() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.close();
    let webhook = made(&http, body(URL)).await;
    let lead = || vec![event("lead", "updated", "{}")];
    assert_eq!(publish(&tenancy, lead()).await, [1]);
    let pause = json!({ "status": "paused" });
    let paused = http.put(&path_of(&webhook), &pause).await.expect(200);
    assert_eq!(paused["status"], "paused");
    assert_eq!(paused["pause_reason"], "api");
    assert_eq!(publish(&tenancy, lead()).await, [0]);
    let resume = json!({ "status": "active" });
    let resumed = http.put(&path_of(&webhook), &resume).await.expect(200);
    assert_eq!(resumed["status"], "active");
    assert_eq!(resumed["pause_reason"], json!(null));
    assert_eq!(publish(&tenancy, lead()).await, [1]);
}

#[tokio::test]
async fn a_delivery_is_the_event_and_the_subscriptions_id() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let webhook = made(&tenancy.close(), body(&receiver.url())).await;
    let published = v1::Event {
        object_id: "lead_1".to_owned(),
        lead_id: "lead_1".to_owned(),
        user_id: "user_1".to_owned(),
        request_id: "req_1".to_owned(),
        organization_id: "orga_1".to_owned(),
        previous_data: br#"{"name":"old"}"#[..].into(),
        changed_fields: vec!["name".to_owned()],
        meta: br#"{"request_method":"PUT","request_path":"/api/v1/lead/lead_1/"}"#[..].into(),
        occurred_at: Some(prost_types::Timestamp {
            seconds: 1_544_123_709,
            nanos: 590_432_000,
        }),
        ..event("lead", "updated", r#"{"name":"new"}"#)
    };
    let request = sent(&tenancy, &receiver, published).await;
    let delivered: Value = serde_json::from_slice(&request.body).expect("JSON");
    assert_eq!(
        delivered,
        json!({
            "event": {
                "id": delivered["event"]["id"],
                "date_created": "2018-12-06T19:15:09.590432",
                "date_updated": "2018-12-06T19:15:09.590432",
                "organization_id": "orga_1",
                "user_id": "user_1",
                "request_id": "req_1",
                "api_key_id": null,
                "object_type": "lead",
                "object_id": "lead_1",
                "lead_id": "lead_1",
                "action": "updated",
                "changed_fields": ["name"],
                "data": { "name": "new" },
                "previous_data": { "name": "old" },
                "meta": { "request_method": "PUT", "request_path": "/api/v1/lead/lead_1/" },
            },
            "subscription_id": webhook["id"],
        })
    );
    let id = delivered["event"]["id"].as_str().expect("an id");
    let log = tenancy.close().get(&format!("/api/v1/event/{id}/")).await;
    assert_eq!(log.expect(200), delivered["event"], "as in the log");
}

/// The lines of Close's guide.
const GUIDE: &str = "
import hashlib, hmac, sys
key, timestamp, given = sys.argv[1:]
data = timestamp + sys.stdin.buffer.read().decode('utf-8')
signature = hmac.new(bytearray.fromhex(key), data.encode('utf-8'), hashlib.sha256).hexdigest()
sys.exit(0 if hmac.compare_digest(given, signature) else 1)
";

fn guide_accepts(request: &Received, key: &str) -> bool {
    let header = |name| request.header(name).expect("a signed request has it");
    let mut python = Command::new("python3");
    python.args(["-c", GUIDE, key]);
    python.args([header("close-sig-timestamp"), header("close-sig-hash")]);
    let mut running = python
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("python3 can be run");
    let mut input = running.stdin.take().expect("a pipe");
    input.write_all(&request.body).expect("python3 reads");
    drop(input);
    let ended = running.wait().expect("python3 ends").code();
    // Any other end is a fault of this test and must not pass for a refusal.
    assert!(matches!(ended, Some(0 | 1)), "{ended:?}");
    ended == Some(0)
}

#[tokio::test]
async fn the_guides_python_accepts_a_delivery_and_no_other_key() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let webhook = made(&tenancy.close(), body(&receiver.url())).await;
    let lead = event("lead", "updated", r#"{"n":1}"#);
    let mut request = sent(&tenancy, &receiver, lead).await;
    let key = webhook["signature_key"].as_str().expect("a key");
    assert!(guide_accepts(&request, key));
    assert!(!guide_accepts(&request, &"5b".repeat(32)), "another key");
    request.body = [&request.body[..], b" "].concat().into();
    assert!(!guide_accepts(&request, key), "another body");
}

#[tokio::test]
async fn bodies_beyond_ascii_arrive_as_they_are() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let mut filtered = body(&receiver.url());
    filtered["events"][0]["extra_filter"] = json!({
        "type": "field_accessor", "field": "data",
        "filter": { "type": "field_accessor", "field": "naïve",
            "filter": { "type": "contains", "value": "東" } },
    });
    let webhook = made(&tenancy.close(), filtered.clone()).await;
    let shown = &webhook["events"][0]["extra_filter"];
    assert_eq!(shown, &filtered["events"][0]["extra_filter"]);
    let data = "{\"naïve\": \"Zoë – 東京 🎉\", \"escaped\": \"\\u00e9\\ud83c\\udf89\"}";
    let request = sent(&tenancy, &receiver, event("lead", "updated", data)).await;
    let text = String::from_utf8(request.body.to_vec()).expect("UTF-8");
    assert!(text.contains(data), "byte for byte: {text}");
    let key = webhook["signature_key"].as_str().expect("a key");
    assert!(guide_accepts(&request, key));
}

#[tokio::test]
async fn a_filter_by_user_id_lets_only_that_users_events_through() {
    let tenancy = Tenancy::quiet().await;
    let filter = json!({
        "type": "field_accessor", "field": "user_id",
        "filter": { "type": "equals", "value": "user_1" },
    });
    let mut filtered = body(URL);
    filtered["events"][0]["extra_filter"] = filter.clone();
    let webhook = made(&tenancy.close(), filtered).await;
    assert_eq!(webhook["events"][0]["extra_filter"], filter);
    let of = |user: &str| v1::Event {
        user_id: user.to_owned(),
        ..event("lead", "updated", "{}")
    };
    let events = vec![of("user_1"), of("user_2"), of("")];
    assert_eq!(publish(&tenancy, events).await, [1, 0, 0]);
}

#[tokio::test]
async fn type_and_action_and_filter_must_match() {
    let tenancy = Tenancy::quiet().await;
    let mut filtered = body(URL);
    filtered["events"] = json!([
        { "object_type": "lead", "action": "updated", "extra_filter": {
            "type": "field_accessor", "field": "data",
            "filter": { "type": "field_accessor", "field": "n",
                "filter": { "type": "equals", "value": 1 } } } },
        { "object_type": "task", "action": "created" },
    ]);
    made(&tenancy.close(), filtered).await;
    let events = vec![
        event("lead", "updated", r#"{"n":1}"#),
        event("lead", "updated", r#"{"n":2}"#),
        event("lead", "created", r#"{"n":1}"#),
        event("task", "created", r#"{"n":1}"#),
        event("task", "updated", r#"{"n":1}"#),
    ];
    assert_eq!(publish(&tenancy, events).await, [1, 0, 0, 1, 0]);
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
async fn an_event_that_matches_several_entries_is_delivered_once() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let mut several = body(&receiver.url());
    several["events"] = json!([
        { "object_type": "lead", "action": "updated" },
        { "object_type": "lead", "action": "*" },
        { "object_type": "*", "action": "updated" },
    ]);
    made(&tenancy.close(), several).await;
    let lead = || event("lead", "updated", r#"{"n":1}"#);
    assert_eq!(publish(&tenancy, vec![lead(), lead()]).await, [1, 1]);
    assert!(receiver.wait_for(2, PATIENCE).await);
    sent(&tenancy, &receiver, lead()).await;
    assert_eq!(receiver.count(), 3);
}

#[tokio::test]
async fn a_strange_certificate_is_taken_where_it_is_not_verified() {
    let tenancy = Tenancy::delivering().await;
    let made_up = generate_simple_self_signed(["127.0.0.1".to_owned()]);
    let made_up = made_up.expect("a certificate");
    let (certificate, key) = (made_up.cert.pem(), made_up.signing_key.serialize_pem());
    let receiver = Receiver::start_tls(Behaviour::Ok, &certificate, &key).await;
    let http = tenancy.close();
    let webhook = made(&http, body(&receiver.url())).await;
    let mut watch = watch(&tenancy).await;
    let lead = || vec![event("lead", "updated", "{}")];
    publish(&tenancy, lead()).await;
    let refused = attempted(&mut watch).await;
    assert_eq!(refused.attempts[0].error(), v1::AttemptError::Tls);
    assert!(refused.attempts[0].error_detail.contains("certificate"));
    assert_eq!(receiver.count(), 0);
    let any = json!({ "verify_ssl": false });
    http.put(&path_of(&webhook), &any).await.expect(200);
    publish(&tenancy, lead()).await;
    assert!(receiver.wait_for(1, PATIENCE).await);
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

#[tokio::test]
async fn the_log_shows_events_newest_first_in_pages() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.close();
    for n in 1..=5 {
        let data = format!(r#"{{"n":{n}}}"#);
        publish(&tenancy, vec![event("lead", "updated", &data)]).await;
    }
    let numbers = |page: &Value| {
        let events = page["data"].as_array().expect("a list").iter();
        let numbers = events.map(|event| event["data"]["n"].as_u64().expect("a number"));
        numbers.collect::<Vec<_>>()
    };
    let log = "/api/v1/event/?_limit=2";
    let first = http.get(log).await.expect(200);
    assert_eq!(numbers(&first), [5, 4]);
    assert_eq!(first["cursor_previous"], json!(null));
    let at = |cursor: &Value| format!("{log}&_cursor={}", cursor.as_str().expect("a cursor"));
    let second = http.get(&at(&first["cursor_next"])).await.expect(200);
    assert_eq!(numbers(&second), [3, 2]);
    let third = http.get(&at(&second["cursor_next"])).await.expect(200);
    assert_eq!(
        (numbers(&third), &third["cursor_next"]),
        (vec![1], &json!(null))
    );
    let back = http.get(&at(&third["cursor_previous"])).await.expect(200);
    assert_eq!(numbers(&back), [3, 2]);
    http.get("/api/v1/event/?_limit=51").await.expect(400);
}

#[tokio::test]
async fn the_log_is_filtered_by_object_and_action() {
    let tenancy = Tenancy::quiet().await;
    let lead = v1::Event {
        object_id: "lead_1".to_owned(),
        ..event("lead", "updated", "{}")
    };
    publish(&tenancy, vec![lead, event("task", "created", "{}")]).await;
    for (query, expected) in [
        ("object_type=lead", 1),
        ("action=created", 1),
        ("object_id=lead_1", 1),
        ("object_type=lead&action=created", 0),
        ("", 2),
    ] {
        let path = format!("/api/v1/event/?{query}");
        let page = tenancy.close().get(&path).await.expect(200);
        let found = page["data"].as_array().expect("a list").len();
        assert_eq!(found, expected, "{query}");
    }
    tenancy
        .close()
        .get("/api/v1/event/?colour=red")
        .await
        .expect(400);
}

#[tokio::test]
async fn an_unknown_event_is_404() {
    let tenancy = Tenancy::quiet().await;
    for id in ["ev_0000000000000000000000", "nonsense"] {
        let told = tenancy.close().get(&format!("/api/v1/event/{id}/")).await;
        assert!(told.expect(404)["error"].is_string());
    }
}
