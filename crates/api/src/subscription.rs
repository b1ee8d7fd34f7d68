//! Subscriptions: as clients write them and as the API shows them.
//!
//! There is one way from a client to the domain: `parse`. Creating parses what the
//! client sent; changing lays the masked fields of the client's patch over the
//! present subscription *in its wire form* and parses the result. So every rule holds
//! in both, and a mask can name no field that parsing does not know.
//!
//! Rules are for what somebody says now. The store's records are read without them
//! (`kept`), and a change is held to them in what it changes: what breaks a rule in a
//! field that stays as it is, and broke it before, is nobody's mistake of today.

pub(crate) mod kept;
mod mask;
mod parse;
#[cfg(test)]
mod tests;

use sidehook_core::{
    filter::Filter,
    id::SubscriptionId,
    limits::{HEADERS, PATTERNS},
    retry::{ExhaustionAction, RetryPolicy, RetryPreset},
    signing::{Algorithm, Digest, Scheme, Signing},
    subscription::{Draft, Format, HeaderName, Identity, Status, Subscription},
    time::Timestamp,
    version::Version,
    violation::Violations,
};

use parse::parse;

use crate::{
    time::{duration, timestamp},
    v1,
};

/// Path of the subscription in the requests that carry one.
const FIELD: &str = "subscription";

/// Reads a new subscription. Its version is [`Version::default`] until the store has
/// given it one.
///
/// # Errors
/// Everything that is wrong, as `subscription.…`.
pub fn create(
    proto: &v1::Subscription,
    id: SubscriptionId,
    subject: &str,
    now: Timestamp,
) -> Result<Subscription, Violations> {
    let mut violations = Violations::new();
    let keys = proto
        .signing
        .as_ref()
        .is_some_and(|signing| !signing.keys.is_empty());
    let output_only = [
        ("id", !proto.id.is_empty()),
        ("pause_reason", !proto.pause_reason.is_empty()),
        ("signing.keys", keys),
        ("created_at", proto.created_at.is_some()),
        ("updated_at", proto.updated_at.is_some()),
        ("created_by", !proto.created_by.is_empty()),
        ("updated_by", !proto.updated_by.is_empty()),
        ("etag", !proto.etag.is_empty()),
        ("fault", !proto.fault.is_empty()),
        ("health", proto.health.is_some()),
    ];
    for (field, given) in output_only {
        violations.require(!given, field, "output only: leave it empty");
    }
    if !is_countable(proto.events.len(), proto.headers.len(), &mut violations) {
        return Err(violations.under(FIELD));
    }
    let identity = Identity {
        id,
        created_at: now,
        updated_at: now,
        created_by: subject.to_owned(),
        updated_by: subject.to_owned(),
        version: Version::default(),
    };
    parse(proto, identity, violations).map_err(|violations| violations.under(FIELD))
}

/// The subscription after the fields of `patch` that `mask` names have been laid over
/// it; with an empty mask every field that is set. Output-only fields of the patch
/// are passed over, so that what was read can be sent back. Who changed it and when
/// is left to the caller ([`Subscription::touch`]).
///
/// # Errors
/// Everything that is wrong, as `subscription.…`, and wrong paths of the mask as
/// `update_mask`.
pub fn apply_update(
    current: &Subscription,
    patch: &v1::Subscription,
    mask: &[String],
) -> Result<Subscription, Violations> {
    let mut violations = Violations::new();
    if !crate::mask::is_short(mask, &mut violations) {
        return Err(violations);
    }
    // What is there already may be sent back, however much it is.
    let counted = |path: &str, given: usize, there: usize| {
        if mask::names(mask, path) && given > there {
            given
        } else {
            0
        }
    };
    let events = counted("events", patch.events.len(), current.events.len());
    let headers = counted("headers", patch.headers.len(), current.headers.len());
    if !is_countable(events, headers, &mut violations) {
        return Err(violations.under(FIELD));
    }
    let mut merged = to_proto(current);
    leave_preset(&mut merged, patch, mask);
    let mut violations = mask::merge(&mut merged, patch, mask);
    keep_algorithm(&mut merged, &current.signing);
    let unnamed = scheme_of(&merged).is_none();
    if unnamed && current.signing.scheme != Scheme::Unknown {
        let default = signing_to_proto(&Signing::default());
        merged.signing.get_or_insert_default().scheme = default.scheme;
    }
    let identity = Identity::of(current);
    let mut changed = kept::read(&merged, identity.clone());
    match parse(&merged, identity, Violations::new()) {
        Ok(subscription) => changed = subscription,
        Err(wrong) => violations.extend(of_today(wrong, current, &merged).under(FIELD)),
    }
    if unnamed && current.signing.scheme == Scheme::Unknown {
        // Not named, it stays what it is: there is no default to fall to.
        changed.signing.scheme = Scheme::Unknown;
    }
    if merged.format == 0 && current.format == Format::Unknown {
        changed.format = Format::Unknown;
    }
    violations.into_result(changed)
}

