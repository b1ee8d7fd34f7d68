//! No neighbour hurts another: what hangs or fails keeps to itself.

use std::time::Duration;

use sidehook_api::v1;
use sidehook_testkit::{
    client::{event, subscription},
    receiver::{Behaviour, Receiver},
    system::System,
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
        let mut unfinished = 0;
        let mut page_token = String::new();
        loop {
            let request = v1::ListDeliveriesRequest {
                subscription_id: subscription_id.clone(),
                page_size: 500,
                page_token,
                ..v1::ListDeliveriesRequest::default()
            };
            let page = client
                .deliveries()
                .list_deliveries(request)
                .await
                .expect("a page");
            let page = page.into_inner();
            unfinished += page
                .deliveries
                .iter()
                .filter(|delivery| is_pending(delivery))
                .count();
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(
            unfinished, EVENTS as usize,
            "nothing of the bad ones' is lost"
        );
    }
}

fn is_pending(delivery: &v1::Delivery) -> bool {
    matches!(
        delivery.state(),
        v1::DeliveryState::Queued | v1::DeliveryState::InFlight | v1::DeliveryState::Retrying
    )
}
