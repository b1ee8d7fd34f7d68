//! The README's commands, run as they stand there.

use std::{fs, path::Path, process::Command, time::Duration};

use sidehook_testkit::{
    process::{Process, binary},
    receiver::{Behaviour, Receiver},
};

const PATIENCE: Duration = Duration::from_secs(30);
/// Examples that the README shows whole, after a fence that ends in the file's path.
const EXAMPLES: [&str; 4] = [
    "tests/clients/python/example.py",
    "tests/clients/node/example.ts",
    "tests/clients/go/example.go",
    "tests/clients/java/src/main/java/Example.java",
];
/// Where the README's receiver listens.
const PORT: &str = "127.0.0.1:9000";

/// The block of the README with this name.
fn block(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("README.md")).expect("there is a README");
    let fence = format!("```sh {name}\n");
    let (_, rest) = text.split_once(&fence).expect("a block of this name");
    let (block, _) = rest.split_once("\n```").expect("the block ends");
    block.replace("localhost:9000", PORT)
}

#[test]
fn the_examples_of_clients_are_the_files_that_are_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("there is a README");
    for path in EXAMPLES {
        let file = fs::read_to_string(root.join(path)).expect(path);
        let (_, rest) = readme
            .split_once(&format!(" {path}\n"))
            .unwrap_or_else(|| panic!("README.md shows no {path}"));
        let (shown, _) = rest.split_once("\n```\n").expect("the block ends");
        for (number, (shown, line)) in shown.lines().zip(file.lines()).enumerate() {
            assert_eq!(shown, line, "README.md, {path}, line {}", number + 1);
        }
        assert_eq!(
            shown.lines().count(),
            file.lines().count(),
            "{path} is whole"
        );
    }
}

/// How many commands are in a block: lines that neither continue one nor comment.
fn commands(block: &str) -> usize {
    let mut continues = false;
    let begins = |line: &&str| {
        let is_first = !continues && !line.trim().is_empty() && !line.starts_with('#');
        continues = line.ends_with('\\');
        is_first
    };
    block.lines().filter(begins).count()
}

/// Waits for the file that tells where everything serves.
async fn ready(file: &Path, process: &mut Process) -> serde_json::Value {
    let text = async {
        loop {
            if let Ok(text) = fs::read_to_string(file) {
                return text;
            }
            if let Some(status) = process.wait_exit(Duration::from_millis(10)).await {
                panic!("it ended ({status}):\n{}", process.log());
            }
        }
    };
    let text = tokio::time::timeout(PATIENCE, text).await;
    serde_json::from_str(&text.expect("it is ready within 30 s")).expect("JSON")
}

/// Runs the block against a development system, and answers what it printed.
async fn run(block: &str, receiver: &Receiver, delivered: usize) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = block.replace(PORT, &receiver.address().to_string());

    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("ready.json");
    let sidehook = binary("sidehook");
    let mut dev = Command::new(&sidehook);
    dev.env_clear().args(["dev", "--ready-file"]).arg(&file);
    for listener in ["--http", "--grpc", "--agents", "--gateway"] {
        dev.args([listener, "127.0.0.1:0"]);
    }
    let mut dev = Process::start(dev, &folder.path().join("dev.log"));
    let told = ready(&file, &mut dev).await;
    let told = |name: &str| told[name].as_str().expect("a text").to_owned();

    let bin = sidehook.parent().expect("a folder").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("bash");
    shell
        .args(["-eu", "-o", "pipefail", "-c", &script])
        .current_dir(root)
        .env("PATH", format!("{bin}:{path}"))
        .env("SIDEHOOK_API_KEY", told("api_key"))
        .env("SIDEHOOK_SERVER", server(&told("grpc")))
        .env("GATEWAY", server(&told("gateway")));
    let mut shell = Process::start(shell, &folder.path().join("shell.log"));
    let ended = shell.wait_exit(PATIENCE).await;
    let ended = ended.expect("the commands end");
    assert!(ended.success(), "{ended}:\n{}", shell.log());
    assert!(
        receiver.wait_for(delivered, PATIENCE).await,
        "{}",
        dev.log()
    );
    shell.log()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ten_commands_work_as_they_stand() {
    let block = block("ten-commands");
    assert!(commands(&block) >= 10, "ten commands:\n{block}");
    let receiver = Receiver::start(Behaviour::Ok).await;
    // The test event and the published one.
    run(&block, &receiver, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_the_gateway_work_as_they_stand() {
    let receiver = Receiver::start(Behaviour::Ok).await;
    let said = run(&block("gateway"), &receiver, 0).await;
    for answer in [
        "signature_key",
        "secretToken",
        "tenant_id",
        "has_more",
        "cursor_next",
    ] {
        assert!(said.contains(answer), "{answer} is missing in {said}");
    }
}

/// The address with its scheme.
fn server(grpc: &str) -> String {
    if grpc.contains("://") {
        grpc.to_owned()
    } else {
        format!("http://{grpc}")
    }
}
