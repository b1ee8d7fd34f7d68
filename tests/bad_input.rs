//! Bad input gets a precise error that names the field, and changes nothing.

use prost_types::FieldMask;
use sidehook_api::v1;
use sidehook_testkit::{
    client::{Client, event, subscription},
    system::System,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const URL: &str = "http://127.0.0.1:9/hook";

/// The fields that an error names.
fn fields(status: &Status) -> Vec<String> {
    let details = status.get_details_bad_request();
    details.map_or_else(Vec::new, |details| {
        details
            .field_violations
            .into_iter()
            .map(|violation| violation.field)
            .collect()
    })
}

async fn create(client: &Client, wanted: v1::Subscription) -> Result<v1::Subscription, Status> {
    let request = v1::CreateSubscriptionRequest {
        subscription: Some(wanted),
        ..v1::CreateSubscriptionRequest::default()
    };
    let answer = client.webhooks().create_subscription(request).await?;
    Ok(answer.into_inner().subscription.expect("the subscription"))
}

async fn list(client: &Client) -> Vec<v1::Subscription> {
    let request = v1::ListSubscriptionsRequest::default();
    let answer = client
        .webhooks()
        .list_subscriptions(request)
        .await
        .expect("a list");
    answer.into_inner().subscriptions
}

async fn refused(client: &Client, wanted: v1::Subscription, field: &str) {
    let before = list(client).await;
    let status = create(client, wanted).await.expect_err(field);
    assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status}");
    assert_eq!(fields(&status), [field], "the whole path, and no other");
    assert_eq!(list(client).await, before, "{field}: the state changed");
}

/// Subscriptions with one wrong field each, and its whole path.
fn wrong_subscriptions() -> impl Iterator<Item = (&'static str, v1::Subscription)> {
    type Change = fn(&mut v1::Subscription);
    let changes: [(&str, Change); 21] = [
        ("url", |wanted| wanted.url = String::new()),
        ("url", |wanted| wanted.url = "nonsense".into()),
        ("url", |wanted| wanted.url = "ftp://a/b".into()),
        ("url", |wanted| wanted.url = "http://user:pw@a/".into()),
        ("url", |wanted| wanted.url = "http://a/#part".into()),
        ("events", |wanted| wanted.events.clear()),
        ("events[0].object_type", |wanted| {
            wanted.events[0].object_type = "not a word".into();
        }),
        ("events[1].action", |wanted| {
            wanted.events.push(wanted.events[0].clone());
            wanted.events[1].action = String::new();
        }),
        ("headers[0].name", |wanted| header(wanted, "bad name", "x")),
        ("headers[0].name", |wanted| {
            header(wanted, "webhook-id", "x")
        }),
        ("headers[0].value", |wanted| {
            header(wanted, "x-good", "a\r\nx-evil: b");
        }),
        ("headers[0].value", |wanted| {
            header(wanted, "x-good", "a\nb")
        }),
        ("headers[1].name", |wanted| {
            header(wanted, "x-good", "a");
            header(wanted, "X-Good", "b");
        }),
        ("pool", |wanted| wanted.pool = "No Pool".into()),
        ("status", |wanted| wanted.status = 99),
        ("max_in_flight", |wanted| wanted.max_in_flight = 1_001),
        ("timeouts.total", |wanted| {
            wanted.timeouts = Some(v1::Timeouts {
                total: Some(seconds(61)),
                ..v1::Timeouts::default()
            });
        }),
        ("retry_policy.max_age", |wanted| {
            wanted.retry_policy = Some(v1::RetryPolicy {
                max_age: Some(seconds(29 * 24 * 3_600)),
                ..v1::RetryPolicy::default()
            });
        }),
        ("signing.local_key", |wanted| {
            wanted.signing = Some(v1::Signing {
                local_key: "No Name".into(),
                ..v1::Signing::default()
            });
        }),
        ("created_by", |wanted| wanted.created_by = "me".into()),
        ("etag", |wanted| wanted.etag = "1-0123456789abcdef".into()),
    ];
    changes.into_iter().map(|(field, change)| {
        let mut wrong = subscription(URL, "order");
        change(&mut wrong);
        (field, wrong)
    })
}

fn header(wanted: &mut v1::Subscription, name: &str, value: &str) {
    wanted.headers.push(v1::Header {
        name: name.to_owned(),
        value: value.to_owned(),
    });
}

const fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

