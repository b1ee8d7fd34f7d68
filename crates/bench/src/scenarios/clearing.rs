//! Clearing the queue of a subscription that is deleted: how long Redis is held up at one
//! time, by its own latency monitor and its slow log.
//!
//! A script's time is what passed while it ran: where others use the machine it may have
//! waited for them, hence the median of several runs beside the worst.
//!
//! Its events were published ten at a time, so that its queue has 10,000 entries of as
//! many segments and each script meets its bound of 128 entries.

use std::time::Instant;

use serde::Serialize;

use crate::{
    Failure,
    desk::{Batch, Desk},
    plan::Plan,
    report::{Row, milliseconds},
    stats::Spread,
};

const BATCH: Batch = Batch {
    events: 10,
    fanout: 1,
    bytes: 100,
};
/// The longest script that is wanted, in microseconds.
const GOAL_US: f64 = 5_000.0;

/// A cleared queue.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Clearing {
    /// Deliveries in it.
    pub(crate) deliveries: u64,
    /// Ticks that clearing took.
    pub(crate) ticks: u64,
    /// The longest script of each run, in microseconds; 0 if none took 100.
    pub(crate) longest_us: Spread,
    /// The longest script of all runs.
    pub(crate) worst_us: u64,
    /// CPU time of Redis' main thread for the dearest tick of each run, in microseconds:
    /// what the longest script takes where nobody else wants the core.
    pub(crate) longest_cpu_us: Spread,
    /// What the latency monitor noted as the longest of all runs, in milliseconds; 0 if
    /// nothing took 1.
    pub(crate) monitored_ms: u64,
    /// Seconds from the deletion until nothing was queued.
    pub(crate) seconds: f64,
}

/// Measures it.
#[expect(clippy::cast_precision_loss, reason = "microseconds of a benchmark")]
pub(super) async fn measure(plan: &Plan) -> Result<Clearing, Failure> {
    let mut desk = Desk::start(1, 10).await?;
    let (mut runs, mut seconds) = (Vec::new(), Vec::new());
    let (mut ticks, mut cpu_us) = (0, Vec::new());
    for number in 100..100 + plan.clearings {
        desk.subscribe(0, number).await?;
        desk.fill(plan.cleared, BATCH).await?;
        let queued = desk.queued(0).await?;
        if queued != plan.cleared {
            return Err(format!("{queued} of {} are queued", plan.cleared).into());
        }
        desk.watch().await?;
        let start = Instant::now();
        desk.unsubscribe(0, number).await?;
        let ticked = desk.tick(0).await?;
        ticks = ticked.count;
        cpu_us.push(ticked.longest_cpu.as_secs_f64() * 1e6);
        seconds.push(start.elapsed().as_secs_f64());
        runs.push(desk.slowest().await?);
        let left = desk.queued(0).await?;
        if left > 0 {
            return Err(format!("{left} are still queued").into());
        }
    }
    let longest = |run: &crate::desk::Slowest| run.script_us;
    Ok(Clearing {
        deliveries: plan.cleared,
        ticks,
        longest_us: Spread::of(runs.iter().map(|run| longest(run) as f64).collect()),
        worst_us: runs.iter().map(longest).max().unwrap_or(0),
        longest_cpu_us: Spread::of(cpu_us),
        monitored_ms: runs.iter().map(|run| run.monitored_ms).max().unwrap_or(0),
        seconds: Spread::of(seconds).median,
    })
}

impl Clearing {
    pub(crate) fn row(&self) -> Row {
        let monitored = if self.monitored_ms == 0 {
            "nothing from 1 ms on".to_owned()
        } else {
            format!("{} ms", self.monitored_ms)
        };
        let measured = format!(
            "longest script {:.1} ms, of it CPU {:.1}, worst run {}; monitor {monitored}",
            self.longest_us.median / 1000.0,
            self.longest_cpu_us.median / 1000.0,
            milliseconds(self.worst_us),
        );
        let met = self.longest_us.median < GOAL_US;
        Row::new(format!("clearing {} queued", self.deliveries), measured).goal("< 5 ms", met)
    }
}
