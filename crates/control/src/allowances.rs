//! What each tenant may have and do, as this replica goes by it.
//!
//! An operator sets limits in the tenant's record; what is not set there has a default,
//! some of which the server's configuration gives. A record is remembered for
//! `REMEMBERED`: so a change holds on every replica within 5 s. Whoever finds it older
//! reads it again, and the others go on with what is there: nobody waits but the first.
//! While the store is away what was known last holds, else the defaults: limits must not
//! stand in the way of what would work.
//!
//! How many subscriptions a tenant may have is asked of the record itself each time
//! ([`Allowances::fresh`]): there are few such questions, and none is right with an
//! answer of a while ago.

use core::time::Duration;
use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use sidehook_api::{
    registry::{Tenant, TenantLimits},
    v1,
};
use sidehook_core::{
    id::TenantId,
    limits::{
        EVENT_BYTES_MAX, REQUEST_BURST_MAX, REQUEST_BURST_SECONDS, REQUESTS_PER_SECOND_DEFAULT,
        SUBSCRIPTIONS_DEFAULT, SUBSCRIPTIONS_PER_TENANT, SUBSCRIPTIONS_PLATFORM, TENANT_BYTES_MAX,
    },
};
use sidehook_store::{Store, budget::Budget, rates::Rate, registry::Kind};
use tokio::time::{Instant, timeout};

use crate::errors::OperationError;

/// How long a record is remembered. Twice that is less than 5 s: who was to read it again
/// may have gone away while reading.
const REMEMBERED: Duration = Duration::from_secs(2);
/// How long anybody waits for a record.
const PATIENCE: Duration = Duration::from_secs(1);
/// Tenants that are remembered.
const MEMORY: usize = 10_000;

/// What the server's configuration gives to tenants for which nothing else is set.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// Bytes in the store.
    pub budget: Budget,
    /// Longest payload of an event, in bytes.
    pub event_bytes: usize,
}

/// What a tenant may have and do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Subscriptions, active and paused ones.
    pub subscriptions: u32,
    /// How often each key may read and manage.
    pub requests: Rate,
    /// How often each key may publish; `None`: as often as it likes.
    pub publishing: Option<Rate>,
    /// Bytes in the store.
    pub budget: Budget,
    /// Longest payload of an event, in bytes.
    pub event_bytes: usize,
}

impl Allowance {
    /// What these limits come to. Values beyond what can be set, of other versions, are
    /// taken for the nearest that can.
    fn new(limits: &TenantLimits, platform: bool, defaults: Defaults) -> Self {
        let most = SUBSCRIPTIONS_PER_TENANT as u32;
        let usual = if platform {
            SUBSCRIPTIONS_PLATFORM
        } else {
            SUBSCRIPTIONS_DEFAULT
        };
        let rate = |per_second: u32, burst: Option<u32>| {
            let burst = burst.unwrap_or(per_second.saturating_mul(REQUEST_BURST_SECONDS));
            Rate { per_second, burst }.bounded()
        };
        let per_second = limits.requests_per_second;
        let per_second = per_second.unwrap_or(REQUESTS_PER_SECOND_DEFAULT);
        let bytes =
            |set: Option<u64>, default: u64| set.map_or(default, |set| set.min(TENANT_BYTES_MAX));
        let event_bytes = limits.event_bytes.map(|bytes| bytes as usize);
        Self {
            subscriptions: limits.max_subscriptions.unwrap_or(usual).min(most),
            requests: rate(per_second, limits.request_burst),
            publishing: limits
                .publish_requests_per_second
                .map(|set| rate(set, None)),
            budget: Budget {
                pending: bytes(limits.pending_bytes, defaults.budget.pending),
                log: bytes(limits.log_bytes, defaults.budget.log),
            },
            event_bytes: event_bytes.map_or(defaults.event_bytes, |set| set.min(EVENT_BYTES_MAX)),
        }
    }

    fn to_proto(self) -> v1::TenantLimits {
        v1::TenantLimits {
            max_subscriptions: self.subscriptions,
            requests_per_second: self.requests.per_second,
            request_burst: self.requests.burst.min(REQUEST_BURST_MAX),
            publish_requests_per_second: self.publishing.map_or(0, |rate| rate.per_second),
            tenant_pending_bytes: self.budget.pending,
            tenant_log_bytes: self.budget.log,
            event_bytes: u32::try_from(self.event_bytes).unwrap_or(u32::MAX),
        }
    }
}

/// The allowances of all tenants.
#[derive(Clone)]
pub struct Allowances(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    defaults: Defaults,
    known: Mutex<HashMap<TenantId, Known>>,
}

#[derive(Clone, Copy)]
struct Known {
    since: Instant,
    allowance: Allowance,
}

impl core::fmt::Debug for Allowances {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Allowances")
    }
}

