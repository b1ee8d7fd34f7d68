//! Subscriptions over the wire: what is right works, what is wrong is told and changes
//! nothing.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

mod support;

use sidehook_api::v1::{self, signing::Scheme};
use sidehook_core::id::TenantId;
use sidehook_store::Store as _;
use support::{assert_field, assert_reason, pattern, start, subscription, with};
use tonic::Code;

fn unsigned() -> Option<v1::Signing> {
    Some(v1::Signing {
        scheme: Some(Scheme::Unsigned(v1::UnsignedScheme {})),
        ..Default::default()
    })
}

fn header(name: &str, value: &str) -> v1::Header {
    v1::Header {
        name: name.into(),
        value: value.into(),
    }
}

#[tokio::test]
async fn what_was_created_is_read_with_its_key_and_listed_without() {
    let api = start().await;
    let created = api.create(subscription()).await.unwrap();
    let keys = &created.signing.as_ref().unwrap().keys;
    assert_eq!(keys.len(), 1);
    assert!(keys[0].secret.starts_with("whsec_"));
    let mut read = api.get(&api.admin, &created.id).await.unwrap();
    let health = read.health.take().expect("it is read with its health");
    assert_eq!(health.status, "", "nothing was delivered");
    assert_eq!(read, created);
    let listed = api.list().await;
    assert_eq!(listed.len(), 1);
    assert!(listed[0].signing.as_ref().unwrap().keys.is_empty());
    let (_, viewer) = api.key(&api.tenant, v1::Role::Viewer).await;
    let seen = api.get(&viewer, &created.id).await.unwrap();
    assert!(
        seen.signing.unwrap().keys.is_empty(),
        "a viewer must not be able to sign"
    );
    // At rest there is no secret.
    let tenant: TenantId = api.tenant.parse().unwrap();
    let catalog = api.store.catalog(tenant, None).await.unwrap().unwrap();
    let secret = keys[0].secret.as_bytes();
    let record = &catalog.rows[0].record;
    assert!(!record.windows(secret.len()).any(|window| window == secret));
}

#[tokio::test]
async fn wrong_input_is_told_by_its_field_and_creates_nothing() {
    let api = start().await;
    type Change = fn(&mut v1::Subscription);
    let cases: &[(&str, Change)] = &[
        ("subscription.url", |s| s.url = String::new()),
        ("subscription.url", |s| s.url = "ftp://example.com".into()),
        ("subscription.url", |s| {
            s.url = "https://a:b@example.com".into()
        }),
        ("subscription.events", |s| s.events = Vec::new()),
        ("subscription.events[0].action", |s| {
            s.events = vec![pattern("a", "")]
        }),
        ("subscription.events[0].object_type", |s| {
            s.events = vec![pattern("sidehook.test", "*")];
        }),
        ("subscription.headers[0].name", |s| {
            s.headers = vec![header("a b", "c")]
        }),
        ("subscription.headers[0].name", |s| {
            s.headers = vec![header("Host", "c")]
        }),
        ("subscription.headers[0].value", |s| {
            s.headers = vec![header("A", "b\r\nC: d")]
        }),
        ("subscription.pool", |s| s.pool = "No Such".into()),
        ("subscription.max_in_flight", |s| s.max_in_flight = 1_001),
        ("subscription.description", |s| {
            s.description = "x".repeat(501)
        }),
        ("subscription.id", |s| s.id = "whsub_1".into()),
        ("subscription.etag", |s| s.etag = "1-1".into()),
        ("subscription.timeouts.total", |s| {
            s.timeouts = Some(v1::Timeouts {
                total: Some(prost_types::Duration {
                    seconds: 61,
                    nanos: 0,
                }),
                ..Default::default()
            });
        }),
        ("subscription.retry_policy.max_age", |s| {
            s.retry_policy = Some(v1::RetryPolicy {
                max_age: Some(prost_types::Duration {
                    seconds: 3_000_000,
                    nanos: 0,
                }),
                ..Default::default()
            });
        }),
    ];
    for (field, change) in cases {
        let mut proto = subscription();
        change(&mut proto);
        assert_field(api.create(proto).await, field);
    }
    assert!(api.list().await.is_empty());
}

