//! The engine's metrics, with handles that are looked up once: a look-up per delivery
//! would cost more than the count.

use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};
use sidehook_store::budget::Which;

/// What `/metrics` says of each counter.
const COUNTERS: [(&str, &str); 16] = [
    (
        "sidehook_settled_total",
        "Deliveries settled in the store: ended, to be retried, released for another agent, \
             or stale (the lease was no longer theirs)",
    ),
    (
        "sidehook_outcomes_total",
        "Outcomes that agents reported: delivered, failed (and retried), dead, void (the \
             lease is gone) or invalid",
    ),
    (
        "sidehook_turns_total",
        "Turns of the workers with the store",
    ),
    (
        "sidehook_turn_failures_total",
        "Turns that the store did not answer wholly; they are repeated",
    ),
    (
        "sidehook_events_published_total",
        "Events accepted and stored",
    ),
    (
        "sidehook_publish_stale_catalogs_total",
        "Publishes matched again because subscriptions had changed meanwhile",
    ),
    (
        "sidehook_publish_overloads_total",
        "Events refused because too much waited for the store",
    ),
    (
        "sidehook_publish_over_budget_total",
        "Events refused because their tenant has used up its budget of pending or of log bytes",
    ),
    (
        "sidehook_publish_timeouts_total",
        "Publishes that the store did not answer in time",
    ),
    ("sidehook_claims_total", "Claims of due deliveries"),
    (
        "sidehook_claims_empty_total",
        "Claims that were granted nothing",
    ),
    (
        "sidehook_deliveries_assigned_total",
        "Deliveries sent to agents, each attempt counted",
    ),
    (
        "sidehook_segments_read_total",
        "Segments of events read from the store because memory had them no longer",
    ),
    (
        "sidehook_leases_lost_total",
        "Leases that ran out before their agent reported",
    ),
    (
        "sidehook_settles_refused_total",
        "Calls to settle that the store refused",
    ),
    (
        "sidehook_pauses_dropped_total",
        "Pauses after 410 or the last attempt not made because too many subscriptions waited for theirs; the next \
         such delivery asks again",
    ),
];

/// What it says of each histogram.
const HISTOGRAMS: [(&str, &str); 3] = [
    (
        "sidehook_turn_partitions",
        "Partitions that one turn worked on",
    ),
    (
        "sidehook_turn_seconds",
        "How long the store took for a turn",
    ),
    (
        "sidehook_publish_wait_seconds",
        "How long publishes waited for the turn that stored them",
    ),
];

/// See the module.
pub(crate) struct DispatchMetrics {
    pub(crate) turns: Counter,
    pub(crate) turn_calls: Histogram,
    pub(crate) turn_seconds: Histogram,
    pub(crate) turn_failures: Counter,
    pub(crate) published: Counter,
    pub(crate) publishes_stale: Counter,
    pub(crate) publish_overloads: Counter,
    pub(crate) publish_over_pending: Counter,
    pub(crate) publish_over_log: Counter,
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
    pub(crate) pauses_dropped: Counter,
}

impl DispatchMetrics {
    /// Looks the handles up.
    pub(crate) fn new() -> Self {
        for (name, help) in COUNTERS {
            describe_counter!(name, help);
        }
        for (name, help) in HISTOGRAMS {
            describe_histogram!(name, help);
        }
        let settled = |result| counter!("sidehook_settled_total", "result" => result);
        let over = |budget| counter!("sidehook_publish_over_budget_total", "budget" => budget);
        let outcomes = |result| counter!("sidehook_outcomes_total", "result" => result);
        Self {
            turns: counter!("sidehook_turns_total"),
            turn_calls: histogram!("sidehook_turn_partitions"),
            turn_seconds: histogram!("sidehook_turn_seconds"),
            turn_failures: counter!("sidehook_turn_failures_total"),
            published: counter!("sidehook_events_published_total"),
            publishes_stale: counter!("sidehook_publish_stale_catalogs_total"),
            publish_overloads: counter!("sidehook_publish_overloads_total"),
            publish_over_pending: over("pending"),
            publish_over_log: over("log"),
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
            pauses_dropped: counter!("sidehook_pauses_dropped_total"),
        }
    }

    /// The counter of events that a budget refused.
    pub(crate) const fn over_budget(&self, which: Which) -> &Counter {
        match which {
            Which::Pending => &self.publish_over_pending,
            Which::Log => &self.publish_over_log,
        }
    }
}
