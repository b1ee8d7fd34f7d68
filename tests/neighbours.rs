//! No neighbour hurts another: what hangs or fails keeps to itself.

use std::time::Duration;

use sidehook_api::v1;
use sidehook_testkit::{
    client::{Client, event, subscription},
    process::Process,
    receiver::{Behaviour, Receiver},
    system::{System, Tenant},
};

const EVENTS: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn healthy_receivers_finish_while_the_bad_ones_still_hang() {
    let system = System::builder().start().await;
    let client = system.client(0);
    let hanging = Receiver::start(Behaviour::Hang).await;
    let failing = Receiver::start(Behaviour::Status(500)).await;
    let mut bad = Vec::new();
    for receiver in [&hanging, &failing] {
        let mut wanted = subscription(&receiver.url(), "order");
        wanted.max_in_flight = 16;
        bad.push(client.create(wanted).await.id);
    }
    let mut healthy = Vec::new();
    for _ in 0..8 {
        let receiver = Receiver::start(Behaviour::Ok).await;
        client.subscribe(&receiver.url(), "order").await;
        healthy.push(receiver);
    }
    let events = (0..EVENTS).map(|n| event("order", n)).collect();
    let results = client.publish(events).await.expect("published");
    assert!(
        results
            .iter()
            .all(|result| result.matched == 10 && result.error.is_none())
    );
    for receiver in &healthy {
        assert!(
            receiver.wait_for(EVENTS as usize, PATIENCE).await,
            "{} arrived",
            receiver.count()
        );
        assert_eq!(receiver.count(), EVENTS as usize, "each exactly once");
    }
    assert!(
        hanging.count() <= 16,
        "a hanging receiver holds at most its window"
    );
    for subscription_id in bad {
        let deliveries = deliveries_of(&client, &subscription_id).await;
        let unfinished = deliveries.iter().filter(|one| is_pending(one)).count();
        assert_eq!(
            unfinished, EVENTS as usize,
            "nothing of the bad ones' is lost"
        );
    }
}

/// All deliveries of a subscription.
async fn deliveries_of(client: &Client, subscription_id: &str) -> Vec<v1::Delivery> {
    let mut deliveries = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListDeliveriesRequest {
            subscription_id: subscription_id.to_owned(),
            page_size: 500,
            page_token,
            ..v1::ListDeliveriesRequest::default()
        };
        let page = client.deliveries().list_deliveries(request).await;
        let page = page.expect("a page").into_inner();
        deliveries.extend(page.deliveries);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return deliveries;
        }
    }
}

/// Places of the agent that several tenants share.
const PLACES: u32 = 64;
/// Subscriptions of a tenant that floods it, and their events: four times, and twenty
/// times, as much as it takes, in windows as large.
const LOUD: usize = 20;
const LOUD_EVENTS: u64 = 64;

/// A subscription that the platform's agents serve.
fn shared(url: &str, object_type: &str) -> v1::Subscription {
    let longest = Duration::from_secs(60);
    let longest = longest.try_into().expect("a minute is not too long");
    v1::Subscription {
        pool: "platform/default".to_owned(),
        timeouts: Some(v1::Timeouts {
            total: Some(longest),
            ..v1::Timeouts::default()
        }),
        max_in_flight: PLACES,
        ..subscription(url, object_type)
    }
}

/// Starts an agent of the platform's default pool.
async fn shared_agent(system: &System) -> Process {
    let request = v1::CreateApiKeyRequest {
        name: "shared".to_owned(),
        role: v1::Role::Agent.into(),
        pool: "default".to_owned(),
        ..v1::CreateApiKeyRequest::default()
    };
    let made = system.operator(0).admin().create_api_key(request).await;
    let platform = Tenant {
        id: String::new(),
        key: String::new(),
        token: made.expect("a token is made").into_inner().secret,
    };
    system.agent_of(&platform, "shared", 0)
}

#[tokio::test]
async fn a_quiet_tenant_finds_room_on_an_agent_that_others_flood() {
    let system = System::builder().capacity(PLACES).start().await;
    let _agent = shared_agent(&system).await;
    let hanging = Receiver::start(Behaviour::Hang).await;
    let mut loud = Vec::new();
    let mut before = 0;
    for name in ["loud", "louder"] {
        let client = system.another_tenant(name).await;
        for _ in 0..LOUD {
            let made = client.create(shared(&hanging.url(), "order")).await;
            loud.push((client.clone(), made.id));
        }
        let events = (0..LOUD_EVENTS).map(|n| event("order", n)).collect();
        client.publish(events).await.expect("published");
        // Each of them has had some of it before the next one comes.
        assert!(
            hanging.wait_for(before + 4, PATIENCE).await,
            "they do flood"
        );
        before = hanging.count();
    }
    let quiet = system.another_tenant("quiet").await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    quiet.create(shared(&receiver.url(), "order")).await;
    let events = (0..EVENTS).map(|n| event("order", n)).collect();
    quiet.publish(events).await.expect("published");
    assert!(
        receiver.wait_for(EVENTS as usize, PATIENCE).await,
        "{} arrived, while {} hang",
        receiver.count(),
        hanging.count()
    );
    assert_eq!(receiver.count(), EVENTS as usize, "each exactly once");
    assert!(hanging.count() < PLACES as usize, "some places stay free");
    for (client, subscription_id) in loud {
        let deliveries = deliveries_of(&client, &subscription_id).await;
        assert_eq!(deliveries.len(), LOUD_EVENTS as usize);
        for delivery in deliveries {
            let state = delivery.state();
            let hangs = matches!(
                state,
                v1::DeliveryState::Queued | v1::DeliveryState::InFlight
            );
            assert!(hangs, "{state:?}: no attempt of theirs has ended");
        }
    }
}

fn is_pending(delivery: &v1::Delivery) -> bool {
    matches!(
        delivery.state(),
        v1::DeliveryState::Queued | v1::DeliveryState::InFlight | v1::DeliveryState::Retrying
    )
}
