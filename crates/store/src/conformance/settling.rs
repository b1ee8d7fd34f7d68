//! Settling, retries, deleting and redelivering.

use core::time::Duration;

use bytes::Bytes;
use sidehook_core::{address::DeliveryId, id::SubscriptionNumber, time::Timestamp};

use super::{
    choices::{START, TENANT, holder, tenants},
    desk::{Desk, Lent, TERM, end, outcomes, retry},
};
use crate::{
    catalog::Change,
    port::Store,
    read::{Redeliver, Whereabouts},
    turn::{Calls, Disposition},
};

const MS: Duration = Duration::from_millis(1);

async fn lend(desk: &mut Desk<'_>, count: u8) -> Vec<Lent> {
    desk.subscribe(TENANT, 1, 100).await;
    desk.publish(TENANT, count, &[1]).await;
    desk.claim(count.into()).await
}

async fn recorded(desk: &Desk<'_>, one: &Lent) -> Vec<Bytes> {
    let told = desk.store.outcomes(&[one.segment]).await;
    told.expect("the store answers").concat()
}

async fn located(desk: &Desk<'_>, id: DeliveryId) -> Whereabouts {
    let told = desk.store.locate(TENANT, &[id]).await;
    told.expect("the store answers").remove(0)
}

pub(super) async fn stale_tokens_are_ignored(store: &dyn Store) {
    let mut desk = Desk::new(store);
    let lent = lend(&mut desk, 3).await;
    let mut settle = outcomes(&lent, |_| end("stolen"));
    settle.leases[0].token ^= 1;
    assert_eq!(desk.settle(settle).await, [0, 1, 2]);
    assert_eq!(desk.counts().await, [0, 3, 0]);
    assert_eq!(recorded(&desk, &lent[0]).await, Vec::<Bytes>::new());
    // Lost and lent again: the old lease's outcomes are stale, the new one's are not.
    desk.pass(TERM);
    desk.tick().await;
    let again = desk.claim(3).await;
    assert_eq!(
        desk.settle(outcomes(&lent, |_| end("late"))).await,
        [0, 1, 2]
    );
    desk.finish(&again).await;
    let done = Bytes::from_static(b"done");
    assert_eq!(recorded(&desk, &lent[0]).await, vec![done; 3]);
    assert_eq!(desk.counts().await, [0, 0, 0]);
}

pub(super) async fn settled_positions_are_stale(store: &dyn Store) {
    let mut desk = Desk::new(store);
    let lent = lend(&mut desk, 4).await;
    desk.finish(&lent[1..3]).await;
    let read = store.leases(&[lent[0].lease]).await.expect("it answers");
    assert_eq!(read[0].as_ref().expect("it is open").open, [0, 3]);
    assert_eq!(desk.settle(outcomes(&lent, |_| end("done"))).await, [1, 2]);
    assert_eq!(recorded(&desk, &lent[0]).await.len(), 4);
    assert_eq!(store.leases(&[lent[0].lease]).await, Ok(vec![None]));
}

pub(super) async fn retries_wait_until_they_are_due(store: &dyn Store) {
    let mut desk = Desk::new(store);
    let lent = lend(&mut desk, 2).await;
    let due: Timestamp = START + Duration::from_secs(5);
    let stale = desk.settle(outcomes(&lent[..1], |_| retry(due))).await;
    assert_eq!(stale, Vec::<u16>::new());
    desk.finish(&lent[1..]).await;
    assert_eq!(desk.counts().await, [0, 0, 1]);
    let wanted = Whereabouts {
        retry: Some(Bytes::from_static(b"tried")),
        due: Some(due),
        leased: false,
    };
    assert_eq!(located(&desk, lent[0].delivery).await, wanted);
    desk.now = START + (due.since(START) - MS);
    let (_, reply) = desk.tick().await;
    assert_eq!(reply.next_due, Some(due));
    assert!(desk.claim(10).await.is_empty(), "not before its time");
    desk.now = due;
    desk.tick().await;
    assert_eq!(desk.counts().await, [1, 0, 0]);
    let again = desk.claim(10).await;
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].delivery, lent[0].delivery);
    assert_eq!(again[0].retry, wanted.retry);
    assert!(located(&desk, lent[0].delivery).await.leased);
    desk.finish(&again).await;
    let told = located(&desk, lent[0].delivery).await;
    assert_eq!(told, Whereabouts::default());
}

pub(super) async fn released_deliveries_return_to_the_head(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 100).await;
    desk.publish(TENANT, 6, &[1]).await;
    let lent = desk.claim(4).await;
    let odd = |one: &Lent| match one.position % 2 {
        0 => end("done"),
        _ => Disposition::Release,
    };
    desk.settle(outcomes(&lent, odd)).await;
    let again = desk.claim(10).await;
    let order: Vec<_> = again.iter().map(|one| one.delivery.index()).collect();
    assert_eq!(order, [1, 3, 4, 5]);
    assert!(again.iter().all(|one| one.leases_lost == 0));
    assert_eq!(
        recorded(&desk, &lent[0]).await.len(),
        2,
        "no attempt, no record"
    );
}

