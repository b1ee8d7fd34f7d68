//! A tenant of its own on a system that the tests of a file share.
//!
//! What a test does in its tenant no other sees. The system lives as long as some test
//! uses it, and is started again if one comes later: a value in a static would never be
//! dropped, and its processes would outlive the tests.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sidehook_api::v1::{self, Role};
use tokio::sync::Mutex;

use crate::{
    client::Client,
    http::Http,
    process::{Process, within},
    receiver::{Received, Receiver},
    system::{System, Tenant},
};

/// How long something may take that must come.
const PATIENCE: Duration = Duration::from_secs(30);

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

    /// Publishes events, and answers how many subscriptions each matched.
    ///
    /// # Panics
    ///
    /// If one is not accepted.
    pub async fn publish(&self, events: Vec<v1::Event>) -> Vec<u32> {
        let results = self.client.publish(events).await.expect("published");
        let matched = results.iter().map(|result| {
            assert_eq!(result.error, None);
            result.matched
        });
        matched.collect()
    }

    /// The next request that a receiver gets, for this event.
    ///
    /// # Panics
    ///
    /// If it gets none within 30 s.
    pub async fn sent(&self, receiver: &Receiver, event: v1::Event) -> Received {
        let before = receiver.count();
        self.publish(vec![event]).await;
        assert!(
            receiver.wait_for(before + 1, PATIENCE).await,
            "nothing came"
        );
        receiver.received().swap_remove(before)
    }

    /// Watches the tenant's deliveries from now on.
    ///
    /// # Panics
    ///
    /// If the watch is refused.
    pub async fn watch(&self) -> Watch {
        let request = v1::WatchDeliveriesRequest::default();
        let mut client = self.client.deliveries();
        let answer = client.watch_deliveries(request).await.expect("a watch");
        let mut stream = answer.into_inner();
        let on = stream.message().await.expect("a stream");
        assert!(on.is_some(), "the watch is on");
        Watch(stream)
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

/// Tells of a tenant's deliveries.
pub struct Watch(tonic::Streaming<v1::WatchDeliveriesResponse>);

impl Watch {
    /// A delivery as it is after its next attempt.
    ///
    /// # Panics
    ///
    /// If there is none within 30 s.
    pub async fn attempted(&mut self) -> v1::Delivery {
        let next = async {
            loop {
                let seen = self.0.message().await.expect("a stream");
                let delivery = seen.expect("no end").delivery.expect("a delivery");
                if !delivery.attempts.is_empty() {
                    return delivery;
                }
            }
        };
        within(PATIENCE, "an attempt", next).await
    }
}

/// The value of `Authorization` for HTTP Basic.
#[must_use]
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}
