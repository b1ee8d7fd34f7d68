//! Tenants' subscriptions in memory, compiled for matching and for agents.
//!
//! What lies here is a copy. Publishing names the version that it matched against and
//! the store refuses a stale one; a claim's answer names the versions that its
//! deliveries need. So a copy that is behind costs a reload and never a wrong
//! delivery, and hints from other replicas only make reloads rarer.
//!
//! Reading the store is single-flight per tenant: who comes while another reads waits,
//! and [`Catalogs::at`] then finds what that other brought. [`Catalogs::fresh`] always
//! asks the store itself: it is what makes a client see its own writes, on whichever
//! replica. A reload keeps what has not changed: only changed subscriptions are parsed
//! and only their keys are opened.
//!
//! A catalog with a part that cannot be read or opened is not used at all: without the
//! signing key a delivery would go out unsigned or not at all, and a wrong sealing key
//! is a mistake that must be loud.

use core::time::Duration;
use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use secrecy::SecretString;
use sidehook_api::{
    agent::settings_to_proto,
    agent_v1,
    record::{StoredSubscription, decode_subscription},
};
use sidehook_core::{
    id::{SubscriptionNumber, TenantId},
    matching::MatchIndex,
    pool::Pool,
    subscription::Subscription,
    time::Timestamp,
    version::Version,
};
use sidehook_runtime::tasks::{OnPanic, TaskKind, Tasks};
use sidehook_store::{
    Store, StoreError,
    catalog::{Catalog, Row},
    hint::Hint,
};
use tokio::sync::broadcast::error::RecvError;

use crate::{sealing::Sealer, signing_keys::ManagedKey};

/// Without it catalogs are reloaded when they are found stale, as after a lost hint.
const REFRESH: TaskKind = TaskKind::new("catalog_refresh", OnPanic::Log).background();

/// Tenants that are kept in memory.
const TENANTS: usize = 4_096;
/// Changes of one tenant that come within this time are read together.
const REFRESH_AFTER: Duration = Duration::from_millis(5);

/// A tenant's subscriptions at one version.
#[derive(Debug)]
pub struct Compiled {
    /// The tenant.
    pub tenant: TenantId,
    /// The version.
    pub version: Version,
    /// What the active ones want.
    pub index: MatchIndex,
    /// All of them, paused ones included.
    pub subscriptions: HashMap<SubscriptionNumber, Arc<CompiledSubscription>>,
}

/// A subscription, ready for use.
#[derive(Debug)]
pub struct CompiledSubscription {
    /// The subscription, with its own version.
    pub subscription: Subscription,
    /// The pool that delivers.
    pub pool: Pool,
    /// Its signing keys in the clear, newest first, those that are over included.
    pub keys: Vec<ManagedKey>,
    tenant: TenantId,
}

impl CompiledSubscription {
    /// What an agent needs to deliver at `now`, with the keys that are in force then.
    /// `key` and `replaces` are 0: they belong to a stream.
    #[must_use]
    pub fn settings_at(&self, now: Timestamp) -> agent_v1::SubscriptionSettings {
        let in_force = self.keys.iter().filter(|key| key.in_force(now));
        let secrets: Vec<SecretString> = in_force.map(|key| key.secret.clone()).collect();
        settings_to_proto(&self.subscription, self.tenant, &secrets, 0, None)
    }

    fn compile(tenant: TenantId, row: Row, sealer: &Sealer) -> Result<Self, StoreError> {
        let corrupt = |detail: String| StoreError::Corrupt {
            detail: format!("subscription number {} of {tenant}: {detail}", row.number.0),
        };
        let StoredSubscription { subscription, keys } =
            decode_subscription(row.record, row.version)
                .map_err(|error| corrupt(error.to_string()))?;
        let open = |key| ManagedKey::open(key, sealer, subscription.id);
        let keys: Result<_, _> = keys.into_iter().map(open).collect();
        Ok(Self {
            pool: subscription.pool.resolve(tenant),
            keys: keys.map_err(|error| corrupt(format!("a signing key: {error}")))?,
            subscription,
            tenant,
        })
    }
}

impl Compiled {
    /// Compiles a catalog; rows that `before` has at the same version are taken from
    /// there.
    fn compile(
        tenant: TenantId,
        catalog: Catalog,
        before: Option<&Self>,
        sealer: &Sealer,
    ) -> Result<Self, StoreError> {
        let mut subscriptions = HashMap::with_capacity(catalog.rows.len());
        for row in catalog.rows {
            let number = row.number;
            let same = before
                .and_then(|before| before.subscriptions.get(&number))
                .filter(|known| known.subscription.version == row.version);
            let subscription = match same {
                Some(known) => Arc::clone(known),
                None => Arc::new(CompiledSubscription::compile(tenant, row, sealer)?),
            };
            subscriptions.insert(number, subscription);
        }
        let active = subscriptions.iter().filter_map(|(number, compiled)| {
            let subscription = &compiled.subscription;
            let active = subscription.status.is_active();
            active.then_some((*number, subscription.events.as_slice()))
        });
        Ok(Self {
            tenant,
            version: catalog.version,
            index: MatchIndex::build(active),
            subscriptions,
        })
    }
}

