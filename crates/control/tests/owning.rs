//! Whose a subscription is, and what a member may do about it.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

mod support;

use sidehook_api::v1;
use support::{Api, assert_reason, event, start, subscription, with};
use tonic::{Code, Status};

/// A key with its id, which is its bearer's subject.
struct Bearer {
    subject: String,
    key: String,
}

async fn member(api: &Api) -> Bearer {
    let (subject, key) = api.key(&api.tenant, v1::Role::Member).await;
    Bearer { subject, key }
}

async fn create(api: &Api, key: &str, owner: &str) -> Result<v1::Subscription, Status> {
    let request = v1::CreateSubscriptionRequest {
        subscription: Some(v1::Subscription {
            owner: owner.into(),
            headers: vec![v1::Header {
                name: "X-Token".into(),
                value: "hers".into(),
            }],
            ..subscription()
        }),
        ..Default::default()
    };
    let answer = api.webhooks().create_subscription(with(key, request)).await;
    Ok(answer?.into_inner().subscription.unwrap())
}

async fn update(
    api: &Api,
    key: &str,
    patch: v1::Subscription,
    mask: &[&str],
) -> Result<v1::Subscription, Status> {
    let request = v1::UpdateSubscriptionRequest {
        subscription: Some(patch),
        update_mask: Some(prost_types::FieldMask {
            paths: mask.iter().map(|path| (*path).to_owned()).collect(),
        }),
        ..Default::default()
    };
    let answer = api.webhooks().update_subscription(with(key, request)).await;
    Ok(answer?.into_inner().subscription.unwrap())
}

/// Everything that changes a subscription or delivers for it, tried by the bearer of `key`.
async fn all_changes(
    api: &Api,
    key: &str,
    id: &str,
    delivery: &str,
) -> Vec<(&'static str, Result<(), Status>)> {
    let id = || id.to_owned();
    let patch = v1::Subscription {
        id: id(),
        description: "mine now".into(),
        ..Default::default()
    };
    let pause = v1::PauseSubscriptionRequest {
        id: id(),
        ..Default::default()
    };
    let resume = v1::ResumeSubscriptionRequest {
        id: id(),
        ..Default::default()
    };
    let rotate = v1::RotateSigningKeyRequest {
        id: id(),
        ..Default::default()
    };
    let test = v1::TestSubscriptionRequest { id: id() };
    let retry = v1::RetryDeliveryRequest {
        id: delivery.to_owned(),
    };
    let delete = v1::DeleteSubscriptionRequest {
        id: id(),
        ..Default::default()
    };
    let mut api_of = api.webhooks();
    vec![
        (
            "update",
            update(api, key, patch, &["description"]).await.map(drop),
        ),
        (
            "pause",
            api_of.pause_subscription(with(key, pause)).await.map(drop),
        ),
        (
            "resume",
            api_of
                .resume_subscription(with(key, resume))
                .await
                .map(drop),
        ),
        (
            "rotate",
            api_of.rotate_signing_key(with(key, rotate)).await.map(drop),
        ),
        (
            "test",
            api_of.test_subscription(with(key, test)).await.map(drop),
        ),
        (
            "retry",
            api.deliveries()
                .retry_delivery(with(key, retry))
                .await
                .map(drop),
        ),
        (
            "delete",
            api_of
                .delete_subscription(with(key, delete))
                .await
                .map(drop),
        ),
    ]
}

