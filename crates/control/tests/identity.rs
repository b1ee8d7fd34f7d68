//! Who may call what.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

mod support;

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use sidehook_api::v1;
use sidehook_core::id::KeyId;
use support::{OPERATOR, assert_field, assert_reason, start, subscription, with};
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

#[tokio::test]
async fn without_a_key_and_with_a_wrong_one_nothing_is_answered() {
    let api = start().await;
    let list = v1::ListSubscriptionsRequest::default();
    let answer = api
        .webhooks()
        .list_subscriptions(Request::new(list.clone()))
        .await;
    assert_reason(answer, Code::Unauthenticated, "NO_CREDENTIAL");
    for scheme in ["Basic abc", "Bearer", ""] {
        let mut request = Request::new(list.clone());
        let value = scheme.parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        let answer = api.webhooks().list_subscriptions(request).await;
        assert_reason(answer, Code::Unauthenticated, "NO_CREDENTIAL");
    }
    for wrong in ["shk_0000", &"x".repeat(1_000)] {
        let answer = api
            .webhooks()
            .list_subscriptions(with(wrong, list.clone()))
            .await;
        assert_reason(answer, Code::Unauthenticated, "INVALID_CREDENTIAL");
    }
}

#[tokio::test]
async fn each_role_may_do_its_own_and_no_more() {
    let api = start().await;
    let (_, publisher) = api.key(&api.tenant, v1::Role::Publisher).await;
    let (_, viewer) = api.key(&api.tenant, v1::Role::Viewer).await;
    let (_, agent) = api.key(&api.tenant, v1::Role::Agent).await;
    let read = v1::ListEventsRequest::default();
    let publish = v1::PublishEventRequest {
        event: Some(support::event()),
    };
    let create = v1::CreateSubscriptionRequest {
        subscription: Some(subscription()),
        ..Default::default()
    };
    let operate = v1::ListTenantsRequest::default();
    for (key, may_read, may_publish, may_manage, may_operate) in [
        (&api.admin, true, true, true, false),
        (&publisher, false, true, false, false),
        (&viewer, true, false, false, false),
        (&agent, false, false, false, false),
        (&OPERATOR.to_owned(), false, false, false, true),
    ] {
        let answers = [
            api.events()
                .list_events(with(key, read.clone()))
                .await
                .map(drop),
            api.events()
                .publish_event(with(key, publish.clone()))
                .await
                .map(drop),
            api.webhooks()
                .create_subscription(with(key, create.clone()))
                .await
                .map(drop),
            api.operator()
                .list_tenants(with(key, operate.clone()))
                .await
                .map(drop),
        ];
        let may = [may_read, may_publish, may_manage, may_operate];
        for (answer, may) in answers.into_iter().zip(may) {
            if may {
                answer.unwrap();
            } else {
                assert_reason(answer, Code::PermissionDenied, "RIGHT_MISSING");
            }
        }
    }
}

#[tokio::test]
async fn a_revoked_key_is_out_of_force_within_five_seconds() {
    let api = start().await;
    let (id, key) = api.key(&api.tenant, v1::Role::Viewer).await;
    let list = || api.webhooks();
    let request = v1::ListSubscriptionsRequest::default();
    list()
        .list_subscriptions(with(&key, request))
        .await
        .unwrap();
    let watch = v1::WatchDeliveriesRequest::default();
    let watch = api.deliveries().watch_deliveries(with(&key, watch)).await;
    let mut watch = watch.unwrap().into_inner();
    assert!(watch.message().await.unwrap().unwrap().delivery.is_none());
    let revoke = v1::RevokeApiKeyRequest { id: id.clone() };
    api.operator()
        .revoke_api_key(with(OPERATOR, revoke.clone()))
        .await
        .unwrap();
    api.operator()
        .revoke_api_key(with(OPERATOR, revoke))
        .await
        .unwrap();
    // An open stream ends by itself, and then no call is answered either.
    let ended = tokio::time::timeout(Duration::from_secs(5), watch.message()).await;
    assert_reason(ended.unwrap(), Code::Unauthenticated, "INVALID_CREDENTIAL");
    let request = v1::ListSubscriptionsRequest::default();
    let answer = list().list_subscriptions(with(&key, request)).await;
    assert_reason(answer, Code::Unauthenticated, "INVALID_CREDENTIAL");
    let unknown = v1::RevokeApiKeyRequest {
        id: "key_0000000000000000000001".into(),
    };
    let answer = api.operator().revoke_api_key(with(OPERATOR, unknown)).await;
    assert_reason(answer, Code::NotFound, "NOT_FOUND");
}

