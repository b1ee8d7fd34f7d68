//! Where deliveries stand, step by step through the store.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

mod support;

use std::time::Duration;

use sidehook_api::{
    record::{AttemptEntry, encode_retry},
    v1,
};
use sidehook_core::{
    address::{DeliveryId, Lane, Partition, Sequence},
    delivery::{Attempt, DeliveryState, reason},
    id::{AgentId, TenantId},
    outcome::AttemptError,
    pool::PoolName,
    retry::RetryState,
    time::Timestamp,
};
use sidehook_store::{
    Stamp, Store as _, Turn,
    turn::{Calls, Claim, Demand, Disposition, Grant, Holder, LeaseSettle, Settle, SettleItem},
};
use support::{Api, assert_reason, event, start, subscription, with};
use tonic::Code;

const AGENT: AgentId = AgentId::from_bits(5);
const TOKEN: u128 = 77;

/// An agent reduced to its calls of the store.
struct Hands<'a> {
    api: &'a Api,
    tenant: TenantId,
    sequence: Sequence,
}

impl Hands<'_> {
    fn stamp(&mut self) -> Stamp {
        let sequence = self.sequence;
        self.sequence = sequence.next().unwrap();
        Stamp {
            lane: Lane::from_random(12_345),
            sequence,
        }
    }

    async fn claim(&mut self) -> Grant {
        self.try_claim().await.expect("something is due")
    }

    async fn try_claim(&mut self) -> Option<Grant> {
        let demand = Demand {
            pool: PoolName::default().resolve(self.tenant),
            holder: Holder {
                agent: AGENT,
                session: 1,
            },
            max_deliveries: 1,
            per_tenant: u32::MAX,
            shares: Vec::new(),
            lease: Duration::from_secs(600),
            token: TOKEN,
        };
        let mut calls = Calls::new(Partition::of(self.tenant));
        let demands = vec![demand];
        calls.claim = Some((self.stamp(), Claim { demands }));
        let turn = Turn {
            now: None,
            calls: vec![calls],
        };
        let reply = self.api.store.turn(0, &turn).await.unwrap();
        let claimed = reply.calls[0].claim.clone().unwrap().unwrap();
        claimed.grants[0].clone()
    }

    async fn settle(&mut self, grant: &Grant, disposition: Disposition) {
        let run = &grant.runs[0];
        let item = SettleItem {
            position: 0,
            tenant: self.tenant,
            subscription: run.subscription,
            segment: run.segment,
            index: run.indices[0],
            generation: run.generation,
            disposition,
            mark: None,
        };
        let lease = LeaseSettle {
            lease: grant.lease,
            token: TOKEN,
            items: vec![item],
        };
        let mut calls = Calls::new(Partition::of(self.tenant));
        let leases = vec![lease];
        calls.settle = Some((self.stamp(), Settle { leases }));
        let turn = Turn {
            now: None,
            calls: vec![calls],
        };
        let reply = self.api.store.turn(0, &turn).await.unwrap();
        let settled = reply.calls[0].settle.clone().unwrap().unwrap();
        assert_eq!(settled.stale, [Vec::<u16>::new()]);
    }

    async fn get(&self, id: &str) -> v1::Delivery {
        let request = v1::GetDeliveryRequest { id: id.into() };
        let answer = self
            .api
            .deliveries()
            .get_delivery(with(&self.api.admin, request))
            .await;
        answer.unwrap().into_inner().delivery.unwrap()
    }
}

fn record(id: DeliveryId, number: u32, state: DeliveryState, reason: &str) -> bytes::Bytes {
    let failed = state != DeliveryState::Delivered;
    AttemptEntry {
        delivery_id: id,
        state,
        attempt: Some(Attempt {
            number,
            started_at: Timestamp::from_millis(1_000),
            duration: Duration::from_millis(5),
            agent_id: AGENT,
            response_status: if failed { 500 } else { 200 },
            response_body: "body".into(),
            error: failed.then_some(AttemptError::Status),
            error_detail: String::new(),
        }),
        reason: reason.into(),
        next_attempt_at: None,
    }
    .encode()
}

