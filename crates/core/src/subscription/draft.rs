//! A subscription whose parts were read one by one.
//!
//! A part that could not be read is `None`, and what is wrong with it has been noted;
//! the rest is still checked, so that a client hears of everything at once.

use super::{Destination, Format, HeaderName, StaticHeader, Status, Subscription, Timeouts};
use crate::{
    id::SubscriptionId,
    limits,
    matching::{Pattern, filter_bytes},
    pool::{self, PoolName},
    retry::RetryPolicy,
    signing::{Scheme, Signing},
    text::check_text,
    time::Timestamp,
    version::Version,
    violation::Violations,
};

/// What a client chooses; see [`Subscription`] for the fields.
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "the fields of Subscription, which documents them"
)]
pub struct Draft {
    pub url: Option<Destination>,
    pub events: Vec<Option<Pattern>>,
    pub campaign_id: String,
    pub status: Option<Status>,
    pub signing: Option<Signing>,
    pub format: Option<Format>,
    pub event_header: Option<HeaderName>,
    pub headers: Vec<Option<StaticHeader>>,
    pub verify_ssl: bool,
    pub pool: Option<PoolName>,
    pub timeouts: Option<Timeouts>,
    pub max_in_flight: u32,
    pub retry_policy: Option<RetryPolicy>,
    pub description: String,
    pub owner: String,
}

/// What the server knows of a subscription.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its identifier.
    pub id: SubscriptionId,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Who created it.
    pub created_by: String,
    /// Who changed it last.
    pub updated_by: String,
    /// Its etag.
    pub version: Version,
}

impl Identity {
    /// What the server knows of this subscription.
    #[must_use]
    pub fn of(subscription: &Subscription) -> Self {
        Self {
            id: subscription.id,
            created_at: subscription.created_at,
            updated_at: subscription.updated_at,
            created_by: subscription.created_by.clone(),
            updated_by: subscription.updated_by.clone(),
            version: subscription.version,
        }
    }
}

impl Draft {
    /// The subscription, if neither `noted` nor the whole has anything wrong.
    ///
    /// # Errors
    /// Everything that is wrong; paths are those of the API, relative to the
    /// subscription.
    pub fn complete(
        self,
        identity: Identity,
        noted: Violations,
    ) -> Result<Subscription, Violations> {
        let mut violations = noted;
        self.check(&mut violations);
        let Identity {
            id,
            created_at,
            updated_at,
            created_by,
            updated_by,
            version,
        } = identity;
        let (
            Some(url),
            Some(status),
            Some(signing),
            Some(format),
            Some(pool),
            Some(timeouts),
            Some(retry_policy),
        ) = (
            self.url,
            self.status,
            self.signing,
            self.format,
            self.pool,
            self.timeouts,
            self.retry_policy,
        )
        else {
            // Only what was not noted before needs a word.
            violations.require(
                !violations.is_empty(),
                "url",
                "the subscription is incomplete",
            );
            return Err(violations);
        };
        let owner = match self.owner {
            unsaid if unsaid.is_empty() => created_by.clone(),
            owner => owner,
        };
        violations.into_result(Subscription {
            id,
            owner,
            url,
            events: self.events.into_iter().flatten().collect(),
            campaign_id: self.campaign_id,
            status,
            signing,
            format,
            event_header: self.event_header,
            headers: self.headers.into_iter().flatten().collect(),
            verify_ssl: self.verify_ssl,
            pool,
            timeouts,
            max_in_flight: self.max_in_flight,
            retry_policy,
            description: self.description,
            created_at,
            updated_at,
            created_by,
            updated_by,
            version,
        })
    }

    /// What is said of too many or too few events.
    pub const EVENTS: &'static str =
        "between 1 and 100 entries are needed, or none as long as it is paused";
    /// What is said of too many headers.
    pub const HEADERS: &'static str = "at most 20 headers are allowed";

