//! A clock that jumps, forward and back.

use core::time::Duration;

use sidehook_core::limits::{LEASE_MAX, LOG_AGE, RETRY_WAIT_MAX};

use super::{
    choices::{START, TENANT},
    desk::{Desk, TERM, demand, end, outcomes, retry},
};
use crate::{
    error::CallError,
    inspect::Inspection,
    port::Store,
    turn::{Calls, Claim, Demand},
};

const MS: Duration = Duration::from_millis(1);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) async fn leases_from_ahead_are_over(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 1_000).await;
    desk.publish(TENANT, 120, &[1]).await;
    for (ahead, over) in [
        (LEASE_MAX - TERM, false),
        (LEASE_MAX - TERM + MS, true),
        (YEAR, true),
    ] {
        desk.now = START + ahead;
        assert_eq!(desk.claim(2).await.len(), 2);
        desk.now = START;
        let lost = if over { 2 } else { 0 };
        assert_eq!(desk.tick().await.0, lost, "{ahead:?} ahead");
        desk.now = START + LEASE_MAX;
        assert_eq!(desk.tick().await.0, 2 - lost, "no lease is longer");
        desk.now = START;
    }
    // Many of them, beside one that is none of them.
    assert_eq!(desk.claim(1).await.len(), 1);
    desk.now = START + YEAR;
    for _ in 0..119 {
        assert_eq!(desk.claim(1).await.len(), 1);
    }
    desk.now = START;
    assert_eq!(desk.tick().await.0, 119);
    assert_eq!(desk.counts().await, [119, 1, 0]);
}

pub(super) async fn retries_from_ahead_are_due(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 1_000).await;
    desk.publish(TENANT, 100, &[1]).await;
    desk.publish(TENANT, 100, &[1]).await;
    for (at, due) in [(RETRY_WAIT_MAX, 0), (RETRY_WAIT_MAX + MS, 1), (YEAR, 1)] {
        let lent = desk.claim(1).await;
        desk.settle(outcomes(&lent, |_| retry(START + at))).await;
        desk.tick().await;
        assert_eq!(desk.counts().await, [199 + due, 0, 1 - due], "{at:?}");
        desk.now = START + RETRY_WAIT_MAX;
        desk.tick().await;
        assert_eq!(desk.counts().await, [200, 0, 0]);
        desk.now = START;
    }
    for max in [100, 100] {
        let lent = desk.claim(max).await;
        desk.settle(outcomes(&lent, |one| {
            retry(START + if one.position == 0 { TERM } else { YEAR })
        }))
        .await;
    }
    let (_, told) = desk.tick().await;
    assert_eq!(told.next_due, Some(START + TERM), "the rest was due");
    assert_eq!(desk.counts().await, [198, 0, 2]);
}

pub(super) async fn a_jump_and_the_way_back_lose_nothing(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 100).await;
    desk.publish(TENANT, 6, &[1]).await;
    let under_way = desk.claim(2).await;
    let failed = desk.claim(1).await;
    desk.settle(outcomes(&failed, |_| retry(START + TERM)))
        .await;
    // Forward: everything is over and due at once, and the old event stays.
    desk.now = START + YEAR;
    assert_eq!(desk.tick().await.0, 2);
    assert_eq!(desk.counts().await, [6, 0, 0]);
    let stale = outcomes(&under_way, |_| end("late"));
    assert_eq!(desk.settle(stale).await, [0, 1]);
    desk.publish(TENANT, 2, &[1]).await;
    let lent = desk.claim(2).await;
    let then = START + YEAR + TERM;
    desk.settle(outcomes(&lent, |_| retry(then))).await;
    desk.claim(2).await;
    // And back.
    desk.now = START + TERM;
    assert_eq!(desk.tick().await.0, 2);
    desk.publish(TENANT, 2, &[1]).await;
    let lent = desk.claim(100).await;
    assert_eq!(lent.len(), 10, "all of them");
    desk.finish(&lent).await;
    assert_eq!(desk.counts().await, [0, 0, 0]);
    desk.now = START + YEAR + LOG_AGE;
    desk.tick().await;
    assert_eq!(desk.look().await, Inspection::default(), "nothing is left");
}

pub(super) async fn no_lease_is_longer_than_any(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 10).await;
    desk.publish(TENANT, 1, &[1]).await;
    for (lease, granted) in [(LEASE_MAX + MS, false), (LEASE_MAX, true)] {
        let demands = vec![Demand { lease, ..demand(1) }];
        let mut calls = Calls::new(Desk::partition());
        calls.claim = Some((desk.stamp(), Claim { demands }));
        match desk.execute(calls).await.claim.expect("it was asked") {
            Ok(reply) => assert!(granted && reply.grants[0].is_some()),
            Err(CallError::Refused { .. }) => assert!(!granted),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(desk.tick().await.0, 0);
}
