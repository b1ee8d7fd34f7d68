//! The receiver under fire, as the benchmark sees it: a process of its own, which
//! counts what comes and is asked for its counts.

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use sidehook_testkit::process::{Process, free_ports, loopback};
use tokio::{net::TcpStream, task::JoinSet};

use crate::{Failure, stats::Summary};

/// Longest wait for what must arrive.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
const START: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// The running receiver.
pub(crate) struct Target {
    process: Process,
    pub(crate) address: SocketAddr,
}

/// What it counts.
#[derive(Deserialize)]
pub(crate) struct Counts {
    /// Received and answered since it was reset.
    pub(crate) received: u64,
    /// Hanging at this moment.
    pub(crate) hanging: u64,
    pub(crate) delay_us: Summary,
}

impl Target {
    /// Starts it; its log goes into `folder`.
    pub(crate) async fn start(folder: &Path) -> Result<Self, Failure> {
        let [port] = free_ports();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["receiver", "--port", &port.to_string()]);
        let target = Self {
            process: Process::start(command, &folder.join("receiver.log")),
            address: loopback(port),
        };
        let deadline = Instant::now() + START;
        while TcpStream::connect(target.address).await.is_err() {
            if Instant::now() > deadline {
                return Err(format!("the receiver does not listen after {START:?}").into());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(target)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Answers all that hangs.
    pub(crate) async fn release(&self) -> Result<(), Failure> {
        self.ask("/release").await.map(drop)
    }

    /// Forgets what was received.
    pub(crate) async fn reset(&self) -> Result<(), Failure> {
        self.ask("/reset").await.map(drop)
    }

    /// Waits until the counts are as wanted, and answers them with their percentiles.
    pub(crate) async fn wait_for(&self, done: impl Fn(&Counts) -> bool) -> Result<Counts, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let counts: Counts = serde_json::from_slice(&self.ask("/counts").await?)?;
            if done(&counts) {
                return Ok(serde_json::from_slice(&self.ask("/stats").await?)?);
            }
            if Instant::now() > deadline {
                let received = counts.received;
                return Err(format!("only {received} deliveries after {PATIENCE:?}").into());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn ask(&self, path: &str) -> Result<Bytes, Failure> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let request = Request::get(path)
            .header("host", "localhost")
            .body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
        Ok(answer.into_body().collect().await?.to_bytes())
    }
}
