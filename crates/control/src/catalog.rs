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
//! What a subscription's record says need not be allowed any more: it is used as it is
//! ([`sidehook_api::record`]). One that cannot be used fails alone; its tenant's others go on:
//!
//! | what is wrong | its events | its deliveries | how it is shown | what mends it |
//! |---|---|---|---|---|
//! | a signing key does not open | are matched and queued | wait | whole, with a `fault` | another key, or deleting it |
//! | a later version chose its signing scheme | are matched and queued | wait | whole, with a `fault` | that version, or naming a scheme |
//! | a later version chose its format | are matched and queued | wait | whole, with a `fault` | that version, or naming a format |
//! | its record is damaged | are not matched: what it wants is not known | wait | an id with its number, and a `fault` | deleting it |
//!
//! They wait because nothing is better: unsigned they must not go, and no receiver is to
//! blame. They are taken and put back about once a second, at nobody's expense.

use core::time::Duration;
use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use secrecy::SecretString;
use sidehook_api::{
    agent::settings_to_proto,
    agent_v1,
    record::{StoredSubscription, decode_subscription, foreign_subscription},
    record_error::CorruptRecord,
    subscription::to_proto,
    v1,
};
use sidehook_core::{
    id::{SubscriptionId, SubscriptionNumber, TenantId},
    matching::{MatchIndex, Wanted},
    pool::Pool,
    signing::Scheme,
    subscription::{Format, Subscription},
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

use crate::{
    sealing::{OpenError, Sealer},
    signing_keys::ManagedKey,
};

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
    /// Those whose records cannot be read.
    pub unreadable: HashMap<SubscriptionNumber, Arc<Unreadable>>,
}

/// A subscription whose record cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    number: SubscriptionNumber,
    /// Its version.
    pub version: Version,
    /// What is wrong, for people.
    pub fault: String,
}

impl Unreadable {
    fn new(row: &Row, error: &CorruptRecord) -> Self {
        Self {
            number: row.number,
            version: row.version,
            fault: format!("{error}: it can only be deleted"),
        }
    }

    /// The smallest id with its number, which stands for its own.
    #[must_use]
    pub fn id(&self) -> SubscriptionId {
        SubscriptionId::from_bits(self.number.0.into())
    }

    /// Whether `id` can mean it.
    pub(crate) fn is(&self, id: SubscriptionId) -> bool {
        id.number() == self.number
    }

    /// What the API shows of it.
    #[must_use]
    pub fn to_proto(&self) -> v1::Subscription {
        v1::Subscription {
            id: self.id().to_string(),
            etag: self.version.to_string(),
            fault: self.fault.clone(),
            ..v1::Subscription::default()
        }
    }
}

/// A subscription, ready for use.
#[derive(Debug)]
pub struct CompiledSubscription {
    /// The subscription, with its own version.
    pub subscription: Subscription,
    /// The pool that delivers.
    pub pool: Pool,
    /// Its signing keys in the clear, newest first, those that are over included; or
    /// why one of them does not open.
    pub keys: Result<Vec<ManagedKey>, OpenError>,
    /// Its record, where a later version wrote more than this one understands.
    pub(crate) foreign: Option<Bytes>,
    tenant: TenantId,
}

impl CompiledSubscription {
    /// What an agent needs to deliver, with those of `keys` that are in force at `now`.
    /// `key` and `replaces` are 0: they belong to a stream.
    #[must_use]
    pub fn settings_at(
        &self,
        keys: &[ManagedKey],
        now: Timestamp,
    ) -> agent_v1::SubscriptionSettings {
        let in_force = keys.iter().filter(|key| key.in_force(now));
        let secrets: Vec<SecretString> = in_force.map(|key| key.secret.clone()).collect();
        settings_to_proto(&self.subscription, self.tenant, &secrets, 0, None)
    }

    /// The keys that sign its deliveries, or why these wait, for people.
    ///
    /// # Errors
    /// What is wrong.
    pub fn usable(&self) -> Result<&[ManagedKey], String> {
        match &self.keys {
            Err(error) => Err(fault(error)),
            Ok(keys) => match of_later(&self.subscription) {
                Some(fault) => Err(fault.to_owned()),
                None => Ok(keys),
            },
        }
    }

