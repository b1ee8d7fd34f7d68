//! A subscription: where to send, what to match, how to sign, how to retry.
//!
//! Each part has a type of its own that cannot hold a wrong value, except for what
//! only shows when the parts stand together (counts, and headers that clash):
//! [`Subscription::check`] finds that. Whoever makes or changes a subscription calls
//! it last.

mod destination;
mod header;
mod timeouts;

pub use destination::{Destination, DestinationError};
pub use header::{HeaderName, HeaderNameError, HeaderValue, HeaderValueError, StaticHeader};
pub use timeouts::Timeouts;

use crate::{
    id::SubscriptionId,
    limits,
    matching::Pattern,
    pool::{self, PoolName},
    retry::RetryPolicy,
    signing::{Scheme, Signing},
    time::Timestamp,
    version::Version,
    violation::Violations,
};

/// One receiver's wish for some of a tenant's events.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// Its identifier.
    pub id: SubscriptionId,
    /// Where requests go.
    pub url: Destination,
    /// What to send: an event that matches any of them. 1 to 100.
    pub events: Vec<Pattern>,
    /// Whether events are delivered.
    pub status: Status,
    /// How requests are signed. The keys are kept beside the subscription.
    pub signing: Signing,
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
    /// A note for people, at most 500 bytes.
    pub description: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When a person or client last changed it.
    pub updated_at: Timestamp,
    /// The subject that created it.
    pub created_by: String,
    /// The subject that changed it last.
    pub updated_by: String,
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
}

impl PauseReason {
    /// The word that the API shows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Gone => "gone",
        }
    }

    /// The reason that this word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Api, Self::Gone]
            .into_iter()
            .find(|reason| reason.as_str() == word)
    }
}

impl Subscription {
    /// What is wrong with the subscription as a whole; the paths are those of the API,
    /// relative to the subscription.
    #[must_use]
    pub fn check(&self) -> Violations {
        let mut violations = Violations::new();
        let within = |range: core::ops::RangeInclusive<usize>, len| range.contains(&len);
        violations.require(
            within(1..=limits::PATTERNS, self.events.len()),
            "events",
            "between 1 and 100 entries are needed",
        );
        violations.require(
            within(0..=limits::HEADERS, self.headers.len()),
            "headers",
            "at most 20 headers are allowed",
        );
        violations.require(
            (1..=limits::IN_FLIGHT_MAX).contains(&self.max_in_flight),
            "max_in_flight",
            "must be between 1 and 1000",
        );
        violations.require(
            self.description.len() <= limits::DESCRIPTION_BYTES,
            "description",
            "at most 500 bytes are allowed",
        );
        self.check_headers(&mut violations);
        self.check_signing(&mut violations);
        violations
    }

    fn check_headers(&self, violations: &mut Violations) {
        for (index, header) in self.headers.iter().enumerate() {
            let name = header.name.as_str();
            let field = || format!("headers[{index}].name");
            if self.headers[..index]
                .iter()
                .any(|other| other.name.is(name))
            {
                violations.add(field(), "the name was given before");
            }
            if let Scheme::HmacHeader {
                header: signature, ..
            } = &self.signing.scheme
                && header.name.is(signature)
            {
                violations.add(field(), "this header carries the signature");
            }
        }
    }

    fn check_signing(&self, violations: &mut Violations) {
        if let Scheme::HmacHeader { header, prefix, .. } = &self.signing.scheme {
            if let Err(error) = header.parse::<HeaderName>() {
                violations.add("signing.hmac_header.header", error.to_string());
            }
            let fits =
                |(at, byte): (usize, u8)| byte.is_ascii_graphic() || (byte == b' ' && at > 0);
            violations.require(
                prefix.len() <= limits::SIGNATURE_PREFIX_BYTES && prefix.bytes().enumerate().all(fits),
                "signing.hmac_header.prefix",
                "at most 64 bytes of visible ASCII and spaces, not beginning with a space, are allowed",
            );
        }
        if let Some(name) = &self.signing.local_key {
            violations.require(
                pool::is_name(name),
                "signing.local_key",
                "expected 1 to 63 of a-z, 0-9, `-` and `_`",
            );
            violations.require(
                self.signing.scheme != Scheme::Unsigned,
                "signing.local_key",
                "requests that are not signed need no key",
            );
        }
    }
}
