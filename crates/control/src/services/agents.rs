//! `AgentAdminService`.

use core::time::Duration;
use std::{collections::BTreeMap, sync::Arc};

use sidehook_api::{
    registry::Presence,
    v1::{self, agent_admin_service_server::AgentAdminService},
};
use sidehook_core::{
    id::TenantId,
    principal::{Principal, Role},
    time::Timestamp,
};
use sidehook_store::{Store, registry::Kind};
use tonic::{Request, Response, Status};

use super::parse::id;
use crate::{auth::principal, catalog::Catalogs, errors::OperationError, tenants::Tenants};

/// Agents silent for longer are not shown.
const SHOWN: Duration = Duration::from_secs(24 * 3_600);
/// Heartbeats that an agent may miss before it counts as offline.
const HEARTBEATS: u32 = 3;
/// Registry records read at one time.
const READ: usize = 500;

/// The service.
pub(crate) struct AgentAdmin {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) catalogs: Catalogs,
    pub(crate) tenants: Tenants,
    pub(crate) heartbeat: Duration,
}

#[tonic::async_trait]
impl AgentAdminService for AgentAdmin {
    async fn list_agents(
        &self,
        request: Request<v1::ListAgentsRequest>,
    ) -> Result<Response<v1::ListAgentsResponse>, Status> {
        let who = principal(&request)?;
        let owner = self.looked_at(who, &request.get_ref().tenant_id).await?;
        let (now, agents) = self.agents().await?;
        let silence = self.heartbeat * HEARTBEATS;
        let own = agents.into_iter().filter(|agent| agent.pool.owner == owner);
        let mut agents: Vec<_> = own.map(|agent| agent.to_proto(now, silence)).collect();
        agents.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(Response::new(v1::ListAgentsResponse { agents }))
    }

    async fn list_pools(
        &self,
        request: Request<v1::ListPoolsRequest>,
    ) -> Result<Response<v1::ListPoolsResponse>, Status> {
        let who = principal(&request)?;
        let owner = self.looked_at(who, &request.get_ref().tenant_id).await?;
        let (now, agents) = self.agents().await?;
        let mut pools = BTreeMap::new();
        if owner != TenantId::PLATFORM {
            let catalog = self.catalogs.fresh(owner).await;
            let catalog = catalog.map_err(OperationError::from)?;
            for compiled in catalog.subscriptions.values() {
                pools.entry(compiled.pool.clone()).or_insert((0, 0)).1 += 1;
            }
        }
        let silence = self.heartbeat * HEARTBEATS;
        for agent in agents {
            let online = agent.state(now, silence) == v1::AgentState::Online;
            let count = u32::from(online);
            if agent.pool.owner == owner {
                pools.entry(agent.pool).or_insert((0, 0)).0 += count;
            } else if let Some(pool) = pools.get_mut(&agent.pool) {
                // A platform-wide pool that the tenant's subscriptions use.
                pool.0 += count;
            }
        }
        let pools = pools.into_iter().map(|(pool, counts)| v1::Pool {
            name: pool.display_name(),
            agents_online: counts.0,
            subscriptions: counts.1,
        });
        let mut pools: Vec<_> = pools.collect();
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Response::new(v1::ListPoolsResponse { pools }))
    }
}

impl AgentAdmin {
    /// Whose agents the caller looks at.
    async fn looked_at(
        &self,
        who: &Principal,
        tenant_id: &str,
    ) -> Result<TenantId, OperationError> {
        match (&who.role, tenant_id) {
            (_, "") => Ok(who.tenant),
            (Role::Operator, text) => {
                let tenant = id(text, "tenant_id")?;
                if self.tenants.has_tenant(tenant).await? {
                    Ok(tenant)
                } else {
                    Err(OperationError::not_found("tenant", tenant))
                }
            }
            _ => {
                let description = "must be empty: only the operator can look at other tenants";
                Err(OperationError::field("tenant_id", description))
            }
        }
    }

    /// Every agent heard of within the last day, and the time.
    async fn agents(&self) -> Result<(Timestamp, Vec<Presence>), OperationError> {
        let now = self.store.now().await?;
        let (mut agents, mut after) = (Vec::new(), Vec::new());
        loop {
            let page = self.store.registry_list(Kind::Agent, &after, READ).await?;
            let Some(last) = page.entries.last() else {
                break;
            };
            after = last.key.to_vec();
            for entry in page.entries {
                let Ok(agent) = Presence::decode(entry.value) else {
                    continue;
                };
                if now.since(agent.last_seen_at) <= SHOWN {
                    agents.push(agent);
                }
            }
            if !page.more {
                break;
            }
        }
        Ok((now, agents))
    }
}
