//! Where the tests play: tenants that share a partition, and one that does not;
//! pools; times.

use sidehook_core::{
    address::Partition,
    id::{AgentId, TenantId},
    pool::Pool,
    time::Timestamp,
};

use crate::turn::Holder;

/// When every test begins.
pub(super) const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// The tenant of most examples.
pub(super) const TENANT: TenantId = TenantId::from_bits(7);

/// Tenants that share [`TENANT`]'s partition, itself the first; or, of `elsewhere`,
/// tenants that do not.
pub(super) fn tenants(elsewhere: bool, count: usize) -> Vec<TenantId> {
    (7..)
        .map(TenantId::from_bits)
        .filter(|one| (Partition::of(*one) == Partition::of(TENANT)) != elsewhere)
        .take(count)
        .collect()
}

/// A pool for everyone.
pub(super) fn shared() -> Pool {
    Pool {
        owner: TenantId::PLATFORM,
        name: "shared".to_owned(),
    }
}

/// A tenant's own pool.
pub(super) fn own(tenant: TenantId) -> Pool {
    Pool {
        owner: tenant,
        name: "default".to_owned(),
    }
}

/// An agent in its first session.
pub(super) fn holder(agent: u128) -> Holder {
    Holder {
        agent: AgentId::from_bits(agent),
        session: 1,
    }
}
