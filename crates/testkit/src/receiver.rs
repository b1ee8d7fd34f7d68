//! A receiver of webhooks on a free loopback port.
//!
//! It notes every request before it answers, so a test that saw `count() == n`
//! knows what was asked of the receiver even when the answer never left it. With a
//! certificate it speaks TLS and nothing else; who may make certificates is the
//! test's affair, so that this crate, which the demonstration ships, makes none.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

/// How a receiver answers.
#[derive(Clone, Copy, Debug)]
pub enum Behaviour {
    /// 200 without a body.
    Ok,
    /// 200 without a body, so long after the request.
    After(Duration),
    /// This status without a body.
    Status(u16),
    /// 500 to the first so many requests, then 200.
    FailFirst(u32),
    /// Takes the request and never answers.
    Hang,
    /// 200 as soon as `Receiver::release` was called; until then requests are held.
    Held,
    /// 410: the receiver wants no more.
    Gone,
    /// This status, with a `Retry-After` of so many seconds.
    RetryAfter(u16, u32),
    /// 200 with a body of so many bytes.
    LargeBody(usize),
    /// 302 to `/redirected` of the same receiver.
    Redirect,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Path, without the query.
    pub path: String,
    /// Headers in their order; a value that is not text is replaced lossily.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Bytes,
    /// The status it was answered with; 0 if it is left hanging.
    pub answered: u16,
}

impl Received {
    /// The value of the first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(&found.1)
    }
}

/// The `event.id` of a body; `None` if it is not an envelope.
#[must_use]
pub fn event_id(received: &Received) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(&received.body).ok()?;
    Some(body.get("event")?.get("id")?.as_str()?.to_owned())
}

type Callback = Box<dyn Fn(&Received) + Send + Sync>;

struct Shared {
    behaviour: Behaviour,
    callback: Callback,
    requests: Mutex<Requests>,
    crowd: Crowd,
    news: Notify,
    released: watch::Sender<bool>,
}

/// What came.
#[derive(Default)]
struct Requests {
    count: usize,
    kept: Vec<Received>,
}

/// Requests that wait for their answer.
#[derive(Default)]
struct Crowd {
    present: AtomicUsize,
    most: AtomicUsize,
}

/// One of them; it leaves when it is dropped, answered or not.
struct Present<'a>(&'a Crowd);

impl Crowd {
    fn enter(&self) -> Present<'_> {
        let present = self.present.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(present, Ordering::SeqCst);
        Present(self)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.present.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A running receiver; its tasks and connections end when it is dropped.
pub struct Receiver {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

impl Receiver {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// If no port can be had.
    pub async fn start(behaviour: Behaviour) -> Self {
        Self::start_with(behaviour, |_| {}).await
    }

    /// As `start`; `callback` sees each request after it is noted, before its answer.
    ///
    /// # Panics
    ///
    /// If no port can be had.
    pub async fn start_with(
        behaviour: Behaviour,
        callback: impl Fn(&Received) + Send + Sync + 'static,
    ) -> Self {
        Self::listen(behaviour, callback, None).await
    }

    /// As `start`, over TLS with this certificate and its key, both PEM. For its URL,
    /// `https://127.0.0.1:PORT/hook`, the certificate has to name 127.0.0.1.
    ///
    /// # Panics
    ///
    /// If no port can be had, or if certificate and key are none or do not fit.
    pub async fn start_tls(behaviour: Behaviour, certificate: &str, key: &str) -> Self {
        let tls = acceptor(certificate, key);
        Self::listen(behaviour, |_| {}, Some(tls)).await
    }

