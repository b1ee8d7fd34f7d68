//! Redis with an access list: the suite of the port under exactly the rights that the
//! README names, and what happens with fewer.

#[path = "support/access.rs"]
mod access;
mod support;

use sidehook_redis::{ConnectError, RedisConfig, RedisStore};
use sidehook_store::{
    Store,
    conformance::{StoreFactory, copies, examples, random},
    port::Durability,
};
use support::{Server, open};

/// Empties one server again and again, as its administrator, and uses it as the
/// README's user.
struct Admitted(Server);

#[async_trait::async_trait]
impl StoreFactory for Admitted {
    async fn fresh(&self) -> Box<dyn Store> {
        let mut client = self.0.client().await;
        let _: () = redis::cmd("FLUSHALL")
            .query_async(&mut client)
            .await
            .expect("it answers");
        Box::new(open(&access::url(&self.0)).await)
    }
}

async fn connect(
    server: &Server,
    declared: Option<Durability>,
) -> Result<RedisStore, ConnectError> {
    RedisStore::connect(RedisConfig {
        durability_declared: declared,
        ..RedisConfig::new(access::url(server))
    })
    .await
}

async fn refused(server: &Server) -> ConnectError {
    match connect(server, None).await {
        Ok(_) => panic!("it must refuse"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn the_suite_passes_with_the_rights_of_the_readme() {
    let server = Server::start();
    access::admit(&server, &access::rules()).await;
    let stores = Admitted(server);
    examples(&stores).await;
    random(&stores, 0..3, 200).await;
    copies(&stores, &stores, 0..2, 150).await;
    let mut client = stores.0.client().await;
    let log: Vec<redis::Value> = redis::cmd("ACL")
        .arg("LOG")
        .query_async(&mut client)
        .await
        .expect("it answers");
    // Nothing was tried that is not allowed; CLIENT is the library's introduction.
    let log = format!("{log:?}");
    let tried = log.matches("\"object\"").count();
    let introductions = log.matches("\"client|setinfo\"").count();
    assert_eq!(tried, introductions, "{log}");
}

#[tokio::test]
async fn each_right_of_the_readme_is_needed_and_missed_by_name() {
    let server = Server::start();
    let rules = access::rules();
    let rights: Vec<&str> = rules
        .split_whitespace()
        .filter(|one| one.starts_with('+'))
        .collect();
    assert!(rights.len() > 40, "{rights:?}");
    for right in rights.iter().filter(|right| **right != "+config|get") {
        let fewer: Vec<&str> = rules
            .split_whitespace()
            .filter(|one| one != right)
            .collect();
        access::admit(&server, &fewer.join(" ")).await;
        let error = refused(&server).await;
        let name = right.trim_start_matches('+');
        let told = matches!(&error, ConnectError::Rights(what) if what.contains(name));
        assert!(told, "without {right}: {error}");
    }
    for (pattern, instead, name) in [
        ("~{sh*", "~{sh[0-9]*", "hget"),
        ("~{sh*", "%R~{sh*", "hset"),
        ("&{sh[0-9][0-9]}:hints", "&other", "psubscribe"),
    ] {
        access::admit(&server, &rules.replace(pattern, instead)).await;
        let error = refused(&server).await;
        let told = matches!(&error, ConnectError::Rights(what) if what.contains(name));
        assert!(told, "with {instead}: {error}");
    }
    access::admit(&server, &rules).await;
    assert!(connect(&server, None).await.is_ok(), "with all of them");
}

#[tokio::test]
async fn a_server_that_hides_its_settings_has_the_level_that_is_declared() {
    let server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    access::admit(&server, &access::rules().replace("+config|get ", "")).await;
    for declared in [
        Durability::Relaxed,
        Durability::Strict,
        Durability::Volatile,
    ] {
        let store = connect(&server, Some(declared)).await.expect("declared");
        assert_eq!(store.durability(), declared);
    }
    let error = refused(&server).await;
    assert!(matches!(error, ConnectError::Undeclared), "{error}");
}

#[tokio::test]
async fn wrong_credentials_are_called_so_and_not_shown() {
    let server = Server::start();
    access::admit(&server, &access::rules().replace(">secret", ">another")).await;
    let error = refused(&server).await;
    assert!(matches!(error, ConnectError::Credentials(_)), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    let closed = Server::start();
    let mut client = closed.client().await;
    let _: () = redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", "hidden"])
        .query_async(&mut client)
        .await
        .expect("it answers");
    let error = RedisStore::connect(RedisConfig::new(closed.url()))
        .await
        .err()
        .expect("no password");
    assert!(matches!(error, ConnectError::Credentials(_)), "{error}");
}
