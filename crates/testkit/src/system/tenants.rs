//! Tenants beside the one that every system has.

use sidehook_api::{
    registry::TenantLimits,
    v1::{self, Role},
};

use super::System;
use crate::{client::Client, process::Process};

/// A tenant, and what it shows.
pub struct Tenant {
    /// Its id.
    pub id: String,
    /// An admin's key.
    pub key: String,
    /// The token of its default pool, which its agents present.
    pub token: String,
}

impl System {
    /// A caller with an admin's key of a tenant of its own, which has no agents.
    ///
    /// # Panics
    ///
    /// If the first replica does not make it.
    pub async fn another_tenant(&self, name: &str) -> Client {
        let tenant = self.tenant_named(name).await;
        self.client_of(&tenant, 0)
    }

    /// Makes a tenant.
    ///
    /// # Panics
    ///
    /// If the first replica does not make it.
    pub async fn tenant_named(&self, name: &str) -> Tenant {
        let mut admin = self.operator(0).admin();
        let request = v1::CreateTenantRequest {
            name: name.to_owned(),
            limits: Some(TenantLimits::WIDEST.to_proto()),
            platform: false,
        };
        let tenant = admin.create_tenant(request).await;
        let tenant = tenant.expect("a tenant is made").into_inner().tenant;
        let id = tenant.expect("an answer has its tenant").id;
        let mut secrets = [String::new(), String::new()];
        for (role, secret) in [Role::Admin, Role::Agent].into_iter().zip(&mut secrets) {
            let request = v1::CreateApiKeyRequest {
                tenant_id: id.clone(),
                name: name.to_owned(),
                role: role.into(),
                ..v1::CreateApiKeyRequest::default()
            };
            let answer = admin.create_api_key(request).await;
            *secret = answer.expect("a key is made").into_inner().secret;
        }
        let [key, token] = secrets;
        Tenant { id, key, token }
    }

    /// A caller of this replica with the tenant's key.
    #[must_use]
    pub fn client_of(&self, tenant: &Tenant, replica: usize) -> Client {
        self.caller(replica, &tenant.key)
    }

    /// Starts an agent of the tenant's default pool, as `another_agent` does.
    ///
    /// # Panics
    ///
    /// If the agent's binary is missing.
    #[must_use]
    pub fn agent_of(&self, tenant: &Tenant, name: &str, replica: usize) -> Process {
        let server = self.agents(replica);
        self.launch_agent("sidehook-agent", name, server, &tenant.token)
    }
}