#[tokio::test]
async fn a_delivery_is_shown_as_it_stands_and_delivered_again_when_asked() {
    let api = start().await;
    api.create(subscription()).await.unwrap();
    let published = api.publish(event()).await.unwrap();
    let listed = api.deliveries_of(Default::default()).await;
    let id = listed[0].id.clone();
    assert_eq!(listed[0].event_id, published.event_id);
    assert_eq!(listed[0].state(), v1::DeliveryState::Queued);
    let mut hands = Hands {
        api: &api,
        tenant: api.tenant.parse().unwrap(),
        sequence: Sequence::FIRST,
    };
    let grant = hands.claim().await;
    assert_eq!(hands.get(&id).await.state(), v1::DeliveryState::InFlight);

    let typed: DeliveryId = id.parse().unwrap();
    let at = api.store.now().await.unwrap() + Duration::from_millis(20);
    let state = RetryState {
        attempts: 1,
        first_attempt_at: Some(Timestamp::from_millis(1_000)),
        attempts_in_all: 1,
    };
    let retry = Disposition::Retry {
        at,
        retry: encode_retry(&state),
        record: record(typed, 1, DeliveryState::Retrying, ""),
    };
    hands.settle(&grant, retry).await;
    let waiting = hands.get(&id).await;
    assert_eq!(waiting.attempt_count, 1);
    assert_eq!(waiting.attempts[0].response_status, 500);
    assert!(matches!(
        waiting.state(),
        v1::DeliveryState::Retrying | v1::DeliveryState::Queued
    ));

    // The engine's ticks put it into its queue when it is due.
    let grant = loop {
        let tried = hands.try_claim().await;
        if let Some(grant) = tried {
            break grant;
        }
        tokio::task::yield_now().await;
    };
    let dead = Disposition::End {
        record: record(typed, 2, DeliveryState::Dead, reason::EXHAUSTED),
    };
    hands.settle(&grant, dead).await;
    let ended = hands.get(&id).await;
    assert_eq!(ended.state(), v1::DeliveryState::Dead);
    assert_eq!(
        (&*ended.reason, ended.attempt_count),
        (reason::EXHAUSTED, 2)
    );

    deliver_again(&mut hands, &id).await;
}

/// Asks for what has ended to be delivered once more, and does so.
async fn deliver_again(hands: &mut Hands<'_>, id: &str) {
    let api = hands.api;
    let retry = v1::RetryDeliveryRequest { id: id.into() };
    let answer = api
        .deliveries()
        .retry_delivery(with(&api.admin, retry.clone()))
        .await;
    let again = answer.unwrap().into_inner().delivery.unwrap();
    assert_eq!(
        (again.generation, again.state()),
        (1, v1::DeliveryState::Queued)
    );
    assert_ne!(again.id, id);
    assert_eq!(hands.get(&again.id).await, again);
    let answer = api
        .deliveries()
        .retry_delivery(with(&api.admin, retry))
        .await;
    assert_reason(answer, Code::FailedPrecondition, "DELIVERY_NOT_ENDED");
    assert_eq!(api.deliveries_of(Default::default()).await.len(), 2);
    let grant = hands.claim().await;
    let delivered = Disposition::End {
        record: record(again.id.parse().unwrap(), 1, DeliveryState::Delivered, ""),
    };
    hands.settle(&grant, delivered).await;
    let states = api.deliveries_of(Default::default()).await;
    let states: Vec<_> = states.iter().map(v1::Delivery::state).collect();
    assert_eq!(
        states,
        [v1::DeliveryState::Dead, v1::DeliveryState::Delivered]
    );
    let state = v1::DeliveryState::Delivered.into();
    let only = v1::ListDeliveriesRequest {
        state,
        ..Default::default()
    };
    let only = api.deliveries_of(only).await;
    assert_eq!((only.len(), &only[0].id), (1, &again.id));
    assert!(only[0].attempts.is_empty(), "lists are without attempts");
}

#[tokio::test]
async fn a_watch_tells_when_the_next_attempt_is_due() {
    let api = start().await;
    api.create(subscription()).await.unwrap();
    api.publish(event()).await.unwrap();
    let mut hands = Hands {
        api: &api,
        tenant: api.tenant.parse().unwrap(),
        sequence: Sequence::FIRST,
    };
    let grant = hands.claim().await;
    let request = v1::WatchDeliveriesRequest::default();
    let mut deliveries = api.deliveries();
    let watch = deliveries.watch_deliveries(with(&api.admin, request));
    let mut watch = watch.await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().unwrap().delivery.is_none());

    let id = api.deliveries_of(Default::default()).await[0].id.clone();
    let at = api.store.now().await.unwrap() + Duration::from_secs(60);
    let first = record(id.parse().unwrap(), 1, DeliveryState::Retrying, "");
    let entry = AttemptEntry {
        next_attempt_at: Some(at),
        ..AttemptEntry::decode(first).unwrap()
    };
    let retry = Disposition::Retry {
        at,
        retry: encode_retry(&RetryState::default()),
        record: entry.encode(),
    };
    hands.settle(&grant, retry).await;
    let told = watch.message().await.unwrap().unwrap().delivery.unwrap();
    assert_eq!(told.state(), v1::DeliveryState::Retrying);
    assert!(told.next_attempt_at.is_some());
    assert_eq!(told.next_attempt_at, hands.get(&id).await.next_attempt_at);
}
