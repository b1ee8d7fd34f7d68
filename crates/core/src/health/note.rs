//! Single attempts, as a subscription's health shows the newest few of them.

use crate::{address::DeliveryId, outcome::AttemptError, time::Timestamp};

/// One attempt that counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// When its event was accepted, by which the event's id is known; `None` where that was
    /// not known when the attempt was settled.
    pub accepted_at: Option<Timestamp>,
    /// When the attempt ended, by the control plane's clock.
    pub at: Timestamp,
    /// Its number, counted from 1.
    pub attempt_number: u32,
    /// The response's status code; 0 without a response.
    pub response_status: u16,
    /// What went wrong; `None` after success.
    pub error: Option<AttemptError>,
    /// The beginning of what the agent said about it.
    pub detail: String,
}

impl Note {
    /// What went wrong, in one line for people; empty after success. A response is told by
    /// its status, everything else by what the agent said:
    /// `Exception name: HTTPError, Status code: 404`,
    /// `Exception name: ConnectError, Detail: connection refused`.
    #[must_use]
    pub fn error_text(&self) -> String {
        let Some(error) = self.error else {
            return String::new();
        };
        let name = name_of(error);
        if error == AttemptError::Status {
            let status = self.response_status;
            return format!("Exception name: {name}, Status code: {status}");
        }
        match &*self.detail {
            "" => format!("Exception name: {name}"),
            detail => format!("Exception name: {name}, Detail: {detail}"),
        }
    }
}

const fn name_of(error: AttemptError) -> &'static str {
    match error {
        AttemptError::Status => "HTTPError",
        AttemptError::Dns => "DnsError",
        AttemptError::Connect => "ConnectError",
        AttemptError::Tls => "TlsError",
        AttemptError::Timeout => "TimeoutError",
        AttemptError::Protocol => "ProtocolError",
        AttemptError::EgressRefused => "EgressRefused",
        AttemptError::KeyMissing => "KeyMissing",
        AttemptError::LeaseLost => "LeaseLost",
        AttemptError::Interrupted => "Interrupted",
        AttemptError::Unknown(_) => "UnknownError",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_as_clients_know_them() {
        let note = |error, response_status, detail: &str| Note {
            delivery_id: DeliveryId::from_bits(1),
            accepted_at: None,
            at: Timestamp::default(),
            attempt_number: 1,
            response_status,
            error,
            detail: detail.to_owned(),
        };
        for (note, text) in [
            (note(None, 200, ""), ""),
            (
                note(Some(AttemptError::Status), 404, "never shown"),
                "Exception name: HTTPError, Status code: 404",
            ),
            (
                note(Some(AttemptError::Connect), 0, "connection refused"),
                "Exception name: ConnectError, Detail: connection refused",
            ),
            (
                note(Some(AttemptError::Timeout), 0, ""),
                "Exception name: TimeoutError",
            ),
        ] {
            assert_eq!(note.error_text(), text);
        }
    }
}
