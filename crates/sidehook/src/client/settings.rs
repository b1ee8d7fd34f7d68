//! The flags that describe a subscription, and what they mean in the API. Creation and
//! change share them: a change's mask names the fields whose flags were given.

use jiff::SignedDuration;
use sidehook_api::v1::{self, signing::Scheme as ApiScheme};

/// What a subscription is like; each flag may be left out.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Settings {
    /// What to send, as KIND:ACTION with `*` for all; may be repeated
    #[arg(long, value_name = "KIND:ACTION", value_parser = pattern)]
    events: Vec<v1::EventPattern>,
    /// How to sign requests
    #[arg(long, value_enum)]
    scheme: Option<Scheme>,
    /// A static header for every request; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<v1::Header>,
    /// Do not check the receiver's certificate
    #[arg(long, conflicts_with = "verify_ssl")]
    no_verify_ssl: bool,
    /// Check the receiver's certificate, as is the default
    #[arg(long)]
    verify_ssl: bool,
    /// The pool of agents that delivers; `platform/NAME` for a platform-wide one
    #[arg(long)]
    pool: Option<String>,
    /// Deliveries to the receiver at one time, 1 to 1,000
    #[arg(long, value_name = "N")]
    max_in_flight: Option<u32>,
    /// Wait before the first retry, for example `5s`; doubles with each
    #[arg(long, value_name = "SPAN", value_parser = span)]
    initial_backoff: Option<prost_types::Duration>,
    /// Longest wait between retries, for example `20m`
    #[arg(long, value_name = "SPAN", value_parser = span)]
    max_backoff: Option<prost_types::Duration>,
    /// How long to retry, for example `72h`
    #[arg(long, value_name = "SPAN", value_parser = span)]
    max_age: Option<prost_types::Duration>,
    /// Time limit of one attempt, at most `60s`
    #[arg(long, value_name = "SPAN", value_parser = span)]
    timeout: Option<prost_types::Duration>,
    /// A note for people
    #[arg(long)]
    description: Option<String>,
}

/// How to sign requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scheme {
    /// Standard Webhooks, the default
    StandardWebhooks,
    /// Close's headers
    Close,
    /// `X-Signature` with an HMAC-SHA256 of the body
    HmacHeader,
    /// No signature
    Unsigned,
}

impl From<Scheme> for ApiScheme {
    fn from(scheme: Scheme) -> Self {
        match scheme {
            Scheme::StandardWebhooks => {
                Self::StandardWebhooks(v1::StandardWebhooksScheme::default())
            }
            Scheme::Close => Self::Close(v1::CloseScheme {}),
            Scheme::HmacHeader => Self::HmacHeader(v1::HmacHeaderScheme::default()),
            Scheme::Unsigned => Self::Unsigned(v1::UnsignedScheme {}),
        }
    }
}

impl Scheme {
    /// The field of the scheme in a mask.
    fn path(self) -> &'static str {
        match self {
            Self::StandardWebhooks => "signing.standard_webhooks",
            Self::Close => "signing.close",
            Self::HmacHeader => "signing.hmac_header",
            Self::Unsigned => "signing.unsigned",
        }
    }
}

