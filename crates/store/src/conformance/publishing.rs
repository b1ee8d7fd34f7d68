//! Publishing, and the repeating of calls.

use core::time::Duration;

use bytes::Bytes;
use sidehook_core::{
    address::{EventId, Lane, Sequence},
    id::SubscriptionNumber,
    limits::{CALL_PAIRS, CALL_RECORDS, IDEMPOTENCY_TTL},
};

use super::{
    choices::{TENANT, tenants},
    desk::{Desk, demand},
};
use crate::{
    error::CallError,
    port::Store,
    rules,
    turn::{
        Calls, Claim, EventPublished, Idempotency, Publish, Settle, Stamp, TenantPublish,
        TenantPublished,
    },
};

const fn key(key: u8, content: u8) -> Option<Idempotency> {
    Some(Idempotency {
        key: [key; 16],
        content: [content; 16],
    })
}

pub(super) async fn goes_to_its_targets(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 10).await;
    desk.subscribe(TENANT, 2, 10).await;
    // 9 does not exist: passed over.
    let events = desk.publish(TENANT, 2, &[1, 2, 9]).await;
    let mut lent = desk.claim(10).await;
    lent.sort_by_key(|one| (one.delivery.subscription(), one.delivery.index()));
    let seen: Vec<_> = lent
        .iter()
        .map(|one| (one.delivery.subscription().0, one.delivery.index()))
        .collect();
    assert_eq!(seen, [(1, 0), (1, 1), (2, 0), (2, 1)]);
    for one in &lent {
        assert_eq!(Some(one.segment), events[0].segment());
        assert_eq!((one.tenant, one.leases_lost), (TENANT, 0));
        assert_eq!((one.delivery.generation(), &one.retry), (0, &None));
    }
    desk.finish(&lent).await;
    assert_eq!(desk.counts().await, [0, 0, 0]);
}

pub(super) async fn stale_catalog_accepts_nothing_of_that_tenant(store: &dyn Store) {
    let mut desk = Desk::new(store);
    let others = tenants(false, 2);
    for tenant in &others {
        desk.subscribe(*tenant, 1, 10).await;
    }
    let stamp = desk.stamp();
    let mut call = Publish::default();
    for (place, tenant) in others.iter().enumerate() {
        let segment = rules::address(Desk::partition(), stamp, place).expect("two tenants");
        let (_, one) = desk.events(*tenant, 1, &[1]).await;
        let mut one = one.tenants.into_iter().next().expect("one tenant");
        one.events[0].id = EventId::new(desk.now, segment, 0);
        one.events[0].idempotency = key(1, 1);
        call.tenants.push(one);
    }
    // The second one's subscriptions change after matching.
    desk.subscribe(others[1], 2, 10).await;
    let current = desk.catalog(others[1]).await;
    let reply = desk.send(stamp, call.clone()).await;
    assert_eq!(
        reply.tenants,
        [
            TenantPublished::Done(vec![EventPublished::Accepted]),
            TenantPublished::Stale { current },
        ]
    );
    let seen = desk.look().await;
    assert_eq!((seen.ready.len(), seen.segments), (1, 1));
    assert_eq!(seen.ready[0].0, others[0]);
    // The key was not used up: matched anew, the event is accepted.
    let (stamp, mut again) = desk.events(others[1], 1, &[1, 2]).await;
    again.tenants[0].events[0].idempotency = key(1, 1);
    let reply = desk.send(stamp, again).await;
    let accepted = vec![EventPublished::Accepted];
    assert_eq!(reply.tenants, [TenantPublished::Done(accepted)]);
    assert_eq!(desk.look().await.ready.len(), 3);
}

pub(super) async fn keys_are_remembered_for_a_day(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 10).await;
    let mut outcomes = Vec::new();
    let mut first = None;
    let last = IDEMPOTENCY_TTL - Duration::from_millis(1);
    for (wait, content) in [(0, 1), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2), (2, 1)] {
        let begun = super::choices::START;
        desk.now = begun + [Duration::ZERO, last, IDEMPOTENCY_TTL][wait];
        let (stamp, mut call) = desk.events(TENANT, 1, &[1]).await;
        call.tenants[0].events[0].idempotency = key(5, content);
        let id = call.tenants[0].events[0].id;
        let reply = desk.send(stamp, call).await;
        let TenantPublished::Done(one) = &reply.tenants[0] else {
            panic!("the catalog is the present one: {reply:?}");
        };
        outcomes.push(one[0]);
        if one[0] == EventPublished::Accepted {
            first = Some((first.map_or(id, |(first, _)| first), id));
        }
    }
    let (one, two) = first.expect("the first was accepted");
    let wanted = [
        EventPublished::Accepted,
        EventPublished::Duplicate(one),
        EventPublished::KeyReused(one),
        EventPublished::Duplicate(one),
        EventPublished::KeyReused(one),
        // A day after the first, the key is free; then it stands for the new event.
        EventPublished::Accepted,
        EventPublished::KeyReused(two),
    ];
    assert_eq!(outcomes, wanted);
    let seen = desk.look().await;
    assert_eq!((seen.ready.len(), seen.segments), (2, 2));
}

