//! The command-line client as people use it: its built binary against a running system.

use std::{
    fs,
    process::{Command, Output},
};

use sidehook_testkit::{process::binary, system::System};
use tempfile::TempDir;

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
