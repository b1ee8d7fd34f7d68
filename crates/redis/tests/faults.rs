//! What the conformance suite cannot stage: a Redis that forgets its scripts, is
//! full, restarts, loses an answer, or is configured to lose deliveries.

mod support;

use std::{sync::Arc, time::Duration};

use sidehook_redis::{ConnectError, RedisConfig, RedisStore};
use sidehook_store::{
    CallError, Stamp, Store, StoreError, Turn,
    hint::Hint,
    port::Durability,
    turn::{EventPublished, Publish, TenantPublished},
};
use support::{Line, START, Server, calls, claim, events, execute, open, subscribe};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

fn publishing(stamp: Stamp, publish: Publish) -> sidehook_store::turn::Calls {
    let mut one = calls();
    one.publish = Some((stamp, publish));
    one
}

fn all_accepted(count: usize) -> Vec<TenantPublished> {
    vec![TenantPublished::Done(vec![EventPublished::Accepted; count])]
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_taught_again() {
    let server = Server::start();
    let store = server.store().await;
    let catalog = subscribe(&store, 1, 10).await;
    let mut client = server.client().await;
    let mut line = Line::new(5);
    for _ in 0..3 {
        let _: () = redis::cmd("SCRIPT")
            .arg("FLUSH")
            .query_async(&mut client)
            .await
            .expect("it answers");
        let stamp = line.stamp(1);
        let replies = execute(
            &store,
            START,
            publishing(stamp, events(stamp, catalog, 3, 10, &[1])),
        )
        .await;
        let reply = replies.publish.expect("asked").expect("it is repeated");
        assert_eq!(reply.tenants, all_accepted(3));
    }
    let seen = store.inspect(calls().partition).await.expect("it answers");
    assert_eq!((seen.ready.len(), seen.faults), (9, Vec::new()));
}

/// A count above what the list holds, as a publish leaves it that failed half-way and
/// is not repeated.
#[tokio::test]
async fn a_queue_whose_count_is_too_high_hides_no_other() {
    let server = Server::start();
    let store = server.store().await;
    subscribe(&store, 1, 10).await;
    subscribe(&store, 2, 10).await;
    let catalog = subscribe(&store, 3, 10).await;
    let mut line = Line::new(9);
    let stamp = line.stamp(1);
    let one = publishing(stamp, events(stamp, catalog, 1, 10, &[1, 2, 3]));
    let replies = execute(&store, START, one).await;
    assert!(replies.publish.expect("asked").is_ok());
    let mut client = server.client().await;
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS")
        .arg("*que:*")
        .query_async(&mut client)
        .await
        .expect("it answers");
    let first = keys.iter().find(|key| key.ends_with(&[0, 0, 0, 1]));
    let _: () = redis::cmd("DEL")
        .arg(first.expect("it has a queue"))
        .query_async(&mut client)
        .await
        .expect("it answers");

    let mut lent = Vec::new();
    for _ in 0..2 {
        let mut one = calls();
        one.claim = Some((line.stamp(2), claim(1)));
        one.tick = true;
        let replies = execute(&store, START, one).await;
        let claimed = replies.claim.expect("asked").expect("it works");
        let grants = claimed.grants.into_iter().flatten();
        lent.extend(
            grants
                .flat_map(|grant| grant.runs)
                .map(|run| run.subscription.0),
        );
    }
    assert_eq!(lent, [2, 3]);
}

#[tokio::test]
async fn a_full_redis_refuses_events_and_goes_on_delivering() {
    let server = Server::start();
    let store = server.store().await;
    let catalog = subscribe(&store, 1, 500).await;
    let mut line = Line::new(6);
    let stamp = line.stamp(1);
    let replies = execute(
        &store,
        START,
        publishing(stamp, events(stamp, catalog, 5, 10, &[1])),
    )
    .await;
    assert!(replies.publish.expect("asked").is_ok());
    let mut client = server.client().await;
    let _: () = redis::cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory")
        .arg("1mb")
        .query_async(&mut client)
        .await
        .expect("it answers");
    let stamp = line.stamp(1);
    let mut one = publishing(stamp, events(stamp, catalog, 2, 10, &[1]));
    one.claim = Some((line.stamp(2), claim(100)));
    one.tick = true;
    let replies = execute(&store, START, one.clone()).await;
    assert_eq!(replies.publish, Some(Err(CallError::Full)));
    let grants = replies
        .claim
        .expect("asked")
        .expect("it works when full")
        .grants;
    assert_eq!(grants.iter().flatten().count(), 1);
    assert!(replies.tick.expect("asked").is_ok());
    // A publish alone is told so too, and later the same sequence still counts.
    let alone = publishing(stamp, events(stamp, catalog, 2, 10, &[1]));
    let turn = Turn {
        now: None,
        calls: vec![alone.clone()],
    };
    let reply = store.turn(0, &turn).await.expect("the others are fine");
    assert_eq!(reply.calls[0].publish, Some(Err(CallError::Full)));
    let staged: Vec<String> = redis::cmd("KEYS")
        .arg("*new:*")
        .query_async(&mut client)
        .await
        .expect("it answers");
    assert_eq!(staged, Vec::<String>::new());
    let _: () = redis::cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory")
        .arg("0")
        .query_async(&mut client)
        .await
        .expect("it answers");
    let replies = execute(&store, START, alone).await;
    assert_eq!(
        replies.publish.expect("asked").expect("room again").tenants,
        all_accepted(2)
    );
}

#[tokio::test]
async fn a_restart_costs_unavailability_and_nothing_else() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = server.store().await;
    assert_eq!(store.durability(), Durability::Strict);
    let mut hints = store.hints();
    let catalog = subscribe(&store, 1, 500).await;
    let mut line = Line::new(7);
    let stamp = line.stamp(1);
    let one = publishing(stamp, events(stamp, catalog, 20, 100, &[1]));
    let replies = execute(&store, START, one.clone()).await;
    assert!(replies.publish.expect("asked").is_ok());
    server.kill();
    let turn = Turn {
        now: Some(START),
        calls: vec![one.clone()],
    };
    let failed = store.turn(0, &turn).await.expect_err("nobody is there");
    assert!(matches!(failed, StoreError::Unavailable { .. }), "{failed}");
    server.restart();
    let reply = loop {
        match store.turn(0, &turn).await {
            Ok(reply) => break reply,
            Err(StoreError::Unavailable { retry_after, .. }) => {
                tokio::time::sleep(retry_after).await
            }
            Err(other) => panic!("{other}"),
        }
    };
    let reply = reply.calls[0]
        .publish
        .clone()
        .expect("asked")
        .expect("the same as before");
    assert_eq!(reply.tenants, all_accepted(20));
    let seen = store.inspect(calls().partition).await.expect("it answers");
    assert_eq!((seen.ready.len(), seen.faults), (20, Vec::new()));
    let gap = async { while !matches!(hints.recv().await.expect("the store lives"), Hint::Gap) {} };
    let told = tokio::time::timeout(Duration::from_secs(30), gap).await;
    told.expect("a gap is told after the break");
}

