//! Collect's webhooks as its clients know them: `/v1/webhooks…`.
//!
//! Statement by statement of its public documentation, each with a tenant of its own.

use std::time::Duration;

use serde_json::{Value, json};
use sidehook_api::v1::{self, Role};
use sidehook_testkit::{
    http::Http,
    receiver::{Behaviour, Received, Receiver},
    tenancy::{Tenancy, basic},
};

const PATIENCE: Duration = Duration::from_secs(30);
const URL: &str = "https://yourserver.com/collect-hook";
const NOBODY: &str = "/v1/webhooks/whsub_0000000000000000000000";

/// Collect's types, with its own misspellings.
const TYPES: [&str; 25] = [
    "created",
    "statusChanged",
    "portalSubmited",
    "dueDateChanged",
    "portalViewed",
    "docUploaded",
    "docDeleted",
    "docParsed",
    "itemApproved",
    "itemRejected",
    "itemReopened",
    "itemCancelValidation",
    "formSubmited",
    "emailSent",
    "emailClicked",
    "emailBounced",
    "emailOpened",
    "emailMarkedAsSpam",
    "emailBlocked",
    "emailUnsub",
    "smsSent",
    "smsDelivered",
    "smsClicked",
    "smsFailed",
    "smsUndelivered",
];

fn event(action: &str, data: &str) -> v1::Event {
    v1::Event {
        object_type: "collect".to_owned(),
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
    http.post("/v1/webhooks", &body).await.expect(200)
}

fn path_of(webhook: &Value) -> String {
    format!("/v1/webhooks/{}", webhook["_id"].as_str().expect("an id"))
}

/// The first request that a webhook's receiver gets for this event.
async fn sent(tenancy: &Tenancy, receiver: &Receiver, event: v1::Event) -> Received {
    let before = receiver.count();
    publish(tenancy, vec![event]).await;
    assert!(receiver.wait_for(before + 1, PATIENCE).await);
    receiver.received().swap_remove(before)
}

async fn all(http: &Http) -> Value {
    http.get("/v1/webhooks").await.expect(200)
}

#[tokio::test]
async fn a_new_webhook_is_answered_with_200_and_as_it_is() {
    let tenancy = Tenancy::quiet().await;
    let types = ["created", "statusChanged", "dueDateChanged"];
    let body = json!({ "types": types, "targetUrl": URL });
    let webhook = made(&tenancy.collect(), body).await;
    assert_eq!(
        webhook,
        json!({
            "_id": webhook["_id"],
            "targetUrl": URL,
            "status": "active",
            "types": types,
            "createdAt": webhook["createdAt"],
        })
    );
    let read = tenancy.collect().get(&path_of(&webhook)).await;
    assert_eq!(read.expect(200), webhook);
}

#[tokio::test]
async fn the_time_of_creation_is_written_in_collects_way() {
    let tenancy = Tenancy::quiet().await;
    let webhook = made(&tenancy.collect(), json!({ "targetUrl": URL })).await;
    let text = webhook["createdAt"].as_str().expect("a time");
    let digits: String = text
        .chars()
        .map(|char| if char.is_ascii_digit() { '0' } else { char })
        .collect();
    assert_eq!(digits, "0000-00-00 00:00:00 UTC");
}

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
async fn without_types_a_webhook_gets_all_of_collects_events() {
    let tenancy = Tenancy::quiet().await;
    let webhook = made(&tenancy.collect(), json!({ "targetUrl": URL })).await;
    assert_eq!(webhook["types"], json!(TYPES));
    let mut events: Vec<_> = TYPES.iter().map(|name| event(name, "{}")).collect();
    let of_others = v1::Event {
        object_type: "quote".to_owned(),
        ..event("created", "{}")
    };
    events.push(of_others);
    let matched = publish(&tenancy, events).await;
    assert_eq!(matched[..25], [1; 25]);
    assert_eq!(matched[25], 0, "another kind of object");
}

#[tokio::test]
async fn each_type_is_taken_and_received() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.collect();
    for name in TYPES {
        let body = json!({ "targetUrl": URL, "types": [name] });
        let webhook = made(&http, body).await;
        assert_eq!(webhook["types"], json!([name]));
        let other = if name == "created" {
            "smsSent"
        } else {
            "created"
        };
        let events = vec![event(name, "{}"), event(other, "{}")];
        assert_eq!(publish(&tenancy, events).await, [1, 0], "{name}");
        http.delete(&path_of(&webhook)).await.expect(200);
    }
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
async fn a_change_needs_only_what_changes() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.collect();
    let body = json!({ "targetUrl": URL, "types": ["created"], "secretToken": "t" });
    let mut webhook = made(&http, body).await;
    for (body, member, value) in [
        (json!({ "status": "paused" }), "status", json!("paused")),
        (json!({ "types": ["smsSent"] }), "types", json!(["smsSent"])),
        (json!({ "secretToken": "u" }), "secretToken", json!("u")),
        (
            json!({ "targetUrl": "https://b.example/" }),
            "targetUrl",
            json!("https://b.example/"),
        ),
        (json!({ "status": "active" }), "status", json!("active")),
        (json!({}), "status", json!("active")),
    ] {
        webhook[member] = value;
        let changed = http.post(&path_of(&webhook), &body).await.expect(200);
        assert_eq!(changed, webhook, "{body}");
        let read = http.get(&path_of(&webhook)).await.expect(200);
        assert_eq!(read, webhook, "{body}");
    }
}

