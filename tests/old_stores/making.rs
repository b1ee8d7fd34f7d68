//! Making a store that has one of everything, for later versions to read:
//! `tools/keep-stores.sh`, at each release.

use std::{path::Path, process::Command, time::Duration};

use serde_json::{Value, json};
use sidehook_api::v1::{self, signing::Scheme};
use sidehook_testkit::{
    Agent,
    client::{Client, event, subscription},
    receiver::{Behaviour, Receiver},
    system::{Place, System},
};

use super::{LOCAL_KEY, OPERATOR_KEY, account::account, agent_settings};

const PATIENCE: Duration = Duration::from_secs(60);

const FILTER: &str =
    r#"{"type":"field_accessor","field":"user_id","filter":{"type":"equals","value":"user_1"}}"#;

/// Makes both kinds of stores, and an export, in a folder.
pub(crate) async fn make(folder: &Path) {
    let write = |name: &str, kept: &Value| {
        let text = serde_json::to_string_pretty(kept).expect("JSON");
        std::fs::write(folder.join(name), text + "\n").expect("it can be written");
    };
    let system = System::builder().without_agent().start().await;
    write("redis.json", &Box::pin(fill(&system)).await);
    let redis = system.redis.as_ref().expect("it is over Redis");
    redis.command(&["SAVE"]).await;
    let place = redis.command(&["CONFIG", "GET", "dir"]).await;
    let dump = Path::new(place.lines().last().expect("a folder")).join("dump.rdb");
    std::fs::copy(dump, folder.join("redis.rdb")).expect("it can be copied");

    let mut system = System::builder().embedded().without_agent().start().await;
    write("embedded.json", &Box::pin(fill(&system)).await);
    system.terminate_server().await;
    let file = folder.join("sidehook.image");
    let place = system.place();
    let (well, _, told) = place.store("export", &[&file.display().to_string()]);
    assert!(well, "{told}");
    let Place::Embedded(store) = place else {
        panic!("it is embedded");
    };
    let mut pack = Command::new("gzip");
    let packed = pack.arg("-9nc").arg(format!("{store}/store.redb")).output();
    let packed = packed.expect("gzip is there");
    std::fs::write(folder.join("embedded.redb.gz"), packed.stdout).expect("it can be written");
}

fn signed(url: &str, object_type: &str, scheme: Scheme) -> v1::Subscription {
    v1::Subscription {
        signing: Some(v1::Signing {
            scheme: Some(scheme),
            ..v1::Signing::default()
        }),
        ..subscription(url, object_type)
    }
}

const fn standard(algorithm: v1::StandardWebhooksAlgorithm) -> Scheme {
    Scheme::StandardWebhooks(v1::StandardWebhooksScheme {
        algorithm: algorithm as i32,
    })
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// An event with every field that can be set.
fn full(n: u64) -> v1::Event {
    v1::Event {
        idempotency_key: format!("kept-{n}"),
        user_id: "user_1".to_owned(),
        lead_id: "lead_1".to_owned(),
        request_id: format!("req_{n}"),
        organization_id: "orga_1".to_owned(),
        occurred_at: Some(prost_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 123_456_789,
        }),
        previous_data: "{ \"n\" : null }".into(),
        changed_fields: vec!["n".to_owned(), "m".to_owned()],
        meta: r#"{"why":"because"}"#.into(),
        ..event("order", n)
    }
}

async fn publish(client: &Client, events: Vec<v1::Event>) {
    let results = client.publish(events).await.expect("published");
    assert!(
        results
            .iter()
            .all(|result| result.error.is_none() && result.matched > 0)
    );
}

/// The deliveries of a subscription, newest event first.
async fn deliveries(client: &Client, subscription: &str) -> Vec<v1::Delivery> {
    let request = v1::ListDeliveriesRequest {
        subscription_id: subscription.to_owned(),
        page_size: 100,
        ..v1::ListDeliveriesRequest::default()
    };
    let answer = client.deliveries().list_deliveries(request).await;
    answer.expect("listed").into_inner().deliveries
}

