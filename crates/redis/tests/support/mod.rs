//! A redis-server of a test's own, and calls that are easy to write.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use sidehook_core::{
    address::{EventId, Lane, Partition, Sequence},
    id::{AgentId, SubscriptionNumber, TenantId},
    pool::Pool,
    time::Timestamp,
    version::Version,
};
use sidehook_redis::{RedisConfig, RedisStore};
use sidehook_store::{
    Stamp, Store, Turn,
    budget::Budget,
    catalog::{Bounds, Change, Expect, QueueSettings, Write, Written},
    rules,
    turn::{Calls, Claim, Demand, Holder, NewEvent, Publish, Replies, TenantPublish},
};

/// Runs until it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    directory: tempfile::TempDir,
    arguments: Vec<String>,
}

impl Server {
    /// Starts one that keeps nothing on disk.
    pub(crate) fn start() -> Self {
        Self::with(&["--appendonly", "no"])
    }

    /// Starts one with further settings.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory for Redis");
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        // Another process may take the free port first: then try the next one.
        for _ in 0..20 {
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let port = free.local_addr().expect("bound").port();
            drop(free);
            let mut child = spawn(port, &directory, &arguments);
            if answers(port, &mut child) {
                return Self {
                    child,
                    port,
                    directory,
                    arguments,
                };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("redis-server does not start");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Kills it without a chance to say goodbye.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was killed");
    }

    /// Starts it again on the same port and files.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.port, &self.directory, &self.arguments);
        assert!(answers(self.port, &mut self.child), "it starts again");
    }

    /// A store over it with a short time-out.
    pub(crate) async fn store(&self) -> RedisStore {
        open(&self.url()).await
    }

    /// A client of the test's own.
    pub(crate) async fn client(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("a valid URL");
        client
            .get_multiplexed_async_connection()
            .await
            .expect("it answers")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, directory: &tempfile::TempDir, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--enable-debug-command", "yes"])
        .arg("--dir")
        .arg(directory.path())
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

fn answers(port: u16, child: &mut Child) -> bool {
    use std::io::{Read as _, Write as _};
    for _ in 0..400 {
        if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) {
            let mut answer = [0; 5];
            if stream.write_all(b"PING\r\n").is_ok()
                && stream.read_exact(&mut answer).is_ok()
                && &answer == b"+PONG"
            {
                return true;
            }
        }
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    false
}

/// A store over the Redis at `url`.
pub(crate) async fn open(url: &str) -> RedisStore {
    let config = RedisConfig {
        workers: 2,
        ..RedisConfig::new(url)
    };
    RedisStore::connect(config).await.expect("it connects")
}

pub(crate) const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

pub(crate) fn tenant() -> TenantId {
    TenantId::from_bits(7)
}

pub(crate) fn pool() -> Pool {
    Pool {
        owner: tenant(),
        name: "default".to_owned(),
    }
}

/// A line of calls to one partition.
pub(crate) struct Line {
    pub(crate) lane: Lane,
    next: [u32; 3],
}

impl Line {
    pub(crate) fn new(lane: u64) -> Self {
        Self {
            lane: Lane::from_random(lane),
            next: [1; 3],
        }
    }

    /// The next stamp of a kind: 0 settle, 1 publish, 2 claim.
    pub(crate) fn stamp(&mut self, kind: usize) -> Stamp {
        let sequence = Sequence::new(self.next[kind]).expect("few calls");
        self.next[kind] += 1;
        Stamp {
            lane: self.lane,
            sequence,
        }
    }
}

/// Creates a subscription of [`tenant`]; the catalog's version afterwards.
pub(crate) async fn subscribe(store: &dyn Store, number: u32, window: u32) -> Version {
    let write = Write {
        tenant: tenant(),
        number: SubscriptionNumber(number),
        expect: Expect::Absent,
        bounds: Bounds::default(),
        nonce: u64::from(number) + 100,
        change: Change::Put {
            record: Bytes::from_static(b"subscription"),
            queue: QueueSettings {
                pool: pool(),
                window,
                paused: false,
            },
        },
    };
    let written = store.write(&write).await.expect("the store answers");
    assert!(matches!(written, Written::Done(_)), "{written:?}");
    let catalog = store.catalog(tenant(), None).await.expect("it answers");
    catalog.expect("asked without a known version").version
}

/// Events of [`tenant`] for one subscription each.
pub(crate) fn events(
    stamp: Stamp,
    catalog: Version,
    count: usize,
    bytes: usize,
    targets: &[u32],
) -> Publish {
    let segment = rules::address(Partition::of(tenant()), stamp, 0).expect("the first place");
    let events = (0..count)
        .map(|index| NewEvent {
            id: EventId::new(START, segment, index as u8),
            record: Bytes::from(vec![index as u8; bytes]),
            idempotency: None,
            targets: targets.iter().map(|one| SubscriptionNumber(*one)).collect(),
        })
        .collect();
    Publish {
        tenants: vec![TenantPublish {
            tenant: tenant(),
            catalog,
            budget: Budget::UNLIMITED,
            events,
        }],
    }
}

/// A demand of [`pool`].
pub(crate) fn demand(max_deliveries: u32) -> Demand {
    Demand {
        pool: pool(),
        holder: Holder {
            agent: AgentId::from_bits(99),
            session: 1,
        },
        max_deliveries,
        per_tenant: u32::MAX,
        shares: Vec::new(),
        lease: Duration::from_secs(30),
        token: 4242,
    }
}

pub(crate) fn claim(max_deliveries: u32) -> Claim {
    Claim {
        demands: vec![demand(max_deliveries)],
    }
}

/// Calls of [`tenant`]'s partition.
pub(crate) fn calls() -> Calls {
    Calls::new(Partition::of(tenant()))
}

/// Executes one partition's calls at a time.
pub(crate) async fn execute(store: &dyn Store, now: Timestamp, calls: Calls) -> Replies {
    let turn = Turn {
        now: Some(now),
        calls: vec![calls],
    };
    let mut reply = store.turn(0, &turn).await.expect("the store answers");
    assert_eq!(reply.now, now);
    reply.calls.remove(0)
}
