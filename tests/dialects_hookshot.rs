//! Hookshot's hooks as its clients know them: `/hooks…`.
//!
//! Statement by statement of its public documentation, each with a tenant of its own.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};
use sidehook_api::v1::{self, Role};
use sidehook_testkit::{
    client::subscription,
    http::{Http, Reply},
    receiver::{Behaviour, Received, Receiver},
    tenancy::{Tenancy, basic},
};

const PATIENCE: Duration = Duration::from_secs(30);
const URL: &str = "https://example.com/hook";
/// No hook has it.
const NOBODY: &str = "/hooks/6c229132-a29e-4b83-9f35-e532e7de28a4";

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

async fn made(http: &Http, body: Value) -> Value {
    http.post("/hooks", &body).await.expect(201)
}

fn path_of(hook: &Value) -> String {
    format!("/hooks/{}", hook["id"].as_str().expect("an id"))
}

/// The first request that a hook's receiver gets for this event.
async fn sent(tenancy: &Tenancy, receiver: &Receiver, event: v1::Event) -> Received {
    let before = receiver.count();
    publish(tenancy, vec![event]).await;
    assert!(receiver.wait_for(before + 1, PATIENCE).await);
    receiver.received().swap_remove(before)
}

/// A hook of all events at this receiver, with these members beside.
async fn hook_at(tenancy: &Tenancy, receiver: &Receiver, more: Value) -> Value {
    let mut body = json!({ "url": receiver.url(), "active": true, "events": ["*"] });
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    made(&tenancy.hookshot(), body).await
}

fn assert_refused(reply: &Reply, body: &Value) {
    assert_eq!(&reply.expect(422), body);
}

fn is_uuid(text: &Value) -> bool {
    let text = text.as_str().unwrap_or_default();
    let parts: Vec<_> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12]
}

fn is_time(text: &Value) -> bool {
    let text = text.as_str().unwrap_or_default();
    text.len() == "2020-09-11T14:04:44.053Z".len()
        && text.as_bytes()[10] == b'T'
        && text.as_bytes()[19] == b'.'
        && text.ends_with('Z')
}

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
    assert_eq!(http.get("/hooks").await.expect(200), json!([]));
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
async fn a_star_receives_all() {
    let tenancy = Tenancy::quiet().await;
    let body = json!({ "url": URL, "active": true, "events": ["*"] });
    made(&tenancy.hookshot(), body).await;
    let events = vec![
        event("application_form", "created", "{}"),
        event("quote", "sent", "{}"),
        event("collect", "smsSent", "{}"),
    ];
    assert_eq!(publish(&tenancy, events).await, [1, 1, 1]);
}

#[tokio::test]
async fn a_subject_receives_all_its_actions_and_no_other_subject() {
    let tenancy = Tenancy::quiet().await;
    let body = json!({ "url": URL, "active": true, "events": ["application_form"] });
    made(&tenancy.hookshot(), body).await;
    let events = vec![
        event("application_form", "created", "{}"),
        event("application_form", "updated", "{}"),
        event("application_form", "sent_to_carrier", "{}"),
        event("application_forms", "created", "{}"),
        event("quote", "created", "{}"),
    ];
    assert_eq!(publish(&tenancy, events).await, [1, 1, 1, 0, 0]);
}

#[tokio::test]
async fn a_subject_with_its_action_receives_that_alone() {
    let tenancy = Tenancy::quiet().await;
    let body = json!({ "url": URL, "active": true, "events": ["quote:created"] });
    made(&tenancy.hookshot(), body).await;
    let events = vec![
        event("quote", "created", "{}"),
        event("quote", "updated", "{}"),
        event("form", "created", "{}"),
    ];
    assert_eq!(publish(&tenancy, events).await, [1, 0, 0]);
}

#[tokio::test]
async fn a_hook_that_is_not_active_receives_nothing() {
    let tenancy = Tenancy::quiet().await;
    let body = json!({ "url": URL, "events": ["*"] });
    let hook = made(&tenancy.hookshot(), body).await;
    let quote = || vec![event("quote", "created", "{}")];
    assert_eq!(publish(&tenancy, quote()).await, [0]);
    let activate = json!({ "active": true });
    let http = tenancy.hookshot();
    http.put(&path_of(&hook), &activate).await.expect(200);
    assert_eq!(publish(&tenancy, quote()).await, [1]);
}

/// What Python's own `hmac` makes of a body.
fn python_hmac(secret: &str, body: &[u8]) -> String {
    let program = "import hashlib, hmac, sys; secret, body = sys.argv[1:]; \
                   print(hmac.new(secret.encode(), bytes.fromhex(body), hashlib.sha256).hexdigest())";
    let said = Command::new("python3")
        .args(["-c", program, secret, &hex::encode(body)])
        .output()
        .expect("python3 can be run");
    let said = String::from_utf8(said.stdout).expect("hex digits");
    said.trim().to_owned()
}

#[tokio::test]
async fn a_secret_signs_the_raw_body() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let secret = "Sch\u{fc}ssel \u{1f511}";
    hook_at(&tenancy, &receiver, json!({ "secret": secret })).await;
    let data = r#"{"name": "Zoë 東京", "b":1.10}"#;
    let request = sent(&tenancy, &receiver, event("quote", "created", data)).await;
    let expected = python_hmac(secret, &request.body);
    assert_eq!(request.header("x-signature"), Some(expected.as_str()));
}

