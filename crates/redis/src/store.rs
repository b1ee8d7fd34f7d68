//! The store: connections and the port's operations on them.

use core::{fmt, time::Duration};
use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use redis::{IntoConnectionInfo as _, io::tcp::TcpSettings};
use sidehook_core::{
    address::{DeliveryId, Partition, SegmentId},
    id::TenantId,
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
    read::{Lease, LogCursor, LogPage, Pair, Redeliver, Segment, Whereabouts},
    registry::{Kind, Page},
    turn::{Holder, LeaseId, Stamp, Turn, TurnReply},
};
use tokio::sync::broadcast;

use crate::{
    RedisTls, catalog,
    connection::{Link, Target},
    error::ConnectError,
    hints::Hints,
    image, import, inspect, leases, occupancy, outcomes, reads, registry, tls, turn,
};

/// How to reach Redis.
#[derive(Clone)]
pub struct RedisConfig {
    /// `redis://` or, with TLS, `rediss://`; credentials and database in it.
    pub url: String,
    /// Turn workers, each with a connection of its own; at least 1.
    pub workers: usize,
    /// The durability to report where the server does not tell its settings.
    pub durability_declared: Option<Durability>,
    /// How long to wait for an answer before the connection is given up.
    pub response_timeout: Duration,
    /// Certificates, for `rediss://` only.
    pub tls: RedisTls,
}

impl RedisConfig {
    /// Whether `url` is one that `RedisStore::connect` can use, without connecting.
    #[must_use]
    pub fn is_url(url: &str) -> bool {
        url.into_connection_info().is_ok()
    }
}

impl fmt::Debug for RedisConfig {
    /// Leaves the URL out: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("workers", &self.workers)
            .field("durability_declared", &self.durability_declared)
            .field("response_timeout", &self.response_timeout)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// A store in Redis.
pub struct RedisStore {
    /// One for each turn worker.
    workers: Vec<Link>,
    /// For everything that is no turn.
    aside: Link,
    hints: Hints,
}

impl RedisStore {
    /// Connects and checks that the server can be trusted with deliveries.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(config: RedisConfig) -> Result<Self, ConnectError> {
        let url = |error: redis::RedisError| ConnectError::Url(error.to_string());
        let info = config.url.as_str().into_connection_info().map_err(url)?;
        let tcp = TcpSettings::default().set_nodelay(true);
        let client = tls::client(info.set_tcp_settings(tcp), config.tls)?;
        let timeout = config.response_timeout;
        let target = Arc::new(Target::new(client, timeout, config.durability_declared));
        let aside = Link::new(Arc::clone(&target));
        aside.open().await?;
        let worker = |_| Link::new(Arc::clone(&target));
        Ok(Self {
            workers: (0..config.workers.max(1)).map(worker).collect(),
            aside,
            hints: Hints::listen(&target.client, timeout).await?,
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

    async fn now(&self) -> Result<Timestamp, StoreError> {
        turn::now(&self.aside).await
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    /// The least of what its connections found: for a moment they may lead to
    /// different servers.
    fn durability(&self) -> Durability {
        let links = self.workers.iter().chain([&self.aside]);
        let levels = links.filter_map(Link::durability);
        let least = levels.reduce(|one, other| match (one, other) {
            (Durability::Volatile, _) | (_, Durability::Volatile) => Durability::Volatile,
            (Durability::Relaxed, _) | (_, Durability::Relaxed) => Durability::Relaxed,
            _ => Durability::Strict,
        });
        least.unwrap_or(Durability::Volatile)
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
