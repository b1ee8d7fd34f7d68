//! As much as it carries: a fixed count, timed until the last is received, since
//! publishing is faster than delivering and a fixed time would measure its backlog.

use std::time::{Duration, Instant};

use super::{BATCH, Bench};
use crate::{
    Failure,
    load::{Pace, publish},
    report::Saturated,
    stats::median,
    target::Counts,
};

impl Bench<'_> {
    pub(super) async fn saturated(
        &self,
        object_type: &str,
        fanout: u32,
    ) -> Result<Saturated, Failure> {
        for index in 0..fanout {
            let path = format!("/{object_type}/{index}");
            self.subscribe(object_type, &path).await?;
        }
        let mut runs: Vec<Saturated> = Vec::new();
        for _ in 0..self.arguments.runs {
            self.target.reset().await?;
            let before = self.cpu()?;
            let start = Instant::now();
            let pace = Pace::Saturate {
                batch: BATCH,
                events: self.arguments.events / u64::from(fanout),
            };
            let accepted = publish(&self.client, object_type, pace).await?;
            let expected = accepted * u64::from(fanout);
            let all = |counts: &Counts| counts.received >= expected;
            let counts = self.target.wait_for(all).await?;
            let after = self.cpu()?;
            runs.push(self.saturated_run(&counts, start.elapsed(), before, after));
        }
        Ok(Saturated::median(&runs))
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    fn saturated_run(
        &self,
        counts: &Counts,
        elapsed: Duration,
        before: [Duration; 3],
        after: [Duration; 3],
    ) -> Saturated {
        let deliveries = counts.received as f64;
        let per_delivery = |process: usize| {
            after[process].saturating_sub(before[process]).as_secs_f64() * 1e6 / deliveries
        };
        let rate = deliveries / elapsed.as_secs_f64();
        Saturated {
            deliveries_per_second: rate,
            ratio_to_limit: rate / self.report.limit_posts_per_second,
            control_cpu_us: per_delivery(0),
            agent_cpu_us: per_delivery(1),
            redis_cpu_us: per_delivery(2),
        }
    }
}

impl Saturated {
    fn median(runs: &[Self]) -> Self {
        let of = |field: fn(&Self) -> f64| median(runs.iter().map(field).collect());
        Self {
            deliveries_per_second: of(|run| run.deliveries_per_second),
            ratio_to_limit: of(|run| run.ratio_to_limit),
            control_cpu_us: of(|run| run.control_cpu_us),
            agent_cpu_us: of(|run| run.agent_cpu_us),
            redis_cpu_us: of(|run| run.redis_cpu_us),
        }
    }
}
