//! One control plane as a process, with its configuration file.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Builder, System};
use crate::{
    process::{Process, binary, free_ports, loopback},
    redis_server::RedisServer,
};

pub(super) const OPERATOR_KEY: &str = "test-operator-key-0123456789abcdef";
const START: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// One control plane.
pub(super) struct Server {
    pub(super) process: Process,
    pub(super) http: SocketAddr,
    pub(super) grpc: SocketAddr,
    pub(super) agents: SocketAddr,
    pub(super) gateway: SocketAddr,
    replica: usize,
}

impl Server {
    pub(super) fn start(
        builder: &Builder,
        redis: Option<&RedisServer>,
        folder: &Path,
        replica: usize,
    ) -> Self {
        let [http, grpc, agents, gateway] = free_ports().map(loopback);
        let mut text = format!(
            "operator_key = \"{OPERATOR_KEY}\"\nsealing_key = \"{}\"\n",
            "5b".repeat(32)
        );
        for (key, value) in [
            ("lease", &builder.lease),
            ("heartbeat", &builder.heartbeat),
            ("drain_timeout", &builder.drain_timeout),
        ] {
            if let Some(value) = value {
                text += &format!("{key} = \"{value}\"\n");
            }
        }
        let store = match (&builder.store, redis) {
            (Some(section), _) => section.clone(),
            (None, Some(redis)) => format!("redis = \"{}\"", redis.url()),
            (None, None) => format!("embedded = \"{}\"", folder.join("store").display()),
        };
        text += &format!(
            "[store]\n{store}\n[http]\nlisten = \"{http}\"\n\
             [grpc]\nlisten = \"{grpc}\"\n[agents]\nlisten = \"{agents}\"\n\
             [gateway]\nlisten = \"{gateway}\"\n{}",
            builder.log_section(),
        );
        if let Some((certificate, key)) = &builder.tls {
            text += &tls_sections(folder, certificate, key);
        }
        let config = folder.join(format!("server-{replica}.toml"));
        fs::write(config, text).expect("the configuration can be written");
        Self {
            process: Self::launch(builder, folder, replica),
            http,
            grpc,
            agents,
            gateway,
            replica,
        }
    }

    pub(super) fn launch(builder: &Builder, folder: &Path, replica: usize) -> Process {
        let name = if builder.later.contains(&replica) {
            "sidehook-later"
        } else {
            "sidehook"
        };
        let mut command = Command::new(binary(name));
        let config = folder.join(format!("server-{replica}.toml"));
        // Variables of the developer's shell must not configure a test.
        command.env_clear().args(["server", "--config"]).arg(config);
        command.envs(builder.variables.iter().map(|(name, value)| (name, value)));
        Process::start(command, &folder.join(format!("server-{replica}.log")))
    }

    pub(super) async fn wait_ready(&mut self) {
        let ready = async {
            while !is_ready(self.http).await {
                if let Some(status) = self.process.exited() {
                    let log = self.process.log();
                    panic!("server {} ended ({status}):\n{log}", self.replica);
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let in_time = tokio::time::timeout(START, ready).await;
        in_time.expect("the server is ready within 30 s");
    }
}

impl System {
    /// Changes what is in the configuration file of this replica and starts it again.
    ///
    /// # Panics
    ///
    /// If it is not ready within 30 seconds.
    pub async fn reconfigure(&mut self, replica: usize, change: impl FnOnce(String) -> String) {
        let config = self.folder.path().join(format!("server-{replica}.toml"));
        let text = fs::read_to_string(&config).expect("it was written");
        fs::write(config, change(text)).expect("it can be written");
        self.restart_server(replica).await;
    }

    /// Replaces the files of certificate and key beneath the running servers, and
    /// asks the first of them to look (SIGHUP).
    ///
    /// # Panics
    ///
    /// If the system was built without TLS.
    pub fn replace_certificate(&self, certificate: &str, key: &str) {
        assert!(self.builder.tls.is_some(), "the servers have no TLS");
        for (name, text) in [("tls.pem", certificate), ("tls.key", key)] {
            let path = self.folder.path().join(name);
            fs::write(path, text).expect("a TLS file can be written");
        }
        let id = self.server_id(0).to_string();
        let sent = Command::new("kill").args(["-HUP", &id]).status();
        assert!(sent.is_ok_and(|s| s.success()), "cannot signal {id}");
    }
}

/// Puts certificate and key into files that all listeners are told of.
fn tls_sections(folder: &Path, certificate: &str, key: &str) -> String {
    let files = [("tls.pem", certificate), ("tls.key", key)].map(|(name, text)| {
        let path = folder.join(name);
        fs::write(&path, text).expect("a TLS file can be written");
        path.display().to_string()
    });
    let [cert_file, key_file] = files;
    let section =
        |name| format!("[{name}.tls]\ncert_file = \"{cert_file}\"\nkey_file = \"{key_file}\"\n");
    section("grpc") + &section("agents") + &section("gateway")
}

/// Whether `GET /readyz` is answered 200.
async fn is_ready(address: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(&answer == b"HTTP/1.1 200")
    };
    ask.await.unwrap_or(false)
}
