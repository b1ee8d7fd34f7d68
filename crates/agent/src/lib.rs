//! The agent: sits in the receivers' network, dials out, signs and POSTs.
//!
//! * [`config`]: what it is told. [`egress`]: where it may connect, which nobody else can tell it.
//! * `uplink`, `session`, `frames`: the stream to the control plane; its rules are `sidehook-session`'s.
//! * `engine`: deliveries in, outcomes out. `rendering`: what a POST says of its event.
//! * `identity`, `trust`: who it is, and whose certificates it believes.
//!
//! It opens no port but an optional one for health and metrics, knows no store, and keeps nothing but its identity:
//! what it holds is lent, and comes back when it dies.

pub mod config;
pub mod egress;

mod clock;
mod engine;
mod frames;
mod identity;
mod metrics;
mod rendering;
mod session;
mod trust;
mod uplink;

use sidehook_runtime::drain::Drain;
use sidehook_runtime::probe::Condition;
use sidehook_runtime::tasks::Tasks;
use sidehook_session::agent_end::AgentEnd;

pub use config::AgentConfig;
pub use identity::IdentityError;
pub use trust::TrustError;
pub use uplink::DialError;

use crate::metrics::SessionMetrics;
use clock::Clock;
use engine::Engine;
use frames::Introduction;
use identity::Identity;
use trust::ReceiverTls;
use uplink::{Dial, Uplink};

/// Why an agent does not start. Everything that can go wrong later is tried again instead.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No connection could be trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The control plane cannot be dialled.
    #[error(transparent)]
    Dial(#[from] DialError),
}

/// An agent that is ready to run.
pub struct Agent {
    uplink: Uplink,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").finish_non_exhaustive()
    }
}

impl Agent {
    /// Makes everything ready that can fail. `connected` is met while the control plane has accepted a session. Must
    /// be called within a Tokio runtime.
    ///
    /// # Errors
    /// The configuration cannot work on this machine.
    pub fn new(
        config: AgentConfig,
        drain: Drain,
        tasks: Tasks,
        connected: Option<Condition>,
    ) -> Result<Self, StartError> {
        let identity = match &config.state_dir {
            Some(directory) => Identity::kept(directory)?,
            None => Identity::ephemeral(),
        };
        let verifier = match config.server.scheme() {
            "https" => Some(trust::server_verifier(config.ca_file.as_deref())?),
            _ => None,
        };
        let dial = Dial::new(&config.server, &config.token, verifier)?;
        let tls = ReceiverTls::load(config.egress_ca_file.as_deref())?;
        let clock = Clock::start();
        tracing::info!(identity = %identity.id, name = config.name, server = %config.server, capacity = config.capacity,
            "starting");
        let introduction = Introduction {
            agent_id: identity.id.to_bytes(),
            boot_id: rand::random(),
            name: config.name,
            capacity_bytes: config.capacity_bytes,
        };
        let engine = Engine::new(clock, config.egress, tls, config.local_keys, tasks);
        let uplink = Uplink {
            dial,
            introduction,
            end: AgentEnd::new(config.capacity, identity.left_behind.clone()),
            identity,
            engine,
            clock,
            drain,
            metrics: SessionMetrics::new(),
            connected,
        };
        Ok(Self { uplink })
    }

    /// Delivers until the drain is through: everything in flight has ended, what had not begun is handed back, and the
    /// control plane has acknowledged every outcome. The caller sets the end of its patience.
    pub async fn run(self) {
        self.uplink.run().await;
    }
}
