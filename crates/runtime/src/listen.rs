//! Accepting connections: plain or TLS, as one stream of [`Connection`]s.
//!
//! What a peer can hold without having shown any credential is bounded. Handshakes run beside each other in tasks of
//! their own, bounded in number and time, so that a peer that never finishes one delays nobody. Then the first bytes of
//! the port's [`Protocol`] must come within the same time, and do not outlast the drain. All connections of a port
//! together have a bound too. While a bound is reached nothing is accepted: the kernel's backlog waits. Errors of
//! `accept` that concern the process (no more file descriptors) back off instead of spinning; they end by themselves
//! when connections close. The socket closes as soon as the process drains.
//!
//! Plaintext is for loopback addresses; anywhere else it must be asked for, because a bearer key sent in the clear is
//! a key given away.

mod addresses;
mod connection;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;

pub use self::addresses::check_free;
pub use self::connection::Connection;
use self::connection::{Io, Opening, Place, Places};
use crate::backoff::Backoff;
use crate::config::Reader;
use crate::drain::Drain;
use crate::tasks::{OnPanic, TaskKind, Tasks};
use crate::throttle::Throttle;
use crate::tls::{ServerTls, TlsError, TlsFiles};

const ACCEPT: TaskKind = TaskKind::new("accept", OnPanic::Abort);
const HANDSHAKE: TaskKind = TaskKind::new("tls_handshake", OnPanic::Log).background();

/// Connections that are ready but not taken yet.
const READY: usize = 64;

/// How one port is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenConfig {
    /// Where to listen; port 0 takes any free one.
    pub addr: SocketAddr,
    /// The certificate; without it the port is plaintext.
    pub tls: Option<TlsFiles>,
    /// Whether plaintext is wanted on an address that is not loopback.
    pub allow_plaintext: bool,
    /// How long a TLS handshake may take, and then the first bytes of the protocol.
    pub handshake_timeout: Duration,
    /// How many TLS handshakes may run at once.
    pub max_handshakes: u16,
    /// How many connections may be open at once. Each takes a file descriptor: the process needs about a hundred more
    /// than all its ports together may take.
    pub max_connections: u32,
}

/// What a port speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    /// Its name in a TLS handshake; empty if it has none.
    pub alpn: &'static [u8],
    /// How many bytes each client begins with by itself: a connection that keeps them back is closed.
    pub opening_bytes: usize,
}

impl Protocol {
    /// HTTP/2, whose clients begin with a preface.
    pub const HTTP2: Self = Self {
        alpn: b"h2",
        opening_bytes: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len(),
    };

    /// HTTP/1.1, whose servers bound the time of a request's head themselves.
    pub const HTTP1: Self = Self {
        alpn: b"http/1.1",
        opening_bytes: 0,
    };
}

impl ListenConfig {
    /// Plaintext on `addr`, which must be loopback.
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        let handshake_timeout = Duration::from_secs(10);
        Self {
            addr,
            tls: None,
            allow_plaintext: false,
            handshake_timeout,
            max_handshakes: 256,
            max_connections: 4_096,
        }
    }

    /// Reads the section: `listen`, `[tls]`, `allow_plaintext`, `handshake_timeout`, `max_handshakes`,
    /// `max_connections`.
    pub fn read(r: &mut Reader<'_>, default_addr: SocketAddr) -> Option<Self> {
        let default = Self::new(default_addr);
        let tls = r.optional_section("tls", TlsFiles::read);
        let (seconds, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let config = Self {
            addr: r.value("listen", default.addr),
            tls: tls.clone().flatten(),
            allow_plaintext: r.value("allow_plaintext", default.allow_plaintext),
            handshake_timeout: r.value_in(
                "handshake_timeout",
                default.handshake_timeout,
                seconds..=minute,
            ),
            max_handshakes: r.value_in("max_handshakes", default.max_handshakes, 1..=u16::MAX),
            max_connections: r.value_in("max_connections", default.max_connections, 1..=1_000_000),
        };
        if let (None, Err((wrong, right))) = (&tls, config.check_plaintext()) {
            r.problem("listen", wrong, right);
        }
        (tls.is_none() || config.tls.is_some()).then_some(config)
    }

    /// What is wrong, and what would be right, if this is plaintext where it must not be.
    ///
    /// # Errors
    /// The two texts.
    pub fn check_plaintext(&self) -> Result<(), (String, String)> {
        if self.tls.is_some() || self.allow_plaintext || self.addr.ip().to_canonical().is_loopback()
        {
            return Ok(());
        }
        let wrong = format!(
            "{} would be served without TLS beyond this machine",
            self.addr
        );
        let right = "give tls.cert_file and tls.key_file, listen on a loopback address, or set allow_plaintext = true";
        Err((wrong, right.to_owned()))
    }
}

/// Why a port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken, foreign or forbidden.
    #[error("cannot listen on {0}: {1}")]
    Bind(SocketAddr, #[source] io::Error),
    /// The certificate does not load.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Plaintext beyond loopback, unasked.
    #[error("{0}; {1}")]
    Plaintext(String, String),
}

/// A bound port, before its connections are taken.
#[derive(Debug)]
pub struct Listener {
    name: &'static str,
    tcp: TcpListener,
    addr: SocketAddr,
    tls: Option<Arc<ServerTls>>,
    protocol: Protocol,
    config: ListenConfig,
}

