//! The power fails at a random moment, in the middle of a random sequence of calls.
//! What is then opened must be the state after some call of the sequence: at the
//! strict level none before the last that was answered, at the relaxed level none
//! before the last that was brought to disk.

mod support;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sidehook_embedded::Embedded;
use sidehook_store::{
    Store as _,
    conformance::{Comparison, Holdings},
    port::Durability,
};
use support::{Disk, Survives};

const STEPS: usize = 50;

/// Plays until the power fails; what the model held after each step, and the first
/// of these that may be found.
async fn play(
    store: &Embedded,
    comparison: &mut Comparison,
    random: &mut StdRng,
) -> (Vec<Holdings>, usize) {
    let mut held = vec![comparison.wanted().await];
    let mut safe = 0;
    for _ in 0..STEPS {
        let stepped = comparison.step(store).await;
        held.push(comparison.wanted().await);
        if stepped.is_err() {
            break;
        }
        let brought = match store.durability() {
            Durability::Strict => true,
            _ => random.random_range(0..6) == 0 && store.flush().await.is_ok(),
        };
        if brought {
            safe = held.len() - 1;
        }
    }
    (held, safe)
}

/// Whether the power failed in the middle of the sequence.
async fn round(seed: u64, durability: Durability) -> bool {
    let mut random = StdRng::seed_from_u64(seed);
    let disk = Disk::default();
    let store = disk.store(durability);
    let most = if durability == Durability::Strict {
        1_500
    } else {
        400
    };
    disk.lose_power_after(random.random_range(0..most));
    let mut comparison = Comparison::new(seed);
    let (held, safe) = play(&store, &mut comparison, &mut random).await;
    let survives = [Survives::Nothing, Survives::Some, Survives::Torn][random.random_range(0..3)];
    let disk = disk.after_power_loss(survives, &mut random);
    drop(store);

    let context = format!("seed {seed}, {durability:?}, survives: {survives:?}");
    let store = disk.store(durability);
    let seen = comparison.holdings(&store).await.expect("it answers");
    assert_eq!(seen.places.faults, Vec::<String>::new(), "{context}");
    let found = held.iter().rposition(|one| *one == seen);
    let found = found.unwrap_or_else(|| panic!("{context}: a state that never was: {seen:#?}"));
    assert!(
        found >= safe,
        "{context}: step {safe} was safe, {found} is found"
    );
    let interrupted = held.len() <= STEPS;
    comparison.reopened();
    if found + 1 < held.len() {
        return interrupted;
    }
    for _ in 0..5 {
        comparison.step(&store).await.expect("it answers");
        comparison.agree(&store).await.expect("it answers");
    }
    interrupted
}

async fn rounds(durability: Durability) {
    let mut interrupted = 0;
    for seed in 0..50 {
        interrupted += u32::from(round(seed, durability).await);
    }
    assert!(interrupted > 25, "only {interrupted} power losses struck");
}

#[tokio::test]
async fn strict_loses_nothing_that_was_answered() {
    rounds(Durability::Strict).await;
}

#[tokio::test]
async fn relaxed_loses_at_most_what_was_not_brought_to_disk() {
    rounds(Durability::Relaxed).await;
}

/// Without this the tests above would prove nothing about the disk they use.
#[test]
fn the_disk_forgets_what_was_not_synced() {
    use redb::StorageBackend as _;
    let mut random = StdRng::seed_from_u64(1);
    let disk = Disk::default();
    disk.set_len(2_048).expect("it works");
    disk.write(0, &[1; 2_048]).expect("it works");
    disk.sync_data().expect("it works");
    disk.write(0, &[2; 2_048]).expect("it works");
    let mut read = [0; 2_048];
    disk.read(0, &mut read).expect("it works");
    assert_eq!(read, [2; 2_048]);
    let mut seen = |survives| {
        let after = disk.after_power_loss(survives, &mut random);
        after.read(0, &mut read).expect("it works");
        read
    };
    assert_eq!(seen(Survives::Nothing), [1; 2_048]);
    let torn = (0..20).any(|_| {
        let read = seen(Survives::Torn);
        read.contains(&1) && read.contains(&2)
    });
    assert!(torn, "sectors survive apart");
}
