//! Where connections lead, and the ones that rest.
//!
//! An endpoint is an authority and a way of TLS; subscriptions with the same share its idle connections. The last one
//! that was used is taken first, so that what a burst opened grows old together and is closed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use url::Host;

use super::connection::Connection;

/// How long a connection may rest if the receiver does not say.
const IDLE: Duration = Duration::from_secs(20);
/// The longest that a receiver's word is believed.
const IDLE_MAX: Duration = Duration::from_secs(90);
/// Taken off a receiver's word: the network is in between.
const IDLE_MARGIN: Duration = Duration::from_secs(1);
/// Endpoints that are always kept before the unused ones are looked for.
const SWEEP_FROM: usize = 64;

/// What tells endpoints apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct EndpointKey {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) tls: Tls,
}

/// How TLS is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Tls {
    /// Not at all.
    Off,
    /// The certificate must be valid.
    Verify,
    /// Any certificate will do.
    Trust,
}

/// One place to connect to.
pub(crate) struct Endpoint {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) tls: Tls,
    /// The name for SNI and for the certificate.
    pub(super) server_name: Option<ServerName<'static>>,
    idle: Mutex<Vec<(Connection, Duration)>>,
}

impl Endpoint {
    fn new(key: EndpointKey) -> Self {
        let server_name = match &key.host {
            Host::Domain(name) => ServerName::try_from(name.clone()).ok(),
            Host::Ipv4(address) => Some(ServerName::from(std::net::IpAddr::V4(*address))),
            Host::Ipv6(address) => Some(ServerName::from(std::net::IpAddr::V6(*address))),
        };
        Self {
            host: key.host,
            port: key.port,
            tls: key.tls,
            server_name,
            idle: Mutex::default(),
        }
    }

    /// The youngest connection that rests here.
    pub(super) fn take_idle(&self, now: Duration) -> Option<Connection> {
        let mut idle = self.idle.lock();
        while let Some((connection, until)) = idle.pop() {
            if now < until && connection.is_open() {
                return Some(connection);
            }
        }
        None
    }

    /// Lets a connection rest for as long as the receiver allows.
    pub(super) fn rest(&self, connection: Connection, allowed: Option<Duration>, now: Duration) {
        let allowed = allowed.map_or(IDLE, |allowed| {
            allowed.saturating_sub(IDLE_MARGIN).min(IDLE_MAX)
        });
        if !allowed.is_zero() && connection.is_open() {
            self.idle.lock().push((connection, now + allowed));
        }
    }

    /// Closes connections that rested long enough.
    fn close_old(&self, now: Duration) {
        self.idle
            .lock()
            .retain(|(connection, until)| now < *until && connection.is_open());
    }
}

/// All endpoints of the agent.
#[derive(Default)]
pub(super) struct Endpoints(Mutex<HashMap<EndpointKey, Arc<Endpoint>>>);

impl Endpoints {
    /// The endpoint with this key, which is made if there is none.
    pub(super) fn get(&self, key: EndpointKey) -> Arc<Endpoint> {
        let mut all = self.0.lock();
        Arc::clone(
            all.entry(key.clone())
                .or_insert_with(|| Arc::new(Endpoint::new(key))),
        )
    }

    /// Closes old connections, and forgets endpoints that no settings name any more.
    pub(super) fn sweep(&self, now: Duration) {
        let mut all = self.0.lock();
        for endpoint in all.values() {
            endpoint.close_old(now);
        }
        if all.len() > SWEEP_FROM {
            all.retain(|_, endpoint| Arc::strong_count(endpoint) > 1);
        }
    }
}
