//! A healthy receiver, alone and beside one that takes deliveries and never answers.
//!
//! Both are measured in turn, several times: a p99 of some hundred deliveries moves by
//! itself, and only the ratio of neighbours says anything.

use std::time::Duration;

use serde::Serialize;

use super::{Bench, Memory};
use crate::{
    Failure,
    load::Pace,
    report::Row,
    rig::{BATCH, Rig, wanted},
    stats::{Spread, Summary},
};

/// Events per second for the healthy receiver: many samples, and nothing queues.
const PER_SECOND: f64 = 200.0;
/// Longer than one measurement takes.
const TIMEOUT: Duration = Duration::from_secs(60);
/// First goal of the p99's ratio.
const GOAL_RATIO: f64 = 1.5;

/// A healthy receiver alone, and beside deliveries that hang.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct BlackHole {
    /// Deliveries that hang in their receiver at the agent.
    pub(crate) hanging: u32,
    /// Deliveries for the healthy one in each measurement.
    pub(crate) deliveries: u64,
    /// The healthy one's p99 beside them divided by that alone, of measurements that
    /// follow one another.
    pub(crate) p99_ratio: Spread,
    /// The same of the p50.
    pub(crate) p50_ratio: Spread,
    /// The healthy one's p99 alone, in microseconds.
    pub(crate) alone_p99_us: Spread,
    /// The healthy one's p99 beside them, in microseconds.
    pub(crate) beside_p99_us: Spread,
}

impl Bench {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a benchmark")]
    pub(super) async fn black_hole(
        &self,
        rig: &Rig,
        memory: &mut Memory,
    ) -> Result<BlackHole, Failure> {
        let hanging = self.plan.hanging;
        rig.subscribe(&self.target, "healthy", "/healthy").await?;
        let mut hole = wanted(&self.target, "hole", "/hang", TIMEOUT)?;
        // A window in which all of them hang at the agent at one time.
        hole.max_in_flight = hanging;
        rig.client.create(hole).await;
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..self.plan.pairs {
            alone.push(self.healthy(rig).await?);
            let pace = Pace::Saturate {
                batch: BATCH,
                events: u64::from(hanging),
            };
            rig.publish("hole", pace).await?;
            let all = |count| count >= u64::from(hanging);
            self.target.wait_for(|counts| all(counts.hanging)).await?;
            memory.hanging(rig)?;
            beside.push(self.healthy(rig).await?);
            self.target.release().await?;
            self.target.wait_for(|counts| counts.hanging == 0).await?;
        }
        let each = |of: &dyn Fn(&Summary, &Summary) -> f64| {
            let pairs = alone.iter().zip(&beside);
            Spread::of(pairs.map(|(alone, beside)| of(alone, beside)).collect())
        };
        let ratio = |alone: u64, beside: u64| beside as f64 / alone.max(1) as f64;
        Ok(BlackHole {
            hanging,
            deliveries: alone.iter().map(|one| one.count).min().unwrap_or(0),
            p99_ratio: each(&|alone, beside| ratio(alone.p99, beside.p99)),
            p50_ratio: each(&|alone, beside| ratio(alone.p50, beside.p50)),
            alone_p99_us: each(&|alone, _| alone.p99 as f64),
            beside_p99_us: each(&|_, beside| beside.p99 as f64),
        })
    }

    async fn healthy(&self, rig: &Rig) -> Result<Summary, Failure> {
        // As many samples as the quiet latency takes in its time, and some more.
        let time = self.plan.paced_time / 2;
        self.paced(rig, "healthy", PER_SECOND, time).await
    }
}

impl BlackHole {
    pub(crate) fn row(&self) -> Row {
        let times = |ratio: f64| format!("x {ratio:.2}");
        let measured = format!(
            "p99 {}, p50 x {:.2}; p99 {:.1} ms, alone {:.1}",
            self.p99_ratio.text(times),
            self.p50_ratio.median,
            self.beside_p99_us.median / 1000.0,
            self.alone_p99_us.median / 1000.0,
        );
        let what = format!("healthy beside {} hanging", self.hanging);
        Row::new(what, measured).goal("<= x 1.5", self.p99_ratio.median <= GOAL_RATIO)
    }
}
