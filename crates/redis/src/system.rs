//! A Redis system as all connections of a store see it: how to reach its nodes, the map
//! of who has which keys, and how many replicas a write needs.
//!
//! Whoever meets an answer that the map does not explain (a key that moved or is moving,
//! a master that is a replica or silent) puts the map in doubt and repeats its call
//! after its own back-off. One task, [`keep`], asks for a new map then, with a back-off
//! of its own: callers never wait for it, except for a moment when they were told that
//! a key has moved.

use core::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use redis::{AsyncConnectionConfig, Client, ConnectionInfo, aio::MultiplexedConnection};
use sidehook_store::port::Durability;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    ConnectError, RedisTls,
    address::{Address, Node},
    error,
    preflight::Found,
    replicas::{self, Judged},
    slots::{Kind, Map},
    tls, topology,
};

/// Between two maps at least and at most.
const ASK_FIRST: Duration = Duration::from_millis(50);
const ASK_LAST: Duration = Duration::from_secs(1);
/// After so long without doubts a new one is the first.
const QUIET: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct System {
    pub(crate) address: Address,
    tls: RedisTls,
    /// User and password of the Sentinels.
    pub(crate) sentinel: (Option<String>, Option<String>),
    pub(crate) response_timeout: Duration,
    /// The durability to go by where a server does not tell.
    pub(crate) declared: Option<Durability>,
    /// How many replicas must have a write, if that is set.
    replicas: Option<u32>,
    /// How many it is.
    required: AtomicU32,
    /// Counts the occasions on which a master turned out to be none.
    pub(crate) doubts: AtomicU64,
    map: watch::Sender<Arc<Map>>,
    /// The latest map that is in doubt.
    in_doubt: AtomicU64,
    doubted: Notify,
    told: Mutex<HashMap<Node, Told>>,
    /// Slots that cannot be used for now.
    unsettled: Mutex<BTreeSet<u16>>,
}

/// What was logged of a node last.
#[derive(Default)]
struct Told {
    /// The level, as [`code`].
    level: u8,
    is_away: bool,
}

/// What is told of a system beside its address.
pub(crate) struct Settings {
    pub(crate) tls: RedisTls,
    pub(crate) sentinel: (Option<String>, Option<String>),
    pub(crate) response_timeout: Duration,
    pub(crate) declared: Option<Durability>,
    pub(crate) replicas: Option<u32>,
}

/// A level as a number, the safer the higher; 0 is none yet.
pub(crate) const fn code(durability: Durability) -> u8 {
    match durability {
        Durability::Volatile => 1,
        Durability::Relaxed => 2,
        Durability::Strict => 3,
    }
}

impl System {
    /// Asks what the system at an address is.
    pub(crate) async fn find(address: Address, settings: Settings) -> Result<Self, ConnectError> {
        // Replaced below, and never read: whoever asks the seeds needs no map.
        let none = Map::whole(Kind::Single, address.seeds[0].clone());
        let mut system = Self {
            address,
            tls: settings.tls,
            sentinel: settings.sentinel,
            response_timeout: settings.response_timeout,
            declared: settings.declared,
            replicas: settings.replicas,
            required: AtomicU32::new(settings.replicas.unwrap_or(0)),
            doubts: AtomicU64::new(0),
            map: watch::Sender::new(Arc::new(none)),
            in_doubt: AtomicU64::new(0),
            doubted: Notify::new(),
            told: Mutex::default(),
            unsettled: Mutex::default(),
        };
        let mut map = topology::ask(&system, None, 0).await?;
        map.generation = 1;
        system.map = watch::Sender::new(Arc::new(map));
        Ok(system)
    }