/// Waits until so many deliveries of a subscription are in a state.
async fn settled(client: &Client, id: &str, state: v1::DeliveryState, count: usize) {
    let asking = async {
        loop {
            let found = deliveries(client, id).await;
            if found.iter().filter(|it| it.state() == state).count() == count {
                return;
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, asking).await;
    in_time.unwrap_or_else(|_| panic!("{count} are {}", state.as_str_name()));
}

async fn again(client: &Client, subscription: &str) {
    let id = deliveries(client, subscription).await[0].id.clone();
    let request = v1::RetryDeliveryRequest { id };
    let answer = client.deliveries().retry_delivery(request).await;
    answer.expect("it is delivered again");
}

/// The subscriptions, by what they are for.
struct Wanted {
    orders: Vec<v1::Subscription>,
    retried: v1::Subscription,
    dead: v1::Subscription,
    gone: v1::Subscription,
    held: v1::Subscription,
    deleted: v1::Subscription,
}

async fn subscribe(client: &Client, receivers: &[Receiver; 4]) -> Wanted {
    let [ok, failing, gone, held] = receivers.each_ref().map(Receiver::url);
    let mut first = signed(
        &ok,
        "order",
        standard(v1::StandardWebhooksAlgorithm::HmacSha256),
    );
    first.description = "Everything that can be set".to_owned();
    first.events.push(v1::EventPattern {
        object_type: "contact".to_owned(),
        action: "moved".to_owned(),
        extra_filter: FILTER.to_owned(),
    });
    first.headers = vec![v1::Header {
        name: "X-Team".to_owned(),
        value: "billing".to_owned(),
    }];
    first.max_in_flight = 7;
    first.timeouts = Some(v1::Timeouts {
        dns: seconds(2),
        connect: seconds(3),
        total: seconds(20),
    });
    let hmac = |digest: v1::HmacDigest, prefix: &str| {
        Scheme::HmacHeader(v1::HmacHeaderScheme {
            header: "X-Hub-Signature".to_owned(),
            digest: digest.into(),
            prefix: prefix.to_owned(),
        })
    };
    let mut local = signed(&ok, "order", Scheme::Close(v1::CloseScheme {}));
    if let Some(signing) = &mut local.signing {
        LOCAL_KEY.0.clone_into(&mut signing.local_key);
    }
    let ed25519 = standard(v1::StandardWebhooksAlgorithm::Ed25519);
    let mut orders = Vec::new();
    for wanted in [
        first,
        signed(&ok, "order", ed25519),
        signed(&ok, "order", Scheme::Close(v1::CloseScheme {})),
        signed(&ok, "order", hmac(v1::HmacDigest::Sha256, "")),
        signed(&ok, "order", Scheme::Unsigned(v1::UnsignedScheme {})),
        local,
    ] {
        orders.push(client.create(wanted).await);
    }
    let mut retried = signed(&failing, "invoice", hmac(v1::HmacDigest::Sha1, "sha1="));
    retried.retry_policy = Some(v1::RetryPolicy {
        initial_backoff: seconds(600),
        max_backoff: seconds(900),
        max_age: seconds(7_200),
        max_attempts: 5,
        ..v1::RetryPolicy::default()
    });
    let mut dead = subscription(&failing, "refund");
    dead.retry_policy = Some(v1::RetryPolicy {
        max_attempts: 1,
        ..v1::RetryPolicy::default()
    });
    Wanted {
        orders,
        retried: client.create(retried).await,
        dead: client.create(dead).await,
        gone: client.create(subscription(&gone, "lead")).await,
        held: client.create(subscription(&held, "call")).await,
        deleted: client.create(subscription(&ok, "note")).await,
    }
}

/// One of everything; answers what is there.
async fn fill(system: &System) -> Value {
    use v1::DeliveryState::{Dead, Delivered, InFlight, Retrying};
    let client = system.client(0);
    let mut receivers = Vec::new();
    for behaviour in [
        Behaviour::Ok,
        Behaviour::Status(500),
        Behaviour::Gone,
        Behaviour::Held,
    ] {
        receivers.push(Receiver::start(behaviour).await);
    }
    let receivers: [Receiver; 4] = receivers.try_into().ok().expect("four");
    let wanted = Box::pin(subscribe(&client, &receivers)).await;
    let agent = Agent::start(system, &agent_settings());

    publish(&client, (0..3).map(full).collect()).await;
    for (object_type, count) in [("invoice", 2), ("refund", 2), ("lead", 1), ("note", 1)] {
        publish(&client, (0..count).map(|n| event(object_type, n)).collect()).await;
    }
    for one in &wanted.orders {
        settled(&client, &one.id, Delivered, 3).await;
    }
    settled(&client, &wanted.retried.id, Retrying, 2).await;
    settled(&client, &wanted.dead.id, Dead, 2).await;
    settled(&client, &wanted.gone.id, Dead, 1).await;
    settled(&client, &wanted.deleted.id, Delivered, 1).await;
    again(&client, &wanted.orders[0].id).await;
    settled(&client, &wanted.orders[0].id, Delivered, 4).await;
    let delete = v1::DeleteSubscriptionRequest {
        id: wanted.deleted.id.clone(),
        ..v1::DeleteSubscriptionRequest::default()
    };
    let deleted = client.webhooks().delete_subscription(delete).await;
    deleted.expect("deleted");
    let rotate = v1::RotateSigningKeyRequest {
        id: wanted.orders[0].id.clone(),
        overlap: seconds(7 * 86_400),
        ..v1::RotateSigningKeyRequest::default()
    };
    let rotated = client.webhooks().rotate_signing_key(rotate).await;
    rotated.expect("rotated");
    keys(system).await;

    publish(&client, (0..2).map(|n| event("call", n)).collect()).await;
    settled(&client, &wanted.held.id, InFlight, 2).await;
    // Without a word: what it holds stays lent.
    drop(agent);
    publish(&client, (3..5).map(full).collect()).await;
    again(&client, &wanted.dead.id).await;
    let visits = subscription(&receivers[0].url(), "visit");
    let paused = client.create(visits).await;
    publish(&client, vec![event("visit", 0)]).await;
    let pause = v1::PauseSubscriptionRequest {
        id: paused.id,
        ..v1::PauseSubscriptionRequest::default()
    };
    client
        .webhooks()
        .pause_subscription(pause)
        .await
        .expect("paused");
    let account = account(system.grpc(0), OPERATOR_KEY, system.tenant(), client.key());
    json!({
        "made_at_ms": super::now_ms(),
        "tenant": system.tenant(),
        "key": client.key(),
        "token": system.token(),
        "account": account,
    })
}

/// A key of each role, one of them revoked, and another tenant.
async fn keys(system: &System) {
    system.tenant_named("another").await;
    let mut admin = system.operator(0).admin();
    for (role, pool) in [
        (v1::Role::Publisher, ""),
        (v1::Role::Viewer, ""),
        (v1::Role::Agent, "berlin"),
        (v1::Role::Admin, ""),
    ] {
        let request = v1::CreateApiKeyRequest {
            tenant_id: system.tenant().to_owned(),
            name: format!("kept {}", role.as_str_name()),
            role: role.into(),
            pool: pool.to_owned(),
            ..v1::CreateApiKeyRequest::default()
        };
        let made = admin.create_api_key(request).await.expect("made");
        let id = made.into_inner().api_key.expect("a key").id;
        if role == v1::Role::Admin {
            let revoked = admin.revoke_api_key(v1::RevokeApiKeyRequest { id }).await;
            revoked.expect("revoked");
        }
    }
}