pub(super) async fn repeated_settles_settle_once(store: &dyn Store) {
    let mut desk = Desk::new(store);
    let lent = lend(&mut desk, 6).await;
    desk.finish(&lent[5..]).await;
    let mut calls = Calls::new(Desk::partition());
    let due = START + Duration::from_secs(60);
    let mixed = |one: &Lent| match one.position {
        0 | 1 => end("done"),
        2 | 3 => retry(due),
        _ => Disposition::Release,
    };
    calls.settle = Some((desk.stamp(), outcomes(&lent, mixed)));
    let first = desk.execute(calls.clone()).await.settle;
    let stale = first
        .clone()
        .expect("it was asked")
        .expect("it works")
        .stale;
    assert_eq!(stale, [[5]]);
    let (seen, records) = (desk.look().await, recorded(&desk, &lent[0]).await);
    assert_eq!(desk.execute(calls).await.settle, first);
    assert_eq!(desk.look().await, seen);
    assert_eq!(recorded(&desk, &lent[0]).await, records);
    assert_eq!(records.len(), 5);
}

pub(super) async fn deleting_ends_what_is_queued(store: &dyn Store) {
    let mut desk = Desk::new(store);
    let mut lent = lend(&mut desk, 8).await;
    desk.publish(TENANT, 5, &[1]).await;
    let soon = START + Duration::from_secs(5);
    desk.settle(outcomes(&lent.split_off(6), |_| retry(soon)))
        .await;
    assert_eq!(desk.counts().await, [5, 6, 2]);
    desk.change(TENANT, 1, Change::Delete).await;
    assert!(desk.claim(100).await.is_empty());
    desk.tick().await;
    assert_eq!(desk.counts().await, [0, 6, 0]);
    // What is lent may be settled in every way, and does not come back.
    let each = |one: &Lent| match one.position {
        0 => end("done"),
        1 => retry(soon),
        _ => Disposition::Release,
    };
    let stale = desk.settle(outcomes(&lent[..3], each)).await;
    assert_eq!(stale, Vec::<u16>::new());
    assert_eq!(desk.counts().await, [0, 3, 0]);
    desk.pass(TERM);
    desk.tick().await;
    assert_eq!(store.release(&[holder(1)], &[]).await, Ok(0));
    assert_eq!(desk.counts().await, [0, 0, 0]);
    assert_eq!(recorded(&desk, &lent[0]).await.len(), 4);
}

fn redeliver(of: DeliveryId) -> Redeliver {
    Redeliver {
        tenant: TENANT,
        delivery: of.next_generation().expect("the first generations"),
        subscription: of.subscription(),
        retry: Bytes::from_static(b"by hand"),
    }
}

pub(super) async fn redelivery_is_a_delivery_of_its_own(store: &dyn Store) {
    let mut desk = Desk::new(store);
    let lent = lend(&mut desk, 1).await;
    desk.finish(&lent).await;
    let call = redeliver(lent[0].delivery);
    for _ in 0..2 {
        assert_eq!(store.redeliver(&call).await, Ok(true));
        assert_eq!(desk.counts().await, [1, 0, 0], "a repeat adds nothing");
    }
    let told = located(&desk, call.delivery).await;
    assert_eq!(told.retry, Some(call.retry.clone()));
    let again = desk.claim(10).await;
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].delivery, call.delivery);
    assert_eq!(again[0].retry, Some(call.retry.clone()));
    assert_eq!(store.redeliver(&call).await, Ok(true));
    assert_eq!(
        desk.counts().await,
        [0, 1, 0],
        "not while it is lent either"
    );
    desk.finish(&again).await;
    assert_eq!(store.redeliver(&call).await, Ok(true));
    assert_eq!(desk.counts().await, [0, 0, 0], "nor when it has ended");
    assert_eq!(recorded(&desk, &lent[0]).await.len(), 2);
    assert_eq!(store.redeliver(&redeliver(call.delivery)).await, Ok(true));
    assert_eq!(desk.counts().await, [1, 0, 0]);
}

pub(super) async fn redelivery_needs_its_event_and_subscription(store: &dyn Store) {
    let mut desk = Desk::new(store);
    let lent = lend(&mut desk, 1).await;
    desk.finish(&lent).await;
    let good = redeliver(lent[0].delivery);
    let other = tenants(false, 2)[1];
    desk.subscribe(other, 1, 100).await;
    let elsewhere = Redeliver {
        tenant: other,
        ..good.clone()
    };
    assert_eq!(store.redeliver(&elsewhere).await, Ok(false));
    let segment = lent[0].segment;
    let beyond = DeliveryId::new(segment, 1, SubscriptionNumber(1), 1);
    let no_event = Redeliver {
        delivery: beyond,
        ..good.clone()
    };
    assert_eq!(store.redeliver(&no_event).await, Ok(false));
    desk.change(TENANT, 1, Change::Delete).await;
    assert_eq!(store.redeliver(&good).await, Ok(false));
    assert_eq!(desk.counts().await, [0, 0, 0]);
}