#[tokio::test]
async fn a_wrong_subscription_is_refused_field_by_field() {
    let system = System::builder().embedded().without_agent().start().await;
    let client = system.client(0);
    for (field, wrong) in wrong_subscriptions() {
        refused(&client, wrong, &format!("subscription.{field}")).await;
    }
}

#[tokio::test]
async fn a_change_needs_a_known_field_and_the_present_etag() {
    let system = System::builder().start().await;
    let client = system.client(0);
    let made = create(&client, subscription(URL, "order"))
        .await
        .expect("made");
    let before = list(&client).await;
    let update = |patch: v1::Subscription, path: &str| v1::UpdateSubscriptionRequest {
        subscription: Some(patch),
        update_mask: Some(FieldMask {
            paths: vec![path.into()],
        }),
        ..v1::UpdateSubscriptionRequest::default()
    };
    let patch = v1::Subscription {
        id: made.id.clone(),
        description: "new".into(),
        ..v1::Subscription::default()
    };
    let status = client
        .webhooks()
        .update_subscription(update(patch.clone(), "colour"))
        .await;
    let status = status.expect_err("unknown path");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(fields(&status), ["update_mask"], "{status}");
    let stale = v1::Subscription {
        etag: "1-0123456789abcdef".into(),
        ..patch
    };
    let status = client
        .webhooks()
        .update_subscription(update(stale, "description"))
        .await;
    assert_eq!(status.expect_err("wrong etag").code(), Code::Aborted);
    let delete = v1::DeleteSubscriptionRequest {
        id: made.id,
        etag: "1-0123456789abcdef".into(),
    };
    let status = client
        .webhooks()
        .delete_subscription(delete)
        .await
        .expect_err("wrong etag");
    assert_eq!(status.code(), Code::Aborted);
    assert_eq!(list(&client).await, before, "the state changed");
}

/// Events with one wrong field each, and the field.
fn wrong_events() -> impl Iterator<Item = (&'static str, v1::Event)> {
    type Change = fn(&mut v1::Event);
    const TIME: Option<prost_types::Timestamp> = Some(prost_types::Timestamp {
        seconds: 1,
        nanos: 0,
    });
    let changes: [(&str, Change); 11] = [
        ("data", |event| event.data = "{\"a\":1,}".into()),
        ("data", |event| event.data = "".into()),
        ("data", |event| {
            event.data = format!("\"{}\"", "x".repeat(256 * 1024)).into();
        }),
        ("object_type", |event| event.object_type = String::new()),
        ("meta", |event| event.meta = "[1]".into()),
        ("id", |event| event.id = "ev_2sYKRjcrA79yKxi3S4Crd7".into()),
        ("campaign_id", |event| event.campaign_id = "c".repeat(201)),
        ("ordering_key", |event| event.ordering_key = "k".into()),
        ("deliver_after", |event| event.deliver_after = TIME),
        ("expires_at", |event| event.expires_at = TIME),
        ("headers", |event| {
            event.headers.insert("a".to_owned(), "b".to_owned());
        }),
    ];
    changes.into_iter().map(|(field, change)| {
        let mut wrong = event("order", 1);
        change(&mut wrong);
        (field, wrong)
    })
}

/// What an error of one event of a batch names.
fn named(error: &v1::PublishError) -> Vec<&str> {
    let violations = error.field_violations.iter();
    violations
        .map(|violation| violation.field.as_str())
        .collect()
}

async fn events(client: &Client) -> Vec<v1::Event> {
    let request = v1::ListEventsRequest {
        page_size: 100,
        ..v1::ListEventsRequest::default()
    };
    let answer = client.events().list_events(request).await;
    answer.expect("a list").into_inner().events
}

#[tokio::test]
async fn a_wrong_event_is_refused_field_by_field() {
    let system = System::builder().embedded().without_agent().start().await;
    let client = system.client(0);
    for (round, (field, event)) in wrong_events().enumerate() {
        let alone = v1::PublishEventRequest {
            event: Some(event.clone()),
        };
        let status = client.events().publish_event(alone).await;
        let status = status.expect_err(field);
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status}");
        assert_eq!(fields(&status), [format!("event.{field}")]);
        // In a batch it fails alone, and its path begins at the event.
        let good = |n| self::event("order", n);
        let batch = vec![good(1), event, good(2)];
        let results = client.publish(batch).await.expect("results");
        let error = results[1].error.as_ref().expect(field);
        assert_eq!(error.code, Code::InvalidArgument as i32, "{field}");
        assert_eq!(named(error), [field]);
        for good in [&results[0], &results[2]] {
            assert_eq!(good.error, None, "{field}: a good one suffers");
        }
        let kept = events(&client).await.len();
        assert_eq!(kept, 2 * (round + 1), "{field}: the state changed");
    }
}

