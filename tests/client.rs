//! The command-line client as people use it: its built binary against a running system.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Output},
    time::Duration,
};

use sidehook_api::v1;
use sidehook_testkit::{
    client::event,
    process::{binary, free_ports},
    system::System,
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// What a command has said, and its exit code.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    #[track_caller]
    fn assert_tells(&self, parts: &[&str]) {
        for part in parts {
            let told = self.out.contains(part) || self.err.contains(part);
            assert!(told, "{part:?} is not told:\n{}\n{}", self.out, self.err);
        }
    }
}

/// A client of `system` with this key.
fn client(system: &System, key: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(binary("sidehook"));
    command
        .env_clear()
        .env("SIDEHOOK_SERVER", format!("http://{}", system.grpc(0)))
        .env("SIDEHOOK_API_KEY", key)
        .args(arguments);
    ended(&mut command)
}

fn ended(command: &mut Command) -> Said {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Said {
        code: status.code(),
        out: text(stdout),
        err: text(stderr),
    }
}

/// A client without a server, and with nothing in its environment.
fn bare(arguments: &[&str]) -> Said {
    ended(Command::new(binary("sidehook")).env_clear().args(arguments))
}

/// An event as a line of a file, with this many bytes of data.
fn line(bytes: usize) -> String {
    let data = "x".repeat(bytes);
    format!("{{\"object_type\":\"order\",\"action\":\"paid\",\"data\":{{\"x\":\"{data}\"}}}}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_large_events_is_published_but_for_the_wrong_lines() {
    let system = System::builder().embedded().without_agent().start().await;
    let admin = system.client(0);
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("events.ndjson");
    let name = file.to_str().expect("a path in UTF-8");

    fs::write(&file, line(200_000).repeat(40)).expect("written");
    let said = client(&system, admin.key(), &["publish", "--ndjson", name]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    said.assert_tells(&["40 events published; durability strict"]);

    // Lines 2 to 4 are wrong: no message holds the first, the server does not take the
    // second, and the third is no event.
    let lines = [
        line(10),
        line(5_000_000),
        line(600_000),
        "{\"no\":\n".to_owned(),
        line(200_000).repeat(70),
    ];
    fs::write(&file, lines.concat()).expect("written");
    let said = client(&system, admin.key(), &["publish", "--ndjson", name]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    said.assert_tells(&["71 events published, 3 refused"]);
    for (number, wrong) in [(2, "too many"), (3, "data"), (4, "EOF")] {
        let number = format!("line {number}: ");
        let told = said.err.lines().find(|told| told.starts_with(&number));
        let told = told.unwrap_or_else(|| panic!("no {number:?} in {}", said.err));
        assert!(told.contains(wrong), "{told}");
    }
    let json = ["publish", "--ndjson", name, "--output", "json"];
    let said = client(&system, admin.key(), &json);
    let tally: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(
        (&tally["published"], &tally["failed"]),
        (&71.into(), &3.into())
    );
    assert_eq!(tally["durability"], "strict");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_is_made_and_changed_with_all_it_has() {
    let system = System::builder().embedded().without_agent().start().await;
    let admin = system.client(0);
    let run = |arguments: &[&str]| client(&system, admin.key(), arguments);
    let read = |arguments: &[&str]| {
        let said = run(&[arguments, &["--output", "json"]].concat());
        assert_eq!(said.code, Some(0), "{}", said.err);
        serde_json::from_str::<serde_json::Value>(&said.out).expect("JSON")
    };
    let line = "subscription create --url http://127.0.0.1:9/hook --events a:b --hmac-header X-Own \
                --hmac-digest sha1 --hmac-prefix sha1= --dns-timeout 1s --connect-timeout 2s \
                --timeout 3s --max-attempts 7 --max-age 1d --max-backoff 1m --status paused \
                --retry-preset hookshot";
    let line: Vec<_> = line.split_whitespace().collect();
    let made = read(&[&line[..], &["--header", "X-A: b"]].concat());
    let id = made["id"].as_str().expect("an id");
    assert_eq!(made["status"], "paused");
    assert_eq!(made["retry_policy"]["max_attempts"], 7);
    assert_eq!(made["retry_policy"]["preset"], "hookshot");
    assert_eq!(made["retry_policy"]["initial_backoff"], "16s");
    assert_eq!(made["timeouts"]["connect"], "2s");

    // What no flag names stays: the header and the digest of the HMAC too.
    let update = |flags: &[&str]| read(&[&["subscription", "update", id], flags].concat());
    let changed = update(&["--hmac-prefix", "v0=", "--clear-headers"]);
    let signing = &changed["signing"];
    let own = (&signing["header"], &signing["digest"], &signing["prefix"]);
    assert_eq!(own, (&"X-Own".into(), &"sha1".into(), &"v0=".into()));
    assert_eq!(changed["headers"], serde_json::json!([]));
    assert_eq!(changed["retry_policy"], made["retry_policy"]);

    let changed = update(&["--algorithm", "ed25519", "--status", "active"]);
    let key = changed["signing"]["keys"][0]["public_key"].as_str();
    assert_eq!(key, None, "keys are shown where they are asked for");
    let said = run(&["subscription", "get", id]);
    said.assert_tells(&["ed25519", "PUBLIC KEY", "whpk_", "at most 7 attempts"]);
    said.assert_tells(&["3s in all", "CREATED (BY)", "(key_"]);
    let filter = r#"{"type":"field_accessor","field":"lead_id","filter":{"type":"non_null"}}"#;
    let filtered = format!("lead:* {filter}");
    let changed = update(&["--events", &filtered, "--events", "*:*"]);
    assert_eq!(changed["events"], serde_json::json!(["lead:*", "*:*"]));
    assert_eq!(changed["filters"], serde_json::json!([filter, null]));
    let said = run(&["subscription", "get", id]);
    said.assert_tells(&[&filtered, "*:*"]);
    update(&["--retry-preset", "collect"]);
    let said = run(&["subscription", "get", id]);
    said.assert_tells(&["after 5s, doubling up to 1m", "then it is paused"]);
    let changed = update(&["--local-key", "billing"]);
    assert_eq!(changed["signing"]["local_key"], "billing");

    update(&["--local-key", ""]);
    let rotated = run(&["subscription", "rotate-key", id, "--overlap", "30d"]);
    assert_eq!(rotated.code, Some(0), "{}", rotated.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_what_to_do_next() {
    let system = System::builder().embedded().without_agent().start().await;
    let admin = system.client(0);
    let url = ["--url", "http://127.0.0.1:9/hook"];
    let create = [&["subscription", "create"][..], &url].concat();
    let secret = [&create[..], &["--events", "a:b", "--secret", "hush"]].concat();
    for (key, arguments, next) in [
        (
            admin.key(),
            &["subscription", "get", "nope"][..],
            "`sidehook subscription list`",
        ),
        (
            admin.key(),
            &["deliveries", "get", "dlv_0000000000000000000000"],
            "`sidehook deliveries list`",
        ),
        (admin.key(), &create, "--events 'opportunity:*'"),
        (admin.key(), &secret, "64 hex digits (close)"),
        (
            admin.key(),
            &["admin", "tenant", "list"],
            "only the operator's key may",
        ),
        (
            system.token(),
            &["event", "list"],
            "keys of these roles may: admin, member, viewer",
        ),
        ("wrong-key-of-nobody", &["event", "list"], "--api-key-file"),
    ] {
        let said = client(&system, key, arguments);
        assert_eq!(said.code, Some(1), "{arguments:?}");
        assert!(
            said.err.contains(next),
            "{next:?} is not told:\n{}",
            said.err
        );
        assert!(!said.err.contains("hush"), "{}", said.err);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_between_is_told_apart() {
    let names = ["127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let open = System::builder().embedded().without_agent().start().await;
    let builder = System::builder().embedded().without_agent();
    let secured = builder.tls(&certificate, &key).start().await;
    let (open, secured) = (open.grpc(0), secured.grpc(0));
    let [closed] = free_ports();
    for (server, next) in [
        (format!("https://{open}"), format!("--server http://{open}")),
        (format!("https://{secured}"), "--ca-file FILE".to_owned()),
        (
            format!("http://{secured}"),
            "begin --server with https://".to_owned(),
        ),
        (
            open.to_string(),
            format!("https://{open} if the server has TLS"),
        ),
        (
            format!("http://127.0.0.1:{closed}"),
            "is the server running?".to_owned(),
        ),
    ] {
        let said = bare(&["event", "list", "--api-key", "a-key", "--server", &server]);
        assert_eq!(said.code, Some(1), "{server}");
        assert!(
            said.err.contains(&next),
            "{next:?} is not told:\n{}",
            said.err
        );
        let asks = said.err.contains("make run");
        assert_eq!(asks, server.ends_with(&closed.to_string()), "{}", said.err);
    }
}

#[test]
fn the_clients_options_are_the_clients_alone() {
    for command in ["server", "dev", "demo"] {
        let help = bare(&[command, "--help"]);
        assert_eq!(help.code, Some(0), "{}", help.err);
        for option in ["--server", "--ca-file", "--output"] {
            assert!(!help.out.contains(option), "{command}: {}", help.out);
        }
    }
    bare(&["server", "--help"]).assert_tells(&["SIDEHOOK_STORE__REDIS"]);
    bare(&["subscription", "create", "--help"]).assert_tells(&["Connection and output:"]);
    let short = bare(&["dev", "--api-key", "short"]);
    assert_eq!(short.code, Some(2));
    short.assert_tells(&["--api-key", "at least 8"]);
}

#[test]
fn an_address_that_is_taken_is_named_with_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().map(|addr| (addr, taken));
    let (addr, _held) = taken.expect("bound");
    let addr = addr.to_string();
    for flag in ["--http", "--grpc", "--agents", "--gateway"] {
        let mut line = vec!["dev"];
        for own in ["--http", "--grpc", "--agents", "--gateway"] {
            line.extend([own, if own == flag { &*addr } else { "127.0.0.1:0" }]);
        }
        let said = bare(&line);
        assert_eq!(said.code, Some(1), "{}", said.err);
        said.assert_tells(&[
            &format!("cannot listen on {addr}"),
            &format!("{flag} names another address"),
        ]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_want_of_an_agent_is_told() {
    let mut system = System::builder().embedded().without_agent().start().await;
    let admin = system.client(0);
    let create = "subscription create --url http://127.0.0.1:9/hook --events order:* --output json";
    let create: Vec<_> = create.split_whitespace().collect();
    let made = client(&system, admin.key(), &create);
    made.assert_tells(&["no agent of the pool `default` is online"]);
    assert!(made.out.starts_with('{'), "{}", made.out);
    admin
        .publish(vec![event("order", 1)])
        .await
        .expect("published");
    let list = ["deliveries", "list", "--output", "json"];
    let listed = client(&system, admin.key(), &list);
    let listed: serde_json::Value = serde_json::from_str(&listed.out).expect("JSON");
    let id = listed[0]["id"].as_str().expect("a delivery");
    let got = client(&system, admin.key(), &["deliveries", "get", id]);
    assert_eq!(got.code, Some(0), "{}", got.err);
    assert!(
        got.err.contains("the delivery is queued until"),
        "{}",
        got.err
    );

    system.start_agent(0);
    let online = async {
        loop {
            let request = v1::ListPoolsRequest::default();
            let answer = admin.agents().list_pools(request).await.expect("pools");
            if answer
                .into_inner()
                .pools
                .iter()
                .any(|pool| pool.agents_online > 0)
            {
                return;
            }
        }
    };
    let limit = tokio::time::timeout(PATIENCE, online).await;
    limit.expect("an agent within 30 s");
    let made = client(&system, admin.key(), &create);
    assert_eq!((made.code, &*made.err), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_list_keys_without_their_secrets() {
    let system = System::builder().embedded().without_agent().start().await;
    let (operator, admin) = (system.operator(0), system.client(0));
    let list = ["admin", "key", "list", "--tenant", system.tenant()];
    let keys = || {
        client(
            &system,
            operator.key(),
            &[&list[..], &["--output", "json"]].concat(),
        )
    };
    let read = |said: Said| serde_json::from_str::<serde_json::Value>(&said.out).expect("JSON");
    let listed = read(keys());
    let listed = listed.as_array().expect("a list");
    let agent = listed.iter().find(|key| key["role"] == "agent");
    let id = agent
        .and_then(|key| key["id"].as_str())
        .expect("the agent's token");
    let revoked = client(&system, operator.key(), &["admin", "key", "revoke", id]);
    assert_eq!(revoked.code, Some(0), "{}", revoked.err);
    let said = client(&system, operator.key(), &list);
    said.assert_tells(&[id, "admin", "agent", "REVOKED"]);
    assert!(!said.out.contains(admin.key()), "{}", said.out);
    let after = read(keys());
    let gone = after
        .as_array()
        .expect("a list")
        .iter()
        .find(|key| key["id"] == id);
    assert!(
        gone.is_some_and(|key| key["revoked_at"].is_string()),
        "{after}"
    );
}
