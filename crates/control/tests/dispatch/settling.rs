//! Outcomes that spoil a call spoil no others.

use std::sync::Arc;

use sidehook_api::agent_v1::Hello;
use sidehook_session::server_end::LeaseRef;
use sidehook_store::turn::LeaseId;

use crate::{
    harness::{Agent, Replica, config, hello, patient},
    shaky::Shaky,
};

#[tokio::test]
async fn one_delivery_reported_on_two_streams_is_settled_once_and_spoils_nothing() {
    let store = Shaky::new(0);
    let replica = Replica::start(Arc::new(store.clone()), config()).await;
    replica.subscribe().await;
    replica.publish(3).await;
    let (mut agent, _) = Agent::connect(&replica, hello(1, 3)).await;
    let work = agent.work().await;
    assert_eq!(work.deliveries.len(), 3);

    store.set_away(true);
    agent.report(work.lease.clone(), vec![0], 200).await;
    patient("a settle in vain", store.faults.unsettled.reaches(1)).await;
    agent.report(work.lease.clone(), vec![1], 200).await;
    agent.heard().await;
    drop(agent);

    let again = Hello {
        closed_session_ids: vec![1],
        held_leases: vec![work.lease.clone()],
        held_deliveries: 3,
        ..hello(2, 3)
    };
    let (mut agent, welcome) = Agent::connect(&replica, again).await;
    assert!(welcome.dead_leases.is_empty());
    agent.report(work.lease.clone(), vec![0, 1, 2], 200).await;
    agent.heard().await;
    store.set_away(false);
    assert_eq!(agent.acknowledged().await.watermark, 1);
    assert_eq!(replica.inspect().await.leased, [], "nothing is left lent");
    replica.settled().await;
}

#[tokio::test]
async fn outcomes_that_the_store_refuses_fail_alone() {
    let store = Shaky::new(0);
    let replica = Replica::start(Arc::new(store.clone()), config()).await;
    replica.subscribe().await;
    let (mut agent, _) = Agent::connect(&replica, hello(1, 100)).await;
    let mut leases = Vec::new();
    for _ in 0..3 {
        replica.publish(1).await;
        leases.push(agent.work().await.lease);
    }
    let poison = LeaseRef::from_slice(&leases[1]).expect("a lease");
    *store.faults.poison.lock() = Some(LeaseId(poison.id));
    let reported = leases.into_iter().map(|lease| (lease, vec![0]));
    agent.report_all(reported.collect(), 200).await;
    assert_eq!(agent.acknowledged().await.watermark, 1);
    let leased = replica.inspect().await.leased;
    assert_eq!(leased.len(), 1, "the others are settled");
}
