//! Replicas that must have what is acknowledged: a call that too few of them have is as
//! good as unanswered, also when it is repeated over a connection that has written
//! nothing else, and takes effect once.

#[path = "support/access.rs"]
mod access;
mod support;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use bytes::Bytes;
use sidehook_core::id::SubscriptionNumber;
use sidehook_redis::{ConnectError, RedisConfig, RedisStore};
use sidehook_store::{
    CallError, Store, StoreError, Turn,
    catalog::{Bounds, Change, Expect, QueueSettings, Write, Written},
    port::Durability,
    registry::Kind,
    turn::{Calls, EventPublished, PublishReply, TenantPublished},
};
use support::{Line, START, Server, calls, events, open, pool, subscribe, tenant};

const PATIENCE: Duration = Duration::from_secs(60);
const STRICT: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

async fn info(server: &Server, section: &str) -> String {
    let mut client = server.client().await;
    let told = redis::cmd("INFO")
        .arg(section)
        .query_async(&mut client)
        .await;
    told.expect("it answers")
}

/// A strict master and a replica that has caught up.
async fn pair() -> (Server, Server) {
    let master = Server::with(&STRICT);
    let port = master.port.to_string();
    let replica = Server::with(&["--replicaof", "127.0.0.1", &port]);
    let begun = Instant::now();
    while !info(&master, "replication").await.contains("state=online") {
        assert!(begun.elapsed() < PATIENCE, "the replica never catches up");
        tokio::task::yield_now().await;
    }
    (master, replica)
}

/// Stops a server in its tracks, or lets it go on.
async fn signal(name: &str, pid: &str) {
    let mut kill = Command::new("kill");
    let done = kill.args([name, pid]).status();
    assert!(done.expect("kill is there").success());
}

async fn pid(server: &Server) -> String {
    let told = info(server, "server").await;
    let line = told
        .lines()
        .find_map(|line| line.strip_prefix("process_id:"));
    line.expect("it tells").trim().to_owned()
}

/// One call of a publish; what the store says when nobody knows its fate.
async fn publish(store: &RedisStore, calls: &Calls) -> Result<PublishReply, String> {
    let turn = Turn {
        now: Some(START),
        calls: vec![calls.clone()],
    };
    match store.turn(0, &turn).await {
        Err(StoreError::Unavailable { detail, .. }) => Err(detail),
        Err(other) => panic!("{other}"),
        Ok(mut reply) => match reply.calls.remove(0).publish.expect("asked") {
            Ok(reply) => Ok(reply),
            Err(CallError::Unknown { detail }) => Err(detail),
            Err(other) => panic!("{other}"),
        },
    }
}

fn is_too_few(detail: &str) -> bool {
    detail.contains("0 of the 1 replicas") && detail.contains("store.replicas")
}

fn assert_too_few<T: std::fmt::Debug>(what: &str, answer: Result<T, StoreError>) {
    let too_few = matches!(
        &answer,
        Err(StoreError::Unavailable { detail, .. }) if is_too_few(detail)
    );
    assert!(too_few, "{what}: {answer:?}");
}

fn accepted(reply: &PublishReply) -> bool {
    let done = |events: &[EventPublished]| events == [EventPublished::Accepted; 2];
    matches!(&reply.tenants[..], [TenantPublished::Done(events)] if done(events))
}

fn pausing(expect: Expect) -> Write {
    Write {
        tenant: tenant(),
        number: SubscriptionNumber(1),
        expect,
        bounds: Bounds::default(),
        nonce: 777,
        change: Change::Put {
            record: Bytes::from_static(b"paused"),
            queue: QueueSettings {
                pool: pool(),
                window: 10,
                paused: true,
            },
        },
    }
}

/// How much a server has written: some versions of Redis wait for all of it, others for
/// what the connection itself has written.
async fn written(server: &Server) -> u64 {
    let told = info(server, "persistence").await;
    let mut lines = told.lines();
    let size = lines.find_map(|line| line.strip_prefix("aof_current_size:"));
    let size = size.expect("it tells").trim();
    size.parse().expect("a number of bytes")
}

/// Makes calls that too few replicas will have, each over connections of its own.
async fn in_vain(master: &Server, one: &Calls, write: &Write) {
    let store = open(&master.url()).await;
    let before = written(master).await;
    let detail = publish(&store, one).await.expect_err("nobody else has it");
    assert!(is_too_few(&detail), "{detail}");
    let published = written(master).await;
    assert!(published > before, "something for WAIT to wait for");

    let store = open(&master.url()).await;
    assert_too_few("a subscription", store.write(write).await);
    let changed = written(master).await;
    assert!(changed > published, "a subscription");

    let store = open(&master.url()).await;
    let value = Bytes::from_static(b"z");
    let claimed = store.registry_claim(Kind::Tenant, b"mine", value);
    assert_too_few("a claimed record", claimed.await);
    let claimed = written(master).await;
    assert!(claimed > changed, "a claimed record");

    let store = open(&master.url()).await;
    let removed = store.registry_put(Kind::Tenant, b"old", None);
    assert_too_few("a removed record", removed.await);
    assert!(written(master).await > claimed, "a removed record");

    // Reading promises nothing.
    assert!(store.now().await.is_ok());
    let read = store.registry_get(Kind::Tenant, b"old").await;
    assert_eq!(read, Ok(None));
}

