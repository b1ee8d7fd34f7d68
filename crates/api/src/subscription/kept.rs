//! From a record to the domain: shape, never policy.
//!
//! A record was valid when it was written, by the rules of its day and of the version
//! that wrote it. Today's rules are asked only of what somebody changes
//! ([`apply_update`](super::apply_update)). So there is no wrong field here: what is
//! missing has its default, and what a later version chose and this one does not know is
//! read as what is safe:
//!
//! | unknown | read as | so that |
//! |---|---|---|
//! | scheme, algorithm or digest | [`Scheme::Unknown`] | nothing is signed in another way, or not at all: deliveries wait |
//! | format | [`Format::Unknown`] | nothing is sent in another form: deliveries wait |
//! | status, or reason of a pause | paused, for an unknown reason | nothing is sent that somebody stopped |
//! | preset of retries | `CLOSE`, within the bounds that the record names | nothing is tried for longer than somebody chose |
//! | what follows exhaustion | `DROP` | the subscription goes on |
//! | filter | one that holds for nothing, kept as it is | nothing is sent that somebody wished to be spared |

use core::time::Duration;
use std::sync::Arc;

use sidehook_core::{
    filter::Filter,
    limits::IN_FLIGHT_DEFAULT,
    matching::{Pattern, Term},
    pool::PoolName,
    retry::{ExhaustionAction, RetryPolicy, RetryPreset, RetryTerms},
    signing::{Algorithm, Digest, Scheme, Signing},
    subscription::{
        Destination, Format, HeaderName, HeaderValue, Identity, PauseReason, StaticHeader, Status,
        Subscription, Timeouts,
    },
};

use super::parse::SIGNATURE_HEADER;
use crate::{time::read_duration, v1};

/// Reads a subscription as a record keeps it.
pub(crate) fn read(proto: &v1::Subscription, identity: Identity) -> Subscription {
    let patterns = proto.events.iter().map(|pattern| Pattern {
        object_type: Term::kept(pattern.object_type.clone()),
        action: Term::kept(pattern.action.clone()),
        extra_filter: match pattern.extra_filter.as_str() {
            "" => None,
            text => Some(Arc::new(Filter::kept(text))),
        },
    });
    let headers = proto.headers.iter().map(|header| StaticHeader {
        name: HeaderName::kept(header.name.clone()),
        value: HeaderValue::kept(header.value.clone()),
    });
    Subscription {
        id: identity.id,
        url: Destination::kept(proto.url.clone()),
        events: patterns.collect(),
        campaign_id: proto.campaign_id.clone(),
        status: status(proto),
        signing: signing(proto.signing.as_ref()),
        format: format(proto.format).unwrap_or(Format::Unknown),
        event_header: match proto.event_header.as_str() {
            "" => None,
            name => Some(HeaderName::kept(name.to_owned())),
        },
        headers: headers.collect(),
        verify_ssl: proto.verify_ssl.unwrap_or(true),
        pool: match proto.pool.as_str() {
            "" => PoolName::default(),
            name => PoolName::kept(name),
        },
        timeouts: timeouts(proto.timeouts.unwrap_or_default()),
        max_in_flight: match proto.max_in_flight {
            0 => IN_FLIGHT_DEFAULT,
            window => window,
        },
        retry_policy: retry_policy(proto.retry_policy.unwrap_or_default()),
        description: proto.description.clone(),
        created_at: identity.created_at,
        updated_at: identity.updated_at,
        // Before there were owners, it was its creator's.
        owner: match proto.owner.as_str() {
            "" => identity.created_by.clone(),
            owner => owner.to_owned(),
        },
        created_by: identity.created_by,
        updated_by: identity.updated_by,
        version: identity.version,
    }
}

fn status(proto: &v1::Subscription) -> Status {
    use v1::SubscriptionStatus::{Active, Paused, Unspecified};
    match v1::SubscriptionStatus::try_from(proto.status) {
        Ok(Unspecified | Active) => Status::Active,
        Ok(Paused) => Status::Paused {
            reason: match proto.pause_reason.as_str() {
                "" => PauseReason::Api,
                word => PauseReason::from_word(word).unwrap_or(PauseReason::Unknown),
            },
        },
        Err(_) => Status::Paused {
            reason: PauseReason::Unknown,
        },
    }
}

