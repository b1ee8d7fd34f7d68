//! One version of a subscription, made ready once so that a POST only clones: address, headers, keyed signer, limits.
//!
//! They are read by the one parser that the API's crate has for them. Settings that cannot be used are kept with the
//! reason, which becomes the outcome of every delivery under them: nothing is POSTed by guess, least of all unsigned.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use secrecy::{ExposeSecret as _, SecretString};
use sidehook_api::agent::{Settings, SettingsError};
use sidehook_api::agent_v1::SubscriptionSettings;
use sidehook_core::outcome::OutcomeKind;
use sidehook_core::signing::{Digest, Scheme as Wanted};
use sidehook_core::subscription::{Format, Timeouts};
use sidehook_runtime::build_info;
use sidehook_signature::{HmacDigest, HmacHeader, Scheme, Signer};
use url::Url;

use super::connect::Limits;
use super::endpoint::{Endpoint, EndpointKey, Endpoints, Tls};
use super::failure::Failure;
use super::lane::Lane;
use super::outcome_batch::Outcomes;
use crate::rendering::{self, STRUCTURED, Wants, subscription_headers};

/// One version of a subscription, ready for use.
pub(crate) struct Prepared {
    pub(super) lane: Arc<Lane>,
    pub(super) outcomes: Arc<Outcomes>,
    /// What belongs to it in the body.
    pub(super) tail: Bytes,
    wants: Wants,
    pub(super) tenant_id: String,
    pub(super) limits: Limits,
    pub(super) target: Result<Target, Unusable>,
}

/// Where and how to POST.
pub(super) struct Target {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) path: PathAndQuery,
    /// All headers; those of the signature with an empty value, so that each POST replaces instead of adding.
    pub(super) headers: HeaderMap,
    /// The name of the header that says what the event is.
    pub(super) event_header: Option<HeaderName>,
    pub(super) signer: Signer,
    /// The names of the signature's headers, in the signer's order.
    pub(super) signature: Vec<HeaderName>,
    /// Whether the signature names the message.
    pub(super) names_message: bool,
}

/// Why nothing can be POSTed.
#[derive(Debug, Clone)]
pub(super) struct Unusable {
    kind: OutcomeKind,
    detail: String,
}

impl Unusable {
    fn new(kind: OutcomeKind, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { kind, detail }
    }

    fn unreadable(error: &SettingsError) -> Self {
        let kind = if error.is_about_signing() {
            OutcomeKind::KeyMissing
        } else if error.is_about_format() {
            // It goes back, at nobody's expense, to an agent that knows it.
            OutcomeKind::NotStarted
        } else {
            OutcomeKind::Connect
        };
        Self::new(kind, error.to_string())
    }

    pub(super) fn to_failure(&self) -> Failure {
        Failure::new(self.kind, self.detail.clone())
    }
}

impl Prepared {
    pub(super) fn new(
        settings: SubscriptionSettings,
        lane: Arc<Lane>,
        outcomes: Arc<Outcomes>,
        endpoints: &Endpoints,
        local_keys: &HashMap<String, SecretString>,
    ) -> Self {
        let (id, tenant_id) = (settings.subscription_id.clone(), settings.tenant_id.clone());
        let read = Settings::try_from(settings)
            .inspect_err(|error| tracing::error!(%error, "settings cannot be used"));
        let (timeouts, format, label) = match &read {
            Ok(settings) => (
                settings.timeouts,
                settings.format,
                settings.event_header.is_some(),
            ),
            // Nothing will be sent, so nothing is rendered.
            Err(_) => (Timeouts::default(), Format::Unknown, false),
        };
        Self {
            lane,
            outcomes,
            tail: rendering::tail(format, &id),
            wants: Wants { format, label },
            tenant_id,
            limits: Limits {
                dns: timeouts.dns(),
                connect: timeouts.connect(),
                total: timeouts.total(),
            },
            target: read
                .map_err(|error| Unusable::unreadable(&error))
                .and_then(|settings| Target::new(&settings, endpoints, local_keys)),
        }
    }

    /// The time limit of one attempt.
    pub(crate) fn total_limit(&self) -> Duration {
        self.limits.total
    }

    /// What a request says of its event.
    pub(crate) fn wants(&self) -> Wants {
        self.wants
    }

    /// The tenant's id, as text.
    pub(crate) fn tenant_id(&self) -> &str {
        &self.tenant_id
    }
}

