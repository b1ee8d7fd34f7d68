//! Against floods of the same log line: at most one per interval and key, and a count of what was held back.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How many keys are remembered. When more are active within one interval, the newest are held back unseen: a flood
/// over endless keys must not become a memory leak.
const MAX_KEYS: usize = 1_024;

/// Says whether to log. Keys are what distinguishes lines: an endpoint, an error kind, or `()` for a single line.
#[derive(Debug)]
pub struct Throttle<K> {
    interval: Duration,
    slots: Mutex<HashMap<K, (Instant, u64)>>,
}

impl<K: Hash + Eq> Throttle<K> {
    /// At most one line per `interval` and key.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            slots: Mutex::default(),
        }
    }

    /// `Some` if the line may be logged now, with the number of lines held back since the last one.
    pub fn admit(&self, key: K) -> Option<u64> {
        self.admit_at(key, Instant::now())
    }

    fn admit_at(&self, key: K, now: Instant) -> Option<u64> {
        let mut slots = self.slots.lock();
        if let Some((since, suppressed)) = slots.get_mut(&key) {
            if now.saturating_duration_since(*since) < self.interval {
                *suppressed += 1;
                return None;
            }
            *since = now;
            return Some(std::mem::take(suppressed));
        }
        if slots.len() >= MAX_KEYS {
            slots.retain(|_, (since, _)| now.saturating_duration_since(*since) < self.interval);
        }
        if slots.len() >= MAX_KEYS {
            return None;
        }
        slots.insert(key, (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_and_key_with_the_count_of_the_rest() {
        let throttle = Throttle::new(Duration::from_secs(10));
        let start = Instant::now();
        let at = |key, second| throttle.admit_at(key, start + Duration::from_secs(second));
        assert_eq!(
            (at("a", 0), at("a", 1), at("b", 1), at("a", 9)),
            (Some(0), None, Some(0), None)
        );
        assert_eq!((at("a", 10), at("a", 20)), (Some(2), Some(0)));
    }

    #[test]
    fn endless_keys_are_bounded_and_old_ones_make_room() {
        let throttle = Throttle::new(Duration::from_secs(10));
        let start = Instant::now();
        let admitted = (0..5_000).filter(|key| throttle.admit_at(*key, start).is_some());
        assert_eq!(admitted.count(), MAX_KEYS);
        assert_eq!(
            throttle.admit_at(9_999, start + Duration::from_secs(10)),
            Some(0)
        );
        assert_eq!(throttle.slots.lock().len(), 1);
    }
}
