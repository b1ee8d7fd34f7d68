//! The metrics of the session, with handles that are made once.

use metrics::{Counter, Gauge, counter, gauge};

/// The session's metrics.
pub(crate) struct SessionMetrics {
    connected: Gauge,
    sessions: Counter,
    leases: Gauge,
    in_flight: Gauge,
    waiting: Gauge,
    credit: Gauge,
}

/// One reading.
pub(crate) struct Reading {
    /// Leases held.
    pub(crate) leases: usize,
    /// Attempts being made.
    pub(crate) in_flight: u32,
    /// Outcomes not sent yet.
    pub(crate) waiting: usize,
    /// Deliveries that may still be assigned.
    pub(crate) credit: u32,
}

impl SessionMetrics {
    pub(crate) fn new() -> Self {
        Self {
            connected: gauge!("sidehook_agent_connected"),
            sessions: counter!("sidehook_agent_sessions_total"),
            leases: gauge!("sidehook_agent_leases"),
            in_flight: gauge!("sidehook_agent_in_flight"),
            waiting: gauge!("sidehook_agent_outcomes_waiting"),
            credit: gauge!("sidehook_agent_credit"),
        }
    }

    pub(crate) fn connected(&self, is_connected: bool) {
        self.connected.set(f64::from(u8::from(is_connected)));
        if is_connected {
            self.sessions.increment(1);
        }
    }

    pub(crate) fn show(&self, reading: &Reading) {
        self.leases.set(reading.leases as f64);
        self.in_flight.set(f64::from(reading.in_flight));
        self.waiting.set(reading.waiting as f64);
        self.credit.set(f64::from(reading.credit));
    }
}
