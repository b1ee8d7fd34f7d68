//! From making an event to receiving its delivery, at a steady pace.

use std::time::Duration;

use serde::Serialize;

use super::Bench;
use crate::{
    Failure,
    load::Pace,
    report::{Row, milliseconds},
    rig::Rig,
    stats::{Spread, Summary},
};

/// A pace at which nothing queues, in events per second.
pub(super) const QUIET: f64 = 50.0;
/// First goals at this pace.
const GOAL_P50_US: u64 = 2_000;
const GOAL_P99_US: u64 = 5_000;

/// Paced runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    /// Events published per second.
    pub(crate) events_per_second: f64,
    /// Microseconds from making the event to receiving its delivery, of the run whose p99
    /// is the median of all.
    pub(crate) publish_to_receipt_us: Summary,
    /// The p99 of all runs, in microseconds.
    pub(crate) p99_us: Spread,
}

impl Bench {
    /// At a quiet pace, and, where the saturated rate is known, at a fifth of it.
    pub(super) async fn latencies(&mut self, rig: &Rig) -> Result<(), Failure> {
        rig.subscribe(&self.target, "paced", "/paced").await?;
        self.report.latency_at_50 = Some(self.latency(rig, "paced", QUIET).await?);
        if let Some(saturated) = &self.report.saturated_fanout_1 {
            let rate = saturated.deliveries_per_second * 0.2;
            self.report.latency_at_20_percent = Some(self.latency(rig, "paced", rate).await?);
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "microseconds of a benchmark")]
    pub(super) async fn latency(
        &self,
        rig: &Rig,
        object_type: &str,
        per_second: f64,
    ) -> Result<Latency, Failure> {
        let mut runs = Vec::new();
        for _ in 0..self.plan.runs {
            let time = self.plan.paced_time;
            runs.push(self.paced(rig, object_type, per_second, time).await?);
        }
        runs.sort_by_key(|run| run.p99);
        Ok(Latency {
            events_per_second: per_second,
            publish_to_receipt_us: runs.get(runs.len() / 2).copied().unwrap_or_default(),
            p99_us: Spread::of(runs.iter().map(|run| run.p99 as f64).collect()),
        })
    }

    /// One run.
    pub(super) async fn paced(
        &self,
        rig: &Rig,
        object_type: &str,
        per_second: f64,
        time: Duration,
    ) -> Result<Summary, Failure> {
        self.target.reset().await?;
        let pace = Pace::Steady { per_second, time };
        let accepted = rig.publish(object_type, pace).await?;
        let all = self.target.wait_for(|counts| counts.received >= accepted);
        Ok(all.await?.delay_us)
    }
}

impl Latency {
    /// The percentiles in words.
    pub(super) fn text(&self) -> String {
        let Summary { p50, p99, .. } = self.publish_to_receipt_us;
        let (low, high) = (self.p99_us.low, self.p99_us.high);
        format!(
            "p50 {} ms, p99 {} ms ({:.1} to {:.1})",
            milliseconds(p50),
            milliseconds(p99),
            low / 1000.0,
            high / 1000.0,
        )
    }

    pub(crate) fn row(&self) -> Row {
        let what = format!("publish to receipt at {:.0}/s", self.events_per_second);
        let row = Row::new(what, self.text());
        if self.events_per_second > QUIET {
            return row;
        }
        let Summary { p50, p99, .. } = self.publish_to_receipt_us;
        row.goal("<= 2, 5 ms", p50 <= GOAL_P50_US && p99 <= GOAL_P99_US)
    }
}
