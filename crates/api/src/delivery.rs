//! Deliveries and attempts: as the API shows them, and attempts as records keep them.

use sidehook_core::{
    delivery::{Attempt, Delivery, DeliveryState},
    id::AgentId,
    outcome::{AttemptError, Blame},
};

use crate::{
    record_error::CorruptRecord,
    time::{duration, read_duration, read_timestamp, timestamp},
    v1,
};

/// A domain enum and its wire form; the wire's "not given" and numbers that this
/// version does not know have no domain form.
macro_rules! paired {
    ($domain:ident { $($variant:ident),+ $(,)? }) => {
        impl From<$domain> for v1::$domain {
            fn from(value: $domain) -> Self {
                match value {
                    $($domain::$variant => Self::$variant,)+
                }
            }
        }

        impl TryFrom<v1::$domain> for $domain {
            type Error = NotGiven;

            fn try_from(value: v1::$domain) -> Result<Self, NotGiven> {
                match value {
                    v1::$domain::Unspecified => Err(NotGiven),
                    $(v1::$domain::$variant => Ok(Self::$variant),)+
                }
            }
        }
    };
}

/// The value stands for "not given".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not given")]
pub struct NotGiven;

paired!(DeliveryState {
    Queued,
    InFlight,
    Retrying,
    Delivered,
    Dead,
    Cancelled
});
paired!(AttemptError {
    Status,
    Dns,
    Connect,
    Tls,
    Timeout,
    Protocol,
    EgressRefused,
    KeyMissing,
    LeaseLost,
    Interrupted,
});
paired!(Blame {
    Receiver,
    Agent,
    Platform
});

/// The state that a request asks for: `Ok(None)` if it asks for none.
///
/// # Errors
/// If the number is not a state that this version knows.
pub fn state_filter(number: i32) -> Result<Option<DeliveryState>, prost::UnknownEnumValue> {
    v1::DeliveryState::try_from(number).map(|state| state.try_into().ok())
}

/// A delivery as the API shows it.
#[must_use]
pub fn to_proto(delivery: Delivery) -> v1::Delivery {
    v1::Delivery {
        id: delivery.id.to_string(),
        event_id: delivery.event_id.to_string(),
        subscription_id: delivery.subscription_id.to_string(),
        generation: delivery.id.generation().into(),
        state: v1::DeliveryState::from(delivery.state).into(),
        next_attempt_at: delivery.next_attempt_at.map(timestamp),
        reason: delivery.reason,
        attempt_count: delivery.attempt_count,
        attempts: delivery.attempts.iter().map(attempt_to_proto).collect(),
    }
}

/// An attempt as the API shows it.
#[must_use]
pub fn attempt_to_proto(attempt: &Attempt) -> v1::Attempt {
    let error = attempt
        .error
        .map_or(v1::AttemptError::Unspecified, Into::into);
    let blame = attempt.blame().map_or(v1::Blame::Unspecified, Into::into);
    v1::Attempt {
        number: attempt.number,
        started_at: Some(timestamp(attempt.started_at)),
        duration: Some(duration(attempt.duration)),
        agent_id: attempt.agent_id.to_string(),
        response_status: attempt.response_status.into(),
        response_body: attempt.response_body.clone(),
        error: error.into(),
        error_detail: attempt.error_detail.clone(),
        blame: blame.into(),
    }
}

/// Reads an attempt of a record. The blame follows from the error and is not read.
pub(crate) fn attempt_from_proto(proto: v1::Attempt) -> Result<Attempt, CorruptRecord> {
    let corrupt = |detail: &str| CorruptRecord::new("attempt", detail);
    let error = v1::AttemptError::try_from(proto.error)
        .map_err(|_| corrupt("an error that this version does not know"))?;
    Ok(Attempt {
        number: proto.number,
        started_at: proto
            .started_at
            .as_ref()
            .and_then(read_timestamp)
            .ok_or_else(|| corrupt("started_at"))?,
        duration: proto
            .duration
            .as_ref()
            .and_then(read_duration)
            .ok_or_else(|| corrupt("duration"))?,
        agent_id: proto
            .agent_id
            .parse::<AgentId>()
            .map_err(|_| corrupt("agent_id"))?,
        response_status: u16::try_from(proto.response_status)
            .map_err(|_| corrupt("response_status"))?,
        response_body: proto.response_body,
        error: error.try_into().ok(),
        error_detail: proto.error_detail,
    })
}
