//! Our connections as tonic wants to see them, and their end.
//!
//! On a drain tonic asks each connection to end and then waits for it: for ever, if the
//! peer does not answer, or takes no answers. So a connection ends by itself, as if the
//! peer had closed it: [`FAREWELL`] after nothing is under way on it, and in any case
//! once its patience is over.
//!
//! A connection without a request of a known caller ends as well, [`STRANGER`] after its
//! beginning: else anybody could take all the places of a port for good.

use core::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use std::{
    io::{self, IoSlice},
    net::SocketAddr,
};

use sidehook_runtime::{drain::Drain, listen::Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use crate::auth::{Peer, PeerCertificate, UnderWay};

/// How long a peer has to take its last answer and our farewell.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long a connection may stay on which no known caller has asked for anything.
const STRANGER: Duration = Duration::from_secs(30);

/// A connection that counts what is under way on it, and ends with the drain.
pub(super) struct Accepted {
    connection: Connection,
    peer: Peer,
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Accepted").field(&self.connection).finish()
    }
}

impl Connected for Accepted {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl Accepted {
    /// `patience` is how long after the beginning of the drain something may be under
    /// way. With `identifies` the certificate that the peer has shown is a credential.
    pub(super) fn new(
        connection: Connection,
        drain: Drain,
        patience: Duration,
        identifies: bool,
    ) -> Self {
        let under_way = UnderWay::default();
        let (address, open) = (connection.peer_addr(), under_way.clone());
        let certificate = connection.peer_certificate().filter(|_| identifies);
        let certificate = certificate.and_then(PeerCertificate::read);
        let end = async move {
            tokio::select! {
                () = drained(&open, &drain, patience, address) => {}
                () = stays_strange(&open, STRANGER) => {
                    tracing::debug!(peer = %address, "closed: no known caller has asked for anything");
                }
            }
        };
        Self {
            connection,
            peer: Peer {
                under_way,
                certificate,
            },
            end: Some(Box::pin(end)),
        }
    }

    /// The connection; `None` once it has ended.
    fn open(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Option<Pin<&mut Connection>> {
        let this = self.get_mut();
        if this.end.as_mut()?.as_mut().poll(cx).is_ready() {
            this.end = None;
            return None;
        }
        Some(Pin::new(&mut this.connection))
    }
}

/// Resolves when the connection has to end because of the drain.
async fn drained(open: &UnderWay, drain: &Drain, patience: Duration, peer: SocketAddr) {
    drain.draining().await;
    let idle = async {
        loop {
            open.none().await;
            tokio::time::sleep(FAREWELL).await;
            if open.count() == 0 {
                return;
            }
        }
    };
    if tokio::time::timeout(patience, idle).await.is_err() {
        let requests = open.count();
        tracing::warn!(%peer, requests, "cut off: the peer does not take its answers");
    }
}

/// Resolves when no known caller has asked for anything within this time. A request
/// that is being answered has as long again: it may be about to become known.
async fn stays_strange(open: &UnderWay, within: Duration) {
    tokio::time::sleep(within).await;
    if !open.is_known() {
        let _ = tokio::time::timeout(within, open.none()).await;
    }
    if open.is_known() {
        core::future::pending().await
    }
}

fn ended<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
}

impl AsyncRead for Accepted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.open(cx) {
            Some(connection) => connection.poll_read(cx, buf),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.open(cx) {
            Some(connection) => connection.poll_write(cx, buf),
            None => ended(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.open(cx) {
            Some(connection) => connection.poll_write_vectored(cx, bufs),
            None => ended(),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.open(cx) {
            Some(connection) => connection.poll_flush(cx),
            None => ended(),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.open(cx) {
            Some(connection) => connection.poll_shutdown(cx),
            None => ended(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn only_those_that_nobody_knows_have_to_leave() {
        let stranger = UnderWay::default();
        let leaves = stays_strange(&stranger, Duration::ZERO);
        let left = tokio::time::timeout(PATIENCE, leaves).await;
        left.expect("it has to leave");

        let known = UnderWay::default();
        known.set_known();
        let later = UnderWay::default();
        tokio::select! {
            biased;
            () = stays_strange(&known, Duration::ZERO) => panic!("it may stay"),
            () = stays_strange(&later, Duration::from_millis(1)) => {}
        }
    }
}
