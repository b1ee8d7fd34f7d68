//! The gateway's port: connections, their limits, and their end.
//!
//! It speaks HTTP/1.1, which every client of these dialects does. What a peer can hold
//! without a key is bounded: connections by the port's configuration, the time for a
//! request's head (and between two of them), its body, and its answer to be taken here;
//! and a connection ends with the first answer that no known caller gets, so that nobody
//! can take all the places of the port for good. On a drain the port closes, each
//! connection ends with the answer that is under way, and what has not ended within the
//! grace is cut off.

use core::{convert::Infallible, time::Duration};
use std::{io, net::SocketAddr};

use axum::Router;
use futures_util::StreamExt as _;
use http::{HeaderValue, Request, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use sidehook_runtime::{
    config::Reader,
    drain::Drain,
    listen::{Connection, ListenConfig, ListenError, Listener, Protocol},
    tasks::{OnPanic, TaskKind, Tasks},
};
use tower::Service as _;

use crate::{
    answer::Response,
    app::{self, OfKnown},
    backend::InProcess,
    patience::Impatient,
    settings::DialectSettings,
};

/// Without it nobody can connect.
const PORT: TaskKind = TaskKind::new("gateway", OnPanic::Abort);
/// One peer's affair.
const CONNECTION: TaskKind = TaskKind::new("gateway_connection", OnPanic::Log);

/// How long the head of a request may take to come, from when the connection is free for
/// it.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How long a peer may take nothing of its answer.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 * 1024;

/// How the gateway is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Its port.
    pub listen: ListenConfig,
    /// What the foreign APIs leave open.
    pub dialects: DialectSettings,
}

