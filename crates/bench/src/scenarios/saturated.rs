//! As much as it carries: a fixed count, timed until the last is received, since
//! publishing is faster than delivering and a fixed time would measure its backlog.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::Bench;
use crate::{
    Failure,
    load::Pace,
    report::{Row, percent},
    rig::{BATCH, Cpu, Rig},
    stats::Spread,
};

/// First goals: share of the limit, and CPU of our processes per delivery.
const GOAL_RATIO: f64 = 0.15;
const GOAL_CPU_US: f64 = 100.0;

/// Saturated runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Saturated {
    /// Subscriptions of each event.
    pub(crate) fanout: u32,
    /// Deliveries of each run.
    pub(crate) deliveries: u64,
    /// Deliveries per second as a share of the limit, measured just before each run.
    pub(crate) ratio_to_limit: Spread,
    /// Deliveries per second.
    pub(crate) deliveries_per_second: f64,
    /// CPU time of the control plane per delivery, in microseconds.
    pub(crate) control_cpu_us: f64,
    /// CPU time of the agent per delivery, in microseconds.
    pub(crate) agent_cpu_us: f64,
    /// CPU time of Redis per delivery, in microseconds; 0 without one.
    pub(crate) redis_cpu_us: f64,
}

/// One run.
struct Run {
    ratio: f64,
    rate: f64,
    cpu_us: [f64; 3],
}

impl Bench {
    pub(super) async fn saturated(
        &mut self,
        rig: &Rig,
        object_type: &str,
        fanout: u32,
    ) -> Result<Saturated, Failure> {
        for index in 0..fanout {
            let path = format!("/{object_type}/{index}");
            rig.subscribe(&self.target, object_type, &path).await?;
        }
        let events = self.plan.deliveries / u64::from(fanout);
        let mut runs = Vec::new();
        for _ in 0..self.plan.runs {
            runs.push(self.saturate(rig, object_type, events, fanout).await?);
        }
        let of = |field: fn(&Run) -> f64| Spread::of(runs.iter().map(field).collect());
        Ok(Saturated {
            fanout,
            deliveries: events * u64::from(fanout),
            ratio_to_limit: of(|run| run.ratio),
            deliveries_per_second: of(|run| run.rate).median,
            control_cpu_us: of(|run| run.cpu_us[0]).median,
            agent_cpu_us: of(|run| run.cpu_us[1]).median,
            redis_cpu_us: of(|run| run.cpu_us[2]).median,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    async fn saturate(
        &mut self,
        rig: &Rig,
        object_type: &str,
        events: u64,
        fanout: u32,
    ) -> Result<Run, Failure> {
        let limit = self.limit().await?.per_second;
        self.target.reset().await?;
        let before = rig.cpu()?;
        let start = Instant::now();
        let batch = BATCH;
        let pace = Pace::Saturate { batch, events };
        let expected = rig.publish(object_type, pace).await? * u64::from(fanout);
        let all = self.target.wait_for(|counts| counts.received >= expected);
        let deliveries = all.await?.received as f64;
        let rate = deliveries / start.elapsed().as_secs_f64();
        let after = rig.cpu()?;
        let each = |of: fn(&Cpu) -> Duration| {
            of(&after).saturating_sub(of(&before)).as_secs_f64() * 1e6 / deliveries
        };
        Ok(Run {
            ratio: rate / limit,
            rate,
            cpu_us: [
                each(|cpu| cpu.control),
                each(|cpu| cpu.agent),
                each(|cpu| cpu.redis),
            ],
        })
    }
}

impl Saturated {
    /// CPU time of our processes per delivery, in microseconds.
    fn cpu_us(&self) -> f64 {
        self.control_cpu_us + self.agent_cpu_us + self.redis_cpu_us
    }

    /// What it carries, and what each delivery costs.
    pub(super) fn plain_rows(&self, name: &str) -> [Row; 2] {
        let ratio = self.ratio_to_limit.text(percent);
        let rate = self.deliveries_per_second;
        let redis = if self.redis_cpu_us > 0.0 {
            format!(" + Redis {:.1}", self.redis_cpu_us)
        } else {
            String::new()
        };
        let cpu = format!(
            "control {:.1} + agent {:.1}{redis} = {:.1} us",
            self.control_cpu_us,
            self.agent_cpu_us,
            self.cpu_us(),
        );
        [
            Row::new(
                format!("saturated, {name}"),
                format!("{ratio} of the limit; {rate:.0}/s"),
            ),
            Row::new(format!("CPU per delivery, {name}"), cpu),
        ]
    }

    pub(crate) fn rows(&self, name: &str) -> [Row; 2] {
        let [rate, cpu] = self.plain_rows(name);
        let enough = self.ratio_to_limit.median >= GOAL_RATIO;
        [
            rate.goal(">= 15 %", enough),
            cpu.goal("<= 100 us", self.cpu_us() <= GOAL_CPU_US),
        ]
    }
}
