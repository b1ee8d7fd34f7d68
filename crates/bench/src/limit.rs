//! The limit: a bare keep-alive client, 64 connections, the same bodies to the
//! same receiver.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use crate::Failure;

const CONNECTIONS: usize = 64;

/// POSTs per second that the bare client carries.
pub(crate) async fn posts_per_second(
    port: u16,
    body: &Bytes,
    time: Duration,
) -> Result<f64, Failure> {
    let mut clients = JoinSet::new();
    let start = Instant::now();
    for _ in 0..CONNECTIONS {
        clients.spawn(client(port, body.clone(), start + time));
    }
    let mut posts = 0;
    while let Some(done) = clients.join_next().await {
        posts += done??;
    }
    Ok(f64::from(posts) / start.elapsed().as_secs_f64())
}

async fn client(port: u16, body: Bytes, until: Instant) -> Result<u32, Failure> {
    let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
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
