//! Redis over TLS and with an access list: the whole story under exactly the line
//! that the README gives, and clear words where something is missing.

use std::{fs, process::Command, time::Duration};

use rcgen::generate_simple_self_signed;
use sidehook_testkit::{
    client::event,
    process::{Process, binary},
    receiver::{Behaviour, Receiver},
    redis_server::RedisServer,
    system::System,
    verify::verify,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A certificate for the loopback address and its key, both PEM.
fn certificate() -> (String, String) {
    let made = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// The README's rules for the user, with a password.
fn rules() -> String {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = fs::read_to_string(readme).expect("there is a README");
    let mut lines = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("user sidehook "));
    let rules = lines.next().expect("the README has an ACL line");
    rules.replace(">PASSWORD", ">secret")
}

/// A Redis with TLS that knows the user.
async fn redis(rules: &str) -> (RedisServer, tempfile::TempDir) {
    let (own, key) = certificate();
    let redis = RedisServer::start_tls(&own, &key, &[]).await;
    let mut command = vec!["ACL", "SETUSER", "sidehook"];
    command.extend(rules.split_whitespace());
    redis.command(&command).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("ca.pem"), own).expect("it can be written");
    (redis, folder)
}

/// The section `store` for that Redis.
fn section(redis: &RedisServer, folder: &tempfile::TempDir) -> String {
    let port = redis.tls_port();
    let ca = folder.path().join("ca.pem");
    format!(
        "redis = \"rediss://sidehook:secret@127.0.0.1:{port}/\"\nca_file = \"{}\"",
        ca.display()
    )
}

#[tokio::test]
async fn everything_works_over_tls_with_the_rights_of_the_readme() {
    let (redis, folder) = redis(&rules()).await;
    let store = section(&redis, &folder);
    let mut system = System::builder().servers(2).store(&store).start().await;
    let (client, other) = (system.client(0), system.client(1));
    let receiver = Receiver::start(Behaviour::FailFirst(1)).await;
    let made = client.subscribe(&receiver.url(), "order").await;
    // Matched by the other replica, delivered by the agent of the first.
    let results = other.publish(vec![event("order", 1)]).await;
    assert!(results.expect("published")[0].error.is_none());
    assert!(
        receiver.wait_for(2, PATIENCE).await,
        "once in vain, and once more"
    );
    assert_eq!(verify(&receiver.received()[1], &made), Ok(()));
    // Whoever comes back finds its leases and its keys.
    system.restart_server(0).await;
    let results = system.client(0).publish(vec![event("order", 2)]).await;
    assert!(results.expect("published")[0].error.is_none());
    assert!(receiver.wait_for(3, PATIENCE).await, "after a restart");
    let log = redis.command(&["ACL", "LOG"]).await;
    // Of each entry what was refused.
    let words: Vec<_> = log.lines().collect();
    let refused = words.windows(2).filter(|pair| pair[0] == "object");
    let refused: Vec<_> = refused.map(|pair| pair[1]).collect();
    // The client library says what it is called, and goes on when it may not.
    let spared = |what: &&str| *what == "client|setinfo";
    assert!(refused.iter().all(spared), "{refused:?} of {log}");
    system.terminate_server().await;
    assert!(
        !system.server(0).log().contains("secret"),
        "the password is in the log"
    );
}

/// Starts a server with this section and answers what it says as it ends.
async fn refusal(section: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("server.toml");
    let text = format!(
        "sealing_key = \"{}\"\n[store]\n{section}\n",
        "5b".repeat(32)
    );
    fs::write(&config, text).expect("it can be written");
    let mut command = Command::new(binary("sidehook"));
    command.env_clear().args(["server", "--config"]).arg(config);
    for listener in ["http", "grpc", "agents", "gateway"] {
        command.args([&format!("--{listener}-listen"), "127.0.0.1:0"]);
    }
    let mut process = Process::start(command, &folder.path().join("server.log"));
    let ended = process.wait_exit(PATIENCE).await.expect("it ends");
    assert!(!ended.success());
    process.log()
}

#[tokio::test]
async fn what_stands_in_the_way_is_called_by_its_name() {
    let (redis, folder) = redis(&rules().replace(" +lrem", "")).await;
    let right = section(&redis, &folder);
    let said = refusal(&right).await;
    assert!(said.contains("lrem") && said.contains("README"), "{said}");
    let said = refusal(&right.replace("secret", "wrong-word")).await;
    assert!(
        said.contains("credentials") && !said.contains("wrong-word"),
        "{said}"
    );
    let (strange, _) = certificate();
    fs::write(folder.path().join("ca.pem"), strange).expect("it can be written");
    let said = refusal(&right).await;
    assert!(said.contains("certificate"), "{said}");
    let plain = right.replace("rediss://", "redis://");
    let said = refusal(&plain).await;
    assert!(
        said.contains("store.ca_file") && said.contains("rediss://"),
        "{said}"
    );
    redis
        .command(&["ACL", "SETUSER", "sidehook", "+lrem", "-config|get"])
        .await;
    let port = redis.port();
    let said = refusal(&format!(
        "redis = \"redis://sidehook:secret@127.0.0.1:{port}/\""
    ))
    .await;
    assert!(said.contains("store.durability"), "{said}");
}
