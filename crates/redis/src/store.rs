//! The store: connections and the port's operations on them.

use core::{fmt, time::Duration};
use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use sidehook_core::{
    address::{DeliveryId, Partition, SegmentId},
    health::Health,
    id::{SubscriptionNumber, TenantId},
    time::Timestamp,
    version::Version,
};
use sidehook_store::{
    CallError, Store, StoreError,
    catalog::{Catalog, Write, Written},
    hint::{BlockId, Hint, HistoryRecord},
    image::{Cursor, Image, Page as ImagePage},
    inspect::{Inspection, Occupancy},
    port::Durability,
    rates::{Taken, Want},
    read::{Lease, LogCursor, LogPage, Pair, Redeliver, Segment, Whereabouts},
    registry::{Kind, Page},
    turn::{Holder, LeaseId, Stamp, Turn, TurnReply},
};
use tokio::{sync::broadcast, task::JoinSet};

use crate::{
    RedisTls,
    address::Address,
    catalog,
    error::ConnectError,
    format, health,
    hints::Hints,
    image, import, inspect, leases, occupancy, outcomes, rates, reads, registry,
    route::{Route, least},
    system::{Settings, System, keep},
    tls, turn,
};

/// How to reach Redis.
#[derive(Clone)]
pub struct RedisConfig {
    /// `redis://` or, with TLS, `rediss://`; credentials and database in it. Of
    /// Sentinels or of nodes of a Cluster there may be several, with commas between
    /// them, and at the end `#` and the name of the master that Sentinels watch.
    pub url: String,
    /// Turn workers, each with a connection of its own; at least 1.
    pub workers: usize,
    /// The durability to report where the server does not tell its settings.
    pub durability_declared: Option<Durability>,
    /// How long to wait for an answer before the connection is given up.
    pub response_timeout: Duration,
    /// Certificates, for `rediss://` only.
    pub tls: RedisTls,
    /// How many replicas must have a write before it is acknowledged. `None`: one where
    /// a server is strict and has replicas or is watched by Sentinels, else none.
    pub replicas: Option<u32>,
    /// The user of the Sentinels, if they have one; only with a password.
    pub sentinel_username: Option<String>,
    /// The password of the Sentinels, if they have one.
    pub sentinel_password: Option<String>,
}

impl RedisConfig {
    /// What is usual, for this address: one worker, 5 s for an answer.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            workers: 1,
            durability_declared: None,
            response_timeout: Duration::from_secs(5),
            tls: RedisTls::default(),
            replicas: None,
            sentinel_username: None,
            sentinel_password: None,
        }
    }

    /// Whether `url` is one that `RedisStore::connect` can use, without connecting.
    #[must_use]
    pub fn is_url(url: &str) -> bool {
        Address::parse(url).is_ok()
    }
}

impl fmt::Debug for RedisConfig {
    /// Leaves passwords out, and the URL: it may hold one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("workers", &self.workers)
            .field("durability_declared", &self.durability_declared)
            .field("response_timeout", &self.response_timeout)
            .field("tls", &self.tls)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}

/// A store in Redis.
pub struct RedisStore {
    /// One for each turn worker.
    workers: Vec<Route>,
    /// For everything that is no turn.
    aside: Route,
    hints: Hints,
    /// Keeps the map of the system and the subscription to hints up. They end with the
    /// store. Neither has a reason to panic; should one, then connections that work stay,
    /// and the slow probes find what hints would have told.
    _keepers: JoinSet<()>,
}

impl RedisStore {
    /// Asks what kind of system it is, connects to all of its masters and checks that
    /// they can be trusted with deliveries.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(config: RedisConfig) -> Result<Self, ConnectError> {
        let address = Address::parse(&config.url)?;
        tls::check(address.is_tls(), &config.tls)?;
        let settings = Settings {
            tls: config.tls,
            sentinel: (config.sentinel_username, config.sentinel_password),
            response_timeout: config.response_timeout,
            declared: config.durability_declared,
            replicas: config.replicas,
        };
        let system = Arc::new(System::find(address, settings).await?);
        let aside = Route::of_many(Arc::clone(&system));
        aside.open().await?;
        format::agree(&aside).await?;
        let worker = |_| Route::of_worker(Arc::clone(&system));
        let (hints, listen) = Hints::listen(Arc::clone(&system)).await?;
        let mut keepers = JoinSet::new();
        keepers.spawn(listen);
        keepers.spawn(keep(Arc::clone(&system)));
        Ok(Self {
            workers: (0..config.workers.max(1)).map(worker).collect(),
            aside,
            hints,
            _keepers: keepers,
        })
    }
}

#[async_trait::async_trait]
impl Store for RedisStore {
    async fn turn(&self, worker: usize, turn: &Turn) -> Result<TurnReply, StoreError> {
        turn::execute(&self.workers[worker % self.workers.len()], turn).await
    }

