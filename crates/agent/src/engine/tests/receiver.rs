//! A receiver that reads requests as bytes and answers with bytes, so that it can do what no HTTP library would.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use sidehook_runtime::tasks::{OnPanic, TaskKind, Tasks};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const RECEIVER: TaskKind = TaskKind::new("test_receiver", OnPanic::Log).background();

/// What the receiver does once it has read a request.
#[derive(Debug, Clone)]
pub(super) enum Do {
    /// Sends these bytes and waits for the next request.
    Answer(Vec<u8>),
    /// Sends these bytes and closes.
    AnswerAndClose(Vec<u8>),
    /// Sends these bytes and then nothing, without closing.
    AnswerAndHang(Vec<u8>),
    /// Sends these bytes again and again until the connection is closed.
    AnswerForEver(Vec<u8>),
}

#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Received {
    pub(super) fn headers(&self) -> Vec<(&str, &str)> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .collect()
    }
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

#[derive(Clone)]
pub(super) struct Receiver {
    pub(super) addr: SocketAddr,
    seen: Arc<Seen>,
}

pub(super) fn answer(status: u16, more_headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes =
        format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{more_headers}\r\n")
            .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

impl Receiver {
    /// Answers each request as `act` says; it is given the request's number, from 0.
    pub(super) async fn start(
        tasks: &Tasks,
        act: impl Fn(usize) -> Do + Send + Sync + 'static,
    ) -> Self {
        Self::start_tls(tasks, None, act).await
    }

    pub(super) async fn start_tls(
        tasks: &Tasks,
        tls: Option<TlsAcceptor>,
        act: impl Fn(usize) -> Do + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let seen = Arc::new(Seen::default());
        let (act, shared, spawner) = (Arc::new(act), Arc::clone(&seen), tasks.clone());
        tasks.spawn(RECEIVER, async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (act, seen, tls) = (Arc::clone(&act), Arc::clone(&shared), tls.clone());
                spawner.spawn(RECEIVER, async move {
                    seen.connections.fetch_add(1, Ordering::SeqCst);
                    let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
                    seen.most_open.fetch_max(open, Ordering::SeqCst);
                    match tls {
                        None => serve(tcp, &seen, act.as_ref()).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(tcp).await {
                                serve(stream, &seen, act.as_ref()).await;
                            }
                        }
                    }
                    seen.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { addr, seen }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook?a=1", self.addr)
    }

    pub(super) fn requests(&self) -> Vec<Received> {
        self.seen.requests.lock().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(super) fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    pub(super) fn most_open(&self) -> usize {
        self.seen.most_open.load(Ordering::SeqCst)
    }
}

async fn serve<T>(mut io: T, seen: &Seen, act: &(dyn Fn(usize) -> Do + Send + Sync))
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut io, &mut buffer).await {
        let number = {
            let mut requests = seen.requests.lock();
            requests.push(request);
            requests.len() - 1
        };
        let (bytes, then) = match act(number) {
            Do::Answer(bytes) => (bytes, None),
            Do::AnswerAndClose(bytes) => (bytes, Some(false)),
            Do::AnswerAndHang(bytes) => (bytes, Some(true)),
            Do::AnswerForEver(bytes) => {
                while io.write_all(&bytes).await.is_ok() {}
                return;
            }
        };
        if io.write_all(&bytes).await.is_err() || io.flush().await.is_err() {
            return;
        }
        match then {
            None => {}
            Some(false) => {
                let _ = io.shutdown().await;
                return;
            }
            Some(true) => {
                // Until the other end closes.
                while matches!(io.read(&mut [0; 64]).await, Ok(1..)) {}
                return;
            }
        }
    }
}

async fn read_request<T: AsyncRead + Unpin>(io: &mut T, buffer: &mut Vec<u8>) -> Option<Received> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .and_then(|length| length.parse::<usize>().ok())
                .expect("a known length");
            if buffer.len() >= end + 4 + length {
                let rest = buffer.split_off(end + 4 + length);
                let body = std::mem::replace(buffer, rest).split_off(end + 4);
                return Some(Received { head, body });
            }
        }
        if io.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