impl GatewayConfig {
    /// Where it listens unless told otherwise.
    pub const DEFAULT_ADDR: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8703);

    /// The defaults, on this port.
    #[must_use]
    pub fn new(listen: ListenConfig) -> Self {
        let dialects = DialectSettings::default();
        Self { listen, dialects }
    }

    /// Reads the section `gateway`: that of a port, with `collect` and `hookshot`.
    pub fn read(r: &mut Reader<'_>) -> Option<Self> {
        let (listen, dialects) = r.section("gateway", |r| {
            let listen = ListenConfig::read(r, Self::DEFAULT_ADDR);
            (listen, DialectSettings::read(r))
        });
        let listen = listen?;
        Some(Self { listen, dialects })
    }
}

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port cannot be served.
    #[error("gateway: {0}")]
    Listen(#[from] ListenError),
    /// Certificates cannot be watched.
    #[error("gateway: cannot serve: {0}")]
    Serve(#[from] io::Error),
}

/// A gateway that has its port.
#[derive(Debug)]
pub struct Gateway {
    listener: Listener,
    dialects: DialectSettings,
    taken_within: Duration,
}

impl Gateway {
    /// Takes the port. Connections wait from now on, until it is served.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn bind(config: GatewayConfig) -> Result<Self, StartError> {
        let listener = Listener::bind("gateway", config.listen, Protocol::HTTP1).await?;
        Ok(Self {
            listener,
            dialects: config.dialects,
            taken_within: TAKEN_WITHIN,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Serves the gateway over `service`. It ends when `tasks` drain, within `grace`.
    ///
    /// # Errors
    /// Certificates cannot be watched.
    pub fn serve(
        self,
        service: &InProcess,
        grace: Duration,
        tasks: &Tasks,
    ) -> Result<(), StartError> {
        let addr = self.local_addr();
        let mut incoming = self.listener.incoming(tasks)?;
        // What is left of the grace is for closing connections.
        let (router, patience) = (app::router(service, self.dialects), grace * 5 / 6);
        let (each, drain) = (tasks.clone(), tasks.drain());
        let taken_within = self.taken_within;
        tasks.spawn(PORT, async move {
            while let Some(Ok(connection)) = incoming.next().await {
                let connection = (
                    connection.peer_addr(),
                    Impatient::new(connection, taken_within),
                );
                let serving = serve(connection, router.clone(), drain.clone(), patience);
                each.spawn(CONNECTION, serving);
            }
        });
        tracing::info!(gateway = %addr, "the gateway serves");
        Ok(())
    }
}

async fn answer(mut router: Router, request: Request<Incoming>) -> Result<Response, Infallible> {
    let mut response = router.call(request).await?;
    if response.extensions().get::<OfKnown>().is_none() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    Ok(response)
}

async fn serve(
    (peer, connection): (SocketAddr, Impatient<Connection>),
    router: Router,
    drain: Drain,
    patience: Duration,
) {
    let answer = service_fn(move |request| answer(router.clone(), request));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES);
    let serving = http.serve_connection(TokioIo::new(connection), answer);
    let mut serving = core::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => Ok(ended),
        () = drain.draining() => {
            serving.as_mut().graceful_shutdown();
            tokio::time::timeout(patience, serving.as_mut()).await
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a connection broke"),
        Err(_) => tracing::warn!(%peer, "cut off: the peer does not take its answer"),
    }
}

#[cfg(test)]
mod tests {
    use sidehook_runtime::drain::{self, Outcome};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };
    use tonic::Status;

    use super::*;

    async fn served(tasks: &Tasks) -> SocketAddr {
        served_within(tasks, TAKEN_WITHIN).await
    }

    async fn served_within(tasks: &Tasks, taken_within: Duration) -> SocketAddr {
        let played = tower::service_fn(move |_: Request<tonic::body::Body>| async move {
            let mut answer = Status::not_found("played").into_http();
            let tenant = HeaderValue::from_static("ten_0000000000000000000000");
            answer.headers_mut().insert("sidehook-tenant", tenant);
            // An answer of which not many fit the buffers on its way.
            let long = HeaderValue::try_from("x".repeat(LONG)).expect("a header");
            answer.headers_mut().insert("ratelimit", long);
            Ok(answer)
        });
        let listen = ListenConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        let gateway = Gateway::bind(GatewayConfig::new(listen)).await;
        let mut gateway = gateway.expect("a free port");
        gateway.taken_within = taken_within;
        let addr = gateway.local_addr();
        let grace = Duration::from_secs(60);
        let serving = gateway.serve(&InProcess::new(played), grace, tasks);
        serving.expect("it serves");
        addr
    }

    /// Asks for a webhook, with a key or without.
    async fn ask(connection: &mut TcpStream, key: &str) -> String {
        let path = "/api/v1/webhook/whsub_0000000000000000000000";
        let request = format!("GET {path} HTTP/1.1\r\nhost: sidehook\r\n{key}\r\n");
        let sent = connection.write_all(request.as_bytes()).await;
        sent.expect("it is taken");
        let (mut answer, mut part) = (Vec::new(), [0; 1024]);
        while !answer.ends_with(b"}") {
            let read = connection.read(&mut part).await.expect("an answer");
            assert!(read > 0, "it broke off");
            answer.extend_from_slice(&part[..read]);
        }
        String::from_utf8(answer).expect("text")
    }

    const LONG: usize = 16 * 1024;
    const KEY: &str = "authorization: Bearer k1\r\n";

    #[tokio::test]
    async fn a_connection_ends_with_the_first_answer_to_a_stranger() {
        let tasks = Tasks::new(drain::channel().0);
        let addr = served(&tasks).await;
        let mut connection = TcpStream::connect(addr).await.expect("it listens");
        let answer = ask(&mut connection, KEY).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        let answer = ask(&mut connection, "").await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        let read = connection.read(&mut [0; 1]).await;
        assert_eq!(read.expect("its end"), 0);
        tasks.trigger().end();
    }

    #[tokio::test]
    async fn a_peer_that_takes_no_answers_loses_its_place() {
        let tasks = Tasks::new(drain::channel().0);
        let addr = served_within(&tasks, Duration::from_millis(10)).await;
        let mut greedy = TcpStream::connect(addr).await.expect("it listens");
        let asking = async {
            let path = "/api/v1/webhook/whsub_0000000000000000000000";
            let request = format!("GET {path} HTTP/1.1\r\nhost: sidehook\r\n{KEY}\r\n");
            let requests = request.repeat(100);
            while greedy.write_all(requests.as_bytes()).await.is_ok() {}
        };
        // Sooner than anything else would end it.
        let ended = tokio::time::timeout(HEAD_WITHIN / 2, asking).await;
        ended.expect("the gateway ends it");
        tasks.trigger().end();
    }

    #[tokio::test]
    async fn a_connection_that_rests_does_not_hold_up_the_drain() {
        let tasks = Tasks::new(drain::channel().0);
        let addr = served(&tasks).await;
        let mut resting = TcpStream::connect(addr).await.expect("it listens");
        for _ in 0..2 {
            let answer = ask(&mut resting, KEY).await;
            assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        }
        tasks.trigger().drain("test");
        let ended = tasks.finish(Duration::from_secs(30)).await;
        assert_eq!(ended, Outcome::Clean);
        let read = resting.read(&mut [0; 1]).await;
        assert_eq!(read.expect("its end"), 0);
        assert!(TcpStream::connect(addr).await.is_err(), "the port is shut");
    }
}
