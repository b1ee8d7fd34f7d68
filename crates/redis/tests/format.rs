//! Which packed format a Redis has, and who may use it.

mod support;

use sidehook_redis::{ConnectError, RedisConfig, RedisStore};
use sidehook_store::{Store as _, registry::Kind};
use support::Server;

const KEY: &str = "{shsys}:format";

async fn connect(server: &Server) -> Result<RedisStore, ConnectError> {
    RedisStore::connect(RedisConfig::new(server.url())).await
}

/// What the key holds after `command` on it.
async fn format(server: &Server, command: &[&str]) -> Option<String> {
    let mut client = server.client().await;
    let _: redis::Value = redis::cmd(command[0])
        .arg(KEY)
        .arg(&command[1..])
        .query_async(&mut client)
        .await
        .expect("it answers");
    let found = redis::cmd("GET").arg(KEY).query_async(&mut client).await;
    found.expect("it answers")
}

async fn refusal(server: &Server) -> String {
    match connect(server).await {
        Err(error @ ConnectError::Format(_)) => error.to_string(),
        other => panic!("{:?}", other.err()),
    }
}

#[tokio::test]
async fn a_store_is_used_only_by_those_who_know_its_format() {
    let server = Server::start();
    let store = connect(&server).await.expect("a new store");
    let own = format(&server, &["GET"]).await.expect("it is written");
    drop(store);
    drop(connect(&server).await.expect("it is its own"));

    for newer in ["1000000", "of another kind"] {
        format(&server, &["SET", newer]).await;
        let told = refusal(&server).await;
        assert!(told.contains("use the newer version"), "{told}");
        assert_eq!(format(&server, &["GET"]).await.as_deref(), Some(newer));
    }
    format(&server, &["SET", "1"]).await;
    let told = refusal(&server).await;
    assert!(
        told.contains("format 1,") && told.contains("store export"),
        "{told}"
    );

    // Without a number, but with what every server writes: from before there was one.
    format(&server, &["SET", &own]).await;
    let store = connect(&server).await.expect("it is its own");
    let agreed = store.registry_put(Kind::Agreement, b"sealing key", Some("x".into()));
    agreed.await.expect("it is kept");
    drop(store);
    format(&server, &["DEL"]).await;
    let told = refusal(&server).await;
    assert!(told.contains("format 1,"), "{told}");
}
