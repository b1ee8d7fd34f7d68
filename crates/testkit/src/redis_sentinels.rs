//! Three Sentinels that watch a master and make its replica the master when it dies.
//!
//! Short times: a master that is silent for a second is down, and a promotion that
//! does not come about is tried again after some seconds. A dead master should stay
//! dead: it would come back as a master and be told only some ten seconds later whom
//! to follow, and if the new one stumbled within them it would be promoted again, with
//! what it knew when it died.

use std::{fs, process::Command, time::Duration};

use tempfile::TempDir;

use crate::{
    process::{POLL, Process, free_ports, within},
    redis_server::{self, RedisServer, redis_server},
};

/// How the master is called.
pub const NAME: &str = "sidehook";
const COUNT: usize = 3;
/// How many of them must agree that the master is down.
const QUORUM: usize = 2;
const DOWN_AFTER: Duration = Duration::from_secs(1);
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(5);
/// They tell one another every two seconds that they are there.
const MEET: Duration = Duration::from_secs(30);
/// A promotion may have to be tried a second time.
const PROMOTE: Duration = Duration::from_secs(60);

/// Three running Sentinels.
pub struct RedisSentinels {
    sentinels: Vec<(u16, Process)>,
    _folder: TempDir,
}

impl RedisSentinels {
    /// Starts them over this master, which has `replicas` replicas already; on return
    /// each knows of all of them and of the other two.
    ///
    /// # Panics
    ///
    /// If redis-server is not installed or they do not find together in 30 seconds.
    pub async fn start(master: &RedisServer, replicas: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports: [u16; COUNT] = free_ports();
        let mut sentinels = Vec::new();
        for port in ports {
            // They write what they learn into their files.
            let place = folder.path().join(port.to_string());
            fs::create_dir(&place).expect("a folder can be made");
            let text = format!(
                "port {port}\nbind 127.0.0.1\ndir \"{}\"\n\
                 sentinel monitor {NAME} 127.0.0.1 {} {QUORUM}\n\
                 sentinel down-after-milliseconds {NAME} {}\n\
                 sentinel failover-timeout {NAME} {}\n",
                place.display(),
                master.port(),
                DOWN_AFTER.as_millis(),
                FAILOVER_TIMEOUT.as_millis(),
            );
            let config = place.join("sentinel.conf");
            fs::write(&config, text).expect("the configuration can be written");
            let mut command: Command = redis_server();
            command.arg(config).arg("--sentinel");
            let mut process = Process::start(command, &place.join("sentinel.log"));
            redis_server::wait_answers(&mut process, port).await;
            sentinels.push((port, process));
        }
        let all = Self {
            sentinels,
            _folder: folder,
        };
        all.wait_met(replicas).await;
        all
    }

    async fn wait_met(&self, replicas: usize) {
        let wanted = [("num-other-sentinels", COUNT - 1), ("num-slaves", replicas)];
        for (port, _) in &self.sentinels {
            within(MEET, "the Sentinels know all", async {
                loop {
                    let known = redis_server::ask(*port, &["SENTINEL", "MASTER", NAME]).await;
                    let known = known.unwrap_or_default();
                    let has = |(name, count): &(&str, usize)| {
                        known.contains(&format!("\n{name}\n{count}\n"))
                    };
                    if wanted.iter().all(has) {
                        return;
                    }
                    tokio::time::sleep(POLL).await;
                }
            })
            .await;
        }
    }

    /// Where they listen.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.sentinels.iter().map(|(port, _)| *port).collect()
    }

    /// What a client is told: all three, and the name of the master.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}#{NAME}", redis_server::hosts(&self.ports()))
    }

    /// The port of the master that most of them name; `None` while they differ.
    pub async fn master(&self) -> Option<u16> {
        let mut named = Vec::new();
        for (port, _) in &self.sentinels {
            let ask = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME];
            let address = redis_server::ask(*port, &ask).await.ok();
            let told = address.and_then(|text| text.lines().last()?.parse::<u16>().ok());
            named.extend(told);
        }
        let most = |one: &&u16| named.iter().filter(|other| other == one).count() >= QUORUM;
        named.iter().find(most).copied()
    }

    /// Waits until they name another master than this one; where it listens.
    ///
    /// # Panics
    ///
    /// If that is not so within a minute.
    pub async fn wait_promoted(&self, before: u16) -> u16 {
        within(PROMOTE, "a replica is promoted", async {
            loop {
                if let Some(master) = self.master().await.filter(|port| *port != before) {
                    return master;
                }
                tokio::time::sleep(POLL).await;
            }
        })
        .await
    }
}