impl Settings {
    /// The fields of a subscription whose flags were given, and the mask that names
    /// them.
    pub(super) fn into_subscription(self, url: Option<String>) -> (v1::Subscription, Vec<String>) {
        let given = [
            ("url", url.is_some()),
            ("events", !self.events.is_empty()),
            (
                self.scheme.map_or("signing", Scheme::path),
                self.scheme.is_some(),
            ),
            ("headers", !self.headers.is_empty()),
            ("verify_ssl", self.no_verify_ssl || self.verify_ssl),
            ("pool", self.pool.is_some()),
            ("max_in_flight", self.max_in_flight.is_some()),
            (
                "retry_policy.initial_backoff",
                self.initial_backoff.is_some(),
            ),
            ("retry_policy.max_backoff", self.max_backoff.is_some()),
            ("retry_policy.max_age", self.max_age.is_some()),
            ("timeouts.total", self.timeout.is_some()),
            ("description", self.description.is_some()),
        ];
        let mask: Vec<_> = given.iter().filter(|(_, given)| *given).collect();
        let named = |prefix: &str| mask.iter().any(|(path, _)| path.starts_with(prefix));
        let subscription = v1::Subscription {
            url: url.unwrap_or_default(),
            events: self.events,
            signing: self.scheme.map(|scheme| v1::Signing {
                scheme: Some(scheme.into()),
                ..v1::Signing::default()
            }),
            headers: self.headers,
            verify_ssl: (self.no_verify_ssl || self.verify_ssl).then_some(self.verify_ssl),
            pool: self.pool.unwrap_or_default(),
            max_in_flight: self.max_in_flight.unwrap_or_default(),
            retry_policy: named("retry_policy.").then_some(v1::RetryPolicy {
                initial_backoff: self.initial_backoff,
                max_backoff: self.max_backoff,
                max_age: self.max_age,
                max_attempts: 0,
            }),
            timeouts: named("timeouts.").then_some(v1::Timeouts {
                total: self.timeout,
                ..v1::Timeouts::default()
            }),
            description: self.description.unwrap_or_default(),
            ..v1::Subscription::default()
        };
        let mask = mask.iter().map(|(path, _)| (*path).to_owned()).collect();
        (subscription, mask)
    }
}

fn pattern(text: &str) -> Result<v1::EventPattern, String> {
    let (object_type, action) = text
        .split_once(':')
        .ok_or("not KIND:ACTION, for example `opportunity:updated`")?;
    Ok(v1::EventPattern {
        object_type: object_type.to_owned(),
        action: action.to_owned(),
    })
}

fn header(text: &str) -> Result<v1::Header, String> {
    let (name, value) = text.split_once(':').ok_or("not NAME: VALUE")?;
    Ok(v1::Header {
        name: name.trim().to_owned(),
        value: value.trim().to_owned(),
    })
}

/// A span as people write it: `500ms`, `5s`, `1h 30m`.
pub(super) fn span(text: &str) -> Result<prost_types::Duration, String> {
    let span: SignedDuration = text
        .parse()
        .map_err(|_| "no span, for example `500ms` or `72h`")?;
    Ok(prost_types::Duration {
        seconds: span.as_secs(),
        nanos: span.subsec_nanos(),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    fn parsed(flags: &[&str]) -> (v1::Subscription, Vec<String>) {
        let line = [&["sidehook"], flags].concat();
        Line::try_parse_from(line)
            .expect("sound flags")
            .settings
            .into_subscription(None)
    }

    #[test]
    fn the_mask_names_what_was_given_and_nothing_else() {
        assert_eq!(parsed(&[]), (v1::Subscription::default(), Vec::new()));
        let flags = [
            "--scheme",
            "close",
            "--max-age",
            "72h",
            "--no-verify-ssl",
            "--description",
            "",
        ];
        let (subscription, mask) = parsed(&flags);
        assert_eq!(
            mask,
            [
                "signing.close",
                "verify_ssl",
                "retry_policy.max_age",
                "description"
            ]
        );
        assert_eq!(subscription.verify_ssl, Some(false));
        let age = subscription.retry_policy.and_then(|policy| policy.max_age);
        assert_eq!(age.map(|age| age.seconds), Some(259_200));
        assert!(subscription.timeouts.is_none());
    }

    #[test]
    fn lists_repeat_their_flag() {
        let flags = [
            "--events",
            "lead:*",
            "--events",
            "*:*",
            "--header",
            "X-A: b:c ",
        ];
        let (subscription, mask) = parsed(&flags);
        assert_eq!(mask, ["events", "headers"]);
        assert_eq!(subscription.events.len(), 2);
        assert_eq!(subscription.events[0].action, "*");
        assert_eq!(
            (
                &*subscription.headers[0].name,
                &*subscription.headers[0].value
            ),
            ("X-A", "b:c")
        );
    }

    #[test]
    fn spans_are_as_people_write_them() {
        let of = |text: &str| span(text).map(|span| (span.seconds, span.nanos));
        assert_eq!(of("500ms"), Ok((0, 500_000_000)));
        assert_eq!(of("1h 30m"), Ok((5_400, 0)));
        assert!(of("soon").is_err() && pattern("lead").is_err() && header("X").is_err());
    }
}
