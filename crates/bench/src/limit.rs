//! The limit that everything is compared with: a bare keep-alive client, 64 connections,
//! the same bodies to the same receiver.
//!
//! It is measured again before each run that is compared with it, since a machine that
//! others use is not the same from one minute to the next.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{Failure, proc_stat::cpu, report::Row, stats::Spread, target::Target};

const CONNECTIONS: usize = 64;
/// What a delivery of the benchmark's event weighs on the wire.
const BODY_BYTES: usize = 1024;

/// What the bare client carries.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Limit {
    /// Bare POSTs per second: 64 connections, 1 KiB bodies.
    pub(crate) posts_per_second: Spread,
    /// CPU time of client and receiver together per POST, in microseconds.
    pub(crate) cpu_us: f64,
}

/// One measurement of it.
#[derive(Clone, Copy)]
pub(crate) struct BarePosts {
    /// POSTs per second.
    pub(crate) per_second: f64,
    /// CPU time of client and receiver per POST, in microseconds.
    cpu_us: f64,
}

impl Limit {
    /// What some measurements of it say.
    pub(crate) fn of(measured: &[BarePosts]) -> Self {
        let rates = measured.iter().map(|one| one.per_second);
        let costs = measured.iter().map(|one| one.cpu_us);
        Self {
            posts_per_second: Spread::of(rates.collect()),
            cpu_us: Spread::of(costs.collect()).median,
        }
    }

    pub(crate) fn row(&self) -> Row {
        let rate = self.posts_per_second.text(|rate| format!("{rate:.0}"));
        let measured = format!("{rate} POST/s; CPU {:.1} us each", self.cpu_us);
        Row::new("limit: bare client", measured)
    }
}

/// Measures how many POSTs the bare client carries.
pub(crate) async fn measure(target: &Target, time: Duration) -> Result<BarePosts, Failure> {
    let processes = [std::process::id(), target.id()];
    let used = || -> Result<Duration, Failure> { Ok(cpu(processes[0])? + cpu(processes[1])?) };
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    let mut clients = JoinSet::new();
    let before = used()?;
    let start = Instant::now();
    for _ in 0..CONNECTIONS {
        clients.spawn(client(target.address, body.clone(), start + time));
    }
    let mut posts = 0;
    while let Some(done) = clients.join_next().await {
        posts += done??;
    }
    let posts = f64::from(posts);
    Ok(BarePosts {
        per_second: posts / start.elapsed().as_secs_f64(),
        cpu_us: used()?.saturating_sub(before).as_secs_f64() * 1e6 / posts,
    })
}

async fn client(
    receiver: std::net::SocketAddr,
    body: Bytes,
    until: Instant,
) -> Result<u32, Failure> {
    let stream = TcpStream::connect(receiver).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let mut posts = 0;
    while Instant::now() < until {
        sender.ready().await?;
        let request = Request::post("/limit")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(body.clone()))?;
        sender
            .send_request(request)
            .await?
            .into_body()
            .collect()
            .await?;
        posts += 1;
    }
    Ok(posts)
}
