//! One subscription through several APIs, and the requests that clients of eight languages
//! send.
//!
//! Each dialect shows a subscription of any origin as far as it has words for it, and a
//! change through it keeps what it has none for. The requests are written down as the
//! clients put them on the wire.

mod changes;
mod clients;
mod paths;
mod settings;
mod views;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sidehook_api::v1::{self, SubscriptionStatus, signing::Scheme};
use sidehook_testkit::{
    client::event_of,
    http::{Http, Reply, raw, raw_in_parts},
    receiver::{Behaviour, Receiver},
    system::System,
    tenancy::{Tenancy, basic},
};

const URL: &str = "https://example.com/hook";
const FILTER: &str =
    r#"{"type":"field_accessor","field":"user_id","filter":{"type":"equals","value":"user_1"}}"#;

fn pattern(object_type: &str, action: &str, extra_filter: &str) -> v1::EventPattern {
    v1::EventPattern {
        object_type: object_type.to_owned(),
        action: action.to_owned(),
        extra_filter: extra_filter.to_owned(),
    }
}

fn header(name: &str, value: &str) -> v1::Header {
    v1::Header {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

/// The only subscription of the tenant, by the native API.
async fn native(tenancy: &Tenancy) -> v1::Subscription {
    let request = v1::ListSubscriptionsRequest::default();
    let mut client = tenancy.client.webhooks();
    let answer = client.list_subscriptions(request).await;
    let mut all = answer.expect("listed").into_inner().subscriptions;
    assert_eq!(all.len(), 1);
    let request = v1::GetSubscriptionRequest {
        id: all.swap_remove(0).id,
    };
    let answer = client.get_subscription(request).await;
    let found = answer.expect("read").into_inner().subscription;
    found.expect("an answer has its subscription")
}

/// The only subscription of the tenant, by each dialect.
struct Views {
    close: Value,
    collect: Value,
    hookshot: Value,
}

async fn views(tenancy: &Tenancy) -> Views {
    let only = |list: Value| {
        assert_eq!(list.as_array().expect("a list").len(), 1, "{list}");
        list[0].clone()
    };
    let close = tenancy.close().get("/api/v1/webhook/").await.expect(200);
    let collect = tenancy.collect().get("/v1/webhooks").await.expect(200);
    let hookshot = tenancy.hookshot().get("/hooks").await.expect(200);
    Views {
        close: only(close["data"].clone()),
        collect: only(collect),
        hookshot: only(hookshot),
    }
}

/// A subscription with what no dialect has words for.
fn rich() -> v1::Subscription {
    v1::Subscription {
        url: URL.to_owned(),
        events: vec![
            pattern("quote", "created", FILTER),
            pattern("lead", "*", ""),
            pattern("collect", "smsSent", FILTER),
        ],
        headers: vec![header("X-First", "1"), header("X-Second", "2")],
        description: "a note".to_owned(),
        campaign_id: "campaign".to_owned(),
        format: v1::DeliveryFormat::CloudEventsBinary.into(),
        max_in_flight: 7,
        ..v1::Subscription::default()
    }
}

/// What must stay the same where only the status is changed.
fn without_status(mut subscription: v1::Subscription) -> v1::Subscription {
    subscription.status = 0;
    subscription.pause_reason.clear();
    subscription.etag.clear();
    subscription.updated_at = None;
    // It is in answers to reading alone.
    subscription.health = None;
    subscription
}
