//! The agent's stream: outcomes and subscriptions' settings, both ways.
//!
//! Each end checks what the other says. Of an outcome, what decides is refused when it
//! is wrong; what only describes is cut to its length, for a POST that was made must
//! not be made again because its error text was long.

mod settings;

pub use settings::{Settings, SettingsError, settings_to_proto};

use core::time::Duration;

use bytes::Bytes;
use sidehook_core::{
    limits::{ERROR_DETAIL_BYTES, RESPONSE_BYTES, TOTAL_TIMEOUT_MAX},
    outcome::{Outcome, OutcomeKind},
    time::Timestamp,
};

use crate::agent_v1;

/// The longest that an attempt is said to have taken: what an agent says beyond its
/// time limit and the moment that it may need to notice tells nothing.
pub const DURATION_MAX: Duration = Duration::from_secs(2 * TOTAL_TIMEOUT_MAX.as_secs());

/// Why one outcome of a frame is refused; the others are not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutcomeError {
    /// Its position is above 65,535.
    #[error("no lease has position {0}")]
    Position(u32),
    /// Its kind is not given or not known.
    #[error("outcome kind {0} is not known")]
    Kind(i32),
    /// Its status is not an HTTP status, or missing for a response.
    #[error("{0} is not an HTTP status")]
    Status(u32),
}

impl From<OutcomeKind> for agent_v1::OutcomeKind {
    fn from(kind: OutcomeKind) -> Self {
        match kind {
            OutcomeKind::Response => Self::Response,
            OutcomeKind::Dns => Self::Dns,
            OutcomeKind::Connect => Self::Connect,
            OutcomeKind::Tls => Self::Tls,
            OutcomeKind::Timeout => Self::Timeout,
            OutcomeKind::Protocol => Self::Protocol,
            OutcomeKind::EgressRefused => Self::EgressRefused,
            OutcomeKind::KeyMissing => Self::KeyMissing,
            OutcomeKind::NotStarted => Self::NotStarted,
            OutcomeKind::Interrupted => Self::Interrupted,
        }
    }
}

fn kind(number: i32) -> Option<OutcomeKind> {
    use agent_v1::OutcomeKind as Proto;
    Some(match Proto::try_from(number).ok()? {
        Proto::Unspecified => return None,
        Proto::Response => OutcomeKind::Response,
        Proto::Dns => OutcomeKind::Dns,
        Proto::Connect => OutcomeKind::Connect,
        Proto::Tls => OutcomeKind::Tls,
        Proto::Timeout => OutcomeKind::Timeout,
        Proto::Protocol => OutcomeKind::Protocol,
        Proto::EgressRefused => OutcomeKind::EgressRefused,
        Proto::KeyMissing => OutcomeKind::KeyMissing,
        Proto::NotStarted => OutcomeKind::NotStarted,
        Proto::Interrupted => OutcomeKind::Interrupted,
    })
}

/// Reads an outcome of a frame that arrived at `now`: the delivery's position in its
/// lease, and how the attempt ended.
///
/// # Errors
/// What is wrong with it.
pub fn read_outcome(
    proto: agent_v1::Outcome,
    now: Timestamp,
) -> Result<(u16, Outcome), OutcomeError> {
    let position =
        u16::try_from(proto.position).map_err(|_| OutcomeError::Position(proto.position))?;
    let kind = kind(proto.kind).ok_or(OutcomeError::Kind(proto.kind))?;
    let response_status = match (kind, proto.response_status) {
        (_, status @ 100..=999) => u16::try_from(status).ok(),
        (OutcomeKind::Response, _) => None,
        (_, status) => (status == 0).then_some(0),
    }
    .ok_or(OutcomeError::Status(proto.response_status))?;
    let outcome = Outcome {
        kind,
        response_status,
        duration: Duration::from_micros(proto.duration_us).min(DURATION_MAX),
        started_at: now.minus(Duration::from_millis(proto.started_ago_ms.into())),
        response_body: cut_body(proto.response_body),
        error_detail: cut_detail(proto.error_detail),
        retry_after: proto
            .retry_after_s
            .map(|seconds| Duration::from_secs(seconds.into())),
    };
    Ok((position, outcome))
}

/// At most the bytes of a response's body that are kept.
#[must_use]
pub fn cut_body(mut body: Bytes) -> Bytes {
    body.truncate(RESPONSE_BYTES);
    body
}

/// At most the bytes of an error's text that are kept.
#[must_use]
pub fn cut_detail(mut detail: String) -> String {
    detail.truncate(detail.floor_char_boundary(ERROR_DETAIL_BYTES));
    detail
}

#[cfg(test)]
mod tests;
