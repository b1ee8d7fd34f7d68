//! From the wire form to the domain: each field by itself, then the whole.

use core::{fmt::Display, time::Duration};
use std::sync::Arc;

use sidehook_core::{
    filter::Filter,
    limits::IN_FLIGHT_DEFAULT,
    matching::{Pattern, Term},
    pool::PoolName,
    retry::{RetryPolicy, RetryTerms},
    signing::{Algorithm, Digest, Scheme, Signing},
    subscription::{
        Draft, HeaderName, Identity, PauseReason, StaticHeader, Status, Subscription, Timeouts,
    },
    violation::Violations,
};

use super::kept;
use crate::{time::read_duration, v1};

/// Header of the plain HMAC scheme when none is named.
pub(super) const SIGNATURE_HEADER: &str = "X-Signature";

/// Reads a subscription; `noted` is what is known to be wrong already.
pub(super) fn parse(
    proto: &v1::Subscription,
    identity: Identity,
    noted: Violations,
) -> Result<Subscription, Violations> {
    let mut reader = Reader { violations: noted };
    let draft = Draft {
        url: reader.take("url", proto.url.parse()),
        events: reader.patterns(&proto.events),
        campaign_id: proto.campaign_id.clone(),
        status: reader.status(proto),
        signing: reader.signing(proto.signing.as_ref()),
        format: kept::format(proto.format)
            .or_else(|| reader.refuse("format", "not a known format")),
        event_header: reader.event_header(&proto.event_header),
        headers: reader.headers(&proto.headers),
        verify_ssl: proto.verify_ssl.unwrap_or(true),
        pool: match proto.pool.as_str() {
            "" => Some(PoolName::default()),
            name => reader.take("pool", name.parse()),
        },
        timeouts: reader.timeouts(proto.timeouts.unwrap_or_default()),
        max_in_flight: match proto.max_in_flight {
            0 => IN_FLIGHT_DEFAULT,
            window => window,
        },
        retry_policy: reader.retry_policy(proto.retry_policy.unwrap_or_default()),
        description: proto.description.clone(),
        owner: proto.owner.clone(),
    };
    draft.complete(identity, reader.violations)
}

struct Reader {
    violations: Violations,
}

impl Reader {
    fn take<T, E: Display>(&mut self, field: &str, read: Result<T, E>) -> Option<T> {
        read.map_err(|error| self.violations.add(field, error.to_string()))
            .ok()
    }

    fn refuse<T>(&mut self, field: &str, description: &str) -> Option<T> {
        self.violations.add(field, description);
        None
    }

    fn patterns(&mut self, protos: &[v1::EventPattern]) -> Vec<Option<Pattern>> {
        let mut pattern = |(index, proto): (usize, &v1::EventPattern)| {
            let path = |field| format!("events[{index}].{field}");
            let object_type = self.take(
                &path("object_type"),
                Term::parse_object_type(&proto.object_type),
            );
            let action = self.take(&path("action"), Term::parse(&proto.action));
            let extra_filter = self.filter(&proto.extra_filter, &path("extra_filter"));
            Some(Pattern {
                object_type: object_type?,
                action: action?,
                extra_filter: extra_filter?,
            })
        };
        protos.iter().enumerate().map(&mut pattern).collect()
    }

    /// `Some(None)`: there is none.
    fn filter(&mut self, text: &str, path: &str) -> Option<Option<Arc<Filter>>> {
        if text.is_empty() {
            return Some(None);
        }
        match Filter::parse(text, path) {
            Ok(filter) => Some(Some(Arc::new(filter))),
            Err(violations) => {
                self.violations.extend(violations);
                None
            }
        }
    }

    fn headers(&mut self, protos: &[v1::Header]) -> Vec<Option<StaticHeader>> {
        let mut header = |(index, proto): (usize, &v1::Header)| {
            let path = |field| format!("headers[{index}].{field}");
            let name = self.take(&path("name"), proto.name.parse());
            let value = self.take(&path("value"), proto.value.parse());
            Some(StaticHeader {
                name: name?,
                value: value?,
            })
        };
        protos.iter().enumerate().map(&mut header).collect()
    }

    /// `None`: there is none, or a wrong one, which has been noted.
    fn event_header(&mut self, name: &str) -> Option<HeaderName> {
        if name.is_empty() {
            return None;
        }
        self.take("event_header", name.parse())
    }

