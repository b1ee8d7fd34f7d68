//! A Redis server of the test's own, on a free port and in a folder of its own.

mod command;
mod mend;
mod replication;

use std::{
    fs, io,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    power::Disk,
    process::{POLL, Process, free_ports, loopback, within},
};

const MISSING: &str = "redis-server is missing: run `sudo apt-get install -y redis-server`";
const DEFAULTS: [&str; 8] = [
    "--appendonly",
    "yes",
    "--appendfsync",
    "everysec",
    "--save",
    "",
    // A first replica need not wait for a second one.
    "--repl-diskless-sync-delay",
    "0",
];
const START: Duration = Duration::from_secs(20);

/// A running Redis server; it and its data are gone when it is dropped.
pub struct RedisServer {
    process: Process,
    port: u16,
    tls_port: Option<u16>,
    arguments: Vec<String>,
    home: Home,
}

/// Where its files are.
struct Home {
    folder: TempDir,
    /// The data, and the variables that put them on a disk of their own.
    disk: Option<(PathBuf, [(&'static str, PathBuf); 3])>,
}

impl RedisServer {
    /// Starts a server that syncs its append-only file every second and keeps no snapshots.
    ///
    /// # Panics
    ///
    /// If redis-server is not installed or does not answer within 20 seconds.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// As `start`, with further arguments, which override the defaults.
    ///
    /// # Panics
    ///
    /// As `start`.
    pub async fn start_with(arguments: &[&str]) -> Self {
        Self::start_in(Home::new(), None, arguments).await
    }

    /// As `start_with`, with its data on a disk whose power can be cut, once it is
    /// killed.
    ///
    /// # Panics
    ///
    /// As `start`.
    pub async fn start_on(disk: &Disk, arguments: &[&str]) -> Self {
        // Redis does not sync the folder in which it makes this one.
        fs::create_dir(disk.data().join("appendonlydir")).expect("a folder can be made");
        disk.sync();
        let disk = Some((disk.data(), disk.variables()));
        let home = Home {
            disk,
            ..Home::new()
        };
        Self::start_in(home, None, arguments).await
    }

    /// As `start_with`, and with a second port over TLS that shows this certificate
    /// (both PEM) and asks for none.
    ///
    /// # Panics
    ///
    /// As `start`.
    pub async fn start_tls(certificate: &str, key: &str, arguments: &[&str]) -> Self {
        let home = Home::new();
        let [port] = free_ports();
        let port_text = port.to_string();
        let files = [("tls.pem", certificate), ("tls.key", key)].map(|(name, text)| {
            let path = home.folder.path().join(name);
            fs::write(&path, text).expect("a TLS file can be written");
            path.display().to_string()
        });
        let tls = [
            ["--tls-port", &port_text],
            ["--tls-cert-file", &files[0]],
            ["--tls-key-file", &files[1]],
            ["--tls-ca-cert-file", &files[0]],
            ["--tls-auth-clients", "no"],
        ];
        let arguments: Vec<_> = tls
            .into_iter()
            .flatten()
            .chain(arguments.iter().copied())
            .collect();
        Self::start_in(home, Some(port), &arguments).await
    }

    async fn start_in(home: Home, tls_port: Option<u16>, arguments: &[&str]) -> Self {
        let [port] = free_ports();
        let arguments = DEFAULTS.iter().chain(arguments);
        let arguments: Vec<_> = arguments.map(|text| (*text).to_owned()).collect();
        let process = home.launch(port, &arguments);
        let mut server = Self {
            process,
            port,
            tls_port,
            arguments,
            home,
        };
        server.wait_ready().await;
        server
    }

    /// The port over TLS.
    ///
    /// # Panics
    ///
    /// If it was not started with one.
    #[must_use]
    pub fn tls_port(&self) -> u16 {
        self.tls_port.expect("started with a TLS port")
    }

    /// Has one command executed and answers its reply, the parts of a list in lines.
    ///
    /// # Errors
    ///
    /// What Redis says is wrong, or that it does not answer.
    pub async fn try_command(&self, command: &[&str]) -> io::Result<String> {
        ask(self.port, command).await
    }

    /// As `try_command`, for what is no text: the parts of the reply as they are.
    ///
    /// # Errors
    ///
    /// As `try_command`.
    pub async fn try_bytes(&self, command: &[impl AsRef<[u8]>]) -> io::Result<Vec<Vec<u8>>> {
        command::send(self.port, command).await
    }

    /// As `try_command`.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub async fn command(&self, command: &[&str]) -> String {
        let answer = self.try_command(command).await;
        answer.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Limits its memory to what it uses now and so many bytes more.
    ///
    /// # Panics
    ///
    /// If it does not answer.
    pub async fn leave_room(&self, bytes: u64) {
        let info = self.command(&["INFO", "memory"]).await;
        let used = info
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:"));
        let used = used.and_then(|text| text.trim().parse::<u64>().ok());
        let limit = used.expect("INFO tells what is used") + bytes;
        self.command(&["CONFIG", "SET", "maxmemory", &limit.to_string()])
            .await;
    }

    /// Its URL, `redis://127.0.0.1:PORT/`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The id of its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Kills it without warning; its files stay for `restart`.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Starts it again on the same port with the same files, killing it if it runs.
    ///
    /// # Panics
    ///
    /// As `start`.
    pub async fn restart(&mut self) {
        self.kill9();
        self.process = self.home.launch(self.port, &self.arguments);
        self.wait_ready().await;
    }

    async fn wait_ready(&mut self) {
        let port = self.port;
        wait_answers(&mut self.process, port).await;
    }
}

/// Waits until a server that was started on this port answers.
pub(crate) async fn wait_answers(process: &mut Process, port: u16) {
    within(START, "redis-server answers", async {
        // While it loads its files it listens already and answers `-LOADING`.
        while !answers(port).await {
            if let Some(status) = process.exited() {
                panic!("redis-server ended ({status}):\n{}", process.log());
            }
            tokio::time::sleep(POLL).await;
        }
    })
    .await;
}

/// Has the server on this port execute a command; see `RedisServer::try_command`.
pub(crate) async fn ask(port: u16, command: &[&str]) -> io::Result<String> {
    let parts = command::send(port, command).await?;
    let parts = parts.iter().map(|part| String::from_utf8_lossy(part));
    Ok(parts.collect::<Vec<_>>().join("\n"))
}

/// These ports of this machine as a URL has them.
pub(crate) fn hosts(ports: &[u16]) -> String {
    let hosts = ports.iter().map(|port| format!("127.0.0.1:{port}"));
    hosts.collect::<Vec<_>>().join(",")
}

/// The command `redis-server`, which is installed.
pub(crate) fn redis_server() -> Command {
    let found = Command::new("redis-server").arg("--version").output();
    assert!(
        !found.is_err_and(|error| error.kind() == ErrorKind::NotFound),
        "{MISSING}"
    );
    Command::new("redis-server")
}

impl Home {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            disk: None,
        }
    }

    fn data(&self) -> &Path {
        match &self.disk {
            Some((data, _)) => data,
            None => self.folder.path(),
        }
    }

    fn launch(&self, port: u16, arguments: &[String]) -> Process {
        let mut command = redis_server();
        if let Some((_, variables)) = &self.disk {
            command.envs(variables.iter().map(|(name, value)| (name, value)));
        }
        command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"])
            .arg(self.data())
            .args(arguments);
        Process::start(command, &self.folder.path().join("redis.log"))
    }
}

async fn answers(port: u16) -> bool {
    let ping = async {
        let mut stream = TcpStream::connect(loopback(port)).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).await?;
        io::Result::Ok(&answer == b"+PONG\r\n")
    };
    ping.await.unwrap_or(false)
}
