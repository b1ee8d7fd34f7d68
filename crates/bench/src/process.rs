//! The processes under measurement, started on free ports and killed at the end.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde::Deserialize;
use tempfile::TempDir;

use crate::Failure;

const OPERATOR_KEY: &str = "benchmark-operator-key-0123456789abcdef";

/// A child that dies with this value.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    fn start(command: &mut Command, log: &Path) -> Result<Self, Failure> {
        let log = fs::File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("cannot start {command:?}: {error}"))?;
        Ok(Self { child })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already; there is nobody left to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything that a measurement needs, running.
pub(crate) struct System {
    /// Held for its end alone.
    _receiver: Process,
    pub(crate) redis: Process,
    pub(crate) control: Process,
    agent: Option<Process>,
    pub(crate) receiver_port: u16,
    pub(crate) grpc: SocketAddr,
    agents: SocketAddr,
    folder: TempDir,
}

/// What a client needs to speak for the benchmark's tenant.
#[derive(Deserialize)]
pub(crate) struct Credentials {
    pub(crate) operator_key: String,
}

impl System {
    pub(crate) async fn start() -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let [receiver_port, redis_port, http, grpc, agents] = free_ports()?;
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let receiver = Process::start(
            Command::new(std::env::current_exe()?).args([
                "receiver",
                "--port",
                &receiver_port.to_string(),
            ]),
            &folder.path().join("receiver.log"),
        )?;
        let redis = Process::start(
            Command::new("redis-server")
                .args(["--port", &redis_port.to_string(), "--bind", "127.0.0.1"])
                .args([
                    "--appendonly",
                    "yes",
                    "--appendfsync",
                    "everysec",
                    "--save",
                    "",
                ])
                .arg("--dir")
                .arg(folder.path()),
            &folder.path().join("redis.log"),
        )?;
        wait_until_open(at(redis_port)).await?;
        let config = folder.path().join("sidehook.toml");
        fs::write(
            &config,
            server_config(redis_port, at(http), at(grpc), at(agents)),
        )?;
        let control = Process::start(
            Command::new(beside_this("sidehook")?)
                .arg("server")
                .arg("--config")
                .arg(&config),
            &folder.path().join("control.log"),
        )?;
        for port in [receiver_port, grpc, agents] {
            wait_until_open(at(port)).await.map_err(|error| {
                let log = fs::read_to_string(folder.path().join("control.log"));
                format!("{error}\n{}", log.unwrap_or_default())
            })?;
        }
        let (grpc, agents) = (at(grpc), at(agents));
        Ok(Self {
            _receiver: receiver,
            redis,
            control,
            agent: None,
            receiver_port,
            grpc,
            agents,
            folder,
        })
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials {
            operator_key: OPERATOR_KEY.to_owned(),
        }
    }

    pub(crate) fn start_agent(&mut self, token: &str) -> Result<(), Failure> {
        let config = self.folder.path().join("agent.toml");
        let text = format!(
            "server = \"http://{}\"\ntoken = \"{token}\"\nname = \"bench\"\ncapacity = 4096\n\
             state_dir = \"{}\"\n[egress]\nallow_loopback = true\n",
            self.agents,
            self.folder.path().display(),
        );
        fs::write(&config, text)?;
        let mut command = Command::new(beside_this("sidehook-agent")?);
        command.arg("--config").arg(&config);
        self.agent = Some(Process::start(
            &mut command,
            &self.folder.path().join("agent.log"),
        )?);
        Ok(())
    }

    pub(crate) fn stop_agent(&mut self) {
        self.agent = None;
    }

    pub(crate) fn agent(&self) -> Result<&Process, Failure> {
        self.agent
            .as_ref()
            .ok_or_else(|| "the agent is not running".into())
    }
}

fn server_config(redis: u16, http: SocketAddr, grpc: SocketAddr, agents: SocketAddr) -> String {
    let sealing_key = "5b".repeat(32);
    format!(
        "operator_key = \"{OPERATOR_KEY}\"\nsealing_key = \"{sealing_key}\"\n\
         [store]\nredis = \"redis://127.0.0.1:{redis}/\"\n\
         [http]\nlisten = \"{http}\"\n[grpc]\nlisten = \"{grpc}\"\n[agents]\nlisten = \"{agents}\"\n"
    )
}

/// A program of the same build.
pub(crate) fn beside_this(name: &str) -> Result<PathBuf, Failure> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.exists() {
        return Ok(path);
    }
    Err(format!(
        "{} is missing: run `make bench`, which builds it",
        path.display()
    )
    .into())
}

fn free_ports<const N: usize>() -> Result<[u16; N], Failure> {
    // All are held until all are known, so that they differ.
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

async fn wait_until_open(address: SocketAddr) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(address).await.is_err() {
        if Instant::now() > deadline {
            return Err(format!("nothing serves {address} after 20 s").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
