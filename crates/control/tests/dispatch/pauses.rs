//! Ends of deliveries that pause their subscription.

use std::{sync::Arc, time::Duration};

use sidehook_api::v1;
use sidehook_control::subscriptions::Keyed;
use sidehook_core::subscription::{PauseReason, Status};

use crate::{
    harness::{Agent, Replica, TENANT, config, hello, patient},
    model,
    shaky::Shaky,
};

/// Waits until the subscription is not active any more; answers what it is.
async fn paused(replica: &Replica, keyed: &Keyed) -> Status {
    let paused = async {
        loop {
            let id = keyed.subscription.id;
            let now = replica.subscriptions.get(TENANT, id).await;
            let status = now.expect("it is there").subscription.status;
            if status != Status::Active {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    patient("the pause", paused).await
}

#[tokio::test]
async fn a_failure_is_tried_again_and_410_pauses() {
    let replica = Replica::start(model(), config()).await;
    let keyed = replica.subscribe().await;
    let (mut agent, _) = Agent::connect(&replica, hello(1, 100)).await;
    replica.publish(1).await;
    let first = agent.work().await;
    agent.answer(&first, 500).await;
    let second = agent.work().await;
    assert_eq!(second.deliveries[0].attempt, 2);
    assert_eq!(
        second.deliveries[0].delivery_id,
        first.deliveries[0].delivery_id
    );
    agent.answer(&second, 410).await;
    replica.settled().await;
    let reason = PauseReason::Gone;
    assert_eq!(paused(&replica, &keyed).await, Status::Paused { reason });
    let published = replica.publish(1).await;
    assert_eq!(published[0].clone().expect("accepted").matched, 0);
}

#[tokio::test]
async fn a_pause_that_is_asked_for_while_the_store_is_away_is_made_after_it() {
    let shaky = Shaky::new(0);
    let replica = Replica::start(Arc::new(shaky.clone()), config()).await;
    let keyed = replica.subscribe().await;
    let (mut agent, _) = Agent::connect(&replica, hello(1, 100)).await;
    replica.publish(1).await;
    let work = agent.work().await;
    shaky.set_away(true);
    agent.answer(&work, 410).await;
    // Each try writes twice.
    patient("another try", shaky.faults.unwritten.reaches(4)).await;
    shaky.set_away(false);
    let reason = PauseReason::Gone;
    assert_eq!(paused(&replica, &keyed).await, Status::Paused { reason });
    replica.settled().await;
}

#[tokio::test]
async fn the_last_attempt_pauses_where_the_policy_says_so() {
    let replica = Replica::start(model(), config()).await;
    let once = |action: v1::ExhaustionAction| {
        move |wire: &mut v1::Subscription| {
            let policy = wire.retry_policy.get_or_insert_default();
            policy.max_attempts = 1;
            policy.set_on_exhausted(action);
        }
    };
    let pausing = replica.subscribe_with(once(v1::ExhaustionAction::Pause));
    let pausing = pausing.await;
    let dropping = replica.subscribe_with(once(v1::ExhaustionAction::Drop));
    let dropping = dropping.await;
    let (mut agent, _) = Agent::connect(&replica, hello(1, 100)).await;
    for matched in [2, 1] {
        let published = replica.publish(1).await;
        assert_eq!(published[0].clone().expect("accepted").matched, matched);
        let mut owed = matched;
        while owed > 0 {
            let work = agent.work().await;
            owed -= work.deliveries.len() as u32;
            agent.answer(&work, 500).await;
        }
        replica.settled().await;
        let reason = PauseReason::Exhausted;
        assert_eq!(paused(&replica, &pausing).await, Status::Paused { reason });
    }
    let goes_on = replica.subscriptions.get(TENANT, dropping.subscription.id);
    let goes_on = goes_on.await.expect("it is there");
    assert!(goes_on.subscription.status.is_active());
}
