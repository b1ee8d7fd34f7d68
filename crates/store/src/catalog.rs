//! Subscriptions at rest: a tenant's catalog, versioned as a whole and each by
//! itself.

use bytes::Bytes;
use sidehook_core::{
    id::{SubscriptionNumber, TenantId},
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
    /// The tenant has [`SUBSCRIPTIONS_PER_TENANT`] already: not done.
    ///
    /// [`SUBSCRIPTIONS_PER_TENANT`]: sidehook_core::limits::SUBSCRIPTIONS_PER_TENANT
    TooMany,
}
