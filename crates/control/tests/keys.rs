//! Keys that end, keys that are found, and keys of users.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

mod support;

use std::time::{Duration, SystemTime};

use sidehook_api::v1;
use sidehook_store::Store as _;
use support::{Api, OPERATOR, assert_field, assert_reason, over, start, subscription, with};
use tonic::{Code, Status, Streaming};

/// The promise about what was revoked or deleted.
const PROMISE: Duration = Duration::from_secs(5);

async fn make_key(
    api: &Api,
    change: impl FnOnce(&mut v1::CreateApiKeyRequest),
) -> Result<(v1::ApiKey, String), Status> {
    let mut request = v1::CreateApiKeyRequest {
        tenant_id: api.tenant.clone(),
        name: "test".into(),
        role: v1::Role::Viewer.into(),
        ..Default::default()
    };
    change(&mut request);
    let answer = api
        .operator()
        .create_api_key(with(OPERATOR, request))
        .await?;
    let answer = answer.into_inner();
    Ok((answer.api_key.unwrap(), answer.secret))
}

async fn make_user(api: &Api, role: v1::Role) -> v1::User {
    let request = v1::CreateUserRequest {
        tenant_id: api.tenant.clone(),
        name: "Ada".into(),
        email: "ada@example.com".into(),
        role: role.into(),
    };
    let answer = api.operator().create_user(with(OPERATOR, request)).await;
    answer.unwrap().into_inner().user.unwrap()
}

async fn key_of(api: &Api, user: &v1::User, role: v1::Role) -> Result<String, Status> {
    let made = make_key(api, |request| {
        request.user_id.clone_from(&user.id);
        request.role = role.into();
    });
    Ok(made.await?.1)
}

async fn reads(api: &Api, key: &str) -> Result<(), Status> {
    let request = v1::ListSubscriptionsRequest::default();
    let answer = api.webhooks().list_subscriptions(with(key, request)).await;
    answer.map(drop)
}

/// A stream that lasts.
async fn watch(api: &Api, key: &str) -> Streaming<v1::WatchDeliveriesResponse> {
    let request = v1::WatchDeliveriesRequest::default();
    let watch = api.deliveries().watch_deliveries(with(key, request)).await;
    let mut watch = watch.unwrap().into_inner();
    assert!(watch.message().await.unwrap().unwrap().delivery.is_none());
    watch
}

/// How the stream ends, which it must within the promise.
async fn ended(mut watch: Streaming<v1::WatchDeliveriesResponse>) -> Result<(), Status> {
    let end = tokio::time::timeout(PROMISE, watch.message()).await;
    end.expect("it ends in time").map(drop)
}

async fn another_replica(api: &Api) -> Api {
    let mut other = over(api.store.clone(), |_| {}).await;
    other.tenant.clone_from(&api.tenant);
    other
}

#[tokio::test]
async fn a_key_is_out_of_force_from_its_end_on_everywhere() {
    let api = start().await;
    let other = another_replica(&api).await;
    let expires_at = SystemTime::now() + Duration::from_millis(1_500);
    let (key, secret) = make_key(&api, |request| {
        request.expires_at = Some(expires_at.into());
    })
    .await
    .unwrap();
    assert!(key.expires_at.is_some() && key.revoked_at.is_none());
    let watches = [watch(&api, &secret).await, watch(&other, &secret).await];
    // Remembered on both, shortly before the end.
    reads(&api, &secret).await.unwrap();
    reads(&other, &secret).await.unwrap();
    let end = key.expires_at.unwrap();
    let end = i128::from(end.seconds) * 1_000 + i128::from(end.nanos / 1_000_000);
    while i128::from(api.store.now().await.unwrap().as_millis()) < end {
        tokio::task::yield_now().await;
    }
    for replica in [&api, &other] {
        let answer = reads(replica, &secret).await;
        assert_reason(answer, Code::Unauthenticated, "EXPIRED_CREDENTIAL");
    }
    for watch in watches {
        assert_reason(
            ended(watch).await,
            Code::Unauthenticated,
            "EXPIRED_CREDENTIAL",
        );
    }
}

