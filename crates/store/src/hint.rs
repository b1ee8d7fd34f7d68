//! Hints: what other replicas did. They may be lost or repeated; a probe at least
//! once a second finds the truth.

use bytes::Bytes;
use sidehook_core::{address::Partition, id::TenantId, pool::Pool};

/// Something happened in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A pool has work due that it had not before.
    Due {
        /// Where.
        partition: Partition,
        /// The pool.
        pool: Pool,
    },
    /// A tenant's subscriptions changed.
    Catalog(TenantId),
    /// Attempts ended; [`Store::history`](crate::Store::history) reads them.
    Settled(BlockId),
    /// Hints may have been lost (the connection was away).
    Gap,
}

/// The records of one settle call: opaque to everyone but the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlockId(pub Bytes);

/// One record of a settle call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRecord {
    /// The tenant.
    pub tenant: TenantId,
    /// The encoded attempt record.
    pub record: Bytes,
}