#[tokio::test]
async fn what_was_read_can_be_sent_back() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.collect();
    let body = json!({ "targetUrl": URL, "types": ["created"], "secretToken": "t" });
    let mut webhook = made(&http, body).await;
    webhook["status"] = json!("paused");
    let changed = http.post(&path_of(&webhook), &webhook).await.expect(200);
    assert_eq!(changed, webhook);
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
async fn webhooks_are_listed_oldest_first() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.collect();
    assert_eq!(all(&http).await, json!([]));
    let first = made(&http, json!({ "targetUrl": URL })).await;
    let second = made(&http, json!({ "targetUrl": URL })).await;
    assert_eq!(all(&http).await, json!([first, second]));
}

#[tokio::test]
async fn a_deleted_webhook_is_gone() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.collect();
    let webhook = made(&http, json!({ "targetUrl": URL })).await;
    let deleted = http.delete(&path_of(&webhook)).await.expect(200);
    assert_eq!(deleted, json!({}));
    http.get(&path_of(&webhook)).await.expect(404);
    http.delete(&path_of(&webhook)).await.expect(404);
    assert_eq!(publish(&tenancy, vec![event("created", "{}")]).await, [0]);
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
async fn the_key_is_the_password_and_the_user_name_is_not_looked_at() {
    let tenancy = Tenancy::quiet().await;
    let key = &tenancy.tenant.key;
    for user in ["", "username", "\u{e4}"] {
        let http = tenancy.anonymous().authorized(&basic(user, key));
        assert_eq!(all(&http).await, json!([]), "{user}");
    }
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

#[tokio::test]
async fn a_secret_token_is_sent_as_it_is_and_without_one_nothing() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let http = tenancy.collect();
    let body = json!({ "targetUrl": receiver.url(), "secretToken": "t0k=en one" });
    let webhook = made(&http, body).await;
    let request = sent(&tenancy, &receiver, event("created", "{}")).await;
    assert_eq!(request.header("x-secret-token"), Some("t0k=en one"));
    for nothing in [json!(""), json!(null)] {
        for (token, expected) in [(&json!("two"), Some("two")), (&nothing, None)] {
            let body = json!({ "secretToken": token });
            let changed = http.post(&path_of(&webhook), &body).await.expect(200);
            let shown = changed.get("secretToken").and_then(Value::as_str);
            assert_eq!(shown, expected);
            let request = sent(&tenancy, &receiver, event("created", "{}")).await;
            assert_eq!(request.header("x-secret-token"), expected);
        }
    }
}

