//! Health: what counts, how often, and for how long.

use core::time::Duration;

use bytes::Bytes;
use sidehook_core::{
    health::{HOURS, Health, Kind, Latency, MINUTES, Mark, NOTES, SPANS},
    id::{SubscriptionNumber, TenantId},
    limits::HEALTH_NOTE_BYTES,
};

use super::{
    choices::{TENANT, tenants},
    desk::{Desk, Lent, TERM, end, outcomes, retry},
};
use crate::{
    catalog::Change,
    error::CallError,
    port::Store,
    turn::{Calls, Disposition, Settle},
};

const HOUR: Duration = Duration::from_secs(3_600);

fn mark(kind: Kind, note: u8) -> Mark {
    Mark {
        kind,
        latency: Latency::of(Duration::from_millis(30)),
        note: Bytes::from(vec![note; 3]),
    }
}

/// All of them end, and each counts as `how` says of its position.
fn counting(lent: &[Lent], how: impl Fn(u16) -> Option<Mark>) -> Settle {
    let mut settle = outcomes(lent, |_| end("done"));
    for item in settle.leases.iter_mut().flat_map(|one| &mut one.items) {
        item.mark = how(item.position);
    }
    settle
}

async fn health(desk: &Desk<'_>, tenant: TenantId, number: u32) -> Health {
    let numbers = [SubscriptionNumber(number)];
    let told = desk.store.health(tenant, &numbers).await;
    told.expect("the store answers").remove(0)
}

async fn lend(desk: &mut Desk<'_>, count: u8) -> Vec<Lent> {
    desk.publish(TENANT, count, &[1]).await;
    desk.claim(count.into()).await
}

pub(super) async fn attempts_that_count_are_counted(store: &dyn Store) {
    let mut desk = Desk::new(store);
    let elsewhere = tenants(true, 1)[0];
    desk.subscribe(TENANT, 1, 100).await;
    desk.subscribe(TENANT, 2, 100).await;
    desk.publish(TENANT, 6, &[1, 2]).await;
    let lent = desk.claim(12).await;
    assert_eq!(health(&desk, TENANT, 1).await, Health::default());
    let soon = desk.now + Duration::from_secs(60);
    let mut settle = outcomes(&lent, |one| match one.delivery.index() {
        0 | 1 => end("done"),
        2 | 3 => retry(soon),
        4 => end("dead, by nobody's fault"),
        _ => Disposition::Release,
    });
    for item in settle.leases.iter_mut().flat_map(|one| &mut one.items) {
        let kind = match item.index {
            0 => Kind::FirstSuccess,
            1 => Kind::RetrySuccess,
            2 => Kind::FirstFail,
            3 => Kind::RetryFail,
            _ => continue,
        };
        if item.subscription.0 == 1 || item.index == 2 {
            item.mark = Some(mark(kind, item.index));
        }
    }
    assert_eq!(desk.settle(settle).await, Vec::<u16>::new());
    let told = health(&desk, TENANT, 1).await;
    assert_eq!(told.recent.counters.numbers(), [1; 4]);
    for row in [MINUTES, HOURS] {
        let bucket = told.recent.current[row];
        assert_eq!(bucket.number, SPANS[row].number(desk.now));
        assert_eq!((bucket.counts, bucket.latencies[2]), ([1; 4], 4));
    }
    let numbers = [3, 2, 1, 2].map(SubscriptionNumber);
    let all = store.health(TENANT, &numbers).await.expect("it answers");
    let counts = all.iter().map(|one| one.recent.counters.numbers());
    let wanted = [[0; 4], [0, 1, 0, 0], [1; 4], [0, 1, 0, 0]];
    assert_eq!(counts.collect::<Vec<_>>(), wanted);
    assert_eq!(health(&desk, elsewhere, 1).await, Health::default());
    assert_eq!(store.health(TENANT, &[]).await, Ok(Vec::new()));
    desk.look().await;
}

pub(super) async fn stale_and_repeated_outcomes_do_not_count(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 100).await;
    let lent = lend(&mut desk, 4).await;
    let good = |position: u16| Some(mark(Kind::FirstSuccess, position as u8));
    let mut stolen = counting(&lent, good);
    stolen.leases[0].token ^= 1;
    assert_eq!(desk.settle(stolen).await, [0, 1, 2, 3]);
    assert_eq!(health(&desk, TENANT, 1).await, Health::default());

    let mut calls = Calls::new(Desk::partition());
    calls.settle = Some((desk.stamp(), counting(&lent[1..3], good)));
    for _ in 0..3 {
        let reply = desk.execute(calls.clone()).await.settle;
        assert!(matches!(reply, Some(Ok(_))), "{reply:?}");
        let told = health(&desk, TENANT, 1).await.recent;
        assert_eq!(told.counters.first_success, 2);
        let notes: Vec<_> = told.successes.iter().map(|note| note[0]).collect();
        assert_eq!(notes, [1, 2]);
    }
    // Again in another call: two are stale, and leave their notes out as well.
    assert_eq!(desk.settle(counting(&lent, good)).await, [1, 2]);
    let told = health(&desk, TENANT, 1).await.recent;
    assert_eq!(told.counters.first_success, 4);
    let notes: Vec<_> = told.successes.iter().map(|note| note[0]).collect();
    assert_eq!(notes, [1, 2, 0, 3]);

    // A lease that ran out settles nothing.
    let lent = lend(&mut desk, 1).await;
    desk.pass(TERM);
    desk.tick().await;
    assert_eq!(desk.settle(counting(&lent, good)).await, [0]);
    assert_eq!(health(&desk, TENANT, 1).await.recent, told);
    desk.look().await;
}

