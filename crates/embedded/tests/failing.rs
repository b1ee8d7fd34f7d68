//! A write or a sync fails once: the call that met it is answered as unknown, and
//! the store goes on. The caller repeats the call, unchanged: nothing is lost and
//! nothing is done twice.

mod support;

use bytes::Bytes;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sidehook_embedded::Embedded;
use sidehook_store::{
    Store as _, StoreError, conformance::Comparison, port::Durability, registry::Kind,
};
use support::Disk;

const STEPS: usize = 60;

/// Makes a call again until it is answered.
async fn insist(comparison: &Comparison, store: &Embedded) {
    while let Err(error) = comparison.again(store).await {
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_fails_once_is_done_once() {
    let mut errors = 0;
    for seed in 0..12 {
        let mut random = StdRng::seed_from_u64(seed);
        let disk = Disk::default();
        let store = disk.store(Durability::Strict);
        let mut comparison = Comparison::new(seed);
        for step in 0..STEPS {
            if step % 4 == 0 {
                disk.fail_after(random.random_range(0..60));
            }
            if comparison.step(&store).await.is_err() {
                insist(&comparison, &store).await;
            }
            while comparison.agree(&store).await.is_err() {
                tokio::task::yield_now().await;
            }
        }
        disk.spare();
        errors += disk.errors();
        let finished = comparison.finish(&store).await;
        finished.expect("nothing fails any more");
    }
    assert!(errors > 100, "{errors} errors are too few to tell anything");
}

#[tokio::test]
async fn a_read_that_fails_does_not_shut_the_store() {
    let disk = Disk::default();
    let value = Some(Bytes::from_static(&[7; 3_000]));
    let store = disk.store(Durability::Strict);
    for number in 0..300_u16 {
        let key = number.to_be_bytes();
        let put = store.registry_put(Kind::Tenant, &key, value.clone()).await;
        put.expect("it answers");
    }
    drop(store);

    // What it holds is more than fits into this disk's cache.
    let store = disk.store(Durability::Strict);
    disk.fail_read();
    let first = store.registry_get(Kind::Tenant, &[0, 150]).await;
    assert!(
        matches!(first, Err(StoreError::Unavailable { .. })),
        "{first:?}"
    );
    assert_eq!(disk.errors(), 1);
    // Without any write in between: the reader told the writer.
    let mut read = store.registry_get(Kind::Tenant, &[0, 150]).await;
    while read.is_err() {
        tokio::task::yield_now().await;
        read = store.registry_get(Kind::Tenant, &[0, 150]).await;
    }
    assert_eq!(read, Ok(value));
}