    /// The map as it is known.
    pub(crate) fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.borrow())
    }

    /// Tells of every new map.
    pub(crate) fn maps(&self) -> watch::Receiver<Arc<Map>> {
        self.map.subscribe()
    }

    /// The map does not explain what was met. A single server has no other.
    pub(crate) fn doubt(&self, map: &Map) {
        if map.kind != Kind::Single {
            self.in_doubt.fetch_max(map.generation, Ordering::Relaxed);
            self.doubted.notify_one();
        }
    }

    /// A map after this one, if it comes within `patience`.
    pub(crate) async fn newer(&self, map: &Map, patience: Duration) -> Option<Arc<Map>> {
        let mut maps = self.maps();
        let is_newer = |one: &Arc<Map>| one.generation > map.generation;
        let found = tokio::time::timeout(patience, maps.wait_for(is_newer)).await;
        found.ok()?.ok().map(|one| Arc::clone(&one))
    }

    fn is_in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::Relaxed) >= self.map.borrow().generation
    }

    fn publish(&self, mut map: Map) {
        map.generation = self.map.borrow().generation + 1;
        self.map.send_replace(Arc::new(map));
    }

    /// Connects to a node with these credentials and settings.
    pub(crate) async fn connect(
        &self,
        info: ConnectionInfo,
        config: &AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, ConnectError> {
        let client: Client = tls::client(info, self.tls.clone())?;
        let connected = client.get_multiplexed_async_connection_with_config(config);
        connected
            .await
            .map_err(|error| error::connect_error(&error))
    }

    /// How many replicas must have a write before it is acknowledged.
    pub(crate) fn required(&self) -> u32 {
        self.required.load(Ordering::Relaxed)
    }

    /// Judges what a new connection found, and logs it if it is news.
    ///
    /// # Errors
    /// [`ConnectError::Rights`] when replicas are required and may not be waited for.
    pub(crate) fn settle(&self, node: &Node, found: &Found) -> Result<Judged, ConnectError> {
        let is_watched = self.map.borrow().kind == Kind::Sentinel;
        let judged = replicas::judge(self.replicas, self.required(), found, is_watched);
        if judged.required > 0 && !found.may_wait {
            return Err(ConnectError::Rights("wait".to_owned()));
        }
        if self.required.fetch_max(judged.required, Ordering::Relaxed) < judged.required {
            let replicas = judged.required;
            tracing::info!(%node, replicas, "replicas must have what is acknowledged");
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = told.entry(node.clone()).or_default();
        let before = core::mem::replace(&mut told.level, code(judged.durability));
        let is_back = core::mem::take(&mut told.is_away);
        let (durability, why) = (judged.durability, judged.why);
        if before > code(durability) {
            tracing::warn!(%node, ?durability, why, "Redis keeps less safely than it did");
        } else if before == 0 && durability == Durability::Volatile {
            tracing::warn!(%node, ?durability, why, "connected to Redis; a restart of it loses events");
        } else if before != code(durability) || is_back {
            tracing::info!(%node, ?durability, why, "connected to Redis");
        }
        if before == 0 && found.takes_torn {
            tracing::warn!(%node, "set `aof-load-truncated no`: after a power loss this Redis may start with half of what a call wrote");
        }
        Ok(judged)
    }

    /// A node was away when last tried.
    pub(crate) fn is_away(&self, node: &Node) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.entry(node.clone()).or_default().is_away = true;
    }

    /// Notes which slots could be used and which not, and logs the first trouble and
    /// its end.
    pub(crate) fn note(&self, usable: &[u16], not: &[u16], why: &str) {
        let mut unsettled = self
            .unsettled
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = unsettled.len();
        unsettled.extend(not);
        unsettled.retain(|slot| not.contains(slot) || !usable.contains(slot));
        if before == 0 && !unsettled.is_empty() {
            tracing::warn!(
                why,
                "a part of the Redis Cluster cannot be used; its calls are repeated"
            );
        } else if before > 0 && unsettled.is_empty() {
            tracing::info!("all of the Redis Cluster can be used again");
        }
    }
}

/// Asks for a new map whenever the present one is in doubt; never ends.
pub(crate) async fn keep(system: Arc<System>) {
    let (mut from, mut failures, mut is_lost) = (0, 0_u32, false);
    let mut last = Instant::now();
    loop {
        system.doubted.notified().await;
        if last.elapsed() > QUIET {
            failures = 0;
        }
        while system.is_in_doubt() {
            let map = system.map();
            match topology::ask(&system, Some(&map), from).await {
                Ok(found) => {
                    failures = if found.agrees(&map) { failures + 1 } else { 0 };
                    if core::mem::take(&mut is_lost) {
                        tracing::info!("the Redis system tells again where its masters are");
                    }
                    system.publish(found);
                }
                Err(error) => {
                    failures += 1;
                    if !core::mem::replace(&mut is_lost, true) {
                        tracing::warn!(%error, "the Redis system does not tell where its masters are");
                    }
                }
            }
            // Another one is asked first next time: one that is behind does not last.
            from += 1;
            last = Instant::now();
            let wait = (ASK_FIRST * (1 << failures.min(6))).min(ASK_LAST);
            tokio::time::sleep(wait.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        }
    }
}
