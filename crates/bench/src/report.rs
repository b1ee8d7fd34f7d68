//! The figures: a table for people, and `bench.json` for programs.

use serde::Serialize;

use crate::stats::Summary;

/// Everything that was measured; each a median of the runs, but memory, which is one
/// sample. The keys of `bench.json` are these fields' names.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Runs of each measurement.
    pub(crate) runs: usize,
    /// Bare POSTs per second: 64 connections, 1 KiB bodies. The limit.
    pub(crate) limit_posts_per_second: f64,
    /// Saturated, each event for one subscription.
    pub(crate) saturated_fanout_1: Option<Saturated>,
    /// Saturated, each event for ten subscriptions.
    pub(crate) saturated_fanout_10: Option<Saturated>,
    /// Publish to receipt at 50 events/s.
    pub(crate) latency_at_50: Option<Latency>,
    /// Publish to receipt at a fifth of the saturated rate.
    pub(crate) latency_at_20_percent: Option<Latency>,
    /// Draining a backlog that was published while no agent was there.
    pub(crate) backlog: Option<Backlog>,
    /// A healthy receiver beside one that never answers.
    pub(crate) black_hole: Option<BlackHole>,
    /// Resident memory, in KiB.
    pub(crate) memory: Memory,
    /// Size of the agent's binary, in bytes.
    pub(crate) agent_binary_bytes: u64,
}

/// A saturated run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Saturated {
    /// Deliveries per second.
    pub(crate) deliveries_per_second: f64,
    /// That, as a share of the limit.
    pub(crate) ratio_to_limit: f64,
    /// CPU time of the control plane per delivery, in microseconds.
    pub(crate) control_cpu_us: f64,
    /// CPU time of the agent per delivery, in microseconds.
    pub(crate) agent_cpu_us: f64,
    /// CPU time of Redis per delivery, in microseconds.
    pub(crate) redis_cpu_us: f64,
}

/// A paced run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Latency {
    /// Events published per second.
    pub(crate) events_per_second: f64,
    /// Microseconds from making the event to receiving its delivery.
    pub(crate) publish_to_receipt_us: Summary,
}

/// A drained backlog.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Backlog {
    /// Deliveries in it.
    pub(crate) deliveries: u64,
    /// Seconds from the agent's start until the last was received.
    pub(crate) seconds: f64,
    /// Its rate as a share of the limit.
    pub(crate) ratio_to_limit: f64,
}

/// A healthy receiver alone, and beside deliveries that hang.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct BlackHole {
    /// Deliveries that hang in their receiver at the agent.
    pub(crate) hanging: u64,
    /// The healthy one's p99 alone, in microseconds.
    pub(crate) alone_p99_us: u64,
    /// The healthy one's p99 beside them, in microseconds.
    pub(crate) beside_p99_us: u64,
    /// The one divided by the other.
    pub(crate) ratio: f64,
}

/// Resident memory, in KiB.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    /// The agent before any delivery.
    pub(crate) agent_idle: u64,
    /// The agent with 1,000 deliveries in flight.
    pub(crate) agent_1000_in_flight: u64,
    /// The control plane before any event.
    pub(crate) control_idle: u64,
    /// Each after the saturated runs.
    pub(crate) control_after_load: u64,
    /// The agent after the saturated runs.
    pub(crate) agent_after_load: u64,
    /// Redis after the saturated runs.
    pub(crate) redis_after_load: u64,
}

impl Report {
    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![format!(
            "limit (bare client)        {:>9.0} POST/s",
            self.limit_posts_per_second
        )];
        let saturated = [
            ("fan-out 1", &self.saturated_fanout_1),
            ("fan-out 10", &self.saturated_fanout_10),
        ];
        for (name, run) in saturated {
            if let Some(run) = run {
                lines.push(run.line(name));
            }
        }
        for run in [&self.latency_at_50, &self.latency_at_20_percent]
            .into_iter()
            .flatten()
        {
            let Summary { p50, p99, .. } = run.publish_to_receipt_us;
            lines.push(format!(
                "publish to receipt         {:>9.0} events/s   p50 {:.1} ms   p99 {:.1} ms",
                run.events_per_second,
                milliseconds(p50),
                milliseconds(p99),
            ));
        }
        if let Some(run) = self.backlog {
            lines.push(format!(
                "backlog of {:<9}       {:>9.1} s   {:.1} % of the limit",
                run.deliveries,
                run.seconds,
                run.ratio_to_limit * 100.0,
            ));
        }
        if let Some(run) = self.black_hole {
            lines.push(format!(
                "beside {} hanging        p99 {:.1} ms, alone {:.1} ms: x {:.2}",
                run.hanging,
                milliseconds(run.beside_p99_us),
                milliseconds(run.alone_p99_us),
                run.ratio,
            ));
        }
        lines.push(self.memory.line());
        lines.push(format!(
            "agent's binary             {:>9} KiB",
            self.agent_binary_bytes / 1024
        ));
        lines.join("\n")
    }
}

impl Saturated {
    fn line(&self, name: &str) -> String {
        format!(
            "saturated, {name:<10}      {:>9.0} deliveries/s = {:.1} % of the limit   \
             CPU us: control {:.1}, agent {:.1}, redis {:.1}",
            self.deliveries_per_second,
            self.ratio_to_limit * 100.0,
            self.control_cpu_us,
            self.agent_cpu_us,
            self.redis_cpu_us,
        )
    }
}

impl Memory {
    fn line(&self) -> String {
        format!(
            "resident KiB               agent {} idle, {} with 1,000 in flight, {} after load; \
             control {} idle, {} after load; redis {} after load",
            self.agent_idle,
            self.agent_1000_in_flight,
            self.agent_after_load,
            self.control_idle,
            self.control_after_load,
            self.redis_after_load,
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1000.0
}
