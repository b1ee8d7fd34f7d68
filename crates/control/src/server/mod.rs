//! The control plane as a whole: composed, listening, and ending in order.
//!
//! | port | who comes | services |
//! |---|---|---|
//! | `grpc` | people, publishers, operators | the five public ones |
//! | `agents` | agents | `AgentService` |
//! | `http` | the operator's machinery | `/metrics`, `/healthz`, `/readyz` |
//!
//! Health and reflection are on both gRPC ports. Agents have a port of their own
//! because it faces other networks: it can be firewalled, balanced and certified apart
//! from the API, and a flood on one is not a flood on the other. Both stand behind the
//! same guard.
//!
//! Readiness has one condition, that the store answers; `grpc.health.v1` shows the
//! same. On a drain both say "not serving" at once, the ports close, streams are told,
//! and what is under way is finished. No peer can hold that up: a connection on which
//! nothing is under way for a known caller closes, and each does before the grace ends.

mod config;
mod connection;
mod health;
mod reflection;

use core::{future::Future, time::Duration};
use std::{io, net::SocketAddr, sync::Arc};

use futures_util::StreamExt as _;
use sidehook_api::{
    agent_v1::agent_service_server::AgentServiceServer,
    v1::{
        admin_service_server::AdminServiceServer,
        agent_admin_service_server::AgentAdminServiceServer,
        delivery_service_server::DeliveryServiceServer, event_service_server::EventServiceServer,
        webhook_service_server::WebhookServiceServer,
    },
};
use sidehook_core::limits::FRAME_BYTES;
use sidehook_runtime::{
    listen::{ListenConfig, ListenError, Listener, Protocol},
    probe::{Metrics, Probe, Readiness},
    tasks::{OnPanic, TaskKind, Tasks},
};
use sidehook_store::{Store, StoreError};
use tonic::{codec::CompressionEncoding, service::Routes, transport::Server};

pub use config::ControlPlaneConfig;

use self::{connection::Accepted, reflection::reflected};
use crate::{
    allowances::{Allowances, Defaults},
    auth::{
        Authenticator, FixedKey, Guarded,
        tokens::{KeySourceError, Tokens as BearerTokens},
    },
    catalog::Catalogs,
    deliveries::Deliveries,
    engine::Engine,
    eventlog::EventLog,
    rates::Rates,
    sealing::{AgreeError, ParseSealingKeyError, Sealer},
    services::{
        admin::Admin, agents::AgentAdmin, deliveries::DeliveryApi, events::Events,
        publishing::Publishing, webhooks::Webhooks,
    },
    subscriptions::Subscriptions,
    tenants::Tenants,
    users::Users,
};

/// A service with our message limits that takes compressed requests. Answers are not
/// compressed: most are small, and the processor's time is dearer than the network's.
macro_rules! sized {
    ($service:expr) => {
        $service
            .max_decoding_message_size(FRAME_BYTES)
            .max_encoding_message_size(FRAME_BYTES)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
    };
}

/// Without it nobody can call.
const API: TaskKind = TaskKind::new("grpc_api", OnPanic::Abort);
/// Without it nothing is delivered.
const AGENTS: TaskKind = TaskKind::new("grpc_agents", OnPanic::Abort);

/// Streams on one connection at one time.
const STREAMS: u32 = 1_024;
/// Flow-control window of a connection and of a stream, in bytes.
const WINDOWS: (u32, u32) = (8 * 1024 * 1024, 2 * 1024 * 1024);
/// How often a silent connection is asked for a sign of life, and how long for.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// Bytes of a request's headers.
const HEADER_BYTES: u32 = 16 * 1024;
/// Resets that a peer may provoke on one connection before it is closed.
const RESETS: usize = 1_024;

