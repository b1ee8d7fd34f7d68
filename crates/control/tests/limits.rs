//! What an operator lets a tenant have and do, and what becomes of those who want more.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

mod support;

use futures_util::future::join_all;
use sidehook_api::v1;
use support::{Api, OPERATOR, assert_field, assert_reason, event, start, subscription, with};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A tenant with these limits, and an admin's key of it.
async fn limited(limits: v1::TenantLimits, platform: bool) -> (Api, v1::Tenant) {
    let mut api = start().await;
    let request = v1::CreateTenantRequest {
        name: "limited".into(),
        limits: Some(limits),
        platform,
    };
    let mut operator = api.operator();
    let answer = operator.create_tenant(with(OPERATOR, request)).await;
    let tenant = answer.unwrap().into_inner().tenant.unwrap();
    api.admin = api.key(&tenant.id, v1::Role::Admin).await.1;
    (api, tenant)
}

async fn update(api: &Api, id: &str, limits: v1::TenantLimits) -> Result<v1::Tenant, Status> {
    let request = v1::UpdateTenantRequest {
        tenant: Some(v1::Tenant {
            id: id.to_owned(),
            limits: Some(limits),
            ..v1::Tenant::default()
        }),
        update_mask: None,
    };
    let mut operator = api.operator();
    let answer = operator.update_tenant(with(OPERATOR, request)).await?;
    Ok(answer.into_inner().tenant.unwrap())
}

async fn create(api: &Api, active_limit: u32) -> Result<v1::Subscription, Status> {
    let request = v1::CreateSubscriptionRequest {
        subscription: Some(subscription()),
        active_limit,
        ..Default::default()
    };
    let mut webhooks = api.webhooks();
    let answer = webhooks
        .create_subscription(with(&api.admin, request))
        .await?;
    Ok(answer.into_inner().subscription.unwrap())
}

#[tokio::test]
async fn the_forty_first_is_refused_and_forty_stay() {
    let (api, tenant) = limited(v1::TenantLimits::default(), false).await;
    let effective = tenant.effective_limits.unwrap();
    assert_eq!((tenant.limits, effective.max_subscriptions), (None, 40));
    let created = join_all((0..45).map(|_| create(&api, 0))).await;
    let (done, refused): (Vec<_>, Vec<_>) = created.into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), refused.len()), (40, 5));
    for answer in refused {
        assert!(answer.as_ref().unwrap_err().message().contains("40"));
        assert_reason(answer, Code::ResourceExhausted, "SUBSCRIPTION_LIMIT");
    }
    assert_eq!(api.list().await.len(), 40);
    // A lower limit takes nothing away, and a deletion makes no room beyond it.
    let lower = v1::TenantLimits {
        max_subscriptions: 39,
        ..v1::TenantLimits::default()
    };
    update(&api, &tenant.id, lower).await.unwrap();
    let gone = v1::DeleteSubscriptionRequest {
        id: api.list().await[0].id.clone(),
        ..Default::default()
    };
    let mut webhooks = api.webhooks();
    let deleted = webhooks.delete_subscription(with(&api.admin, gone)).await;
    deleted.unwrap();
    let refused = create(&api, 0).await;
    assert!(refused.as_ref().unwrap_err().message().contains("39"));
    assert_reason(refused, Code::ResourceExhausted, "SUBSCRIPTION_LIMIT");
    assert_eq!(api.list().await.len(), 39);
    let higher = v1::TenantLimits {
        max_subscriptions: 41,
        ..v1::TenantLimits::default()
    };
    update(&api, &tenant.id, higher).await.unwrap();
    create(&api, 0).await.expect("the limit holds at once");
}

#[tokio::test]
async fn limits_are_shown_and_changed_by_their_names() {
    let (api, tenant) = limited(v1::TenantLimits::default(), true).await;
    assert_eq!(tenant.effective_limits.unwrap().max_subscriptions, 500);
    let wanted = v1::TenantLimits {
        requests_per_second: 7,
        event_bytes: 2_048,
        ..v1::TenantLimits::default()
    };
    let updated = update(&api, &tenant.id, wanted).await.unwrap();
    assert_eq!(updated.limits, Some(wanted));
    assert!(updated.platform && updated.name == "limited");
    let effective = updated.effective_limits.unwrap();
    assert_eq!(
        (effective.requests_per_second, effective.request_burst),
        (7, 14)
    );
    let get = v1::GetTenantRequest {
        id: tenant.id.clone(),
    };
    let read = api.operator().get_tenant(with(OPERATOR, get)).await;
    assert_eq!(read.unwrap().into_inner().tenant, Some(updated));
    let wrong = v1::TenantLimits {
        max_subscriptions: 1_001,
        ..v1::TenantLimits::default()
    };
    let refused = update(&api, &tenant.id, wrong).await;
    assert_field(refused, "tenant.limits.max_subscriptions");
    let nobody = update(&api, "ten_0000000000000000000001", wanted).await;
    assert_reason(nobody, Code::NotFound, "NOT_FOUND");
    let get = v1::GetTenantRequest {
        id: "nobody".into(),
    };
    assert_field(api.operator().get_tenant(with(OPERATOR, get)).await, "id");
    let none = v1::UpdateTenantRequest::default();
    let none = api.operator().update_tenant(with(OPERATOR, none)).await;
    assert_field(none, "tenant");
    let get = v1::GetTenantRequest {
        id: tenant.id.clone(),
    };
    let by_admin = api.operator().get_tenant(with(&api.admin, get)).await;
    assert_reason(by_admin, Code::PermissionDenied, "RIGHT_MISSING");
}

