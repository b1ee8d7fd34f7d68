//! The suite that every backend must pass: examples, one per promise of the port,
//! and random sequences of calls, compared after each step with a
//! [`Ledger`](crate::ledger::Ledger).
//!
//! Time is injected and every random choice comes from a fixed seed, so a failure
//! comes again. A sequence that fails is shortened as long as it still fails, and
//! told call by call.
//!
//! A backend's own test gives a [`StoreFactory`] and calls [`run`], or, to spread
//! the work over tests, [`examples`] and [`random`]; and [`compare`], which asks for
//! the model's answers word for word, and [`copies`], which copies a store into
//! another one.

mod ageing;
mod budgets;
mod cases;
mod catalogs;
mod choices;
mod clocks;
mod compare;
mod copying;
mod desk;
mod draw;
mod driver;
mod health;
mod leasing;
mod publishing;
mod rates;
mod reading;
mod sequence;
mod settling;
mod sharing;
mod world;

use core::ops::Range;

pub use compare::{Comparison, Holdings};

use crate::port::Store;

/// Makes stores to test.
#[async_trait::async_trait]
pub trait StoreFactory: Send + Sync {
    /// An empty store. The one before it is not used any more: it may be the same
    /// one, emptied.
    async fn fresh(&self) -> Box<dyn Store>;

    /// What is left of the last store, which has been dropped, when everything is over:
    /// by name, and without what stays by nature: the versions of catalogs, the graves
    /// of deleted subscriptions. Nothing, if a store cannot be looked into.
    async fn left(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Random sequences that are tried, unless [`seeds`] is told otherwise.
pub const SEEDS: Range<u64> = 0..24;

/// The variable that sets how many random sequences are tried.
const SEQUENCES: &str = "SIDEHOOK_SEQUENCES";

/// Random sequences to try: [`SEEDS`], or as many as `SIDEHOOK_SEQUENCES` says.
///
/// # Panics
/// When it says no number.
#[must_use]
pub fn seeds() -> Range<u64> {
    match std::env::var(SEQUENCES) {
        Ok(count) => 0..count.parse().expect("SIDEHOOK_SEQUENCES is a number"),
        Err(_) => SEEDS,
    }
}

/// Calls of a random sequence of [`run`].
pub const STEPS: usize = 160;

/// The whole suite.
///
/// # Panics
/// When the store breaks a promise: that is its report.
pub async fn run(factory: &dyn StoreFactory) {
    examples(factory).await;
    random(factory, seeds(), STEPS).await;
}

/// The examples.
///
/// # Panics
/// When the store breaks a promise.
pub async fn examples(factory: &dyn StoreFactory) {
    for case in cases::all() {
        let store = factory.fresh().await;
        (case.play)(&*store).await;
    }
    let store = factory.fresh().await;
    rates::full_buckets_leave(&*store).await;
    drop(store);
    let left = factory.left().await;
    assert!(!left.iter().any(|name| name.ends_with("rates")), "{left:?}");
}

/// Random sequences of `steps` calls each, one per seed.
///
/// # Panics
/// When the store breaks a promise: with the seed, and the calls of the shortest
/// sequence found that still fails.
pub async fn random(factory: &dyn StoreFactory, seeds: Range<u64>, steps: usize) {
    for seed in seeds {
        if let Err(failure) = sequence::play(factory, seed, steps).await {
            panic!("{failure}");
        }
    }
}

/// Random sequences that must answer as the model does, one per seed.
///
/// # Panics
/// When the store answers otherwise.
pub async fn compare(factory: &dyn StoreFactory, seeds: Range<u64>, steps: usize) {
    for seed in seeds {
        let store = factory.fresh().await;
        let mut comparison = Comparison::new(seed);
        for _ in 0..steps {
            let stepped = comparison.step(&*store).await;
            stepped.expect("the store answers");
            let agreed = comparison.agree(&*store).await;
            agreed.expect("the store answers");
        }
        let finished = comparison.finish(&*store).await;
        finished.expect("the store answers");
    }
}

/// Random sequences on stores of one kind, each copied into a store of another kind
/// half-way; the copy must hold the same, and goes on as the model's copy does.
///
/// # Panics
/// When the copy differs, or answers otherwise.
pub async fn copies(
    from: &dyn StoreFactory,
    to: &dyn StoreFactory,
    seeds: Range<u64>,
    steps: usize,
) {
    copying::examples(from, to).await;
    for seed in seeds {
        copying::play(from, to, seed, steps).await;
    }
}

#[cfg(test)]
mod tests;