    fn check(&self, violations: &mut Violations) {
        // A paused one may wait for its first entry: a receiver that is not ready yet.
        let active = self.status.is_some_and(Status::is_active);
        violations.require(
            !(self.events.is_empty() && active) && self.events.len() <= limits::PATTERNS,
            "events",
            Self::EVENTS,
        );
        let bytes = filter_bytes(self.events.iter().flatten());
        if bytes > limits::SUBSCRIPTION_FILTER_BYTES {
            let max = limits::SUBSCRIPTION_FILTER_BYTES;
            let what =
                format!("the filters have {bytes} bytes together, at most {max} are allowed");
            violations.add("events", what);
        }
        violations.require(
            self.headers.len() <= limits::HEADERS,
            "headers",
            Self::HEADERS,
        );
        violations.require(
            (1..=limits::IN_FLIGHT_MAX).contains(&self.max_in_flight),
            "max_in_flight",
            "must be between 1 and 1000",
        );
        check_text(
            violations,
            || "description".to_owned(),
            &self.description,
            limits::DESCRIPTION_BYTES,
        );
        check_text(
            violations,
            || "owner".to_owned(),
            &self.owner,
            limits::SUBJECT_BYTES,
        );
        check_text(
            violations,
            || "campaign_id".to_owned(),
            &self.campaign_id,
            limits::REFERENCE_BYTES,
        );
        self.check_headers(violations);
        if let Some(signing) = &self.signing {
            check_signing(signing, violations);
        }
    }

    /// No two of the static headers, the signature's, the event's and the format's may be
    /// the same.
    fn check_headers(&self, violations: &mut Violations) {
        const FORMATS: &str =
            "the format CLOUD_EVENTS_BINARY sets the headers that begin with `ce-`";
        let signature = self
            .signing
            .as_ref()
            .and_then(|signing| match &signing.scheme {
                Scheme::HmacHeader { header, .. } => Some(header.as_str()),
                _ => None,
            });
        let format = self.format.unwrap_or_default();
        if signature.is_some_and(|signature| format.sets(signature)) {
            violations.add("signing.hmac_header.header", FORMATS);
        }
        if let Some(event) = &self.event_header {
            let signs = signature.is_some_and(|signature| event.is(signature));
            violations.require(!signs, "event_header", "this header carries the signature");
            let formats = format.sets(event.as_str());
            violations.require(!formats, "event_header", FORMATS);
        }
        for (index, header) in self.headers.iter().enumerate().take(limits::HEADERS) {
            let Some(header) = header else { continue };
            let name = header.name.as_str();
            let field = || format!("headers[{index}].name");
            if self.headers[..index]
                .iter()
                .flatten()
                .any(|other| other.name.is(name))
            {
                violations.add(field(), "the name was given before");
            }
            if signature.is_some_and(|signature| header.name.is(signature)) {
                violations.add(field(), "this header carries the signature");
            }
            if self
                .event_header
                .as_ref()
                .is_some_and(|event| event.is(name))
            {
                violations.add(field(), "this header is `event_header`");
            }
            if format.sets(name) {
                violations.add(field(), FORMATS);
            }
        }
    }
}

fn check_signing(signing: &Signing, violations: &mut Violations) {
    if let Scheme::HmacHeader { header, prefix, .. } = &signing.scheme {
        if let Err(error) = header.parse::<HeaderName>() {
            violations.add("signing.hmac_header.header", error.to_string());
        }
        let fits = |(at, byte): (usize, u8)| byte.is_ascii_graphic() || (byte == b' ' && at > 0);
        violations.require(
            prefix.len() <= limits::SIGNATURE_PREFIX_BYTES && prefix.bytes().enumerate().all(fits),
            "signing.hmac_header.prefix",
            "at most 64 bytes of visible ASCII and spaces, not beginning with a space, are allowed",
        );
    }
    if let Some(name) = &signing.local_key {
        violations.require(
            pool::is_name(name),
            "signing.local_key",
            "expected 1 to 63 of a-z, 0-9, `-` and `_`",
        );
        violations.require(
            signing.scheme != Scheme::Unsigned,
            "signing.local_key",
            "requests that are not signed need no key",
        );
    }
}