#[tokio::test]
async fn no_more_become_active_than_a_request_allows() {
    let api = start().await;
    let created = join_all((0..15).map(|_| create(&api, 10))).await;
    let (done, refused): (Vec<_>, Vec<_>) = created.into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), refused.len()), (10, 5));
    for answer in refused {
        assert_reason(answer, Code::ResourceExhausted, "ACTIVE_LIMIT");
    }
    assert_eq!(api.list().await.len(), 10);
    let eleventh = create(&api, 0).await.expect("no limit was asked for");
    use v1::SubscriptionStatus::{Active, Paused, Unspecified};
    let paused = v1::Subscription {
        id: eleventh.id.clone(),
        status: Paused.into(),
        ..v1::Subscription::default()
    };
    let change = |status: v1::SubscriptionStatus, url: &str| v1::UpdateSubscriptionRequest {
        subscription: Some(v1::Subscription {
            url: url.to_owned(),
            status: status.into(),
            ..paused.clone()
        }),
        active_limit: 10,
        ..Default::default()
    };
    let send = async |request| {
        let mut webhooks = api.webhooks();
        webhooks
            .update_subscription(with(&api.admin, request))
            .await
    };
    // What is active stays so, and pausing needs no room.
    send(change(Active, "")).await.expect("it is active");
    send(change(Unspecified, "https://example.com/2"))
        .await
        .expect("still");
    send(change(Paused, "")).await.expect("paused");
    let refused = send(change(Active, "")).await;
    assert_reason(refused, Code::ResourceExhausted, "ACTIVE_LIMIT");
    let resume = |active_limit| v1::ResumeSubscriptionRequest {
        id: eleventh.id.clone(),
        active_limit,
        ..Default::default()
    };
    let mut webhooks = api.webhooks();
    let refused = webhooks
        .resume_subscription(with(&api.admin, resume(10)))
        .await;
    assert_reason(refused, Code::ResourceExhausted, "ACTIVE_LIMIT");
    let resumed = webhooks
        .resume_subscription(with(&api.admin, resume(11)))
        .await;
    resumed.expect("there is room for eleven");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_who_create_at_one_moment_all_succeed_or_come_again() {
    let limits = v1::TenantLimits {
        max_subscriptions: 500,
        requests_per_second: 1_000,
        request_burst: 1_000,
        ..v1::TenantLimits::default()
    };
    let (api, _) = limited(limits, false).await;
    let created = join_all((0..100).map(|_| create(&api, 400))).await;
    let mut done = 0;
    for answer in created {
        match answer {
            Ok(_) => done += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                let details = status.get_error_details();
                let wait = details.retry_info().and_then(|info| info.retry_delay);
                assert!(wait.is_some_and(|wait| !wait.is_zero()), "{status:?}");
            }
        }
    }
    assert!(done > 0);
    assert_eq!(api.list().await.len(), done);
    // Nor do changes without an etag end as those with a wrong one.
    let id = &api.list().await[0].id;
    let change = |number| {
        let request = v1::UpdateSubscriptionRequest {
            subscription: Some(v1::Subscription {
                id: id.clone(),
                url: format!("https://example.com/{number}"),
                ..v1::Subscription::default()
            }),
            ..Default::default()
        };
        let mut webhooks = api.webhooks();
        let request = with(&api.admin, request);
        async move { webhooks.update_subscription(request).await }
    };
    for answer in join_all((0..100).map(change)).await {
        if let Err(status) = answer {
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        }
    }
}

