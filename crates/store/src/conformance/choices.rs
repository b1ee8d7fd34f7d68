//! Where the tests play: tenants that share a partition, and one that does not;
//! pools; times.

use core::time::Duration;

use bytes::Bytes;
use rand::{Rng as _, rngs::StdRng};
use sidehook_core::{
    address::Partition,
    health::{Kind, Latency, Mark},
    id::{AgentId, TenantId},
    pool::Pool,
    time::Timestamp,
};

use crate::{
    budget::Budget,
    turn::{Disposition, Holder},
};

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

/// Whether a random sequence trims logs. Then it deletes no subscriptions: what waits for
/// a deleted one has ended, but a store may need it to be due to notice, and keep its
/// event until then. So which events leave a full log would be a matter of taste.
pub(super) const fn trims(seed: u64) -> bool {
    seed.is_multiple_of(2)
}

/// A budget for a tenant in a random sequence: mostly none, else one that a few calls use
/// up, or that what they leave behind does.
pub(super) fn budget(random: &mut StdRng, trims: bool) -> Budget {
    let mut of = |small: [u64; 3], none| match random.random_range(0..12) {
        place @ 0..3 => small.get(place).copied().unwrap_or(none),
        _ => none,
    };
    Budget {
        pending: of([600, 3_000, 20_000], Budget::UNLIMITED.pending),
        log: match trims {
            true => of([1, 5_000, 30_000], Budget::UNLIMITED.log),
            false => Budget::UNLIMITED.log,
        },
    }
}

/// What an attempt adds to its subscription's health, in a random sequence: mostly
/// something.
pub(super) fn mark(random: &mut StdRng, disposition: &Disposition) -> Option<Mark> {
    if *disposition == Disposition::Release || random.random_range(0..5) == 0 {
        return None;
    }
    let note: Vec<u8> = vec![random.random(); random.random_range(0..9)];
    Some(Mark {
        kind: Kind::of(random.random(), random.random()),
        latency: Latency::of(Duration::from_millis(random.random_range(0..12_000))),
        note: Bytes::from(note),
    })
}

/// An agent in its first session.
pub(super) fn holder(agent: u128) -> Holder {
    Holder {
        agent: AgentId::from_bits(agent),
        session: 1,
    }
}