#[tokio::test]
async fn without_a_secret_nothing_is_signed() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    hook_at(&tenancy, &receiver, json!({})).await;
    let request = sent(&tenancy, &receiver, event("quote", "created", "{}")).await;
    for header in ["x-signature", "webhook-signature", "close-sig-hash"] {
        assert_eq!(request.header(header), None, "{header}");
    }
}

#[tokio::test]
async fn a_new_secret_signs_from_then_on_and_none_any_more() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let hook = hook_at(&tenancy, &receiver, json!({ "secret": "old" })).await;
    let http = tenancy.hookshot();
    for secret in ["old", "new", ""] {
        let body = json!({ "secret": secret });
        http.put(&path_of(&hook), &body).await.expect(200);
        let quote = event("quote", "created", r#"{"n":1}"#);
        let request = sent(&tenancy, &receiver, quote).await;
        let expected = python_hmac(secret, &request.body);
        let expected = Some(expected.as_str()).filter(|_| !secret.is_empty());
        assert_eq!(request.header("x-signature"), expected, "{secret}");
    }
}

#[tokio::test]
async fn the_static_header_is_sent() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let header = json!({ "header": "Authorization: Basic abc: def" });
    hook_at(&tenancy, &receiver, header).await;
    let request = sent(&tenancy, &receiver, event("quote", "created", "{}")).await;
    assert_eq!(request.header("authorization"), Some("Basic abc: def"));
}

#[tokio::test]
async fn requests_are_listed_newest_first() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let hook = hook_at(&tenancy, &receiver, json!({})).await;
    let http = tenancy.hookshot();
    let path = format!("{}/requests", path_of(&hook));
    assert_eq!(http.get(&path).await.expect(200), json!([]));
    let mut watch = watch(&tenancy).await;
    for action in ["created", "updated"] {
        publish(&tenancy, vec![event("quote", action, "{}")]).await;
        delivered(&mut watch).await;
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

type Watched = tonic::Streaming<v1::WatchDeliveriesResponse>;

async fn watch(tenancy: &Tenancy) -> Watched {
    let request = v1::WatchDeliveriesRequest::default();
    let watch = tenancy.client.deliveries().watch_deliveries(request).await;
    let mut watch = watch.expect("a watch").into_inner();
    let on = watch.message().await.expect("a stream");
    assert!(on.is_some(), "the watch is on");
    watch
}

/// Waits for the next delivery that has been made.
async fn delivered(watch: &mut Watched) {
    let next = async {
        loop {
            let seen = watch.message().await.expect("a stream").expect("no end");
            let delivery = seen.delivery.expect("a delivery");
            if delivery.state() == v1::DeliveryState::Delivered {
                return;
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, next).await;
    in_time.expect("a delivery within 30 s");
}

#[tokio::test]
async fn a_request_is_delivered_again() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let hook = hook_at(&tenancy, &receiver, json!({})).await;
    let http = tenancy.hookshot();
    let path = format!("{}/requests", path_of(&hook));
    let mut watch = watch(&tenancy).await;
    publish(&tenancy, vec![event("quote", "created", r#"{"n":1}"#)]).await;
    delivered(&mut watch).await;
    let first = http.get(&path).await.expect(200)[0].clone();
    let id = first["id"].as_str().expect("an id");
    let again = format!("{path}/{id}/redeliver");
    let answered = http.send("POST", &again, None).await.expect(200);
    assert_eq!(answered["redelivery"], true);
    assert_eq!(answered["event"], "quote:created");
    assert_eq!(answered["id"], first["id"], "the same event");
    assert_ne!(answered["delivery_id"], first["delivery_id"]);
    delivered(&mut watch).await;
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
}

#[tokio::test]
async fn requests_of_other_hooks_and_unknown_ones_are_404() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let hook = hook_at(&tenancy, &receiver, json!({})).await;
    let http = tenancy.hookshot();
    let other = made(&http, json!({ "url": URL })).await;
    let mut watch = watch(&tenancy).await;
    publish(&tenancy, vec![event("quote", "created", "{}")]).await;
    delivered(&mut watch).await;
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
    let mut watch = watch(&tenancy).await;
    publish(&tenancy, vec![event("quote", "created", "{}")]).await;
    let seen = watch.message().await.expect("a stream").expect("no end");
    assert_eq!(
        seen.delivery.expect("one").state(),
        v1::DeliveryState::Retrying
    );
    let path = format!("{}/requests", path_of(&hook));
    let listed = tenancy.hookshot().get(&path).await.expect(200);
    assert_eq!(listed[0]["response_status"], 503, "{listed}");
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
async fn a_delivery_is_the_raw_data_with_its_event_in_a_header() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    hook_at(&tenancy, &receiver, json!({})).await;
    let data = "{\"name\": \"Zoë 東京 🎉\",  \"b\":1.10}";
    let request = sent(&tenancy, &receiver, event("quote", "created", data)).await;
    assert_eq!(request.body, data.as_bytes(), "byte for byte");
    assert_eq!(request.header("x-emperor-event"), Some("quote:created"));
    assert_eq!(request.header("content-type"), Some("application/json"));
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
