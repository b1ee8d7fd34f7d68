//! Readiness, and the same as `grpc.health.v1`.

use core::time::Duration;
use std::sync::Arc;

use sidehook_runtime::{
    probe::{Condition, Readiness},
    tasks::{OnPanic, TaskKind, Tasks},
};
use sidehook_store::{Store, port::Durability};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

/// Without it a broken replica keeps its traffic.
const HEALTH: TaskKind = TaskKind::new("health", OnPanic::Abort).background();

/// How often the store is asked whether it answers.
const ASKED: Duration = Duration::from_secs(1);
/// How long it may take to answer.
const ANSWERED: Duration = Duration::from_secs(2);

/// The services of each port, which are healthy together.
pub(super) const API: &[&str] = &[
    "sidehook.v1.WebhookService",
    "sidehook.v1.EventService",
    "sidehook.v1.DeliveryService",
    "sidehook.v1.AgentAdminService",
    "sidehook.v1.AdminService",
];
pub(super) const AGENTS: &[&str] = &["sidehook.agent.v1.AgentService"];
/// How health calls the port as a whole.
const WHOLE: &str = "";

/// Watches the store and the drain, and answers the health services of both ports.
pub(super) fn watch(
    store: &Arc<dyn Store>,
    readiness: &Readiness,
    tasks: &Tasks,
) -> (HealthServer<HealthService>, HealthServer<HealthService>) {
    let (api, agents) = (HealthReporter::new(), HealthReporter::new());
    let service = |reporter: &HealthReporter| {
        HealthServer::new(HealthService::from_health_reporter(reporter.clone()))
    };
    let services = (service(&api), service(&agents));
    let watcher = Watcher {
        store: Arc::clone(store),
        condition: readiness.condition("store"),
        reporters: [(api, API), (agents, AGENTS)],
    };
    metrics::describe_gauge!(
        "sidehook_store_durability",
        "how safely the store keeps what it acknowledged: 0 volatile, 1 relaxed, 2 strict"
    );
    let drain = tasks.drain();
    tasks.spawn(HEALTH, async move {
        tokio::select! {
            () = watcher.watch() => {}
            () = drain.draining() => {}
        }
        watcher.report(ServingStatus::NotServing).await;
    });
    services
}

struct Watcher {
    store: Arc<dyn Store>,
    condition: Condition,
    reporters: [(HealthReporter, &'static [&'static str]); 2],
}

impl Watcher {
    async fn watch(&self) {
        loop {
            let answer = tokio::time::timeout(ANSWERED, self.store.now()).await;
            if matches!(answer, Ok(Ok(_))) {
                self.tell(self.store.durability());
                self.report(ServingStatus::Serving).await;
            } else {
                self.condition.unmet("the store does not answer");
                self.report(ServingStatus::NotServing).await;
            }
            tokio::time::sleep(ASKED).await;
        }
    }

    /// How safely the store keeps things may change with each of its connections.
    fn tell(&self, durability: Durability) {
        let (word, level) = match durability {
            Durability::Volatile => ("volatile", 0.0),
            Durability::Relaxed => ("relaxed", 1.0),
            Durability::Strict => ("strict", 2.0),
        };
        self.condition.met_with(&format!("durability {word}"));
        metrics::gauge!("sidehook_store_durability").set(level);
    }

    async fn report(&self, status: ServingStatus) {
        for (reporter, services) in &self.reporters {
            for service in services.iter().chain([&WHOLE]) {
                reporter.set_service_status(service, status).await;
            }
        }
    }
}
