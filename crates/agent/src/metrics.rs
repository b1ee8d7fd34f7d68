//! The metrics of the session, with handles that are made once.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

const SESSIONS: &str = "sidehook_agent_sessions_total";

/// What `/metrics` says of each gauge.
const GAUGES: [(&str, &str); 5] = [
    (
        "sidehook_agent_connected",
        "1 while the control plane has accepted this agent's session, else 0",
    ),
    ("sidehook_agent_leases", "Leases that this agent holds"),
    ("sidehook_agent_in_flight", "Attempts that are being made"),
    (
        "sidehook_agent_outcomes_waiting",
        "Outcomes that are not yet on their way to the control plane",
    ),
    (
        "sidehook_agent_credit",
        "Deliveries that the control plane may still assign",
    ),
];

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
        for (name, help) in GAUGES {
            describe_gauge!(name, help);
        }
        describe_counter!(SESSIONS, "Sessions that the control plane has accepted");
        Self {
            connected: gauge!("sidehook_agent_connected"),
            sessions: counter!(SESSIONS),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use metrics::{
        Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit, with_local_recorder,
    };
    use parking_lot::Mutex;

    use super::*;
    use crate::engine::EngineMetrics;

    /// Which families are described, and which are used.
    #[derive(Default)]
    struct Families {
        described: Mutex<BTreeSet<String>>,
        used: Mutex<BTreeSet<String>>,
    }

    impl Families {
        fn describe(&self, name: &KeyName, help: &str) {
            assert!(!help.is_empty());
            self.described.lock().insert(name.as_str().to_owned());
        }

        fn register(&self, key: &Key) {
            self.used.lock().insert(key.name().to_owned());
        }
    }

    impl Recorder for Families {
        fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
            self.describe(&name, &help);
        }

        fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
            self.describe(&name, &help);
        }

        fn describe_histogram(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
            self.describe(&name, &help);
        }

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            self.register(key);
            Counter::noop()
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            self.register(key);
            Gauge::noop()
        }

        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            self.register(key);
            Histogram::noop()
        }
    }

    #[test]
    fn every_family_says_what_it_is() {
        let families = Families::default();
        with_local_recorder(&families, || {
            SessionMetrics::new();
            EngineMetrics::new();
        });
        let used = families.used.lock();
        assert_eq!(used.len(), 9, "{used:?}");
        assert_eq!(*families.described.lock(), *used);
    }
}