impl Listener {
    /// Binds the port and loads the certificate; `name` appears in logs and metrics.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn bind(
        name: &'static str,
        config: ListenConfig,
        protocol: Protocol,
    ) -> Result<Self, ListenError> {
        config
            .check_plaintext()
            .map_err(|(wrong, right)| ListenError::Plaintext(wrong, right))?;
        let alpn = [protocol.alpn];
        let alpn = alpn.iter().copied().filter(|name| !name.is_empty());
        let alpn: Vec<_> = alpn.collect();
        let tls = config
            .tls
            .clone()
            .map(|files| ServerTls::load(files, &alpn))
            .transpose()?;
        let failed = |error| ListenError::Bind(config.addr, error);
        let tcp = TcpListener::bind(config.addr).await.map_err(failed)?;
        let addr = tcp.local_addr().map_err(failed)?;
        Ok(Self {
            name,
            tcp,
            addr,
            tls,
            protocol,
            config,
        })
    }

    /// The address with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Starts accepting, and watching the certificate. The stream ends when the process drains.
    ///
    /// # Errors
    /// The watch over the certificate could not be set up.
    pub fn incoming(self, tasks: &Tasks) -> io::Result<Incoming> {
        if let Some(tls) = &self.tls {
            tls.watch(tasks)?;
        }
        Ok(self.start(tasks))
    }

    fn start(self, tasks: &Tasks) -> Incoming {
        let (ready, incoming) = mpsc::channel(READY);
        tasks.spawn(ACCEPT, self.accept(ready, tasks.clone()));
        Incoming(incoming)
    }

    async fn accept(self, ready: mpsc::Sender<Connection>, tasks: Tasks) {
        let handshakes = Arc::new(Semaphore::new(self.config.max_handshakes.into()));
        let gate = Gate {
            name: self.name,
            tls: self.tls,
            protocol: self.protocol,
            config: self.config,
            ready,
            drain: tasks.drain(),
            complaints: Throttle::new(Duration::from_secs(10)),
        };
        let gate = Arc::new(gate);
        let work = async {
            let places = Places::new(self.name, gate.config.max_connections);
            let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
            loop {
                gate.tell_if_full(&places);
                let place = places.next().await;
                let (tcp, peer) = match accepted(&self.tcp).await {
                    Ok(Some(accepted)) => accepted,
                    Ok(None) => continue,
                    Err(error) => {
                        tracing::warn!(%error, addr = %self.addr, "cannot accept connections; waiting");
                        tokio::time::sleep(backoff.next(0.5)).await;
                        continue;
                    }
                };
                backoff.reset();
                let place = places.take(place);
                let Some(tls) = &gate.tls else {
                    gate.pass(peer, Io::Plain(tcp), place).await;
                    continue;
                };
                let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else {
                    return;
                };
                let (gate, acceptor) = (Arc::clone(&gate), tls.acceptor());
                tasks.spawn(HANDSHAKE, async move {
                    let _permit = permit;
                    gate.shake_hands(acceptor, tcp, peer, place).await;
                });
            }
        };
        tokio::select! {
            biased;
            () = gate.drain.draining() => {}
            () = gate.ready.closed() => {}
            () = work => {}
        }
    }
}

/// What a connection passes on its way in. Not the socket: that closes with the drain, whatever is still on its way.
struct Gate {
    name: &'static str,
    tls: Option<Arc<ServerTls>>,
    protocol: Protocol,
    config: ListenConfig,
    ready: mpsc::Sender<Connection>,
    drain: Drain,
    complaints: Throttle<Complaint>,
}

#[derive(PartialEq, Eq, Hash)]
enum Complaint {
    Full,
    Handshake(io::ErrorKind),
}

impl Gate {
    fn tell_if_full(&self, places: &Places) {
        if places.are_taken()
            && let Some(suppressed) = self.complaints.admit(Complaint::Full)
        {
            let (port, max_connections) = (self.name, self.config.max_connections);
            tracing::warn!(
                port,
                max_connections,
                suppressed,
                "no room for another connection: new ones wait until one closes"
            );
        }
    }

    async fn shake_hands(
        &self,
        acceptor: TlsAcceptor,
        tcp: TcpStream,
        peer: SocketAddr,
        place: Place,
    ) {
        let within = self.config.handshake_timeout;
        let error = match tokio::time::timeout(within, acceptor.accept(tcp)).await {
            Ok(Ok(tls)) => return self.pass(peer, Io::Tls(Box::new(tls)), place).await,
            Ok(Err(error)) => error,
            Err(_) => io::Error::from(io::ErrorKind::TimedOut),
        };
        if let Some(suppressed) = self.complaints.admit(Complaint::Handshake(error.kind())) {
            tracing::warn!(port = self.name, %peer, %error, suppressed, "TLS handshake failed");
        }
    }

    async fn pass(&self, peer: SocketAddr, io: Io, place: Place) {
        let opening = Opening::new(
            self.protocol.opening_bytes,
            self.config.handshake_timeout,
            self.drain.clone(),
        );
        let connection = Connection::new(peer, io, opening, place);
        // If nobody takes connections any more, it closes.
        let _ = self.ready.send(connection).await;
    }
}

/// The next connection and its peer; `None` if it is gone already.
async fn accepted(tcp: &TcpListener) -> io::Result<Option<(TcpStream, SocketAddr)>> {
    match tcp.accept().await {
        Ok((tcp, peer)) => Ok(tcp.set_nodelay(true).is_ok().then_some((tcp, peer))),
        Err(error) if concerns_one_peer(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn concerns_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// The connections of a port, ready for use.
#[derive(Debug)]
pub struct Incoming(mpsc::Receiver<Connection>);

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|connection| connection.map(Ok))
    }
}

#[cfg(test)]
mod tests;
