//! One HTTP/1.1 connection to a receiver, driven by whoever uses it.
//!
//! hyper splits a connection into a handle and a future that does the work. A task for that future would mean two
//! hand-overs between tasks for each POST; here the worker polls it beside whatever it awaits. A connection that rests
//! in a pool is driven by nobody: the next user polls it once, and so learns whether the receiver closed it meanwhile.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Context;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::Pieces;
use super::early::{Allowance, Counted, HEAD_BYTES};

type Work = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A connection. Dropping it closes it.
pub(super) struct Connection {
    sender: SendRequest<Pieces>,
    work: Option<Work>,
    early: Allowance,
}

impl Connection {
    /// Speaks HTTP/1.1 over `io`.
    pub(super) async fn new<T>(io: T) -> hyper::Result<Self>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        // The head of a response has a bound as its body has.
        builder.max_buf_size(HEAD_BYTES).max_headers(128);
        let early = Allowance::new();
        let io = TokioIo::new(Counted::new(io, early.clone()));
        let (sender, work) = builder.handshake(io).await?;
        Ok(Self {
            sender,
            work: Some(Box::pin(work)),
            early,
        })
    }

    /// Awaits `future`, and does the connection's work meanwhile.
    pub(super) async fn drive<F: Future>(&mut self, future: F) -> F::Output {
        let work = &mut self.work;
        let mut future = pin!(future);
        poll_fn(|cx| {
            advance(work, cx);
            future.as_mut().poll(cx)
        })
        .await
    }

    /// Waits until a request can be sent.
    ///
    /// # Errors
    /// The connection is closed: nothing was sent.
    pub(super) async fn ready(&mut self) -> hyper::Result<()> {
        let Self { sender, work, .. } = self;
        poll_fn(|cx| {
            advance(work, cx);
            sender.poll_ready(cx)
        })
        .await
    }

    /// Sends a request and waits for the head of the response. The error gives the request back if, and only if,
    /// nothing of it was sent.
    pub(super) async fn send(
        &mut self,
        request: Request<Pieces>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Pieces>>> {
        self.early.begin();
        let response = self.sender.try_send_request(request);
        let response = self.drive(response).await;
        self.early.end();
        response
    }

    /// Whether it may be used again.
    pub(super) fn is_open(&self) -> bool {
        self.work.is_some() && !self.sender.is_closed()
    }
}

fn advance(work: &mut Option<Work>, cx: &mut Context<'_>) {
    let is_over = |work: &mut Work| work.as_mut().poll(cx).is_ready();
    if work.as_mut().is_some_and(is_over) {
        // Dropped, so that whoever waits for it learns of the end.
        *work = None;
    }
}