#[tokio::test]
async fn a_webhook_that_is_paused_receives_nothing() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let http = tenancy.collect();
    let body = json!({ "targetUrl": receiver.url(), "status": "paused" });
    let webhook = made(&http, body).await;
    assert_eq!(webhook["status"], "paused");
    assert_eq!(publish(&tenancy, vec![event("created", "{}")]).await, [0]);
    let activate = json!({ "status": "active" });
    http.post(&path_of(&webhook), &activate).await.expect(200);
    sent(&tenancy, &receiver, event("smsSent", "{}")).await;
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn deliveries_are_not_signed() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    made(&tenancy.collect(), json!({ "targetUrl": receiver.url() })).await;
    let request = sent(&tenancy, &receiver, event("created", "{}")).await;
    for header in ["x-signature", "webhook-signature", "close-sig-hash"] {
        assert_eq!(request.header(header), None, "{header}");
    }
}

#[tokio::test]
async fn a_campaign_confines_a_webhook_to_its_events() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.collect();
    let body = json!({ "targetUrl": URL, "campaignId": "sGyGrNPDxQDy6ZRAm" });
    let webhook = made(&http, body).await;
    assert_eq!(webhook["campaignId"], "sGyGrNPDxQDy6ZRAm");
    let of = |campaign: &str| v1::Event {
        campaign_id: campaign.to_owned(),
        ..event("created", "{}")
    };
    let events = || vec![of("sGyGrNPDxQDy6ZRAm"), of("another"), of("")];
    assert_eq!(publish(&tenancy, events()).await, [1, 0, 0]);
    let change = json!({ "campaignId": "another" });
    let changed = http.post(&path_of(&webhook), &change).await.expect(200);
    assert_eq!(changed["campaignId"], "another");
    assert_eq!(publish(&tenancy, events()).await, [0, 1, 0]);
    for nothing in [json!(null), json!("")] {
        let change = json!({ "campaignId": nothing });
        let changed = http.post(&path_of(&webhook), &change).await.expect(200);
        assert_eq!(changed.get("campaignId"), None);
        assert_eq!(
            publish(&tenancy, events()).await,
            [1, 1, 1],
            "of every campaign"
        );
    }
}

#[tokio::test]
async fn a_delivery_is_the_raw_data() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    made(&tenancy.collect(), json!({ "targetUrl": receiver.url() })).await;
    let data = "{\"name\": \"Zoë 東京 🎉\",  \"b\":1.10}";
    let request = sent(&tenancy, &receiver, event("created", data)).await;
    assert_eq!(request.body, data.as_bytes(), "byte for byte");
    assert_eq!(request.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn after_a_day_of_failures_a_webhook_is_to_be_paused() {
    let tenancy = Tenancy::quiet().await;
    made(&tenancy.collect(), json!({ "targetUrl": URL })).await;
    let request = v1::ListSubscriptionsRequest::default();
    let answer = tenancy.client.webhooks().list_subscriptions(request).await;
    let native = answer
        .expect("listed")
        .into_inner()
        .subscriptions
        .swap_remove(0);
    let policy = native.retry_policy.expect("shown");
    assert_eq!(policy.preset(), v1::RetryPreset::Collect);
    assert_eq!(policy.max_age.expect("shown").seconds, 24 * 3_600);
    assert_eq!(policy.on_exhausted(), v1::ExhaustionAction::Pause);
}

#[tokio::test]
async fn a_webhook_is_paused_once_a_delivery_is_given_up() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Status(500)).await;
    let http = tenancy.collect();
    let webhook = made(&http, json!({ "targetUrl": receiver.url() })).await;
    let hurried = v1::UpdateSubscriptionRequest {
        subscription: Some(v1::Subscription {
            id: webhook["_id"].as_str().expect("an id").to_owned(),
            retry_policy: Some(v1::RetryPolicy {
                max_attempts: 1,
                ..v1::RetryPolicy::default()
            }),
            ..v1::Subscription::default()
        }),
        ..v1::UpdateSubscriptionRequest::default()
    };
    let mut client = tenancy.client.webhooks();
    client.update_subscription(hurried).await.expect("changed");
    publish(&tenancy, vec![event("created", "{}")]).await;
    assert!(receiver.wait_for(1, PATIENCE).await);
    let begun = std::time::Instant::now();
    while http.get(&path_of(&webhook)).await.expect(200)["status"] != "paused" {
        assert!(begun.elapsed() < PATIENCE, "it is not paused");
    }
    let activate = json!({ "status": "active" });
    let active = http.post(&path_of(&webhook), &activate).await.expect(200);
    assert_eq!(active["status"], "active");
}
