//! A store of which a part is away, as when a node of a Cluster is replaced: what it has
//! of other partitions goes on as if nothing were amiss.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sidehook_api::v1;
use sidehook_control::engine::{DispatchConfig, PublishError, PublishOutcome};
use sidehook_core::{address::Partition, id::TenantId, principal::Role};

use crate::{
    faults::bit,
    harness::{Agent, Replica, TENANT, config, hello, patient, pool, principal},
    shaky::Shaky,
};

/// A tenant of another partition than [`TENANT`].
fn elsewhere() -> TenantId {
    let here = Partition::of(TENANT);
    let mut others = (1..).map(TenantId::from_bits);
    let other = others.find(|other| Partition::of(*other) != here);
    other.expect("there are many partitions")
}

/// Takes all partitions away but that of [`TENANT`], and waits until that is known.
async fn lose_all_but_one(store: &Shaky) {
    let missing = !bit(Partition::of(TENANT));
    store.faults.missing.store(missing, Ordering::SeqCst);
    patient("the loss to be seen", store.faults.missed(missing)).await;
}

async fn to_the_platforms_pool(replica: &Replica) {
    let platforms = |wire: &mut v1::Subscription| wire.pool = "platform/default".to_owned();
    replica.subscribe_with(platforms).await;
}

/// Deliveries that an agent has in its hands once it has so many.
async fn in_hands(agent: &mut Agent, wanted: usize) -> usize {
    let mut count = 0;
    while count < wanted {
        count += agent.work().await.deliveries.len();
    }
    count
}

#[tokio::test]
async fn partitions_that_are_away_keep_no_credit_from_the_others() {
    let store = Shaky::new(0);
    let replica = Replica::start(Arc::new(store.clone()), config()).await;
    let other = replica.of(elsewhere());
    to_the_platforms_pool(&replica).await;
    to_the_platforms_pool(&other).await;
    lose_all_but_one(&store).await;
    // Whatever a shared agent may be asked for is due when it comes.
    let agents = principal(Role::Agent(pool(TenantId::PLATFORM)));
    let (mut agent, _) = Agent::connect_by(&replica, agents, hello(1, 64)).await;
    let published = replica.publish(100).await;
    assert!(published.iter().all(Result::is_ok), "{published:?}");
    // One tenant has half of an agent at most, and nearly that when nothing is set aside
    // for others.
    let had = in_hands(&mut agent, 24).await;
    assert!((24..=32).contains(&had), "{had}");
    assert_eq!(store.faults.missed_claims.now(), 0);

    store.faults.missing.store(0, Ordering::SeqCst);
    let published = other.publish(4).await;
    assert!(published.iter().all(Result::is_ok), "{published:?}");
    let had = in_hands(&mut agent, 4).await;
    assert_eq!(had, 4, "what is back is claimed from");
}

#[tokio::test]
async fn what_waits_in_vain_for_a_part_leaves_room_and_gives_it_back() {
    let store = Shaky::new(0);
    let small = DispatchConfig {
        publish_deadline: Duration::from_millis(300),
        waiting_events: 300,
        ..config()
    };
    let replica = Replica::start(Arc::new(store.clone()), small).await;
    let other = replica.of(elsewhere());
    replica.subscribe().await;
    other.subscribe().await;
    lose_all_but_one(&store).await;
    let overloaded =
        |outcome: &PublishOutcome| matches!(outcome, Err(PublishError::Overloaded { .. }));
    let in_vain =
        |outcome: &PublishOutcome| matches!(outcome, Err(PublishError::Unavailable { .. }));
    // A hundred are in a call that stays unanswered, fifty wait behind it.
    assert!(other.publish(100).await.iter().all(in_vain));
    let (behind, more, sound) = tokio::join!(other.publish(50), other.publish(50), async {
        let sound = replica.publish(100).await;
        sound.iter().filter(|outcome| outcome.is_ok()).count()
    });
    assert!(behind.iter().all(in_vain), "{behind:?}");
    assert!(more.iter().all(overloaded), "half is the others'");
    assert_eq!(sound, 100);
    // Nobody waits for the fifty any more: others find their room.
    let room = async {
        while other.publish(50).await.iter().all(overloaded) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    patient("room behind the call", room).await;

    store.faults.missing.store(0, Ordering::SeqCst);
    let back = async {
        while !other.publish(1).await.iter().all(Result::is_ok) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    patient("the part to be back", back).await;
    assert!(other.publish(250).await.iter().all(Result::is_ok));
}
