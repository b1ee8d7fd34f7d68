//! A subscription's window holds wherever its deliveries are: over all control planes
//! and all agents together.

use std::{collections::BTreeSet, time::Duration};

use sidehook_api::v1;
use sidehook_testkit::{
    client::{event, subscription},
    receiver::{Behaviour, Receiver},
    system::System,
};

const EVENTS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_receiver_has_more_requests_at_once_than_its_window() {
    // Neither agent can take what all the windows let through.
    let system = System::builder()
        .servers(2)
        .capacity(5)
        .without_agent()
        .start()
        .await;
    let _agents = [
        system.another_agent("first", 0),
        system.another_agent("second", 1),
    ];
    let mut receivers = Vec::new();
    for window in [1, 2, 7] {
        let receiver = Receiver::start(Behaviour::Held).await;
        let wanted = v1::Subscription {
            max_in_flight: window,
            ..subscription(&receiver.url(), "order")
        };
        system.client(0).create(wanted).await;
        receivers.push((window as usize, receiver));
    }
    wait_for_agents(&system, 2).await;
    let numbers: Vec<_> = (0..EVENTS as u64).collect();
    for (turn, numbers) in numbers.chunks(20).enumerate() {
        let events = numbers.iter().map(|n| event("order", *n)).collect();
        let published = system.client(turn % 2).publish(events).await;
        published.expect("published");
    }
    // Without this the bound would hold where nothing ever runs beside anything.
    for (window, receiver) in &receivers {
        assert!(
            receiver.wait_for(*window, PATIENCE).await,
            "window {window}"
        );
    }
    for (_, receiver) in &receivers {
        receiver.release();
    }
    for (window, receiver) in &receivers {
        assert!(receiver.wait_for(EVENTS, PATIENCE).await, "window {window}");
        let most = receiver.most_at_once();
        assert_eq!(most, *window, "at once in a window of {window}");
    }
    assert_eq!(agents_at_work(&system).await.len(), 2, "both had a share");
}

/// The agents that made deliveries.
async fn agents_at_work(system: &System) -> BTreeSet<String> {
    let mut deliveries = system.client(0).deliveries();
    let mut agents = BTreeSet::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListDeliveriesRequest {
            page_size: 100,
            page_token,
            ..v1::ListDeliveriesRequest::default()
        };
        let page = deliveries.list_deliveries(request).await.expect("a page");
        let page = page.into_inner();
        for v1::Delivery { id, .. } in page.deliveries {
            let got = deliveries.get_delivery(v1::GetDeliveryRequest { id }).await;
            let delivery = got.expect("a delivery").into_inner().delivery;
            let attempts = delivery.expect("an answer has its delivery").attempts;
            agents.extend(attempts.into_iter().map(|attempt| attempt.agent_id));
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return agents;
        }
    }
}

async fn wait_for_agents(system: &System, wanted: u32) {
    let online = async {
        loop {
            let request = v1::ListPoolsRequest::default();
            let answer = system.client(0).agents().list_pools(request).await;
            let pools = answer.expect("pools").into_inner().pools;
            if pools.iter().any(|pool| pool.agents_online == wanted) {
                return;
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, online).await;
    in_time.expect("the agents come");
}
