//! What a queued delivery weighs in Redis beside its payload.
//!
//! `used_memory` after publishing less that before, without the buffers of connections
//! and of the log, divided by the deliveries; less the bytes of the events' records,
//! which fan-out shares. What is left is the segments' heads, queue entries, log entries,
//! keys, and what the allocator rounds up, of the payload too. Subscriptions, their
//! empty queues and a first batch are there before.

use serde::Serialize;

use crate::{
    Failure,
    desk::{Batch, Desk},
    plan::Plan,
    report::Row,
};

/// Bytes of an event's record on average.
const BYTES: u32 = 1_000;
const SUBSCRIPTIONS: u32 = 1_000;
/// Heaviest that is wanted, in bytes.
const GOAL: f64 = 200.0;
/// Events of a call, and subscriptions of each.
const SHAPES: [(u32, u32); 3] = [(64, 1), (64, 10), (1, 1)];

/// The weight of what is queued.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Queued {
    /// Deliveries that are queued.
    pub(crate) deliveries: u64,
    /// Events that are published at one time.
    pub(crate) batch: u32,
    /// Subscriptions of each.
    pub(crate) fanout: u32,
    /// Bytes of a record on average.
    pub(crate) payload: u32,
    /// Bytes per delivery beside the payload.
    pub(crate) bytes_per_delivery: f64,
}

/// Weighs each shape in a Redis of its own.
pub(super) async fn measure(plan: &Plan) -> Result<Vec<Queued>, Failure> {
    let mut found = Vec::new();
    for (events, fanout) in SHAPES {
        let batch = Batch {
            events,
            fanout,
            bytes: BYTES,
        };
        found.push(weigh(plan, batch).await?);
    }
    Ok(found)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
async fn weigh(plan: &Plan, batch: Batch) -> Result<Queued, Failure> {
    let subscriptions = SUBSCRIPTIONS.min((plan.weighed / 100) as u32);
    let mut desk = Desk::start(1, subscriptions).await?;
    desk.fill(batch.deliveries(), batch).await?;
    let before = desk.memory().await? - desk.published_bytes();
    desk.fill(plan.weighed, batch).await?;
    let after = desk.memory().await? - desk.published_bytes();
    let deliveries = desk.queued(0).await? - batch.deliveries();
    Ok(Queued {
        deliveries,
        batch: batch.events,
        fanout: batch.fanout,
        payload: batch.bytes,
        bytes_per_delivery: after.saturating_sub(before) as f64 / deliveries as f64,
    })
}

impl Queued {
    pub(crate) fn row(&self) -> Row {
        let Self { batch, fanout, .. } = self;
        let what = format!("memory, batches of {batch}, fan-out {fanout}");
        let measured = format!(
            "{:.0} bytes each beside {} of payload",
            self.bytes_per_delivery, self.payload
        );
        Row::new(what, measured).goal("<= 200", self.bytes_per_delivery <= GOAL)
    }
}
