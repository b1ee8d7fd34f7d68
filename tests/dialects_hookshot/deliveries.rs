//! What receivers get.

use super::*;

#[tokio::test]
async fn a_star_receives_all() {
    let tenancy = Tenancy::quiet().await;
    let body = json!({ "url": URL, "active": true, "events": ["*"] });
    made(&tenancy.hookshot(), body).await;
    let events = vec![
        event_of("application_form", "created", "{}"),
        event_of("quote", "sent", "{}"),
        event_of("collect", "smsSent", "{}"),
    ];
    assert_eq!(tenancy.publish(events).await, [1, 1, 1]);
}

#[tokio::test]
async fn a_subject_receives_all_its_actions_and_no_other_subject() {
    let tenancy = Tenancy::quiet().await;
    let body = json!({ "url": URL, "active": true, "events": ["application_form"] });
    made(&tenancy.hookshot(), body).await;
    let events = vec![
        event_of("application_form", "created", "{}"),
        event_of("application_form", "updated", "{}"),
        event_of("application_form", "sent_to_carrier", "{}"),
        event_of("application_forms", "created", "{}"),
        event_of("quote", "created", "{}"),
    ];
    assert_eq!(tenancy.publish(events).await, [1, 1, 1, 0, 0]);
}

#[tokio::test]
async fn a_subject_with_its_action_receives_that_alone() {
    let tenancy = Tenancy::quiet().await;
    let body = json!({ "url": URL, "active": true, "events": ["quote:created"] });
    made(&tenancy.hookshot(), body).await;
    let events = vec![
        event_of("quote", "created", "{}"),
        event_of("quote", "updated", "{}"),
        event_of("form", "created", "{}"),
    ];
    assert_eq!(tenancy.publish(events).await, [1, 0, 0]);
}

#[tokio::test]
async fn a_hook_that_is_not_active_receives_nothing() {
    let tenancy = Tenancy::quiet().await;
    let body = json!({ "url": URL, "events": ["*"] });
    let hook = made(&tenancy.hookshot(), body).await;
    let quote = || vec![event_of("quote", "created", "{}")];
    assert_eq!(tenancy.publish(quote()).await, [0]);
    let activate = json!({ "active": true });
    let http = tenancy.hookshot();
    http.put(&path_of(&hook), &activate).await.expect(200);
    assert_eq!(tenancy.publish(quote()).await, [1]);
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
    let request = tenancy
        .sent(&receiver, event_of("quote", "created", data))
        .await;
    let expected = python_hmac(secret, &request.body);
    assert_eq!(request.header("x-signature"), Some(expected.as_str()));
}

#[tokio::test]
async fn without_a_secret_nothing_is_signed() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    hook_at(&tenancy, &receiver, json!({})).await;
    let request = tenancy
        .sent(&receiver, event_of("quote", "created", "{}"))
        .await;
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
        let quote = event_of("quote", "created", r#"{"n":1}"#);
        let request = tenancy.sent(&receiver, quote).await;
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
    let request = tenancy
        .sent(&receiver, event_of("quote", "created", "{}"))
        .await;
    assert_eq!(request.header("authorization"), Some("Basic abc: def"));
}

#[tokio::test]
async fn a_delivery_is_the_raw_data_with_its_event_in_a_header() {
    let tenancy = Tenancy::delivering().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    hook_at(&tenancy, &receiver, json!({})).await;
    let data = "{\"name\": \"Zoë 東京 🎉\",  \"b\":1.10}";
    let request = tenancy
        .sent(&receiver, event_of("quote", "created", data))
        .await;
    assert_eq!(request.body, data.as_bytes(), "byte for byte");
    assert_eq!(request.header("x-emperor-event"), Some("quote:created"));
    assert_eq!(request.header("content-type"), Some("application/json"));
}
