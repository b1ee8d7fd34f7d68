//! What cannot be read holds up nothing else.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use sidehook_api::{record::AttemptEntry, v1};
use sidehook_control::engine::PublishError;
use sidehook_core::{
    address::{Partition, SegmentId},
    delivery::{DeliveryState, reason},
    id::{SubscriptionId, TenantId},
    principal::Role,
};

use sidehook_store::model::Model;

use crate::{
    harness::{Agent, Replica, TENANT, config, hello, patient, pool, principal},
    shaky::Shaky,
};

/// A tenant whose work is claimed together with [`TENANT`]'s.
fn neighbour() -> TenantId {
    let mut others = (1..).map(TenantId::from_bits);
    let same = others.find(|other| Partition::of(*other) == Partition::of(TENANT));
    same.expect("there are only 64 partitions")
}

/// Both tenants have published an event `here`, whose memory nobody `there` shares.
struct Shared {
    store: Shaky,
    here: Replica,
    there: Replica,
    /// Where the neighbour's event is.
    segment: Option<SegmentId>,
}

impl Shared {
    async fn new() -> Self {
        let store = Shaky::new(0);
        let here = Replica::start(store.sound(), config()).await;
        let there = Replica::start(Arc::new(store.clone()), config()).await;
        let mut segment = None;
        for tenant in [TENANT, neighbour()] {
            let here = here.of(tenant);
            let shared = |wire: &mut v1::Subscription| wire.pool = "platform/default".to_owned();
            here.subscribe_with(shared).await;
            let published = here.publish(1).await;
            segment = published[0].clone().expect("accepted").event_id.segment();
        }
        Self {
            store,
            here,
            there,
            segment,
        }
    }

    /// An agent of both.
    async fn agent(&self) -> Agent {
        let agents = principal(Role::Agent(pool(TenantId::PLATFORM)));
        Agent::connect_by(&self.there, agents, hello(1, 100))
            .await
            .0
    }

    /// Takes one delivery, which is this tenant's.
    async fn deliver(agent: &mut Agent, tenant: TenantId) {
        let work = agent.work().await;
        let tenants = work.settings.iter().map(|settings| &settings.tenant_id);
        assert_eq!(tenants.collect::<Vec<_>>(), [&tenant.to_string()]);
        assert_eq!(work.deliveries.len(), 1);
        agent.answer(&work, 200).await;
        agent.acknowledged().await;
    }
}

#[tokio::test]
async fn a_tenant_whose_catalog_cannot_be_read_waits_and_holds_nobody_up() {
    let shared = Shared::new().await;
    let faults = &shared.store.faults;
    *faults.unreadable.lock() = Some(neighbour());
    let began = Instant::now();
    let mut agent = shared.agent().await;
    Shared::deliver(&mut agent, TENANT).await;
    patient("another try", faults.unread.reaches(3)).await;
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1_500), "3 tries in {took:?}");

    *faults.unreadable.lock() = None;
    Shared::deliver(&mut agent, neighbour()).await;
    shared.here.settled().await;
}

#[tokio::test]
async fn a_segment_that_cannot_be_read_waits_and_holds_no_other_up() {
    let shared = Shared::new().await;
    let faults = &shared.store.faults;
    *faults.corrupt_segment.lock() = shared.segment;
    let mut agent = shared.agent().await;
    Shared::deliver(&mut agent, TENANT).await;
    *faults.corrupt_segment.lock() = None;
    Shared::deliver(&mut agent, neighbour()).await;
    shared.here.settled().await;
}

#[tokio::test]
async fn an_event_whose_record_is_corrupt_ends_dead_and_says_so() {
    let store = Shaky::new(0);
    let here = Replica::start(store.sound(), config()).await;
    let there = Replica::start(Arc::new(store.clone()), config()).await;
    let mut watch = there.engine.watch(TENANT);
    here.subscribe().await;
    here.publish(1).await;
    store.faults.garbled.store(true, Ordering::SeqCst);
    let (_agent, _) = Agent::connect(&there, hello(1, 100)).await;
    let item = patient("the end", watch.recv()).await.expect("not lagging");
    let entry = AttemptEntry::decode(item.record).expect("a record");
    assert_eq!(
        (entry.state, &*entry.reason),
        (DeliveryState::Dead, reason::EVENT_UNREADABLE)
    );
    there.settled().await;
}

#[tokio::test]
async fn what_follows_an_unreadable_reply_is_not_taken_for_a_repetition() {
    let store = Shaky::new(0);
    let replica = Replica::start(Arc::new(store.clone()), config()).await;
    replica.subscribe().await;
    store.faults.published_unread.store(true, Ordering::SeqCst);
    let lost = replica.publish(1).await;
    assert!(matches!(lost[0], Err(PublishError::Refused { .. })));
    let published = replica.publish(1).await;
    published[0].clone().expect("accepted");
    let (mut agent, _) = Agent::connect(&replica, hello(1, 1)).await;
    for _ in 0..2 {
        let work = agent.work().await;
        agent.answer(&work, 200).await;
    }
    replica.settled().await;
}

#[tokio::test]
async fn deliveries_wait_for_a_signing_key_that_opens_and_hold_no_other_up() {
    let replica = Replica::start(Arc::new(Model::new()), config()).await;
    let (sound, bad) = (replica.subscribe().await, replica.subscribe().await);
    replica.seal_elsewhere(bad.subscription.id).await;
    replica.publish(1).await;
    let (mut agent, _) = Agent::connect(&replica, hello(1, 100)).await;
    let only = async |agent: &mut Agent, id: SubscriptionId| {
        let work = agent.work().await;
        let named = work.settings.iter().map(|one| &one.subscription_id);
        assert_eq!(named.collect::<Vec<_>>(), [&id.to_string()]);
        let signing = work.settings[0].signing.as_ref();
        assert_eq!(signing.expect("always there").secrets.len(), 1);
        agent.answer(&work, 200).await;
        agent.acknowledged().await;
    };
    only(&mut agent, sound.subscription.id).await;
    let admin = principal(Role::Admin);
    let id = bad.subscription.id;
    let rotated = replica
        .subscriptions
        .rotate(&admin, id, None, "", Duration::ZERO);
    rotated.await.expect("another key");
    only(&mut agent, id).await;
    replica.settled().await;
}
