//! A subscription: where to send, what to match, how to sign, how to retry.
//!
//! Each part has a type of its own, which takes no wrong value from a caller. What only
//! shows when the parts stand together (counts, and headers that clash) a [`Draft`]
//! finds, and a draft is a caller's way to a subscription, made or changed.
//!
//! What a record keeps was right by the rules of its day, and is taken as it is: each
//! type has a `kept` that checks nothing. So whoever uses a part does not count on the
//! rules: numbers act as the nearest ones that are allowed now, and a URL or a header
//! that no request can carry fails the attempt.

mod destination;
mod draft;
mod format;
mod header;
mod timeouts;

pub use destination::{Destination, DestinationError};
pub use draft::{Draft, Identity};
pub use format::Format;
pub use header::{HeaderName, HeaderNameError, HeaderValue, HeaderValueError, StaticHeader};
pub use timeouts::Timeouts;

use crate::{
    id::SubscriptionId, matching::Pattern, pool::PoolName, retry::RetryPolicy, signing::Signing,
    time::Timestamp, version::Version,
};

/// One receiver's wish for some of a tenant's events.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// Its identifier.
    pub id: SubscriptionId,
    /// Where requests go.
    pub url: Destination,
    /// What to send: an event that matches any of them. 1 to 100, or none while paused.
    pub events: Vec<Pattern>,
    /// Only events of this campaign; of all if empty. At most 200 bytes.
    pub campaign_id: String,
    /// Whether events are delivered.
    pub status: Status,
    /// How requests are signed. The keys are kept beside the subscription.
    pub signing: Signing,
    /// What a request carries of its event.
    pub format: Format,
    /// The header that says `object_type:action` of the event.
    pub event_header: Option<HeaderName>,
    /// Headers added to every request, at most 20, no name twice.
    pub headers: Vec<StaticHeader>,
    /// Whether the receiver's TLS certificate must be valid.
    pub verify_ssl: bool,
    /// The agents that deliver.
    pub pool: PoolName,
    /// Time limits of one attempt.
    pub timeouts: Timeouts,
    /// Deliveries under way to the receiver at one time, 1 to 1,000.
    pub max_in_flight: u32,
    /// When failed deliveries are tried again.
    pub retry_policy: RetryPolicy,
    /// A note for people, at most 500 bytes of plain text.
    pub description: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When a person or client last changed it.
    pub updated_at: Timestamp,
    /// The subject that created it.
    pub created_by: String,
    /// The subject that changed it last.
    pub updated_by: String,
    /// The subject to whom it belongs: see [`Principal::may_change`](crate::principal::Principal::may_change).
    pub owner: String,
    /// Its etag.
    pub version: Version,
}

/// Whether a subscription delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Events are matched and delivered.
    Active,
    /// New events are not matched; what was queued before waits.
    Paused {
        /// Who or what paused it.
        reason: PauseReason,
    },
}

impl Status {
    /// Whether events are matched and delivered.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Active)
    }

    /// The status after a client asked for a pause: the first reason stays.
    #[must_use]
    pub const fn paused_by_api(self) -> Self {
        match self {
            Self::Active => Self::Paused {
                reason: PauseReason::Api,
            },
            Self::Paused { .. } => self,
        }
    }
}

/// Why a subscription is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseReason {
    /// A client asked for it.
    Api,
    /// The receiver answered 410.
    Gone,
    /// A delivery was given up, and the retry policy says that nothing more is to follow.
    Exhausted,
    /// One that a later version gave, or a status of such a version: whatever it is,
    /// it is not `Active`.
    Unknown,
}

impl PauseReason {
    /// The word that the API shows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Gone => "gone",
            Self::Exhausted => "exhausted",
            Self::Unknown => "unknown",
        }
    }

    /// The reason that this word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Api, Self::Gone, Self::Exhausted, Self::Unknown]
            .into_iter()
            .find(|reason| reason.as_str() == word)
    }
}

impl Subscription {
    /// Notes who changed it and when.
    pub fn touch(&mut self, subject: &str, now: Timestamp) {
        subject.clone_into(&mut self.updated_by);
        self.updated_at = now;
    }
}
