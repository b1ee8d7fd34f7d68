//! The metrics of the engine. Handles are made once: looking a name up costs more than the signature of a POST.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};
use sidehook_core::outcome::OutcomeKind;
use sidehook_runtime::throttle::Throttle;

use super::outcome_batch::Outcome;

const ATTEMPTS: &str = "sidehook_agent_attempts_total";
const SECONDS: &str = "sidehook_agent_attempt_seconds";
const CONNECTIONS: &str = "sidehook_agent_connections_total";

/// Names of the label `outcome`, one for each way that an attempt ends.
const SUCCESS: &str = "success";

/// The engine's metrics.
pub(crate) struct EngineMetrics {
    success: Counter,
    ends: Vec<(OutcomeKind, Counter)>,
    seconds: Histogram,
    /// Connections that were opened, or tried.
    pub(super) connections: Counter,
    faults: Throttle<()>,
}

impl EngineMetrics {
    pub(crate) fn new() -> Self {
        describe_counter!(
            ATTEMPTS,
            "Attempts that ended, by how: success (2xx), status (any other answer), or the error"
        );
        describe_histogram!(SECONDS, "How long attempts took");
        describe_counter!(
            CONNECTIONS,
            "Connections to receivers that were opened, or tried"
        );
        let ends = [
            (OutcomeKind::Response, "status"),
            (OutcomeKind::Dns, "dns"),
            (OutcomeKind::Connect, "connect"),
            (OutcomeKind::Tls, "tls"),
            (OutcomeKind::Timeout, "timeout"),
            (OutcomeKind::Protocol, "protocol"),
            (OutcomeKind::EgressRefused, "egress_refused"),
            (OutcomeKind::KeyMissing, "key_missing"),
            (OutcomeKind::NotStarted, "not_started"),
            (OutcomeKind::Interrupted, "interrupted"),
        ];
        let attempts = |end: &'static str| counter!(ATTEMPTS, "outcome" => end);
        Self {
            success: attempts(SUCCESS),
            ends: ends.map(|(kind, name)| (kind, attempts(name))).into(),
            seconds: histogram!(SECONDS),
            connections: counter!(CONNECTIONS),
            faults: Throttle::new(Duration::from_secs(10)),
        }
    }

    pub(super) fn ended(&self, outcome: &Outcome) {
        self.seconds.record(outcome.took);
        if outcome.kind == OutcomeKind::Response && (200..300).contains(&outcome.status) {
            self.success.increment(1);
        } else if let Some((_, counter)) = self.ends.iter().find(|(kind, _)| *kind == outcome.kind)
        {
            counter.increment(1);
        }
    }

    /// This machine could not make an attempt.
    pub(super) fn local_fault(&self, detail: &str) {
        if let Some(suppressed) = self.faults.admit(()) {
            tracing::error!(
                detail,
                suppressed,
                "this machine cannot open connections; deliveries are handed back"
            );
        }
    }
}
