//! Deliveries: one event for one subscription, and its attempts.

use core::time::Duration;

use bytes::Bytes;

use crate::{
    address::{DeliveryId, EventId},
    id::{AgentId, SubscriptionId},
    outcome::{AttemptError, Blame, Outcome},
    time::Timestamp,
};

/// Why deliveries end without success, in the words that the API shows.
pub mod reason {
    /// Dead: the retry policy gives up.
    pub const EXHAUSTED: &str = "retries exhausted";
    /// Dead: the receiver answered 410.
    pub const GONE: &str = "receiver answered 410 Gone";
    /// Dead, by the fault of the platform: the record of its event is corrupt.
    pub const EVENT_UNREADABLE: &str = "event record corrupt";
    /// Dead: it lost its lease too often.
    pub const LEASES_LOST: &str = "lease lost too often";
    /// Cancelled: its subscription was deleted.
    pub const SUBSCRIPTION_DELETED: &str = "subscription deleted";
    /// Cancelled: its event left the log.
    pub const EVENT_EXPIRED: &str = "event expired";
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Due, and waiting for an agent or for room in the window.
    Queued,
    /// Lent to an agent.
    InFlight,
    /// Failed, and due again later.
    Retrying,
    /// The receiver answered 2xx.
    Delivered,
    /// Given up.
    Dead,
    /// Withdrawn.
    Cancelled,
    /// Ended or not as a later version noted, in a state that this one does not know.
    Unknown,
}

impl DeliveryState {
    /// Whether nothing more will happen to the delivery, as far as this version can
    /// tell.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Delivered | Self::Dead | Self::Cancelled | Self::Unknown
        )
    }
}

/// One event for one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its identifier; the generation is in it.
    pub id: DeliveryId,
    /// The event.
    pub event_id: EventId,
    /// The subscription.
    pub subscription_id: SubscriptionId,
    /// Where it stands.
    pub state: DeliveryState,
    /// For `Retrying`: when the next attempt is due.
    pub next_attempt_at: Option<Timestamp>,
    /// For `Dead` and `Cancelled`: why, one of [`reason`]; else empty.
    pub reason: String,
    /// Attempts so far, counted ones and others.
    pub attempt_count: u32,
    /// The attempts, oldest first, where they were asked for.
    pub attempts: Vec<Attempt>,
}

/// One POST, or the failure to make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Counted from 1.
    pub number: u32,
    /// When it began, by the control plane's clock.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// The agent that made it.
    pub agent_id: AgentId,
    /// The response's status code; 0 without a response.
    pub response_status: u16,
    /// The response's body, at most 16 KiB.
    pub response_body: Bytes,
    /// What went wrong; `None` after success.
    pub error: Option<AttemptError>,
    /// More about the error, for people.
    pub error_detail: String,
}

impl Attempt {
    /// The attempt that ended so; `None` when none was made.
    #[must_use]
    pub fn of(number: u32, agent_id: AgentId, outcome: Outcome) -> Option<Self> {
        let error = outcome.error();
        (error.is_some() || outcome.is_success()).then_some(Self {
            number,
            started_at: outcome.started_at,
            duration: outcome.duration,
            agent_id,
            response_status: outcome.response_status,
            response_body: outcome.response_body,
            error,
            error_detail: outcome.error_detail,
        })
    }

    /// Whose failure it was; `None` after success.
    #[must_use]
    pub fn blame(&self) -> Option<Blame> {
        self.error.map(AttemptError::blame)
    }
}
