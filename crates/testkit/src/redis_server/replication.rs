//! Replicas: servers that follow another one, and what is asked of them.

use std::time::Duration;

use super::RedisServer;
use crate::process::{POLL, within};

/// How long a replica may take until it has everything of its master.
const SYNC: Duration = Duration::from_secs(30);

impl RedisServer {
    /// Starts a replica of this server and waits until it follows. It syncs its file
    /// as `start_with` says; `arguments` are further ones of its own.
    ///
    /// # Panics
    ///
    /// As `start`, and if it does not follow within 30 seconds.
    pub async fn replica(&self, arguments: &[&str]) -> Self {
        let master = self.port().to_string();
        let follow = ["--replicaof", "127.0.0.1", &master];
        let arguments: Vec<_> = arguments.iter().chain(&follow).copied().collect();
        let replica = Self::start_with(&arguments).await;
        replica.wait_following().await;
        replica
    }

    /// From now on it follows whoever listens on this port, itself or through a
    /// `FaultProxy`; waits until it does.
    ///
    /// # Panics
    ///
    /// If it does not within 30 seconds.
    pub async fn follow(&self, port: u16) {
        self.command(&["REPLICAOF", "127.0.0.1", &port.to_string()])
            .await;
        self.wait_following().await;
    }

    /// Waits until it follows its master and has what that had.
    ///
    /// # Panics
    ///
    /// If it does not within 30 seconds.
    pub async fn wait_following(&self) {
        within(SYNC, "the replica follows", async {
            while self
                .info("replication", "master_link_status")
                .await
                .as_deref()
                != Some("up")
            {
                tokio::time::sleep(POLL).await;
            }
        })
        .await;
    }

    /// Waits until this replica has what this server has now.
    ///
    /// # Panics
    ///
    /// If it has not within 30 seconds.
    pub async fn wait_replicated(&self, replica: &Self) {
        let offset = async |server: &Self, name| {
            let offset = server.info("replication", name).await;
            offset.and_then(|text| text.parse::<u64>().ok())
        };
        let wanted = offset(self, "master_repl_offset").await;
        within(SYNC, "the replica has all", async {
            while offset(replica, "slave_repl_offset").await < wanted {
                tokio::time::sleep(POLL).await;
            }
        })
        .await;
    }

    /// Stops it where it is: from now on it is silent, and keeps its connections.
    ///
    /// # Panics
    ///
    /// If the signal cannot be sent.
    pub fn pause(&self) {
        self.process.signal("STOP");
    }

    /// Lets it go on after `pause`, as if no time had passed.
    ///
    /// # Panics
    ///
    /// As `pause`.
    pub fn resume(&self) {
        self.process.signal("CONT");
    }

    /// Whether it is a master now; `None` if it does not answer.
    pub async fn is_master(&self) -> Option<bool> {
        let role = self.info("replication", "role").await;
        role.map(|role| role == "master")
    }

    /// A line of its `INFO`; `None` if there is none, or no answer.
    pub async fn info(&self, section: &str, name: &str) -> Option<String> {
        let info = self.try_command(&["INFO", section]).await.ok()?;
        let mut pairs = info
            .lines()
            .filter_map(|line| line.trim_end().split_once(':'));
        let found = pairs.find(|(key, _)| *key == name)?;
        Some(found.1.to_owned())
    }
}
