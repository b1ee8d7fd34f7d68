//! Another store beneath the same system: what an operator does who moves it.

use std::{fs, path::Path, process::Command, time::Duration};

use super::System;
use crate::{process::binary, redis_server::RedisServer};

/// How long a server may take to end.
const END: Duration = Duration::from_secs(30);

/// Which store a command is to open.
#[derive(Clone, Debug)]
pub enum Place {
    /// Redis, by its URL.
    Redis(String),
    /// An embedded store's folder.
    Embedded(String),
}

impl Place {
    /// The embedded store in a folder.
    #[must_use]
    pub fn folder(path: &Path) -> Self {
        Self::Embedded(path.display().to_string())
    }

    /// The option that names it, and what follows it.
    fn option(&self) -> [&str; 2] {
        match self {
            Self::Redis(url) => ["--redis", url],
            Self::Embedded(folder) => ["--embedded", folder],
        }
    }

    /// Runs `sidehook store` on it: whether it ended well, its standard output and
    /// its standard error.
    ///
    /// # Panics
    ///
    /// If the binary is missing.
    #[must_use]
    pub fn store(&self, command: &str, more: &[&str]) -> (bool, String, String) {
        let mut process = Command::new(binary("sidehook"));
        process.env_clear().args(["store", command]);
        let ended = process.args(self.option()).args(more).output();
        let ended = ended.expect("the binary can be run");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let success = ended.status.success();
        (success, text(&ended.stdout), text(&ended.stderr))
    }
}

impl System {
    /// The store that its servers use.
    #[must_use]
    pub fn place(&self) -> Place {
        match &self.redis {
            Some(redis) => Place::Redis(redis.url()),
            None => Place::folder(&self.folder.path().join(&self.embedded)),
        }
    }

    /// Asks the first server to drain and end.
    ///
    /// # Panics
    ///
    /// If it does not within 30 seconds.
    pub async fn terminate_server(&mut self) {
        let process = &mut self.servers[0].process;
        process.terminate();
        let ended = process.wait_exit(END).await.expect("the server drains");
        assert!(ended.success(), "{ended}: {}", process.log());
    }

    /// From its next start on the first server uses a new, empty Redis.
    pub async fn use_redis(&mut self) {
        let redis = RedisServer::start().await;
        self.name_store(&format!("redis = \"{}\"", redis.url()));
        self.redis = Some(redis);
    }

    /// From its next start on the first server uses an embedded store in a folder of
    /// this name, which is not there yet.
    pub fn use_embedded(&mut self, name: &str) {
        let folder = self.folder.path().join(name);
        self.name_store(&format!("embedded = \"{}\"", folder.display()));
        name.clone_into(&mut self.embedded);
        self.redis = None;
    }

    /// Replaces the line that names the store.
    fn name_store(&self, line: &str) {
        let config = self.folder.path().join("server-0.toml");
        let text = fs::read_to_string(&config).expect("it was written");
        let lines = text.lines().map(|one| {
            let named = one.starts_with("redis = ") || one.starts_with("embedded = ");
            if named { line } else { one }
        });
        let text: Vec<_> = lines.collect();
        fs::write(config, text.join("\n")).expect("it can be written");
    }
}
