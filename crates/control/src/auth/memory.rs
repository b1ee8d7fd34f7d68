//! What look-ups found, for a moment.

use core::{hash::Hash, time::Duration};
use std::collections::HashMap;

use tokio::time::Instant;

/// How long a look-up is remembered.
pub(super) const REMEMBERED: Duration = Duration::from_secs(2);
/// Values that are remembered.
const MEMORY: usize = 10_000;

/// Values that are remembered for [`REMEMBERED`] at most, and at most `MEMORY` of them.
pub(super) struct Memory<K, V> {
    values: HashMap<K, (Instant, V)>,
    /// When what is over was last cleared away.
    cleared: Option<Instant>,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self {
            values: HashMap::new(),
            cleared: None,
        }
    }
}

impl<K: Hash + Eq, V: Clone> Memory<K, V> {
    pub(super) fn get(&self, key: &K, now: Instant) -> Option<V> {
        let (until, value) = self.values.get(key)?;
        (now < *until).then(|| value.clone())
    }

    /// Remembers what was looked up at `asked`, at most until `end`. Full of what is still
    /// fresh, it does not remember: the store is asked each time.
    pub(super) fn put(&mut self, key: K, value: V, asked: Instant, end: Option<Instant>) {
        let is_due = self
            .cleared
            .is_none_or(|at| asked.saturating_duration_since(at) >= REMEMBERED);
        if is_due || self.values.len() >= MEMORY {
            self.values.retain(|_, (until, _)| asked < *until);
            self.cleared = Some(asked);
        }
        if self.values.len() >= MEMORY && !self.values.contains_key(&key) {
            return;
        }
        let fresh = asked + REMEMBERED;
        let until = end.map_or(fresh, |end| end.min(fresh));
        self.values.insert(key, (until, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_forgets_and_is_bounded() {
        let mut memory = Memory::default();
        let start = Instant::now();
        for key in 0..MEMORY + 10 {
            memory.put(key, key, start, None);
        }
        assert_eq!(memory.values.len(), MEMORY);
        assert_eq!(memory.get(&1, start), Some(1));
        let later = start + REMEMBERED;
        assert_eq!(memory.get(&1, later), None);
        memory.put(MEMORY + 10, 0, later, None);
        assert_eq!(memory.values.len(), 1);
    }

    #[test]
    fn nothing_is_remembered_beyond_its_end() {
        let mut memory = Memory::default();
        let start = Instant::now();
        let end = start + REMEMBERED / 2;
        memory.put("short", (), start, Some(end));
        memory.put("over", (), start, Some(start));
        assert_eq!(memory.get(&"short", start), Some(()));
        assert_eq!(memory.get(&"short", end), None);
        assert_eq!(memory.get(&"over", start), None);
        memory.put("long", (), start, Some(start + 10 * REMEMBERED));
        assert_eq!(memory.get(&"long", start + REMEMBERED), None);
        memory.put("next", (), start + REMEMBERED, None);
        assert_eq!(memory.values.len(), 1, "the others do not even lie there");
    }
}
