//! What an operator's machinery asks a process: does it live, is it ready, what are its figures.
//!
//! | path       | answer                                                                                     |
//! |------------|--------------------------------------------------------------------------------------------|
//! | `/healthz` | 200 while the process can answer at all; it says nothing about its dependencies, because   |
//! |            | restarting a process does not repair its store                                             |
//! | `/readyz`  | 200 and what is worth knowing, or 503 with each condition that is not met and why; a       |
//! |            | draining process is not ready                                                              |
//! | `/metrics` | the figures in Prometheus' text format                                                     |
//!
//! A server of its own, apart from the API: it must answer while the API is saturated and while the process drains.
//! One request per connection, which has ten seconds for everything; at most 64 connections. It is plaintext on
//! whatever address it is given, and tells nothing about any tenant.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::build_info;
use crate::drain::Drain;
use crate::tasks::{OnPanic, TaskKind, Tasks};

const PROBE: TaskKind = TaskKind::new("probe", OnPanic::Abort).background();
const PROBE_REQUEST: TaskKind = TaskKind::new("probe_request", OnPanic::Log).background();
const METRICS_UPKEEP: TaskKind = TaskKind::new("metrics_upkeep", OnPanic::Abort).background();

const MAX_CONNECTIONS: usize = 64;
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
const ALL_WITHIN: Duration = Duration::from_secs(10);

/// Upper bounds of the buckets of every histogram of times, in seconds: doubling from 100 µs to 52 s.
const SECONDS: [f64; 20] = [
    0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128, 0.0256, 0.0512, 0.1024, 0.2048,
    0.4096, 0.8192, 1.6384, 3.2768, 6.5536, 13.1072, 26.2144, 52.4288,
];

/// Upper bounds of the buckets of every other histogram (batch sizes, bytes): fourfold from 1 to 1 Mi.
const SIZES: [f64; 11] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
];

/// The figures of this process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Makes this process count: what the `metrics` macros report is kept from here on. Names that end in `_seconds`
    /// are times. Call it once, first thing.
    ///
    /// # Errors
    /// The process counts already.
    pub fn install() -> io::Result<Self> {
        let builder = PrometheusBuilder::new()
            .set_buckets(&SIZES)
            .map_err(io::Error::other)?;
        let seconds = Matcher::Suffix("_seconds".to_owned());
        let builder = builder
            .set_buckets_for_metric(seconds, &SECONDS)
            .map_err(io::Error::other)?;
        let handle = builder.install_recorder().map_err(io::Error::other)?;
        metrics::describe_gauge!("sidehook_build_info", "1, with the version of this program");
        metrics::gauge!("sidehook_build_info", "version" => build_info::VERSION).set(1.0);
        Ok(Self(handle))
    }

    /// The figures in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds recorded samples into their buckets; without it they pile up between scrapes.
    fn keep(&self, tasks: &Tasks) {
        let handle = self.0.clone();
        tasks.spawn(METRICS_UPKEEP, async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                handle.run_upkeep();
            }
        });
    }
}

/// How each condition stands, by name.
type Conditions = BTreeMap<&'static str, Standing>;

/// How a condition stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// It is met, and this is worth knowing about it; nothing, if empty.
    Met(String),
    /// Why it is not met.
    Unmet(String),
}

/// The conditions under which this process is ready for work. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Readiness {
    conditions: Arc<watch::Sender<Conditions>>,
    drain: Drain,
}

/// One of these conditions, held by whoever knows about it.
#[derive(Debug)]
pub struct Condition {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// No condition yet: ready until the process drains.
    #[must_use]
    pub fn new(drain: Drain) -> Self {
        let conditions = Arc::new(watch::Sender::new(Conditions::new()));
        Self { conditions, drain }
    }

    /// Adds a condition, which is not met until its holder says so. Add all of them before serving.
    #[must_use]
    pub fn condition(&self, name: &'static str) -> Condition {
        let condition = Condition {
            name,
            readiness: self.clone(),
        };
        condition.unmet("starting");
        condition
    }

