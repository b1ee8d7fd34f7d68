//! Bytes at rest, but for events (see [`event`](crate::event)) and for tenants, keys
//! and agents (see [`registry`](crate::registry)).
//!
//! Reading is strict: what this version does not understand is a [`CorruptRecord`],
//! never a guess.

use bytes::Bytes;
use prost::Message;
use sidehook_core::{
    address::DeliveryId,
    delivery::{Attempt, DeliveryState},
    id::SubscriptionId,
    retry::RetryState,
    subscription::{Identity, Subscription},
    time::Timestamp,
    version::Version,
    violation::Violations,
};

use crate::{
    delivery::{attempt_from_proto, attempt_to_proto},
    record_error::CorruptRecord,
    record_v1, subscription,
    time::read_timestamp,
    v1,
};

/// A subscription with its sealed keys, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSubscription {
    /// The subscription.
    pub subscription: Subscription,
    /// Its keys.
    pub keys: Vec<record_v1::SealedKey>,
}

/// Encodes a subscription; its version is the store's to keep.
#[must_use]
pub fn encode_subscription(stored: &StoredSubscription) -> Bytes {
    let proto = v1::Subscription {
        etag: String::new(),
        ..subscription::to_proto(&stored.subscription)
    };
    let record = record_v1::SubscriptionRecord {
        subscription: Some(proto),
        keys: stored.keys.clone(),
    };
    record.encode_to_vec().into()
}

/// Reads a subscription that the store keeps under `version`.
///
/// # Errors
/// If it cannot be read.
pub fn decode_subscription(
    record: Bytes,
    version: Version,
) -> Result<StoredSubscription, CorruptRecord> {
    let corrupt = |detail: &str| CorruptRecord::new("subscription", detail);
    let record: record_v1::SubscriptionRecord = decode("subscription", record)?;
    let proto = record
        .subscription
        .ok_or_else(|| corrupt("no subscription"))?;
    let moment = |proto: &Option<prost_types::Timestamp>, name: &str| {
        proto
            .as_ref()
            .and_then(read_timestamp)
            .ok_or_else(|| corrupt(name))
    };
    let identity = Identity {
        id: proto.id.parse().map_err(|_| corrupt("id"))?,
        created_at: moment(&proto.created_at, "created_at")?,
        updated_at: moment(&proto.updated_at, "updated_at")?,
        created_by: proto.created_by.clone(),
        updated_by: proto.updated_by.clone(),
        version,
    };
    let subscription = subscription::parse(&proto, identity, Violations::new())
        .map_err(|violations| corrupt(&violations.to_string()))?;
    Ok(StoredSubscription {
        subscription,
        keys: record.keys,
    })
}

/// The id in a subscription's record, if that at least can be read.
#[must_use]
pub fn subscription_id(record: &Bytes) -> Option<SubscriptionId> {
    let record: record_v1::SubscriptionRecord = decode("subscription", record.clone()).ok()?;
    record.subscription?.id.parse().ok()
}

/// The end of one attempt, or of a delivery without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptEntry {
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// Where it stands after it.
    pub state: DeliveryState,
    /// The attempt, if there was one.
    pub attempt: Option<Attempt>,
    /// For dead and cancelled deliveries: why.
    pub reason: String,
    /// For those that are tried again: when, as it was decided.
    pub next_attempt_at: Option<Timestamp>,
}

impl AttemptEntry {
    /// Encodes it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let record = record_v1::AttemptRecord {
            delivery_id: Bytes::copy_from_slice(&self.delivery_id.to_bytes()),
            state: v1::DeliveryState::from(self.state).into(),
            attempt: self.attempt.as_ref().map(attempt_to_proto),
            reason: self.reason.clone(),
            next_attempt_at_ms: self.next_attempt_at.map_or(0, Timestamp::as_millis),
        };
        record.encode_to_vec().into()
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn decode(record: Bytes) -> Result<Self, CorruptRecord> {
        let corrupt = |detail: &str| CorruptRecord::new("attempt", detail);
        let record: record_v1::AttemptRecord = decode("attempt", record)?;
        let state = v1::DeliveryState::try_from(record.state)
            .ok()
            .and_then(|state| state.try_into().ok())
            .ok_or_else(|| corrupt("a state that this version does not know"))?;
        Ok(Self {
            delivery_id: DeliveryId::from_slice(&record.delivery_id)
                .ok_or_else(|| corrupt("delivery_id"))?,
            state,
            attempt: record.attempt.map(attempt_from_proto).transpose()?,
            reason: record.reason,
            next_attempt_at: moment(record.next_attempt_at_ms),
        })
    }
}

/// What a deleted subscription was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Its identifier.
    pub id: SubscriptionId,
    /// When it was about to be deleted.
    pub deleted_at: Timestamp,
}

impl Tombstone {
    /// Encodes it.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let record = record_v1::TombstoneRecord {
            subscription_id: Bytes::copy_from_slice(&self.id.to_bytes()),
            deleted_at_ms: self.deleted_at.as_millis(),
        };
        record.encode_to_vec().into()
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn decode(record: Bytes) -> Result<Self, CorruptRecord> {
        let record: record_v1::TombstoneRecord = decode("tombstone", record)?;
        let id = SubscriptionId::from_slice(&record.subscription_id);
        Ok(Self {
            id: id.ok_or_else(|| CorruptRecord::new("tombstone", "subscription_id"))?,
            deleted_at: Timestamp::from_millis(record.deleted_at_ms),
        })
    }
}

/// Encodes what a delivery remembers of its attempts.
#[must_use]
pub fn encode_retry(state: &RetryState) -> Bytes {
    let record = record_v1::RetryRecord {
        attempts: state.attempts,
        first_attempt_at_ms: state.first_attempt_at.map_or(0, Timestamp::as_millis),
        attempts_in_all: state.attempts_in_all,
    };
    record.encode_to_vec().into()
}

/// Reads what [`encode_retry`] wrote.
///
/// # Errors
/// If it cannot be read.
pub fn decode_retry(record: &[u8]) -> Result<RetryState, CorruptRecord> {
    let record: record_v1::RetryRecord = decode("retry", record)?;
    Ok(RetryState {
        attempts: record.attempts,
        first_attempt_at: moment(record.first_attempt_at_ms),
        attempts_in_all: record.attempts_in_all,
    })
}

/// A moment of a record, where 0 stands for none.
pub(crate) fn moment(ms: i64) -> Option<Timestamp> {
    (ms != 0).then_some(Timestamp::from_millis(ms))
}

pub(crate) fn decode<M: Message + Default>(
    what: &'static str,
    record: impl bytes::Buf,
) -> Result<M, CorruptRecord> {
    M::decode(record).map_err(|error| CorruptRecord::new(what, error.to_string()))
}

#[cfg(test)]
mod tests;
