//! One connection, the place it takes among those of its port, and the bytes it has to open with.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use metrics::{Gauge, describe_gauge, gauge};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::server::TlsStream;

use crate::drain::Drain;

/// The places for a port's connections.
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Gauge,
}

/// One of them, given back when dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    taken: Gauge,
}

impl Places {
    pub(super) fn new(port: &'static str, count: u32) -> Self {
        let count = usize::try_from(count).map_or(Semaphore::MAX_PERMITS, |count| {
            count.min(Semaphore::MAX_PERMITS)
        });
        let name = "sidehook_connections";
        describe_gauge!(name, "Connections open on a port");
        Self {
            free: Arc::new(Semaphore::new(count)),
            taken: gauge!(name, "port" => port),
        }
    }

    pub(super) fn are_taken(&self) -> bool {
        self.free.available_permits() == 0
    }

    /// The next free one, for a connection that is yet to come.
    pub(super) async fn next(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.free).acquire_owned().await {
            Ok(permit) => permit,
            // Nobody closes it.
            Err(_) => std::future::pending().await,
        }
    }

    pub(super) fn take(&self, permit: OwnedSemaphorePermit) -> Place {
        self.taken.increment(1);
        Place {
            _permit: permit,
            taken: self.taken.clone(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.decrement(1);
    }
}

/// What a peer still has to send before it may stay.
pub(super) struct Opening {
    missing: usize,
    over: Pin<Box<dyn Future<Output = io::Error> + Send>>,
}

impl Opening {
    /// So many bytes, within this time and before the drain.
    pub(super) fn new(bytes: usize, within: Duration, drain: Drain) -> Option<Self> {
        let over = async move {
            tokio::select! {
                biased;
                () = drain.draining() => io::ErrorKind::ConnectionAborted.into(),
                () = tokio::time::sleep(within) => io::ErrorKind::TimedOut.into(),
            }
        };
        let over = Box::pin(over);
        (bytes > 0).then_some(Self {
            missing: bytes,
            over,
        })
    }
}

/// One accepted connection, plain or TLS, without Nagle's delay.
pub struct Connection {
    peer: SocketAddr,
    io: Io,
    opening: Option<Opening>,
    _place: Place,
}

pub(super) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.peer).finish()
    }
}

impl Connection {
    pub(super) fn new(peer: SocketAddr, io: Io, opening: Option<Opening>, place: Place) -> Self {
        Self {
            peer,
            io,
            opening,
            _place: place,
        }
    }

    /// The other end's own certificate, in DER, if it was asked for one and has shown it: then it was verified against
    /// the listener's client authorities.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        match &self.io {
            Io::Plain(_) => None,
            Io::Tls(tls) => {
                let certificates = tls.get_ref().1.peer_certificates()?;
                Some(certificates.first()?.as_ref())
            }
        }
    }

    /// The address of the other end.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
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
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(mut opening) = self.opening.take() else {
            return either!(self, poll_read, cx, buf);
        };
        let before = buf.filled().len();
        let this = self.as_mut();
        let read = either!(this, poll_read, cx, buf);
        if read.is_pending() {
            let over = opening.over.as_mut().poll(cx);
            self.opening = Some(opening);
            return Poll::Ready(Err(ready!(over)));
        }
        opening.missing = (opening.missing).saturating_sub(buf.filled().len() - before);
        self.opening = (opening.missing > 0).then_some(opening);
        read
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