    /// What is missing, by name and reason; empty when the process is ready.
    #[must_use]
    pub fn missing(&self) -> Vec<(&'static str, String)> {
        let conditions = self.conditions.borrow();
        let unmet = conditions
            .iter()
            .filter_map(|(name, standing)| match standing {
                Standing::Unmet(reason) => Some((*name, reason.clone())),
                Standing::Met(_) => None,
            });
        let draining = self
            .drain
            .is_draining()
            .then(|| ("drain", self.drain.cause().unwrap_or("draining").to_owned()));
        unmet.chain(draining).collect()
    }

    /// Resolves once every condition is met.
    pub async fn ready(&self) {
        let mut conditions = self.conditions.subscribe();
        // An error would mean that the sender is gone, but `self` holds it.
        let _ = conditions
            .wait_for(|all| all.values().all(|one| matches!(one, Standing::Met(_))))
            .await;
    }

    /// What is worth knowing about conditions that are met, by name.
    #[must_use]
    pub fn remarks(&self) -> Vec<(&'static str, String)> {
        let conditions = self.conditions.borrow();
        let remarks = conditions
            .iter()
            .filter_map(|(name, standing)| match standing {
                Standing::Met(remark) if !remark.is_empty() => Some((*name, remark.clone())),
                _ => None,
            });
        remarks.collect()
    }

    fn set(&self, name: &'static str, standing: Standing) {
        self.conditions.send_if_modified(|all| {
            if all.get(name) == Some(&standing) {
                return false;
            }
            all.insert(name, standing);
            true
        });
    }
}

impl Condition {
    /// It is met.
    pub fn met(&self) {
        self.met_with("");
    }

    /// It is met, and the remark is shown to the operator.
    pub fn met_with(&self, remark: &str) {
        let standing = Standing::Met(remark.to_owned());
        self.readiness.set(self.name, standing);
    }

    /// It is not met; the reason is shown to the operator.
    pub fn unmet(&self, reason: &str) {
        let standing = Standing::Unmet(reason.to_owned());
        self.readiness.set(self.name, standing);
    }
}

/// Answers probes.
#[derive(Debug, Clone)]
pub struct Probe {
    readiness: Readiness,
    metrics: Metrics,
}

impl Probe {
    /// Answers from these.
    #[must_use]
    pub fn new(readiness: Readiness, metrics: Metrics) -> Self {
        Self { readiness, metrics }
    }

