//! A partition laid open, for tests and for `store check`: may take long.

use core::fmt::Debug;
use std::collections::BTreeMap;

use sidehook_core::{
    address::DeliveryId,
    health::Health,
    id::{SubscriptionNumber, TenantId},
    time::Timestamp,
};

use crate::{budget::Usage, turn::LeaseId};

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
    /// How many bytes each tenant has that has any.
    pub used: BTreeMap<TenantId, Usage>,
    /// The health of each subscription of which something was counted.
    pub health: BTreeMap<(TenantId, SubscriptionNumber), Health>,
    /// Whatever contradicts the store's own rules, in words; empty if it is sound.
    pub faults: Vec<String>,
}

/// How many unfinished deliveries of a tenant are in a partition, and what it has of its
/// budgets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Queued.
    pub ready: u64,
    /// Waiting for a retry.
    pub waiting: u64,
    /// Lent.
    pub lent: u64,
    /// Bytes that the tenant has, of its two budgets.
    pub used: Usage,
}

/// How what was counted differs from what is told, in words that begin with `whose`; `None`
/// if it does not. What has nothing is taken out of both: it may be told or not.
pub fn difference<K, V>(
    whose: &str,
    counted: &mut BTreeMap<K, V>,
    told: &mut BTreeMap<K, V>,
) -> Option<String>
where
    K: Ord + Debug,
    V: Default + PartialEq + Debug,
{
    for map in [&mut *counted, &mut *told] {
        map.retain(|_, value| *value != V::default());
    }
    (counted != told).then(|| format!("{whose} {counted:?} bytes, told are {told:?}"))
}

impl Inspection {
    /// What is wrong with subscriptions' health, in words: it contradicts itself, or
    /// belongs to none that `is_live`.
    pub fn health_faults(
        &self,
        is_live: impl Fn(&(TenantId, SubscriptionNumber)) -> bool,
    ) -> Vec<String> {
        let mut faults = Vec::new();
        for (key, health) in &self.health {
            let (tenant, number) = key;
            if !is_live(key) {
                faults.push(format!("{tenant} {number:?}: health of no subscription"));
            }
            if let Some(fault) = health.fault() {
                faults.push(format!("{tenant} {number:?}: health: {fault}"));
            }
        }
        faults
    }

    /// How many there are of each tenant that has any.
    #[must_use]
    pub fn occupancy(&self) -> BTreeMap<TenantId, Occupancy> {
        let mut tenants: BTreeMap<TenantId, Occupancy> = BTreeMap::new();
        for (tenant, _) in &self.ready {
            tenants.entry(*tenant).or_default().ready += 1;
        }
        for (tenant, ..) in &self.waiting {
            tenants.entry(*tenant).or_default().waiting += 1;
        }
        for (tenant, ..) in &self.leased {
            tenants.entry(*tenant).or_default().lent += 1;
        }
        for (tenant, used) in &self.used {
            tenants.entry(*tenant).or_default().used = *used;
        }
        tenants
    }
}
