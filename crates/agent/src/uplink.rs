//! The connection to the control plane: dialled, kept, and dialled again.
//!
//! | state      | event                                  | next |
//! |------------|----------------------------------------|------|
//! | waiting    | back-off over                          | dialling |
//! | dialling   | connected                              | [`session`] |
//! | dialling   | failed, or ten seconds are over        | waiting |
//! | session    | lost, stuck, refused, protocol error   | waiting |
//! | session    | the control plane asked to move        | dialling, without waiting |
//! | any        | draining and everything settled        | (done) |
//!
//! The wait is drawn from half a second up to 30; it begins anew once a session was accepted.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier;
use secrecy::{ExposeSecret as _, SecretString};
use sidehook_api::agent_v1::agent_service_client::AgentServiceClient;
use sidehook_core::limits::FRAME_BYTES;
use sidehook_runtime::backoff::Backoff;
use sidehook_runtime::build_info;
use sidehook_runtime::drain::Drain;
use sidehook_runtime::probe::Condition;
use sidehook_runtime::span::rough;
use sidehook_session::agent_end::AgentEnd;
use tokio::time::timeout;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::clock::Clock;
use crate::engine::{Engine, Outcome};
use crate::frames::Introduction;
use crate::identity::Identity;
use crate::metrics::SessionMetrics;
use crate::session::{self, End};

/// How long connecting may take.
const DIAL_WITHIN: Duration = Duration::from_secs(10);
/// A silent connection is asked this often whether it lives, and has as long to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How much may be under way to us: several of the largest frames.
const WINDOW_BYTES: u32 = 4 * FRAME_BYTES as u32;

/// Why the control plane cannot be dialled at all.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The URL or its TLS is not usable.
    #[error("server: {0}")]
    Endpoint(#[from] tonic::transport::Error),
    /// The token cannot be sent.
    #[error("token: holds characters that a header cannot carry")]
    Token,
}

/// Where to dial, and what to show there.
pub(crate) struct Dial {
    endpoint: Endpoint,
    authorization: MetadataValue<Ascii>,
}

impl Dial {
    pub(crate) fn new(
        server: &url::Url,
        token: &SecretString,
        verifier: Option<Arc<dyn ServerCertVerifier>>,
    ) -> Result<Self, DialError> {
        let mut endpoint = Endpoint::from_shared(server.to_string())?
            .user_agent(build_info::product("sidehook-agent"))?
            .connect_timeout(DIAL_WITHIN)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .initial_connection_window_size(WINDOW_BYTES)
            .initial_stream_window_size(WINDOW_BYTES);
        if let Some(verifier) = verifier {
            endpoint = endpoint.tls_config_with_verifier(ClientTlsConfig::new(), verifier)?;
        }
        let bearer = format!("Bearer {}", token.expose_secret());
        let mut authorization = MetadataValue::try_from(bearer).map_err(|_| DialError::Token)?;
        authorization.set_sensitive(true);
        Ok(Self {
            endpoint,
            authorization,
        })
    }

    async fn connect(&self) -> Result<AgentServiceClient<Channel>, End> {
        let channel = match timeout(DIAL_WITHIN, self.endpoint.connect()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(End::lost(chain(&error))),
            Err(_) => return Err(End::lost(format!("no connection within {DIAL_WITHIN:?}"))),
        };
        // Room for what frames a frame; the control plane keeps to the limit itself.
        let limit = FRAME_BYTES + FRAME_BYTES / 4;
        Ok(AgentServiceClient::new(channel)
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit))
    }

    pub(crate) fn authorization(&self) -> MetadataValue<Ascii> {
        self.authorization.clone()
    }
}

/// An error with its causes: the outermost alone says only "transport error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

/// Everything that outlives a connection.
pub(crate) struct Uplink {
    pub(crate) dial: Dial,
    pub(crate) introduction: Introduction,
    pub(crate) identity: Identity,
    pub(crate) end: AgentEnd<Outcome>,
    pub(crate) engine: Engine,
    pub(crate) clock: Clock,
    pub(crate) drain: Drain,
    pub(crate) metrics: SessionMetrics,
    /// Met while a session is accepted.
    pub(crate) connected: Option<Condition>,
}

impl Uplink {
    /// Serves until the drain is through.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::reconnect();
        loop {
            if self.drain.is_draining() {
                self.engine.drain();
                if self.is_settled() {
                    return;
                }
            }
            let end = match self.dial_unless_settled().await {
                Some(Ok(client)) => session::run(&mut self, client, &mut backoff).await,
                Some(Err(end)) => end,
                None => continue,
            };
            self.end.disconnect();
            self.metrics.connected(false);
            match end {
                End::Settled => return,
                End::Move => tracing::info!("moving to another control plane"),
                End::Lost { reason } => {
                    if let Some(connected) = &self.connected {
                        connected.unmet(&reason);
                    }
                    let wait = backoff.next(rand::random());
                    tracing::warn!(reason, retry_in = ?rough(wait), "not connected to the control plane");
                    self.wait(wait).await;
                }
            }
        }
    }

    /// Whether nothing is owed to the control plane.
    pub(crate) fn is_settled(&self) -> bool {
        self.end.is_settled() && self.engine.outcomes().len() == 0
    }

    /// `None` if the drain began and there is nothing to come back for.
    async fn dial_unless_settled(&mut self) -> Option<Result<AgentServiceClient<Channel>, End>> {
        let is_idle = self.is_settled() && !self.drain.is_draining();
        tokio::select! {
            client = self.dial.connect() => Some(client),
            () = self.drain.draining(), if is_idle => None,
        }
    }

    async fn wait(&self, wait: Duration) {
        let is_draining = self.drain.is_draining();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.drain.draining(), if !is_draining => {}
        }
    }
}
