//! `sidehook agents` and `sidehook pools`.

use serde_json::json;
use sidehook_api::v1::{self, agent_admin_service_client::AgentAdminServiceClient};

use super::{
    Failure, Global,
    channel::{Api, connect},
    render::{list as print, moment, some, word},
    terminal::harmless,
};

/// Commands on agents.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Agents {
    /// List the agents that were connected within the last day
    List {
        /// For operators: the tenant to look at
        #[arg(long)]
        tenant: Option<String>,
    },
}

/// Commands on pools.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Pools {
    /// List the pools that have agents or subscriptions
    List {
        /// For operators: the tenant to look at
        #[arg(long)]
        tenant: Option<String>,
    },
}

/// Says on standard error that nothing delivers `what`, if no agent of `pool` is online.
/// Says nothing where that cannot be learnt: the caller's key may not look at agents.
pub(super) async fn warn_if_deserted(api: &Api, pool: &str, what: &str) {
    let mut client = AgentAdminServiceClient::new(api.clone());
    let Ok(answer) = client.list_pools(v1::ListPoolsRequest::default()).await else {
        return;
    };
    let pools = answer.into_inner().pools;
    let online = pools.iter().find(|known| known.name == pool);
    if online.is_none_or(|pool| pool.agents_online == 0) {
        eprintln!(
            "note: no agent of the pool `{}` is online: {what} until one connects; `sidehook \
             pools list` shows the pools",
            harmless(pool)
        );
    }
}

/// Lists agents.
pub(super) async fn list(tenant: Option<String>, global: &Global) -> Result<(), Failure> {
    let mut client = AgentAdminServiceClient::new(connect(global).await?);
    let request = v1::ListAgentsRequest {
        tenant_id: tenant.unwrap_or_default(),
    };
    let agents = client.list_agents(request).await?.into_inner().agents;
    let state = |agent: &v1::Agent| word(agent.state().as_str_name(), "AGENT_STATE_");
    print(
        global.output,
        &agents,
        |agent| {
            json!({
                "id": agent.id,
                "name": agent.name,
                "pool": agent.pool,
                "version": agent.version,
                "state": state(agent),
                "connected_at": some(moment(agent.connected_at.as_ref())),
                "last_seen_at": some(moment(agent.last_seen_at.as_ref())),
                "in_flight": agent.in_flight,
                "capacity": agent.capacity,
            })
        },
        &[
            "NAME",
            "POOL",
            "STATE",
            "IN FLIGHT",
            "LAST SEEN",
            "VERSION",
            "ID",
        ],
        |agent| {
            vec![
                agent.name.clone(),
                agent.pool.clone(),
                state(agent),
                format!("{} of {}", agent.in_flight, agent.capacity),
                moment(agent.last_seen_at.as_ref()),
                agent.version.clone(),
                agent.id.clone(),
            ]
        },
    )
}

/// Lists pools.
pub(super) async fn pools(tenant: Option<String>, global: &Global) -> Result<(), Failure> {
    let mut client = AgentAdminServiceClient::new(connect(global).await?);
    let request = v1::ListPoolsRequest {
        tenant_id: tenant.unwrap_or_default(),
    };
    let pools = client.list_pools(request).await?.into_inner().pools;
    print(
        global.output,
        &pools,
        |pool| {
            json!({
                "name": pool.name,
                "agents_online": pool.agents_online,
                "subscriptions": pool.subscriptions,
            })
        },
        &["NAME", "AGENTS ONLINE", "SUBSCRIPTIONS"],
        |pool| {
            vec![
                pool.name.clone(),
                pool.agents_online.to_string(),
                pool.subscriptions.to_string(),
            ]
        },
    )
}
