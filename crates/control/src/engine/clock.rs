//! The store's clock, as far as it is known here.
//!
//! Whatever is persisted goes by the store's time. Between its replies the engine
//! counts on from the last one with its own monotonic clock, and uses no other wall
//! clock: replicas with wrong clocks agree all the same.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Instant,
};

use sidehook_core::time::Timestamp;

/// See the module.
#[derive(Debug)]
pub(crate) struct StoreClock {
    origin: Instant,
    /// The store's time at `origin`, in milliseconds.
    offset_ms: AtomicI64,
}

impl StoreClock {
    /// A clock that the store just read as `now`.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            origin: Instant::now(),
            offset_ms: AtomicI64::new(now.as_millis()),
        }
    }

    /// The store said that it is `now`.
    pub(crate) fn set(&self, now: Timestamp) {
        let offset_ms = now.as_millis().saturating_sub(self.elapsed_ms());
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }

    /// What the store would say.
    pub(crate) fn now(&self) -> Timestamp {
        let offset_ms = self.offset_ms.load(Ordering::Relaxed);
        Timestamp::from_millis(offset_ms.saturating_add(self.elapsed_ms()))
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}