/// Forwards to Redis until it is told to swallow the answers and hang up.
async fn proxy(upstream: u16, swallow: watch::Receiver<bool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let serve = async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", upstream))
                .await
                .expect("Redis is there");
            #[expect(
                clippy::disallowed_methods,
                reason = "a helper of the test, gone with its runtime"
            )]
            tokio::spawn(forward(client, server, swallow.clone()));
        }
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "a helper of the test, gone with its runtime"
    )]
    tokio::spawn(serve);
    port
}

async fn forward(client: TcpStream, server: TcpStream, swallow: watch::Receiver<bool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        tokio::io::copy(&mut from_client, &mut to_server)
            .await
            .map(|_| ())
    };
    let down = async {
        let mut buffer = vec![0; 65_536];
        loop {
            let count = from_server.read(&mut buffer).await?;
            if count == 0 || *swallow.borrow() {
                return Ok(());
            }
            to_client.write_all(&buffer[..count]).await?;
        }
    };
    let ended: Result<(), std::io::Error> = tokio::select! {
        ended = up => ended,
        ended = down => ended,
    };
    drop(ended);
}

#[tokio::test]
async fn a_turn_whose_answer_was_lost_is_repeated_as_a_whole() {
    let server = Server::start();
    let (swallow, watched) = watch::channel(false);
    let port = proxy(server.port, watched).await;
    let store = Arc::new(open(&format!("redis://127.0.0.1:{port}/")).await);
    let catalog = subscribe(store.as_ref(), 1, 500).await;
    let mut line = Line::new(8);
    let warm = line.stamp(1);
    execute(
        store.as_ref(),
        START,
        publishing(warm, events(warm, catalog, 1, 10, &[1])),
    )
    .await;
    let stamp = line.stamp(1);
    let mut one = publishing(stamp, events(stamp, catalog, 7, 10, &[1]));
    one.claim = Some((line.stamp(2), claim(5)));
    let turn = Turn {
        now: Some(START),
        calls: vec![one],
    };
    swallow.send_replace(true);
    let lost = store
        .turn(0, &turn)
        .await
        .expect_err("the answer was swallowed");
    assert!(matches!(lost, StoreError::Unavailable { .. }), "{lost}");
    let seen = server
        .store()
        .await
        .inspect(calls().partition)
        .await
        .expect("it answers");
    assert_eq!(
        (seen.ready.len(), seen.leased.len()),
        (3, 5),
        "it was executed"
    );
    swallow.send_replace(false);
    let mut answers = Vec::new();
    while answers.len() < 2 {
        match store.turn(0, &turn).await {
            Ok(reply) => answers.push(reply),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    for answer in answers {
        let publish = answer.calls[0].publish.clone().expect("asked");
        assert_eq!(publish.expect("executed once").tenants, all_accepted(7));
        let claim = answer.calls[0]
            .claim
            .clone()
            .expect("asked")
            .expect("executed once");
        let grant = claim.grants[0].clone().expect("lent");
        assert_eq!(
            grant
                .runs
                .iter()
                .map(|run| run.indices.len())
                .sum::<usize>(),
            5
        );
    }
    let seen = store.inspect(calls().partition).await.expect("it answers");
    assert_eq!(
        (seen.ready.len(), seen.leased.len()),
        (3, 5),
        "and only once"
    );
    assert_eq!(seen.faults, Vec::<String>::new());
}

async fn refused(server: &Server) -> ConnectError {
    match RedisStore::connect(RedisConfig::new(server.url())).await {
        Ok(_) => panic!("it must refuse"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused() {
    let server = Server::with(&["--maxmemory-policy", "allkeys-lru"]);
    let error = refused(&server).await;
    assert!(
        matches!(&error, ConnectError::Eviction { found } if found == "allkeys-lru"),
        "{error}"
    );
    assert!(error.to_string().contains("noeviction"));
}

#[tokio::test]
async fn durability_is_what_the_server_does() {
    for (arguments, wanted) in [
        (&["--appendonly", "no"][..], Durability::Volatile),
        (&["--appendonly", "yes"], Durability::Relaxed),
        (
            &["--appendonly", "yes", "--rename-command", "CONFIG", ""],
            Durability::Strict,
        ),
    ] {
        let server = Server::with(arguments);
        let config = RedisConfig {
            durability_declared: Some(Durability::Strict),
            ..RedisConfig::new(server.url())
        };
        let store = RedisStore::connect(config).await.expect("it connects");
        assert_eq!(store.durability(), wanted, "{arguments:?}");
    }
}
