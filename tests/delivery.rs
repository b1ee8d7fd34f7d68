//! What happens after an answer: success, retries, giving up, and trying anew.

use std::{collections::BTreeSet, time::Duration};

use sidehook_api::v1;
use sidehook_testkit::{
    client::{Client, event, subscription},
    receiver::{Behaviour, Receiver},
    system::System,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A subscription that retries at once.
async fn impatient(client: &Client, receiver: &Receiver) -> v1::Subscription {
    let mut wanted = subscription(&receiver.url(), "order");
    wanted.retry_policy = Some(v1::RetryPolicy {
        initial_backoff: Some(prost_types::Duration {
            seconds: 0,
            nanos: 100_000_000,
        }),
        ..v1::RetryPolicy::default()
    });
    client.create(wanted).await
}

/// Watches until the tenant's next delivery reaches `state`.
async fn publish_and_watch(client: &Client, state: v1::DeliveryState) -> v1::Delivery {
    let request = v1::WatchDeliveriesRequest::default();
    let watch = client
        .deliveries()
        .watch_deliveries(request)
        .await
        .expect("a watch");
    let mut watch = watch.into_inner();
    let on = watch
        .message()
        .await
        .expect("a stream")
        .expect("the watch is on");
    assert!(on.delivery.is_none());
    client
        .publish(vec![event("order", 1)])
        .await
        .expect("published");
    let reached = async {
        loop {
            let seen = watch.message().await.expect("a stream").expect("no end");
            let delivery = seen.delivery.expect("a delivery");
            if delivery.state() == state {
                return delivery;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reached)
        .await
        .expect("it gets there")
}

async fn get(client: &Client, id: &str) -> v1::Delivery {
    let request = v1::GetDeliveryRequest { id: id.to_owned() };
    let answer = client
        .deliveries()
        .get_delivery(request)
        .await
        .expect("known");
    answer.into_inner().delivery.expect("a delivery")
}

#[tokio::test]
async fn failures_are_retried_until_success_and_each_attempt_is_told() {
    let system = System::builder().start().await;
    let client = system.client(0);
    let receiver = Receiver::start(Behaviour::FailFirst(2)).await;
    impatient(&client, &receiver).await;
    let delivered = publish_and_watch(&client, v1::DeliveryState::Delivered).await;
    let delivery = get(&client, &delivered.id).await;
    let told: Vec<_> = delivery
        .attempts
        .iter()
        .map(|attempt| (attempt.number, attempt.response_status, attempt.blame()))
        .collect();
    let (receiver_s, nobodys) = (v1::Blame::Receiver, v1::Blame::Unspecified);
    assert_eq!(
        told,
        [
            (1, 500, receiver_s),
            (2, 500, receiver_s),
            (3, 200, nobodys)
        ]
    );
    let ids: Vec<_> = receiver.received();
    let ids: Vec<_> = ids
        .iter()
        .filter_map(|request| request.header("webhook-id"))
        .collect();
    assert!(
        ids.len() == 3 && ids.iter().all(|id| *id == ids[0]),
        "one message id: {ids:?}"
    );
}

#[tokio::test]
async fn a_finished_delivery_is_repeated_on_request_as_a_new_one() {
    let system = System::builder().start().await;
    let client = system.client(0);
    let receiver = Receiver::start(Behaviour::Ok).await;
    impatient(&client, &receiver).await;
    let first = publish_and_watch(&client, v1::DeliveryState::Delivered).await;
    let request = v1::RetryDeliveryRequest {
        id: first.id.clone(),
    };
    let answer = client
        .deliveries()
        .retry_delivery(request)
        .await
        .expect("repeated");
    let second = answer.into_inner().delivery.expect("a delivery");
    assert_eq!((second.generation, &second.event_id), (1, &first.event_id));
    assert_ne!(second.id, first.id);
    assert!(receiver.wait_for(2, PATIENCE).await);
}

#[tokio::test]
async fn gone_pauses_the_subscription() {
    let system = System::builder().start().await;
    let client = system.client(0);
    let receiver = Receiver::start(Behaviour::Gone).await;
    let id = impatient(&client, &receiver).await.id;
    let dead = publish_and_watch(&client, v1::DeliveryState::Dead).await;
    assert_eq!(dead.attempts[0].response_status, 410);
    let paused = async {
        loop {
            let request = v1::GetSubscriptionRequest { id: id.clone() };
            let answer = client
                .webhooks()
                .get_subscription(request)
                .await
                .expect("known");
            let found = answer.into_inner().subscription.expect("a subscription");
            if found.status() == v1::SubscriptionStatus::Paused {
                return found.pause_reason;
            }
        }
    };
    let reason = tokio::time::timeout(PATIENCE, paused)
        .await
        .expect("it is paused");
    assert_eq!(reason, "gone");
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let system = System::builder().start().await;
    let client = system.client(0);
    let receiver = Receiver::start(Behaviour::Redirect).await;
    client.subscribe(&receiver.url(), "order").await;
    let failed = publish_and_watch(&client, v1::DeliveryState::Retrying).await;
    assert_eq!(failed.attempts[0].response_status, 302);
    assert_eq!(failed.attempts[0].error(), v1::AttemptError::Status);
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_retry_waits_for_retry_after() {
    let system = System::builder().start().await;
    let client = system.client(0);
    let receiver = Receiver::start(Behaviour::RetryAfter(503, 3_600)).await;
    impatient(&client, &receiver).await;
    let failed = publish_and_watch(&client, v1::DeliveryState::Retrying).await;
    let delivery = get(&client, &failed.id).await;
    let due = delivery.next_attempt_at.expect("planned").seconds;
    let began = delivery.attempts[0].started_at.expect("told").seconds;
    assert!(
        due - began >= 3_599,
        "due {} s after the attempt",
        due - began
    );
}

#[tokio::test]
async fn a_long_answer_is_cut_off() {
    let system = System::builder().start().await;
    let client = system.client(0);
    let receiver = Receiver::start(Behaviour::LargeBody(1_000_000)).await;
    client.subscribe(&receiver.url(), "order").await;
    let delivered = publish_and_watch(&client, v1::DeliveryState::Delivered).await;
    assert_eq!(delivered.attempts[0].response_body.len(), 16 * 1024);
}

const fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn millis(time: prost_types::Timestamp) -> i64 {
    time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000
}

#[tokio::test]
async fn a_retry_is_drawn_from_the_upper_half_of_the_back_off() {
    let system = System::builder().embedded().start().await;
    let client = system.client(0);
    let receiver = Receiver::start(Behaviour::Status(500)).await;
    let mut wanted = subscription(&receiver.url(), "order");
    // So long that what a slow machine adds does not matter.
    wanted.retry_policy = Some(v1::RetryPolicy {
        initial_backoff: seconds(1_000),
        ..v1::RetryPolicy::default()
    });
    client.create(wanted).await;
    let mut drawn = BTreeSet::new();
    for _ in 0..8 {
        let failed = publish_and_watch(&client, v1::DeliveryState::Retrying).await;
        let delivery = get(&client, &failed.id).await;
        let due = delivery.next_attempt_at.map(millis).expect("planned");
        let began = delivery.attempts[0].started_at.map(millis).expect("told");
        let wait = due - began;
        assert!((500_000..=1_030_000).contains(&wait), "{wait} ms");
        drawn.insert(wait);
    }
    assert!(drawn.len() > 1, "it is drawn: {drawn:?}");
}

#[tokio::test]
async fn the_back_off_doubles_up_to_its_limit_and_attempts_have_an_end() {
    let system = System::builder().embedded().start().await;
    let client = system.client(0);
    let receiver = Receiver::start(Behaviour::Status(500)).await;
    let mut wanted = subscription(&receiver.url(), "order");
    let millis_of = |millis: i32| {
        Some(prost_types::Duration {
            seconds: 0,
            nanos: millis * 1_000_000,
        })
    };
    wanted.retry_policy = Some(v1::RetryPolicy {
        initial_backoff: millis_of(100),
        max_backoff: millis_of(400),
        max_attempts: 5,
        ..v1::RetryPolicy::default()
    });
    client.create(wanted).await;
    let dead = publish_and_watch(&client, v1::DeliveryState::Dead).await;
    let delivery = get(&client, &dead.id).await;
    assert_eq!(delivery.reason, "retries exhausted");
    let begun = delivery.attempts.iter().map(|attempt| attempt.started_at);
    let begun: Vec<_> = begun.map(|at| at.map(millis).expect("told")).collect();
    let gaps: Vec<_> = begun.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps.len(), 4);
    // At least half of 100, 200, 400 and 400 ms; a millisecond is lost in rounding.
    for (gap, least) in gaps.iter().zip([50, 100, 200, 200]) {
        assert!(*gap >= least - 1, "{gaps:?}");
    }
    assert_eq!(receiver.count(), 5);
}

#[tokio::test]
async fn retries_go_on_for_three_days_unless_told_otherwise() {
    let system = System::builder().embedded().without_agent().start().await;
    let made = system
        .client(0)
        .subscribe("http://127.0.0.1:9/", "order")
        .await;
    let policy = made.retry_policy.expect("the policy in force");
    assert_eq!(policy.max_backoff, seconds(20 * 60));
    assert_eq!(policy.max_age, seconds(72 * 3_600));
    assert_eq!(policy.max_attempts, 0);
}
