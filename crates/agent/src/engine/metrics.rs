//! The metrics of the engine. Handles are made once: looking a name up costs more than the signature of a POST.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};
use sidehook_core::outcome::OutcomeKind;
use sidehook_runtime::throttle::Throttle;

use super::outcome_batch::Outcome;

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
    pub(super) fn new() -> Self {
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
        let attempts =
            |end: &'static str| counter!("sidehook_agent_attempts_total", "outcome" => end);
        Self {
            success: attempts(SUCCESS),
            ends: ends.map(|(kind, name)| (kind, attempts(name))).into(),
            seconds: histogram!("sidehook_agent_attempt_seconds"),
            connections: counter!("sidehook_agent_connections_total"),
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