#[tokio::test]
async fn secrets_that_do_not_fit_create_nothing() {
    let api = start().await;
    assert_field(
        api.create_with(subscription(), "whsec_short").await,
        "signing_secret",
    );
    let plain = v1::Subscription {
        signing: unsigned(),
        ..subscription()
    };
    assert_field(api.create_with(plain, "whsec_any").await, "signing_secret");
    let none = v1::CreateSubscriptionRequest::default();
    let answer = api
        .webhooks()
        .create_subscription(with(&api.admin, none))
        .await;
    assert_field(answer, "subscription");
    assert!(api.list().await.is_empty());
}

#[tokio::test]
async fn masks_change_what_they_name_and_nothing_else() {
    let api = start().await;
    let before = api.create(subscription()).await.unwrap();
    let patch = v1::Subscription {
        id: before.id.clone(),
        url: "https://example.com/other".into(),
        description: "not named".into(),
        ..Default::default()
    };
    let after = api.update(patch.clone(), &["url"]).await.unwrap();
    assert_eq!(after.url, patch.url);
    assert_eq!(after.description, "");
    assert_ne!(after.etag, before.etag);
    let now = api.get(&api.admin, &before.id).await.unwrap();
    assert_eq!(now.signing, before.signing, "the key stays");
    let both = api.update(patch.clone(), &[]).await.unwrap();
    assert_eq!(both.description, "not named");
    assert_field(api.update(patch.clone(), &["urll"]).await, "update_mask");
    let bad = v1::Subscription {
        url: "x".into(),
        ..patch.clone()
    };
    assert_field(api.update(bad, &["url"]).await, "subscription.url");
    let nameless = v1::Subscription {
        id: String::new(),
        ..patch.clone()
    };
    assert_field(api.update(nameless, &["url"]).await, "subscription.id");
    let malformed = v1::Subscription {
        id: "whsub_!".into(),
        ..patch.clone()
    };
    assert_field(api.update(malformed, &["url"]).await, "subscription.id");
    let unknown = v1::Subscription {
        id: "whsub_0000000000000000000001".into(),
        ..patch
    };
    assert_reason(
        api.update(unknown, &["url"]).await,
        Code::NotFound,
        "NOT_FOUND",
    );
    let now = api.get(&api.admin, &before.id).await.unwrap();
    assert_eq!(now.etag, both.etag);
}

#[tokio::test]
async fn a_stale_etag_is_refused_wherever_it_is_given() {
    let api = start().await;
    let first = api.create(subscription()).await.unwrap();
    let patch = v1::Subscription {
        id: first.id.clone(),
        etag: first.etag.clone(),
        description: "one".into(),
        ..Default::default()
    };
    let second = api.update(patch.clone(), &["description"]).await.unwrap();
    let stale = api.update(patch.clone(), &["description"]).await;
    assert_reason(stale, Code::Aborted, "ETAG_MISMATCH");
    let (id, etag) = (first.id.clone(), first.etag.clone());
    let pause = v1::PauseSubscriptionRequest {
        id: id.clone(),
        etag: etag.clone(),
    };
    let answer = api
        .webhooks()
        .pause_subscription(with(&api.admin, pause))
        .await;
    assert_reason(answer, Code::Aborted, "ETAG_MISMATCH");
    let resume = v1::ResumeSubscriptionRequest {
        id: id.clone(),
        etag: etag.clone(),
        ..Default::default()
    };
    let answer = api
        .webhooks()
        .resume_subscription(with(&api.admin, resume))
        .await;
    assert_reason(answer, Code::Aborted, "ETAG_MISMATCH");
    let delete = v1::DeleteSubscriptionRequest {
        id: id.clone(),
        etag: etag.clone(),
    };
    let answer = api
        .webhooks()
        .delete_subscription(with(&api.admin, delete))
        .await;
    assert_reason(answer, Code::Aborted, "ETAG_MISMATCH");
    let rotate = v1::RotateSigningKeyRequest {
        id: id.clone(),
        etag,
        ..Default::default()
    };
    let answer = api
        .webhooks()
        .rotate_signing_key(with(&api.admin, rotate))
        .await;
    assert_reason(answer, Code::Aborted, "ETAG_MISMATCH");
    let nonsense = v1::Subscription {
        etag: "nonsense".into(),
        ..patch
    };
    assert_field(
        api.update(nonsense, &["description"]).await,
        "subscription.etag",
    );
    let now = api.get(&api.admin, &id).await.unwrap();
    assert_eq!(now.etag, second.etag);
    let delete = v1::DeleteSubscriptionRequest {
        id: id.clone(),
        etag: second.etag,
    };
    api.webhooks()
        .delete_subscription(with(&api.admin, delete))
        .await
        .unwrap();
    assert_reason(api.get(&api.admin, &id).await, Code::NotFound, "NOT_FOUND");
}

