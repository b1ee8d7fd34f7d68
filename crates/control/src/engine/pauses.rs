//! Subscriptions that are to be paused because of how a delivery ended.
//!
//! A delivery's end asks once, and may be the last that ever asks; so what it asked for is
//! kept here until it is done: one entry for each subscription, however many deliveries
//! ask, and asked again with a growing back-off while the store is away. Those that wait
//! for their next try keep nobody else waiting: another part of the store may answer.
//!
//! What remains is the process that dies in between: then the subscription goes on, and
//! the next delivery that ends so asks again. The same holds beyond `MOST` subscriptions.

use core::time::Duration;
use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use sidehook_core::{
    id::{SubscriptionNumber, TenantId},
    subscription::PauseReason,
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// Subscriptions that may wait to be paused.
const MOST: usize = 65_536;
/// Subscriptions that are being paused at one time.
const AT_ONCE: usize = 16;
/// Until the second try; each further one waits twice as long as the one before.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Until the next try at most.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What is to happen when the end of a delivery says that no more are wanted
/// ([`retry::Disposition::Dead`](sidehook_core::retry::Disposition)).
pub trait OnPause: Send + Sync + 'static {
    /// Pauses the subscription. It may be paused, changed or deleted already.
    fn pause(&self, wanted: Pause) -> BoxFuture<'_, PauseAnswer>;
}

/// What became of a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseAnswer {
    /// It is not to be asked for again.
    Done,
    /// It was not possible now: it is to be asked for once more.
    Later,
}

/// A subscription that is to be paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Whose it is.
    pub tenant: TenantId,
    /// Which of theirs.
    pub subscription: SubscriptionNumber,
    /// Why.
    pub reason: PauseReason,
}

type Key = (TenantId, SubscriptionNumber);

#[derive(Clone, Copy)]
struct Waiting {
    reason: PauseReason,
    /// When it is asked for.
    due: Instant,
    /// How long it waits for the try after that.
    wait: Duration,
}

#[derive(Default)]
struct State {
    waiting: HashMap<Key, Waiting>,
    /// The same, by when they are due.
    order: BTreeSet<(Instant, Key)>,
}

/// The pauses that are not made yet.
#[derive(Default)]
pub(crate) struct Pauses {
    state: Mutex<State>,
    come: Notify,
}

impl Pauses {
    /// Has a subscription paused; whether there was room to keep that.
    pub(crate) fn ask(&self, pause: Pause) -> bool {
        let now = Instant::now();
        let State { waiting, order } = &mut *self.state.lock();
        let room = waiting.len() < MOST;
        let key = (pause.tenant, pause.subscription);
        match waiting.entry(key) {
            Entry::Occupied(_) => return true,
            Entry::Vacant(_) if !room => return false,
            Entry::Vacant(place) => {
                place.insert(Waiting {
                    reason: pause.reason,
                    due: now,
                    wait: FIRST_WAIT,
                });
            }
        }
        order.insert((now, key));
        self.come.notify_one();
        true
    }

    /// Makes them, for ever.
    pub(super) async fn make(self: Arc<Self>, on_pause: Arc<dyn OnPause>) {
        loop {
            let (batch, next) = self.due(Instant::now());
            if batch.is_empty() {
                let come = self.come.notified();
                match next {
                    // Either way something may be due.
                    Some(next) => drop(timeout_at(next, come).await),
                    None => come.await,
                }
                continue;
            }
            let asked = batch.into_iter().map(async |(key, waiting)| {
                let wanted = Pause {
                    tenant: key.0,
                    subscription: key.1,
                    reason: waiting.reason,
                };
                if on_pause.pause(wanted).await == PauseAnswer::Later {
                    self.later(key, waiting, Instant::now());
                }
            });
            join_all(asked).await;
        }
    }

    /// Takes those out that are due, if there are any; and when the first of the others is.
    fn due(&self, now: Instant) -> (Vec<(Key, Waiting)>, Option<Instant>) {
        let State { waiting, order } = &mut *self.state.lock();
        let mut batch = Vec::new();
        while batch.len() < AT_ONCE
            && let Some(&(due, key)) = order.first()
        {
            if due > now {
                return (batch, Some(due));
            }
            order.pop_first();
            batch.extend(waiting.remove(&key).map(|one| (key, one)));
        }
        (batch, None)
    }

    /// Keeps one for its next try. If it was asked for anew meanwhile, that waits as well.
    fn later(&self, key: Key, tried: Waiting, now: Instant) {
        let next = Waiting {
            due: now + tried.wait,
            wait: (tried.wait * 2).min(LONGEST_WAIT),
            ..tried
        };
        let State { waiting, order } = &mut *self.state.lock();
        if let Some(anew) = waiting.insert(key, next) {
            order.remove(&(anew.due, key));
        }
        order.insert((next.due, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(number: u32) -> Pause {
        Pause {
            tenant: TenantId::from_bits(1),
            subscription: SubscriptionNumber(number),
            reason: PauseReason::Gone,
        }
    }

    #[test]
    fn each_subscription_waits_once_and_no_more_than_there_is_room_for() {
        let pauses = Pauses::default();
        for number in (0..MOST as u32).chain(0..10) {
            assert!(pauses.ask(pause(number)));
        }
        assert!(!pauses.ask(pause(u32::MAX)));
        let mut taken = 0;
        loop {
            let (batch, _) = pauses.due(Instant::now());
            taken += batch.len();
            if batch.is_empty() {
                break;
            }
        }
        assert_eq!(taken, MOST);
        assert!(pauses.state.lock().waiting.is_empty());
    }

    #[test]
    fn what_was_not_possible_waits_longer_each_time_and_lets_others_pass() {
        let pauses = Pauses::default();
        assert!(pauses.ask(pause(1)));
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..9 {
            let (batch, next) = pauses.due(now);
            assert_eq!((batch.len(), next), (1, None));
            // Asked for anew while it is tried: it waits all the same.
            assert!(pauses.ask(pause(1)));
            pauses.later(batch[0].0, batch[0].1, now);
            let (none, next) = pauses.due(now);
            assert!(none.is_empty());
            let next = next.expect("it waits");
            waits.push((next - now).as_millis());
            now = next;
        }
        let doubled = [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000];
        assert_eq!(waits, doubled);
        assert!(pauses.ask(pause(2)));
        let (batch, next) = pauses.due(Instant::now());
        assert_eq!((batch.len(), batch[0].0.1), (1, SubscriptionNumber(2)));
        assert_eq!(next, Some(now));
    }
}