    fn status(&mut self, proto: &v1::Subscription) -> Option<Status> {
        use v1::SubscriptionStatus::{Active, Paused, Unspecified};
        match v1::SubscriptionStatus::try_from(proto.status) {
            Ok(Unspecified | Active) => Some(Status::Active),
            Ok(Paused) if proto.pause_reason.is_empty() => Some(Status::Paused {
                reason: PauseReason::Api,
            }),
            Ok(Paused) => match PauseReason::from_word(&proto.pause_reason) {
                Some(reason) => Some(Status::Paused { reason }),
                None => self.refuse("pause_reason", "not a known reason"),
            },
            Err(_) => self.refuse("status", "not a known status"),
        }
    }

    fn signing(&mut self, proto: Option<&v1::Signing>) -> Option<Signing> {
        use v1::signing::Scheme as Proto;
        let Some(proto) = proto else {
            return Some(Signing::default());
        };
        let scheme = match &proto.scheme {
            // Going without signatures is a choice that somebody has to write down.
            None => Signing::default().scheme,
            Some(Proto::Unsigned(_)) => Scheme::Unsigned,
            Some(Proto::Close(_)) => Scheme::Close,
            Some(Proto::StandardWebhooks(scheme)) => {
                Scheme::StandardWebhooks(self.algorithm(scheme.algorithm)?)
            }
            Some(Proto::HmacHeader(scheme)) => Scheme::HmacHeader {
                header: match scheme.header.as_str() {
                    "" => SIGNATURE_HEADER.to_owned(),
                    name => name.to_owned(),
                },
                digest: self.digest(scheme.digest)?,
                prefix: scheme.prefix.clone(),
            },
        };
        let local_key = Some(proto.local_key.clone()).filter(|name| !name.is_empty());
        Some(Signing { scheme, local_key })
    }

    fn algorithm(&mut self, number: i32) -> Option<Algorithm> {
        let field = "signing.standard_webhooks.algorithm";
        kept::algorithm(number).or_else(|| self.refuse(field, "not a known algorithm"))
    }

    fn digest(&mut self, number: i32) -> Option<Digest> {
        let field = "signing.hmac_header.digest";
        kept::digest(number).or_else(|| self.refuse(field, "not a known digest"))
    }

    /// The span, or `default` if absent.
    fn span(
        &mut self,
        field: &str,
        proto: Option<prost_types::Duration>,
        default: Duration,
    ) -> Option<Duration> {
        Some(self.given_span(field, proto)?.unwrap_or(default))
    }

    /// `Some(None)`: it is absent.
    fn given_span(
        &mut self,
        field: &str,
        proto: Option<prost_types::Duration>,
    ) -> Option<Option<Duration>> {
        let Some(proto) = proto else {
            return Some(None);
        };
        match read_duration(&proto) {
            Some(span) => Some(Some(span)),
            None => self.refuse(field, "must be a valid duration and not negative"),
        }
    }

    fn timeouts(&mut self, proto: v1::Timeouts) -> Option<Timeouts> {
        let default = Timeouts::default();
        let dns = self.span("timeouts.dns", proto.dns, default.dns());
        let connect = self.span("timeouts.connect", proto.connect, default.connect());
        let total = self.span("timeouts.total", proto.total, default.total());
        self.group("timeouts", Timeouts::new(dns?, connect?, total?))
    }

    fn retry_policy(&mut self, proto: v1::RetryPolicy) -> Option<RetryPolicy> {
        let initial_backoff =
            self.given_span("retry_policy.initial_backoff", proto.initial_backoff);
        let max_backoff = self.given_span("retry_policy.max_backoff", proto.max_backoff);
        let max_age = self.given_span("retry_policy.max_age", proto.max_age);
        let on_exhausted = kept::on_exhausted(proto.on_exhausted)
            .or_else(|| self.refuse("retry_policy.on_exhausted", "not a known action"));
        let preset = kept::preset(proto.preset)
            .or_else(|| self.refuse("retry_policy.preset", "not a known preset"));
        let policy = RetryPolicy::new(RetryTerms {
            preset: preset?,
            initial_backoff: initial_backoff?,
            max_backoff: max_backoff?,
            max_age: max_age?,
            max_attempts: Some(proto.max_attempts),
            on_exhausted: on_exhausted?,
        });
        self.group("retry_policy", policy)
    }

    fn group<T>(&mut self, field: &str, read: Result<T, Violations>) -> Option<T> {
        read.map_err(|violations| self.violations.extend(violations.under(field)))
            .ok()
    }
}
