//! The proxy forwards what it should and breaks what it is told to.

use std::time::{Duration, Instant};

use sidehook_testkit::FaultProxy;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

const SOON: Duration = Duration::from_secs(5);
/// Long enough for a byte on loopback, short enough to wait for nothing.
const NOTHING: Duration = Duration::from_millis(50);

/// A server that sends everything back, behind a proxy.
struct Echo {
    proxy: FaultProxy,
    _serving: JoinSet<()>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let target = listener.local_addr().expect("bound");
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let proxy = FaultProxy::start(target).await;
        Self {
            proxy,
            _serving: serving,
        }
    }

    async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.proxy.address()).await;
        stream.expect("the proxy listens")
    }
}

async fn echoed(stream: &mut TcpStream, text: &str) -> bool {
    if stream.write_all(text.as_bytes()).await.is_err() {
        return false;
    }
    let mut answer = vec![0; text.len()];
    let read = timeout(SOON, stream.read_exact(&mut answer)).await;
    read.is_ok_and(|read| read.is_ok()) && answer == text.as_bytes()
}

/// Whether the connection ends without a further byte.
async fn ends(stream: &mut TcpStream) -> bool {
    let read = timeout(SOON, stream.read(&mut [0])).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn forwards_and_counts_and_passes_the_end_on() {
    let echo = Echo::start().await;
    let mut stream = echo.connect().await;
    let large = "x".repeat(1 << 20);
    assert!(echoed(&mut stream, &large).await);
    assert_eq!(echo.proxy.bytes_to_target(), 1 << 20);
    assert_eq!(echo.proxy.bytes_from_target(), 1 << 20);
    assert_eq!(echo.proxy.connections(), 1);
    stream.shutdown().await.expect("half closed");
    assert_eq!(stream.read(&mut [0]).await.expect("an orderly end"), 0);
}

#[tokio::test]
async fn a_cut_ends_old_connections_and_spares_new_ones() {
    let echo = Echo::start().await;
    let (mut one, mut two) = (echo.connect().await, echo.connect().await);
    assert!(echoed(&mut one, "a").await && echoed(&mut two, "a").await);
    echo.proxy.cut();
    assert!(ends(&mut one).await && ends(&mut two).await);
    assert!(echoed(&mut echo.connect().await, "b").await);
}

#[tokio::test]
async fn refuses_until_healed() {
    let echo = Echo::start().await;
    let mut old = echo.connect().await;
    assert!(echoed(&mut old, "a").await);
    echo.proxy.refuse();
    assert!(ends(&mut old).await);
    assert!(ends(&mut echo.connect().await).await);
    echo.proxy.forward();
    assert!(echoed(&mut echo.connect().await, "b").await);
}

#[tokio::test]
async fn a_stall_loses_nothing_and_tells_nobody() {
    let echo = Echo::start().await;
    let mut old = echo.connect().await;
    assert!(echoed(&mut old, "a").await);
    echo.proxy.stall();
    let mut new = echo.connect().await;
    for stream in [&mut old, &mut new] {
        stream.write_all(b"late").await.expect("nobody is told");
        let silence = timeout(NOTHING, stream.read(&mut [0])).await;
        assert!(silence.is_err(), "something came: {silence:?}");
    }
    echo.proxy.forward();
    for stream in [&mut old, &mut new] {
        let mut answer = [0; 4];
        let read = timeout(SOON, stream.read_exact(&mut answer)).await;
        read.expect("in time").expect("whole");
        assert_eq!(&answer, b"late");
    }
}

#[tokio::test]
async fn a_stalled_connection_can_be_cut() {
    let echo = Echo::start().await;
    echo.proxy.stall();
    let mut stream = echo.connect().await;
    assert!(timeout(NOTHING, stream.read(&mut [0])).await.is_err());
    echo.proxy.cut();
    assert!(ends(&mut stream).await);
}

#[tokio::test]
async fn cuts_within_a_message_once() {
    let echo = Echo::start().await;
    let mut stream = echo.connect().await;
    assert!(echoed(&mut stream, "before").await);
    echo.proxy.cut_after(10);
    stream.write_all(b"seven..seven..").await.expect("taken");
    assert!(
        timeout(SOON, async { while !ends_or_reads(&mut stream).await {} })
            .await
            .is_ok()
    );
    let forwarded = echo.proxy.bytes_to_target() + echo.proxy.bytes_from_target();
    assert_eq!(forwarded, 2 * 6 + 10);
    assert!(echoed(&mut echo.connect().await, "and again without a limit").await);
}

/// Reads one byte if there is one; whether it was the end instead.
async fn ends_or_reads(stream: &mut TcpStream) -> bool {
    !matches!(stream.read(&mut [0]).await, Ok(1))
}

#[tokio::test]
async fn a_delay_holds_every_byte_in_each_direction() {
    let echo = Echo::start().await;
    let delay = Duration::from_millis(40);
    echo.proxy.delay(delay);
    let mut stream = echo.connect().await;
    let begun = Instant::now();
    let large = "x".repeat(1 << 20);
    assert!(echoed(&mut stream, &large).await);
    let took = begun.elapsed();
    assert!(took >= 2 * delay, "there and back took {took:?}");
}
