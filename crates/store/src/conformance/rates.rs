//! Buckets of tokens: what is granted, at which moments.

use core::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sidehook_core::{address::Partition, id::TenantId, time::Timestamp};

use super::choices::{START, TENANT, tenants};
use crate::{
    port::Store,
    rates::{FULL_AFTER_MAX, Rate, Taken, Want},
    turn::{Calls, Turn},
};

const SECOND: Duration = Duration::from_secs(1);
const RATE: Rate = Rate {
    per_second: 10,
    burst: 20,
};

fn want(tenant: TenantId, bucket: u8, rate: Rate, tokens: u32) -> Want {
    Want {
        tenant,
        bucket: [bucket; 16],
        rate,
        tokens,
    }
}

async fn take(store: &dyn Store, now: Timestamp, wants: &[Want]) -> Vec<Taken> {
    let taken = store.take(Some(now), wants).await;
    let taken = taken.expect("the store answers").into_iter();
    taken.map(|one| one.expect("all of it answers")).collect()
}

async fn one(store: &dyn Store, now: Timestamp, tokens: u32) -> Taken {
    take(store, now, &[want(TENANT, 1, RATE, tokens)]).await[0]
}

pub(super) async fn a_bucket_grants_what_it_has(store: &dyn Store) {
    let first = one(store, START, 5).await;
    assert_eq!((first.granted, first.left), (5, 15));
    assert_eq!(first.full_in, SECOND / 2);
    assert_eq!(first.next_in, Duration::ZERO);
    let rest = one(store, START, 100).await;
    assert_eq!((rest.granted, rest.left), (15, 0));
    assert_eq!((rest.full_in, rest.next_in), (2 * SECOND, SECOND / 10));
    let none = one(store, START + SECOND / 20, 1).await;
    assert_eq!((none.granted, none.next_in), (0, SECOND / 20));
    let again = one(store, START + SECOND, 100).await;
    assert_eq!(again.granted, 10);
    let rested = one(store, START + 10 * SECOND, 100).await;
    assert_eq!(rested.granted, 20, "never more than a full one has");
}

pub(super) async fn buckets_are_apart(store: &dyn Store) {
    // Of several partitions and one, in one call, in any order; one of them twice.
    let (near, far) = (tenants(false, 2), tenants(true, 1));
    let (a, b, c) = (near[0], near[1], far[0]);
    let wants = [
        want(c, 1, RATE, 3),
        want(a, 2, RATE, 30),
        want(b, 3, RATE, 1),
        want(a, 1, RATE, 2),
        want(a, 2, RATE, 1),
    ];
    let granted = take(store, START, &wants).await;
    let granted: Vec<_> = granted.iter().map(|one| (one.granted, one.left)).collect();
    assert_eq!(granted, [(3, 17), (20, 0), (1, 19), (2, 18), (0, 0)]);
    assert!(take(store, START, &[]).await.is_empty());
}

pub(super) async fn clocks_that_jump_bring_a_burst_at_most(store: &dyn Store) {
    let year = 365 * 24 * 3600 * SECOND;
    assert_eq!(one(store, START + year, 20).await.granted, 20);
    // Back by a year: empty, and filling from here on.
    assert_eq!(one(store, START, 20).await.granted, 0);
    assert_eq!(one(store, START + SECOND, 20).await.granted, 10);
    assert_eq!(one(store, START + year, 100).await.granted, 20);
}

pub(super) async fn a_new_limit_holds_at_once(store: &dyn Store) {
    one(store, START, 20).await;
    let faster = Rate {
        per_second: 100,
        burst: 300,
    };
    let more = take(store, START, &[want(TENANT, 1, faster, 1_000)]).await[0];
    // Two seconds of three are missing.
    assert_eq!(more.granted, 100);
    let slower = Rate {
        per_second: 1,
        burst: 2,
    };
    let now = START + SECOND;
    let less = take(store, now, &[want(TENANT, 1, slower, 1)]).await[0];
    assert_eq!((less.granted, less.full_in), (0, 2 * SECOND));
}

/// However many take at whatever moments, within any two of them no more is granted than
/// was there and came; and to somebody who waits, what came is granted.
pub(super) async fn never_more_than_came_is_granted(store: &dyn Store) {
    for seed in 0..12 {
        let mut random = StdRng::seed_from_u64(seed);
        let rate = Rate {
            per_second: random.random_range(1..=1_000),
            burst: random.random_range(1..=50),
        };
        let bucket = u8::try_from(seed).expect("small") + 10;
        let (mut now, mut granted) = (START, Vec::new());
        for _ in 0..120 {
            now = now + Duration::from_millis(random.random_range(0..40));
            let wants: Vec<_> = (0..random.random_range(1..4))
                .map(|_| want(TENANT, bucket, rate, random.random_range(0..20)))
                .collect();
            for (taken, want) in take(store, now, &wants).await.iter().zip(&wants) {
                assert!(taken.granted <= want.tokens && taken.left <= rate.burst);
                assert!(taken.granted == want.tokens || taken.left == 0);
                granted.push((now.as_millis(), u64::from(taken.granted)));
            }
        }
        check_bound(rate, &granted, seed);
        let next = take(store, now, &[want(TENANT, bucket, rate, 100)]).await[0].next_in;
        let wait = Duration::from_millis(u64::try_from(next.as_millis()).expect("short") + 1);
        let waited = take(store, now + wait, &[want(TENANT, bucket, rate, 1)]).await[0];
        assert_eq!(waited.granted, 1, "seed {seed}");
    }
}

/// Between any two of these moments (in ms) the rate was kept.
fn check_bound(rate: Rate, granted: &[(i64, u64)], seed: u64) {
    for (first, (from, _)) in granted.iter().enumerate() {
        let mut sum = 0;
        for (to, tokens) in &granted[first..] {
            sum += tokens;
            let time_ms = u64::try_from(to - from).expect("it goes on");
            // In thousandths.
            let most = u64::from(rate.burst) * 1_000 + u64::from(rate.per_second) * time_ms;
            assert!(sum * 1_000 <= most, "seed {seed}: {sum} in {time_ms} ms");
        }
    }
}

/// Leaves nothing behind: a backend whose keys can be listed looks for them afterwards.
pub(super) async fn full_buckets_leave(store: &dyn Store) {
    for bucket in 0..200 {
        take(store, START, &[want(TENANT, bucket, RATE, 20)]).await;
    }
    let far = START + 3 * FULL_AFTER_MAX;
    take(store, far, &[want(TENANT, 201, RATE, 1)]).await;
    let later = START + 2 * SECOND;
    for now in [later, later, later + SECOND] {
        let calls = Calls {
            tick: true,
            ..Calls::new(Partition::of(TENANT))
        };
        let turn = Turn {
            now: Some(now),
            calls: vec![calls],
        };
        let ticked = store.turn(0, &turn).await;
        assert!(ticked.is_ok(), "{ticked:?}");
    }
}
