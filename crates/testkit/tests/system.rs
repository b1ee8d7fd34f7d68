//! The built system delivers an event, before and after its parts are killed.
//!
//! Needs the binaries: `cargo build --workspace --bins`.

use std::time::Duration;

use sidehook_testkit::{Behaviour, Receiver, System, event, event_id};

#[tokio::test]
async fn delivers_before_and_after_a_restart() {
    let receiver = Receiver::start(Behaviour::Ok).await;
    let start = System::builder().lease("15s").heartbeat("1s");
    let mut system = start.start().await;
    let client = system.client(0);
    client.subscribe(&receiver.url(), "lead").await;
    let results = client.publish(vec![event("lead", 1)]).await;
    let results = results.expect("the call succeeds");
    assert_eq!(results[0].matched, 1);
    assert!(receiver.wait_for(1, Duration::from_secs(10)).await);
    let first = event_id(&receiver.received()[0]);
    assert_eq!(first.as_deref(), Some(&*results[0].event_id));

    system.kill_server(0);
    system.restart_server(0).await;
    system.start_agent(0);
    let results = system.client(0).publish(vec![event("lead", 2)]).await;
    results.expect("the call succeeds");
    assert!(receiver.wait_for(2, Duration::from_secs(20)).await);
    assert!(system.terminate_agent(Duration::from_secs(35)).await);
}
