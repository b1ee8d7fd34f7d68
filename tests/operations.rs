//! What operators rely on: ends without loss, probes, and logs that can be shown.

use std::{net::SocketAddr, time::Duration};

use sidehook_api::v1;
use sidehook_testkit::{
    client::{Client, event, subscription},
    ledger::Ledger,
    receiver::{Behaviour, Receiver},
    system::System,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const PATIENCE: Duration = Duration::from_secs(30);
const EVENTS: u64 = 100;

/// Publishes `EVENTS` events and books what was acknowledged.
async fn publish_all(client: &Client, ledger: &mut Ledger) {
    let events = (0..EVENTS).map(|n| event("order", n)).collect();
    ledger.published(EVENTS);
    for result in client.publish(events).await.expect("published") {
        assert!(result.error.is_none(), "{result:?}");
        ledger.acknowledged(&result.event_id, ["receiver"]);
    }
}

/// Subscribes `receiver` with a window that lets all events be in flight at once.
async fn subscribe(client: &Client, receiver: &Receiver) -> v1::Subscription {
    let mut wanted = subscription(&receiver.url(), "order");
    wanted.max_in_flight = 128;
    client.create(wanted).await
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("a request");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("an answer in UTF-8");
    answer
}

#[tokio::test]
async fn an_agent_drains_without_loss_or_repeat() {
    let system = System::builder().without_agent().start().await;
    let client = system.client(0);
    let receiver = Receiver::start(Behaviour::Held).await;
    subscribe(&client, &receiver).await;
    let mut agent = system.another_agent("first", 0);
    let mut ledger = Ledger::new();
    publish_all(&client, &mut ledger).await;
    assert!(receiver.wait_for(EVENTS as usize, PATIENCE).await);

    agent.terminate();
    // Comes while the agent drains, so it is for the next one.
    let late = client.publish(vec![event("order", EVENTS)]).await;
    ledger.published(1);
    ledger.acknowledged(&late.expect("published")[0].event_id, ["receiver"]);
    receiver.release();
    let ended = agent.wait_exit(PATIENCE).await.expect("it drains");
    assert!(ended.success(), "{ended}");

    let _second = system.another_agent("second", 0);
    assert!(receiver.wait_for(EVENTS as usize + 1, PATIENCE).await);
    ledger.received("receiver", &receiver.received());
    ledger.assert_nothing_lost();
    assert_eq!(ledger.repeated(), 0, "{ledger}");
    assert!(ledger.unexpected().is_empty(), "{ledger}");
}

#[tokio::test]
async fn a_server_ends_well_and_everything_arrives_after_its_restart() {
    let mut system = System::builder().start().await;
    let client = system.client(0);
    let receiver = Receiver::start(Behaviour::Held).await;
    subscribe(&client, &receiver).await;
    let mut ledger = Ledger::new();
    // More than the window: some are in flight, and the rest still wait in the server.
    publish_all(&client, &mut ledger).await;
    publish_all(&client, &mut ledger).await;
    assert!(receiver.wait_for(EVENTS as usize, PATIENCE).await);

    system.server(0).terminate();
    receiver.release();
    let ended = system.server(0).wait_exit(PATIENCE).await;
    let ended = ended.expect("it drains");
    assert!(ended.success(), "{ended}");
    system.restart_server(0).await;

    // A repeat is allowed here, so the number of requests alone tells nothing.
    let mut seen = 0;
    while !ledger.lost().is_empty() {
        assert!(receiver.wait_for(seen + 1, PATIENCE).await, "{ledger}");
        let received = receiver.received();
        ledger.received("receiver", &received[seen..]);
        seen = received.len();
    }
    ledger.assert_nothing_lost();
}

#[tokio::test]
async fn probes_and_metrics_answer() {
    let system = System::builder().without_agent().start().await;
    for path in ["/healthz", "/readyz"] {
        let answer = get(system.http(0), path).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    let answer = get(system.http(0), "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("# TYPE sidehook_"), "{answer}");
    let answer = get(system.http(0), "/nowhere").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test]
async fn the_agents_log_calls_it_what_the_api_calls_it() {
    let system = System::builder().start().await;
    let client = system.client(0);
    let listed = async {
        loop {
            let request = v1::ListAgentsRequest::default();
            let agents = client.agents().list_agents(request).await;
            if let Some(agent) = agents.expect("a list").into_inner().agents.pop() {
                return agent.id;
            }
        }
    };
    let id = tokio::time::timeout(PATIENCE, listed).await;
    let id = id.expect("an agent is listed");
    let log = system.agent().expect("it runs").log();
    assert!(log.contains(&id), "{id}: {log}");
}