impl Target {
    fn new(
        settings: &Settings,
        endpoints: &Endpoints,
        local_keys: &HashMap<String, SecretString>,
    ) -> Result<Self, Unusable> {
        let unusable = |what: &str| Unusable::new(OutcomeKind::Connect, what);
        let url =
            Url::parse(settings.url.as_str()).map_err(|_| unusable("the URL is not valid"))?;
        let tls = match (url.scheme(), settings.verify_ssl) {
            ("http", _) => Tls::Off,
            ("https", true) => Tls::Verify,
            ("https", false) => Tls::Trust,
            _ => return Err(unusable("the URL is neither http nor https")),
        };
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(unusable("the URL names no host"));
        };
        let path = url[url::Position::BeforePath..url::Position::AfterQuery]
            .parse()
            .map_err(|_| unusable("the URL's path is not valid"))?;
        let signer = signer(settings, local_keys)?;
        let signature = signer
            .header_names()
            .map(|name| HeaderName::from_bytes(name.as_bytes()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| unusable("the signature's header has no valid name"))?;
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let headers = headers(settings, authority, &signature)?;
        let event_header = event_header(settings)?;
        let key = EndpointKey {
            host: host.to_owned(),
            port,
            tls,
        };
        Ok(Self {
            endpoint: endpoints.get(key),
            path,
            headers,
            event_header,
            names_message: signature.iter().any(|name| name.as_str() == "webhook-id"),
            signer,
            signature,
        })
    }
}

fn headers(
    settings: &Settings,
    authority: &str,
    signature: &[HeaderName],
) -> Result<HeaderMap, Unusable> {
    let mut headers = HeaderMap::new();
    let host = HeaderValue::from_str(authority).map_err(|_| invalid("host"))?;
    headers.insert(HOST, host);
    let content_type = match settings.format {
        Format::CloudEventsStructured => STRUCTURED,
        _ => "application/json",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let product = HeaderValue::from_str(&build_info::product("sidehook"));
    headers.insert(USER_AGENT, product.map_err(|_| invalid("user-agent"))?);
    // What frames the request, or proves where it is from, is not a subscription's to say.
    for header in settings
        .headers
        .iter()
        .filter(|header| !header.name.is_reserved() && !settings.format.sets(header.name.as_str()))
    {
        let (name, value) = (header.name.as_str(), header.value.as_str());
        let value = HeaderValue::from_str(value).map_err(|_| invalid(name))?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid(name))?;
        headers.insert(name, value);
    }
    if settings.format == Format::CloudEventsBinary {
        headers.extend(subscription_headers(&settings.subscription_id.to_string()));
    }
    for name in signature {
        headers.insert(name, HeaderValue::from_static(""));
    }
    Ok(headers)
}

fn event_header(settings: &Settings) -> Result<Option<HeaderName>, Unusable> {
    let name = settings.event_header.as_ref();
    let Some(name) = name.filter(|name| !name.is_reserved()) else {
        return Ok(None);
    };
    let read = HeaderName::from_bytes(name.as_str().as_bytes());
    read.map(Some).map_err(|_| invalid(name.as_str()))
}

fn invalid(name: &str) -> Unusable {
    let detail = format!("the header {name:?} is not valid");
    Unusable::new(OutcomeKind::Connect, detail)
}

fn signer(
    settings: &Settings,
    local_keys: &HashMap<String, SecretString>,
) -> Result<Signer, Unusable> {
    let missing = |detail: String| Unusable::new(OutcomeKind::KeyMissing, detail);
    let scheme = match &settings.signing.scheme {
        Wanted::Unknown => return Err(missing("the signing scheme is not known".to_owned())),
        Wanted::Unsigned => Scheme::Unsigned,
        Wanted::StandardWebhooks(_) => Scheme::StandardWebhooks,
        Wanted::Close => Scheme::Close,
        Wanted::HmacHeader {
            header,
            digest,
            prefix,
        } => {
            let digest = match digest {
                Digest::Sha256 => HmacDigest::Sha256,
                Digest::Sha1 => HmacDigest::Sha1,
            };
            let header = HmacHeader::new(header, digest, prefix);
            Scheme::HmacHeader(header.map_err(|error| missing(error.to_string()))?)
        }
    };
    let secrets: Vec<&str> = match &settings.signing.local_key {
        None => settings
            .secrets
            .iter()
            .map(SecretString::expose_secret)
            .collect(),
        Some(name) => {
            let key = local_keys.get(name);
            let key =
                key.ok_or_else(|| missing(format!("this agent has no local key named {name:?}")))?;
            vec![key.expose_secret()]
        }
    };
    Signer::new(&scheme, &secrets).map_err(|error| missing(error.to_string()))
}
