//! Claims, windows, fairness, and what becomes of leases.

use core::time::Duration;

use bytes::Bytes;
use sidehook_core::{
    id::TenantId,
    limits::{CALL_RECORDS, CLAIM_QUANTUM, LEASES_LOST_MAX},
};

use super::{
    choices::{TENANT, holder, own, shared, tenants},
    desk::{Desk, Lent, TERM, demand, unfold},
};
use crate::{
    catalog::{Change, QueueSettings},
    port::Store,
    turn::{Calls, Claim},
};

const MS: Duration = Duration::from_millis(1);

fn indices(lent: &[Lent]) -> Vec<u8> {
    lent.iter().map(|one| one.delivery.index()).collect()
}

pub(super) async fn first_come_first_lent(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 10).await;
    let first = desk.publish(TENANT, 3, &[1]).await;
    let second = desk.publish(TENANT, 2, &[1]).await;
    let lent = desk.claim(10).await;
    assert_eq!(indices(&lent), [0, 1, 2, 0, 1]);
    assert_eq!(Some(lent[0].segment), first[0].segment());
    assert_eq!(Some(lent[3].segment), second[0].segment());
    assert!(desk.claim(10).await.is_empty(), "each is lent once");
}

pub(super) async fn windows_hold(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 3).await;
    desk.publish(TENANT, 10, &[1]).await;
    let reply = desk.demand(vec![demand(10)]).await;
    let lent = unfold(reply.grants[0].as_ref().expect("there is work"), 4_242);
    assert_eq!((lent.len(), &reply.more), (3, &vec![false]));
    let reply = desk.demand(vec![demand(10)]).await;
    assert_eq!((&reply.grants, &reply.more), (&vec![None], &vec![false]));
    assert_eq!(desk.look().await.in_flight.len(), 1);
    // What is settled makes room, and only that.
    desk.finish(&lent[..2]).await;
    let next = desk.claim(10).await;
    assert_eq!(indices(&next), [3, 4]);
}

pub(super) async fn windows_change(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 4).await;
    desk.publish(TENANT, 12, &[1]).await;
    let lent = desk.claim(10).await;
    assert_eq!(lent.len(), 4);
    desk.subscribe(TENANT, 1, 2).await;
    desk.finish(&lent[..2]).await;
    assert!(desk.claim(10).await.is_empty(), "two are lent still");
    desk.finish(&lent[2..3]).await;
    assert_eq!(desk.claim(10).await.len(), 1);
    desk.subscribe(TENANT, 1, 6).await;
    assert_eq!(desk.claim(10).await.len(), 4);
}

/// With `quantum` waiting in the last queue, it is served within two quanta.
async fn quiet_is_served(desk: &mut Desk<'_>, quiet: (TenantId, u32), step: u32) {
    let mut served = 0;
    for _ in 0..(2 * CLAIM_QUANTUM / step) {
        let lent = desk.claim(step).await;
        assert_eq!(lent.len(), step as usize, "there is plenty of work");
        let mine = |one: &&Lent| (one.tenant, one.delivery.subscription().0) == quiet;
        served += lent.iter().filter(mine).count();
    }
    assert_eq!(served, CLAIM_QUANTUM as usize, "in steps of {step}");
}

pub(super) async fn quiet_tenants_do_not_wait(store: &dyn Store) {
    let mut desk = Desk::new(store);
    let both = tenants(false, 2);
    for number in 1..=8 {
        desk.subscribe(both[0], number, 1_000).await;
    }
    desk.subscribe(both[1], 1, 1_000).await;
    for step in [2 * CLAIM_QUANTUM, CLAIM_QUANTUM, 1] {
        // Eight queues of one tenant weigh as much as one of the other.
        desk.publish(both[0], 20, &[1, 2, 3, 4, 5, 6, 7, 8]).await;
        let count = u8::try_from(CLAIM_QUANTUM).expect("small");
        desk.publish(both[1], count, &[1]).await;
        quiet_is_served(&mut desk, (both[1], 1), step).await;
    }
}

pub(super) async fn quiet_subscriptions_do_not_wait(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 1_000).await;
    desk.subscribe(TENANT, 2, 1_000).await;
    for step in [2 * CLAIM_QUANTUM, CLAIM_QUANTUM, 1] {
        desk.publish(TENANT, 120, &[1]).await;
        let count = u8::try_from(CLAIM_QUANTUM).expect("small");
        desk.publish(TENANT, count, &[2]).await;
        quiet_is_served(&mut desk, (TENANT, 2), step).await;
    }
}

pub(super) async fn one_call_lends_a_bounded_number(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 1_000).await;
    desk.subscribe(TENANT, 2, 1_000).await;
    desk.publish(TENANT, 100, &[1, 2]).await;
    let reply = desk.demand(vec![demand(90), demand(90), demand(90)]).await;
    let counts: Vec<usize> = reply
        .grants
        .iter()
        .map(|grant| grant.as_ref().map_or(0, |grant| unfold(grant, 0).len()))
        .collect();
    assert_eq!(counts, [90, CALL_RECORDS - 90, 0]);
    assert_eq!(reply.more, [true, true, true]);
    let catalog = desk.catalog(TENANT).await;
    assert_eq!(reply.catalogs, [(TENANT, catalog)], "each tenant once");
}

