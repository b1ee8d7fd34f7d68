//! Opening a connection: look-up, egress rules, TCP, TLS; each under its own time limit.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sidehook_core::outcome::OutcomeKind;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use url::Host;

use super::connection::Connection;
use super::endpoint::{Endpoint, Tls};
use super::failure::Failure;
use super::lookup::LookUps;
use crate::egress::Egress;
use crate::trust::ReceiverTls;

/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Opens connections.
pub(super) struct Connector {
    pub(super) egress: Egress,
    pub(super) tls: ReceiverTls,
    pub(super) look_ups: LookUps,
}

/// Time limits of one attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Of the look-up.
    pub(super) dns: Duration,
    /// Of TCP and TLS together.
    pub(super) connect: Duration,
    /// Of everything.
    pub(super) total: Duration,
}

impl Connector {
    /// A connection to `endpoint` for an attempt of `tenant`.
    pub(super) async fn connect(
        &self,
        endpoint: &Endpoint,
        tenant: &str,
        limits: Limits,
    ) -> Result<Connection, Failure> {
        let addresses = self.allowed(self.look_up(endpoint, tenant, limits).await?)?;
        let opening = self.open(endpoint, &addresses, Instant::now() + limits.connect);
        let late = |_| {
            Failure::new(
                OutcomeKind::Connect,
                format!("no connection within {:?}", limits.connect),
            )
        };
        timeout(limits.connect, opening).await.map_err(late)?
    }

    async fn look_up(
        &self,
        endpoint: &Endpoint,
        tenant: &str,
        limits: Limits,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let found = match &endpoint.host {
            Host::Domain(name) => {
                // Most of the attempt's time stays the receiver's, so that running out of it is the receiver's too.
                let patience = limits.dns.min(limits.total / 4);
                let found = self.look_ups.addresses(tenant, name, patience, limits.dns);
                found.await?
            }
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
        };
        let with_port = |address| SocketAddr::new(address, endpoint.port);
        Ok(found.into_iter().map(with_port).collect())
    }

    /// The addresses that the rules allow, at most four.
    fn allowed(&self, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Failure> {
        let mut refusal = None;
        let mut allowed = Vec::with_capacity(addresses.len().min(ADDRESSES_MAX));
        for address in addresses {
            match self.egress.check(address.ip()) {
                Ok(()) if allowed.len() < ADDRESSES_MAX => allowed.push(address),
                Ok(()) => {}
                Err(error) => refusal = Some(error),
            }
        }
        match refusal {
            Some(error) if allowed.is_empty() => {
                Err(Failure::new(OutcomeKind::EgressRefused, error.to_string()))
            }
            None if allowed.is_empty() => {
                Err(Failure::new(OutcomeKind::Dns, "the name has no address"))
            }
            _ => Ok(allowed),
        }
    }

    async fn open(
        &self,
        endpoint: &Endpoint,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<Connection, Failure> {
        let tcp = dial(addresses, deadline).await?;
        let peer = tcp.peer_addr().map_err(|error| Failure::connect(&error))?;
        self.egress
            .check(peer.ip())
            .map_err(|error| Failure::new(OutcomeKind::EgressRefused, error.to_string()))?;
        tcp.set_nodelay(true)
            .map_err(|error| Failure::connect(&error))?;
        let connector = match endpoint.tls {
            Tls::Off => return http(Connection::new(tcp).await),
            Tls::Verify => &self.tls.verifying,
            Tls::Trust => &self.tls.trusting,
        };
        let Some(name) = &endpoint.server_name else {
            return Err(Failure::new(
                OutcomeKind::Tls,
                "the host's name cannot be in a certificate",
            ));
        };
        let tls = connector.connect(name.clone(), tcp).await;
        http(Connection::new(tls.map_err(|error| Failure::tls(&error))?).await)
    }
}

fn http(connection: hyper::Result<Connection>) -> Result<Connection, Failure> {
    connection.map_err(|error| Failure::http(&error))
}

/// Tries one address after the other; each gets an equal share of the time that is left.
async fn dial(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Failure> {
    let mut last = Failure::new(OutcomeKind::Connect, "no address to connect to");
    for (index, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let left = u32::try_from(addresses.len() - index).unwrap_or(1);
        let share = deadline.saturating_duration_since(now) / left;
        match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = Failure::connect(&error),
            Err(_) => {
                let detail = format!("no connection to {address} in time");
                last = Failure::new(OutcomeKind::Connect, detail);
            }
        }
    }
    Err(last)
}
