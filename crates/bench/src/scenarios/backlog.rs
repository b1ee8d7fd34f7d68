//! Draining what was published while no agent was there, from the agent's start to
//! the last receipt.

use std::time::Instant;

use super::{BATCH, Bench};
use crate::{
    Failure,
    load::{Pace, publish},
    report::Backlog,
    stats::median,
};

impl Bench<'_> {
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    pub(super) async fn backlog(&mut self) -> Result<Backlog, Failure> {
        self.subscribe("backlog", "/backlog").await?;
        let mut runs = Vec::new();
        for _ in 0..self.arguments.runs {
            runs.push(self.drain().await?);
        }
        let deliveries = self.arguments.backlog;
        let seconds = median(runs);
        Ok(Backlog {
            deliveries,
            seconds,
            ratio_to_limit: deliveries as f64 / seconds / self.report.limit_posts_per_second,
        })
    }

    /// Seconds that one backlog takes.
    async fn drain(&mut self) -> Result<f64, Failure> {
        self.system.kill_agent();
        self.target.reset().await?;
        let pace = Pace::Saturate {
            batch: BATCH,
            events: self.arguments.backlog,
        };
        let accepted = publish(&self.client, "backlog", pace).await?;
        let start = Instant::now();
        self.system.start_agent(0);
        let all = self.target.wait_for(|counts| counts.received >= accepted);
        all.await?;
        Ok(start.elapsed().as_secs_f64())
    }
}
