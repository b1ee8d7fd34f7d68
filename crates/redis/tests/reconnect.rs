//! Connections that break, and what is behind the name afterwards: the server is
//! looked at again, one that cannot be trusted counts as away, and nobody spins.

#[path = "support/proxy.rs"]
mod proxy;
mod support;

use std::time::{Duration, Instant};

use proxy::Proxy;
use sidehook_redis::RedisStore;
use sidehook_store::{Store as _, StoreError, Turn, port::Durability};
use support::{Server, calls, open};

/// How long something may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

async fn tell(server: &Server, command: &[&str]) {
    let mut client = server.client().await;
    let mut cmd = redis::cmd(command[0]);
    cmd.arg(&command[1..]);
    let _: redis::Value = cmd.query_async(&mut client).await.expect("it answers");
}

/// Breaks all connections of the store, but not the one that says so.
async fn cut(server: &Server) {
    tell(
        server,
        &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
    )
    .await;
}

/// One call over each of the store's connections; the first error of theirs.
async fn use_all(store: &RedisStore) -> Result<(), StoreError> {
    let mut tick = calls();
    tick.tick = true;
    let turn = Turn {
        now: None,
        calls: vec![tick],
    };
    for worker in 0..2 {
        store.turn(worker, &turn).await?;
    }
    store.now().await.map(drop)
}