impl Allowances {
    /// Those in the records of `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, defaults: Defaults) -> Self {
        Self(Arc::new(Shared {
            store,
            defaults,
            known: Mutex::default(),
        }))
    }

    /// What a tenant may, as it is known here.
    pub async fn of(&self, tenant: TenantId) -> Allowance {
        self.at(tenant, Instant::now()).await
    }

    async fn at(&self, tenant: TenantId, now: Instant) -> Allowance {
        let before = {
            let mut known = self.0.known.lock();
            let before = known.get_mut(&tenant);
            match before {
                Some(known) if now.saturating_duration_since(known.since) < REMEMBERED => {
                    return known.allowance;
                }
                // Others go on with it until this one has read the record.
                Some(known) => {
                    known.since = now;
                    Some(known.allowance)
                }
                None => None,
            }
        };
        let read = timeout(PATIENCE, self.fresh(tenant)).await;
        let read = read.ok().and_then(Result::ok);
        read.or(before).unwrap_or_else(|| {
            tracing::debug!(%tenant, "a tenant goes by the default limits: its own cannot be read");
            self.usual()
        })
    }

    /// What a tenant may, as the store has it now.
    ///
    /// # Errors
    /// The store's.
    pub async fn fresh(&self, tenant: TenantId) -> Result<Allowance, OperationError> {
        if tenant == TenantId::PLATFORM {
            return Ok(self.usual());
        }
        let since = Instant::now();
        let key = tenant.to_bytes();
        let record = self.0.store.registry_get(Kind::Tenant, &key).await?;
        let allowance = match record.map(Tenant::decode) {
            Some(Ok(tenant)) => self.allowance(&tenant),
            Some(Err(error)) => {
                tracing::error!(%tenant, %error, "a tenant goes by the default limits");
                self.usual()
            }
            None => self.usual(),
        };
        self.remember(tenant, Known { since, allowance });
        Ok(allowance)
    }

    /// A tenant as the API shows it.
    pub(crate) fn shown(&self, tenant: &Tenant) -> v1::Tenant {
        v1::Tenant {
            effective_limits: Some(self.allowance(tenant).to_proto()),
            ..tenant.to_proto()
        }
    }

    fn allowance(&self, tenant: &Tenant) -> Allowance {
        Allowance::new(&tenant.limits, tenant.platform, self.0.defaults)
    }

    fn usual(&self) -> Allowance {
        Allowance::new(&TenantLimits::default(), false, self.0.defaults)
    }

    /// Full of what is fresh, it does not remember: the store is asked each time.
    fn remember(&self, tenant: TenantId, one: Known) {
        let mut known = self.0.known.lock();
        if known.len() >= MEMORY && !known.contains_key(&tenant) {
            known.retain(|_, old| one.since.saturating_duration_since(old.since) < REMEMBERED);
            if known.len() >= MEMORY {
                return;
            }
        }
        known.insert(tenant, one);
    }
}

#[cfg(test)]
mod tests {
    use sidehook_store::model::Model;

    use super::*;

    const DEFAULTS: Defaults = Defaults {
        budget: Budget { pending: 1, log: 2 },
        event_bytes: 3,
    };

    #[test]
    fn what_is_not_set_has_its_default() {
        let usual = Allowance::new(&TenantLimits::default(), false, DEFAULTS);
        assert_eq!(usual.subscriptions, 40);
        let rate = |per_second, burst| Rate { per_second, burst };
        assert_eq!(usual.requests, rate(100, 200));
        assert_eq!(usual.publishing, None);
        assert_eq!((usual.budget, usual.event_bytes), (DEFAULTS.budget, 3));
        let platform = Allowance::new(&TenantLimits::default(), true, DEFAULTS);
        assert_eq!(platform.subscriptions, 500);
        let set = TenantLimits {
            max_subscriptions: Some(7),
            requests_per_second: Some(5),
            publish_requests_per_second: Some(9),
            log_bytes: Some(11),
            ..TenantLimits::default()
        };
        let set = Allowance::new(&set, true, DEFAULTS);
        assert_eq!(set.subscriptions, 7);
        assert_eq!(set.requests, rate(5, 10));
        assert_eq!(set.publishing, Some(rate(9, 18)));
        assert_eq!((set.budget.pending, set.budget.log), (1, 11));
    }

    #[test]
    fn what_another_version_allowed_is_taken_for_the_nearest() {
        let far = TenantLimits {
            max_subscriptions: Some(u32::MAX),
            requests_per_second: Some(u32::MAX),
            request_burst: Some(u32::MAX),
            publish_requests_per_second: Some(u32::MAX),
            pending_bytes: Some(u64::MAX),
            log_bytes: Some(u64::MAX),
            event_bytes: Some(u32::MAX),
        };
        let far = Allowance::new(&far, false, DEFAULTS);
        assert_eq!(far.subscriptions as usize, SUBSCRIPTIONS_PER_TENANT);
        assert_eq!(far.requests.burst, REQUEST_BURST_MAX);
        assert_eq!(far.budget.pending, TENANT_BYTES_MAX);
        assert_eq!(far.event_bytes, EVENT_BYTES_MAX);
    }

    #[tokio::test]
    async fn a_change_is_seen_after_a_while_and_at_once_by_who_asks_the_store() {
        let store = Arc::new(Model::new());
        let id = TenantId::from_bits(5);
        let write = |most| {
            let request = v1::CreateTenantRequest {
                name: "acme".to_owned(),
                limits: Some(v1::TenantLimits {
                    max_subscriptions: most,
                    ..v1::TenantLimits::default()
                }),
                platform: false,
            };
            let tenant = Tenant::create(request, id, sidehook_core::time::Timestamp::default());
            let record = tenant.expect("valid").encode();
            let store = Arc::clone(&store);
            async move {
                let key = id.to_bytes();
                let put = store.registry_put(Kind::Tenant, &key, Some(record));
                put.await.expect("it answers");
            }
        };
        write(5).await;
        let allowances = Allowances::new(Arc::<Model>::clone(&store), DEFAULTS);
        assert_eq!(allowances.of(id).await.subscriptions, 5);
        write(6).await;
        assert_eq!(allowances.of(id).await.subscriptions, 5);
        let later = Instant::now() + REMEMBERED;
        assert_eq!(allowances.at(id, later).await.subscriptions, 6);
        write(7).await;
        let fresh = allowances.fresh(id).await.expect("it answers");
        assert_eq!(fresh.subscriptions, 7);
        assert_eq!(allowances.of(id).await.subscriptions, 7);
    }
}