#[tokio::test]
async fn a_revoked_key_ends_streams_on_every_replica() {
    let api = start().await;
    let other = another_replica(&api).await;
    let (key, secret) = make_key(&api, |_| {}).await.unwrap();
    let watches = [watch(&api, &secret).await, watch(&other, &secret).await];
    let request = v1::RevokeApiKeyRequest { id: key.id };
    let revoked = api.operator().revoke_api_key(with(OPERATOR, request)).await;
    revoked.unwrap();
    for watch in watches {
        assert_reason(
            ended(watch).await,
            Code::Unauthenticated,
            "INVALID_CREDENTIAL",
        );
    }
    for replica in [&api, &other] {
        let answer = reads(replica, &secret).await;
        assert_reason(answer, Code::Unauthenticated, "INVALID_CREDENTIAL");
    }
}

#[tokio::test]
async fn keys_are_found_by_what_is_shown_of_them() {
    let api = start().await;
    let (_, secret) = make_key(&api, |_| {}).await.unwrap();
    let (other, _) = make_key(&api, |_| {}).await.unwrap();
    let found = async |prefix: &str| {
        let request = v1::ListApiKeysRequest {
            tenant_id: api.tenant.clone(),
            prefix: prefix.to_owned(),
            ..Default::default()
        };
        let page = api.operator().list_api_keys(with(OPERATOR, request)).await;
        page.unwrap().into_inner().api_keys
    };
    assert_eq!(found("").await.len(), 3, "the admin's and the two");
    assert_eq!(found("shk_").await.len(), 3);
    for prefix in [&secret[..12], &secret] {
        let keys = found(prefix).await;
        assert_eq!(keys.len(), 1);
        assert_ne!(keys[0].id, other.id);
    }
    assert!(found("shp_").await.is_empty());
    assert!(found("ö").await.is_empty());
}

#[tokio::test]
async fn what_a_user_made_with_one_key_is_theirs_with_all() {
    let api = start().await;
    let user = make_user(&api, v1::Role::Member).await;
    let one = key_of(&api, &user, v1::Role::Member).await.unwrap();
    let two = key_of(&api, &user, v1::Role::Member).await.unwrap();
    let viewing = key_of(&api, &user, v1::Role::Viewer).await.unwrap();
    let create = v1::CreateSubscriptionRequest {
        subscription: Some(subscription()),
        ..Default::default()
    };
    let made = api.webhooks().create_subscription(with(&one, create)).await;
    let made = made.unwrap().into_inner().subscription.unwrap();
    assert_eq!((&made.owner, &made.created_by), (&user.id, &user.id));
    let pause = v1::PauseSubscriptionRequest {
        id: made.id.clone(),
        ..Default::default()
    };
    let paused = api
        .webhooks()
        .pause_subscription(with(&two, pause.clone()))
        .await;
    paused.unwrap();
    let refused = api
        .webhooks()
        .pause_subscription(with(&viewing, pause))
        .await;
    assert_reason(refused, Code::PermissionDenied, "RIGHT_MISSING");
    for role in [v1::Role::Admin, v1::Role::Publisher] {
        assert_field(key_of(&api, &user, role).await, "role");
    }
    assert_field(key_of(&api, &user, v1::Role::Agent).await, "user_id");
}