/// Whether lists have lengths that are looked at; if not, that is noted. It comes before
/// all work that is done for an entry, which for a whole message of them would be long.
fn is_countable(events: usize, headers: usize, violations: &mut Violations) -> bool {
    let (few_events, few_headers) = (events <= PATTERNS, headers <= HEADERS);
    violations.require(few_events, "events", Draft::EVENTS);
    violations.require(few_headers, "headers", Draft::HEADERS);
    few_events && few_headers
}

/// Those violations of a changed subscription that the change is to blame for: without
/// what the present subscription violates in the same way, in fields that stay.
fn of_today(wrong: Violations, current: &Subscription, merged: &v1::Subscription) -> Violations {
    let before = to_proto(current);
    let identity = Identity::of(current);
    let Err(known) = parse(&before, identity, Violations::new()) else {
        return wrong;
    };
    wrong.without(|one| {
        known.as_slice().contains(one) && mask::is_unchanged(&one.field, &before, merged)
    })
}

/// Where the preset of retries changes, what was as the old one has it gives way to what
/// the new one has: nobody chose it.
fn leave_preset(current: &mut v1::Subscription, patch: &v1::Subscription, mask: &[String]) {
    let preset = |proto: &v1::Subscription| kept::preset(proto.retry_policy?.preset);
    let mut merged = current.clone();
    // What is wrong with the mask is told when it counts.
    let _ = mask::merge(&mut merged, patch, mask);
    let before = preset(current).unwrap_or_default();
    let (true, Some(policy)) = (preset(&merged) != Some(before), &mut current.retry_policy) else {
        return;
    };
    let default = retry_policy_to_proto(&RetryPolicy::of(before));
    let leave = |span: &mut Option<_>, default| {
        if *span == default {
            *span = None;
        }
    };
    leave(&mut policy.initial_backoff, default.initial_backoff);
    leave(&mut policy.max_backoff, default.max_backoff);
    leave(&mut policy.max_age, default.max_age);
    if policy.max_attempts == default.max_attempts {
        policy.max_attempts = 0;
    }
    if policy.on_exhausted == default.on_exhausted {
        policy.on_exhausted = 0;
    }
}

fn scheme_of(proto: &v1::Subscription) -> Option<&v1::signing::Scheme> {
    proto.signing.as_ref()?.scheme.as_ref()
}

/// Who names no algorithm of Standard Webhooks leaves it as it is.
fn keep_algorithm(merged: &mut v1::Subscription, current: &Signing) {
    use v1::signing::Scheme as Proto;
    let Scheme::StandardWebhooks(algorithm) = current.scheme else {
        return;
    };
    let signing = merged.signing.get_or_insert_default();
    let unnamed = Proto::StandardWebhooks(v1::StandardWebhooksScheme::default());
    if let Proto::StandardWebhooks(scheme) = signing.scheme.get_or_insert(unnamed)
        && scheme.algorithm == 0
    {
        scheme.algorithm = algorithm_to_proto(algorithm).into();
    }
}

/// Whether a subscription that a client sends names the algorithm of its keys.
#[must_use]
pub fn names_algorithm(proto: &v1::Subscription) -> bool {
    use v1::signing::Scheme as Proto;
    matches!(scheme_of(proto), Some(Proto::StandardWebhooks(scheme)) if scheme.algorithm != 0)
}

fn filter_text(filter: Option<&Filter>) -> String {
    filter.map_or_else(String::new, Filter::to_string)
}

