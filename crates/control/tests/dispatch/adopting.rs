//! What a replica does with leases that another one made.

use std::sync::Arc;

use sidehook_api::{agent_v1::Hello, event, record::AttemptEntry, v1};
use sidehook_core::{
    address::SegmentId,
    delivery::{DeliveryState, reason},
    principal::Role,
};
use sidehook_store::{Store, model::Model};

use crate::{
    harness::{Agent, Replica, TENANT, config, hello, patient, principal},
    shaky::Shaky,
};

/// An agent works for `here`, and then goes on `there` with the lease that it holds.
async fn moved(here: &Replica, there: &Replica, meanwhile: impl Future<Output = ()>) -> Told {
    here.publish(1).await;
    let (mut agent, _) = Agent::connect(here, hello(1, 10)).await;
    let work = agent.work().await;
    drop(agent);
    meanwhile.await;
    let mut watch = there.engine.watch(TENANT);
    let again = Hello {
        closed_session_ids: vec![1],
        held_leases: vec![work.lease.clone()],
        held_deliveries: 1,
        ..hello(2, 10)
    };
    let (mut agent, welcome) = Agent::connect(there, again).await;
    assert!(welcome.dead_leases.is_empty());
    agent.answer(&work, 500).await;
    let item = patient("an attempt", watch.recv()).await.expect("all");
    let entry = AttemptEntry::decode(item.record).expect("a record");
    assert!(entry.attempt.is_some(), "it was made");
    let again = entry.state == DeliveryState::Retrying;
    assert_eq!(entry.next_attempt_at.is_some(), again);
    (entry.state, entry.reason)
}

#[tokio::test]
async fn an_adopted_delivery_whose_policy_cannot_be_read_is_tried_again() {
    let store = Shaky::new(0);
    let here = Replica::start(store.sound(), config()).await;
    let there = Replica::start(Arc::new(store.clone()), config()).await;
    *store.faults.unreadable.lock() = Some(TENANT);
    here.subscribe().await;
    let told = moved(&here, &there, async {}).await;
    assert_eq!(told, (DeliveryState::Retrying, String::new()));
}

#[tokio::test]
async fn an_adopted_deliverys_attempt_counts_and_names_its_event() {
    let (here, there) = two_replicas().await;
    let keyed = here.subscribe().await;
    let (state, _) = moved(&here, &there, async {}).await;
    assert_eq!(state, DeliveryState::Retrying);
    let id = keyed.subscription.id;
    for replica in [&here, &there] {
        let told = replica.subscriptions.health(TENANT, &[id.number()]).await;
        let told = told.expect("the store answers").remove(0);
        let told = told.expect("it can be read");
        assert_eq!(told.counters.expect("they are shown").first_fail, 1);
        let log = replica.store.log(TENANT, None, 1).await.expect("a log");
        let event = event_of(replica, log.segments[0]).await;
        assert_eq!(told.errors[0].event_id, event, "although nobody knew it");
    }
}

/// The id of a segment's first event, as it is kept.
async fn event_of(replica: &Replica, segment: SegmentId) -> String {
    let read = replica
        .store
        .segments(&[segment])
        .await
        .expect("it answers");
    let record = read[0].as_ref().expect("it is there").records[0].clone();
    let stored = event::decode(record).expect("an event");
    event::to_proto(&stored).expect("an event").id
}

type Told = (DeliveryState, String);

async fn two_replicas() -> (Replica, Replica) {
    let store: Arc<dyn Store> = Arc::new(Model::new());
    let here = Replica::start(Arc::clone(&store), config()).await;
    (here, Replica::start(store, config()).await)
}

#[tokio::test]
async fn an_adopted_delivery_is_decided_by_its_own_policy() {
    let (here, there) = two_replicas().await;
    let once = |wire: &mut v1::Subscription| {
        if let Some(policy) = &mut wire.retry_policy {
            policy.max_attempts = 1;
        }
    };
    here.subscribe_with(once).await;
    let told = moved(&here, &there, async {}).await;
    assert_eq!(told, (DeliveryState::Dead, reason::EXHAUSTED.to_owned()));
}

#[tokio::test]
async fn an_adopted_delivery_of_a_deleted_subscription_is_cancelled() {
    let (here, there) = two_replicas().await;
    let keyed = here.subscribe().await;
    let deletion = async {
        let id = keyed.subscription.id;
        let admin = principal(Role::Admin);
        let deleted = here.subscriptions.delete(&admin, id, None).await;
        deleted.expect("it was there");
    };
    let told = moved(&here, &there, deletion).await;
    let cancelled = reason::SUBSCRIPTION_DELETED.to_owned();
    assert_eq!(told, (DeliveryState::Cancelled, cancelled));
}
