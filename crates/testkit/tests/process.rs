//! A process is logged, signalled and waited for.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use sidehook_testkit::Process;

#[tokio::test]
async fn is_logged_and_ends_when_asked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done",
    ]);
    let mut process = Process::start(command, &folder.path().join("log"));
    let deadline = Instant::now() + Duration::from_secs(30);
    while process.log() != "ready\n" {
        assert!(Instant::now() < deadline, "it never gets ready");
        let ended = process.wait_exit(Duration::from_millis(10)).await;
        assert_eq!(ended, None);
    }
    process.terminate();
    let status = process.wait_exit(Duration::from_secs(5)).await;
    assert_eq!(status.and_then(|status| status.code()), Some(7));
}
