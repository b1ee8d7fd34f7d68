//! How much is measured: in full, or a little of everything so that a test can tell in
//! seconds that each scenario still runs.

use std::time::Duration;

use crate::Arguments;

/// Counts and times of all scenarios.
pub(crate) struct Plan {
    /// Runs of each measurement, of which the median is reported.
    pub(crate) runs: usize,
    /// Time of each measurement of the bare client.
    pub(crate) limit_time: Duration,
    /// Time of each paced run.
    pub(crate) paced_time: Duration,
    /// Deliveries of each saturated run.
    pub(crate) deliveries: u64,
    /// Deliveries that an agent finds when it starts.
    pub(crate) drained: u64,
    /// Deliveries that hang beside a healthy receiver.
    pub(crate) hanging: u32,
    /// How often the healthy receiver is measured beside them and without.
    pub(crate) pairs: usize,
    /// Tenants of the long backlog.
    pub(crate) tenants: usize,
    /// Subscriptions of each of these.
    pub(crate) subscriptions: u32,
    /// Deliveries queued for each subscription of the long backlog.
    pub(crate) queued: u64,
    /// Samples of each of the two backlogs.
    pub(crate) samples: usize,
    /// Deliveries queued for the subscription that is deleted.
    pub(crate) cleared: u64,
    /// How often that is done.
    pub(crate) clearings: u32,
    /// Deliveries queued when memory is weighed.
    pub(crate) weighed: u64,
    /// Subscriptions with filters that events are matched against.
    pub(crate) matched: u32,
    /// How often an event is matched.
    pub(crate) matchings: usize,
}

impl Plan {
    /// As the arguments have it.
    pub(crate) fn of(arguments: &Arguments) -> Self {
        if arguments.quick {
            return Self::quick();
        }
        Self {
            runs: arguments.runs,
            limit_time: Duration::from_secs(2),
            paced_time: Duration::from_secs(arguments.seconds),
            deliveries: arguments.events,
            drained: arguments.drain,
            hanging: 1_000,
            pairs: 3 * arguments.runs,
            tenants: 10,
            subscriptions: 1_000,
            queued: arguments.backlog / 10_000,
            samples: 300,
            cleared: 100_000,
            clearings: 5,
            weighed: 100_000,
            matched: 1_000,
            matchings: 400,
        }
    }

    const fn quick() -> Self {
        Self {
            runs: 1,
            limit_time: Duration::from_millis(100),
            paced_time: Duration::from_millis(500),
            deliveries: 1_000,
            drained: 1_000,
            hanging: 20,
            pairs: 2,
            tenants: 2,
            subscriptions: 20,
            queued: 100,
            samples: 3,
            cleared: 2_000,
            clearings: 1,
            weighed: 10_000,
            matched: 50,
            matchings: 3,
        }
    }
}