fn signing(proto: Option<&v1::Signing>) -> Signing {
    let scheme = proto.and_then(|proto| proto.scheme.as_ref());
    let local_key = proto.map(|proto| proto.local_key.clone());
    Signing {
        // Every version has written the scheme: what is missing is one of a later one.
        scheme: scheme.and_then(known).unwrap_or(Scheme::Unknown),
        local_key: local_key.filter(|name| !name.is_empty()),
    }
}

fn known(proto: &v1::signing::Scheme) -> Option<Scheme> {
    use v1::signing::Scheme as Proto;
    Some(match proto {
        Proto::Unsigned(_) => Scheme::Unsigned,
        Proto::Close(_) => Scheme::Close,
        Proto::StandardWebhooks(scheme) => Scheme::StandardWebhooks(algorithm(scheme.algorithm)?),
        Proto::HmacHeader(scheme) => Scheme::HmacHeader {
            header: match scheme.header.as_str() {
                "" => SIGNATURE_HEADER.to_owned(),
                name => name.to_owned(),
            },
            digest: digest(scheme.digest)?,
            prefix: scheme.prefix.clone(),
        },
    })
}

/// The algorithm with this number; `None` for one that this version does not know.
pub(super) fn algorithm(number: i32) -> Option<Algorithm> {
    use v1::StandardWebhooksAlgorithm::{Ed25519, HmacSha256, Unspecified};
    Some(
        match v1::StandardWebhooksAlgorithm::try_from(number).ok()? {
            Unspecified | HmacSha256 => Algorithm::HmacSha256,
            Ed25519 => Algorithm::Ed25519,
        },
    )
}

/// The digest with this number; `None` for one that this version does not know.
pub(super) fn digest(number: i32) -> Option<Digest> {
    use v1::HmacDigest::{Sha1, Sha256, Unspecified};
    Some(match v1::HmacDigest::try_from(number).ok()? {
        Unspecified | Sha256 => Digest::Sha256,
        Sha1 => Digest::Sha1,
    })
}

fn span(proto: Option<prost_types::Duration>, default: Duration) -> Duration {
    proto.as_ref().and_then(read_duration).unwrap_or(default)
}

fn timeouts(proto: v1::Timeouts) -> Timeouts {
    let default = Timeouts::default();
    Timeouts::kept(
        span(proto.dns, default.dns()),
        span(proto.connect, default.connect()),
        span(proto.total, default.total()),
    )
}

/// What is missing is the preset's, though records name everything.
fn retry_policy(proto: v1::RetryPolicy) -> RetryPolicy {
    let given = |proto: Option<prost_types::Duration>| proto.as_ref().and_then(read_duration);
    RetryPolicy::kept(RetryTerms {
        preset: preset(proto.preset).unwrap_or_default(),
        initial_backoff: given(proto.initial_backoff),
        max_backoff: given(proto.max_backoff),
        max_age: given(proto.max_age),
        max_attempts: Some(proto.max_attempts),
        on_exhausted: on_exhausted(proto.on_exhausted).unwrap_or(Some(ExhaustionAction::Drop)),
    })
}

/// The format with this number; `None` for one that this version does not know.
pub(crate) fn format(number: i32) -> Option<Format> {
    use v1::DeliveryFormat::{
        CloudEventsBinary, CloudEventsStructured, Envelope, Raw, Unspecified,
    };
    Some(match v1::DeliveryFormat::try_from(number).ok()? {
        Unspecified | Envelope => Format::Envelope,
        Raw => Format::Raw,
        CloudEventsBinary => Format::CloudEventsBinary,
        CloudEventsStructured => Format::CloudEventsStructured,
    })
}

/// The preset with this number; `None` for one that this version does not know.
pub(super) fn preset(number: i32) -> Option<RetryPreset> {
    use v1::RetryPreset::{Close, Collect, Hookshot, StandardWebhooks, Unspecified};
    Some(match v1::RetryPreset::try_from(number).ok()? {
        Unspecified | Close => RetryPreset::Close,
        Collect => RetryPreset::Collect,
        Hookshot => RetryPreset::Hookshot,
        StandardWebhooks => RetryPreset::StandardWebhooks,
    })
}

/// What the number says, `Some(None)` if nothing; `None` for one that this version does
/// not know.
pub(super) fn on_exhausted(number: i32) -> Option<Option<ExhaustionAction>> {
    use v1::ExhaustionAction::{Drop, Pause, Unspecified};
    Some(match v1::ExhaustionAction::try_from(number).ok()? {
        Unspecified => None,
        Drop => Some(ExhaustionAction::Drop),
        Pause => Some(ExhaustionAction::Pause),
    })
}