    async fn listen(
        behaviour: Behaviour,
        callback: impl Fn(&Received) + Send + Sync + 'static,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free loopback port");
        let address = listener.local_addr().expect("a bound listener");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            behaviour,
            callback: Box::new(callback),
            requests: Mutex::default(),
            crowd: Crowd::default(),
            news: Notify::new(),
            released: watch::Sender::new(!matches!(behaviour, Behaviour::Held)),
        });
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, tls, Arc::clone(&shared)));
        Self {
            address,
            scheme,
            shared,
            _serving: serving,
        }
    }

    /// Its URL, with the path `/hook`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}/hook", self.scheme, self.address)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far but those taken, in the order in which their bodies were
    /// complete.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.requests.lock().kept.clone()
    }

    /// As `received`, forgetting them: for runs that would fill the memory.
    #[must_use]
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.shared.requests.lock().kept)
    }

    /// How many requests came so far, with those taken.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.requests.lock().count
    }

    /// The highest number of requests that waited for their answers at one time so far.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        self.shared.crowd.most.load(Ordering::SeqCst)
    }

    /// Answers all that a `Held` receiver holds, and from now on at once.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// Waits until `n` requests came; false if they did not within `limit`.
    pub async fn wait_for(&self, n: usize, limit: Duration) -> bool {
        let enough = async {
            loop {
                let news = self.shared.news.notified();
                tokio::pin!(news);
                // Registered before counting: a request between the two wakes it.
                news.as_mut().enable();
                if self.count() >= n {
                    return;
                }
                news.await;
            }
        };
        tokio::time::timeout(limit, enough).await.is_ok()
    }
}

fn acceptor(certificate: &str, key: &str) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has all versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.expect("a certificate in PEM")],
            key.expect("a private key in PEM"),
        );
    TlsAcceptor::from(Arc::new(config.expect("the key is the certificate's")))
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            match tls {
                // A client that ends the handshake has seen the certificate: that is
                // what some tests are about.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, &shared).await;
                    }
                }
                None => serve(stream, &shared).await,
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) {
    let service = service_fn(|request| answer(shared, request));
    // A client that goes away mid-request is its own affair.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    shared: &Shared,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let _present = shared.crowd.enter();
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let headers = head.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), value)
    });
    let mut received = Received {
        path: head.uri.path().to_owned(),
        headers: headers.collect(),
        body,
        answered: 0,
    };
    let response = {
        let mut requests = shared.requests.lock();
        let response = respond(shared.behaviour, requests.count);
        received.answered = response.as_ref().map_or(0, |r| r.status().as_u16());
        requests.count += 1;
        requests.kept.push(received.clone());
        response
    };
    (shared.callback)(&received);
    shared.news.notify_waiters();
    // Fails only without a sender, and `shared` is one.
    let _ = shared.released.subscribe().wait_for(|free| *free).await;
    if let Behaviour::After(pause) = shared.behaviour {
        tokio::time::sleep(pause).await;
    }
    match response {
        Some(response) => Ok(response),
        None => std::future::pending().await,
    }
}

/// The answer to the request after `before` others; `None` is none at all.
fn respond(behaviour: Behaviour, before: usize) -> Option<Response<Full<Bytes>>> {
    let mut body = Bytes::new();
    let mut extra = None;
    let status = match behaviour {
        Behaviour::Hang => return None,
        Behaviour::Ok | Behaviour::After(_) | Behaviour::Held => 200,
        Behaviour::Status(status) => status,
        Behaviour::FailFirst(n) if before < n as usize => 500,
        Behaviour::FailFirst(_) => 200,
        Behaviour::Gone => 410,
        Behaviour::RetryAfter(status, seconds) => {
            extra = Some((header::RETRY_AFTER, seconds.to_string()));
            status
        }
        Behaviour::LargeBody(bytes) => {
            body = Bytes::from(vec![b'x'; bytes]);
            200
        }
        Behaviour::Redirect => {
            extra = Some((header::LOCATION, "/redirected".to_owned()));
            302
        }
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status of three digits");
    if let Some((name, value)) = extra {
        let value = value.parse().expect("a number or a path is a header value");
        response.headers_mut().insert(name, value);
    }
    Some(response)
}