pub(super) async fn buckets_follow_the_stores_clock(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 100).await;
    let mut wanted = Health::default();
    let step = |desk: &mut Desk<'_>, hour: u32| {
        desk.now = super::choices::START + HOUR * hour;
    };
    // Up to more than are kept, back by some hours, and on.
    let hours = (0..86).chain([80, 81, 85, 86]);
    for (hour, kind) in hours.zip([Kind::FirstFail, Kind::RetrySuccess].into_iter().cycle()) {
        step(&mut desk, hour);
        let one = mark(kind, hour as u8);
        desk.publish(TENANT, 1, &[1]).await;
        let lent = desk.claim(1).await;
        desk.settle(counting(&lent, |_| Some(one.clone()))).await;
        wanted.count(desk.now, [&one]);
        if hour % 20 == 0 {
            assert_eq!(health(&desk, TENANT, 1).await, wanted, "hour {hour}");
        }
    }
    let told = health(&desk, TENANT, 1).await;
    assert_eq!(told, wanted);
    let sizes = told.over.each_ref().map(Vec::len);
    assert_eq!(sizes, SPANS.map(|span| span.kept));
    desk.look().await;
}

pub(super) async fn the_newest_notes_are_kept(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 100).await;
    let long = Bytes::from(vec![9; HEALTH_NOTE_BYTES]);
    for round in 0..3_u8 {
        let lent = lend(&mut desk, 8).await;
        let how = |position: u16| {
            let kind = Kind::of(true, position % 4 != 3);
            let number = 10 * round + position as u8;
            let mut one = mark(kind, number);
            if number == 27 {
                one.note = long.clone();
            }
            if number == 26 {
                one.note = Bytes::new();
            }
            Some(one)
        };
        desk.settle(counting(&lent, how)).await;
    }
    let told = health(&desk, TENANT, 1).await.recent;
    let three = |number: u8| Bytes::from(vec![number; 3]);
    let mut successes: Vec<_> = [21, 22, 24, 25].map(three).into();
    successes.push(Bytes::new());
    assert_eq!(told.successes, successes);
    let mut errors: Vec<_> = [7, 13, 17, 23].map(three).into();
    errors.push(long);
    assert_eq!(told.errors, errors);
    assert_eq!(told.successes.len(), NOTES);
    assert_eq!(told.counters.numbers(), [18, 6, 0, 0]);
    desk.look().await;
}

pub(super) async fn health_goes_with_its_subscription(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 100).await;
    let lent = lend(&mut desk, 4).await;
    let bad = |position: u16| Some(mark(Kind::FirstFail, position as u8));
    desk.settle(counting(&lent[..2], bad)).await;
    desk.serve(TENANT, 1, 50, true).await;
    let told = health(&desk, TENANT, 1).await;
    assert_eq!(told.recent.counters.first_fail, 2, "a change keeps it");
    desk.pass(2 * HOUR);
    // A paused one's attempts count as well: they were made.
    desk.settle(counting(&lent[2..3], bad)).await;
    let told = health(&desk, TENANT, 1).await;
    assert_eq!(told.recent.counters.first_fail, 3);
    assert_eq!(told.over[MINUTES].len(), 1);
    desk.change(TENANT, 1, Change::Delete).await;
    assert_eq!(health(&desk, TENANT, 1).await, Health::default());
    assert!(desk.look().await.health.is_empty());
    // What was under way then ends, and counts for nobody.
    let stale = desk.settle(counting(&lent[3..], bad)).await;
    assert_eq!(stale, Vec::<u16>::new());
    assert!(desk.look().await.health.is_empty());
}

pub(super) async fn marks_that_break_a_rule_are_refused(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 100).await;
    let lent = lend(&mut desk, 1).await;
    let long = Mark {
        note: Bytes::from(vec![0; HEALTH_NOTE_BYTES + 1]),
        ..mark(Kind::FirstSuccess, 0)
    };
    let too_long = counting(&lent, |_| Some(long.clone()));
    let mut not_made = counting(&lent, |_| Some(mark(Kind::FirstSuccess, 0)));
    not_made.leases[0].items[0].disposition = Disposition::Release;
    for call in [too_long, not_made] {
        let mut calls = Calls::new(Desk::partition());
        calls.settle = Some((desk.stamp(), call));
        let reply = desk.execute(calls).await.settle;
        let refused = matches!(reply, Some(Err(CallError::Refused { .. })));
        assert!(refused, "{reply:?}");
    }
    assert_eq!(desk.counts().await, [0, 1, 0], "nothing was done");
    assert_eq!(health(&desk, TENANT, 1).await, Health::default());
}