/// The subscription as the API shows it, without its signing keys.
#[must_use]
pub fn to_proto(subscription: &Subscription) -> v1::Subscription {
    let (status, pause_reason) = match subscription.status {
        Status::Active => (v1::SubscriptionStatus::Active, ""),
        Status::Paused { reason } => (v1::SubscriptionStatus::Paused, reason.as_str()),
    };
    let patterns = subscription.events.iter().map(|pattern| v1::EventPattern {
        object_type: pattern.object_type.to_string(),
        action: pattern.action.to_string(),
        extra_filter: filter_text(pattern.extra_filter.as_deref()),
    });
    let headers = subscription.headers.iter().map(|header| v1::Header {
        name: header.name.as_str().to_owned(),
        value: header.value.as_str().to_owned(),
    });
    let timeouts = &subscription.timeouts;
    let policy = &subscription.retry_policy;
    v1::Subscription {
        id: subscription.id.to_string(),
        url: subscription.url.to_string(),
        events: patterns.collect(),
        campaign_id: subscription.campaign_id.clone(),
        status: status.into(),
        pause_reason: pause_reason.to_owned(),
        signing: Some(signing_to_proto(&subscription.signing)),
        format: format_to_proto(subscription.format)
            .unwrap_or_default()
            .into(),
        event_header: event_header_to_proto(subscription),
        headers: headers.collect(),
        verify_ssl: Some(subscription.verify_ssl),
        pool: subscription.pool.to_string(),
        timeouts: Some(v1::Timeouts {
            dns: Some(duration(timeouts.dns())),
            connect: Some(duration(timeouts.connect())),
            total: Some(duration(timeouts.total())),
        }),
        max_in_flight: subscription.max_in_flight,
        retry_policy: Some(retry_policy_to_proto(policy)),
        description: subscription.description.clone(),
        created_at: Some(timestamp(subscription.created_at)),
        updated_at: Some(timestamp(subscription.updated_at)),
        created_by: subscription.created_by.clone(),
        updated_by: subscription.updated_by.clone(),
        owner: subscription.owner.clone(),
        etag: subscription.version.to_string(),
        fault: String::new(),
        health: None,
    }
}

/// The format, if this version knows it.
pub(crate) const fn format_to_proto(format: Format) -> Option<v1::DeliveryFormat> {
    Some(match format {
        Format::Unknown => return None,
        Format::Envelope => v1::DeliveryFormat::Envelope,
        Format::Raw => v1::DeliveryFormat::Raw,
        Format::CloudEventsBinary => v1::DeliveryFormat::CloudEventsBinary,
        Format::CloudEventsStructured => v1::DeliveryFormat::CloudEventsStructured,
    })
}

pub(crate) fn event_header_to_proto(subscription: &Subscription) -> String {
    let name = subscription.event_header.as_ref();
    name.map_or("", HeaderName::as_str).to_owned()
}

fn retry_policy_to_proto(policy: &RetryPolicy) -> v1::RetryPolicy {
    v1::RetryPolicy {
        initial_backoff: Some(duration(policy.initial_backoff())),
        max_backoff: Some(duration(policy.max_backoff())),
        max_age: Some(duration(policy.max_age())),
        max_attempts: policy.max_attempts().unwrap_or(0),
        on_exhausted: match policy.on_exhausted() {
            ExhaustionAction::Drop => v1::ExhaustionAction::Drop,
            ExhaustionAction::Pause => v1::ExhaustionAction::Pause,
        }
        .into(),
        preset: match policy.preset() {
            RetryPreset::Close => v1::RetryPreset::Close,
            RetryPreset::Collect => v1::RetryPreset::Collect,
            RetryPreset::Hookshot => v1::RetryPreset::Hookshot,
            RetryPreset::StandardWebhooks => v1::RetryPreset::StandardWebhooks,
        }
        .into(),
    }
}

const fn algorithm_to_proto(algorithm: Algorithm) -> v1::StandardWebhooksAlgorithm {
    match algorithm {
        Algorithm::HmacSha256 => v1::StandardWebhooksAlgorithm::HmacSha256,
        Algorithm::Ed25519 => v1::StandardWebhooksAlgorithm::Ed25519,
    }
}

fn signing_to_proto(signing: &Signing) -> v1::Signing {
    use v1::signing::Scheme as Proto;
    let scheme = match &signing.scheme {
        Scheme::Unknown => None,
        Scheme::Unsigned => Some(Proto::Unsigned(v1::UnsignedScheme {})),
        Scheme::Close => Some(Proto::Close(v1::CloseScheme {})),
        Scheme::StandardWebhooks(algorithm) => {
            Some(Proto::StandardWebhooks(v1::StandardWebhooksScheme {
                algorithm: algorithm_to_proto(*algorithm).into(),
            }))
        }
        Scheme::HmacHeader {
            header,
            digest,
            prefix,
        } => Some(Proto::HmacHeader(v1::HmacHeaderScheme {
            header: header.clone(),
            digest: match digest {
                Digest::Sha256 => v1::HmacDigest::Sha256,
                Digest::Sha1 => v1::HmacDigest::Sha1,
            }
            .into(),
            prefix: prefix.clone(),
        })),
    };
    v1::Signing {
        scheme,
        keys: Vec::new(),
        local_key: signing.local_key.clone().unwrap_or_default(),
    }
}
