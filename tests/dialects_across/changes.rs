//! What a change through a dialect keeps.

use super::*;

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
