//! What a subscription tells of its receiver: the same on every replica, and to people who
//! use the command line.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use sidehook_api::v1::{self, DeliveryState};
use sidehook_testkit::{
    client::{Client, event, subscription},
    process::binary,
    receiver::{Behaviour, Receiver},
    system::System,
};
use tonic::Code;

const PATIENCE: Duration = Duration::from_secs(60);
const FAILED: &str = "Exception name: HTTPError, Status code: 500";

/// As GetSubscription shows it, which must be as ListSubscriptions does: while nothing is
/// counted between the two.
async fn health(client: &Client, id: &str) -> v1::SubscriptionHealth {
    let begun = Instant::now();
    let mut before = got(client, id).await;
    loop {
        let listed = listed(client, id).await;
        let after = got(client, id).await;
        if before == after {
            assert_eq!(listed, after);
            return after;
        }
        assert!(begun.elapsed() < PATIENCE, "it never stands still");
        before = after;
    }
}

async fn got(client: &Client, id: &str) -> v1::SubscriptionHealth {
    let request = v1::GetSubscriptionRequest { id: id.to_owned() };
    let shown = client.webhooks().get_subscription(request).await;
    let shown = shown.expect("it is there").into_inner().subscription;
    shown.expect("it is shown").health.expect("with its health")
}

async fn listed(client: &Client, id: &str) -> v1::SubscriptionHealth {
    let request = v1::ListSubscriptionsRequest::default();
    let listed = client.webhooks().list_subscriptions(request).await;
    let listed = listed.expect("a list").into_inner().subscriptions;
    let listed = listed.into_iter().find(|one| one.id == id);
    let listed = listed.expect("it is listed");
    listed.health.expect("with its health")
}

