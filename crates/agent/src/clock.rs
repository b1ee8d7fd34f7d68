//! Time as the agent sees it: a monotonic clock for leases and limits, the wall's for signatures.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock whose zero is when the agent was prepared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        // Zero is a second ago: nothing that is measured on this clock is ever at zero, which means "never".
        let now = Instant::now();
        Self(now.checked_sub(Duration::from_secs(1)).unwrap_or(now))
    }

    /// How long ago its zero is.
    pub(crate) fn now(self) -> Duration {
        self.0.elapsed()
    }
}

/// Unix time in seconds; a wall clock before 1970 reads as 0.
pub(crate) fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0))
}