fn told(text: &str) -> Vec<(String, u64)> {
    let parts = text.split(", ").map(|part| part.split_once('=').unwrap());
    parts
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_come_again() {
    let limits = v1::TenantLimits {
        requests_per_second: 1,
        request_burst: 5,
        ..v1::TenantLimits::default()
    };
    let (api, tenant) = limited(limits, false).await;
    let list = || with(&api.admin, v1::ListSubscriptionsRequest::default());
    let mut webhooks = api.webhooks();
    let first = webhooks.list_subscriptions(list()).await.unwrap();
    let ratelimit = first.metadata().get("ratelimit").unwrap().to_str().unwrap();
    let row = |name: &str, value| (name.to_owned(), value);
    let expected = [row("limit", 5), row("remaining", 4), row("reset", 1)];
    assert_eq!(told(ratelimit), expected);
    let refused = loop {
        if let Err(status) = webhooks.list_subscriptions(list()).await {
            break status;
        }
    };
    let metadata = refused.metadata().clone();
    assert_eq!(metadata.get("retry-after").unwrap(), "1");
    let last = told(metadata.get("ratelimit").unwrap().to_str().unwrap());
    assert_eq!(last[..2], [row("limit", 5), row("remaining", 0)]);
    let details = refused.get_error_details();
    let wait = details.retry_info().unwrap().retry_delay.unwrap();
    assert!(wait.as_secs_f64() <= 1.0 && !wait.is_zero(), "{wait:?}");
    assert_reason::<()>(Err(refused), Code::ResourceExhausted, "RATE_LIMITED");
    // Neither another key nor publishing is any fewer for it.
    let other = api.key(&tenant.id, v1::Role::Viewer).await.1;
    let listed = webhooks
        .list_subscriptions(with(&other, v1::ListSubscriptionsRequest::default()))
        .await;
    listed.expect("a key of its own");
    for _ in 0..20 {
        api.publish(event())
            .await
            .expect("publishing is not counted");
    }
}

#[tokio::test]
async fn who_may_not_call_is_counted_and_told_all_the_same() {
    let limits = v1::TenantLimits {
        requests_per_second: 1,
        request_burst: 3,
        ..v1::TenantLimits::default()
    };
    let (api, tenant) = limited(limits, false).await;
    let viewer = api.key(&tenant.id, v1::Role::Viewer).await.1;
    let mut webhooks = api.webhooks();
    let mut create = async || {
        let request = v1::CreateSubscriptionRequest::default();
        let answer = webhooks.create_subscription(with(&viewer, request)).await;
        answer.unwrap_err()
    };
    let denied = create().await;
    let metadata = denied.metadata();
    let text = |name: &str| metadata.get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(text("sidehook-tenant"), tenant.id);
    assert_eq!(told(&text("ratelimit"))[1], ("remaining".to_owned(), 2));
    assert_reason::<()>(Err(denied), Code::PermissionDenied, "RIGHT_MISSING");
    let refused = loop {
        let status = create().await;
        if status.code() != Code::PermissionDenied {
            break status;
        }
    };
    let known = refused.metadata().get("sidehook-tenant").unwrap();
    assert_eq!(known, tenant.id.as_str());
    assert_reason::<()>(Err(refused), Code::ResourceExhausted, "RATE_LIMITED");
}

#[tokio::test]
async fn publishing_is_counted_where_the_operator_says_so() {
    let limits = v1::TenantLimits {
        publish_requests_per_second: 1,
        ..v1::TenantLimits::default()
    };
    let (api, _) = limited(limits, false).await;
    let answers = join_all((0..10).map(|_| api.publish(event()))).await;
    let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert!((2..5).contains(&done.len()), "{} passed", done.len());
    for answer in refused {
        assert_reason(answer, Code::ResourceExhausted, "RATE_LIMITED");
    }
    assert_eq!(api.list().await.len(), 0, "reading is counted apart");
}

#[tokio::test]
async fn a_tenant_has_its_own_budgets_and_length_of_events() {
    let limits = v1::TenantLimits {
        event_bytes: 1_024,
        tenant_pending_bytes: 2 * 1024 * 1024,
        ..v1::TenantLimits::default()
    };
    let (api, tenant) = limited(limits, false).await;
    let of = |bytes: usize| v1::Event {
        data: format!("\"{}\"", "x".repeat(bytes - 2)).into(),
        ..event()
    };
    api.publish(of(1_024)).await.expect("as long as may be");
    let longer = api.publish(of(1_025)).await;
    assert_eq!(longer.unwrap_err().code(), Code::InvalidArgument);
    let wide = v1::TenantLimits {
        event_bytes: 1024 * 1024,
        ..v1::TenantLimits::default()
    };
    update(&api, &tenant.id, wide).await.unwrap();
    create(&api, 0).await.expect("there is no agent: all waits");
    let refused = loop {
        // The longer ones are let through within 5 s.
        match api.publish(of(600 * 1024)).await {
            Ok(_) => {}
            Err(status) if status.code() == Code::InvalidArgument => {
                tokio::task::yield_now().await;
            }
            Err(status) => break status,
        }
    };
    let info = refused.get_error_details().error_info().unwrap().clone();
    assert_eq!(info.reason, "PENDING_BUDGET_EXHAUSTED");
    assert_eq!(info.metadata["budget_bytes"], (2 * 1024 * 1024).to_string());
}
