//! Subscriptions as operations hand them on: with their keys, and in lists.

use std::sync::Arc;

use bytes::Bytes;
use sidehook_api::v1;
use sidehook_core::{
    id::SubscriptionId,
    subscription::{Status, Subscription},
    time::Timestamp,
    version::Version,
};

use crate::{
    catalog::{self, CompiledSubscription, Unreadable},
    sealing::OpenError,
    signing_keys::ManagedKey,
};

/// A subscription with its signing keys in the clear.
#[derive(Clone, Debug)]
pub struct Keyed {
    /// The subscription.
    pub subscription: Subscription,
    /// Its keys, newest first; none if one of them does not open.
    pub keys: Vec<ManagedKey>,
    /// Why one does not open.
    pub unopened: Option<OpenError>,
    /// The present record, where it holds more than this version understands.
    pub(crate) foreign: Option<Bytes>,
}

impl From<&CompiledSubscription> for Keyed {
    fn from(compiled: &CompiledSubscription) -> Self {
        Self {
            subscription: compiled.subscription.clone(),
            keys: compiled.keys.clone().unwrap_or_default(),
            unopened: compiled.keys.as_ref().err().cloned(),
            foreign: compiled.foreign.clone(),
        }
    }
}

impl Keyed {
    pub(super) fn at(mut self, version: Version) -> Self {
        self.subscription.version = version;
        self
    }

    pub(super) fn with_status(&self, status: Status) -> Self {
        let mut changed = self.clone();
        changed.subscription.status = status;
        changed
    }

    /// The subscription with its keys, as the API shows it to those who may see them.
    #[must_use]
    pub fn to_proto(&self) -> v1::Subscription {
        let mut proto = self.without_keys();
        let keys = self.keys.iter().map(ManagedKey::to_proto).collect();
        proto.signing.get_or_insert_default().keys = keys;
        proto
    }

    /// The subscription as the API shows it to everybody.
    #[must_use]
    pub fn without_keys(&self) -> v1::Subscription {
        let fault = match &self.unopened {
            Some(error) => catalog::fault(error),
            None => catalog::of_later(&self.subscription)
                .unwrap_or_default()
                .to_owned(),
        };
        v1::Subscription {
            fault,
            ..sidehook_api::subscription::to_proto(&self.subscription)
        }
    }
}

/// A subscription in a list.
#[derive(Clone, Debug)]
pub enum Listed {
    /// It can be read.
    Readable(Arc<CompiledSubscription>),
    /// It cannot.
    Unreadable(Arc<Unreadable>),
}

impl Listed {
    /// Its place in lists: oldest first.
    pub(crate) fn place(&self) -> (Timestamp, SubscriptionId) {
        match self {
            Self::Readable(compiled) => {
                let subscription = &compiled.subscription;
                (subscription.created_at, subscription.id)
            }
            Self::Unreadable(unreadable) => (Timestamp::from_millis(0), unreadable.id()),
        }
    }

    /// What lists show of it; where they are asked for, with the keys in force at
    /// `keys_at`.
    #[must_use]
    pub fn to_proto(&self, keys_at: Option<Timestamp>) -> v1::Subscription {
        match self {
            Self::Readable(compiled) => match keys_at {
                None => compiled.to_proto(),
                Some(now) => {
                    let mut keyed = Keyed::from(&**compiled);
                    keyed.keys.retain(|key| key.in_force(now));
                    keyed.to_proto()
                }
            },
            Self::Unreadable(unreadable) => unreadable.to_proto(),
        }
    }
}
