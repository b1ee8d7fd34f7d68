//! A write or a sync fails once: the call that met it is answered as unknown, and
//! the store goes on. The caller repeats the call, unchanged: nothing is lost and
//! nothing is done twice.

mod support;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sidehook_embedded::Embedded;
use sidehook_store::{StoreError, conformance::Comparison, port::Durability};
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
