//! Dispatch from publish to settle: real workers and sessions over the model store,
//! with the agent's side of the stream played by the tests.

mod adopting;
mod faults;
mod harness;
mod partly;
mod pauses;
mod sessions;
mod settling;
mod shaky;
mod unreadable;

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use harness::{Agent, Replica, TENANT, config, event_of, hello, patient, principal};
use shaky::Shaky;
use sidehook_api::{
    agent_v1::{
        Heartbeat, Hello, LeaseOutcomes, Outcome, Outcomes, Renew, connect_request,
        connect_response,
    },
    record::AttemptEntry,
};
use sidehook_control::engine::{DispatchConfig, PublishError};
use sidehook_core::{
    delivery::{DeliveryState, reason},
    id::AgentId,
    outcome::Blame,
    principal::Role,
};
use sidehook_store::{Store, model::Model};

fn model() -> Arc<dyn Store> {
    Arc::new(Model::new())
}

#[tokio::test]
async fn an_event_is_lent_with_its_settings_settled_and_acknowledged() {
    let replica = Replica::start(model(), config()).await;
    let keyed = replica.subscribe().await;
    let mut watch = replica.engine.watch(TENANT);
    let (mut agent, welcome) = Agent::connect(&replica, hello(1, 100)).await;
    assert_eq!((welcome.lease_ms, welcome.heartbeat_ms), (30_000, 5_000));
    let published = replica.publish(2).await;
    let first = published[0].clone().expect("accepted");
    assert_eq!((first.duplicate, first.matched), (false, 1));

    let assign = agent.work().await;
    assert_eq!(assign.settings.len(), 1);
    assert_eq!(
        assign.settings[0].subscription_id,
        keyed.subscription.id.to_string()
    );
    assert_eq!(assign.settings[0].key, assign.deliveries[0].settings_key);
    assert_eq!(event_of(&assign, 0).id, first.event_id.to_string());
    assert_eq!(&event_of(&assign, 0).data[..], b"{\"number\":0}");
    assert_eq!(assign.deliveries[0].attempt, 1);
    agent.answer(&assign, 204).await;
    assert_eq!(agent.acknowledged().await.watermark, 1);
    replica.settled().await;

    let item = patient("a watched attempt", watch.recv())
        .await
        .expect("not lagging");
    let entry = AttemptEntry::decode(item.record).expect("a record");
    assert_eq!(
        (entry.delivery_id, entry.state),
        (item.delivery, DeliveryState::Delivered)
    );
    let told = AgentId::from_slice(&welcome.agent_id);
    assert_eq!(told, entry.attempt.map(|attempt| attempt.agent_id));

    replica.publish(1).await;
    let again = agent.work().await;
    assert!(again.settings.is_empty(), "the agent has them");
    let admin = principal(Role::Admin);
    let change = replica.subscriptions.rotate(
        &admin,
        keyed.subscription.id,
        None,
        "",
        Duration::from_secs(60),
    );
    change.await.expect("a new key");
    replica.publish(1).await;
    let changed = agent.work().await;
    assert_eq!(changed.settings[0].replaces, assign.settings[0].key);
    assert_eq!(
        changed.settings[0]
            .signing
            .as_ref()
            .map(|it| it.secrets.len()),
        Some(2)
    );
}

