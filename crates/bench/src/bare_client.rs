//! The limit that everything is compared with: a bare keep-alive client, 64 connections, the same bodies to the
//! same receiver.

use std::{
    net::SocketAddr,
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
    receiver: SocketAddr,
    body: &Bytes,
    time: Duration,
) -> Result<f64, Failure> {
    let mut clients = JoinSet::new();
    let start = Instant::now();
    for _ in 0..CONNECTIONS {
        clients.spawn(client(receiver, body.clone(), start + time));
    }
    let mut posts = 0;
    while let Some(done) = clients.join_next().await {
        posts += done??;
    }
    Ok(f64::from(posts) / start.elapsed().as_secs_f64())
}

async fn client(receiver: SocketAddr, body: Bytes, until: Instant) -> Result<u32, Failure> {
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
