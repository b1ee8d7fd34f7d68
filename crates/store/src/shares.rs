//! How much of each tenant one demand may still be lent: what stores count while they
//! meet it.

use std::collections::HashMap;

use sidehook_core::id::TenantId;

use crate::turn::Demand;

/// See the module.
#[derive(Clone, Debug)]
pub struct Shares {
    per_tenant: u32,
    left: HashMap<TenantId, u32>,
}

impl Shares {
    /// Nothing is lent yet.
    #[must_use]
    pub fn of(demand: &Demand) -> Self {
        Self {
            per_tenant: demand.per_tenant,
            left: demand.shares.iter().copied().collect(),
        }
    }

    /// How many deliveries of this tenant may still be lent.
    #[must_use]
    pub fn left(&self, tenant: TenantId) -> u32 {
        self.left.get(&tenant).copied().unwrap_or(self.per_tenant)
    }

    /// So many more were lent.
    pub fn take(&mut self, tenant: TenantId, count: u32) {
        let left = self.left.entry(tenant).or_insert(self.per_tenant);
        *left = left.saturating_sub(count);
    }
}
