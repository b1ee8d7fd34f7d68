//! Two versions share one store: this one, and the same with one more field in every
//! record and in every message on the wire (the feature `later`; see `build.rs`). That
//! is what two minor versions may differ in.

use std::time::Duration;

use sidehook_api::v1;
use sidehook_testkit::{
    build_later,
    client::{Client, event, subscription},
    process::Process,
    receiver::{Behaviour, Receiver},
    system::System,
    verify::verify,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// What the later version writes into the field that this one does not know.
const MARK: &[u8] = b"written by a later version";
/// The replicas, by their versions.
const THIS: usize = 0;
const LATER: usize = 1;

async fn start() -> System {
    build_later();
    let system = System::builder().servers(2).later(LATER);
    system.without_agent().start().await
}

/// How often the mark of the later version is in what Redis keeps under this key.
async fn marks(system: &System, key: &str) -> usize {
    let redis = system.redis.as_ref().expect("it is over Redis");
    let keys = redis.try_bytes(&["KEYS", key]).await.expect("a list");
    let mut count = 0;
    for key in keys {
        let values = redis.try_bytes(&[b"HVALS", &key[..]]).await;
        for value in values.expect("a hash") {
            count += value
                .windows(MARK.len())
                .filter(|part| *part == MARK)
                .count();
        }
    }
    count
}

async fn update(client: &Client, id: &str, description: &str) -> v1::Subscription {
    let request = v1::UpdateSubscriptionRequest {
        subscription: Some(v1::Subscription {
            id: id.to_owned(),
            description: description.to_owned(),
            ..v1::Subscription::default()
        }),
        ..v1::UpdateSubscriptionRequest::default()
    };
    let answer = client.webhooks().update_subscription(request).await;
    let updated = answer.expect("updated").into_inner().subscription;
    updated.expect("an answer has its subscription")
}

async fn get(client: &Client, id: &str) -> v1::Subscription {
    let request = v1::GetSubscriptionRequest { id: id.to_owned() };
    let answer = client.webhooks().get_subscription(request).await;
    let found = answer.expect("it is there").into_inner().subscription;
    found.expect("an answer has its subscription")
}

#[tokio::test]
async fn what_the_later_version_wrote_survives_changes_by_this_one() {
    let system = start().await;
    let (this, later) = (system.client(THIS), system.client(LATER));
    let url = "http://127.0.0.1:9/";
    let subscriptions = "*:cat:*";
    let old = this.create(subscription(url, "order")).await;
    assert_eq!(marks(&system, subscriptions).await, 0);
    let new = later.create(subscription(url, "order")).await;
    // Its record, and its key within that.
    assert_eq!(marks(&system, subscriptions).await, 2);

    for n in 0..3 {
        assert_eq!(
            update(&this, &new.id, &format!("{n}")).await.description,
            format!("{n}")
        );
    }
    let pause = v1::PauseSubscriptionRequest {
        id: new.id.clone(),
        ..v1::PauseSubscriptionRequest::default()
    };
    this.webhooks()
        .pause_subscription(pause)
        .await
        .expect("paused");
    let resume = v1::ResumeSubscriptionRequest {
        id: new.id.clone(),
        ..v1::ResumeSubscriptionRequest::default()
    };
    later
        .webhooks()
        .resume_subscription(resume)
        .await
        .expect("resumed");
    let rotate = v1::RotateSigningKeyRequest {
        id: new.id.clone(),
        ..v1::RotateSigningKeyRequest::default()
    };
    this.webhooks()
        .rotate_signing_key(rotate)
        .await
        .expect("rotated");
    assert_eq!(
        marks(&system, subscriptions).await,
        2,
        "the new key has none"
    );
    let shown = [get(&this, &new.id).await, get(&later, &new.id).await];
    assert_eq!(shown[0], shown[1], "both show the same");
    assert_eq!(
        shown[0].signing.as_ref().map(|signing| signing.keys.len()),
        Some(2)
    );
    // The other way round: what this version wrote the later one makes its own.
    update(&later, &old.id, "changed").await;
    assert_eq!(get(&this, &old.id).await.description, "changed");

    // Tenants and keys: a key that the later version made is revoked by this one.
    let before = marks(&system, "{shsys}:reg:key").await;
    let request = v1::CreateApiKeyRequest {
        tenant_id: system.tenant().to_owned(),
        name: "of the later version".to_owned(),
        role: v1::Role::Viewer.into(),
        ..v1::CreateApiKeyRequest::default()
    };
    let made = system.operator(LATER).admin().create_api_key(request).await;
    let made = made.expect("made").into_inner().api_key.expect("a key");
    assert_eq!(marks(&system, "{shsys}:reg:key").await, before + 1);
    let revoke = v1::RevokeApiKeyRequest { id: made.id };
    let revoked = system.operator(THIS).admin().revoke_api_key(revoke).await;
    revoked.expect("revoked");
    assert_eq!(marks(&system, "{shsys}:reg:key").await, before + 1);
}

/// Publishes on both replicas that run and waits until all of it has arrived, signed.
async fn round(
    system: &System,
    replicas: &[usize],
    receiver: &Receiver,
    subscription: &v1::Subscription,
) {
    const EACH: u64 = 20;
    let before = receiver.count();
    for replica in replicas {
        let events = (0..EACH).map(|n| event("order", n)).collect();
        let results = system
            .client(*replica)
            .publish(events)
            .await
            .expect("published");
        assert!(
            results.iter().all(|result| result.matched == 1),
            "{results:?}"
        );
    }
    let wanted = before + replicas.len() * EACH as usize;
    let arrived = receiver.wait_for(wanted, PATIENCE).await;
    assert!(arrived, "{} of {wanted}", receiver.count());
    for request in &receiver.received()[before..] {
        assert_eq!(verify(request, subscription), Ok(()));
    }
}

async fn end(mut agent: Process) {
    agent.terminate();
    let ended = agent.wait_exit(PATIENCE).await;
    assert!(
        ended.is_some_and(|status| status.success()),
        "{}",
        agent.log()
    );
}

#[tokio::test]
async fn agents_and_servers_of_both_versions_work_with_each_other_and_alone() {
    let mut system = start().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let subscription = system
        .client(LATER)
        .subscribe(&receiver.url(), "order")
        .await;
    let both = [THIS, LATER];
    for replica in both {
        let agent = system.another_agent(&format!("this-{replica}"), replica);
        round(&system, &both, &receiver, &subscription).await;
        end(agent).await;
        let agent = system.later_agent(&format!("later-{replica}"), replica);
        round(&system, &both, &receiver, &subscription).await;
        end(agent).await;
    }
    // Either goes on without the other, and is joined by it again.
    for (alone, other) in [(THIS, LATER), (LATER, THIS)] {
        system.kill_server(other);
        let agent = system.another_agent(&format!("alone-{alone}"), alone);
        round(&system, &[alone], &receiver, &subscription).await;
        system.restart_server(other).await;
        round(&system, &both, &receiver, &subscription).await;
        end(agent).await;
    }
    let shown = [
        get(&system.client(THIS), &subscription.id).await,
        get(&system.client(LATER), &subscription.id).await,
    ];
    assert_eq!(shown[0], shown[1]);
}
