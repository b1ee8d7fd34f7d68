//! A partition laid open, for tests and for `store check`: may take long.

use sidehook_core::{
    address::DeliveryId,
    id::{SubscriptionNumber, TenantId},
    time::Timestamp,
};

use crate::turn::LeaseId;

/// Where everything in a partition is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Queued, in queue order by (tenant, subscription).
    pub ready: Vec<(TenantId, DeliveryId)>,
    /// Lent.
    pub leased: Vec<(TenantId, DeliveryId, LeaseId)>,
    /// Waiting for a retry.
    pub waiting: Vec<(TenantId, DeliveryId, Timestamp)>,
    /// In-flight counters, where not zero.
    pub in_flight: Vec<(TenantId, SubscriptionNumber, u32)>,
    /// Segments in the log.
    pub segments: usize,
    /// Whatever contradicts the store's own rules, in words; empty if it is sound.
    pub faults: Vec<String>,
}
