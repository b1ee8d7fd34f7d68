//! Layers and problems, from the user's side.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::{ByteSize, Layers, Problems, Reader};

#[derive(Debug)]
struct Example {
    drain_timeout: Duration,
    limit: ByteSize,
    listen: SocketAddr,
    token: SecretString,
    pools: Vec<String>,
}

fn example(r: &mut Reader<'_>) -> Option<Example> {
    let drain_timeout = r.value_in(
        "drain_timeout",
        Duration::from_secs(30),
        Duration::from_secs(1)..=Duration::from_secs(600),
    );
    let limit = r.section("limits", |r| r.value("payload", ByteSize::kib(256)));
    let listen = r.required("listen");
    let token = r.required_secret("token");
    let pools = r.sections("pools", |r| r.required::<String>("name"));
    r.choice("format", &[("text", 0), ("json", 1)], 0);
    Some(Example {
        drain_timeout,
        limit,
        listen: listen?,
        token: token?,
        pools: pools.into_iter().collect::<Option<_>>()?,
    })
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

fn vars(vars: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    vars.iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn lines(problems: &Problems) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn later_layers_win_and_defaults_fill_the_rest() {
    let toml = file(
        "listen = '127.0.0.1:1'\ndrain_timeout = '5s'\ntoken = 't'\n[limits]\npayload = '1KiB'\n[[pools]]\nname = 'a'\n",
    );
    let read = Layers::new()
        .file(toml.path())
        .env(
            "SIDEHOOK_",
            &["SIDEHOOK_AGENT_"],
            vars(&[
                ("SIDEHOOK_LISTEN", "127.0.0.1:2"),
                ("SIDEHOOK_LIMITS__PAYLOAD", "2KiB"),
                ("SIDEHOOK_AGENT_NAME", "another program's"),
                ("SIDEHOOK_PORT", "tcp://10.0.0.1:8701"),
                ("SIDEHOOK_PORT_8701_TCP_ADDR", "10.0.0.1"),
                ("SIDEHOOK_SERVICE_HOST", "10.0.0.1"),
                ("HOME", "/"),
            ]),
        )
        .flags([("listen", "127.0.0.1:3".to_owned())])
        .read(example)
        .expect("a sound configuration");
    assert_eq!(read.listen.port(), 3);
    assert_eq!(read.limit, ByteSize::kib(2));
    assert_eq!(read.drain_timeout, Duration::from_secs(5));
    assert_eq!(read.token.expose_secret(), "t");
    assert_eq!(read.pools, ["a"]);
}

#[test]
fn all_problems_are_told_at_once_with_place_and_remedy() {
    let toml = file(
        "drain_timout = '5s'\nlisten = 'nowhere'\n\n[limits]\npayload = 5\n[[pools]]\nnme = 'a'\n",
    );
    let problems = Layers::new()
        .file(toml.path())
        .env("SIDEHOOK_", &[], vars(&[("SIDEHOOK_DRAIN_TIMEOUT", "1h")]))
        .flags([
            ("format", "xml".to_owned()),
            ("limits.zzzzzz", "1".to_owned()),
        ])
        .read(example)
        .expect_err("much is wrong");
    let name = toml.path().display();
    assert_eq!(lines(&problems), [
        "drain_timeout (SIDEHOOK_DRAIN_TIMEOUT): 3600s is out of range; it must lie between 1s and 600s".to_owned(),
        format!("limits.payload ({name}:5): 5 is not valid; expected a size with a unit, such as 512B, 256KiB or 4MiB"),
        "limits.zzzzzz (--limits-zzzzzz): is not a known key; known here: payload".to_owned(),
        format!("listen ({name}:2): \"nowhere\" is not valid; expected an address and port, such as 127.0.0.1:8701 or [::]:8701"),
        "token: is missing; give token or token_file".to_owned(),
        "pools[0].name: is missing; give text that is not empty".to_owned(),
        format!("pools[0].nme ({name}:7): is not a known key; did you mean pools[0].name?"),
        "format (--format): \"xml\" is not known; use one of text, json".to_owned(),
        format!("drain_timout ({name}:1): is not a known key; did you mean drain_timeout?"),
    ]);
    assert!(
        problems
            .to_string()
            .starts_with("9 configuration problems\n  drain_timeout")
    );
}

#[test]
fn secrets_come_from_files_and_never_appear_in_messages() {
    let secret = file("hunter2\n");
    let read = |layers: Layers| layers.read(|r| r.required_secret("token"));
    let path = secret.path().display().to_string();
    let token = read(Layers::new().flags([("token_file", path.clone())])).expect("from the file");
    assert_eq!(token.expose_secret(), "hunter2");

    let both = [("token", "hunter2".to_owned()), ("token_file", path)];
    let problems = read(Layers::new().flags(both)).expect_err("both given");
    assert_eq!(
        lines(&problems),
        ["token (--token): token and token_file are both given; give one of them"]
    );

    for (toml, line) in [
        ("token = ['hunter2']", 1),
        ("\ntoken = 'hunter2", 2),
        ("token = 'hunter2'\ntoken = 'hunter2'", 2),
    ] {
        let toml = file(toml);
        let problems = read(Layers::new().file(toml.path())).expect_err("wrong");
        let text = format!("{problems} {problems:?}");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(
            text.contains(&format!("{}:{line}", toml.path().display())),
            "{text}"
        );
    }
    let missing = read(Layers::new().flags([("token_file", "/does/not/exist".to_owned())]))
        .expect_err("no file");
    assert!(
        missing
            .to_string()
            .contains("token_file (--token-file): /does/not/exist: No such file"),
        "{missing}"
    );
}

#[test]
fn sections_and_values_do_not_mix() {
    let read = |vars| Layers::new().env("S_", &[], vars).read(example);
    let problems = read(vars(&[
        ("S_LIMITS", "1KiB"),
        ("S_LIMITS__PAYLOAD", "1KiB"),
        ("S_POOLS", "a"),
    ]))
    .expect_err("mixed");
    let text = problems.to_string();
    assert!(
        text.contains("limits.payload (S_LIMITS__PAYLOAD): limits is a value, not a section"),
        "{text}"
    );
    assert!(
        text.contains("limits (S_LIMITS): is not a section; write it as a section [limits]"),
        "{text}"
    );
    assert!(
        text.contains("pools (S_POOLS): is not a list of sections"),
        "{text}"
    );
}

#[test]
fn an_unreadable_file_is_a_problem() {
    let problems = Layers::new()
        .file("/does/not/exist.toml".as_ref())
        .read(|_| Some(()))
        .expect_err("no file");
    assert!(
        lines(&problems)[0].starts_with("/does/not/exist.toml: cannot be read"),
        "{problems}"
    );
}
