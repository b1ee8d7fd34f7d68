//! Accepting connections: plain or TLS, as one stream of [`Connection`]s.
//!
//! Handshakes run beside each other in tasks of their own, bounded in number and time, so that a peer that never
//! finishes one delays nobody. While the bound is reached nothing is accepted: the kernel's backlog waits. Errors of
//! `accept` that concern the process (no more file descriptors) back off instead of spinning; they end by themselves
//! when connections close. The socket closes as soon as the process drains.
//!
//! Plaintext is for loopback addresses; anywhere else it must be asked for, because a bearer key sent in the clear is
//! a key given away.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::server::TlsStream;

use crate::backoff::Backoff;
use crate::config::Reader;
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
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How many TLS handshakes may run at once.
    pub max_handshakes: u16,
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
        }
    }

    /// Reads the section: `listen`, `[tls]`, `allow_plaintext`, `handshake_timeout`, `max_handshakes`.
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
    tcp: TcpListener,
    addr: SocketAddr,
    tls: Option<Arc<ServerTls>>,
    config: ListenConfig,
}

impl Listener {
    /// Binds the port and loads the certificate; `alpn` is what the port speaks over TLS (`[b"h2"]` for gRPC).
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn bind(config: ListenConfig, alpn: &[&[u8]]) -> Result<Self, ListenError> {
        config
            .check_plaintext()
            .map_err(|(wrong, right)| ListenError::Plaintext(wrong, right))?;
        let tls = config
            .tls
            .clone()
            .map(|files| ServerTls::load(files, alpn))
            .transpose()?;
        let failed = |error| ListenError::Bind(config.addr, error);
        let tcp = TcpListener::bind(config.addr).await.map_err(failed)?;
        let addr = tcp.local_addr().map_err(failed)?;
        Ok(Self {
            tcp,
            addr,
            tls,
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
        let drain = tasks.drain();
        let handshakes = Arc::new(Semaphore::new(self.config.max_handshakes.into()));
        let refused = Arc::new(Throttle::new(Duration::from_secs(10)));
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        let work = async {
            loop {
                let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else {
                    return;
                };
                let tcp = match self.tcp.accept().await {
                    Ok((tcp, _)) => tcp,
                    Err(error) if concerns_one_peer(&error) => continue,
                    Err(error) => {
                        tracing::warn!(%error, addr = %self.addr, "cannot accept connections; waiting");
                        tokio::time::sleep(backoff.next(0.5)).await;
                        continue;
                    }
                };
                backoff.reset();
                // A peer that is gone already has no address.
                let (Ok(peer), Ok(())) = (tcp.peer_addr(), tcp.set_nodelay(true)) else {
                    continue;
                };
                let Some(tls) = &self.tls else {
                    let _ = ready
                        .send(Connection {
                            peer,
                            io: Io::Plain(tcp),
                        })
                        .await;
                    continue;
                };
                let (acceptor, within) = (tls.acceptor(), self.config.handshake_timeout);
                let (ready, refused) = (ready.clone(), Arc::clone(&refused));
                tasks.spawn(HANDSHAKE, async move {
                    let _permit = permit;
                    let error = match tokio::time::timeout(within, acceptor.accept(tcp)).await {
                        Ok(Ok(tls)) => {
                            let _ = ready
                                .send(Connection {
                                    peer,
                                    io: Io::Tls(Box::new(tls)),
                                })
                                .await;
                            return;
                        }
                        Ok(Err(error)) => error,
                        Err(_) => io::Error::from(io::ErrorKind::TimedOut),
                    };
                    if let Some(suppressed) = refused.admit(error.kind()) {
                        tracing::warn!(%peer, %error, suppressed, "TLS handshake failed");
                    }
                });
            }
        };
        tokio::select! {
            biased;
            () = drain.draining() => {}
            () = ready.closed() => {}
            () = work => {}
        }
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

/// One accepted connection, plain or TLS, without Nagle's delay.
#[derive(Debug)]
pub struct Connection {
    peer: SocketAddr,
    io: Io,
}

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// The address of the other end.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// The verified certificate chain of the client, its own first, if it showed one.
    #[must_use]
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match &self.io {
            Io::Plain(_) => None,
            Io::Tls(tls) => tls.get_ref().1.peer_certificates(),
        }
    }
}

/// Calls the same method of whichever stream it is.
macro_rules! either {
    ($self:ident, $method:ident, $($argument:expr),*) => {
        match &mut $self.get_mut().io {
            Io::Plain(tcp) => Pin::new(tcp).$method($($argument),*),
            Io::Tls(tls) => Pin::new(tls.as_mut()).$method($($argument),*),
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, poll_read, cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write, cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write_vectored, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(tcp) => tcp.is_write_vectored(),
            Io::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_shutdown, cx)
    }
}

#[cfg(test)]
mod tests;
