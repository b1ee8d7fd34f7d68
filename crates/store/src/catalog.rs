//! Subscriptions at rest: a tenant's catalog, versioned as a whole and each by
//! itself.

use bytes::Bytes;
use sidehook_core::{
    id::{SubscriptionNumber, TenantId},
    limits::SUBSCRIPTIONS_PER_TENANT,
    pool::Pool,
    version::Version,
};

/// A tenant's subscriptions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Changes with every write; [`Version::default`] for a tenant without any.
    pub version: Version,
    /// The subscriptions, by number.
    pub rows: Vec<Row>,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub number: SubscriptionNumber,
    /// Its own version.
    pub version: Version,
    /// The encoded subscription record.
    pub record: Bytes,
}

/// A change of one subscription. Safe to repeat: a write whose `nonce` is already
/// that of the subscription (or, for a delete, whose subscription is gone) answers
/// as it did.
#[derive(Clone, Debug)]
pub struct Write {
    /// The tenant.
    pub tenant: TenantId,
    /// The subscription.
    pub number: SubscriptionNumber,
    /// What must be there for the change to be made.
    pub expect: Expect,
    /// What of the whole tenant must hold for the change to be made.
    pub bounds: Bounds,
    /// Random: becomes part of the subscription's and the catalog's new version.
    pub nonce: u64,
    /// The change.
    pub change: Change,
}

/// What must be there for a change to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No subscription of this number, nor ever one before.
    Absent,
    /// This version.
    Version(Version),
}

/// What of a tenant as a whole must hold for a change of one subscription to be made. A
/// repeated write that was made before is answered without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Subscriptions that the tenant may have once one more is created. Beyond
    /// [`SUBSCRIPTIONS_PER_TENANT`] it has no effect.
    pub most: u32,
    /// The version that the catalog must still have: for changes that were decided by
    /// looking at more than their own subscription. `None`: any.
    pub catalog: Option<Version>,
}

impl Bounds {
    /// Subscriptions that the tenant may have, by either bound.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        usize::try_from(self.most).map_or(SUBSCRIPTIONS_PER_TENANT, |most| {
            most.min(SUBSCRIPTIONS_PER_TENANT)
        })
    }
}

impl Default for Bounds {
    /// As many subscriptions as any tenant may have, and any version.
    fn default() -> Self {
        Self {
            most: u32::MAX,
            catalog: None,
        }
    }
}

/// A change.
#[derive(Clone, Debug)]
pub enum Change {
    /// Creates or replaces it.
    Put {
        /// The encoded subscription record.
        record: Bytes,
        /// How its queue is to be served from now on.
        queue: QueueSettings,
    },
    /// Deletes it: its queue is cleared, what is lent may still be settled, and
    /// what waits for a retry ends.
    Delete,
}

/// How a subscription's queue is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// The pool whose agents deliver.
    pub pool: Pool,
    /// Deliveries lent at one time.
    pub window: u32,
    /// While paused nothing is lent, and publishing enqueues nothing.
    pub paused: bool,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Done; the subscription's new version (of a delete: the one it had).
    Done(Version),
    /// Something else is there, or nothing: not done.
    Conflict {
        /// The version that is there.
        current: Option<Version>,
    },
    /// The tenant has as many as [`Bounds::subscriptions`] already: not done.
    TooMany,
    /// The catalog has another version than [`Bounds::catalog`]: not done.
    Overtaken,
}
