//! Shares: what a demand may be lent of one tenant.

use sidehook_core::{
    id::TenantId,
    limits::{CLAIM_QUANTUM, CLAIM_SHARES},
};

use super::{
    choices::{TENANT, tenants},
    desk::{Desk, Lent, demand, unfold},
};
use crate::{
    error::CallError,
    port::Store,
    turn::{Calls, Claim, Demand},
};

/// Lends; how many of each tenant, in the order in which they were first lent something,
/// and whether there is more.
async fn lend(desk: &mut Desk<'_>, demand: Demand) -> (Vec<(TenantId, usize)>, bool) {
    let reply = desk.demand(vec![demand]).await;
    let grant = reply.grants[0].as_ref();
    let lent: Vec<Lent> = grant.map(|grant| unfold(grant, 0)).unwrap_or_default();
    let mut counts: Vec<(TenantId, usize)> = Vec::new();
    for one in lent {
        match counts.iter_mut().find(|(tenant, _)| *tenant == one.tenant) {
            Some((_, count)) => *count += 1,
            None => counts.push((one.tenant, 1)),
        }
    }
    (counts, reply.more[0])
}

fn sharing(max: u32, per_tenant: u32, shares: &[(TenantId, u32)]) -> Demand {
    Demand {
        per_tenant,
        shares: shares.to_vec(),
        ..demand(max)
    }
}

pub(super) async fn shares_hold(store: &dyn Store) {
    let mut desk = Desk::new(store);
    let three = tenants(false, 3);
    for tenant in &three {
        // Many queues are not many shares.
        for number in 1..=4 {
            desk.subscribe(*tenant, number, 1_000).await;
        }
        desk.publish(*tenant, 30, &[1, 2, 3, 4]).await;
    }
    let [one, two, three] = three[..] else {
        panic!("three were asked for")
    };
    let (lent, more) = lend(&mut desk, sharing(100, 20, &[(two, 3)])).await;
    assert_eq!(lent, [(one, 20), (two, 3), (three, 20)]);
    assert!(!more, "who had their share does not count");
    let (lent, more) = lend(&mut desk, sharing(30, 20, &[(one, 0)])).await;
    assert_eq!(lent.iter().map(|(_, count)| count).sum::<usize>(), 30);
    assert!(lent.iter().all(|(tenant, _)| *tenant != one));
    assert!(more, "of two tenants ten are left of their shares");
    // A demand's shares are its own.
    let demands = vec![
        sharing(5, 5, &[(one, 0), (two, 0)]),
        sharing(5, 5, &[(three, 0)]),
    ];
    let reply = desk.demand(demands).await;
    let lent = reply.grants.iter().flatten().map(|grant| unfold(grant, 0));
    let lent: Vec<Lent> = lent.flatten().collect();
    assert!(lent[..5].iter().all(|lent| lent.tenant == three));
    assert!(lent[5..].iter().all(|lent| lent.tenant != three));
    assert_eq!((lent.len(), reply.more), (10, vec![false, true]));
    let (lent, more) = lend(&mut desk, sharing(1, 1, &[(one, 0), (two, 0), (three, 0)])).await;
    assert_eq!((lent, more), (Vec::new(), false));
}

pub(super) async fn who_is_passed_over_keeps_their_turn(store: &dyn Store) {
    let mut desk = Desk::new(store);
    let four = tenants(false, 4);
    for tenant in &four {
        desk.subscribe(*tenant, 1, 1_000).await;
        desk.publish(*tenant, 2, &[1]).await;
    }
    let full = [(four[0], 0), (four[2], 0)];
    let (lent, more) = lend(&mut desk, sharing(1, u32::MAX, &full)).await;
    assert_eq!((lent, more), (vec![(four[1], 1)], true));
    let (lent, more) = lend(&mut desk, sharing(1, u32::MAX, &full)).await;
    assert_eq!((lent, more), (vec![(four[3], 1)], true));
    // Before those who were served; among themselves as they stood.
    let (lent, more) = lend(&mut desk, sharing(100, u32::MAX, &[])).await;
    let order: Vec<TenantId> = lent.iter().map(|(tenant, _)| *tenant).collect();
    assert_eq!(order, [four[0], four[2], four[1], four[3]]);
    assert!(!more);
}

pub(super) async fn very_many_are_passed_over(store: &dyn Store) {
    let mut desk = Desk::new(store);
    let many = tenants(false, 320);
    for tenant in &many {
        desk.subscribe(*tenant, 1, 10).await;
        desk.publish(*tenant, 2, &[1]).await;
    }
    let full: Vec<_> = many[..300].iter().map(|tenant| (*tenant, 0)).collect();
    let (lent, more) = lend(&mut desk, sharing(5, 1, &full)).await;
    let wanted: Vec<_> = many[300..305].iter().map(|tenant| (*tenant, 1)).collect();
    assert_eq!((lent, more), (wanted, true));
    let (lent, more) = lend(&mut desk, sharing(100, 1, &full)).await;
    assert_eq!((lent.len(), more), (20, false));
    let (lent, more) = lend(&mut desk, sharing(100, 1, &full)).await;
    assert_eq!(lent.len(), 15, "five had but two");
    assert!(!more);
    let (lent, more) = lend(&mut desk, sharing(100, 1, &[])).await;
    let wanted: Vec<_> = many[..100].iter().map(|tenant| (*tenant, 1)).collect();
    assert_eq!((lent, more), (wanted, true));
}

pub(super) async fn shares_do_not_lengthen_a_visit(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 1_000).await;
    desk.subscribe(TENANT, 2, 1_000).await;
    desk.publish(TENANT, 100, &[1]).await;
    desk.publish(TENANT, 100, &[2]).await;
    let reply = desk
        .demand(vec![sharing(2 * CLAIM_QUANTUM, 2 * CLAIM_QUANTUM, &[])])
        .await;
    let runs = &reply.grants[0].as_ref().expect("there is work").runs;
    let sizes: Vec<usize> = runs.iter().map(|run| run.indices.len()).collect();
    assert_eq!(sizes, [CLAIM_QUANTUM as usize; 2]);
    assert_eq!(reply.more, [false]);
}

pub(super) async fn shares_that_break_a_rule_are_refused(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 10).await;
    desk.publish(TENANT, 2, &[1]).await;
    let seen = desk.look().await;
    let too_many = (0..=CLAIM_SHARES as u128).map(|one| (TenantId::from_bits(one + 1), 1));
    let too_many: Vec<_> = too_many.collect();
    let half = too_many.len() / 2;
    for demands in [
        vec![sharing(1, 0, &[])],
        vec![sharing(1, 1, &[(TENANT, 1), (TENANT, 2)])],
        vec![sharing(1, 1, &too_many)],
        vec![
            sharing(1, 1, &too_many[..half]),
            sharing(1, 1, &too_many[half..]),
        ],
    ] {
        let mut calls = Calls::new(Desk::partition());
        calls.claim = Some((desk.stamp(), Claim { demands }));
        let told = desk.execute(calls).await.claim.expect("it was asked");
        assert!(matches!(told, Err(CallError::Refused { .. })), "{told:?}");
    }
    assert_eq!(desk.look().await, seen);
    let (lent, _) = lend(&mut desk, sharing(9, 9, &too_many[1..])).await;
    assert_eq!(lent, [(TENANT, 1)]);
}