#[tokio::test]
async fn foreign_ids_are_unknown_ids() {
    let system = System::builder().start().await;
    let client = system.client(0);
    let mine = create(&client, subscription(URL, "order"))
        .await
        .expect("made");
    let other = system.another_tenant("other").await;
    let unknown = "whsub_0000000000000000000001".to_owned();
    for id in [mine.id.clone(), unknown] {
        let get = v1::GetSubscriptionRequest { id: id.clone() };
        let status = other
            .webhooks()
            .get_subscription(get)
            .await
            .expect_err("not theirs");
        assert_eq!(status.code(), Code::NotFound, "{id}");
        let delete = v1::DeleteSubscriptionRequest {
            id,
            etag: String::new(),
        };
        let status = other
            .webhooks()
            .delete_subscription(delete)
            .await
            .expect_err("not theirs");
        assert_eq!(status.code(), Code::NotFound);
    }
    let get = v1::GetSubscriptionRequest {
        id: "whsub_short".into(),
    };
    let status = client
        .webhooks()
        .get_subscription(get)
        .await
        .expect_err("no id");
    assert_eq!(
        (status.code(), fields(&status)),
        (Code::InvalidArgument, vec!["id".to_owned()])
    );
    let page = v1::ListSubscriptionsRequest {
        page_token: "rubbish".into(),
        ..v1::ListSubscriptionsRequest::default()
    };
    let status = client
        .webhooks()
        .list_subscriptions(page)
        .await
        .expect_err("bad token");
    assert_eq!(fields(&status), ["page_token"], "{status}");
    assert_eq!(list(&client).await.len(), 1);
}

#[tokio::test]
async fn foreign_events_and_deliveries_are_unknown_ones() {
    let system = System::builder().embedded().without_agent().start().await;
    let client = system.client(0);
    create(&client, subscription(URL, "order"))
        .await
        .expect("made");
    let published = client.publish(vec![event("order", 1)]).await;
    let event_id = published.expect("published").remove(0).event_id;
    let request = v1::ListDeliveriesRequest::default();
    let listed = client.deliveries().list_deliveries(request).await;
    let id = listed.expect("a list").into_inner().deliveries[0]
        .id
        .clone();
    let other = system.another_tenant("other").await;
    for (caller, expected) in [(&client, None), (&other, Some(Code::NotFound))] {
        let request = v1::GetEventRequest {
            id: event_id.clone(),
        };
        let got = caller.events().get_event(request).await;
        assert_eq!(got.err().map(|status| status.code()), expected);
        let request = v1::GetDeliveryRequest { id: id.clone() };
        let got = caller.deliveries().get_delivery(request).await;
        assert_eq!(got.err().map(|status| status.code()), expected);
    }
    let request = v1::RetryDeliveryRequest { id: id.clone() };
    let retried = other.deliveries().retry_delivery(request).await;
    assert_eq!(retried.expect_err("not theirs").code(), Code::NotFound);
    let request = v1::ListDeliveriesRequest::default();
    let listed = other.deliveries().list_deliveries(request).await;
    assert!(listed.expect("a list").into_inner().deliveries.is_empty());
    // And ids that are none are told by the field.
    let request = v1::GetDeliveryRequest {
        id: "dlv_short".to_owned(),
    };
    let refused = client.deliveries().get_delivery(request).await;
    assert_eq!(fields(&refused.expect_err("no id")), ["id"]);
}

#[tokio::test]
async fn nobody_calls_without_a_key_that_may() {
    let system = System::builder().start().await;
    let stranger = Client::new(system.grpc(0), "not-a-key");
    let request = v1::ListSubscriptionsRequest::default();
    let status = stranger
        .webhooks()
        .list_subscriptions(request)
        .await
        .expect_err("no key");
    assert_eq!(status.code(), Code::Unauthenticated);
    let status = system
        .client(0)
        .admin()
        .list_tenants(v1::ListTenantsRequest::default())
        .await;
    assert_eq!(
        status.expect_err("no operator").code(),
        Code::PermissionDenied
    );
}
