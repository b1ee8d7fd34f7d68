//! The flags that describe a subscription, and what they mean in the API. Creation and
//! change share them: a change's mask names the fields whose flags were given.

mod events;
mod retries;
mod secret;
mod signing;
mod span;

use sidehook_api::v1::{self, signing::Scheme};

use super::Failure;
pub(super) use secret::Secret;
pub(super) use span::span;

/// What a subscription is like; each flag may be left out.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Settings {
    #[command(flatten)]
    events: events::EventFlags,
    #[command(flatten)]
    signing: signing::Flags,
    /// A static header for every request; may be repeated. Those given replace all that
    /// there were
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<v1::Header>,
    /// Send no static headers any more
    #[arg(long, conflicts_with = "headers")]
    clear_headers: bool,
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
    /// Whether events are delivered
    #[arg(long, value_enum)]
    status: Option<Status>,
    #[command(flatten)]
    retries: retries::RetryFlags,
    /// Time limit of one attempt until its response is read, at most `60s`
    #[arg(long, value_name = "SPAN", value_parser = span, visible_alias = "total-timeout")]
    timeout: Option<prost_types::Duration>,
    /// Time limit of looking up the receiver's address
    #[arg(long, value_name = "SPAN", value_parser = span)]
    dns_timeout: Option<prost_types::Duration>,
    /// Time limit of connecting, with the TLS handshake
    #[arg(long, value_name = "SPAN", value_parser = span)]
    connect_timeout: Option<prost_types::Duration>,
    /// A note for people
    #[arg(long)]
    description: Option<String>,
    /// Whose it is: a user's id, or what else its bearer is called; for admins. Empty: its
    /// creator's
    #[arg(long, value_name = "SUBJECT")]
    owner: Option<String>,
}

/// Whether events are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Status {
    /// They are matched and delivered
    Active,
    /// New ones are not matched; what was queued before waits
    Paused,
}

impl From<Status> for v1::SubscriptionStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Active => Self::Active,
            Status::Paused => Self::Paused,
        }
    }
}

impl Settings {
    /// Whether [`Self::into_subscription`] has to know the scheme in force.
    pub(super) fn need_present(&self) -> bool {
        self.signing.need_present()
    }

    /// The fields of a mask whose flags were given, but for those of the signing.
    fn given(&self) -> impl Iterator<Item = &'static str> + use<> {
        let given = [
            ("headers", self.clear_headers || !self.headers.is_empty()),
            ("verify_ssl", self.no_verify_ssl || self.verify_ssl),
            ("pool", self.pool.is_some()),
            ("max_in_flight", self.max_in_flight.is_some()),
            ("status", self.status.is_some()),
            ("timeouts.dns", self.dns_timeout.is_some()),
            ("timeouts.connect", self.connect_timeout.is_some()),
            ("timeouts.total", self.timeout.is_some()),
            ("description", self.description.is_some()),
            ("owner", self.owner.is_some()),
        ];
        given
            .into_iter()
            .chain(self.events.given())
            .chain(self.retries.given())
            .filter_map(|(path, given)| given.then_some(path))
    }

    /// The fields of a subscription whose flags were given, and the mask that names
    /// them; `present` is the scheme in force, where there is one.
    ///
    /// # Errors
    /// Flags that contradict each other.
    pub(super) fn into_subscription(
        self,
        url: Option<String>,
        present: Option<&Scheme>,
    ) -> Result<(v1::Subscription, Vec<String>), Failure> {
        let mut mask: Vec<_> = url.as_ref().map(|_| "url").into_iter().collect();
        mask.extend(self.given());
        let named = |prefix: &str| mask.iter().any(|path| path.starts_with(prefix));
        let timeouts = named("timeouts.").then_some(v1::Timeouts {
            dns: self.dns_timeout,
            connect: self.connect_timeout,
            total: self.timeout,
        });
        let (signing, signing_mask) = self.signing.into_signing(present)?;
        mask.extend(signing_mask);
        let status = self.status.map(v1::SubscriptionStatus::from);
        let subscription = v1::Subscription {
            url: url.unwrap_or_default(),
            status: status.unwrap_or_default().into(),
            signing,
            headers: self.headers,
            verify_ssl: (self.no_verify_ssl || self.verify_ssl).then_some(self.verify_ssl),
            pool: self.pool.unwrap_or_default(),
            timeouts,
            max_in_flight: self.max_in_flight.unwrap_or_default(),
            retry_policy: self.retries.into_policy(),
            description: self.description.unwrap_or_default(),
            owner: self.owner.unwrap_or_default(),
            ..self.events.into_subscription()
        };
        Ok((subscription, mask.into_iter().map(str::to_owned).collect()))
    }
}

fn header(text: &str) -> Result<v1::Header, String> {
    let (name, value) = text.split_once(':').ok_or("not NAME: VALUE")?;
    Ok(v1::Header {
        name: name.trim().to_owned(),
        value: value.trim().to_owned(),
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
            .into_subscription(None, None)
            .expect("they agree")
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
                "verify_ssl",
                "description",
                "retry_policy.max_age",
                "signing.close"
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
        assert_eq!(mask, ["headers", "events"]);
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
    fn every_field_that_can_be_changed_has_its_flag() {
        let line = "--events a:b --campaign c --format raw --event-header X-E --header X-A:b \
                    --verify-ssl --pool p --max-in-flight 1 \
                    --status paused --initial-backoff 1s --max-backoff 2s --max-age 1d \
                    --max-attempts 3 --retry-preset collect --on-exhausted drop --dns-timeout 1s \
                    --connect-timeout 2s --timeout 3s --description d --owner usr_1 \
                    --algorithm ed25519 --local-key k";
        let flags: Vec<_> = line.split_whitespace().collect();
        let (subscription, mask) = parsed(&flags);
        // The scheme stands for four fields, of which one is given.
        assert_eq!(mask.len(), 22, "{mask:?}");
        assert_eq!(subscription.campaign_id, "c");
        assert_eq!(subscription.format(), v1::DeliveryFormat::Raw);
        assert_eq!(subscription.event_header, "X-E");
        assert_eq!(subscription.status(), v1::SubscriptionStatus::Paused);
        let policy = subscription.retry_policy.expect("given");
        assert_eq!(policy.preset(), v1::RetryPreset::Collect);
        assert_eq!(policy.on_exhausted(), v1::ExhaustionAction::Drop);
        assert_eq!(
            (policy.max_attempts, policy.max_age.map(|age| age.seconds)),
            (3, Some(86_400))
        );
        let timeouts = subscription.timeouts.expect("given");
        let seconds = [timeouts.dns, timeouts.connect, timeouts.total];
        assert_eq!(
            seconds.map(|span| span.map(|span| span.seconds)),
            [Some(1), Some(2), Some(3)]
        );
    }

    #[test]
    fn headers_are_cleared_by_a_flag_of_its_own() {
        let (subscription, mask) = parsed(&["--clear-headers"]);
        assert_eq!(mask, ["headers"]);
        assert!(subscription.headers.is_empty());
        let both = ["sidehook", "--clear-headers", "--header", "X-A: b"];
        assert!(Line::try_parse_from(both).is_err());
    }

    #[test]
    fn what_is_no_header_is_refused() {
        assert!(header("X").is_err());
    }
}
