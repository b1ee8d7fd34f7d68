//! Deliveries and attempts: as the API shows them, and attempts as records keep them.

use sidehook_core::{
    delivery::{Attempt, Delivery, DeliveryState},
    id::AgentId,
    outcome::{AttemptError, Blame},
};

use crate::{
    record::kept_moment,
    time::{duration, read_duration, timestamp},
    v1,
};

/// A domain enum and its wire form. The wire's "not given" has no domain form; what a
/// record has of a later version has no wire form.
macro_rules! paired {
    ($domain:ident { $($variant:ident),+ $(,)? } $(else $unknown:pat)?) => {
        impl From<$domain> for v1::$domain {
            fn from(value: $domain) -> Self {
                match value {
                    $($domain::$variant => Self::$variant,)+
                    $($unknown => Self::Unspecified,)?
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
} else DeliveryState::Unknown);
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
} else AttemptError::Unknown(_));
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
        ..v1::Delivery::default()
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

/// Reads an attempt of a record: what is missing or out of range has its default, and
/// an error that this version does not know is one still. Blame follows from the error,
/// and is read only where that is not known.
pub(crate) fn attempt_from_proto(proto: v1::Attempt) -> Attempt {
    let blame = v1::Blame::try_from(proto.blame).ok();
    let blame = blame.and_then(|blame| blame.try_into().ok());
    Attempt {
        number: proto.number,
        started_at: kept_moment(proto.started_at.as_ref()),
        duration: proto
            .duration
            .as_ref()
            .and_then(read_duration)
            .unwrap_or_default(),
        agent_id: proto.agent_id.parse().unwrap_or(AgentId::from_bits(0)),
        response_status: u16::try_from(proto.response_status).unwrap_or(0),
        response_body: proto.response_body,
        error: match v1::AttemptError::try_from(proto.error) {
            Ok(error) => error.try_into().ok(),
            Err(_) => Some(AttemptError::Unknown(blame.unwrap_or(Blame::Platform))),
        },
        error_detail: proto.error_detail,
    }
}