    /// The subscription as the API shows it, without its signing keys.
    #[must_use]
    pub fn to_proto(&self) -> v1::Subscription {
        v1::Subscription {
            fault: self.usable().err().unwrap_or_default(),
            ..to_proto(&self.subscription)
        }
    }

    fn compile(tenant: TenantId, row: &Row, sealer: &Sealer) -> Result<Self, CorruptRecord> {
        let stored = decode_subscription(row.record.clone(), row.version)?;
        let foreign = foreign_subscription(&row.record, &stored);
        let StoredSubscription { subscription, keys } = stored;
        let open = |key| ManagedKey::open(key, sealer, subscription.id);
        Ok(Self {
            pool: subscription.pool.resolve(tenant),
            keys: keys.into_iter().map(open).collect(),
            subscription,
            foreign,
            tenant,
        })
    }
}

/// Why deliveries of a subscription wait that a later version made other than this one
/// understands, for people; `None` of one that it understands.
pub(crate) fn of_later(subscription: &Subscription) -> Option<&'static str> {
    if subscription.signing.scheme == Scheme::Unknown {
        return Some(
            "a later version of sidehook chose its signing scheme, and this server does not know \
             it: update the server, or name a scheme that it knows",
        );
    }
    (subscription.format == Format::Unknown).then_some(
        "a later version of sidehook chose its format, and this server does not know it: update \
         the server, or name a format that it knows",
    )
}

/// What is wrong with a subscription whose signing key does not open, for people.
pub(crate) fn fault(error: &OpenError) -> String {
    format!(
        "a signing key does not open: {error}; rotate it with an overlap of 0, or delete the \
         subscription"
    )
}

impl Compiled {
    /// Compiles a catalog; rows that `before` has at the same version are taken from
    /// there.
    fn compile(tenant: TenantId, catalog: Catalog, before: Option<&Self>, sealer: &Sealer) -> Self {
        let mut subscriptions = HashMap::with_capacity(catalog.rows.len());
        let mut unreadable = HashMap::new();
        for row in &catalog.rows {
            let number = row.number;
            if let Some(same) = before.and_then(|before| before.unreadable.get(&number))
                && same.version == row.version
            {
                unreadable.insert(number, Arc::clone(same));
                continue;
            }
            let same = before
                .and_then(|before| before.subscriptions.get(&number))
                .filter(|known| known.subscription.version == row.version);
            if let Some(same) = same {
                subscriptions.insert(number, Arc::clone(same));
                continue;
            }
            match CompiledSubscription::compile(tenant, row, sealer) {
                Ok(compiled) => {
                    if let Err(fault) = compiled.usable() {
                        let subscription = compiled.subscription.id;
                        tracing::error!(%tenant, %subscription, fault, "deliveries of a subscription wait");
                    }
                    subscriptions.insert(number, Arc::new(compiled));
                }
                Err(error) => {
                    let number = number.0;
                    tracing::error!(%tenant, number, %error, "deliveries wait, and events are not matched: their subscription cannot be read");
                    unreadable.insert(row.number, Arc::new(Unreadable::new(row, &error)));
                }
            }
        }
        let active = subscriptions.iter().filter_map(|(number, compiled)| {
            let subscription = &compiled.subscription;
            let active = subscription.status.is_active();
            active.then_some(Wanted {
                number: *number,
                campaign_id: &subscription.campaign_id,
                patterns: &subscription.events,
            })
        });
        Self {
            tenant,
            version: catalog.version,
            index: MatchIndex::build(active),
            subscriptions,
            unreadable,
        }
    }

    /// The id of the subscription with this number, whether or not it can be used.
    #[must_use]
    pub fn id_of(&self, number: SubscriptionNumber) -> Option<SubscriptionId> {
        match self.subscriptions.get(&number) {
            Some(compiled) => Some(compiled.subscription.id),
            None => Some(self.unreadable.get(&number)?.id()),
        }
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
    /// The store's.
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
        let compiled = Compiled::compile(tenant, catalog, before.as_deref(), &self.0.sealer);
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
