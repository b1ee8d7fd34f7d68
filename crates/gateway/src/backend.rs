//! The service behind the gateway: the one that the gRPC port serves, in this process.
//!
//! A handler gets clients over a [`Backend`] of its own, which puts the caller's key on
//! each RPC, lets through only those that the route's row names, and notes what the
//! answers say of the caller's limit. A handler need not think of any of it.

use core::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use std::sync::Arc;

use http::{HeaderValue, Request, Response, header};
use parking_lot::Mutex;
use tonic::{Status, body::Body};
use tower::{Service, util::BoxCloneSyncService};

/// Header of the answers of limited RPCs: `limit=100, remaining=50, reset=5`.
const RATE_LIMIT: &str = "ratelimit";

/// The guarded service that RPCs are made to. Cheap to clone.
#[derive(Clone)]
pub struct InProcess(BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>);

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl InProcess {
    /// `service` must check the credential of every request: the gateway checks none.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        Self(BoxCloneSyncService::new(service))
    }
}

/// The service as one request of a caller sees it.
#[derive(Clone)]
pub(crate) struct Backend {
    service: InProcess,
    bearer: HeaderValue,
    rpcs: &'static [&'static str],
    limit: Limit,
}

/// What the newest answer said of the caller's limit.
#[derive(Clone, Default)]
pub(crate) struct Limit(Arc<Mutex<Option<HeaderValue>>>);

impl Limit {
    /// It, if an answer said something.
    pub(crate) fn take(&self) -> Option<HeaderValue> {
        self.0.lock().take()
    }

    fn note(&self, response: &Response<Body>) {
        if let Some(value) = response.headers().get(RATE_LIMIT) {
            *self.0.lock() = Some(value.clone());
        }
    }
}

impl Backend {
    /// For a caller with this key (`Bearer …`), on a route that makes these RPCs.
    pub(crate) fn new(
        service: InProcess,
        bearer: HeaderValue,
        rpcs: &'static [&'static str],
        limit: Limit,
    ) -> Self {
        Self {
            service,
            bearer,
            rpcs,
            limit,
        }
    }
}

impl Service<Request<Body>> for Backend {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        if !self.rpcs.contains(&path) {
            tracing::error!(path, "a route makes an RPC that its row does not name");
            let refused = Status::internal("the route's row does not name this RPC");
            return Box::pin(async move { Ok(refused.into_http()) });
        }
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, self.bearer.clone());
        let answering = self.service.0.call(request);
        let limit = self.limit.clone();
        Box::pin(async move {
            let response = answering.await?;
            limit.note(&response);
            Ok(response)
        })
    }
}
