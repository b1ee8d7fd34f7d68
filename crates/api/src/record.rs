//! Bytes at rest, but for events (see [`event`](crate::event)) and for tenants, keys
//! and agents (see [`registry`](crate::registry)).
//!
//! Reading asks for shape and never for policy: rules are for what callers send, and a
//! rule that is tightened must not make older records unreadable. A [`CorruptRecord`] is
//! one whose bytes are not what they should be, or that does not say what it is about.
//! What a later version wrote is read as far as this one understands it, as what is safe
//! where it does not, and is kept when the record is changed (`carry`).

#![allow(
    clippy::needless_update,
    reason = "a later version's records have more fields: see the feature `later`"
)]

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
};

use crate::{
    carry::{carry, unlike},
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

/// Full name of the message that a subscription is kept as.
const SUBSCRIPTION: &str = "sidehook.record.v1.SubscriptionRecord";

/// Encodes a new subscription; its version is the store's to keep.
#[must_use]
pub fn encode_subscription(stored: &StoredSubscription) -> Bytes {
    let proto = v1::Subscription {
        etag: String::new(),
        ..subscription::to_proto(&stored.subscription)
    };
    let record = record_v1::SubscriptionRecord {
        subscription: Some(proto),
        keys: stored.keys.clone(),
        ..Default::default()
    };
    encode(&record)
}

/// Encodes a subscription that was changed, with all that its record `old` holds beside
/// the change and that this version does not understand.
#[must_use]
pub fn change_subscription(old: &Bytes, stored: &StoredSubscription) -> Bytes {
    let new = encode_subscription(stored);
    match decode_subscription(old.clone(), stored.subscription.version) {
        Ok(before) => carry(SUBSCRIPTION, old, &encode_subscription(&before), new),
        Err(_) => new,
    }
}

/// The record, if this version would not write it so: then its changes must be made
/// with [`change_subscription`].
#[must_use]
pub fn foreign_subscription(record: &Bytes, read: &StoredSubscription) -> Option<Bytes> {
    unlike(record, &encode_subscription(read))
}

/// Reads a subscription that the store keeps under `version`: its shape, whatever it
/// says.
///
/// # Errors
/// If it is not a subscription's record, or has no id.
pub fn decode_subscription(
    record: Bytes,
    version: Version,
) -> Result<StoredSubscription, CorruptRecord> {
    let corrupt = |detail: &str| CorruptRecord::new("subscription", detail);
    let record: record_v1::SubscriptionRecord = decode("subscription", record)?;
    let proto = record
        .subscription
        .ok_or_else(|| corrupt("no subscription"))?;
    let identity = Identity {
        id: proto.id.parse().map_err(|_| corrupt("id"))?,
        created_at: kept_moment(proto.created_at.as_ref()),
        updated_at: kept_moment(proto.updated_at.as_ref()),
        created_by: proto.created_by.clone(),
        updated_by: proto.updated_by.clone(),
        version,
    };
    Ok(StoredSubscription {
        subscription: subscription::kept::read(&proto, identity),
        keys: record.keys,
    })
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
            ..Default::default()
        };
        encode(&record)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn decode(record: Bytes) -> Result<Self, CorruptRecord> {
        let corrupt = |detail: &str| CorruptRecord::new("attempt", detail);
        let record: record_v1::AttemptRecord = decode("attempt", record)?;
        let state = v1::DeliveryState::try_from(record.state).ok();
        Ok(Self {
            delivery_id: DeliveryId::from_slice(&record.delivery_id)
                .ok_or_else(|| corrupt("delivery_id"))?,
            state: state
                .and_then(|state| state.try_into().ok())
                .unwrap_or(DeliveryState::Unknown),
            attempt: record.attempt.map(attempt_from_proto),
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
            ..Default::default()
        };
        encode(&record)
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
        ..Default::default()
    };
    encode(&record)
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

/// A moment as a record keeps it; the epoch if there is none.
pub(crate) fn kept_moment(proto: Option<&prost_types::Timestamp>) -> Timestamp {
    proto.and_then(read_timestamp).unwrap_or_default()
}

pub(crate) fn encode(record: &impl Message) -> Bytes {
    record.encode_to_vec().into()
}

pub(crate) fn decode<M: Message + Default>(
    what: &'static str,
    record: impl bytes::Buf,
) -> Result<M, CorruptRecord> {
    M::decode(record).map_err(|error| CorruptRecord::new(what, error.to_string()))
}

#[cfg(test)]
mod tests;