    /// The answer to one request; 404 for any path but the three.
    #[must_use]
    pub fn respond(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let known = matches!(path, "/healthz" | "/readyz" | "/metrics");
        if known && method != Method::GET && method != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.ready(),
            "/metrics" => {
                let mut response = text(StatusCode::OK, self.metrics.render());
                let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, format);
                response
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "only /healthz, /readyz and /metrics are here\n",
            ),
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let missing = self.readiness.missing();
        let (status, title, lines) = if missing.is_empty() {
            (StatusCode::OK, "ready\n", self.readiness.remarks())
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n", missing)
        };
        let mut body = title.to_owned();
        for (name, line) in lines {
            // Writing to a String cannot fail.
            let _ = writeln!(body, "{name}: {line}");
        }
        text(status, body)
    }

    /// Serves on `addr` until the drain is over, and answers the address with the real port.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn serve(self, addr: SocketAddr, tasks: &Tasks) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        self.metrics.keep(tasks);
        tasks.spawn(PROBE, self.accept(listener, tasks.clone()));
        Ok(addr)
    }

    async fn accept(self, listener: TcpListener, tasks: Tasks) {
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        while let Ok(permit) = Arc::clone(&connections).acquire_owned().await {
            let Ok((tcp, _)) = listener.accept().await else {
                // Out of file descriptors, most likely: they come back when connections close.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let probe = self.clone();
            tasks.spawn(PROBE_REQUEST, async move {
                // A peer that stalls or resets is its own problem.
                let _ = tokio::time::timeout(ALL_WITHIN, probe.answer(tcp)).await;
                drop(permit);
            });
        }
    }

    async fn answer(self, tcp: TcpStream) -> Result<(), hyper::Error> {
        let service = service_fn(|request: Request<Incoming>| {
            let response = self.respond(request.method(), request.uri().path());
            async { Ok::<_, Infallible>(response) }
        });
        let mut server = http1::Builder::new();
        server
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_WITHIN)
            .keep_alive(false)
            .max_buf_size(16 * 1_024);
        server.serve_connection(TokioIo::new(tcp), service).await
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn get(addr: SocketAddr, request: &str) -> String {
        let mut tcp = TcpStream::connect(addr).await.expect("connected");
        tcp.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    #[tokio::test]
    async fn the_three_paths_answer_over_http_until_the_end_of_the_drain() {
        let tasks = Tasks::new(drain::channel().0);
        let readiness = Readiness::new(tasks.drain());
        let (store, catalog) = (readiness.condition("store"), readiness.condition("catalog"));
        let metrics = Metrics::install().expect("the only test that installs");
        metrics::counter!("sidehook_probe_test_total").increment(3);
        let probe = Probe::new(readiness.clone(), metrics);
        let addr = probe
            .serve(SocketAddr::from(([127, 0, 0, 1], 0)), &tasks)
            .await
            .expect("bound");
        let ask =
            async |path: &str| get(addr, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;

        assert!(ask("/healthz").await.starts_with("HTTP/1.1 200"));
        catalog.met();
        store.unmet("connecting to Redis");
        let answer = ask("/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(
            answer.ends_with("\r\n\r\nnot ready\nstore: connecting to Redis\n"),
            "{answer}"
        );
        store.met();
        readiness.ready().await;
        let answer = ask("/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nready\n"), "{answer}");
        store.met_with("durability strict");
        let answer = ask("/readyz").await;
        assert!(
            answer.ends_with("\r\n\r\nready\nstore: durability strict\n"),
            "{answer}"
        );

        let figures = ask("/metrics").await;
        assert!(figures.contains("text/plain; version=0.0.4"), "{figures}");
        assert!(
            figures.contains("\nsidehook_probe_test_total 3\n"),
            "{figures}"
        );
        assert!(
            figures.contains(&format!(
                "sidehook_build_info{{version=\"{}\"}} 1",
                build_info::VERSION
            )),
            "{figures}"
        );
        assert!(ask("/other").await.starts_with("HTTP/1.1 404"));
        let post = get(
            addr,
            "POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
        )
        .await;
        assert!(
            post.starts_with("HTTP/1.1 405") && post.contains("allow: GET, HEAD"),
            "{post}"
        );
        assert!(
            get(addr, "nonsense\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 400")
        );

        tasks.trigger().drain("SIGTERM");
        assert!(
            ask("/readyz")
                .await
                .ends_with("not ready\ndrain: SIGTERM\n")
        );
        assert!(ask("/healthz").await.starts_with("HTTP/1.1 200"));
        tasks.finish(Duration::ZERO).await;
        assert!(TcpStream::connect(addr).await.is_err());
    }

    #[tokio::test]
    async fn readiness_wakes_when_the_last_condition_is_met() {
        let readiness = Readiness::new(drain::channel().1);
        readiness.ready().await;
        let (a, b) = (readiness.condition("a"), readiness.condition("b"));
        let mut ready = Box::pin(readiness.ready());
        a.met();
        assert!(futures_util::poll!(&mut ready).is_pending());
        assert_eq!(readiness.missing(), [("b", "starting".to_owned())]);
        b.met();
        ready.await;
        b.unmet("lost");
        assert_eq!(readiness.missing(), [("b", "lost".to_owned())]);
    }
}
