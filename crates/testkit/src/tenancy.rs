//! A tenant of its own on a system that the tests of a file share.
//!
//! What a test does in its tenant no other sees. The system lives as long as some test
//! uses it, and is started again if one comes later: a value in a static would never be
//! dropped, and its processes would outlive the tests.

use std::sync::{Arc, Weak};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sidehook_api::v1::{self, Role};
use tokio::sync::Mutex;

use crate::{
    client::Client,
    http::Http,
    process::Process,
    system::{System, Tenant},
};

static SHARED: Mutex<Weak<System>> = Mutex::const_new(Weak::new());

/// A tenant, and its callers of each API. Agents and tenants end before the system.
pub struct Tenancy {
    _agent: Option<Process>,
    /// The tenant.
    pub tenant: Tenant,
    /// A caller of the native API with an admin's key.
    pub client: Client,
    /// The system.
    pub system: Arc<System>,
}

impl Tenancy {
    /// A tenant without an agent: nothing is delivered.
    ///
    /// # Panics
    ///
    /// If a part does not come up.
    pub async fn quiet() -> Self {
        let mut shared = SHARED.lock().await;
        let system = if let Some(running) = shared.upgrade() {
            running
        } else {
            let builder = System::builder().embedded().without_agent();
            let started = Arc::new(builder.start().await);
            *shared = Arc::downgrade(&started);
            started
        };
        drop(shared);
        let tenant = system.tenant_named("a tenant").await;
        Self {
            _agent: None,
            client: system.client_of(&tenant, 0),
            tenant,
            system,
        }
    }

    /// A tenant with an agent in its default pool.
    ///
    /// # Panics
    ///
    /// If a part does not come up.
    pub async fn delivering() -> Self {
        let quiet = Self::quiet().await;
        let name = format!("agent-{}", quiet.tenant.id);
        Self {
            _agent: Some(quiet.system.agent_of(&quiet.tenant, &name, 0)),
            ..quiet
        }
    }

    /// A further key of the tenant.
    ///
    /// # Panics
    ///
    /// If it is not made.
    pub async fn key(&self, role: Role) -> String {
        let request = v1::CreateApiKeyRequest {
            tenant_id: self.tenant.id.clone(),
            name: "another".to_owned(),
            role: role.into(),
            ..v1::CreateApiKeyRequest::default()
        };
        let mut admin = self.system.operator(0).admin();
        let answer = admin.create_api_key(request).await;
        answer.expect("a key is made").into_inner().secret
    }

    /// A caller of the gateway without a credential.
    #[must_use]
    pub fn anonymous(&self) -> Http {
        Http::anonymous(self.system.gateway(0))
    }

    /// A caller as Close's clients are, with the admin's key: HTTP Basic, the key as user
    /// name.
    #[must_use]
    pub fn close(&self) -> Http {
        self.close_with(&self.tenant.key)
    }

    /// As `close`, with another key.
    #[must_use]
    pub fn close_with(&self, key: &str) -> Http {
        self.anonymous().authorized(&basic(key, ""))
    }

    /// A caller as Collect's clients are, with the admin's key: HTTP Basic, no user name,
    /// the key as password.
    #[must_use]
    pub fn collect(&self) -> Http {
        self.collect_with(&self.tenant.key)
    }

    /// As `collect`, with another key.
    #[must_use]
    pub fn collect_with(&self, key: &str) -> Http {
        self.anonymous().authorized(&basic("", key))
    }

    /// A caller as Hookshot's clients are, with the admin's key: a bearer token.
    #[must_use]
    pub fn hookshot(&self) -> Http {
        self.hookshot_with(&self.tenant.key)
    }

    /// As `hookshot`, with another key.
    #[must_use]
    pub fn hookshot_with(&self, key: &str) -> Http {
        self.anonymous().authorized(&format!("Bearer {key}"))
    }
}

/// The value of `Authorization` for HTTP Basic.
#[must_use]
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}
