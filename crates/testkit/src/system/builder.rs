//! What a system is to be, and its start.

use std::path::PathBuf;

use super::{System, server::Server};
use crate::{clock::Clock, power::Disk, redis_server::RedisServer};

/// What a system is to be; see `System::builder`.
pub struct Builder {
    servers: usize,
    pub(super) lease: Option<String>,
    pub(super) heartbeat: Option<String>,
    pub(super) capacity: u32,
    pub(super) drain_timeout: Option<String>,
    debug_log: bool,
    pub(super) tls: Option<(String, String)>,
    redis: Vec<String>,
    pub(super) store: Option<String>,
    embedded: bool,
    pub(super) variables: Vec<(String, PathBuf)>,
    pub(super) later: Vec<usize>,
    agent: bool,
}

impl Builder {
    pub(super) const fn new() -> Self {
        Self {
            servers: 1,
            lease: None,
            heartbeat: None,
            capacity: 256,
            drain_timeout: None,
            debug_log: false,
            tls: None,
            redis: Vec::new(),
            store: None,
            embedded: false,
            variables: Vec::new(),
            later: Vec::new(),
            agent: true,
        }
    }

    /// So many control planes over one Redis; 1 if not told.
    #[must_use]
    pub const fn servers(mut self, servers: usize) -> Self {
        self.servers = servers;
        self
    }

    /// How long a delivery is an agent's without a heartbeat, such as `15s`, at
    /// least 3 s; the server's default if not told.
    #[must_use]
    pub fn lease(mut self, lease: &str) -> Self {
        self.lease = Some(lease.to_owned());
        self
    }

    /// The interval of heartbeats, such as `1s`; the server's default if not told.
    #[must_use]
    pub fn heartbeat(mut self, heartbeat: &str) -> Self {
        self.heartbeat = Some(heartbeat.to_owned());
        self
    }

    /// How many deliveries the agent takes at one time; 256 if not told.
    #[must_use]
    pub const fn capacity(mut self, capacity: u32) -> Self {
        self.capacity = capacity;
        self
    }

    /// How long servers and agents drain when asked to end, such as `2s`; their
    /// own defaults if not told.
    #[must_use]
    pub fn drain_timeout(mut self, drain_timeout: &str) -> Self {
        self.drain_timeout = Some(drain_timeout.to_owned());
        self
    }

    /// Servers and agents log at `debug`; at their default if not told.
    #[must_use]
    pub const fn debug_log(mut self) -> Self {
        self.debug_log = true;
        self
    }

    /// Servers listen with this certificate for 127.0.0.1 and its key (both PEM);
    /// callers and agents trust it and nothing else.
    #[must_use]
    pub fn tls(mut self, certificate: &str, key: &str) -> Self {
        self.tls = Some((certificate.to_owned(), key.to_owned()));
        self
    }

    /// The section `log` of every configuration file.
    pub(super) const fn log_section(&self) -> &'static str {
        if self.debug_log {
            "[log]\nlevel = \"debug\"\n"
        } else {
            ""
        }
    }

    /// Further arguments of redis-server.
    #[must_use]
    pub fn redis(mut self, arguments: &[&str]) -> Self {
        self.redis = arguments.iter().map(|text| (*text).to_owned()).collect();
        self
    }

    /// The section `store` of every server, in TOML: a store of the test's own, for
    /// instance a Redis behind a `FaultProxy`.
    #[must_use]
    pub fn store(mut self, section: &str) -> Self {
        self.store = Some(section.to_owned());
        self
    }

    /// One server on an embedded store, and no Redis.
    #[must_use]
    pub const fn embedded(mut self) -> Self {
        self.embedded = true;
        self
    }

    /// Every server's files in the folder of `disk` are on it: those of an embedded
    /// store, which `Self::store` names.
    #[must_use]
    pub fn on(mut self, disk: &Disk) -> Self {
        let variables = disk.variables();
        self.variables = variables.map(|(name, path)| (name.to_owned(), path)).into();
        self
    }

    /// This replica is of the version that `build_later` made.
    #[must_use]
    pub fn later(mut self, replica: usize) -> Self {
        self.later.push(replica);
        self
    }

    /// Servers have the time of day of `clock`: what counts over an embedded store. Over
    /// Redis it is that of Redis.
    #[must_use]
    pub fn at(mut self, clock: &Clock) -> Self {
        let variables = clock.variables();
        self.variables = variables
            .map(|(name, value)| (name.to_owned(), value))
            .into();
        self
    }

    /// No agent until `System::start_agent`.
    #[must_use]
    pub const fn without_agent(mut self) -> Self {
        self.agent = false;
        self
    }

    /// Starts everything; on return all servers are ready, and the agent, which
    /// dials the first of them, has been started.
    ///
    /// # Panics
    ///
    /// If a binary is missing or a part does not come up within 30 seconds.
    pub async fn start(self) -> System {
        let arguments: Vec<_> = self.redis.iter().map(String::as_str).collect();
        let redis = if self.embedded {
            assert!(self.servers == 1, "an embedded store is one server's");
            None
        } else if self.store.is_some() {
            None
        } else {
            Some(RedisServer::start_with(&arguments).await)
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let servers: Vec<_> = (0..self.servers)
            .map(|replica| Server::start(&self, redis.as_ref(), folder.path(), replica))
            .collect();
        let mut system = System {
            agent: None,
            servers,
            redis,
            tenant: String::new(),
            key: String::new(),
            token: String::new(),
            builder: self,
            embedded: "store".to_owned(),
            folder,
        };
        for server in &mut system.servers {
            server.wait_ready().await;
        }
        system.create_keys().await;
        if system.builder.agent {
            system.start_agent(0);
        }
        system
    }
}
