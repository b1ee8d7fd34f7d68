//! The engine's metrics, with handles that are looked up once: a look-up per delivery
//! would cost more than the count.

use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};

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
        let settled = |result| counter!(SETTLED, "result" => result);
        let outcomes = |result| counter!(OUTCOMES, "result" => result);
        describe_counter!(
            SETTLED,
            "Deliveries settled in the store: ended, to be retried, released for another agent, \
             or stale (the lease was no longer theirs)"
        );
        describe_counter!(
            OUTCOMES,
            "Outcomes that agents reported: delivered, failed (and retried), dead, void (the \
             lease is gone) or invalid"
        );
        Self {
            turns: count(
                "sidehook_turns_total",
                "Turns of the workers with the store",
            ),
            turn_calls: sample(
                "sidehook_turn_partitions",
                "Partitions that one turn worked on",
            ),
            turn_seconds: sample(
                "sidehook_turn_seconds",
                "How long the store took for a turn",
            ),
            turn_failures: count(
                "sidehook_turn_failures_total",
                "Turns that the store did not answer wholly; they are repeated",
            ),
            published: count(
                "sidehook_events_published_total",
                "Events accepted and stored",
            ),
            publishes_stale: count(
                "sidehook_publish_stale_catalogs_total",
                "Publishes matched again because subscriptions had changed meanwhile",
            ),
            publish_overloads: count(
                "sidehook_publish_overloads_total",
                "Events refused because too much waited for the store",
            ),
            publish_timeouts: count(
                "sidehook_publish_timeouts_total",
                "Publishes that the store did not answer in time",
            ),
            publish_wait_seconds: sample(
                "sidehook_publish_wait_seconds",
                "How long publishes waited for the turn that stored them",
            ),
            claims: count("sidehook_claims_total", "Claims of due deliveries"),
            claims_empty: count(
                "sidehook_claims_empty_total",
                "Claims that were granted nothing",
            ),
            assigned: count(
                "sidehook_deliveries_assigned_total",
                "Deliveries sent to agents, each attempt counted",
            ),
            events_read: count(
                "sidehook_segments_read_total",
                "Segments of events read from the store because memory had them no longer",
            ),
            leases_lost: count(
                "sidehook_leases_lost_total",
                "Leases that ran out before their agent reported",
            ),
            settled_ended: settled("ended"),
            settled_retried: settled("retried"),
            settled_released: settled("released"),
            settled_stale: settled("stale"),
            settles_refused: count(
                "sidehook_settles_refused_total",
                "Calls to settle that the store refused",
            ),
            outcomes_delivered: outcomes("delivered"),
            outcomes_failed: outcomes("failed"),
            outcomes_dead: outcomes("dead"),
            outcomes_void: outcomes("void"),
            outcomes_invalid: outcomes("invalid"),
            gone_dropped: count(
                "sidehook_gone_dropped_total",
                "Answers of 410 not acted on because too many waited; the next one is",
            ),
        }
    }
}

const SETTLED: &str = "sidehook_settled_total";
const OUTCOMES: &str = "sidehook_outcomes_total";

fn count(name: &'static str, help: &'static str) -> Counter {
    describe_counter!(name, help);
    counter!(name)
}

fn sample(name: &'static str, help: &'static str) -> Histogram {
    describe_histogram!(name, help);
    histogram!(name)
}