    async fn renew(
        &self,
        now: Option<Timestamp>,
        leases: &[(LeaseId, u128)],
        term: Duration,
    ) -> Result<Vec<bool>, StoreError> {
        leases::renew(&self.aside, now, leases, term).await
    }

    async fn release(&self, holders: &[Holder], keep: &[LeaseId]) -> Result<u32, StoreError> {
        leases::release(&self.aside, holders, keep).await
    }

    async fn leases(&self, leases: &[LeaseId]) -> Result<Vec<Option<Lease>>, StoreError> {
        leases::read(&self.aside, leases).await
    }

    async fn catalog(
        &self,
        tenant: TenantId,
        known: Option<Version>,
    ) -> Result<Option<Catalog>, StoreError> {
        catalog::read(&self.aside, tenant, known).await
    }

    async fn write(&self, write: &Write) -> Result<Written, StoreError> {
        catalog::write(&self.aside, write).await
    }

    async fn segments(&self, segments: &[SegmentId]) -> Result<Vec<Option<Segment>>, StoreError> {
        reads::segments(&self.aside, segments).await
    }

    async fn log(
        &self,
        tenant: TenantId,
        from: Option<LogCursor>,
        max: usize,
    ) -> Result<LogPage, StoreError> {
        reads::log(&self.aside, tenant, from, max).await
    }

    async fn outcomes(&self, segments: &[SegmentId]) -> Result<Vec<Vec<Bytes>>, StoreError> {
        outcomes::of_segments(&self.aside, segments).await
    }

    async fn attempts(&self, pairs: &[Pair]) -> Result<Vec<Bytes>, StoreError> {
        outcomes::of_pairs(&self.aside, pairs).await
    }

    async fn history(&self, block: &BlockId) -> Result<Vec<HistoryRecord>, StoreError> {
        reads::history(&self.aside, block).await
    }

    async fn health(
        &self,
        tenant: TenantId,
        subscriptions: &[SubscriptionNumber],
    ) -> Result<Vec<Health>, StoreError> {
        health::read(&self.aside, tenant, subscriptions).await
    }

    async fn locate(
        &self,
        tenant: TenantId,
        deliveries: &[DeliveryId],
    ) -> Result<Vec<Whereabouts>, StoreError> {
        reads::locate(&self.aside, tenant, deliveries).await
    }

    async fn redeliver(&self, redeliver: &Redeliver) -> Result<bool, StoreError> {
        reads::redeliver(&self.aside, redeliver).await
    }

    async fn registry_get(&self, kind: Kind, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        registry::get(&self.aside, kind, key).await
    }

    async fn registry_put(
        &self,
        kind: Kind,
        key: &[u8],
        value: Option<Bytes>,
    ) -> Result<(), StoreError> {
        registry::put(&self.aside, kind, key, value).await
    }

    async fn registry_claim(
        &self,
        kind: Kind,
        key: &[u8],
        value: Bytes,
    ) -> Result<Bytes, StoreError> {
        registry::claim(&self.aside, kind, key, &value).await
    }

    async fn registry_list(
        &self,
        kind: Kind,
        after: &[u8],
        max: usize,
    ) -> Result<Page, StoreError> {
        registry::page(&self.aside, kind, after, max).await
    }

    async fn take(
        &self,
        now: Option<Timestamp>,
        wants: &[Want],
    ) -> Result<Vec<Option<Taken>>, StoreError> {
        rates::take(&self.aside, now, wants).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        turn::now(&self.aside).await
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    /// The least of what its connections found: they may lead to different servers.
    fn durability(&self) -> Durability {
        let routes = self.workers.iter().chain([&self.aside]);
        let levels = routes.filter_map(Route::durability);
        levels.reduce(least).unwrap_or(Durability::Volatile)
    }

    async fn others(&self) -> Result<u64, StoreError> {
        occupancy::others(&self.aside).await
    }

    async fn occupancy(
        &self,
        partition: Partition,
    ) -> Result<BTreeMap<TenantId, Occupancy>, StoreError> {
        occupancy::occupancy(&self.aside, partition).await
    }

    async fn inspect(&self, partition: Partition) -> Result<Inspection, StoreError> {
        inspect::inspect(&self.aside, partition).await
    }

    async fn export(
        &self,
        now: Option<Timestamp>,
        partition: Partition,
        from: Option<&Cursor>,
    ) -> Result<ImagePage, StoreError> {
        image::export(&self.aside, now, partition, from).await
    }

    async fn import(
        &self,
        now: Option<Timestamp>,
        partition: Partition,
        stamp: Stamp,
        records: &[Image],
    ) -> Result<(), CallError> {
        import::import(&self.aside, now, partition, stamp, records).await
    }
}
