//! The whole system as its built binaries: Redis, control planes, an agent.
//!
//! Every part is on free loopback ports, keeps its port and its files over a
//! restart, and is killed when the value is dropped.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use sidehook_api::v1::{self, Role};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    client::Client,
    process::{Process, binary, free_ports, loopback},
    redis_server::RedisServer,
};

const OPERATOR_KEY: &str = "test-operator-key-0123456789abcdef";
const START: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// What a system is to be; see `System::builder`.
pub struct Builder {
    servers: usize,
    lease: Option<String>,
    heartbeat: Option<String>,
    capacity: u32,
    drain_timeout: Option<String>,
    redis: Vec<String>,
    agent: bool,
}

impl Builder {
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

    /// Further arguments of redis-server.
    #[must_use]
    pub fn redis(mut self, arguments: &[&str]) -> Self {
        self.redis = arguments.iter().map(|text| (*text).to_owned()).collect();
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
        let redis = RedisServer::start_with(&arguments).await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let servers: Vec<_> = (0..self.servers)
            .map(|replica| Server::start(&self, &redis, folder.path(), replica))
            .collect();
        let mut system = System {
            agent: None,
            servers,
            redis,
            tenant: String::new(),
            key: String::new(),
            token: String::new(),
            builder: self,
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

/// One control plane.
struct Server {
    process: Process,
    http: SocketAddr,
    grpc: SocketAddr,
    agents: SocketAddr,
    replica: usize,
}

impl Server {
    fn start(builder: &Builder, redis: &RedisServer, folder: &Path, replica: usize) -> Self {
        let [http, grpc, agents] = free_ports().map(loopback);
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
        text += &format!(
            "[store]\nredis = \"{}\"\n[http]\nlisten = \"{http}\"\n\
             [grpc]\nlisten = \"{grpc}\"\n[agents]\nlisten = \"{agents}\"\n",
            redis.url()
        );
        let config = folder.join(format!("server-{replica}.toml"));
        fs::write(config, text).expect("the configuration can be written");
        Self {
            process: Self::launch(folder, replica),
            http,
            grpc,
            agents,
            replica,
        }
    }

    fn launch(folder: &Path, replica: usize) -> Process {
        let mut command = Command::new(binary("sidehook"));
        let config = folder.join(format!("server-{replica}.toml"));
        // Variables of the developer's shell must not configure a test.
        command.env_clear().args(["server", "--config"]).arg(config);
        Process::start(command, &folder.join(format!("server-{replica}.log")))
    }

    async fn wait_ready(&mut self) {
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

/// A running system with one tenant.
pub struct System {
    // Dropped in this order: who depends goes before what it depends on.
    agent: Option<Process>,
    servers: Vec<Server>,
    /// The store of all servers.
    pub redis: RedisServer,
    tenant: String,
    key: String,
    token: String,
    builder: Builder,
    folder: TempDir,
}

impl System {
    /// One server, one agent, and the defaults of both.
    #[must_use]
    pub const fn builder() -> Builder {
        Builder {
            servers: 1,
            lease: None,
            heartbeat: None,
            capacity: 256,
            drain_timeout: None,
            redis: Vec::new(),
            agent: true,
        }
    }

    /// A caller of this replica with an admin's key of the tenant.
    #[must_use]
    pub fn client(&self, replica: usize) -> Client {
        Client::new(self.servers[replica].grpc, &self.key)
    }

    /// A caller of this replica with the operator's key.
    #[must_use]
    pub fn operator(&self, replica: usize) -> Client {
        Client::new(self.servers[replica].grpc, OPERATOR_KEY)
    }

    /// The tenant's id.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Where this replica serves `/metrics`, `/healthz` and `/readyz`.
    #[must_use]
    pub fn http(&self, replica: usize) -> SocketAddr {
        self.servers[replica].http
    }

    /// Starts the agent, with the id it had before, connected to this replica;
    /// kills it first if it runs.
    ///
    /// # Panics
    ///
    /// If the agent's binary is missing.
    pub fn start_agent(&mut self, replica: usize) {
        self.kill_agent();
        self.agent = Some(self.another_agent("agent", replica));
    }

    /// Starts a further agent of the tenant's default pool, the caller's to keep.
    /// An agent of the same name has the same id: only one of them may run.
    ///
    /// # Panics
    ///
    /// If the agent's binary is missing.
    #[must_use]
    pub fn another_agent(&self, name: &str, replica: usize) -> Process {
        let state = self.folder.path().join(name);
        fs::create_dir_all(&state).expect("the agent's folder can be made");
        let drain = self.builder.drain_timeout.as_ref();
        let drain = drain.map(|limit| format!("drain_timeout = \"{limit}\"\n"));
        let text = format!(
            "server = \"http://{}\"\ntoken = \"{}\"\nname = \"{name}\"\ncapacity = {}\n\
             state_dir = \"{}\"\n{}[egress]\nallow_loopback = true\n",
            self.servers[replica].agents,
            self.token,
            self.builder.capacity,
            state.display(),
            drain.unwrap_or_default(),
        );
        let config = self.folder.path().join(format!("{name}.toml"));
        fs::write(&config, text).expect("the configuration can be written");
        let mut command = Command::new(binary("sidehook-agent"));
        command.env_clear().arg("--config").arg(config);
        Process::start(command, &self.folder.path().join(format!("{name}.log")))
    }

    /// Kills the agent without warning; nothing if none runs.
    pub fn kill_agent(&mut self) {
        self.agent = None;
    }

    /// Asks the agent to drain and end; whether it ended well within `limit`.
    /// It is killed if it did not.
    ///
    /// # Panics
    ///
    /// If no agent was started.
    pub async fn terminate_agent(&mut self, limit: Duration) -> bool {
        let mut agent = self.agent.take().expect("an agent runs");
        agent.terminate();
        let ended = agent.wait_exit(limit).await;
        ended.is_some_and(|status| status.success())
    }

    /// The agent's process, if it was started.
    #[must_use]
    pub const fn agent(&self) -> Option<&Process> {
        self.agent.as_ref()
    }

    /// The process of this replica.
    #[must_use]
    pub fn server(&mut self, replica: usize) -> &mut Process {
        &mut self.servers[replica].process
    }

    /// Kills this replica without warning.
    pub fn kill_server(&mut self, replica: usize) {
        self.servers[replica].process.kill9();
    }

    /// Starts this replica again on the same ports, killing it if it runs, and
    /// waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it is not within 30 seconds.
    pub async fn restart_server(&mut self, replica: usize) {
        self.kill_server(replica);
        self.servers[replica].process = Server::launch(self.folder.path(), replica);
        self.servers[replica].wait_ready().await;
    }

    /// Makes the tenant, its admin's key and the token of its default pool.
    async fn create_keys(&mut self) {
        let mut admin = self.operator(0).admin();
        let name = "test".to_owned();
        let tenant = admin.create_tenant(v1::CreateTenantRequest { name }).await;
        let tenant = tenant.expect("a tenant is made").into_inner().tenant;
        self.tenant = tenant.expect("an answer has its tenant").id;
        for (role, secret) in [(Role::Admin, &mut self.key), (Role::Agent, &mut self.token)] {
            let request = v1::CreateApiKeyRequest {
                tenant_id: self.tenant.clone(),
                name: "test".to_owned(),
                role: role.into(),
                ..v1::CreateApiKeyRequest::default()
            };
            let answer = admin.create_api_key(request).await;
            *secret = answer.expect("a key is made").into_inner().secret;
        }
    }
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
