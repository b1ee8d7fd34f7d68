//! One delivery that the agent has taken: a debt of exactly one outcome.

use std::sync::Arc;
use std::time::Duration;

use sidehook_core::address::DeliveryId;
use sidehook_core::outcome::OutcomeKind;
use sidehook_session::agent_end::{Lease, Report};

use super::outcome_batch::Outcome;
use super::settings::Prepared;
use crate::rendering::Part;

/// A delivery and what it takes. Whoever drops it without [`Self::finish`] reports it too, so that no way of losing it
/// keeps its credit: by a panic as interrupted, so that one that always panics waits longer each time, else as not
/// started.
pub(crate) struct Job {
    pub(crate) lease: Lease,
    pub(crate) position: u32,
    pub(crate) attempt: u32,
    pub(crate) delivery: DeliveryId,
    /// The event's part of the request; `None` if the event could not be read.
    pub(crate) part: Option<Part>,
    pub(crate) settings: Arc<Prepared>,
    is_finished: bool,
}

impl Job {
    pub(crate) fn new(
        lease: Lease,
        position: u32,
        attempt: u32,
        delivery: DeliveryId,
        part: Option<Part>,
        settings: Arc<Prepared>,
    ) -> Self {
        Self {
            lease,
            position,
            attempt,
            delivery,
            part,
            settings,
            is_finished: false,
        }
    }

    /// Ends it.
    pub(super) fn finish(mut self, outcome: Outcome) {
        self.is_finished = true;
        self.report(outcome);
    }

    fn report(&self, outcome: Outcome) {
        self.settings.outcomes.push(Report {
            lease: self.lease.number(),
            position: self.position,
            outcome,
        });
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.is_finished {
            let (kind, detail) = if std::thread::panicking() {
                (OutcomeKind::Interrupted, "the agent failed; see its log")
            } else {
                (OutcomeKind::NotStarted, "")
            };
            self.report(Outcome::failed(
                kind,
                detail.to_owned(),
                Duration::MAX,
                Duration::ZERO,
            ));
        }
    }
}
