//! A bound on what a receiver sends before its answer.
//!
//! hyper reads over interim answers (1xx) one after the other, as long as bytes are there, and has no bound for all of
//! them together. A receiver that sends nothing else would keep a worker busy and nothing would come of it. So the
//! bytes that arrive between a request and the head of its answer are counted below hyper; with too many of them the
//! connection fails, and the attempt with it. What follows the head is bounded by whoever reads the body.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use sidehook_core::limits::RESPONSE_BYTES;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The largest head of an answer, and the most that is read at one time.
pub(super) const HEAD_BYTES: usize = 4 * RESPONSE_BYTES;
/// Bytes before the end of the answer's head: those of the largest head, and what was read together with its end.
pub(super) const EARLY_BYTES: usize = 2 * HEAD_BYTES;

/// How many bytes may still arrive. Clones are the same allowance.
#[derive(Debug, Clone)]
pub(super) struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    /// No bound.
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(usize::MAX)))
    }

    /// A request goes out: from now on the bytes before its answer count.
    pub(super) fn begin(&self) {
        self.0.store(EARLY_BYTES, Ordering::Relaxed);
    }

    /// The head of the answer is there.
    pub(super) fn end(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }

    fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Only whoever drives the connection reads, so nobody is in between.
    fn spend(&self, bytes: usize) {
        self.0
            .store(self.left().saturating_sub(bytes), Ordering::Relaxed);
    }
}

/// A stream whose reads spend an allowance.
#[derive(Debug)]
pub(super) struct Counted<T> {
    io: T,
    allowance: Allowance,
}

impl<T> Counted<T> {
    pub(super) fn new(io: T, allowance: Allowance) -> Self {
        Self { io, allowance }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.allowance.left() == 0 {
            let detail = "the receiver sends interim answers without end";
            return Poll::Ready(Err(io::Error::other(detail)));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.allowance.spend(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
