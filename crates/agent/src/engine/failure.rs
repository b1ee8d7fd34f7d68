//! Why an attempt failed, in the words of the protocol, and whose failure it was.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use sidehook_core::outcome::OutcomeKind;

/// Why an attempt failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) kind: OutcomeKind,
    pub(super) detail: String,
    /// The status of a response whose body did not arrive; else 0.
    pub(super) status: u16,
}

impl Failure {
    pub(super) fn new(kind: OutcomeKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            status: 0,
        }
    }

    pub(super) fn timeout(what: &str, limit: Duration) -> Self {
        Self::new(OutcomeKind::Timeout, format!("{what} within {limit:?}"))
    }

    /// A name without an answer.
    pub(super) fn look_up(error: &io::Error) -> Self {
        Self::of_system(OutcomeKind::Dns, error)
    }

    /// An error of the system when connecting.
    pub(super) fn connect(error: &io::Error) -> Self {
        Self::of_system(OutcomeKind::Connect, error)
    }

    /// What this machine lacks is not the receiver's fault: no attempt began.
    fn of_system(kind: OutcomeKind, error: &io::Error) -> Self {
        // EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL: out of files, memory or ports.
        let is_ours = matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12 | 99));
        let kind = if is_ours {
            OutcomeKind::NotStarted
        } else {
            kind
        };
        Self::new(kind, error.to_string())
    }

    /// A handshake that failed, or an error of the connection during it.
    pub(super) fn tls(error: &io::Error) -> Self {
        Self::new(OutcomeKind::Tls, error.to_string())
    }

    /// A connection that broke, or an answer that is not HTTP.
    pub(super) fn http(error: &hyper::Error) -> Self {
        let mut detail = if error.is_incomplete_message() {
            "the connection was closed before the answer was complete".to_owned()
        } else {
            error.to_string()
        };
        let mut source = error.source();
        while let Some(error) = source {
            // Writing to a String cannot fail.
            let _ = write!(detail, ": {error}");
            source = error.source();
        }
        Self::new(OutcomeKind::Protocol, detail)
    }
}