pub(super) async fn pools_are_apart(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 10).await;
    desk.publish(TENANT, 2, &[1]).await;
    let mut mine = demand(10);
    mine.pool = own(TENANT);
    let reply = desk.demand(vec![mine.clone()]).await;
    assert_eq!((reply.grants, reply.more), (vec![None], vec![false]));
    assert_eq!(desk.tick().await.1.due, [shared()]);
    // A subscription that moves takes its queue along.
    let queue = QueueSettings {
        pool: own(TENANT),
        window: 10,
        paused: false,
    };
    let record = Bytes::from_static(b"moved");
    desk.change(TENANT, 1, Change::Put { record, queue }).await;
    assert_eq!(desk.tick().await.1.due, [own(TENANT)]);
    assert!(
        desk.claim(10).await.is_empty(),
        "nothing left in the old pool"
    );
    let reply = desk.demand(vec![mine]).await;
    let grant = reply.grants[0].as_ref().expect("there is work");
    assert_eq!(unfold(grant, 0).len(), 2);
    assert_eq!(desk.tick().await.1.due, []);
}

pub(super) async fn lost_leases_are_counted(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 10).await;
    desk.publish(TENANT, 3, &[1]).await;
    for lost in 0..=LEASES_LOST_MAX {
        let lent = desk.claim(2).await;
        // They are back at the head, in their order.
        assert_eq!(indices(&lent), [0, 1]);
        assert!(lent.iter().all(|one| one.leases_lost == lost), "{lent:?}");
        desk.pass(TERM - MS);
        assert_eq!(desk.tick().await.0, 0, "the lease holds until its end");
        assert_eq!(desk.counts().await, [1, 2, 0]);
        desk.pass(MS);
        assert_eq!(desk.tick().await.0, 2);
        assert_eq!(desk.counts().await, [3, 0, 0]);
        let gone = store.leases(&[lent[0].lease]).await;
        assert_eq!(gone, Ok(vec![None]));
    }
}

pub(super) async fn renewed_leases_last(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 10).await;
    desk.publish(TENANT, 1, &[1]).await;
    let lent = desk.claim(10).await;
    let (lease, token) = (lent[0].lease, lent[0].token);
    desk.pass(TERM - MS);
    let ask = [(lease, token ^ 1), (lease, token)];
    let told = store.renew(Some(desk.now), &ask, TERM).await;
    assert_eq!(told, Ok(vec![false, true]));
    desk.pass(TERM - MS);
    assert_eq!(desk.tick().await.0, 0);
    let read = store.leases(&[lease]).await.expect("it answers");
    let read = read[0].as_ref().expect("it is open");
    assert_eq!(read.deadline, desk.now + MS);
    assert_eq!((read.token, &read.open), (token, &vec![0]));
    desk.pass(MS);
    assert_eq!(desk.tick().await.0, 1);
    let told = store.renew(Some(desk.now), &[(lease, token)], TERM).await;
    assert_eq!(told, Ok(vec![false]));
}

pub(super) async fn released_leases_change_nothing(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 10).await;
    desk.publish(TENANT, 6, &[1]).await;
    let kept = desk.claim(2).await;
    let given = desk.claim(2).await;
    let mut other = demand(2);
    other.holder = holder(2);
    let reply = desk.demand(vec![other]).await;
    assert!(reply.grants[0].is_some());
    assert_eq!(desk.counts().await, [0, 6, 0]);
    let keep = [kept[0].lease];
    for wanted in [2, 0] {
        assert_eq!(store.release(&[holder(1)], &keep).await, Ok(wanted));
        assert_eq!(desk.counts().await, [2, 4, 0]);
    }
    let again = desk.claim(10).await;
    assert_eq!(indices(&again), indices(&given));
    assert!(again.iter().all(|one| one.leases_lost == 0));
    let both = [holder(1), holder(2), holder(1)];
    assert_eq!(store.release(&both, &keep).await, Ok(4));
    assert_eq!(desk.counts().await, [4, 2, 0]);
}

pub(super) async fn paused_lends_nothing(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 10).await;
    desk.publish(TENANT, 4, &[1]).await;
    let lent = desk.claim(2).await;
    desk.serve(TENANT, 1, 10, true).await;
    assert!(desk.claim(10).await.is_empty());
    assert_eq!(desk.tick().await.1.due, []);
    // What is out may come back.
    desk.finish(&lent).await;
    assert_eq!(desk.counts().await, [2, 0, 0]);
    desk.serve(TENANT, 1, 10, false).await;
    assert_eq!(desk.tick().await.1.due, [shared()]);
    assert_eq!(desk.claim(10).await.len(), 2);
}

pub(super) async fn repeated_claims_lend_once(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 10).await;
    desk.publish(TENANT, 4, &[1]).await;
    let mut calls = Calls::new(Desk::partition());
    let demands = vec![demand(2)];
    calls.claim = Some((desk.stamp(), Claim { demands }));
    let first = desk.execute(calls.clone()).await.claim;
    let seen = desk.look().await;
    assert_eq!(seen.leased.len(), 2);
    desk.pass(Duration::from_secs(1));
    assert_eq!(desk.execute(calls.clone()).await.claim, first);
    assert_eq!(desk.look().await, seen);
}