/// Repeats that until it works; answers the last complaint.
async fn until_it_works(store: &RedisStore) -> Option<String> {
    let begun = Instant::now();
    let mut complaint = None;
    loop {
        match use_all(store).await {
            Ok(()) => return complaint,
            Err(StoreError::Unavailable {
                detail,
                retry_after,
            }) => {
                assert!(begun.elapsed() < PATIENCE, "it never resumed: {detail}");
                assert!(retry_after > Duration::ZERO);
                complaint = Some(detail);
                tokio::time::sleep(retry_after).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// Repeats that until the complaint has `words` in it.
async fn until_it_says(store: &RedisStore, words: &str) {
    let begun = Instant::now();
    loop {
        let said = use_all(store).await;
        if let Err(StoreError::Unavailable { detail, .. }) = &said
            && detail.contains(words)
        {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "never {words:?}, but {said:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_level_is_that_of_the_server_which_is_there_now() {
    let server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = server.store().await;
    until_it_works(&store).await;
    assert_eq!(store.durability(), Durability::Strict);
    for (setting, value, wanted) in [
        ("appendfsync", "everysec", Durability::Relaxed),
        ("no-appendfsync-on-rewrite", "yes", Durability::Volatile),
        ("no-appendfsync-on-rewrite", "no", Durability::Relaxed),
        ("appendonly", "no", Durability::Volatile),
        ("appendonly", "yes", Durability::Relaxed),
        ("appendfsync", "always", Durability::Strict),
    ] {
        tell(&server, &["CONFIG", "SET", setting, value]).await;
        cut(&server).await;
        until_it_works(&store).await;
        assert_eq!(store.durability(), wanted, "after {setting} {value}");
    }
}

#[tokio::test]
async fn a_server_that_evicts_counts_as_away_until_it_does_not() {
    let server = Server::start();
    let store = server.store().await;
    tell(
        &server,
        &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"],
    )
    .await;
    cut(&server).await;
    until_it_says(&store, "noeviction").await;
    tell(
        &server,
        &["CONFIG", "SET", "maxmemory-policy", "noeviction"],
    )
    .await;
    until_it_works(&store).await;
}

#[tokio::test]
async fn a_master_that_became_a_replica_counts_as_away_on_every_connection() {
    let (server, master) = (Server::start(), Server::start());
    let store = server.store().await;
    until_it_works(&store).await;
    let port = master.port.to_string();
    tell(&server, &["REPLICAOF", "127.0.0.1", &port]).await;
    until_it_says(&store, "is a replica").await;
    // Reading the time works on replicas, but not over a connection in doubt: whoever
    // asks whether the store is there is told that it is not.
    let begun = Instant::now();
    while store.now().await.is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it still trusts the replica");
        tokio::task::yield_now().await;
    }
    tell(&server, &["REPLICAOF", "NO", "ONE"]).await;
    until_it_works(&store).await;
}

#[tokio::test]
async fn rights_that_are_taken_away_and_given_back_cost_time_only() {
    let server = Server::start();
    tell(
        &server,
        &["ACL", "SETUSER", "one", "on", ">pass", "~*", "&*", "+@all"],
    )
    .await;
    let store = open(&format!("redis://one:pass@127.0.0.1:{}/", server.port)).await;
    until_it_works(&store).await;
    tell(&server, &["ACL", "SETUSER", "one", "-evalsha"]).await;
    until_it_says(&store, "NOPERM").await;
    tell(
        &server,
        &["ACL", "SETUSER", "one", "+evalsha", "resetpass", ">other"],
    )
    .await;
    until_it_works(&store).await;
    // Only a new connection shows that the password is another one.
    cut(&server).await;
    until_it_says(&store, "credentials").await;
    tell(&server, &["ACL", "SETUSER", "one", ">pass"]).await;
    until_it_works(&store).await;
}

#[tokio::test]
async fn a_server_that_is_still_loading_is_waited_for() {
    // It waits after each key that it loads, and answers meanwhile.
    let mut server = Server::with(&[
        "--appendonly",
        "yes",
        "--key-load-delay",
        "10000",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    let store = server.store().await;
    until_it_works(&store).await;
    let filling = "x".repeat(2_048);
    for number in 0..300 {
        tell(&server, &["SET", &number.to_string(), &filling]).await;
    }
    // What was rewritten is loaded key by key.
    tell(&server, &["BGREWRITEAOF"]).await;
    let begun = Instant::now();
    while !persistence(&server)
        .await
        .contains("aof_rewrite_in_progress:0")
    {
        assert!(begun.elapsed() < PATIENCE, "it never ends");
    }
    let restarted = tokio::task::spawn_blocking(move || {
        server.kill();
        server.restart();
        server
    });
    until_it_says(&store, "LOADING").await;
    until_it_works(&store).await;
    let server = restarted.await.expect("it starts again");
    assert_eq!(persistence(&server).await.matches("loading:0").count(), 2);
}

/// Also says `async_loading:0` when it does not load.
async fn persistence(server: &Server) -> String {
    let mut client = server.client().await;
    let info = redis::cmd("INFO")
        .arg("persistence")
        .query_async(&mut client)
        .await;
    info.expect("it answers")
}

#[tokio::test]
async fn a_server_that_forgets_its_scripts_at_every_turn_is_taught_at_every_turn() {
    let server = Server::start();
    let store = server.store().await;
    for _ in 0..20 {
        tell(&server, &["SCRIPT", "FLUSH"]).await;
        assert_eq!(use_all(&store).await, Ok(()));
    }
}

/// How many attempts of one connection fit into this time if each wait is as short
/// as the back-off can draw it: from half of 50 ms on, doubling, up to half of 2 s.
fn attempts_within(elapsed: Duration) -> u64 {
    let (mut attempts, mut sum, mut wait) = (1, Duration::ZERO, Duration::from_millis(25));
    loop {
        sum += wait;
        if sum > elapsed {
            return attempts;
        }
        attempts += 1;
        wait = (wait * 2).min(Duration::from_secs(1));
    }
}

/// Calls the store as fast as it answers until so many connections were tried; the
/// attempts must not be more than the back-off of its three connections allows.
async fn hammer(store: &RedisStore, proxy: &Proxy, more: u64) {
    let (before, begun) = (proxy.connections(), Instant::now());
    let mut calls = 0_u64;
    while proxy.connections() < before + more {
        let failed = use_all(store).await;
        assert!(
            matches!(failed, Err(StoreError::Unavailable { .. })),
            "{failed:?}"
        );
        assert!(store.now().await.is_err());
        calls += 1;
        assert!(begun.elapsed() < PATIENCE, "it gave up");
        tokio::task::yield_now().await;
    }
    let elapsed = begun.elapsed();
    let tried = proxy.connections() - before;
    // One free attempt each, and the listener for hints has a back-off of its own,
    // whose waits are not shorter.
    let bound = 4 * (attempts_within(elapsed) + 1);
    assert!(
        tried <= bound,
        "{tried} attempts in {elapsed:?}, {bound} are allowed"
    );
    assert!(
        calls > 10 * tried,
        "{calls} calls, {tried} attempts: it was not pressed"
    );
}

#[tokio::test]
async fn callers_that_press_make_no_more_attempts_than_the_back_off_allows() {
    let server = Server::start();
    let proxy = Proxy::start(server.port).await;
    let store = open(&proxy.url()).await;
    until_it_works(&store).await;
    proxy.refuse(true);
    cut(&server).await;
    hammer(&store, &proxy, 20).await;
    proxy.refuse(false);
    until_it_works(&store).await;
}

#[tokio::test]
async fn a_server_that_accepts_and_then_hangs_up_is_spared_too() {
    let server = Server::start();
    let proxy = Proxy::start(server.port).await;
    let store = open(&proxy.url()).await;
    until_it_works(&store).await;
    // It connects, answers all questions, and hangs up at the first script.
    proxy.lose(u64::MAX);
    let mut tick = calls();
    tick.tick = true;
    let turn = Turn {
        now: None,
        calls: vec![tick],
    };
    let (before, begun) = (proxy.connections(), Instant::now());
    let mut pressed = 0_u64;
    while proxy.connections() < before + 7 {
        let failed = store.turn(0, &turn).await;
        assert!(
            matches!(failed, Err(StoreError::Unavailable { .. })),
            "{failed:?}"
        );
        pressed += 1;
        assert!(begun.elapsed() < PATIENCE, "it gave up");
        tokio::task::yield_now().await;
    }
    let (tried, bound) = (
        proxy.connections() - before,
        attempts_within(begun.elapsed()) + 1,
    );
    assert!(tried <= bound, "{tried} attempts, {bound} are allowed");
    assert!(pressed > 10 * tried, "{pressed} calls: it was not pressed");
    proxy.lose(0);
    until_it_works(&store).await;
}