#[tokio::test]
async fn pausing_twice_is_pausing_once_and_a_paused_one_cannot_be_tested() {
    let api = start().await;
    let id = api.create(subscription()).await.unwrap().id;
    let pause = async || {
        let request = v1::PauseSubscriptionRequest {
            id: id.clone(),
            ..Default::default()
        };
        let answer = api
            .webhooks()
            .pause_subscription(with(&api.admin, request))
            .await;
        answer.unwrap().into_inner().subscription.unwrap()
    };
    let paused = pause().await;
    assert_eq!(paused.pause_reason, "api");
    assert_eq!(pause().await, paused);
    assert_eq!(api.publish(support::event()).await.unwrap().matched, 0);
    let test = || v1::TestSubscriptionRequest { id: id.clone() };
    let answer = api
        .webhooks()
        .test_subscription(with(&api.admin, test()))
        .await;
    assert_reason(answer, Code::FailedPrecondition, "SUBSCRIPTION_PAUSED");
    let resume = v1::ResumeSubscriptionRequest {
        id: id.clone(),
        ..Default::default()
    };
    api.webhooks()
        .resume_subscription(with(&api.admin, resume))
        .await
        .unwrap();
    assert_eq!(api.publish(support::event()).await.unwrap().matched, 1);
    let answer = api
        .webhooks()
        .test_subscription(with(&api.admin, test()))
        .await;
    let tested = answer.unwrap().into_inner();
    let get = v1::GetDeliveryRequest {
        id: tested.delivery_id,
    };
    let answer = api.deliveries().get_delivery(with(&api.admin, get)).await;
    let delivery = answer.unwrap().into_inner().delivery.unwrap();
    assert_eq!(
        (delivery.event_id, delivery.subscription_id),
        (tested.event_id, id)
    );
}

#[tokio::test]
async fn lists_go_page_by_page_and_refuse_foreign_tokens() {
    let api = start().await;
    for number in 0..5 {
        let description = number.to_string();
        api.create(v1::Subscription {
            description,
            ..subscription()
        })
        .await
        .unwrap();
    }
    let page = async |page_size, page_token: &str| {
        let page_token = page_token.to_owned();
        let request = v1::ListSubscriptionsRequest {
            page_size,
            page_token,
            ..Default::default()
        };
        let answer = api
            .webhooks()
            .list_subscriptions(with(&api.admin, request))
            .await;
        answer.map(tonic::Response::into_inner)
    };
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let next = page(2, &token).await.unwrap();
        seen.extend(next.subscriptions.into_iter().map(|one| one.description));
        token = next.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, ["0", "1", "2", "3", "4"]);
    assert_field(page(501, "").await, "page_size");
    for wrong in ["nonsense", "0123456789abcdef"] {
        assert_field(page(2, wrong).await, "page_token");
    }
    let foreign = page(2, "").await.unwrap().next_page_token;
    let request = v1::ListEventsRequest {
        page_token: foreign,
        ..Default::default()
    };
    let answer = api.events().list_events(with(&api.admin, request)).await;
    assert_field(answer, "page_token");
}