#[tokio::test]
async fn wrong_keys_and_tenants_are_told_by_their_fields() {
    let api = start().await;
    let create = async |request| {
        let mut operator = api.operator();
        operator.create_api_key(with(OPERATOR, request)).await
    };
    let good = v1::CreateApiKeyRequest {
        tenant_id: api.tenant.clone(),
        name: "n".into(),
        role: v1::Role::Admin.into(),
        ..v1::CreateApiKeyRequest::default()
    };
    let wrong = |change: fn(&mut v1::CreateApiKeyRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    assert_field(create(wrong(|key| key.name = String::new())).await, "name");
    assert_field(create(wrong(|key| key.role = 0)).await, "role");
    assert_field(create(wrong(|key| key.role = 99)).await, "role");
    assert_field(create(wrong(|key| key.pool = "eu".into())).await, "pool");
    assert_field(
        create(wrong(|key| key.tenant_id = "ten_x".into())).await,
        "tenant_id",
    );
    assert_field(
        create(wrong(|key| key.tenant_id = String::new())).await,
        "tenant_id",
    );
    let unknown = create(wrong(|key| {
        key.tenant_id = "ten_0000000000000000000001".into()
    }))
    .await;
    assert_reason(unknown, Code::NotFound, "NOT_FOUND");
    let name = v1::CreateTenantRequest {
        name: "x".repeat(101),
        ..v1::CreateTenantRequest::default()
    };
    assert_field(
        api.operator().create_tenant(with(OPERATOR, name)).await,
        "name",
    );
    let other = v1::ListAgentsRequest {
        tenant_id: api.tenant.clone(),
    };
    assert_field(
        api.agents()
            .list_agents(with(&api.admin, other.clone()))
            .await,
        "tenant_id",
    );
    api.agents()
        .list_agents(with(OPERATOR, other))
        .await
        .unwrap();
}

#[tokio::test]
async fn tenants_are_listed_page_by_page() {
    let api = start().await;
    for number in 0..4 {
        api.new_tenant(&format!("tenant {number}")).await;
    }
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListTenantsRequest {
            page_size: 2,
            page_token,
        };
        let page = api.operator().list_tenants(with(OPERATOR, request)).await;
        let page = page.unwrap().into_inner();
        assert!(page.tenants.len() <= 2);
        names.extend(page.tenants.into_iter().map(|tenant| tenant.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    names.sort();
    assert_eq!(
        names,
        ["Acme", "tenant 0", "tenant 1", "tenant 2", "tenant 3"]
    );
}

#[tokio::test]
async fn keys_are_listed_per_tenant_page_by_page_and_without_their_secrets() {
    let api = start().await;
    let mut made = vec![];
    for role in [v1::Role::Viewer, v1::Role::Publisher, v1::Role::Agent] {
        made.push(api.key(&api.tenant, role).await);
    }
    let other = api.new_tenant("Other").await;
    let (others, _) = api.key(&other, v1::Role::Viewer).await;
    let (pool, _) = api.key("", v1::Role::Agent).await;
    let revoke = v1::RevokeApiKeyRequest {
        id: made[0].0.clone(),
    };
    let mut operator = api.operator();
    let revoked = operator.revoke_api_key(with(OPERATOR, revoke)).await;
    revoked.unwrap();

    let keys = keys_of(&api, &api.tenant, 2).await;
    assert_eq!(keys.len(), 4, "the admin's and the three");
    assert!(keys.is_sorted_by(|a, b| id_bits(a) < id_bits(b)));
    for (id, secret) in &made {
        let key = keys.iter().find(|key| key.id == *id).unwrap();
        assert_eq!((&*key.name, &key.tenant_id), ("test", &api.tenant));
        assert_eq!(key.prefix, secret[..12], "enough to tell it, no more");
        assert!(key.created_at.is_some());
        assert_eq!(key.revoked_at.is_some(), *id == made[0].0);
        assert_eq!(key.pool == "default", key.role() == v1::Role::Agent);
    }
    let ids = async |tenant: &str| {
        let keys = keys_of(&api, tenant, 500).await;
        keys.into_iter().map(|key| key.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&other).await, [others]);
    assert_eq!(ids("").await, [pool]);
}

#[tokio::test]
async fn a_key_whose_secret_was_given_away_is_not_listed_and_a_chosen_secret_not_shown() {
    let api = start().await;
    let install = async || {
        let request = v1::CreateApiKeyRequest {
            tenant_id: api.tenant.clone(),
            name: "chosen".into(),
            role: v1::Role::Viewer.into(),
            ..v1::CreateApiKeyRequest::default()
        };
        let secret = "a secret that somebody chose".into();
        let key = api.plane.tenants.install_key(request, &secret).await;
        key.unwrap().id.to_string()
    };
    let older = install().await;
    let newer = install().await;
    let keys = keys_of(&api, &api.tenant, 1).await;
    assert!(keys.iter().all(|key| key.id != older));
    let newer = keys.into_iter().find(|key| key.id == newer).unwrap();
    assert_eq!(newer.prefix, "");
}

#[tokio::test]
async fn wrong_lists_of_keys_are_told_by_their_fields() {
    let api = start().await;
    api.key(&api.tenant, v1::Role::Viewer).await;
    let other = api.new_tenant("Other").await;
    let list = async |request| {
        let mut operator = api.operator();
        operator.list_api_keys(with(OPERATOR, request)).await
    };
    let request = |tenant_id: &str, page_size, page_token: &str| v1::ListApiKeysRequest {
        tenant_id: tenant_id.into(),
        page_size,
        page_token: page_token.into(),
        ..Default::default()
    };
    assert_field(list(request("ten_x", 0, "")).await, "tenant_id");
    assert_field(list(request(&api.tenant, 501, "")).await, "page_size");
    assert_field(list(request(&api.tenant, 0, "beef")).await, "page_token");
    let first = list(request(&api.tenant, 1, ""))
        .await
        .unwrap()
        .into_inner();
    assert!(!first.next_page_token.is_empty());
    assert_field(
        list(request(&other, 1, &first.next_page_token)).await,
        "page_token",
    );
    let unknown = list(request("ten_0000000000000000000001", 0, "")).await;
    assert_reason(unknown, Code::NotFound, "NOT_FOUND");
    let request = with(&api.admin, request(&api.tenant, 0, ""));
    let answer = api.operator().list_api_keys(request).await;
    assert_reason(answer, Code::PermissionDenied, "RIGHT_MISSING");
}

/// All keys of a tenant, read in pages of this size.
async fn keys_of(api: &support::Api, tenant: &str, page_size: u32) -> Vec<v1::ApiKey> {
    let (mut keys, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListApiKeysRequest {
            tenant_id: tenant.into(),
            page_size,
            page_token,
            ..Default::default()
        };
        let page = api.operator().list_api_keys(with(OPERATOR, request)).await;
        let page = page.unwrap().into_inner();
        assert!(page.api_keys.len() <= page_size as usize);
        keys.extend(page.api_keys);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return keys;
        }
    }
}

fn id_bits(key: &v1::ApiKey) -> [u8; 16] {
    key.id.parse::<KeyId>().unwrap().to_bytes()
}

#[tokio::test]
async fn nothing_of_another_tenant_is_there() {
    let api = start().await;
    let mine = api.create(subscription()).await.unwrap();
    let event = api.publish(support::event()).await.unwrap();
    let delivery = &api
        .deliveries_of(v1::ListDeliveriesRequest::default())
        .await[0];
    let other = api.new_tenant("Other").await;
    let (_, other) = api.key(&other, v1::Role::Admin).await;
    assert_reason(api.get(&other, &mine.id).await, Code::NotFound, "NOT_FOUND");
    let pause = v1::PauseSubscriptionRequest {
        id: mine.id.clone(),
        ..Default::default()
    };
    let answer = api.webhooks().pause_subscription(with(&other, pause)).await;
    assert_reason(answer, Code::NotFound, "NOT_FOUND");
    let delete = v1::DeleteSubscriptionRequest {
        id: mine.id.clone(),
        ..Default::default()
    };
    let answer = api
        .webhooks()
        .delete_subscription(with(&other, delete))
        .await;
    assert_reason(answer, Code::NotFound, "NOT_FOUND");
    let get = v1::GetEventRequest {
        id: event.event_id.clone(),
    };
    let answer = api.events().get_event(with(&other, get)).await;
    assert_reason(answer, Code::NotFound, "NOT_FOUND");
    let get = v1::GetDeliveryRequest {
        id: delivery.id.clone(),
    };
    let answer = api.deliveries().get_delivery(with(&other, get)).await;
    assert_reason(answer, Code::NotFound, "NOT_FOUND");
    let retry = v1::RetryDeliveryRequest {
        id: delivery.id.clone(),
    };
    let answer = api.deliveries().retry_delivery(with(&other, retry)).await;
    assert_reason(answer, Code::NotFound, "NOT_FOUND");
    let list = v1::ListDeliveriesRequest {
        event_id: event.event_id,
        ..Default::default()
    };
    let answer = api.deliveries().list_deliveries(with(&other, list)).await;
    assert!(answer.unwrap().into_inner().deliveries.is_empty());
    assert_eq!(api.get(&api.admin, &mine.id).await.unwrap().etag, mine.etag);
}

#[tokio::test]
async fn who_is_refused_a_thousand_times_keeps_the_connection() {
    let api = start().await;
    let mut health = HealthClient::new(api.channel.clone());
    let watch = health.watch(HealthCheckRequest::default()).await;
    let mut watch = watch.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let event = v1::Event {
        data: format!("\"{}\"", "x".repeat(60_000)).into_bytes().into(),
        ..support::event()
    };
    let refused = futures_util::stream::iter(0..3_000).map(|_| {
        let event = Some(event.clone());
        let mut events = api.events();
        async move {
            let request = with("shk_0000", v1::PublishEventRequest { event });
            assert_reason(
                events.publish_event(request).await,
                Code::Unauthenticated,
                "INVALID_CREDENTIAL",
            );
        }
    });
    refused.buffer_unordered(64).collect::<Vec<_>>().await;
    while let Some(message) = watch.message().now_or_never() {
        let message = message.expect("what was under way is still");
        assert!(message.is_some(), "what was under way has not ended");
    }
}