/// Works until `wanted` deliveries were assigned; counts them by id.
async fn work_off(agent: &mut Agent, wanted: usize) -> HashMap<Vec<u8>, u32> {
    let mut seen: HashMap<Vec<u8>, u32> = HashMap::new();
    while seen.len() < wanted {
        let assign = agent.work().await;
        for delivery in &assign.deliveries {
            *seen.entry(delivery.delivery_id.to_vec()).or_default() += 1;
        }
        agent.answer(&assign, 200).await;
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shaky_store_loses_and_repeats_nothing() {
    let store = Shaky::new(50);
    let replica = Replica::start(Arc::new(store.clone()), config()).await;
    replica.subscribe().await;
    let (mut agent, _) = Agent::connect(&replica, hello(1, 300)).await;
    let publish = async {
        let mut accepted = 0;
        for size in [1, 3, 64, 128, 300, 500, 4] {
            let published = replica.publish(size).await;
            accepted += published.iter().filter(|outcome| outcome.is_ok()).count();
        }
        accepted
    };
    let (accepted, seen) = tokio::join!(publish, work_off(&mut agent, 1_000));
    assert_eq!(accepted, 1_000);
    assert!(
        seen.values().all(|count| *count == 1),
        "nothing is lent twice"
    );
    replica.settled().await;
    assert!(
        store.failed() > 5,
        "the store failed only {} times",
        store.failed()
    );
}

#[tokio::test]
async fn while_the_store_is_away_publishers_are_told_and_agents_stay() {
    let store = Shaky::new(0);
    let short = DispatchConfig {
        publish_deadline: Duration::from_millis(200),
        waiting_events: 5,
        ..config()
    };
    let replica = Replica::start(Arc::new(store.clone()), short).await;
    replica.subscribe().await;
    let (mut agent, _) = Agent::connect(&replica, hello(1, 100)).await;
    store.set_away(true);
    let publish = async {
        // The first ones wait in vain; then there is no room any more.
        replica.publish(4).await
    };
    let (first, second) = tokio::join!(publish, async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        replica.publish(4).await
    });
    let maybe = |outcome: &Result<_, PublishError>| {
        matches!(
            outcome,
            Err(PublishError::Unavailable {
                maybe_stored: true,
                ..
            })
        )
    };
    assert!(first.iter().all(maybe), "{first:?}");
    let refused = |outcome: &Result<_, _>| matches!(outcome, Err(PublishError::Overloaded { .. }));
    assert!(second.iter().all(refused), "{second:?}");
    let beat = Heartbeat {
        number: 77,
        in_flight: 0,
    };
    agent.send(connect_request::Frame::Heartbeat(beat)).await;
    assert_eq!(
        agent.next().await,
        Some(connect_response::Frame::Heartbeat(beat))
    );
    store.set_away(false);
    // What was said to be unknown turns out to be stored: once each.
    assert_eq!(work_off(&mut agent, 4).await.values().sum::<u32>(), 4);
    replica.settled().await;
}

#[tokio::test]
async fn a_session_goes_on_at_another_replica() {
    let store = model();
    let here = Replica::start(Arc::clone(&store), config()).await;
    let there = Replica::start(store, config()).await;
    here.subscribe().await;
    let (mut agent, _) = Agent::connect(&here, hello(1, 2)).await;
    here.publish(4).await;
    let kept = agent.work().await;
    assert_eq!(kept.deliveries.len(), 2, "no more than the capacity");
    agent.report(kept.lease.clone(), vec![0], 200).await;
    agent.acknowledged().await;
    // One more is lent for the credit that came back, and is lost with the stream.
    let lost = agent.work().await;
    drop(agent);

    let again = Hello {
        closed_session_ids: vec![1],
        held_leases: vec![kept.lease.clone(), b"nonsense".to_vec().into()],
        held_deliveries: 1,
        ..hello(2, 2)
    };
    let (mut agent, welcome) = Agent::connect(&there, again).await;
    assert_eq!(welcome.dead_leases, [&b"nonsense"[..]]);
    let released = agent.work().await;
    assert_eq!(
        released.deliveries.len(),
        1,
        "the held one counts against the capacity"
    );
    assert_eq!(
        released.deliveries[0].delivery_id,
        lost.deliveries[0].delivery_id
    );
    agent.report(kept.lease.clone(), vec![0, 1], 200).await;
    agent.answer(&released, 200).await;
    let last = agent.work().await;
    agent.answer(&last, 200).await;
    there.settled().await;
}

#[tokio::test]
async fn another_token_cannot_name_somebody_elses_agent_or_lease() {
    let replica = Replica::start(model(), config()).await;
    replica.subscribe().await;
    let (mut agent, _) = Agent::connect(&replica, hello(1, 100)).await;
    replica.publish(1).await;
    let assign = agent.work().await;
    let thief = Hello {
        closed_session_ids: vec![1],
        held_leases: vec![assign.lease.clone()],
        held_deliveries: 1,
        ..hello(2, 100)
    };
    let (mut thief, welcome) = Agent::connect_as(&replica, "key_other", thief).await;
    assert_eq!(welcome.dead_leases, [&assign.lease[..]]);
    thief.answer(&assign, 200).await;
    assert_eq!(
        thief.acknowledged().await.watermark,
        1,
        "void, so there is nothing to keep"
    );
    assert_eq!(
        replica.inspect().await.leased.len(),
        1,
        "still the first agent's"
    );
    let renewal = Renew {
        leases: vec![assign.lease.clone()],
    };
    thief
        .send(connect_request::Frame::Renew(renewal.clone()))
        .await;
    match thief.next().await {
        Some(connect_response::Frame::Renewed(renewed)) => {
            assert_eq!(renewed.dead_leases, [&assign.lease[..]]);
        }
        other => panic!("not renewed: {other:?}"),
    }
    agent.send(connect_request::Frame::Renew(renewal)).await;
    match agent.next().await {
        Some(connect_response::Frame::Renewed(renewed)) => {
            assert_eq!(renewed.leases, [&assign.lease[..]]);
            assert_eq!(renewed.stamp, 2);
        }
        other => panic!("not renewed: {other:?}"),
    }
    agent.answer(&assign, 200).await;
    replica.settled().await;
}

#[tokio::test]
async fn what_loses_its_lease_again_and_again_is_dead_by_the_platforms_fault() {
    let short = DispatchConfig {
        lease: Duration::from_millis(30),
        ..config()
    };
    let replica = Replica::start(model(), short).await;
    replica.subscribe().await;
    let mut watch = replica.engine.watch(TENANT);
    let (mut agent, _) = Agent::connect(&replica, hello(1, 100)).await;
    replica.publish(1).await;
    for _ in 0..5 {
        assert_eq!(agent.work().await.deliveries.len(), 1);
    }
    let item = patient("the end", watch.recv()).await.expect("not lagging");
    let entry = AttemptEntry::decode(item.record).expect("a record");
    assert_eq!(
        (entry.state, &*entry.reason),
        (DeliveryState::Dead, reason::LEASES_LOST)
    );
    let blame = entry.attempt.and_then(|attempt| attempt.blame());
    assert_eq!(blame, Some(Blame::Platform));
    replica.settled().await;
}

#[tokio::test]
async fn what_was_lent_for_a_deleted_subscription_is_cancelled_or_ends() {
    let replica = Replica::start(model(), config()).await;
    let keyed = replica.subscribe().await;
    replica.publish(3).await;
    let (mut agent, _) = Agent::connect(&replica, hello(1, 1)).await;
    let assign = agent.work().await;
    assert_eq!(assign.deliveries.len(), 1);
    let deleted = replica
        .subscriptions
        .delete(&principal(Role::Admin), keyed.subscription.id, None)
        .await;
    deleted.expect("it was there");
    agent.answer(&assign, 500).await;
    assert_eq!(agent.acknowledged().await.watermark, 1);
    replica.settled().await;
}

#[tokio::test]
async fn an_agent_that_breaks_the_protocol_is_sent_away() {
    let replica = Replica::start(model(), config()).await;
    let (mut agent, _) = Agent::connect(&replica, hello(1, 10)).await;
    let gap = Outcomes {
        sequence: 2,
        leases: vec![],
    };
    agent.send(connect_request::Frame::Outcomes(gap)).await;
    let end = patient("the end", agent.outgoing.next())
        .await
        .expect("an answer");
    assert_eq!(
        end.expect_err("an error").code(),
        tonic::Code::InvalidArgument
    );

    let (mut agent, _) = Agent::connect(&replica, hello(2, 10)).await;
    let empty = Outcomes {
        sequence: 1,
        leases: vec![LeaseOutcomes {
            lease: vec![0; 32].into(),
            outcomes: vec![Outcome {
                position: u32::MAX,
                ..Outcome::default()
            }],
        }],
    };
    agent.send(connect_request::Frame::Outcomes(empty)).await;
    assert_eq!(
        agent.acknowledged().await.watermark,
        1,
        "void, and acknowledged"
    );
}

#[tokio::test]
async fn a_drain_lets_the_agent_report_and_then_ends() {
    let short = DispatchConfig {
        drain: Duration::from_millis(300),
        ..config()
    };
    let replica = Replica::start(model(), short).await;
    replica.subscribe().await;
    let (mut agent, _) = Agent::connect(&replica, hello(1, 100)).await;
    replica.publish(1).await;
    let assign = agent.work().await;
    replica.drain.drain("test");
    match agent.next().await {
        Some(connect_response::Frame::Drain(drain)) => assert_eq!(drain.deadline_ms, 300),
        other => panic!("not Drain: {other:?}"),
    }
    agent.answer(&assign, 200).await;
    assert_eq!(agent.acknowledged().await.watermark, 1);
    assert!(matches!(
        agent.next().await,
        Some(connect_response::Frame::GoAway(_))
    ));
    assert_eq!(agent.next().await, None);
    replica.settled().await;
}