/// Publishes `n` and waits for the end of its delivery, which the watch tells once it is
/// settled; the event's id.
async fn deliver(client: &Client, subscription_id: &str, n: u64) -> String {
    let request = v1::WatchDeliveriesRequest {
        subscription_id: subscription_id.to_owned(),
    };
    let watch = client.deliveries().watch_deliveries(request).await;
    let mut watch = watch.expect("a watch").into_inner();
    let on = watch.message().await.expect("a stream");
    assert!(on.is_some(), "the watch is on");
    let published = client.publish(vec![event("order", n)]).await;
    let event_id = published.expect("published").remove(0).event_id;
    let ended = async {
        loop {
            let seen = watch.message().await.expect("a stream").expect("no end");
            let delivery = seen.delivery.expect("a delivery");
            if delivery.event_id == event_id && delivery.state() == DeliveryState::Delivered {
                return;
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, ended).await;
    in_time.expect("delivered in time");
    event_id
}

fn impatient(url: &str) -> v1::Subscription {
    v1::Subscription {
        retry_policy: Some(v1::RetryPolicy {
            initial_backoff: Some(prost_types::Duration {
                seconds: 0,
                nanos: 100_000_000,
            }),
            ..v1::RetryPolicy::default()
        }),
        ..subscription(url, "order")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_fails_and_recovers_shows_on_every_replica() {
    let system = System::builder().servers(2).start().await;
    let clients = [system.client(0), system.client(1)];
    let receiver = Receiver::start(Behaviour::FailFirst(2)).await;
    let made = clients[0].create(impatient(&receiver.url())).await;
    assert_eq!(made.health, None, "only reading shows it");
    let quiet = Receiver::start(Behaviour::Ok).await;
    let unused = clients[1]
        .create(subscription(&quiet.url(), "nothing"))
        .await;
    for client in &clients {
        let nothing = v1::SubscriptionHealth {
            counters: Some(v1::HealthCounters::default()),
            ..v1::SubscriptionHealth::default()
        };
        assert_eq!(health(client, &made.id).await, nothing);
        assert_eq!(health(client, &unused.id).await, nothing);
    }

    let first = deliver(&clients[0], &made.id, 1).await;
    let told = health(&clients[0], &made.id).await;
    assert_eq!(health(&clients[1], &made.id).await, told, "both alike");
    assert_eq!((&*told.status, &*told.latest_error), ("degraded", FAILED));
    assert_eq!(told.consecutive_failing_buckets, 0, "it recovered");
    let counters = told.counters.expect("they are shown");
    assert_eq!((counters.first_success, counters.first_fail), (0, 1));
    assert_eq!((counters.retry_success, counters.retry_fail), (1, 1));
    let failures = told.errors.iter();
    let failures: Vec<_> = failures
        .map(|one| (one.attempt_number, one.response_status_code, &*one.error))
        .collect();
    assert_eq!(failures, [(2, 500, FAILED), (1, 500, FAILED)]);
    assert_eq!(told.successes.len(), 1);
    let success = &told.successes[0];
    assert_eq!(success.attempt_number, 3);
    assert_eq!((success.response_status_code, &*success.error), (200, ""));
    let records = || told.errors.iter().chain(&told.successes);
    assert!(records().all(|one| one.event_id == first && one.time.is_some()));
    assert!(records().all(|one| one.delivery_id == success.delivery_id));

    // Many successes later it is well, and what went wrong last is still told.
    let mut last = String::new();
    for n in 2..30 {
        last = deliver(&clients[1], &made.id, n).await;
    }
    let told = health(&clients[1], &made.id).await;
    assert_eq!(health(&clients[0], &made.id).await, told, "both alike");
    assert_eq!((&*told.status, &*told.latest_error), ("healthy", FAILED));
    assert_eq!(told.successes[0].event_id, last);
    assert_eq!((told.successes.len(), told.errors.len()), (5, 2));
    assert_eq!(told.counters.expect("shown").first_success, 28);
    let other = health(&clients[0], &unused.id).await;
    assert_eq!(other.counters, Some(v1::HealthCounters::default()));

    let said = command_line(&system, &made.id);
    for part in [
        "HEALTH",
        "healthy",
        FAILED,
        "first: 28 succeeded, 1 failed; later: 1 succeeded, 1 failed",
        "attempt 2, status 500",
    ] {
        assert!(said.contains(part), "{part:?} is not told:\n{said}");
    }
}

fn command_line(system: &System, id: &str) -> String {
    let mut command = Command::new(binary("sidehook"));
    command
        .env_clear()
        .env("SIDEHOOK_SERVER", format!("http://{}", system.grpc(1)))
        .env("SIDEHOOK_API_KEY", system.client(1).key())
        .args(["subscription", "get", id]);
    let ended = command.output().expect("it starts");
    assert!(ended.status.success(), "{ended:?}");
    String::from_utf8(ended.stdout).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_cannot_be_reached_is_failing_and_nobody_writes_its_health() {
    let system = System::builder().embedded().start().await;
    let client = system.client(0);
    let gone = Receiver::start(Behaviour::Ok).await;
    let url = gone.url();
    drop(gone);
    let made = client.create(impatient(&url)).await;
    let published = client.publish(vec![event("order", 1)]).await;
    published.expect("published");
    let request = v1::WatchDeliveriesRequest {
        subscription_id: made.id.clone(),
    };
    let watch = client.deliveries().watch_deliveries(request).await;
    let mut watch = watch.expect("a watch").into_inner();
    let tried = async {
        // Every attempt is told after it was counted.
        loop {
            watch.message().await.expect("a stream").expect("no end");
            let told = health(&client, &made.id).await;
            if told.status == "failing" {
                return told;
            }
        }
    };
    let told = tokio::time::timeout(PATIENCE, tried).await;
    let told = told.expect("three attempts in time");
    assert_eq!(told.consecutive_failing_buckets, 1);
    let error = &told.latest_error;
    assert!(error.starts_with("Exception name: ConnectError"), "{error}");
    assert_eq!(told.errors[0].response_status_code, 0);
    assert_eq!(told.successes, []);

    let given = v1::Subscription {
        health: Some(told),
        ..subscription(&url, "order")
    };
    let request = v1::CreateSubscriptionRequest {
        subscription: Some(given),
        ..v1::CreateSubscriptionRequest::default()
    };
    let refused = client.webhooks().create_subscription(request).await;
    let refused = refused.expect_err("nobody gives a health");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("health"), "{refused:?}");
}