#[tokio::test]
async fn a_users_smaller_role_and_their_end_reach_every_key_and_stream() {
    let api = start().await;
    let other = another_replica(&api).await;
    let user = make_user(&api, v1::Role::Admin).await;
    let publishing = key_of(&api, &user, v1::Role::Publisher).await.unwrap();
    let admin = key_of(&api, &user, v1::Role::Admin).await.unwrap();
    let watching = [watch(&api, &admin).await, watch(&other, &admin).await];
    let smaller = v1::UpdateUserRequest {
        user: Some(v1::User {
            id: user.id.clone(),
            role: v1::Role::Publisher.into(),
            ..Default::default()
        }),
        update_mask: None,
    };
    let changed = api.operator().update_user(with(OPERATOR, smaller)).await;
    assert_eq!(
        changed.unwrap().into_inner().user.unwrap().role(),
        v1::Role::Publisher
    );
    for watch in watching {
        assert_reason(ended(watch).await, Code::PermissionDenied, "RIGHT_MISSING");
    }
    let answer = reads(&other, &admin).await;
    assert_reason(answer, Code::PermissionDenied, "RIGHT_MISSING");
    let publish = || {
        let event = Some(support::event());
        with(&publishing, v1::PublishEventRequest { event })
    };
    api.events().publish_event(publish()).await.unwrap();
    other.events().publish_event(publish()).await.unwrap();

    let delete = v1::DeleteUserRequest {
        id: user.id.clone(),
    };
    let deleted = api
        .operator()
        .delete_user(with(OPERATOR, delete.clone()))
        .await;
    deleted.unwrap();
    for replica in [&api, &other] {
        let gone = async {
            loop {
                if let Err(refused) = replica.events().publish_event(publish()).await {
                    return refused;
                }
            }
        };
        let refused = tokio::time::timeout(PROMISE, gone).await.unwrap();
        assert_reason(
            Err::<(), _>(refused),
            Code::Unauthenticated,
            "INVALID_CREDENTIAL",
        );
    }
    let again = api.operator().delete_user(with(OPERATOR, delete)).await;
    assert_reason(again, Code::NotFound, "NOT_FOUND");
    let late = key_of(&api, &user, v1::Role::Publisher).await;
    assert_reason(late, Code::NotFound, "NOT_FOUND");
    let page = api
        .store
        .registry_list(sidehook_store::registry::Kind::User, &[], 10);
    assert!(page.await.unwrap().entries.is_empty(), "they are forgotten");
}

#[tokio::test]
async fn users_are_made_listed_and_changed() {
    let api = start().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(make_user(&api, v1::Role::Viewer).await);
    }
    let elsewhere = api.new_tenant("Other").await;
    let list = async |tenant: &str, page_size, page_token: &str| {
        let request = v1::ListUsersRequest {
            tenant_id: tenant.to_owned(),
            page_size,
            page_token: page_token.to_owned(),
        };
        let page = api.operator().list_users(with(OPERATOR, request)).await;
        page.map(tonic::Response::into_inner)
    };
    let (mut users, mut token) = (Vec::new(), String::new());
    loop {
        let page = list(&api.tenant, 2, &token).await.unwrap();
        users.extend(page.users);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    made.sort_by(|a, b| a.id.cmp(&b.id));
    users.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(users, made);
    assert!(list(&elsewhere, 0, "").await.unwrap().users.is_empty());
    assert_field(list("", 0, "").await, "tenant_id");
    assert_field(list(&api.tenant, 501, "").await, "page_size");
    assert_field(list(&api.tenant, 0, "beef").await, "page_token");
    let unknown = list("ten_0000000000000000000001", 0, "").await;
    assert_reason(unknown, Code::NotFound, "NOT_FOUND");

    let update = async |user: v1::User, mask: &[&str]| {
        let request = v1::UpdateUserRequest {
            user: Some(user),
            update_mask: Some(prost_types::FieldMask {
                paths: mask.iter().map(|path| (*path).to_owned()).collect(),
            }),
        };
        let answer = api.operator().update_user(with(OPERATOR, request)).await;
        Ok::<_, Status>(answer?.into_inner().user.unwrap())
    };
    let patch = v1::User {
        name: "Countess".into(),
        email: "ada@example.com\r\nBcc: eve@example.com".into(),
        ..made[0].clone()
    };
    let named = update(patch.clone(), &["name"]).await.unwrap();
    assert_eq!((&*named.name, &named.email), ("Countess", &made[0].email));
    assert_field(update(patch.clone(), &["email"]).await, "user.email");
    assert_field(update(patch.clone(), &["tenant_id"]).await, "update_mask");
    let nobody = v1::User {
        id: "usr_0000000000000000000001".into(),
        ..patch
    };
    let nobody = update(nobody, &["name"]).await;
    assert_reason(nobody, Code::NotFound, "NOT_FOUND");
    assert_field(update(v1::User::default(), &[]).await, "user.id");
    let request = v1::CreateUserRequest::default();
    let empty = api.operator().create_user(with(OPERATOR, request)).await;
    let empty = empty.map(drop);
    for field in ["tenant_id", "name", "email"] {
        assert_field(empty.clone(), field);
    }
}
