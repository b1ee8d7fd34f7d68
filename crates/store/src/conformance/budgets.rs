//! Budgets: what a tenant may have, and that nobody else is told of it.

use core::time::Duration;

use bytes::Bytes;
use sidehook_core::{
    address::EventId,
    id::{SubscriptionNumber, TenantId},
    limits::{DELIVERY_OVERHEAD, EVENT_OVERHEAD, LOG_AGE},
};

use super::{
    choices::{START, TENANT, tenants},
    desk::{Desk, TERM, outcomes, retry},
};
use crate::{
    budget::{Budget, Exhausted, Usage, Which},
    catalog::Change,
    port::Store,
    read::Redeliver,
    turn::{EventPublished, Idempotency, Publish, Stamp, TenantPublished},
};

/// Bytes of an event of the desk.
const EVENT: u64 = 20;
/// What a delivery of it is charged with.
const CHARGE: u64 = EVENT + DELIVERY_OVERHEAD;
/// What a segment with one of them and one delivery takes.
const KEPT: u64 = EVENT + EVENT_OVERHEAD + DELIVERY_OVERHEAD;

/// A call of one event for the desk's only subscription.
async fn one(desk: &mut Desk<'_>, budget: Budget) -> (Stamp, Publish) {
    let (stamp, mut call) = desk.events(TENANT, 1, &[1]).await;
    call.tenants[0].budget = budget;
    (stamp, call)
}

/// Publishes one event; why it was refused, if it was.
async fn publish(desk: &mut Desk<'_>, budget: Budget) -> Option<Exhausted> {
    let (stamp, call) = one(desk, budget).await;
    match desk.send(stamp, call).await.tenants[0] {
        TenantPublished::Exhausted(told) => Some(told),
        TenantPublished::Done(ref done) => {
            assert_eq!(done[..], [EventPublished::Accepted]);
            None
        }
        ref other => panic!("{other:?}"),
    }
}

async fn used(desk: &Desk<'_>, tenant: TenantId) -> Usage {
    let seen = desk.look().await;
    seen.used.get(&tenant).copied().unwrap_or_default()
}

async fn pending(desk: &Desk<'_>) -> u64 {
    used(desk, TENANT).await.pending
}

/// So many deliveries pending, and no bound on the log.
const fn deliveries(count: u64) -> Budget {
    Budget {
        pending: count * CHARGE,
        log: Budget::UNLIMITED.log,
    }
}

/// So many events in the log, and so many deliveries pending.
const fn logged(events: u64, deliveries: u64) -> Budget {
    Budget {
        pending: deliveries * CHARGE,
        log: events * KEPT,
    }
}

pub(super) async fn a_used_up_budget_refuses_only_its_tenant(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 100).await;
    let other = tenants(false, 2)[1];
    desk.subscribe(other, 1, 100).await;
    for _ in 0..3 {
        assert_eq!(publish(&mut desk, deliveries(3)).await, None);
    }
    let before = desk.look().await;
    assert_eq!(before.used[&TENANT].pending, 3 * CHARGE);
    let full = Exhausted {
        which: Which::Pending,
        used: 3 * CHARGE,
        budget: 3 * CHARGE,
    };
    let (stamp, mut call) = one(&mut desk, deliveries(3)).await;
    // Another tenant's events of the same call are no affair of it.
    let mut neighbour = call.tenants[0].clone();
    neighbour.tenant = other;
    neighbour.catalog = desk.catalog(other).await;
    neighbour.events[0].id = EventId::new(
        desk.now,
        crate::rules::address(Desk::partition(), stamp, 1).expect("the second place"),
        0,
    );
    call.tenants.push(neighbour);
    let wanted = [
        TenantPublished::Exhausted(full),
        TenantPublished::Done(vec![EventPublished::Accepted]),
    ];
    for _ in 0..2 {
        // The repeat is answered alike.
        let reply = desk.send(stamp, call.clone()).await;
        assert_eq!(reply.tenants, wanted);
    }
    let after = desk.look().await;
    assert_eq!(after.segments, before.segments + 1, "nothing of it is kept");
    assert_eq!(after.used[&TENANT], before.used[&TENANT]);
    assert_eq!(after.used[&other].pending, CHARGE);
    // What was refused can be published with room, or with more budget.
    assert_eq!(publish(&mut desk, deliveries(4)).await, None);
}

