//! Draining what was published while no agent was there, from the agent's start to
//! the last receipt.

use std::time::Instant;

use serde::Serialize;

use super::Bench;
use crate::{
    Failure,
    load::Pace,
    report::{Row, percent},
    rig::{BATCH, Rig},
    stats::Spread,
};

/// A drained backlog.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Drain {
    /// Deliveries in it.
    pub(crate) deliveries: u64,
    /// Its rate as a share of the limit, measured just before each run.
    pub(crate) ratio_to_limit: Spread,
    /// Seconds from the agent's start until the last was received.
    pub(crate) seconds: f64,
}

impl Bench {
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    pub(super) async fn drain(&mut self, rig: &mut Rig) -> Result<Drain, Failure> {
        rig.subscribe(&self.target, "drained", "/drained").await?;
        let deliveries = self.plan.drained;
        let (mut seconds, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..self.plan.runs {
            let limit = self.limit().await?.per_second;
            let took = self.drain_once(rig).await?;
            seconds.push(took);
            ratios.push(deliveries as f64 / took / limit);
        }
        Ok(Drain {
            deliveries,
            ratio_to_limit: Spread::of(ratios),
            seconds: Spread::of(seconds).median,
        })
    }

    /// Seconds that one backlog takes.
    async fn drain_once(&self, rig: &mut Rig) -> Result<f64, Failure> {
        rig.system.kill_agent();
        self.target.reset().await?;
        let pace = Pace::Saturate {
            batch: BATCH,
            events: self.plan.drained,
        };
        let accepted = rig.publish("drained", pace).await?;
        let start = Instant::now();
        rig.system.start_agent(0);
        let all = self.target.wait_for(|counts| counts.received >= accepted);
        all.await?;
        Ok(start.elapsed().as_secs_f64())
    }
}

impl Drain {
    pub(crate) fn row(&self) -> Row {
        let ratio = self.ratio_to_limit.text(percent);
        let measured = format!("{ratio} of the limit; {:.1} s", self.seconds);
        Row::new(
            format!("an agent finds {} queued", self.deliveries),
            measured,
        )
    }
}
