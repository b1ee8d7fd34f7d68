//! The service behind the gateway: the one that the gRPC port serves, in this process.
//!
//! A handler gets clients over a [`Backend`] of its own, which puts the caller's key on
//! each RPC, lets through only those that the route's row names, and notes what the
//! answers say of the caller's limit. Of several RPCs of one request only the first
//! counts against that limit. A handler need not think of any of it.

use core::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use std::sync::Arc;

use http::{HeaderValue, Request, Response, header};
use parking_lot::Mutex;
use sidehook_api::{
    continued::Continued,
    metadata::{RATE_LIMIT, TENANT},
};
use tonic::{Status, body::Body};
use tower::{Service, util::BoxCloneSyncService};

/// The guarded service that RPCs are made to. Cheap to clone.
#[derive(Clone)]
pub struct InProcess {
    service: BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>,
    longest_total: Duration,
}

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
        Self {
            service: BoxCloneSyncService::new(service),
            longest_total: Duration::MAX,
        }
    }

    /// Tells the longest time limit of an attempt that `timeouts.total` may ask for: what
    /// the service's leases leave room for.
    #[must_use]
    pub const fn with_longest_total(mut self, longest_total: Duration) -> Self {
        self.longest_total = longest_total;
        self
    }
}

/// The service as one request of a caller sees it.
#[derive(Clone)]
pub(crate) struct Backend {
    service: InProcess,
    bearer: HeaderValue,
    rpcs: &'static [&'static str],
    notes: Notes,
}

/// What the newest answers said of the caller, over all RPCs of one request.
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Noted>>);

#[derive(Default)]
struct Noted {
    /// Whether an RPC was made: those after it go on with it.
    has_begun: bool,
    limit: Option<HeaderValue>,
    tenant: Option<HeaderValue>,
}

impl Notes {
    /// How much of the caller's limit is left, if an answer said something of it.
    pub(crate) fn limit(&self) -> Option<HeaderValue> {
        self.0.lock().limit.clone()
    }

    /// Whether the caller is known: an answer has told its tenant.
    pub(crate) fn is_known(&self) -> bool {
        self.0.lock().tenant.is_some()
    }

    fn tenant(&self) -> Option<HeaderValue> {
        self.0.lock().tenant.clone()
    }

    /// Whether an RPC was made.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.lock().has_begun
    }

    fn begin(&self) -> bool {
        !core::mem::replace(&mut self.0.lock().has_begun, true)
    }

    fn note(&self, response: &Response<Body>) {
        let headers = response.headers();
        let mut noted = self.0.lock();
        if let Some(value) = headers.get(RATE_LIMIT) {
            noted.limit = Some(value.clone());
        }
        if let Some(value) = headers.get(TENANT) {
            noted.tenant = Some(value.clone());
        }
    }
}

impl Backend {
    /// For a caller with this key (`Bearer …`), on a route that makes these RPCs.
    pub(crate) fn new(
        service: InProcess,
        bearer: HeaderValue,
        rpcs: &'static [&'static str],
        notes: Notes,
    ) -> Self {
        Self {
            service,
            bearer,
            rpcs,
            notes,
        }
    }

    /// The longest time limit of an attempt that can be asked for.
    pub(crate) const fn longest_total(&self) -> Duration {
        self.service.longest_total
    }

    /// The id of the caller's tenant; empty before the first answer.
    pub(crate) fn tenant(&self) -> String {
        let noted = self.notes.tenant();
        let text = noted.as_ref().and_then(|value| value.to_str().ok());
        text.unwrap_or_default().to_owned()
    }
}

impl Service<Request<Body>> for Backend {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.service.poll_ready(cx)
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
        if !self.notes.begin() {
            request.extensions_mut().insert(Continued);
        }
        let answering = self.service.service.call(request);
        let notes = self.notes.clone();
        Box::pin(async move {
            let response = answering.await?;
            notes.note(&response);
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn rpcs_that_the_row_names_get_through_and_the_first_is_counted() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let service = InProcess::new(tower::service_fn(move |rpc: Request<Body>| {
            let before = counted.fetch_add(1, Ordering::Relaxed);
            let is_continued = rpc.extensions().get::<Continued>().is_some();
            assert_eq!(
                is_continued,
                before > 0,
                "the first is counted, and no other"
            );
            async { Ok(Status::not_found("played").into_http()) }
        }));
        let bearer = HeaderValue::from_static("Bearer k1");
        let named = &["/sidehook.v1.WebhookService/GetSubscription"];
        let mut backend = Backend::new(service, bearer, named, Notes::default());
        let mut ask = |path: &'static str| {
            let request = Request::post(path).body(Body::empty());
            backend.call(request.expect("a request"))
        };
        let answer = ask("/sidehook.v1.AdminService/CreateTenant").await;
        let status = Status::from_header_map(answer.expect("an answer").headers());
        assert_eq!(status.expect("one").code(), tonic::Code::Internal);
        assert_eq!(calls.load(Ordering::Relaxed), 0);
        for count in 1..=3 {
            let answer = ask(named[0]).await;
            let status = Status::from_header_map(answer.expect("an answer").headers());
            assert_eq!(status.expect("one").code(), tonic::Code::NotFound);
            assert_eq!(calls.load(Ordering::Relaxed), count);
        }
    }
}
