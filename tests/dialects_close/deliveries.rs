//! What receivers get.

use super::*;

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
        ..event_of("lead", "updated", r#"{"name":"new"}"#)
    };
    let request = tenancy.sent(&receiver, published).await;
    let delivered: Value = serde_json::from_slice(&request.body).expect("JSON");
    assert_eq!(
        delivered,
        json!({
            "event": {
                "id": delivered["event"]["id"],
                "date_created": "2018-12-06T19:15:09.590432",
                "date_updated": delivered["event"]["date_updated"],
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
    let accepted = &delivered["event"]["date_updated"];
    assert!(is_time(accepted) && accepted != "2018-12-06T19:15:09.590432");
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
    let lead = event_of("lead", "updated", r#"{"n":1}"#);
    let mut request = tenancy.sent(&receiver, lead).await;
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
    let request = tenancy
        .sent(&receiver, event_of("lead", "updated", data))
        .await;
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
        ..event_of("lead", "updated", "{}")
    };
    let events = vec![of("user_1"), of("user_2"), of("")];
    assert_eq!(tenancy.publish(events).await, [1, 0, 0]);
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
        event_of("lead", "updated", r#"{"n":1}"#),
        event_of("lead", "updated", r#"{"n":2}"#),
        event_of("lead", "created", r#"{"n":1}"#),
        event_of("task", "created", r#"{"n":1}"#),
        event_of("task", "updated", r#"{"n":1}"#),
    ];
    assert_eq!(tenancy.publish(events).await, [1, 0, 0, 1, 0]);
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
    let lead = || event_of("lead", "updated", r#"{"n":1}"#);
    assert_eq!(tenancy.publish(vec![lead(), lead()]).await, [1, 1]);
    assert!(receiver.wait_for(2, PATIENCE).await);
    tenancy.sent(&receiver, lead()).await;
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
    let mut watch = tenancy.watch().await;
    let lead = || vec![event_of("lead", "updated", "{}")];
    tenancy.publish(lead()).await;
    let refused = watch.attempted().await;
    assert_eq!(refused.attempts[0].error(), v1::AttemptError::Tls);
    assert!(refused.attempts[0].error_detail.contains("certificate"));
    assert_eq!(receiver.count(), 0);
    let error = read(&http, &webhook).await["latest_error"].clone();
    let error = error.as_str().expect("told").to_owned();
    assert!(error.to_lowercase().contains("certificate"), "{error}");
    let any = json!({ "verify_ssl": false });
    http.put(&path_of(&webhook), &any).await.expect(200);
    tenancy.publish(lead()).await;
    assert!(receiver.wait_for(1, PATIENCE).await);
}

#[tokio::test]
async fn a_failure_is_told_as_close_tells_it_and_stays_told() {
    let tenancy = Tenancy::delivering().await;
    let http = tenancy.close();
    let receiver = Receiver::start(Behaviour::Status(404)).await;
    let webhook = made(&http, body(&receiver.url())).await;
    let mut watch = tenancy.watch().await;
    tenancy
        .publish(vec![event_of("lead", "updated", "{}")])
        .await;
    watch.attempted().await;
    let failed = read(&http, &webhook).await;
    let error = "Exception name: HTTPError, Status code: 404";
    assert_eq!(failed["latest_error"], error);
    assert_eq!(failed["health_status"], "degraded");
    assert_eq!(failed["recent_consecutive_fail_buckets_cnt"], 1);
    let counters = json!({
        "first_success": 0, "first_fail": 1, "retry_success": 0, "retry_fail": 0,
    });
    assert_eq!(failed["counters"], counters);
    let noted = &failed["history"]["errors"][0];
    assert!(is_time(&noted["datetime"]), "{noted}");
    assert!(noted["event_id"].is_string(), "{noted}");
    assert_eq!(noted["attempt_number"], 1);
    assert_eq!(noted["error"], error);
    assert_eq!(noted["response_status_code"], 404);
    let well = Receiver::start(Behaviour::Ok).await;
    let change = json!({ "url": well.url() });
    http.put(&path_of(&webhook), &change).await.expect(200);
    tenancy
        .publish(vec![event_of("lead", "updated", "{}")])
        .await;
    watch.attempted().await;
    let listed = http.get(ALL).await.expect(200);
    let recovered = &listed["data"][0];
    assert_eq!(
        recovered["latest_error"], error,
        "a success does not clear it"
    );
    assert_eq!(recovered["counters"]["first_success"], 1);
    let success = &recovered["history"]["successes"][0];
    assert_eq!(success["response_status_code"], 200);
    assert_eq!(success["error"], json!(null));
}