pub(super) async fn ended_deliveries_make_room(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 100).await;
    for _ in 0..2 {
        assert_eq!(publish(&mut desk, deliveries(2)).await, None);
    }
    let lent = desk.claim(1).await;
    assert_eq!(pending(&desk).await, 2 * CHARGE, "what is lent counts");
    desk.pass(TERM);
    desk.tick().await;
    assert_eq!(pending(&desk).await, 2 * CHARGE, "what is taken back, too");
    drop(lent);
    let lent = desk.claim(1).await;
    let soon = desk.now + Duration::from_secs(5);
    desk.settle(outcomes(&lent, |_| retry(soon))).await;
    assert_eq!(pending(&desk).await, 2 * CHARGE, "and what waits");
    assert!(publish(&mut desk, deliveries(2)).await.is_some());
    desk.pass(Duration::from_secs(5));
    desk.tick().await;
    let lent = desk.claim(2).await;
    desk.finish(&lent[..1]).await;
    assert_eq!(pending(&desk).await, CHARGE);
    assert_eq!(publish(&mut desk, deliveries(2)).await, None);
    desk.finish(&lent[1..]).await;
    let rest = desk.claim(2).await;
    desk.finish(&rest).await;
    assert_eq!(pending(&desk).await, 0, "nothing is unfinished");
}

pub(super) async fn a_charge_is_a_part_of_its_segment(store: &dyn Store) {
    let mut desk = Desk::new(store);
    for number in 1..4 {
        desk.serve(TENANT, number, 100, number == 3).await;
    }
    // Two events, for two subscriptions that take them: 40 bytes over 4 deliveries.
    desk.publish(TENANT, 2, &[1, 2, 3]).await;
    let kept = 2 * EVENT + 2 * EVENT_OVERHEAD + 4 * DELIVERY_OVERHEAD;
    let wanted = Usage {
        pending: 4 * (10 + DELIVERY_OVERHEAD),
        log: kept,
    };
    assert_eq!(used(&desk, TENANT).await, wanted);
    // For nobody: it is only kept.
    desk.publish(TENANT, 1, &[3]).await;
    let wanted = Usage {
        log: kept + EVENT + EVENT_OVERHEAD,
        ..wanted
    };
    assert_eq!(used(&desk, TENANT).await, wanted);
}

pub(super) async fn redelivering_charges_anew(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 100).await;
    desk.publish(TENANT, 1, &[1]).await;
    let lent = desk.claim(1).await;
    desk.finish(&lent).await;
    assert_eq!(pending(&desk).await, 0);
    let delivery = lent[0].delivery.next_generation().expect("the second");
    let call = Redeliver {
        tenant: TENANT,
        delivery,
        subscription: SubscriptionNumber(1),
        retry: Bytes::from_static(b"by hand"),
    };
    for _ in 0..2 {
        assert_eq!(store.redeliver(&call).await, Ok(true));
        assert_eq!(
            pending(&desk).await,
            CHARGE,
            "once, however often it is asked"
        );
    }
    let again = desk.claim(1).await;
    desk.finish(&again).await;
    assert_eq!(pending(&desk).await, 0);
}

pub(super) async fn deleting_discharges(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 100).await;
    desk.publish(TENANT, 5, &[1]).await;
    let lent = desk.claim(3).await;
    let later = START + Duration::from_secs(900);
    desk.settle(outcomes(&lent[..1], |_| retry(later))).await;
    assert_eq!(pending(&desk).await, 5 * CHARGE);
    desk.change(TENANT, 1, Change::Delete).await;
    assert_eq!(
        pending(&desk).await,
        2 * CHARGE,
        "what is lent is under way"
    );
    desk.tick().await;
    desk.settle(outcomes(&lent[1..2], |_| retry(later))).await;
    assert_eq!(pending(&desk).await, CHARGE, "it cannot wait here any more");
    desk.pass(TERM);
    desk.tick().await;
    assert_eq!(pending(&desk).await, 0);
    desk.now = later;
    desk.tick().await;
    assert_eq!(pending(&desk).await, 0, "nothing ends twice");
}

