//! What a handler gets of a request.

use core::{str::FromStr, time::Duration};
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, Limited};
use parking_lot::Mutex;
use sidehook_api::v1::{
    delivery_service_client::DeliveryServiceClient, event_service_client::EventServiceClient,
    webhook_service_client::WebhookServiceClient,
};
use tokio::time::timeout;

use crate::{
    backend::Backend,
    problem::{Kind, Problem},
    query::Query,
    settings::DialectSettings,
};

/// Bytes of a body: a subscription at its longest, escaped, has about a half of it.
const BODY_BYTES: usize = 256 * 1024;
/// How long a body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of an RPC's answer: more than any of them has.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// A request of a caller that has given some key.
pub(crate) struct Call {
    pub(crate) backend: Backend,
    pub(crate) settings: Arc<DialectSettings>,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) requires_json_type: bool,
    /// In a lock only because a body is not `Sync`, and a call that several places look at
    /// has to be.
    pub(crate) body: Mutex<Body>,
}

impl Call {
    /// A client with the caller's key.
    pub(crate) fn webhooks(&self) -> WebhookServiceClient<Backend> {
        let client = WebhookServiceClient::new(self.backend.clone());
        client.max_decoding_message_size(ANSWER_BYTES)
    }

    /// A client with the caller's key.
    pub(crate) fn events(&self) -> EventServiceClient<Backend> {
        let client = EventServiceClient::new(self.backend.clone());
        client.max_decoding_message_size(ANSWER_BYTES)
    }

    /// A client with the caller's key.
    pub(crate) fn deliveries(&self) -> DeliveryServiceClient<Backend> {
        let client = DeliveryServiceClient::new(self.backend.clone());
        client.max_decoding_message_size(ANSWER_BYTES)
    }

    /// The id of the caller's tenant, known once an RPC has answered; empty before.
    pub(crate) fn tenant(&self) -> String {
        self.backend.tenant()
    }

    /// A parameter of the path; empty if there is none of this name.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// The parameter `id` of the path. Text that is no id of this type is the id of
    /// nothing.
    ///
    /// # Errors
    /// There is no such thing; `kind` says of what.
    pub(crate) fn id<T: FromStr>(&self, kind: &str) -> Result<T, Problem> {
        let parsed = self.parameter("id").parse();
        parsed.map_err(|_| Problem::not_found(kind))
    }

    /// The body, whole; it can be taken once.
    ///
    /// # Errors
    /// It is not declared to be JSON where the dialect wants that, too long, or does not
    /// come.
    pub(crate) async fn body(&mut self) -> Result<Bytes, Problem> {
        self.check_declared()?;
        let body = core::mem::replace(self.body.get_mut(), Body::empty());
        let whole = Limited::new(body, BODY_BYTES).collect();
        let Ok(read) = timeout(BODY_WITHIN, whole).await else {
            let message = format!("the body did not come within {} s", BODY_WITHIN.as_secs());
            return Err(Problem::new(Kind::BodyTimeout, message));
        };
        read.map(http_body_util::Collected::to_bytes)
            .map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    let message = format!("the body may have at most {BODY_BYTES} bytes");
                    Problem::new(Kind::TooLarge, message)
                } else {
                    Problem::new(Kind::Malformed, "the body broke off")
                }
            })
    }

    fn check_declared(&self) -> Result<(), Problem> {
        let refused = |message: &str| Err(Problem::new(Kind::MediaType, message));
        if self.headers.contains_key(header::CONTENT_ENCODING) {
            return refused("the body must not be encoded: leave `Content-Encoding` out");
        }
        if !self.requires_json_type || is_json(&self.headers) {
            return Ok(());
        }
        refused("the body must be JSON: send `Content-Type: application/json`")
    }
}

/// Whether the body is declared to be JSON, in UTF-8 if anything is said of that.
fn is_json(headers: &HeaderMap) -> bool {
    let declared = headers.get(header::CONTENT_TYPE);
    let Some(declared) = declared.and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let mut parts = declared.split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    let mut charsets = parts.filter_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.eq_ignore_ascii_case("charset")
            .then(|| value.trim_matches('"'))
    });
    is_json && charsets.all(|name| name.eq_ignore_ascii_case("utf-8"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn json_is_declared_in_the_ways_that_clients_have() {
        for (declared, expected) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("Application/JSON;charset=\"UTF-8\"", true),
            ("application/json; charset=latin1", false),
            ("application/x-www-form-urlencoded", false),
            ("text/json", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_static(declared);
            headers.insert(header::CONTENT_TYPE, value);
            assert_eq!(is_json(&headers), expected, "{declared}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
