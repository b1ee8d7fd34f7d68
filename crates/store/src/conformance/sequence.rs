//! Random sequences: drawn from a seed, played, and shortened when they fail.
//!
//! A step is only a kind and a seed of its own; what exactly it does is drawn when
//! it is played, from what the store then holds. So any step can be left out and
//! the others still make sense, which is all that shortening needs.

use core::fmt;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{StoreFactory, world::World};

/// How often a failing sequence is played again to shorten it.
const SHORTENINGS: usize = 200;

/// What a step does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Changes a subscription.
    Write,
    /// Settles, publishes, claims or ticks, or some of them at once.
    Turn,
    /// Sends the last turn again.
    Repeat,
    /// Sends a call of a sequence that is over.
    Outdated,
    /// Renews leases.
    Renew,
    /// Gives a holder's leases back.
    Release,
    /// Redelivers.
    Redeliver,
    /// Reads deliveries, leases and segments.
    Read,
    /// Lets time pass.
    Pass,
}

/// One step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) seed: u64,
}

/// A broken promise, with the calls that lead to it.
pub(super) struct Failure {
    seed: u64,
    reason: String,
    calls: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.reason)?;
        writeln!(f, "after {} calls:", self.calls.len())?;
        self.calls
            .iter()
            .try_for_each(|call| writeln!(f, "  {call}"))
    }
}

fn plan(seed: u64, steps: usize) -> Vec<Step> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut draw = || {
        let kind = match random.random_range(0..100) {
            0..12 => Kind::Write,
            12..62 => Kind::Turn,
            62..68 => Kind::Repeat,
            68..71 => Kind::Outdated,
            71..75 => Kind::Renew,
            75..78 => Kind::Release,
            78..83 => Kind::Redeliver,
            83..86 => Kind::Read,
            _ => Kind::Pass,
        };
        let seed = random.random();
        Step { kind, seed }
    };
    (0..steps).map(|_| draw()).collect()
}

/// Plays steps, and then brings everything to its end; fails with the number of
/// steps that were played.
async fn attempt(
    factory: &dyn StoreFactory,
    seed: u64,
    steps: &[Step],
) -> Result<(), (usize, Failure)> {
    let store = factory.fresh().await;
    let mut world = World::new(&*store, seed);
    let mut played = 0;
    let mut result = Ok(());
    for step in steps {
        played += 1;
        result = world.step(*step).await;
        if result.is_err() {
            break;
        }
    }
    if result.is_ok() {
        result = world.finish().await;
    }
    let calls = world.calls;
    drop(store);
    if result.is_ok() {
        let left = factory.left().await;
        if !left.is_empty() {
            result = Err(format!("in the end there is left {left:?}"));
        }
    }
    result.map_err(|reason| {
        let failure = Failure {
            seed,
            reason,
            calls,
        };
        (played, failure)
    })
}

/// Plays a seed's sequence.
pub(super) async fn play(
    factory: &dyn StoreFactory,
    seed: u64,
    steps: usize,
) -> Result<(), Failure> {
    let mut plan = plan(seed, steps);
    let Err((played, mut failure)) = attempt(factory, seed, &plan).await else {
        return Ok(());
    };
    plan.truncate(played);
    let mut left = SHORTENINGS;
    let mut chunk = plan.len().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        while at < plan.len() && left > 0 {
            left -= 1;
            let mut shorter = plan.clone();
            shorter.drain(at..(at + chunk).min(plan.len()));
            match attempt(factory, seed, &shorter).await {
                Ok(()) => at += chunk,
                Err((played, shorter_failure)) => {
                    failure = shorter_failure;
                    plan = shorter;
                    plan.truncate(played);
                }
            }
        }
        chunk /= 2;
    }
    Err(failure)
}
