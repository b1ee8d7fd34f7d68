//! A process is logged, signalled and waited for.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use sidehook_testkit::{
    Process,
    process::{free_ports, loopback},
};

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

#[test]
fn no_port_is_given_twice_nor_to_an_outgoing_connection() {
    let given: Vec<_> = (0..100).flat_map(|_| free_ports::<3>()).collect();
    let different: BTreeSet<_> = given.iter().copied().collect();
    assert_eq!(different.len(), given.len());
    // Where Linux begins to number outgoing connections, unless told otherwise.
    assert!(different.iter().all(|port| *port < 32_768));
    // Nobody holds them: whoever was given one can listen there.
    for port in given {
        TcpListener::bind(loopback(port)).expect("it is free");
    }
}
