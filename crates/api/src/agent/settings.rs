//! How to deliver for one version of a subscription.

use core::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sidehook_core::{
    id::{SubscriptionId, TenantId},
    limits::{IN_FLIGHT_MAX, TIMEOUT_MIN},
    signing::{Algorithm, Digest, Scheme, Signing},
    subscription::{
        Destination, Format, HeaderName, HeaderNameError, HeaderValue, StaticHeader, Subscription,
        Timeouts,
    },
};

use crate::{
    agent_v1::{self, SigningScheme},
    subscription::{event_header_to_proto, format_to_proto, kept::format},
};

/// What an agent needs of a subscription.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Key that assigned deliveries use on this stream.
    pub key: u64,
    /// A key whose settings these replace.
    pub replaces: Option<u64>,
    /// The subscription.
    pub subscription_id: SubscriptionId,
    /// Where requests go.
    pub url: Destination,
    /// What a request carries of its event.
    pub format: Format,
    /// The header that says `object_type:action` of the event.
    pub event_header: Option<HeaderName>,
    /// Headers of every request.
    pub headers: Vec<StaticHeader>,
    /// Whether the receiver's certificate must be valid.
    pub verify_ssl: bool,
    /// Time limits of an attempt.
    pub timeouts: Timeouts,
    /// Deliveries at one time.
    pub max_in_flight: u32,
    /// How to sign. The algorithm of Standard Webhooks means nothing here: the kind of
    /// each secret tells it.
    pub signing: Signing,
    /// The secrets in their text forms, newest first; none for a local key.
    pub secrets: Vec<SecretString>,
    /// The organisation of the envelope when the event names none.
    pub tenant_id: TenantId,
}

/// Settings that this agent cannot follow. No secret is ever part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("settings of {subscription_id}: {field}: {detail}")]
pub struct SettingsError {
    /// The subscription, as the frame says.
    pub subscription_id: String,
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub detail: String,
}

impl SettingsError {
    /// Whether the agent does not understand how to sign.
    #[must_use]
    pub fn is_about_signing(&self) -> bool {
        self.field.starts_with("signing")
    }

    /// Whether an agent of a later version would understand them.
    #[must_use]
    pub fn is_about_format(&self) -> bool {
        self.field == "format"
    }
}

