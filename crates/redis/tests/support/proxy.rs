//! A proxy that loses answers: Redis executes, and nobody hears of it.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

#[derive(Default)]
struct Shared {
    /// Calls of scripts whose answers are still to be lost.
    losses: AtomicU64,
    connections: AtomicU64,
    refuse: AtomicBool,
    /// What was sent, while it is wanted.
    recorded: Mutex<Option<Vec<u8>>>,
}

/// Forwards to one port of this machine until it is dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared::default());
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, upstream, Arc::clone(&shared)));
        Self {
            port,
            shared,
            _serving: serving,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Cuts the connections of the next `count` calls of scripts when they are answered.
    pub(crate) fn lose(&self, count: u64) {
        self.shared.losses.store(count, Ordering::SeqCst);
    }

    /// How many answers are still to be lost.
    pub(crate) fn losses(&self) -> u64 {
        self.shared.losses.load(Ordering::SeqCst)
    }

    /// Keeps what is sent to Redis from now on.
    pub(crate) fn record(&self) {
        *self.shared.recorded.lock().expect("nobody panics") = Some(Vec::new());
    }

    /// The commands sent since `record`, in their order, of all connections.
    pub(crate) fn recorded(&self) -> Vec<Vec<Vec<u8>>> {
        let bytes = self.shared.recorded.lock().expect("nobody panics").take();
        commands(&bytes.unwrap_or_default())
    }

    /// Hangs up on new connections at once, or no longer.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.shared.refuse.store(refuse, Ordering::SeqCst);
    }

    /// How many connections were accepted so far, refused ones included.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, upstream: u16, shared: Arc<Shared>) {
    let mut lines = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        if shared.refuse.load(Ordering::SeqCst) {
            continue;
        }
        if let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)).await {
            lines.spawn(forward(client, server, Arc::clone(&shared)));
        }
    }
}

async fn forward(client: TcpStream, server: TcpStream, shared: Arc<Shared>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let lost = AtomicBool::new(false);
    let up = async {
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = from_client.read(&mut buffer).await?;
            if count == 0 {
                return std::io::Result::Ok(());
            }
            let calls = buffer[..count].windows(7).any(|word| word == b"EVALSHA");
            let take = |left: u64| left.checked_sub(1);
            if calls
                && shared
                    .losses
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
                    .is_ok()
            {
                lost.store(true, Ordering::SeqCst);
            }
            if let Some(record) = &mut *shared.recorded.lock().expect("nobody panics") {
                record.extend_from_slice(&buffer[..count]);
            }
            to_server.write_all(&buffer[..count]).await?;
        }
    };
    let down = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = from_server.read(&mut buffer).await?;
            if count == 0 || lost.load(Ordering::SeqCst) {
                return std::io::Result::Ok(());
            }
            to_client.write_all(&buffer[..count]).await?;
        }
    };
    // Either end's goodbye ends both directions.
    let _ = tokio::select! {
        ended = up => ended,
        ended = down => ended,
    };
}

/// Reads whole commands: `*parts`, and for each part `$length` and its bytes.
fn commands(mut bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    fn number(bytes: &mut &[u8]) -> usize {
        let end = bytes
            .iter()
            .position(|byte| *byte == b'\r')
            .expect("whole commands");
        let text = std::str::from_utf8(&bytes[1..end]).expect("a number");
        *bytes = &bytes[end + 2..];
        text.parse().expect("a number")
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let mut parts = Vec::new();
        for _ in 0..number(&mut bytes) {
            let length = number(&mut bytes);
            parts.push(bytes[..length].to_vec());
            bytes = &bytes[length + 2..];
        }
        found.push(parts);
    }
    found
}