pub(super) async fn keys_of_one_call_meet(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 10).await;
    let (stamp, mut call) = desk.events(TENANT, 4, &[1]).await;
    let contents = [key(1, 1), key(1, 1), key(1, 2), None];
    for (event, key) in call.tenants[0].events.iter_mut().zip(contents) {
        event.idempotency = key;
    }
    let id = call.tenants[0].events[0].id;
    let reply = desk.send(stamp, call.clone()).await;
    let wanted = vec![
        EventPublished::Accepted,
        EventPublished::Duplicate(id),
        EventPublished::KeyReused(id),
        EventPublished::Accepted,
    ];
    assert_eq!(reply.tenants, [TenantPublished::Done(wanted)]);
    let segment = id.segment().expect("an address");
    let read = store.segments(&[segment]).await.expect("it answers");
    let records = read[0].as_ref().expect("it is there").records.clone();
    let events = &call.tenants[0].events;
    let empty = Bytes::new();
    let kept = [&events[0].record, &empty, &empty, &events[3].record];
    assert_eq!(records.iter().collect::<Vec<_>>(), kept);
    assert_eq!(desk.counts().await, [2, 0, 0]);
}

pub(super) async fn keys_of_tenants_are_apart(store: &dyn Store) {
    let mut desk = Desk::new(store);
    for tenant in tenants(false, 2) {
        let (stamp, mut call) = desk.events(tenant, 1, &[]).await;
        call.tenants[0].events[0].idempotency = key(1, 1);
        let reply = desk.send(stamp, call).await;
        let accepted = vec![EventPublished::Accepted];
        assert_eq!(reply.tenants, [TenantPublished::Done(accepted)]);
    }
}

pub(super) async fn paused_enqueues_nothing(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.serve(TENANT, 1, 10, true).await;
    desk.publish(TENANT, 3, &[1]).await;
    assert_eq!(desk.counts().await, [0, 0, 0]);
    desk.serve(TENANT, 1, 10, false).await;
    desk.publish(TENANT, 2, &[1]).await;
    assert_eq!(desk.claim(10).await.len(), 2);
}

pub(super) async fn calls_that_break_a_rule_change_nothing(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 10).await;
    let (stamp, good) = desk.events(TENANT, 2, &[1]).await;
    let mut wrong_id = good.clone();
    wrong_id.tenants[0].events.swap(0, 1);
    let mut twice = good.clone();
    twice.tenants.push(good.tenants[0].clone());
    let mut foreign = good.clone();
    foreign.tenants[0].tenant = tenants(true, 1)[0];
    let mut large = good.clone();
    let event = large.tenants[0].events[0].clone();
    large.tenants[0].events = vec![event; CALL_RECORDS + 1];
    let mut wide = good.clone();
    wide.tenants[0].events[0].targets = (0..=CALL_PAIRS as u32).map(SubscriptionNumber).collect();
    for bad in [wrong_id, twice, foreign, large, wide] {
        let mut calls = Calls::new(Desk::partition());
        calls.publish = Some((stamp, bad));
        let answer = desk.execute(calls).await.publish.expect("it was asked");
        assert!(
            matches!(answer, Err(CallError::Refused { .. })),
            "{answer:?}"
        );
    }
    let mut calls = Calls::new(Desk::partition());
    let demands = vec![demand(0)];
    calls.claim = Some((stamp, Claim { demands }));
    let answer = desk.execute(calls).await.claim.expect("it was asked");
    assert!(
        matches!(answer, Err(CallError::Refused { .. })),
        "{answer:?}"
    );
    let seen = desk.look().await;
    assert_eq!((seen.ready.len(), seen.segments), (0, 0));
    // A refused call uses up no sequence.
    desk.send(stamp, good).await;
    assert_eq!(desk.counts().await, [2, 0, 0]);
}

pub(super) async fn repeats_answer_the_same(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 10).await;
    let (stamp, mut call) = desk.events(TENANT, 3, &[1]).await;
    call.tenants[0].events[1].idempotency = key(1, 1);
    call.tenants[0].events[2].idempotency = key(1, 1);
    let first = desk.send(stamp, call.clone()).await;
    let seen = desk.look().await;
    // Neither time nor a changed catalog makes the repeat another call.
    desk.pass(Duration::from_secs(2));
    desk.subscribe(TENANT, 2, 10).await;
    for _ in 0..2 {
        assert_eq!(desk.send(stamp, call.clone()).await, first);
    }
    assert_eq!(desk.look().await, seen);
    // Another lane with the same sequence is another call.
    let stale = TenantPublish {
        events: Vec::new(),
        ..call.tenants[0].clone()
    };
    let lane = Lane::from_random(desk.lane.bits() + 1);
    let other = Stamp { lane, ..stamp };
    let tenants = vec![stale];
    let reply = desk.send(other, Publish { tenants }).await;
    let current = desk.catalog(TENANT).await;
    assert_eq!(reply.tenants, [TenantPublished::Stale { current }]);
}

pub(super) async fn lower_sequences_are_superseded(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 10).await;
    let (low, late) = desk.events(TENANT, 1, &[1]).await;
    let gap = Stamp {
        sequence: Sequence::new(20).expect("small"),
        ..low
    };
    let all = |stamp: Stamp, publish: Publish| {
        let mut calls = Calls::new(Desk::partition());
        calls.settle = Some((stamp, Settle::default()));
        calls.publish = Some((stamp, publish));
        calls.claim = Some((stamp, Claim::default()));
        calls
    };
    let replies = desk.execute(all(gap, Publish::default())).await;
    assert!(replies.publish.is_some_and(|reply| reply.is_ok()));
    let replies = desk.execute(all(low, late)).await;
    let superseded = CallError::Superseded;
    assert_eq!(replies.settle, Some(Err(superseded.clone())));
    assert_eq!(replies.publish, Some(Err(superseded.clone())));
    assert_eq!(replies.claim, Some(Err(superseded)));
    let seen = desk.look().await;
    assert_eq!((seen.ready.len(), seen.segments), (0, 0));
}