#[tokio::test]
async fn a_member_changes_their_own_and_nothing_of_anybody_elses() {
    let api = start().await;
    let (hers, his) = (member(&api).await, member(&api).await);
    let made = create(&api, &hers.key, "").await.unwrap();
    assert_eq!(
        (&made.owner, &made.created_by),
        (&hers.subject, &hers.subject)
    );
    api.publish(event()).await.unwrap();
    let deliveries = api.deliveries_of(v1::ListDeliveriesRequest::default());
    let delivery = deliveries.await[0].id.clone();
    let before = api.get(&api.admin, &made.id).await.unwrap();

    // Another member reads all of it but its secrets, and changes nothing.
    for (what, answer) in all_changes(&api, &his.key, &made.id, &delivery).await {
        if what == "retry" {
            // It has not ended, which is told to whoever may read.
            assert_reason(answer, Code::FailedPrecondition, "DELIVERY_NOT_ENDED");
            continue;
        }
        let status = answer.as_ref().expect_err(what);
        assert!(status.message().contains(&hers.subject), "{status:?}");
        assert_reason(answer, Code::PermissionDenied, "NOT_OWNER");
    }
    assert_eq!(api.get(&api.admin, &made.id).await.unwrap(), before);
    let read = api.get(&his.key, &made.id).await.unwrap();
    assert_eq!(read.url, before.url);
    assert!(read.signing.unwrap().keys.is_empty());
    assert_eq!(read.headers[0].value, "[redacted]");
    let read = api.get(&hers.key, &made.id).await.unwrap();
    assert_eq!(read, before, "its owner sees what an admin sees");

    // The owner may do all of it.
    for (what, answer) in all_changes(&api, &hers.key, &made.id, &delivery).await {
        match what {
            "retry" => assert_reason(answer, Code::FailedPrecondition, "DELIVERY_NOT_ENDED"),
            _ => answer.expect(what),
        }
    }
    assert_reason(
        api.get(&api.admin, &made.id).await,
        Code::NotFound,
        "NOT_FOUND",
    );
}

#[tokio::test]
async fn only_an_admin_gives_a_subscription_to_somebody_else() {
    let api = start().await;
    let (hers, his) = (member(&api).await, member(&api).await);
    let refused = create(&api, &hers.key, &his.subject).await;
    assert_reason(refused, Code::PermissionDenied, "NOT_OWNER");
    assert!(api.list().await.is_empty(), "nothing was made");
    let named = create(&api, &hers.key, &hers.subject).await.unwrap();
    assert_eq!(named.owner, hers.subject);

    let give = |owner: &str| v1::Subscription {
        id: named.id.clone(),
        owner: owner.into(),
        ..Default::default()
    };
    let given_away = update(&api, &hers.key, give(&his.subject), &["owner"]).await;
    assert_reason(given_away, Code::PermissionDenied, "NOT_OWNER");
    let taken = update(&api, &his.key, give(&his.subject), &["owner"]).await;
    assert_reason(taken, Code::PermissionDenied, "NOT_OWNER");
    let unchanged = api.get(&api.admin, &named.id).await.unwrap();
    assert_eq!(
        (&unchanged.owner, unchanged.etag),
        (&hers.subject, named.etag.clone())
    );

    let given = update(&api, &api.admin, give(&his.subject), &["owner"]).await;
    assert_eq!(given.unwrap().owner, his.subject);
    let patch = v1::Subscription {
        id: named.id.clone(),
        description: "his".into(),
        ..Default::default()
    };
    let lost = update(&api, &hers.key, patch.clone(), &["description"]).await;
    assert_reason(lost, Code::PermissionDenied, "NOT_OWNER");
    let changed = update(&api, &his.key, patch, &["description"])
        .await
        .unwrap();
    assert_eq!(
        (&*changed.description, &changed.owner),
        ("his", &his.subject)
    );
    // Naming the field and no owner gives it back to its creator.
    let back = update(&api, &api.admin, give(""), &["owner"])
        .await
        .unwrap();
    assert_eq!(back.owner, hers.subject);
    let admins = create(&api, &api.admin, &his.subject).await.unwrap();
    assert_eq!(admins.owner, his.subject);
    let long = create(&api, &api.admin, &"x".repeat(201)).await;
    support::assert_field(long, "subscription.owner");
    let odd = create(&api, &api.admin, "a\nb").await;
    support::assert_field(odd, "subscription.owner");
}
