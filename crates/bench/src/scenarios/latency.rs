//! From making an event to receiving its delivery, at a steady pace.

use std::time::Duration;

use super::Bench;
use crate::{
    Failure,
    load::{Pace, publish},
    report::Latency,
};

/// A pace at which nothing queues.
pub(super) const QUIET: f64 = 50.0;

impl Bench<'_> {
    /// At a quiet pace, and, where the saturated rate is known, at a fifth of it.
    pub(super) async fn latencies(&mut self) -> Result<(), Failure> {
        self.subscribe("paced", "/paced").await?;
        self.report.latency_at_50 = Some(self.latency("paced", QUIET).await?);
        if let Some(saturated) = &self.report.saturated_fanout_1 {
            let rate = saturated.deliveries_per_second * 0.2;
            self.report.latency_at_20_percent = Some(self.latency("paced", rate).await?);
        }
        Ok(())
    }

    /// The run whose p99 is the median of all.
    pub(super) async fn latency(
        &self,
        object_type: &str,
        per_second: f64,
    ) -> Result<Latency, Failure> {
        let mut runs = Vec::new();
        for _ in 0..self.arguments.runs {
            self.target.reset().await?;
            let time = Duration::from_secs(self.arguments.seconds);
            let pace = Pace::Steady { per_second, time };
            let accepted = publish(&self.client, object_type, pace).await?;
            let all = self.target.wait_for(|counts| counts.received >= accepted);
            runs.push(all.await?.delay_us);
        }
        runs.sort_by_key(|run| run.p99);
        Ok(Latency {
            events_per_second: per_second,
            publish_to_receipt_us: runs.get(runs.len() / 2).copied().unwrap_or_default(),
        })
    }
}
