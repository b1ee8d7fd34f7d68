//! How sessions begin, end and take over from one another.

use std::{sync::Arc, time::Duration};

use sidehook_api::agent_v1::{Hello, Renew, connect_request, connect_response};
use sidehook_core::{
    limits::{CALL_RECORDS, CLOSED_SESSIONS_MAX},
    principal::{Principal, Role},
};
use sidehook_store::StoreError;
use tonic::Code;

use crate::{
    harness::{Agent, Replica, TENANT, config, hello, patient, pool, principal},
    shaky::Shaky,
};

fn agents() -> Principal {
    principal(Role::Agent(pool(TENANT)))
}

/// A Hello after these sessions.
fn after(closed: Vec<u64>, session: u64) -> Hello {
    Hello {
        closed_session_ids: closed,
        ..hello(session, 10)
    }
}

async fn start() -> (Shaky, Replica) {
    let store = Shaky::new(0);
    let replica = Replica::start(Arc::new(store.clone()), config()).await;
    replica.subscribe().await;
    (store, replica)
}

#[tokio::test]
async fn what_is_lent_to_a_session_that_was_closed_meanwhile_goes_back() {
    let (store, replica) = start().await;
    let faults = &store.faults;
    replica.publish(1).await;
    faults.presence.set_open(false);
    faults.claims.set_open(false);
    let (mut old, _) = Agent::connect(&replica, hello(1, 10)).await;
    patient("a claim", faults.claiming.reaches(1)).await;

    let (mut new, _) = Agent::connect(&replica, after(vec![1], 2)).await;
    new.heard().await;
    faults.claims.set_open(true);
    let work = new.work().await;
    new.answer(&work, 200).await;
    faults.presence.set_open(true);
    let end = old.end().await.expect("an error");
    assert_eq!(end.code(), Code::Aborted);
    replica.settled().await;
}

#[tokio::test]
async fn a_session_that_is_being_accepted_can_be_closed() {
    let (store, replica) = start().await;
    let faults = &store.faults;
    faults.releases.set_open(false);
    let mut old = Agent::dial(&replica, agents(), after(vec![7], 1)).await;
    let mut new = Agent::dial(&replica, agents(), after(vec![1], 2)).await;
    let both = async {
        while faults.released.lock().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    patient("both to wait", both).await;
    faults.releases.set_open(true);
    let end = old.end().await.expect("an error");
    assert_eq!(end.code(), Code::Aborted);
    assert!(matches!(
        new.next().await,
        Some(connect_response::Frame::Welcome(_))
    ));
    new.heard().await;
}

#[tokio::test]
async fn closed_sessions_are_bounded_and_each_is_released_once() {
    let (store, replica) = start().await;
    let many = (1..=CLOSED_SESSIONS_MAX as u64 + 1).collect();
    let mut agent = Agent::dial(&replica, agents(), after(many, 100)).await;
    let end = agent.end().await.expect("an error");
    assert_eq!(end.code(), Code::InvalidArgument);

    let repeated = vec![5; CLOSED_SESSIONS_MAX];
    let (_agent, _) = Agent::connect(&replica, after(repeated, 101)).await;
    let released = store.faults.released.lock().clone();
    assert_eq!(released.len(), 1);
}

#[tokio::test]
async fn a_lease_is_renewed_once_however_often_it_is_named_and_in_calls_of_bounded_size() {
    let (store, replica) = start().await;
    let count = CALL_RECORDS + 1;
    let (mut agent, _) = Agent::connect(&replica, hello(1, count as u32)).await;
    let mut leases = Vec::new();
    for _ in 0..count {
        replica.publish(1).await;
        leases.push(agent.work().await.lease);
    }
    let repeated = leases.iter().chain(&leases).cloned();
    let renewal = Renew {
        leases: repeated.collect(),
    };
    agent.send(connect_request::Frame::Renew(renewal)).await;
    match agent.next().await {
        Some(connect_response::Frame::Renewed(renewed)) => assert!(renewed.leases == leases),
        other => panic!("not renewed: {other:?}"),
    }
    assert_eq!(*store.faults.renewals.lock(), [CALL_RECORDS, 1]);
}

#[tokio::test]
async fn an_agent_is_not_told_how_the_store_fails() {
    let (store, replica) = start().await;
    let unavailable = StoreError::Unavailable {
        detail: "10.0.0.7:6379 refused".to_owned(),
        retry_after: Duration::from_secs(2),
    };
    let corrupt = StoreError::Corrupt {
        detail: "a secret place".to_owned(),
    };
    let (mut agent, _) = Agent::connect(&replica, hello(1, 10)).await;
    replica.publish(1).await;
    let lease = agent.work().await.lease;
    drop(agent);
    for (error, code) in [(unavailable, Code::Unavailable), (corrupt, Code::Internal)] {
        *store.faults.leases.lock() = Some(error);
        let holding = Hello {
            held_leases: vec![lease.clone()],
            ..hello(2, 10)
        };
        let mut agent = Agent::dial(&replica, agents(), holding).await;
        let end = agent.end().await.expect("an error");
        assert_eq!(end.code(), code);
        let told = end.message();
        assert!(
            !told.contains("10.0.0.7") && !told.contains("secret"),
            "{told}"
        );
    }
}
