//! How an attempt ended, and whose failure it was.

use core::time::Duration;

use bytes::Bytes;

use crate::time::Timestamp;

/// How an attempt ended, as the agent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutcomeKind {
    /// The receiver answered; the status tells whether it is a success.
    Response,
    /// Its address could not be found.
    Dns,
    /// No connection to it.
    Connect,
    /// No TLS session with it.
    Tls,
    /// It did not answer in time.
    Timeout,
    /// The connection broke, or the answer was not HTTP.
    Protocol,
    /// The agent's own rules forbid the address.
    EgressRefused,
    /// The agent does not have the local signing key.
    KeyMissing,
    /// No POST began.
    NotStarted,
    /// The agent failed in the middle of it; the request may have been sent.
    Interrupted,
}

/// The end of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub kind: OutcomeKind,
    /// The response's status code; 0 without a response.
    pub response_status: u16,
    /// How long it took.
    pub duration: Duration,
    /// When it began, by the control plane's clock.
    pub started_at: Timestamp,
    /// The response's body, at most 16 KiB.
    pub response_body: Bytes,
    /// More about an error, for people, at most 500 bytes.
    pub error_detail: String,
    /// How long the receiver asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl Outcome {
    /// Whether the receiver took the delivery: 2xx, and nothing else.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self.kind, OutcomeKind::Response) && matches!(self.response_status, 200..=299)
    }

    /// What went wrong; `None` after success and when no attempt was made.
    #[must_use]
    pub const fn error(&self) -> Option<AttemptError> {
        Some(match self.kind {
            OutcomeKind::Response if self.is_success() => return None,
            OutcomeKind::NotStarted => return None,
            OutcomeKind::Response => AttemptError::Status,
            OutcomeKind::Dns => AttemptError::Dns,
            OutcomeKind::Connect => AttemptError::Connect,
            OutcomeKind::Tls => AttemptError::Tls,
            OutcomeKind::Timeout => AttemptError::Timeout,
            OutcomeKind::Protocol => AttemptError::Protocol,
            OutcomeKind::EgressRefused => AttemptError::EgressRefused,
            OutcomeKind::KeyMissing => AttemptError::KeyMissing,
            OutcomeKind::Interrupted => AttemptError::Interrupted,
        })
    }

    /// Whose failure it was; `None` after success and when no attempt was made.
    #[must_use]
    pub fn blame(&self) -> Option<Blame> {
        self.error().map(AttemptError::blame)
    }
}

/// What went wrong with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptError {
    /// The receiver answered with a status other than 2xx.
    Status,
    /// Its address could not be found.
    Dns,
    /// No connection to it.
    Connect,
    /// No TLS session with it, or its certificate is not valid.
    Tls,
    /// It did not answer in time.
    Timeout,
    /// The connection broke, or the answer was not HTTP.
    Protocol,
    /// The agent's own rules forbid the address.
    EgressRefused,
    /// The agent does not have the local signing key.
    KeyMissing,
    /// The agent took the delivery and was lost.
    LeaseLost,
    /// The agent failed in the middle of it; the request may have been sent.
    Interrupted,
    /// What a later version noted and this one does not know, and whose failure it was.
    Unknown(Blame),
}

impl AttemptError {
    /// Whose failure it is.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::Status
            | Self::Dns
            | Self::Connect
            | Self::Tls
            | Self::Timeout
            | Self::Protocol => Blame::Receiver,
            Self::EgressRefused | Self::KeyMissing | Self::Interrupted => Blame::Agent,
            Self::LeaseLost => Blame::Platform,
            Self::Unknown(blame) => blame,
        }
    }
}

/// Whose failure an attempt was; only the receiver's spend retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The receiver's.
    Receiver,
    /// The agent's: its key, its proxy, its egress rules.
    Agent,
    /// Sidehook's own.
    Platform,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blame_is_exact() {
        let outcome = |kind, response_status| Outcome {
            kind,
            response_status,
            duration: Duration::ZERO,
            started_at: Timestamp::default(),
            response_body: Bytes::new(),
            error_detail: String::new(),
            retry_after: None,
        };
        for (kind, status, blame) in [
            (OutcomeKind::Response, 204, None),
            (OutcomeKind::Response, 302, Some(Blame::Receiver)),
            (OutcomeKind::Response, 500, Some(Blame::Receiver)),
            (OutcomeKind::Dns, 0, Some(Blame::Receiver)),
            (OutcomeKind::Connect, 0, Some(Blame::Receiver)),
            (OutcomeKind::Tls, 0, Some(Blame::Receiver)),
            (OutcomeKind::Timeout, 200, Some(Blame::Receiver)),
            (OutcomeKind::Protocol, 0, Some(Blame::Receiver)),
            (OutcomeKind::EgressRefused, 0, Some(Blame::Agent)),
            (OutcomeKind::KeyMissing, 0, Some(Blame::Agent)),
            (OutcomeKind::NotStarted, 0, None),
            (OutcomeKind::Interrupted, 0, Some(Blame::Agent)),
        ] {
            assert_eq!(outcome(kind, status).blame(), blame, "{kind:?} {status}");
        }
        assert_eq!(AttemptError::LeaseLost.blame(), Blame::Platform);
    }
}