/// Why the control plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The sealing key is not one.
    #[error("sealing_key: {0}")]
    SealingKey(#[from] ParseSealingKeyError),
    /// The other servers of the store have another sealing key, or it did not tell.
    #[error(transparent)]
    Agreement(#[from] AgreeError),
    /// The keys of bearer tokens are where none can be read.
    #[error("jwt: {0}")]
    TokenKeys(#[from] KeySourceError),
    /// A port cannot be served.
    #[error("{section}: {source}")]
    Listen {
        /// The section of the configuration that names it: `grpc`, `agents` or `http`.
        section: &'static str,
        /// Why not.
        source: ListenError,
    },
    /// Certificates cannot be watched.
    #[error("cannot serve: {0}")]
    Serve(#[from] io::Error),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The descriptors that reflection shows are not valid.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// The public services behind their guard, as the `grpc` port serves them: for callers
/// in this process, which give a credential like any other.
pub type ApiService = Guarded<Routes>;

/// A running control plane; it runs as long as its tasks do.
#[derive(Debug)]
pub struct ControlPlane {
    /// What the `grpc` port serves, without the port.
    pub api: ApiService,
    /// Where people and publishers connect.
    pub grpc: SocketAddr,
    /// Where agents connect.
    pub agents: SocketAddr,
    /// Where the probes are.
    pub http: SocketAddr,
    /// Tenants and keys, for a program that sets a ready-made system up.
    pub tenants: Tenants,
    /// Whether it is ready for work.
    pub readiness: Readiness,
}

/// What both ports are composed of.
struct Composed {
    api: Routes,
    agents: Routes,
    authenticator: Arc<Authenticator>,
    rates: Rates,
    tenants: Tenants,
}

impl ControlPlane {
    /// Starts a control plane over `store`. It ends when `tasks` drain.
    ///
    /// # Errors
    /// [`StartError`]; nothing is served then.
    pub async fn start(
        config: ControlPlaneConfig,
        store: Arc<dyn Store>,
        metrics: Metrics,
        tasks: &Tasks,
    ) -> Result<Self, StartError> {
        let grpc = bind("grpc", &config.grpc).await?;
        let agents = bind("agents", &config.agents).await?;
        let readiness = Readiness::new(tasks.drain());
        let composed = compose(&config, &store, tasks).await?;
        let (api_health, agents_health) = health::watch(&store, &readiness, tasks);
        let authenticator = composed.authenticator;
        let api = reflected(composed.api.add_service(api_health), health::API)?;
        let api = Guarded::new(api.prepare(), Arc::clone(&authenticator)).limited(composed.rates);
        let probe = Probe::new(readiness.clone(), metrics);
        let handle = Self {
            api: api.clone(),
            grpc: grpc.local_addr(),
            agents: agents.local_addr(),
            http: probe
                .serve(config.http, tasks)
                .await
                .map_err(|error| StartError::Listen {
                    section: "http",
                    source: ListenError::Bind(config.http, error),
                })?,
            tenants: composed.tenants,
            readiness,
        };
        let patience = config.drain_timeout * 5 / 6;
        let identifies = !config.identities.is_empty();
        tasks.spawn(API, serve("grpc", grpc, api, patience, identifies, tasks)?);
        let routes = reflected(composed.agents.add_service(agents_health), health::AGENTS)?;
        let routes = Guarded::new(routes.prepare(), authenticator);
        let served = serve("agents", agents, routes, patience, false, tasks)?;
        tasks.spawn(AGENTS, served);
        let (grpc, agents, http) = (handle.grpc, handle.agents, handle.http);
        tracing::info!(%grpc, %agents, %http, "the control plane serves");
        Ok(handle)
    }
}

async fn bind(section: &'static str, config: &ListenConfig) -> Result<Listener, StartError> {
    let listener = Listener::bind(section, config.clone(), Protocol::HTTP2).await;
    listener.map_err(|source| StartError::Listen { section, source })
}

async fn compose(
    config: &ControlPlaneConfig,
    store: &Arc<dyn Store>,
    tasks: &Tasks,
) -> Result<Composed, StartError> {
    let store = || Arc::clone(store);
    let sealer = Arc::new(Sealer::parse(&config.sealing_key)?);
    sealer.agree(&*store()).await?;
    let catalogs = Catalogs::new(store(), Arc::clone(&sealer));
    catalogs.follow_hints(tasks);
    let longest = config.longest_total();
    let defaults = Defaults {
        budget: config.dispatch.tenant_budget,
        event_bytes: config.event_bytes,
    };
    let allowances = Allowances::new(store(), defaults);
    let subscriptions = Subscriptions::new(
        store(),
        catalogs.clone(),
        allowances.clone(),
        sealer,
        longest,
    );
    let engine = Engine::start(
        config.dispatch.clone(),
        store(),
        catalogs.clone(),
        allowances.clone(),
        Arc::new(subscriptions.clone()),
        tasks,
    )
    .await?;
    let tenants = Tenants::new(store());
    let publishing = Publishing::new(engine.clone(), allowances.clone(), store());
    let webhooks = Webhooks {
        subscriptions: subscriptions.clone(),
        publishing: publishing.clone(),
        log: EventLog::new(store()),
    };
    let events = Events {
        publishing,
        log: EventLog::new(store()),
        tasks: tasks.clone(),
    };
    let deliveries = DeliveryApi {
        deliveries: Deliveries::new(store(), catalogs.clone()),
        subscriptions,
        catalogs: catalogs.clone(),
        engine: engine.clone(),
        tasks: tasks.clone(),
    };
    let agents = AgentAdmin {
        store: store(),
        catalogs,
        tenants: tenants.clone(),
        heartbeat: config.dispatch.heartbeat,
    };
    let admin = Admin {
        tenants: tenants.clone(),
        allowances: allowances.clone(),
        users: Users::new(store()),
    };
    Ok(Composed {
        api: api_routes(webhooks, events, deliveries, agents, admin),
        agents: Routes::new(sized!(AgentServiceServer::new(engine.agents()))),
        authenticator: Arc::new(authenticator(config, store(), tasks)?),
        rates: Rates::start(store(), allowances, tasks),
        tenants,
    })
}

fn api_routes(
    webhooks: Webhooks,
    events: Events,
    deliveries: DeliveryApi,
    agents: AgentAdmin,
    admin: Admin,
) -> Routes {
    Routes::new(sized!(WebhookServiceServer::new(webhooks)))
        .add_service(sized!(EventServiceServer::new(events)))
        .add_service(sized!(DeliveryServiceServer::new(deliveries)))
        .add_service(sized!(AgentAdminServiceServer::new(agents)))
        .add_service(sized!(AdminServiceServer::new(admin)))
}

fn authenticator(
    config: &ControlPlaneConfig,
    store: Arc<dyn Store>,
    tasks: &Tasks,
) -> Result<Authenticator, StartError> {
    let tokens = config.jwt.as_ref().map(BearerTokens::new).transpose()?;
    let tokens = tokens.map(Arc::new);
    if let Some(tokens) = &tokens {
        tokens.follow(tasks);
    }
    let identities = config.identities.clone();
    let authenticator = Authenticator::new(store, fixed_keys(config));
    Ok(authenticator
        .with_tokens(tokens)
        .with_identities(identities))
}

fn fixed_keys(config: &ControlPlaneConfig) -> Vec<FixedKey> {
    let operator = config.operator_key.as_ref().map(FixedKey::operator);
    let pool = config.pool_token.as_ref();
    let pool = pool.map(|token| FixedKey::platform_pool(token, "default".to_owned()));
    operator.into_iter().chain(pool).collect()
}

/// The future that serves a port until the drain, and then what is under way there, for
/// as long as `patience`. With `identifies` a client certificate is a credential there:
/// the agents' port may have other authorities, who name other bearers.
fn serve(
    name: &'static str,
    listener: Listener,
    service: Guarded<Routes>,
    patience: Duration,
    identifies: bool,
    tasks: &Tasks,
) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let incoming = listener.incoming(tasks)?;
    let (drain, trigger) = (tasks.drain(), tasks.trigger().clone());
    let watched = drain.clone();
    let connections = incoming.map(move |accepted| {
        let watched = watched.clone();
        accepted.map(|connection| Accepted::new(connection, watched, patience, identifies))
    });
    let server = Server::builder()
        .max_concurrent_streams(STREAMS)
        .initial_connection_window_size(WINDOWS.0)
        .initial_stream_window_size(WINDOWS.1)
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .http2_max_header_list_size(HEADER_BYTES)
        .http2_max_local_error_reset_streams(Some(RESETS));
    Ok(async move {
        let draining = async move { drain.draining().await };
        let served = server.serve_with_incoming_shutdown(service, connections, draining);
        if let Err(error) = served.await {
            trigger.fail(format!("the {name} port is served no longer: {error}"));
        }
    })
}