/// One tenant's place in memory. The lock is held while the store is read.
#[derive(Debug, Default)]
struct Slot {
    reading: tokio::sync::Mutex<()>,
    compiled: Mutex<Option<Arc<Compiled>>>,
}

/// The catalogs of the tenants that this replica works for.
#[derive(Clone)]
pub struct Catalogs(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    sealer: Arc<Sealer>,
    slots: Mutex<HashMap<TenantId, Arc<Slot>>>,
}

impl core::fmt::Debug for Catalogs {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Catalogs")
    }
}

impl Catalogs {
    /// No catalog in memory yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, sealer: Arc<Sealer>) -> Self {
        Self(Arc::new(Shared {
            store,
            sealer,
            slots: Mutex::default(),
        }))
    }

    /// What is in memory.
    #[must_use]
    pub fn cached(&self, tenant: TenantId) -> Option<Arc<Compiled>> {
        let slots = self.0.slots.lock();
        slots.get(&tenant)?.compiled.lock().clone()
    }

    /// The catalog as the store has it now.
    ///
    /// # Errors
    /// The store's, and [`StoreError::Corrupt`] if it cannot be compiled.
    pub async fn fresh(&self, tenant: TenantId) -> Result<Arc<Compiled>, StoreError> {
        let slot = self.slot(tenant);
        let _reading = slot.reading.lock().await;
        self.read(tenant, &slot).await
    }

    /// The catalog at `version`, or a newer one: what is in memory if it is that
    /// version, else what the store has.
    ///
    /// # Errors
    /// As [`Self::fresh`].
    pub async fn at(
        &self,
        tenant: TenantId,
        version: Version,
    ) -> Result<Arc<Compiled>, StoreError> {
        let slot = self.slot(tenant);
        let known = || slot.compiled.lock().clone();
        let at = |compiled: &Arc<Compiled>| compiled.version == version;
        if let Some(compiled) = known().filter(at) {
            return Ok(compiled);
        }
        let _reading = slot.reading.lock().await;
        if let Some(compiled) = known().filter(at) {
            return Ok(compiled);
        }
        self.read(tenant, &slot).await
    }

    /// Reads the changes that hints tell of, ahead of need.
    pub fn follow_hints(&self, tasks: &Tasks) {
        let (catalogs, mut hints) = (self.clone(), self.0.store.hints());
        tasks.spawn(REFRESH, async move {
            loop {
                match hints.recv().await {
                    Ok(Hint::Catalog(tenant)) => catalogs.refresh(tenant).await,
                    // What was missed shows when it is needed.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    async fn refresh(&self, tenant: TenantId) {
        if self.cached(tenant).is_none() {
            return;
        }
        tokio::time::sleep(REFRESH_AFTER).await;
        if let Err(error) = self.fresh(tenant).await {
            tracing::debug!(%tenant, %error, "a changed catalog could not be read ahead of need");
        }
    }

    async fn read(&self, tenant: TenantId, slot: &Slot) -> Result<Arc<Compiled>, StoreError> {
        let before = slot.compiled.lock().clone();
        let known = before.as_ref().map(|compiled| compiled.version);
        let catalog = self.0.store.catalog(tenant, known).await?;
        let (catalog, before) = match (catalog, before) {
            (None, Some(before)) => return Ok(before),
            (None, None) => (Catalog::default(), None),
            (Some(catalog), before) => (catalog, before),
        };
        let compiled = Compiled::compile(tenant, catalog, before.as_deref(), &self.0.sealer)?;
        let compiled = Arc::new(compiled);
        *slot.compiled.lock() = Some(Arc::clone(&compiled));
        Ok(compiled)
    }

    fn slot(&self, tenant: TenantId) -> Arc<Slot> {
        let mut slots = self.0.slots.lock();
        if slots.len() >= TENANTS && !slots.contains_key(&tenant) {
            // Any that nobody is using: what is needed again is read again.
            let idle = slots.iter().find(|(_, slot)| Arc::strong_count(slot) == 1);
            if let Some(idle) = idle.map(|(tenant, _)| *tenant) {
                slots.remove(&idle);
            }
        }
        Arc::clone(slots.entry(tenant).or_default())
    }
}
