//! A partition whose slot is on its way from one node of a Cluster to another: whoever
//! calls meanwhile is told that nothing is known, and never something wrong, and the
//! same call, made again, is answered as if nothing had moved.

#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster::Emptied;
use sidehook_store::{
    StoreError,
    conformance::{Comparison, StoreFactory as _},
    registry::Kind,
};
use sidehook_testkit::redis_cluster::{MASTERS, RedisCluster};
use tokio::sync::watch;

const STEPS: usize = 120;
/// How long a store may take to see that a move is over.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes a call until it is answered.
async fn until_known(mut call: impl AsyncFnMut() -> Result<(), StoreError>) {
    let begun = Instant::now();
    while let Err(error) = call().await {
        assert!(is_away(&error), "{error}");
        assert!(begun.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

const fn is_away(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable { .. })
}

async fn slot(cluster: &RedisCluster, comparison: &Comparison) -> u16 {
    let tag = format!("{{sh{:02}}}", comparison.partition().number());
    cluster.slot(&tag).await
}

async fn next(cluster: &RedisCluster, slot: u16) -> usize {
    (cluster.owner(slot).await + 1) % MASTERS
}

#[tokio::test]
async fn a_half_moved_partition_tells_nothing_wrong() {
    let stores = Emptied::start().await;
    let cluster = &stores.0;
    let mut refused = 0;
    for seed in 0..4 {
        let store = stores.fresh().await;
        let mut comparison = Comparison::new(seed);
        let slot = slot(cluster, &comparison).await;
        for number in 1..=STEPS {
            let half = if number % 8 == 0 {
                let migration = cluster.migrate(slot, next(cluster, slot).await).await;
                migration.step(number / 8 % 6).await;
                Some(migration)
            } else {
                None
            };
            let mut answer = comparison.step(&*store).await;
            if half.is_some() && answer.is_err() {
                refused += 1;
                answer = comparison.again(&*store).await;
            }
            if let Some(migration) = half {
                migration.finish().await;
            }
            if answer.is_err() {
                until_known(async || comparison.again(&*store).await).await;
            }
            until_known(async || comparison.agree(&*store).await).await;
        }
        let finished = comparison.finish(&*store).await;
        finished.expect("nothing moves any more");
    }
    assert!(refused > STEPS / 8, "{refused} calls met a half-moved slot");
}

#[tokio::test]
async fn a_partition_that_moves_beneath_its_calls_answers_as_the_model_does() {
    let stores = Emptied::start().await;
    let cluster = &stores.0;
    for seed in 10..14 {
        let store = stores.fresh().await;
        let mut comparison = Comparison::new(seed);
        let slot = slot(cluster, &comparison).await;
        let (made, mut steps) = watch::channel(0);
        let moving = async {
            let mut moves = 0;
            // After every fifth step, key by key, while the next ones are being made.
            while steps.wait_for(|made| *made > moves * 5).await.is_ok() {
                let migration = cluster.migrate(slot, next(cluster, slot).await).await;
                while migration.step(3).await > 0 {}
                migration.finish().await;
                moves += 1;
            }
            moves
        };
        let calling = async {
            for number in 1..=STEPS {
                if let Err(error) = comparison.step(&*store).await {
                    assert!(is_away(&error), "{error}");
                    until_known(async || comparison.again(&*store).await).await;
                }
                until_known(async || comparison.agree(&*store).await).await;
                made.send_replace(number);
            }
            drop(made);
        };
        let (moves, ()) = tokio::join!(moving, calling);
        assert!(moves > STEPS / 20, "it moved {moves} times");
        let finished = comparison.finish(&*store).await;
        finished.expect("nothing moves any more");
    }
}

#[tokio::test]
async fn a_registry_on_the_move_forgets_nothing() {
    let stores = Emptied::start().await;
    let cluster = &stores.0;
    let store = stores.fresh().await;
    let key = |number: u8| [number; 4];
    let value = |number: u8| Bytes::from(vec![number; 8]);
    let put = async |number: u8| {
        let value = Some(value(number));
        store.registry_put(Kind::Tenant, &key(number), value).await
    };
    for number in 0..10 {
        put(number).await.expect("it is whole");
    }
    let slot = cluster.slot("{shsys}").await;
    let migration = cluster.migrate(slot, next(cluster, slot).await).await;
    for _ in 0..2 {
        assert_eq!(migration.step(1).await, 1);
        let error = put(99).await.expect_err("it is nowhere whole");
        assert!(is_away(&error), "{error}");
        for number in 0..10 {
            match store.registry_get(Kind::Tenant, &key(number)).await {
                Ok(found) => assert_eq!(found, Some(value(number))),
                Err(error) => assert!(is_away(&error), "{error}"),
            }
        }
        match store.registry_list(Kind::Tenant, &[], 100).await {
            Ok(page) => assert_eq!(page.entries.len(), 10),
            Err(error) => assert!(is_away(&error), "{error}"),
        }
    }
    migration.finish().await;
    until_known(async || put(99).await).await;
    let page = store.registry_list(Kind::Tenant, &[], 100).await;
    assert_eq!(page.expect("it is whole").entries.len(), 11);
    let claimed = store.registry_claim(Kind::Tenant, &key(3), value(77)).await;
    assert_eq!(claimed.expect("it is whole"), value(3));
}
