//! A TCP proxy that breaks connections on purpose.
//!
//! It stands between an agent and its control plane, or between that and Redis, and
//! works on bytes, so that a cut can fall into the middle of a frame: what a real
//! network does and a well-behaved peer never shows. Each connection is two pumps
//! (one per direction), each a reader and a writer with a bounded queue between
//! them; a delay is then a longer line, not a narrower one.
//!
//! A stall is a black hole: bytes stay where they are, connections stay open, and
//! neither end is told. What was stalled arrives after `forward`.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};

const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks on the way per direction: 4 MiB, what a long line holds.
const CHUNKS: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Forward,
    Stall,
    Refuse,
}

#[derive(Clone, Copy)]
struct State {
    mode: Mode,
    delay: Duration,
    /// Connections of an earlier number have been cut.
    cuts: u64,
}

struct Shared {
    target: SocketAddr,
    state: watch::Sender<State>,
    /// Bytes until the next cut, if one is due.
    budget: Mutex<Option<usize>>,
    connections: AtomicU64,
    upwards: AtomicU64,
    downwards: AtomicU64,
}

/// A running proxy; its connections end when it is dropped.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

impl FaultProxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `target`.
    ///
    /// # Panics
    ///
    /// If no port can be had.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free loopback port");
        let address = listener.local_addr().expect("a bound listener");
        let state = State {
            mode: Mode::Forward,
            delay: Duration::ZERO,
            cuts: 0,
        };
        let shared = Arc::new(Shared {
            target,
            state: watch::Sender::new(state),
            budget: Mutex::new(None),
            connections: AtomicU64::new(0),
            upwards: AtomicU64::new(0),
            downwards: AtomicU64::new(0),
        });
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            _serving: serving,
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Heals: what is stalled moves on, new connections are forwarded, without delay.
    pub fn forward(&self) {
        *self.shared.budget.lock() = None;
        self.shared.state.send_modify(|state| {
            state.mode = Mode::Forward;
            state.delay = Duration::ZERO;
        });
    }

    /// From now on no byte moves and no connection ends, until `forward`.
    pub fn stall(&self) {
        let set = |state: &mut State| state.mode = Mode::Stall;
        self.shared.state.send_modify(set);
    }

    /// Resets all connections, and each new one at once, until `forward`.
    pub fn refuse(&self) {
        self.shared.state.send_modify(|state| {
            state.mode = Mode::Refuse;
            state.cuts += 1;
        });
    }

    /// Resets all connections; new ones are treated as before.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Forwards so many more bytes, of all connections and both directions
    /// together; the byte after them resets all connections, once.
    pub fn cut_after(&self, bytes: usize) {
        *self.shared.budget.lock() = Some(bytes);
    }

    /// Holds every byte back for so long, in each direction, until `forward`. What
    /// is on the way already keeps its time.
    pub fn delay(&self, delay: Duration) {
        let set = |state: &mut State| state.delay = delay;
        self.shared.state.send_modify(set);
    }

    /// How many connections were accepted so far, refused ones included.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// How many bytes were forwarded to the target so far.
    #[must_use]
    pub fn bytes_to_target(&self) -> u64 {
        self.shared.upwards.load(Ordering::Relaxed)
    }

    /// How many bytes were forwarded from the target so far.
    #[must_use]
    pub fn bytes_from_target(&self) -> u64 {
        self.shared.downwards.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// How much of a chunk may pass; less than all if a cut is to follow.
    fn allowance(&self, bytes: usize) -> usize {
        match &mut *self.budget.lock() {
            Some(left) => {
                let allowed = bytes.min(*left);
                *left -= allowed;
                allowed
            }
            None => bytes,
        }
    }

    async fn until_open(&self) -> io::Result<()> {
        let mut state = self.state.subscribe();
        let open = state.wait_for(|state| state.mode != Mode::Stall).await;
        open.map(drop).map_err(io::Error::other)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        shared.connections.fetch_add(1, Ordering::Relaxed);
        // Taken here, so that a cut after the accept is never missed.
        let state = *shared.state.borrow();
        if state.mode == Mode::Refuse {
            // Closed with a reset where the system allows it, else with a goodbye.
            let _ = stream.set_zero_linger();
            continue;
        }
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // The end of a connection, by either side or by a cut, is its own affair.
            let _ = connect_and_relay(stream, &shared, state.cuts).await;
        });
    }
}

/// Relays until both ends are done, one fails, or a cut after the `cuts` first ones.
async fn connect_and_relay(mut near: TcpStream, shared: &Shared, cuts: u64) -> io::Result<()> {
    let mut state = shared.state.subscribe();
    let cut = state.wait_for(|state| state.cuts != cuts);
    tokio::pin!(cut);
    let connected = tokio::select! {
        far = connect(shared) => far,
        _ = &mut cut => Err(io::ErrorKind::ConnectionReset.into()),
    };
    let Ok(mut far) = connected else {
        return near.set_zero_linger();
    };
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let is_orderly = tokio::select! {
        ended = relay(&mut near, &mut far, shared) => ended.is_ok(),
        _ = cut => false,
    };
    if !is_orderly {
        near.set_zero_linger()?;
        far.set_zero_linger()?;
    }
    Ok(())
}

async fn connect(shared: &Shared) -> io::Result<TcpStream> {
    shared.until_open().await?;
    TcpStream::connect(shared.target).await
}

async fn relay(near: &mut TcpStream, far: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let (from_near, to_near) = near.split();
    let (from_far, to_far) = far.split();
    tokio::try_join!(
        pump(from_near, to_far, shared, &shared.upwards),
        pump(from_far, to_near, shared, &shared.downwards),
    )?;
    Ok(())
}

/// One direction of one connection, up to its end.
async fn pump(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    shared: &Shared,
    forwarded: &AtomicU64,
) -> io::Result<()> {
    let (line, arriving) = mpsc::channel(CHUNKS);
    tokio::try_join!(
        read(from, line, shared),
        write(arriving, to, shared, forwarded)
    )?;
    Ok(())
}

async fn read(
    mut from: ReadHalf<'_>,
    line: mpsc::Sender<(Instant, Bytes)>,
    shared: &Shared,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK_BYTES);
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let due = Instant::now() + shared.state.borrow().delay;
        let sent = line.send((due, buffer.split().freeze())).await;
        sent.map_err(io::Error::other)?;
    }
}

async fn write(
    mut arriving: mpsc::Receiver<(Instant, Bytes)>,
    mut to: WriteHalf<'_>,
    shared: &Shared,
    forwarded: &AtomicU64,
) -> io::Result<()> {
    while let Some((due, chunk)) = arriving.recv().await {
        tokio::time::sleep_until(due).await;
        shared.until_open().await?;
        let allowed = shared.allowance(chunk.len());
        // Counted first: whoever sees the bytes sees them counted.
        forwarded.fetch_add(allowed as u64, Ordering::Relaxed);
        to.write_all(&chunk[..allowed]).await?;
        if allowed < chunk.len() {
            // Everybody else's connection breaks with this one.
            *shared.budget.lock() = None;
            shared.cut();
            return Err(io::ErrorKind::ConnectionReset.into());
        }
    }
    shared.until_open().await?;
    to.shutdown().await
}
