//! The flags that say when failed deliveries are tried again.

use sidehook_api::v1;

use super::span;

/// When failed deliveries are tried again; each flag may be left out.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct RetryFlags {
    /// The curve of the waits between attempts, and what holds where no flag says more
    #[arg(long, value_enum)]
    retry_preset: Option<Preset>,
    /// Shortest wait before a retry, for example `5s`; doubles with each by default
    #[arg(long, value_name = "SPAN", value_parser = span)]
    initial_backoff: Option<prost_types::Duration>,
    /// Longest wait between retries, for example `20m`, at most `5d`
    #[arg(long, value_name = "SPAN", value_parser = span)]
    max_backoff: Option<prost_types::Duration>,
    /// How long to retry, for example `72h`, at most `28d`
    #[arg(long, value_name = "SPAN", value_parser = span)]
    max_age: Option<prost_types::Duration>,
    /// Attempts in all; 0: as many as the preset has, or --max-age leaves time for
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// What follows once a delivery is given up
    #[arg(long, value_enum)]
    on_exhausted: Option<OnExhausted>,
}

/// How long to wait before which attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Preset {
    /// Doubling from 5 s to 20 min, for 72 h; the default
    Close,
    /// The same for 24 h, then the subscription is paused
    Collect,
    /// After the n-th failure n^4 + 15 s, 25 attempts
    Hookshot,
    /// 5 s, 5 min, 30 min, 2, 5, 10, 14, 20 and 24 h
    StandardWebhooks,
}

/// What follows once a delivery is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnExhausted {
    /// Nothing: later ones are made as ever
    Drop,
    /// The subscription is paused
    Pause,
}

impl From<Preset> for v1::RetryPreset {
    fn from(preset: Preset) -> Self {
        match preset {
            Preset::Close => Self::Close,
            Preset::Collect => Self::Collect,
            Preset::Hookshot => Self::Hookshot,
            Preset::StandardWebhooks => Self::StandardWebhooks,
        }
    }
}

impl From<OnExhausted> for v1::ExhaustionAction {
    fn from(action: OnExhausted) -> Self {
        match action {
            OnExhausted::Drop => Self::Drop,
            OnExhausted::Pause => Self::Pause,
        }
    }
}

impl RetryFlags {
    /// The fields of a mask whose flags were given.
    pub(super) fn given(&self) -> [(&'static str, bool); 6] {
        [
            ("retry_policy.preset", self.retry_preset.is_some()),
            (
                "retry_policy.initial_backoff",
                self.initial_backoff.is_some(),
            ),
            ("retry_policy.max_backoff", self.max_backoff.is_some()),
            ("retry_policy.max_age", self.max_age.is_some()),
            ("retry_policy.max_attempts", self.max_attempts.is_some()),
            ("retry_policy.on_exhausted", self.on_exhausted.is_some()),
        ]
    }

    /// The policy, if there is a flag.
    pub(super) fn into_policy(self) -> Option<v1::RetryPolicy> {
        let any = self.given().into_iter().any(|(_, given)| given);
        let preset = self.retry_preset.map(v1::RetryPreset::from);
        let action = self.on_exhausted.map(v1::ExhaustionAction::from);
        any.then(|| v1::RetryPolicy {
            initial_backoff: self.initial_backoff,
            max_backoff: self.max_backoff,
            max_age: self.max_age,
            max_attempts: self.max_attempts.unwrap_or_default(),
            on_exhausted: action.unwrap_or_default().into(),
            preset: preset.unwrap_or_default().into(),
        })
    }
}
