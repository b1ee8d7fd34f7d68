//! Webhooks made, read, changed and deleted.

use super::*;

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
    assert_eq!(tenancy.publish(vec![event("created", "{}")]).await, [0]);
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
