//! Configuration as operators meet it: every mistake told at once, no secret quoted.

use std::{
    fs,
    process::{Command, Output},
};

use sidehook_testkit::process::binary;

/// What `--check-config` makes of a configuration file with this text.
fn check(program: &str, text: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("config.toml");
    fs::write(&file, text).expect("the file can be written");
    let mut command = Command::new(binary(program));
    command.env_clear();
    if program == "sidehook" {
        command.arg("server");
    }
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .args(["--check-config", "--config"])
        .arg(file)
        .output()
        .expect("it starts");
    let said = [stdout, stderr].concat();
    (status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[track_caller]
fn assert_refused(program: &str, text: &str, told: &[&str], secrets: &[&str]) {
    let (code, said) = check(program, text);
    assert_eq!(code, Some(2), "{said}");
    for part in told {
        assert!(said.contains(part), "{part:?} is not told:\n{said}");
    }
    for secret in secrets {
        assert!(!said.contains(secret), "{secret:?} is quoted:\n{said}");
    }
}

#[track_caller]
fn assert_accepted(program: &str, text: &str) {
    let (code, said) = check(program, text);
    assert_eq!(code, Some(0), "{said}");
}

const SEALING_KEY: &str = "5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b";

/// A server that can start, with `more` in its file.
fn server(more: &str) -> String {
    format!("sealing_key = \"{SEALING_KEY}\"\n[store]\nredis = \"redis://127.0.0.1:6379/\"\n{more}")
}

#[test]
fn all_mistakes_of_a_server_are_told_at_once() {
    let text = r#"
        operator_key = "hush-5"
        sealing_key = "no-hex-but-secret"
        lease = "soon"
        drain_timeuot = "5s"
        [store]
        redis = "http://someone:pass-phrase@127.0.0.1/"
        replicas = 99
        sentinel_username = "watcher"
        [grpc]
        listen = "nowhere"
        [agents]
        listen = "0.0.0.0:8702"
        [log]
        format = "xml"
    "#;
    let told = [
        "operator_key",
        "sealing_key",
        "lease",
        "drain_timeuot",
        "did you mean drain_timeout?",
        "store.redis",
        "store.replicas",
        "store.sentinel_password",
        "grpc.listen",
        "agents.",
        "log.format",
    ];
    let secrets = ["hush-5", "no-hex-but-secret", "pass-phrase"];
    assert_refused("sidehook", text, &told, &secrets);
}

#[test]
fn all_mistakes_of_an_agent_are_told_at_once() {
    let text = r#"
        server = "https://someone:pass-phrase@sidehook.example/"
        tokn = "hush-token"
        capacity = 0
        drain_timeout = "soon"
        [egress]
        allow_loopback = "perhaps"
        [[local_keys]]
        secret = "hush-key"
    "#;
    let told = [
        "server",
        "tokn",
        "did you mean token?",
        "capacity",
        "drain_timeout",
        "egress.allow_loopback",
        "local_keys[0].name",
    ];
    let secrets = ["pass-phrase", "hush-token", "hush-key"];
    assert_refused("sidehook-agent", text, &told, &secrets);
}

#[test]
fn what_is_right_is_accepted() {
    assert_accepted("sidehook", &server(""));
    let watched = "redis://someone:pass@one:26379,two,three:26379/0#orders";
    let watched = server("replicas = 2\nsentinel_password = \"watch\"\n")
        .replace("redis://127.0.0.1:6379/", watched);
    assert_accepted("sidehook", &watched);
    assert_accepted(
        "sidehook-agent",
        "server = \"https://sidehook.example\"\ntoken = \"a-token-0123456789\"\n",
    );
}

#[test]
fn a_server_listens_without_tls_beyond_the_machine_only_when_told_to() {
    for section in ["grpc", "agents", "gateway"] {
        let open = server(&format!("[{section}]\nlisten = \"0.0.0.0:0\"\n"));
        assert_refused(
            "sidehook",
            &open,
            &[section, "allow_plaintext"],
            &[SEALING_KEY],
        );
        assert_accepted("sidehook", &format!("{open}allow_plaintext = true\n"));
    }
}

#[test]
fn an_agent_dials_without_tls_beyond_the_machine_only_when_told_to() {
    let open = "server = \"http://sidehook.example\"\ntoken = \"a-token-0123456789\"\n";
    let told = ["server", "allow_plaintext"];
    assert_refused("sidehook-agent", open, &told, &["a-token-0123456789"]);
    assert_accepted("sidehook-agent", &format!("{open}allow_plaintext = true\n"));
}

#[test]
fn what_only_a_start_would_find_is_told_too() {
    let files = "tls.cert_file = \"/missing/cert\"\ntls.key_file = \"/missing/key\"\n";
    let text = server(&format!(
        "[grpc]\nlisten = \"127.0.0.1:8702\"\n{files}[agents]\nlisten = \"127.0.0.1:8702\"\n"
    ));
    let told = [
        "3 configuration problems",
        "grpc.tls.cert_file",
        "grpc.tls.key_file",
        "agents.listen",
        "127.0.0.1:8702 is taken by grpc.listen",
    ];
    assert_refused("sidehook", &text, &told, &[SEALING_KEY]);

    let text = r#"
        server = "https://sidehook.example"
        ca_file = "/missing/ca"
        token = "a-token-0123456789"
        egress.ca_file = "/missing/receivers"
        [[local_keys]]
        name = "billing"
        secret = "whsec_no-base64"
    "#;
    let told = [
        "3 configuration problems",
        "\n  ca_file",
        "egress.ca_file",
        "local_keys[0].secret",
    ];
    let secrets = ["a-token-0123456789", "no-base64"];
    assert_refused("sidehook-agent", text, &told, &secrets);
}

#[test]
fn what_is_missing_is_named_in_full() {
    assert_refused("sidehook", "", &["store.redis_file", "store.embedded"], &[]);
    let told = ["server: is missing; give the URL of the control plane's port for agents"];
    assert_refused("sidehook-agent", "token = \"t\"\n", &told, &[]);
}
