//! An engine with a lease, and what a test needs to give it jobs and to wait for outcomes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;
use sidehook_api::agent_v1::{SigningScheme, SigningSettings, SubscriptionSettings};
use sidehook_api::v1;
use sidehook_core::address::DeliveryId;
use sidehook_core::id::{SubscriptionId, TenantId};
use sidehook_core::outcome::OutcomeKind;
use sidehook_runtime::drain;
use sidehook_runtime::tasks::Tasks;
use sidehook_session::agent_end::{AgentEnd, Lease, Report};

use crate::clock::Clock;
use crate::egress::Egress;
use crate::engine::{Engine, Job, Outcome};
use crate::rendering::Rendering;
use crate::trust::ReceiverTls;

pub(super) const OPEN: Egress = Egress {
    allow_private: true,
    allow_loopback: true,
};
const TERM: Duration = Duration::from_secs(3_600);
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Rig {
    pub(super) tasks: Tasks,
    pub(super) engine: Engine,
    end: AgentEnd<Outcome>,
    clock: Clock,
    leases: u32,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(OPEN, None)
    }

    pub(super) fn with(egress: Egress, ca_file: Option<&Path>) -> Self {
        let tasks = Tasks::new(drain::channel().0);
        let clock = Clock::start();
        let tls = ReceiverTls::load(ca_file).expect("authorities");
        let key =
            SecretString::from("058bfb6a3d8cfdc4da7c3be5901b16ae11da982b46a25fb2cd7016e97a140a1c");
        let keys = HashMap::from([("billing".to_owned(), key)]);
        let engine = Engine::new(clock, egress, tls, keys, tasks.clone());
        let mut end = AgentEnd::new(100_000, Vec::new());
        end.connect(1, clock.now());
        end.welcome(TERM, TERM, &[], clock.now())
            .expect("the first");
        Self {
            tasks,
            engine,
            end,
            clock,
            leases: 0,
        }
    }

    pub(super) fn lease(&mut self, deliveries: u32) -> Lease {
        self.leases += 1;
        let id = Bytes::from(self.leases.to_be_bytes().to_vec());
        let lease = self
            .end
            .assign(&id, 1, deliveries, Duration::ZERO, self.clock.now());
        lease.expect("within the credit").expect("not empty")
    }

    /// Submits `count` deliveries of one event.
    pub(super) fn submit(&mut self, settings: &SubscriptionSettings, count: u32) -> Lease {
        let lease = self.lease(count);
        self.submit_under(&lease, settings, count);
        lease
    }

    pub(super) fn submit_under(
        &mut self,
        lease: &Lease,
        settings: &SubscriptionSettings,
        count: u32,
    ) {
        let prepared = self.engine.prepare(settings.clone());
        let part = Rendering::of(event()).part(prepared.wants(), &settings.tenant_id);
        let job = |position: u32| {
            let id = DeliveryId::from_bits(position.into());
            Job::new(
                lease.clone(),
                position,
                1,
                id,
                Some(part.clone()),
                Arc::clone(&prepared),
            )
        };
        let jobs = (0..count).map(job).collect();
        self.engine.submit(jobs);
    }

    /// Submits a delivery whose event could not be read.
    pub(super) fn submit_unreadable(&mut self, settings: &SubscriptionSettings) {
        let job = self.job(settings);
        self.engine.submit(vec![job]);
    }

    /// A delivery without an event, not submitted.
    pub(super) fn job(&mut self, settings: &SubscriptionSettings) -> Job {
        let lease = self.lease(1);
        let prepared = self.engine.prepare(settings.clone());
        Job::new(lease, 0, 1, DeliveryId::from_bits(0), None, prepared)
    }

    /// The control plane says that the lease is gone.
    pub(super) fn end_lease(&mut self, lease: &Lease) {
        let stamp = self.end.stamp(self.clock.now());
        let dead = [lease.id().clone()];
        self.end.renewed(stamp, &[], &dead).expect("in order");
    }

    /// Waits until so many outcomes are there, and takes them.
    pub(super) async fn outcomes(&self, count: usize) -> Vec<Report<Outcome>> {
        let arrived = wait_for(|| self.engine.outcomes().len() >= count).await;
        let outcomes = self.engine.outcomes().take();
        assert!(arrived, "{} of {count} outcomes", outcomes.len());
        assert_eq!(outcomes.len(), count);
        outcomes
    }

    /// Makes one attempt.
    pub(super) async fn post(&mut self, settings: &SubscriptionSettings) -> Outcome {
        self.submit(settings, 1);
        self.outcomes(1).await.remove(0).outcome
    }

    pub(super) async fn kind_of(&mut self, settings: &SubscriptionSettings) -> OutcomeKind {
        self.post(settings).await.kind
    }
}

/// Whether the condition came true in time.
pub(super) async fn wait_for(condition: impl Fn() -> bool) -> bool {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.is_ok()
}

pub(super) fn event() -> v1::Event {
    v1::Event {
        id: "ev_1".into(),
        object_type: "lead".into(),
        action: "created".into(),
        data: r#"{"name": "KLine"}"#.into(),
        ..Default::default()
    }
}

pub(super) fn settings(url: &str) -> SubscriptionSettings {
    SubscriptionSettings {
        key: 1,
        subscription_id: subscription_id(url).to_string(),
        url: url.to_owned(),
        verify_ssl: true,
        dns_timeout_ms: 2_000,
        connect_timeout_ms: 2_000,
        total_timeout_ms: 10_000,
        max_in_flight: 64,
        signing: Some(SigningSettings {
            scheme: SigningScheme::Unsigned.into(),
            ..Default::default()
        }),
        tenant_id: TenantId::from_bits(1).to_string(),
        ..Default::default()
    }
}

/// Another for every URL, always the same for one.
fn subscription_id(url: &str) -> SubscriptionId {
    let mut hasher = DefaultHasher::new();
    url.hash(&mut hasher);
    SubscriptionId::from_bits(hasher.finish().into())
}
