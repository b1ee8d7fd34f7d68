//! Lending and settling while a million deliveries wait, against while a thousand do.
//!
//! Two stores side by side, sampled in turn. A claim finds the same in both, four queues
//! of which it takes 16 entries each, so that nothing differs but how much lies around
//! that: 10,000 queues of ten tenants with 100 deliveries each, or 20 of one tenant with
//! 50 each. A sample lends and settles 320 deliveries, which is 16 of each of 20 queues,
//! and then, unmeasured, publishes as many.

use serde::Serialize;
use sidehook_core::limits::CLAIM_QUANTUM;

use crate::{
    Failure,
    desk::{Batch, Desk, SAMPLE, Sample},
    plan::Plan,
    report::Row,
    stats::Spread,
};

/// Bytes of an event's record on average: neither claim nor settle touches it.
const BYTES: u32 = 100;
/// Subscriptions of the short backlog, each visited once in a sample.
const FEW: u32 = (SAMPLE / CLAIM_QUANTUM as u64) as u32;
/// Deliveries of each.
const SHORT: u64 = 50;
/// Samples of each store before the first that counts.
const WARM_UP: usize = 10;
/// Longest ratio of long to short that is wanted.
const GOAL: f64 = 1.5;
/// Heaviest queued delivery that is wanted, in bytes.
const GOAL_BYTES: f64 = 200.0;

/// Cost per delivery of claim and settle with a long backlog and with a short one.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Backlog {
    /// Deliveries in the long one.
    pub(crate) long: u64,
    /// Subscriptions that they are for.
    pub(crate) subscriptions: u64,
    /// Deliveries in the short one.
    pub(crate) short: u64,
    /// Deliveries lent and settled in each of the two.
    pub(crate) deliveries: u64,
    /// CPU time of Redis' main thread, long divided by short, of neighbouring samples.
    pub(crate) cpu_ratio: Spread,
    /// Elapsed time at the store port, likewise.
    pub(crate) elapsed_ratio: Spread,
    /// CPU time of Redis' main thread per delivery in the long one, in microseconds.
    pub(crate) long_cpu_us: f64,
    /// The same in the short one.
    pub(crate) short_cpu_us: f64,
    /// Commands of Redis per delivery in the long one, those of scripts included.
    pub(crate) long_commands: f64,
    /// The same in the short one.
    pub(crate) short_commands: f64,
    /// Bytes of Redis' memory per queued delivery, without its payload.
    pub(crate) bytes_per_delivery: f64,
}

/// Measures it.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
pub(super) async fn measure(plan: &Plan) -> Result<Backlog, Failure> {
    let per_tenant = u64::from(plan.subscriptions) * plan.queued;
    let mut long = Desk::start(plan.tenants, plan.subscriptions).await?;
    let empty = long.memory().await?;
    let wide = batch(64.min(plan.subscriptions));
    long.fill(per_tenant, wide).await?;
    let all = per_tenant * plan.tenants as u64;
    let weight = long
        .memory()
        .await?
        .saturating_sub(empty + long.published_bytes());
    let mut short = Desk::start(1, FEW).await?;
    // One event for each queue in a call, as in the long one.
    let narrow = batch(FEW);
    short.fill(u64::from(FEW) * SHORT, narrow).await?;
    let (mut longs, mut shorts) = (Vec::new(), Vec::new());
    for at in 0..WARM_UP + plan.samples {
        let tenant = at % plan.tenants;
        // By turns the one and the other is first.
        let (one, other) = if at % 2 == 0 {
            let one = long.sample(tenant, wide).await?;
            (one, short.sample(0, narrow).await?)
        } else {
            let other = short.sample(0, narrow).await?;
            (long.sample(tenant, wide).await?, other)
        };
        if at >= WARM_UP {
            longs.push(one);
            shorts.push(other);
        }
    }
    let ratio = |of: fn(&Sample) -> f64| {
        let pairs = longs.iter().zip(&shorts);
        Spread::of(pairs.map(|(long, short)| of(long) / of(short)).collect())
    };
    let each = |samples: &[Sample], of: fn(&Sample) -> f64| {
        Spread::of(samples.iter().map(of).collect()).median / SAMPLE as f64
    };
    let cpu_us = |sample: &Sample| sample.cpu.as_secs_f64() * 1e6;
    let commands = |sample: &Sample| sample.commands as f64;
    Ok(Backlog {
        long: all,
        subscriptions: u64::from(plan.subscriptions) * plan.tenants as u64,
        short: u64::from(FEW) * SHORT,
        deliveries: plan.samples as u64 * SAMPLE,
        cpu_ratio: ratio(|sample| sample.cpu.as_secs_f64()),
        elapsed_ratio: ratio(|sample| sample.elapsed.as_secs_f64()),
        long_cpu_us: each(&longs, cpu_us),
        short_cpu_us: each(&shorts, cpu_us),
        long_commands: each(&longs, commands),
        short_commands: each(&shorts, commands),
        bytes_per_delivery: weight as f64 / all as f64,
    })
}

const fn batch(events: u32) -> Batch {
    Batch {
        events,
        fanout: 1,
        bytes: BYTES,
    }
}

impl Backlog {
    pub(crate) fn rows(&self) -> [Row; 4] {
        let times = |ratio: f64| format!("x {ratio:.2}");
        let (long, short) = (self.long, self.short);
        let cpu = format!(
            "{}; {:.1} us, at {short} {:.1}",
            self.cpu_ratio.text(times),
            self.long_cpu_us,
            self.short_cpu_us,
        );
        let commands = format!(
            "x {:.2}; {:.2} per delivery, at {short} {:.2}",
            self.long_commands / self.short_commands,
            self.long_commands,
            self.short_commands,
        );
        [
            Row::new(format!("claim and settle at {long}: Redis' CPU"), cpu)
                .goal("<= x 1.5", self.cpu_ratio.median <= GOAL),
            Row::new(
                format!("claim and settle at {long}: elapsed"),
                self.elapsed_ratio.text(times),
            )
            .goal("<= x 1.5", self.elapsed_ratio.median <= GOAL),
            Row::new(format!("claim and settle at {long}: commands"), commands),
            Row::new(
                format!("memory of {long} over {}", self.subscriptions),
                format!(
                    "{:.0} bytes each beside the payload",
                    self.bytes_per_delivery
                ),
            )
            .goal("<= 200", self.bytes_per_delivery <= GOAL_BYTES),
        ]
    }
}
