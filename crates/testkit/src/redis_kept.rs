//! A Redis on a snapshot that was kept, at the time of day of its making.

use std::{fs, path::Path};

use tempfile::TempDir;

use crate::{
    clock::Clock,
    process::{Process, free_ports},
    redis_server::{redis_server, wait_answers},
};

/// A running Redis server; it is gone when it is dropped, and the snapshot is untouched.
pub struct KeptRedis {
    _process: Process,
    port: u16,
    _folder: TempDir,
}

impl KeptRedis {
    /// Starts a server on a copy of this snapshot (RDB), by this clock. It keeps nothing
    /// on disk.
    ///
    /// # Panics
    ///
    /// If redis-server is not installed or does not answer within 20 seconds, or if
    /// there is no such file.
    pub async fn start(snapshot: &Path, clock: &Clock) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let copied = fs::copy(snapshot, folder.path().join("dump.rdb"));
        copied.unwrap_or_else(|error| panic!("{}: {error}", snapshot.display()));
        let [port] = free_ports();
        let mut command = redis_server();
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"]);
        command.arg(folder.path());
        command.args(["--appendonly", "no", "--save", ""]);
        command.envs(clock.variables());
        let mut process = Process::start(command, &folder.path().join("redis.log"));
        wait_answers(&mut process, port).await;
        Self {
            _process: process,
            port,
            _folder: folder,
        }
    }

    /// Its URL, `redis://127.0.0.1:PORT/`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }
}