#[tokio::test]
async fn what_too_few_replicas_have_is_not_acknowledged_however_often_it_is_repeated() {
    let (master, replica) = pair().await;
    let store = master.store().await;
    assert_eq!(store.durability(), Durability::Strict);
    let catalog = subscribe(&store, 1, 10).await;
    let current = store.catalog(tenant(), None).await.expect("it answers");
    let row = current.expect("there is one").rows.remove(0);
    let put = |value: &'static [u8]| Some(Bytes::from_static(value));
    store
        .registry_put(Kind::Tenant, b"old", put(b"x"))
        .await
        .expect("kept");

    let replica_pid = pid(&replica).await;
    signal("-STOP", &replica_pid).await;
    let mut one = calls();
    let mut line = Line::new(5);
    let stamp = line.stamp(1);
    one.publish = Some((stamp, events(stamp, catalog, 2, 10, &[1])));
    let write = pausing(Expect::Version(row.version));
    for _ in 0..3 {
        in_vain(&master, &one, &write).await;
    }
    signal("-CONT", &replica_pid).await;

    let begun = Instant::now();
    let reply = loop {
        match publish(&store, &one).await {
            Ok(reply) => break reply,
            Err(detail) => assert!(begun.elapsed() < PATIENCE, "never: {detail}"),
        }
    };
    assert!(accepted(&reply), "{reply:?}");
    assert!(matches!(store.write(&write).await, Ok(Written::Done(_))));
    let seen = store.inspect(one.partition).await.expect("it answers");
    assert_eq!((seen.segments, seen.ready.len()), (1, 2), "once: {seen:?}");
    assert_eq!(seen.faults, Vec::<String>::new());
    let old = store.registry_get(Kind::Tenant, b"old").await;
    assert_eq!(old, Ok(None));
}

#[tokio::test]
async fn the_setting_says_how_many_and_what_that_is_worth() {
    let (master, _replica) = pair().await;
    for (replicas, level, works) in [
        (None, Durability::Strict, true),
        (Some(0), Durability::Relaxed, true),
        (Some(1), Durability::Strict, true),
        (Some(2), Durability::Strict, false),
    ] {
        let config = RedisConfig {
            replicas,
            ..RedisConfig::new(master.url())
        };
        let store = RedisStore::connect(config).await.expect("it connects");
        assert_eq!(store.durability(), level, "{replicas:?}");
        let value = Some(Bytes::from_static(b"x"));
        let put = store.registry_put(Kind::Tenant, b"one", value).await;
        assert_eq!(put.is_ok(), works, "{replicas:?}: {put:?}");
    }
}

#[tokio::test]
async fn a_master_that_has_lost_its_replica_acknowledges_nothing_more() {
    let (master, mut replica) = pair().await;
    let store = master.store().await;
    let put = || store.registry_put(Kind::Tenant, b"one", Some(Bytes::from_static(b"x")));
    put().await.expect("kept");
    replica.kill();
    assert_too_few("without the replica", put().await);
    // Nor over a connection that finds no replica: it was required before.
    let mut client = master.client().await;
    let _: () = redis::cmd("CLIENT")
        .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
        .query_async(&mut client)
        .await
        .expect("it answers");
    assert_too_few("over a new connection", put().await);
    assert_eq!(store.durability(), Durability::Strict);
    replica.restart();
    let begun = Instant::now();
    while let Err(error) = put().await {
        assert!(begun.elapsed() < PATIENCE, "never: {error}");
    }
}

#[tokio::test]
async fn waiting_is_a_right_only_where_there_is_something_to_wait_for() {
    let (master, replica) = pair().await;
    access::admit(&master, &access::rules()).await;
    let url = access::url(&master);
    let refused = RedisStore::connect(RedisConfig::new(&url)).await.err();
    let told = matches!(&refused, Some(ConnectError::Rights(what)) if what == "wait");
    assert!(told, "{refused:?}");
    access::admit(&master, &format!("{} +wait", access::rules())).await;
    let store = RedisStore::connect(RedisConfig::new(&url)).await;
    let store = store.expect("with the right");
    let value = Some(Bytes::from_static(b"x"));
    let put = store.registry_put(Kind::Tenant, b"one", value).await;
    put.expect("it is waited for");
    drop(replica);
}
