//! Connections whose peers take what is sent to them.
//!
//! A peer that asks and then does not read leaves an answer half written: nothing else
//! ends that, and the connection would keep its place for good. So each time that nothing
//! more can be written there is a limit to how long it may stay so. A peer that is slow,
//! but reads, begins anew with every piece that it takes.

use core::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use std::io::{self, IoSlice};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// A connection of which writing fails once the peer has taken nothing for a while.
#[derive(Debug)]
pub(crate) struct Impatient<T> {
    connection: T,
    writing: Wait,
    /// Of flushing and closing: these say nothing of what is yet to be written.
    ending: Wait,
}

impl<T> Impatient<T> {
    /// `patience` is how long the peer may take nothing.
    pub(crate) const fn new(connection: T, patience: Duration) -> Self {
        Self {
            connection,
            writing: Wait::new(patience),
            ending: Wait::new(patience),
        }
    }
}

/// How long something has not been possible.
#[derive(Debug)]
struct Wait {
    patience: Duration,
    end: Option<Pin<Box<Sleep>>>,
}

impl Wait {
    const fn new(patience: Duration) -> Self {
        Self {
            patience,
            end: None,
        }
    }

    /// What came of it, or that it has taken too long.
    fn limit<R>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.end = None;
            return polled;
        }
        let end = self
            .end
            .get_or_insert_with(|| Box::pin(sleep(self.patience)));
        ready!(end.as_mut().poll(cx));
        let error = "the peer does not take its answer";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, error)))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Impatient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Impatient<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.connection).poll_write(cx, buf);
        self.writing.limit(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.connection).poll_write_vectored(cx, bufs);
        self.writing.limit(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.connection).poll_flush(cx);
        self.ending.limit(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.connection).poll_shutdown(cx);
        self.ending.limit(cx, polled)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (ours, _theirs) = duplex(10);
        let mut ours = Impatient::new(ours, Duration::from_millis(1));
        ours.write_all(&[0; 10]).await.expect("there is room");
        let error = ours.write_all(&[0]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn each_piece_that_is_taken_begins_anew() {
        let (ours, mut theirs) = duplex(1);
        let mut ours = Impatient::new(ours, Duration::from_secs(60));
        ours.write_all(&[7]).await.expect("there is room");
        for _ in 0..3 {
            let write =
                core::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut ours).poll_write(cx, &[7])));
            assert!(write.await.is_pending());
            assert!(ours.writing.end.is_some(), "from now on");
            // Flushing has nothing to say of it.
            ours.flush().await.expect("as far as it goes");
            assert!(ours.writing.end.is_some(), "still");
            assert_eq!(theirs.read_u8().await.expect("a byte"), 7);
            ours.write_all(&[7]).await.expect("there is room again");
            assert!(ours.writing.end.is_none(), "no more");
        }
    }
}
