//! What receivers get: the format and the headers of a subscription, its filters and its
//! campaign, as the whole system delivers them.

use std::time::Duration;

use serde_json::{Value, json};
use sidehook_api::v1::{self, DeliveryFormat};
use sidehook_testkit::{
    client::{Client, event, subscription},
    receiver::{Behaviour, Received, Receiver},
    system::System,
    verify::verify,
};

const PATIENCE: Duration = Duration::from_secs(30);
/// Numbers, order and blanks that a parser would not give back.
const DATA: &str = r#"{"n" :1.50, "b":[1e2,"é"] }"#;

fn sample() -> v1::Event {
    v1::Event {
        data: DATA.into(),
        object_id: "Größe 1".to_owned(),
        user_id: "user_1".to_owned(),
        campaign_id: "spring".to_owned(),
        ..event("order", 1)
    }
}

async fn receive(client: &Client, format: DeliveryFormat) -> (Received, v1::Subscription, String) {
    let receiver = Receiver::start(Behaviour::Ok).await;
    let made = client
        .create(v1::Subscription {
            format: format.into(),
            event_header: "X-Emperor-Event".to_owned(),
            ..subscription(&receiver.url(), "order")
        })
        .await;
    assert_eq!(made.format(), format);
    let published = client.publish(vec![sample()]).await.expect("published");
    assert!(receiver.wait_for(1, PATIENCE).await, "{format:?}");
    let request = v1::DeleteSubscriptionRequest {
        id: made.id.clone(),
        ..v1::DeleteSubscriptionRequest::default()
    };
    let deleted = client.webhooks().delete_subscription(request).await;
    deleted.expect("deleted");
    (
        receiver.received().remove(0),
        made,
        published[0].event_id.clone(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_gets_the_format_of_its_subscription() {
    let system = System::builder().start().await;
    let client = system.client(0);

    let (request, made, id) = receive(&client, DeliveryFormat::Envelope).await;
    verify(&request, &made).expect("signed");
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    assert_eq!(
        (&body["event"]["id"], &body["subscription_id"]),
        (&json!(id), &json!(made.id))
    );
    assert_eq!(
        body["event"].get("campaign_id"),
        None,
        "Close's envelope has none"
    );

    let (request, made, _) = receive(&client, DeliveryFormat::Raw).await;
    verify(&request, &made).expect("signed");
    assert_eq!(request.body, DATA);
    assert_eq!(request.header("x-emperor-event"), Some("order:updated"));
    assert_eq!(request.header("content-type"), Some("application/json"));

    let (request, made, id) = receive(&client, DeliveryFormat::CloudEventsBinary).await;
    verify(&request, &made).expect("signed");
    assert_eq!(request.body, DATA);
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", &id),
        ("ce-type", "order.updated"),
        ("ce-subject", "Gr%C3%B6%C3%9Fe%201"),
        ("ce-userid", "user_1"),
        ("ce-campaignid", "spring"),
        ("ce-subscriptionid", &made.id),
        ("x-emperor-event", "order:updated"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }

    let (request, made, id) = receive(&client, DeliveryFormat::CloudEventsStructured).await;
    verify(&request, &made).expect("signed");
    let kind = request.header("content-type");
    assert_eq!(kind, Some("application/cloudevents+json"));
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    for (name, value) in [
        ("id", id.as_str()),
        ("subject", "Größe 1"),
        ("campaignid", "spring"),
        ("subscriptionid", &made.id),
    ] {
        assert_eq!(body[name], value, "{name}");
    }
    let text = String::from_utf8(request.body.to_vec()).expect("UTF-8");
    assert!(text.contains(&format!(r#""data":{DATA}"#)), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_of_a_campaign_gets_its_events_alone() {
    let system = System::builder().without_agent().start().await;
    let client = system.client(0);
    let scoped = v1::Subscription {
        campaign_id: "spring".to_owned(),
        ..subscription("http://127.0.0.1:9/hook", "order")
    };
    let id = client.create(scoped).await.id;
    let of = |campaign: &str| v1::Event {
        campaign_id: campaign.to_owned(),
        ..event("order", 1)
    };
    let matched = async |campaign: &str| {
        let results = client.publish(vec![of(campaign)]).await.expect("published");
        results[0].matched
    };
    let found = [
        matched("spring").await,
        matched("autumn").await,
        matched("").await,
    ];
    assert_eq!(found, [1, 0, 0]);
    let everything = v1::UpdateSubscriptionRequest {
        subscription: Some(v1::Subscription {
            id,
            ..v1::Subscription::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["campaign_id".to_owned()],
        }),
        ..v1::UpdateSubscriptionRequest::default()
    };
    let changed = client.webhooks().update_subscription(everything).await;
    changed.expect("its scope is taken away");
    let found = [
        matched("spring").await,
        matched("autumn").await,
        matched("").await,
    ];
    assert_eq!(found, [1, 1, 1]);
    let listed = v1::ListEventsRequest::default();
    let listed = client.events().list_events(listed).await.expect("a page");
    let campaigns = listed.into_inner().events;
    let campaigns: Vec<_> = campaigns.iter().map(|event| &*event.campaign_id).collect();
    assert_eq!(campaigns, ["", "autumn", "spring", "", "autumn", "spring"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_is_given_up_pauses_where_the_policy_says_so() {
    let system = System::builder().start().await;
    let client = system.client(0);
    let receiver = Receiver::start(Behaviour::Status(500)).await;
    let policy = v1::RetryPolicy {
        max_attempts: 1,
        preset: v1::RetryPreset::Collect.into(),
        ..v1::RetryPolicy::default()
    };
    let made = client
        .create(v1::Subscription {
            retry_policy: Some(policy),
            ..subscription(&receiver.url(), "order")
        })
        .await;
    client.publish(vec![sample()]).await.expect("published");
    let paused = async {
        loop {
            let request = v1::GetSubscriptionRequest {
                id: made.id.clone(),
            };
            let found = client.webhooks().get_subscription(request).await;
            let found = found.expect("known").into_inner().subscription;
            let found = found.expect("a subscription");
            if found.status() == v1::SubscriptionStatus::Paused {
                return found.pause_reason;
            }
        }
    };
    let reason = tokio::time::timeout(PATIENCE, paused).await;
    assert_eq!(reason.expect("it is paused"), "exhausted");
}
