//! The delivery engine: jobs in, outcomes out.
//!
//! ```text
//! Assign -> Job -> Lane (one per subscription) -> worker -> Endpoint's connection -> receiver
//!                                                   `-> Outcomes (one vector) -> session
//! ```
//!
//! Made for cost: per POST there is no spawn, no channel message, no span, no timer and no task hand-over. What can be
//! made once per version of a subscription is in [`settings`]; what can be made once per event is in
//! [`crate::rendering`].

mod body;
mod connect;
mod connection;
mod early;
mod endpoint;
mod failure;
mod job;
mod lane;
mod lookup;
mod metrics;
mod outcome_batch;
mod post;
mod response;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use sidehook_api::agent_v1::SubscriptionSettings;
use sidehook_core::limits::IN_FLIGHT_MAX;
use sidehook_runtime::tasks::{OnPanic, TaskKind, Tasks};
use tokio::sync::Notify;

pub(crate) use self::metrics::EngineMetrics;
pub(crate) use job::Job;
pub(crate) use outcome_batch::{BATCH, Outcome, Outcomes};
pub(crate) use settings::Prepared;

use crate::clock::Clock;
use crate::egress::Egress;
use crate::trust::ReceiverTls;
use connect::Connector;
use endpoint::Endpoints;
use lane::Lane;
use lookup::LookUps;

const SWEEP: TaskKind = TaskKind::new("idle_connections", OnPanic::Abort).background();
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Lanes that are kept before unused ones are looked for.
const LANES_KEPT: usize = 64;

/// What workers share.
pub(crate) struct Shared {
    clock: Clock,
    connector: Connector,
    metrics: EngineMetrics,
    tasks: Tasks,
    endpoints: Endpoints,
    /// Woken when a lease must be renewed before a POST can begin.
    renewal: Notify,
    is_draining: AtomicBool,
    in_flight: AtomicU32,
}

impl Shared {
    fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }
}

/// The engine.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    outcomes: Arc<Outcomes>,
    lanes: HashMap<String, Arc<Lane>>,
    sweep_lanes_at: usize,
    local_keys: HashMap<String, SecretString>,
}

impl Engine {
    pub(crate) fn new(
        clock: Clock,
        egress: Egress,
        tls: ReceiverTls,
        local_keys: HashMap<String, SecretString>,
        tasks: Tasks,
    ) -> Self {
        let shared = Arc::new(Shared {
            clock,
            connector: Connector {
                egress,
                tls,
                look_ups: LookUps::new(tasks.clone()),
            },
            metrics: EngineMetrics::new(),
            tasks: tasks.clone(),
            endpoints: Endpoints::default(),
            renewal: Notify::new(),
            is_draining: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
        });
        let sweeping = Arc::downgrade(&shared);
        tasks.spawn(SWEEP, async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                let Some(shared) = sweeping.upgrade() else {
                    return;
                };
                shared.endpoints.sweep(shared.clock.now());
            }
        });
        Self {
            shared,
            outcomes: Arc::default(),
            lanes: HashMap::new(),
            sweep_lanes_at: LANES_KEPT,
            local_keys,
        }
    }

    /// Makes one version of a subscription ready.
    pub(crate) fn prepare(&mut self, settings: SubscriptionSettings) -> Arc<Prepared> {
        if self.lanes.len() >= self.sweep_lanes_at {
            // Settings and workers hold the lanes that are in use.
            self.lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
            self.sweep_lanes_at = LANES_KEPT.max(2 * self.lanes.len());
        }
        let lane = self
            .lanes
            .entry(settings.subscription_id.clone())
            .or_default();
        // Of settings that turn out to be unusable too, so before they are read.
        lane.set_window(&self.shared, settings.max_in_flight.min(IN_FLIGHT_MAX));
        Arc::new(Prepared::new(
            settings,
            Arc::clone(lane),
            Arc::clone(&self.outcomes),
            &self.shared.endpoints,
            &self.local_keys,
        ))
    }

    /// Takes jobs; while draining they are handed back.
    pub(crate) fn submit(&self, mut jobs: Vec<Job>) {
        if self.shared.is_draining() {
            return;
        }
        // Jobs of one subscription mostly stand side by side already; the order within a lane is kept.
        jobs.sort_by_key(|job| Arc::as_ptr(&job.settings.lane).addr());
        let mut jobs = jobs.into_iter().peekable();
        while let Some(first) = jobs.next() {
            let lane = Arc::clone(&first.settings.lane);
            let is_same = |job: &Job| Arc::ptr_eq(&job.settings.lane, &lane);
            let rest = std::iter::from_fn(|| jobs.next_if(is_same));
            lane.push(&self.shared, std::iter::once(first).chain(rest));
        }
    }

    /// Begins nothing any more, and hands back what has not begun.
    pub(crate) fn drain(&self) {
        self.shared.is_draining.store(true, Ordering::Release);
        for lane in self.lanes.values() {
            lane.clear();
        }
    }

    /// The outcomes.
    pub(crate) fn outcomes(&self) -> &Arc<Outcomes> {
        &self.outcomes
    }

    /// Resolves when a POST waits for the renewal of its lease.
    pub(crate) async fn renewal_wanted(&self) {
        self.shared.renewal.notified().await;
    }

    /// Attempts that are being made.
    pub(crate) fn in_flight(&self) -> u32 {
        self.shared.in_flight.load(Ordering::Relaxed)
    }
}