/// The settings for an agent of a subscription of `tenant`. `secrets` are the text
/// forms of the keys in force, newest first, none when the key is local.
#[must_use]
pub fn settings_to_proto(
    subscription: &Subscription,
    tenant: TenantId,
    secrets: &[SecretString],
    key: u64,
    replaces: Option<u64>,
) -> agent_v1::SubscriptionSettings {
    let headers = subscription
        .headers
        .iter()
        .map(|header| agent_v1::HttpHeader {
            name: header.name.as_str().to_owned(),
            value: header.value.as_str().to_owned(),
        });
    let timeouts = subscription.timeouts.in_effect();
    agent_v1::SubscriptionSettings {
        key,
        replaces: replaces.unwrap_or(0),
        subscription_id: subscription.id.to_string(),
        url: subscription.url.to_string(),
        headers: headers.collect(),
        verify_ssl: subscription.verify_ssl,
        dns_timeout_ms: millis(timeouts.dns()),
        connect_timeout_ms: millis(timeouts.connect()),
        total_timeout_ms: millis(timeouts.total()),
        max_in_flight: subscription.max_in_flight.min(IN_FLIGHT_MAX),
        signing: Some(signing_to_proto(&subscription.signing, secrets)),
        tenant_id: tenant.to_string(),
        // Agents refuse a number that they do not know: nothing is sent in another form.
        format: format_to_proto(subscription.format).map_or(i32::MAX, Into::into),
        event_header: event_header_to_proto(subscription),
    }
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

fn signing_to_proto(signing: &Signing, secrets: &[SecretString]) -> agent_v1::SigningSettings {
    let (scheme, hmac_header, hmac_prefix) = match &signing.scheme {
        // Agents refuse it: what cannot be signed is not sent.
        Scheme::Unknown => (SigningScheme::Unspecified, "", ""),
        Scheme::Unsigned => (SigningScheme::Unsigned, "", ""),
        Scheme::StandardWebhooks(_) => (SigningScheme::StandardWebhooks, "", ""),
        Scheme::Close => (SigningScheme::Close, "", ""),
        Scheme::HmacHeader {
            header,
            digest: Digest::Sha256,
            prefix,
        } => (
            SigningScheme::HmacSha256Header,
            header.as_str(),
            prefix.as_str(),
        ),
        Scheme::HmacHeader {
            header,
            digest: Digest::Sha1,
            prefix,
        } => (
            SigningScheme::HmacSha1Header,
            header.as_str(),
            prefix.as_str(),
        ),
    };
    agent_v1::SigningSettings {
        scheme: scheme.into(),
        secrets: secrets
            .iter()
            .map(|secret| secret.expose_secret().to_owned())
            .collect(),
        local_key: signing.local_key.clone().unwrap_or_default(),
        hmac_header: hmac_header.to_owned(),
        hmac_prefix: hmac_prefix.to_owned(),
    }
}

/// What an agent reads it takes as it is, like a record ([`record`](crate::record)): the
/// control plane has checked it, perhaps by the rules of another version. Numbers are
/// brought to where an attempt can be made at all.
impl TryFrom<agent_v1::SubscriptionSettings> for Settings {
    type Error = SettingsError;

    fn try_from(proto: agent_v1::SubscriptionSettings) -> Result<Self, SettingsError> {
        let subscription_id = proto.subscription_id;
        let error = |field, detail: &dyn core::fmt::Display| SettingsError {
            subscription_id: subscription_id.clone(),
            field,
            detail: detail.to_string(),
        };
        let header = |header: agent_v1::HttpHeader| {
            // Whatever becomes of it, it must not be more than one header.
            if header.value.contains(['\r', '\n', '\0']) {
                return Err(error("headers.value", &"has a line break"));
            }
            Ok(StaticHeader {
                name: HeaderName::kept(header.name),
                value: HeaderValue::kept(header.value),
            })
        };
        let span = |ms: u32| Duration::from_millis(ms.into()).max(TIMEOUT_MIN);
        let signing = proto
            .signing
            .ok_or_else(|| error("signing", &"not given"))?;
        let (signing, secrets) =
            signing_from_proto(signing).map_err(|(field, detail)| error(field, &detail))?;
        Ok(Self {
            key: proto.key,
            replaces: Some(proto.replaces).filter(|key| *key != 0),
            subscription_id: subscription_id
                .parse()
                .map_err(|wrong| error("subscription_id", &wrong))?,
            url: Destination::kept(proto.url),
            format: format(proto.format)
                .ok_or_else(|| error("format", &"not known to this agent: update it"))?,
            event_header: Some(proto.event_header)
                .filter(|name| !name.is_empty())
                .map(HeaderName::kept),
            headers: proto
                .headers
                .into_iter()
                .map(header)
                .collect::<Result<_, _>>()?,
            verify_ssl: proto.verify_ssl,
            timeouts: Timeouts::kept(
                span(proto.dns_timeout_ms),
                span(proto.connect_timeout_ms),
                span(proto.total_timeout_ms),
            ),
            max_in_flight: proto.max_in_flight.max(1),
            signing,
            secrets,
            tenant_id: proto
                .tenant_id
                .parse()
                .map_err(|wrong| error("tenant_id", &wrong))?,
        })
    }
}

/// The signing settings, or which field is wrong and why. What is not given or not known must not turn into "not
/// signed".
fn signing_from_proto(
    proto: agent_v1::SigningSettings,
) -> Result<(Signing, Vec<SecretString>), (&'static str, String)> {
    let (header, prefix) = (proto.hmac_header, proto.hmac_prefix);
    let hmac = |digest| {
        // One that HTTP itself needs would be overwritten by the signature.
        let wrong = match HeaderName::kept(header.clone()) {
            _ if header.is_empty() => HeaderNameError::Length,
            name if name.is_reserved() => HeaderNameError::Reserved,
            _ => {
                return Ok(Scheme::HmacHeader {
                    header,
                    digest,
                    prefix,
                });
            }
        };
        Err(("signing.hmac_header", wrong.to_string()))
    };
    let wrong = |detail: &str| ("signing.scheme", detail.to_owned());
    let scheme = match SigningScheme::try_from(proto.scheme) {
        Err(_) => return Err(wrong("not known to this agent: update it")),
        Ok(SigningScheme::Unspecified) => return Err(wrong("not given")),
        Ok(SigningScheme::Unsigned) => Scheme::Unsigned,
        Ok(SigningScheme::StandardWebhooks) => Scheme::StandardWebhooks(Algorithm::default()),
        Ok(SigningScheme::Close) => Scheme::Close,
        Ok(SigningScheme::HmacSha256Header) => hmac(Digest::Sha256)?,
        Ok(SigningScheme::HmacSha1Header) => hmac(Digest::Sha1)?,
    };
    let local_key = Some(proto.local_key).filter(|name| !name.is_empty());
    let secrets = proto.secrets.into_iter().map(SecretString::from).collect();
    Ok((Signing { scheme, local_key }, secrets))
}
