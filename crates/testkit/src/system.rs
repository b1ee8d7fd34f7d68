//! The whole system as its built binaries: control planes on Redis, or one on an
//! embedded store, and an agent.
//!
//! Every part is on free loopback ports, keeps its port and its files over a
//! restart, and is killed when the value is dropped.

mod builder;
mod moving;
mod server;
mod tenants;

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use tempfile::TempDir;

use self::server::{OPERATOR_KEY, Server};
pub use self::{builder::Builder, moving::Place, tenants::Tenant};
use crate::{
    client::Client,
    process::{Process, binary},
    redis_server::RedisServer,
};

/// A running system with one tenant.
pub struct System {
    // Dropped in this order: who depends goes before what it depends on.
    agent: Option<Process>,
    servers: Vec<Server>,
    /// The store of all servers, unless the one server has an embedded store.
    pub redis: Option<RedisServer>,
    tenant: String,
    key: String,
    token: String,
    builder: Builder,
    /// Name of the embedded store's folder.
    embedded: String,
    folder: TempDir,
}

impl System {
    /// One server, one agent, and the defaults of both.
    #[must_use]
    pub const fn builder() -> Builder {
        Builder::new()
    }

    /// A caller of this replica with an admin's key of the tenant.
    #[must_use]
    pub fn client(&self, replica: usize) -> Client {
        self.caller(replica, &self.key)
    }

    /// A caller of this replica with the operator's key.
    #[must_use]
    pub fn operator(&self, replica: usize) -> Client {
        self.caller(replica, OPERATOR_KEY)
    }

    fn caller(&self, replica: usize, key: &str) -> Client {
        let address = self.servers[replica].grpc;
        match &self.builder.tls {
            Some((certificate, _)) => Client::over_tls(address, key, certificate),
            None => Client::new(address, key),
        }
    }

    /// Where agents connect to this replica.
    #[must_use]
    pub fn agents(&self, replica: usize) -> SocketAddr {
        self.servers[replica].agents
    }

    /// The tenant's id.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The token of the tenant's default pool, which its agents present.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
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
        self.agent_at(name, self.agents(replica))
    }

    /// As `another_agent`, dialling `server`: a `FaultProxy` before a replica.
    ///
    /// # Panics
    ///
    /// If the agent's binary is missing.
    #[must_use]
    pub fn agent_at(&self, name: &str, server: SocketAddr) -> Process {
        self.launch_agent("sidehook-agent", name, server, &self.token)
    }

    /// As `another_agent`, of the version that `build_later` made.
    ///
    /// # Panics
    ///
    /// If the agent's binary is missing.
    #[must_use]
    pub fn later_agent(&self, name: &str, replica: usize) -> Process {
        let server = self.agents(replica);
        self.launch_agent("sidehook-agent-later", name, server, &self.token)
    }

    fn launch_agent(&self, program: &str, name: &str, server: SocketAddr, token: &str) -> Process {
        let state = self.folder.path().join(name);
        fs::create_dir_all(&state).expect("the agent's folder can be made");
        let drain = self.builder.drain_timeout.as_ref();
        let drain = drain.map(|limit| format!("drain_timeout = \"{limit}\"\n"));
        let mut scheme = "http";
        let mut ca = String::new();
        if self.builder.tls.is_some() {
            scheme = "https";
            let file = self.folder.path().join("tls.pem");
            ca = format!("ca_file = \"{}\"\n", file.display());
        }
        let text = format!(
            "server = \"{scheme}://{server}\"\ntoken = \"{token}\"\nname = \"{name}\"\ncapacity = {}\n\
             state_dir = \"{}\"\n{ca}{}[egress]\nallow_loopback = true\n{}",
            self.builder.capacity,
            state.display(),
            drain.unwrap_or_default(),
            self.builder.log_section(),
        );
        let config = self.folder.path().join(format!("{name}.toml"));
        fs::write(&config, text).expect("the configuration can be written");
        let mut command = Command::new(binary(program));
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

    /// The id of this replica's process.
    #[must_use]
    pub fn server_id(&self, replica: usize) -> u32 {
        self.servers[replica].process.id()
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
        self.servers[replica].process = Server::launch(&self.builder, self.folder.path(), replica);
        self.servers[replica].wait_ready().await;
    }

    /// Where this replica takes calls.
    #[must_use]
    pub fn grpc(&self, replica: usize) -> SocketAddr {
        self.servers[replica].grpc
    }

    /// Where this replica takes the requests of other webhook APIs.
    #[must_use]
    pub fn gateway(&self, replica: usize) -> SocketAddr {
        self.servers[replica].gateway
    }

    async fn create_keys(&mut self) {
        let made = self.tenant_named("test").await;
        (self.tenant, self.key, self.token) = (made.id, made.key, made.token);
    }
}
