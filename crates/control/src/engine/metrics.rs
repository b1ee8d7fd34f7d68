//! The engine's metrics, with handles that are looked up once: a look-up per delivery
//! would cost more than the count.

use metrics::{Counter, Histogram, counter, histogram};

/// See the module.
pub(crate) struct DispatchMetrics {
    pub(crate) turns: Counter,
    pub(crate) turn_calls: Histogram,
    pub(crate) turn_seconds: Histogram,
    pub(crate) turn_failures: Counter,
    pub(crate) published: Counter,
    pub(crate) publishes_stale: Counter,
    pub(crate) publish_overloads: Counter,
    pub(crate) publish_timeouts: Counter,
    pub(crate) publish_wait_seconds: Histogram,
    pub(crate) claims: Counter,
    pub(crate) claims_empty: Counter,
    pub(crate) assigned: Counter,
    pub(crate) events_read: Counter,
    pub(crate) leases_lost: Counter,
    pub(crate) settled_ended: Counter,
    pub(crate) settled_retried: Counter,
    pub(crate) settled_released: Counter,
    pub(crate) settled_stale: Counter,
    pub(crate) settles_refused: Counter,
    pub(crate) outcomes_delivered: Counter,
    pub(crate) outcomes_failed: Counter,
    pub(crate) outcomes_dead: Counter,
    pub(crate) outcomes_void: Counter,
    pub(crate) outcomes_invalid: Counter,
    pub(crate) gone_dropped: Counter,
}

impl DispatchMetrics {
    /// Looks the handles up.
    pub(crate) fn new() -> Self {
        let settled = |result| counter!("sidehook_settled_total", "result" => result);
        let outcomes = |result| counter!("sidehook_outcomes_total", "result" => result);
        Self {
            turns: counter!("sidehook_turns_total"),
            turn_calls: histogram!("sidehook_turn_partitions"),
            turn_seconds: histogram!("sidehook_turn_seconds"),
            turn_failures: counter!("sidehook_turn_failures_total"),
            published: counter!("sidehook_events_published_total"),
            publishes_stale: counter!("sidehook_publish_stale_catalogs_total"),
            publish_overloads: counter!("sidehook_publish_overloads_total"),
            publish_timeouts: counter!("sidehook_publish_timeouts_total"),
            publish_wait_seconds: histogram!("sidehook_publish_wait_seconds"),
            claims: counter!("sidehook_claims_total"),
            claims_empty: counter!("sidehook_claims_empty_total"),
            assigned: counter!("sidehook_deliveries_assigned_total"),
            events_read: counter!("sidehook_segments_read_total"),
            leases_lost: counter!("sidehook_leases_lost_total"),
            settled_ended: settled("ended"),
            settled_retried: settled("retried"),
            settled_released: settled("released"),
            settled_stale: settled("stale"),
            settles_refused: counter!("sidehook_settles_refused_total"),
            outcomes_delivered: outcomes("delivered"),
            outcomes_failed: outcomes("failed"),
            outcomes_dead: outcomes("dead"),
            outcomes_void: outcomes("void"),
            outcomes_invalid: outcomes("invalid"),
            gone_dropped: counter!("sidehook_gone_dropped_total"),
        }
    }
}