pub(super) async fn known_events_are_told_all_the_same(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 100).await;
    let key = |content: u8| {
        Some(Idempotency {
            key: [3; 16],
            content: [content; 16],
        })
    };
    let (stamp, mut call) = one(&mut desk, deliveries(1)).await;
    call.tenants[0].events[0].idempotency = key(1);
    let first = call.tenants[0].events[0].id;
    desk.send(stamp, call).await;
    for (content, wanted) in [
        (1, EventPublished::Duplicate(first)),
        (2, EventPublished::KeyReused(first)),
    ] {
        let (stamp, mut call) = one(&mut desk, deliveries(1)).await;
        call.tenants[0].events[0].idempotency = key(content);
        let reply = desk.send(stamp, call).await;
        assert_eq!(reply.tenants, [TenantPublished::Done(vec![wanted])]);
    }
    // With a new one beside it nothing is stored, and no key is remembered.
    let (stamp, mut call) = desk.events(TENANT, 2, &[1]).await;
    call.tenants[0].budget = deliveries(1);
    call.tenants[0].events[0].idempotency = key(1);
    call.tenants[0].events[1].idempotency = Some(Idempotency {
        key: [4; 16],
        content: [4; 16],
    });
    for _ in 0..2 {
        let again = desk.send(stamp, call.clone()).await;
        assert!(matches!(again.tenants[0], TenantPublished::Exhausted(_)));
    }
    let lent = desk.claim(1).await;
    desk.finish(&lent).await;
    let (stamp, mut again) = desk.events(TENANT, 1, &[1]).await;
    again.tenants[0].events[0].idempotency = call.tenants[0].events[1].idempotency;
    let reply = desk.send(stamp, again).await;
    let accepted = vec![EventPublished::Accepted];
    assert_eq!(reply.tenants, [TenantPublished::Done(accepted)]);
}

pub(super) async fn the_oldest_finished_leave_a_full_log(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 100).await;
    for _ in 0..5 {
        assert_eq!(publish(&mut desk, logged(3, 100)).await, None);
        let lent = desk.claim(1).await;
        desk.finish(&lent).await;
        desk.pass(Duration::from_secs(1));
    }
    assert_eq!(used(&desk, TENANT).await.log, 5 * KEPT, "until a tick");
    desk.tick().await;
    let page = store.log(TENANT, None, 10).await.expect("it answers");
    assert_eq!(page.segments.len(), 3);
    assert_eq!(page.retained_since, Some(START + Duration::from_secs(2)));
    assert_eq!(used(&desk, TENANT).await.log, 3 * KEPT);
    desk.tick().await;
    assert_eq!(desk.look().await.segments, 3, "what fits stays");
    desk.now = START + LOG_AGE + Duration::from_secs(60);
    desk.tick().await;
    assert_eq!(used(&desk, TENANT).await, Usage::default());
}

pub(super) async fn the_unfinished_stay_in_a_full_log(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 100).await;
    desk.subscribe(TENANT, 2, 100).await;
    // The first event waits, the others are delivered.
    assert_eq!(publish(&mut desk, logged(2, 100)).await, None);
    let slow = desk.claim(1).await;
    for _ in 0..3 {
        assert_eq!(publish(&mut desk, logged(2, 100)).await, None);
        let lent = desk.claim(1).await;
        desk.finish(&lent).await;
    }
    desk.tick().await;
    let page = store.log(TENANT, None, 10).await.expect("it answers");
    assert_eq!(page.segments.len(), 2, "the first, and the last one");
    assert_eq!(page.segments[1], slow[0].segment);
    let read = store
        .segments(&[slow[0].segment])
        .await
        .expect("it answers");
    assert!(read[0].is_some(), "its delivery needs it");
    assert_eq!(
        used(&desk, TENANT).await.log,
        2 * KEPT,
        "it counts until it goes"
    );
    desk.finish(&slow).await;
    desk.tick().await;
    let page = store.log(TENANT, None, 10).await.expect("it answers");
    assert_eq!(page.segments.len(), 1);
    assert_eq!(used(&desk, TENANT).await.log, KEPT);
}

pub(super) async fn both_budgets_together_are_a_bound(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 100).await;
    // As much log again as may be pending: ten deliveries' worth.
    let budget = logged(2, 10);
    let most = budget.log + budget.pending;
    let mut stored = 0;
    let full = loop {
        // No tick comes.
        match publish(&mut desk, budget).await {
            None => {
                let lent = desk.claim(1).await;
                desk.finish(&lent).await;
                stored += 1;
            }
            Some(full) => break full,
        }
        assert!(stored < 100, "it is never full");
    };
    assert_eq!((full.which, full.used), (Which::Log, stored * KEPT));
    assert_eq!(full.budget, most);
    assert!((most..most + KEPT).contains(&full.used));
    desk.tick().await;
    assert_eq!(
        publish(&mut desk, budget).await,
        None,
        "the log was trimmed"
    );
    // A budget that has become smaller holds from the refusal on.
    let smaller = logged(0, 1);
    let told = publish(&mut desk, smaller).await.expect("it is used up");
    assert_eq!(told.which, Which::Pending);
    let lent = desk.claim(1).await;
    desk.finish(&lent).await;
    let told = publish(&mut desk, smaller).await.expect("it is used up");
    assert_eq!(told.which, Which::Log);
    desk.tick().await;
    assert_eq!(used(&desk, TENANT).await, Usage::default());
    assert_eq!(publish(&mut desk, smaller).await, None);
}
