//! Limits that hold on all replicas together: what is counted lies in the store.

use futures_util::future::join_all;
use sidehook_api::v1;
use sidehook_testkit::{
    client::{Client, subscription},
    system::{System, Tenant},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Two replicas over Redis, and a tenant of theirs with these limits.
async fn limited(limits: v1::TenantLimits) -> (System, Tenant) {
    let system = System::builder().servers(2).start().await;
    let mut admin = system.operator(0).admin();
    let request = v1::CreateTenantRequest {
        name: "limited".to_owned(),
        limits: Some(limits),
        platform: false,
    };
    let made = admin.create_tenant(request).await;
    let made = made.expect("a tenant is made").into_inner().tenant;
    let id = made.expect("an answer has its tenant").id;
    let request = v1::CreateApiKeyRequest {
        tenant_id: id.clone(),
        name: "limited".to_owned(),
        role: v1::Role::Admin.into(),
        ..v1::CreateApiKeyRequest::default()
    };
    let answer = admin.create_api_key(request).await;
    let key = answer.expect("a key is made").into_inner().secret;
    let token = String::new();
    (system, Tenant { id, key, token })
}

/// Creates this many at the same moment, in turns on either replica.
async fn create(clients: &[Client; 2], count: usize, active_limit: u32) -> Vec<Result<(), Status>> {
    let created = (0..count).map(|number| async move {
        let request = v1::CreateSubscriptionRequest {
            subscription: Some(subscription("https://example.com/hook", "order")),
            active_limit,
            ..v1::CreateSubscriptionRequest::default()
        };
        let mut webhooks = clients[number % 2].webhooks();
        webhooks.create_subscription(request).await.map(|_| ())
    });
    join_all(created).await
}

async fn count(client: &Client) -> usize {
    let request = v1::ListSubscriptionsRequest {
        page_size: 500,
        ..v1::ListSubscriptionsRequest::default()
    };
    let page = client.webhooks().list_subscriptions(request).await;
    page.expect("it is listed").into_inner().subscriptions.len()
}

/// How many were refused, all for this reason.
fn refused(answers: &[Result<(), Status>], reason: &str) -> usize {
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
    let refused = refused.inspect(|status| {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        let details = status.get_error_details();
        assert_eq!(details.error_info().expect("a reason").reason, reason);
    });
    refused.count()
}

#[tokio::test]
async fn of_many_created_at_one_moment_on_two_replicas_as_many_stay_as_may() {
    // A burst for all of them, and the default limit of subscriptions.
    let limits = v1::TenantLimits {
        request_burst: 1_000,
        ..v1::TenantLimits::default()
    };
    let (system, tenant) = limited(limits).await;
    let clients = [0, 1].map(|replica| system.client_of(&tenant, replica));
    let first = create(&clients, 30, 0).await;
    assert_eq!(refused(&first, "SUBSCRIPTION_LIMIT"), 0);
    let second = create(&clients, 20, 0).await;
    assert_eq!(refused(&second, "SUBSCRIPTION_LIMIT"), 10);
    for client in &clients {
        assert_eq!(count(client).await, 40);
    }
    let last = create(&clients, 1, 0).await;
    assert_eq!(refused(&last, "SUBSCRIPTION_LIMIT"), 1);
    assert_eq!(count(&clients[0]).await, 40, "and still 40");
}

#[tokio::test]
async fn as_many_are_active_as_requests_on_two_replicas_allow() {
    let limits = v1::TenantLimits {
        request_burst: 1_000,
        ..v1::TenantLimits::default()
    };
    let (system, tenant) = limited(limits).await;
    let clients = [0, 1].map(|replica| system.client_of(&tenant, replica));
    let answers = create(&clients, 20, 10).await;
    assert_eq!(refused(&answers, "ACTIVE_LIMIT"), 10);
    assert_eq!(count(&clients[1]).await, 10);
}

#[tokio::test]
async fn a_key_has_one_bucket_on_all_replicas() {
    let limits = v1::TenantLimits {
        requests_per_second: 1,
        request_burst: 20,
        ..v1::TenantLimits::default()
    };
    let (system, tenant) = limited(limits).await;
    let clients = [0, 1].map(|replica| system.client_of(&tenant, replica));
    let begun = std::time::Instant::now();
    let calls = (0..80).map(|number| {
        let mut webhooks = clients[number % 2].webhooks();
        async move {
            let request = v1::ListSubscriptionsRequest::default();
            webhooks.list_subscriptions(request).await.map(|_| ())
        }
    });
    let answers = join_all(calls).await;
    let seconds = usize::try_from(begun.elapsed().as_secs()).expect("few") + 1;
    let passed = answers.len() - refused(&answers, "RATE_LIMITED");
    assert!(passed <= 20 + seconds, "{passed} in {seconds} s");
}
