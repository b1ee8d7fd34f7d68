//! Control plane and agent in this process, with a ready-made tenant and keys: what
//! `dev` and `demo` share.

use core::time::Duration;
use std::{net::SocketAddr, sync::Arc};

use secrecy::SecretString;
use sidehook_agent::{Agent, AgentConfig};
use sidehook_api::{registry::TenantLimits, v1};
use sidehook_control::server::{ControlPlane, ControlPlaneConfig};
use sidehook_core::id::TenantId;
use sidehook_gateway::{Gateway, GatewayConfig, InProcess};
use sidehook_runtime::{
    drain::{self, Outcome},
    listen::ListenConfig,
    probe::Metrics,
    tasks::{OnPanic, TaskKind, Tasks},
};
use sidehook_store::Store;

use crate::server::{explained, gateway_explained};

/// Without it nothing is delivered.
const AGENT: TaskKind = TaskKind::new("agent", OnPanic::Abort);
/// Tells the process of a control plane that has failed.
const PLANE: TaskKind = TaskKind::new("control_plane", OnPanic::Abort).background();

/// How long each part may take to end.
const GRACE: Duration = Duration::from_secs(5);
/// Name of the ready-made tenant.
const TENANT: &str = "dev";

/// Where the local system is to listen.
pub(crate) struct Addresses {
    /// Health and metrics.
    pub(crate) http: SocketAddr,
    /// People and publishers.
    pub(crate) grpc: ListenConfig,
    /// Agents.
    pub(crate) agents: ListenConfig,
    /// Clients of other webhook APIs.
    pub(crate) gateway: ListenConfig,
}

/// A running local system.
pub(crate) struct Local {
    /// Its control plane.
    pub(crate) plane: ControlPlane,
    /// Where its gateway listens.
    pub(crate) gateway: SocketAddr,
    /// Its tenant.
    pub(crate) tenant: TenantId,
    /// The control plane's tasks: it drains after the agent, which reports to it.
    plane_tasks: Tasks,
}

impl Local {
    /// Starts control plane and agent, which ends with `tasks`; whoever knows `api_key` is the tenant's admin.
    pub(crate) async fn start(
        store: Arc<dyn Store>,
        addresses: Addresses,
        api_key: &SecretString,
        sealing_key: SecretString,
        tasks: &Tasks,
    ) -> Result<Self, String> {
        let metrics = Metrics::install().map_err(|error| error.to_string())?;
        let config = ControlPlaneConfig {
            grpc: addresses.grpc,
            agents: addresses.agents,
            http: addresses.http,
            ..ControlPlaneConfig::new(sealing_key)
        };
        let longest = config.longest_total();
        let failed = |error| gateway_explained(&error, "");
        let gateway = GatewayConfig::new(addresses.gateway);
        let gateway = Gateway::bind(gateway).await.map_err(failed)?;
        let plane_tasks = Tasks::new(drain::channel().0);
        let plane = ControlPlane::start(config, store, metrics, &plane_tasks)
            .await
            .map_err(|error| explained(&error, ""))?;
        let service = InProcess::new(plane.api.clone()).with_longest_total(longest);
        let gateway_addr = gateway.local_addr();
        gateway
            .serve(&service, GRACE, &plane_tasks)
            .map_err(failed)?;
        let (stopped, process) = (plane_tasks.drain(), tasks.trigger().clone());
        tasks.spawn(PLANE, async move {
            stopped.draining().await;
            process.fail(stopped.cause().unwrap_or("the control plane stopped"));
        });
        let tenant = ready_made(&plane, api_key).await?;
        let local = Self {
            plane,
            gateway: gateway_addr,
            tenant,
            plane_tasks,
        };
        local.start_agent(tasks).await?;
        Ok(local)
    }

    /// Waits until the process is told to stop, then for the agent, then for the
    /// control plane, each at most for [`GRACE`].
    pub(crate) async fn finish(&self, tasks: &Tasks) -> Outcome {
        let agent = tasks.finish(GRACE).await;
        self.plane_tasks.trigger().drain("the agent has drained");
        let plane = self.plane_tasks.finish(GRACE).await;
        if agent == Outcome::Clean {
            plane
        } else {
            agent
        }
    }

    async fn start_agent(&self, tasks: &Tasks) -> Result<(), String> {
        let request = v1::CreateApiKeyRequest {
            tenant_id: self.tenant.to_string(),
            name: "local agent".to_owned(),
            role: v1::Role::Agent.into(),
            pool: "default".to_owned(),
            ..v1::CreateApiKeyRequest::default()
        };
        let (_, token) = self
            .plane
            .tenants
            .create_key(request)
            .await
            .map_err(|error| error.to_string())?;
        let server = format!("http://{}", self.plane.agents);
        let server = server
            .parse()
            .map_err(|error| format!("{server}: {error}"))?;
        let mut config = AgentConfig::new(server, token);
        "local".clone_into(&mut config.name);
        config.egress.allow_loopback = true;
        config.egress.allow_private = true;
        let connected = self.plane.readiness.condition("agent");
        let agent = Agent::new(config, tasks.drain(), tasks.clone(), Some(connected))
            .map_err(|error| error.to_string())?;
        tasks.spawn(AGENT, agent.run());
        Ok(())
    }
}

/// The tenant of an earlier start over the same store, else a new one, and its key.
async fn ready_made(plane: &ControlPlane, api_key: &SecretString) -> Result<TenantId, String> {
    let tenants = &plane.tenants;
    let mut after = None;
    let tenant = loop {
        let (page, more) = tenants
            .list(after, 500)
            .await
            .map_err(|error| error.to_string())?;
        after = page.last().map(|tenant| tenant.id);
        if let Some(tenant) = page.into_iter().find(|tenant| tenant.name == TENANT) {
            break tenant.id;
        }
        if !more {
            let request = v1::CreateTenantRequest {
                name: TENANT.to_owned(),
                // Its only user is who started this.
                limits: Some(TenantLimits::WIDEST.to_proto()),
                platform: false,
            };
            let tenant = tenants.create_tenant(request).await;
            break tenant.map_err(|error| error.to_string())?.id;
        }
    };
    let request = v1::CreateApiKeyRequest {
        tenant_id: tenant.to_string(),
        name: "ready-made".to_owned(),
        role: v1::Role::Admin.into(),
        ..v1::CreateApiKeyRequest::default()
    };
    tenants
        .install_key(request, api_key)
        .await
        .map_err(|error| error.to_string())?;
    Ok(tenant)
}
