//! A healthy receiver, alone and beside one that takes deliveries and never answers.

use std::time::Duration;

use super::{BATCH, Bench, latency::QUIET};
use crate::{
    Failure,
    load::{Pace, publish},
    proc_stat::resident_kib,
    report::BlackHole,
};

/// Deliveries left hanging beside the healthy receiver.
const HANGING: u32 = 1_000;
/// Longer than the measurement takes.
const TIMEOUT: Duration = Duration::from_secs(60);

impl Bench<'_> {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a benchmark")]
    pub(super) async fn black_hole(&mut self) -> Result<BlackHole, Failure> {
        self.subscribe("healthy", "/healthy").await?;
        let alone = self.healthy_p99().await?;
        let mut hole = self.subscription("hole", "/hang", TIMEOUT)?;
        // A window in which all of them hang at the agent at one time.
        hole.max_in_flight = HANGING;
        self.client.create(hole).await;
        let pace = Pace::Saturate {
            batch: BATCH,
            events: u64::from(HANGING),
        };
        publish(&self.client, "hole", pace).await?;
        let hang = |hanging| hanging >= u64::from(HANGING);
        self.target.wait_for(|counts| hang(counts.hanging)).await?;
        let [_, agent, _] = self.processes()?;
        self.report.memory.agent_1000_in_flight = resident_kib(agent)?;
        let beside = self.healthy_p99().await?;
        Ok(BlackHole {
            hanging: u64::from(HANGING),
            alone_p99_us: alone,
            beside_p99_us: beside,
            ratio: beside as f64 / alone.max(1) as f64,
        })
    }

    async fn healthy_p99(&self) -> Result<u64, Failure> {
        let measured = self.latency("healthy", QUIET).await?;
        Ok(measured.publish_to_receipt_us.p99)
    }
}
