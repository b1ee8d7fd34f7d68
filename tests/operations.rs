//! What operators rely on: ends without loss, probes, and logs that can be shown.

use std::{net::SocketAddr, process::Command, time::Duration};

use sidehook_api::v1;
use sidehook_testkit::{
    agent::Agent,
    client::{Client, event, subscription},
    fault_proxy::FaultProxy,
    ledger::Ledger,
    process::{Process, free_ports, loopback},
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
    let draining = async {
        while !agent.log().contains("draining") {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, draining).await;
    in_time.expect("it drains");
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
async fn an_agent_has_probes_and_metrics_of_its_own() {
    let mut system = System::builder().embedded().without_agent().start().await;
    let [port] = free_ports();
    let http = loopback(port);
    let settings = format!("[http]\nlisten = \"{http}\"\n[egress]\nallow_loopback = true\n");
    system.kill_server(0);
    let _agent = Agent::start(&system, &settings);
    let listening = async { while TcpStream::connect(http).await.is_err() {} };
    let in_time = tokio::time::timeout(PATIENCE, listening).await;
    in_time.expect("it listens within 30 s");
    // Alone it lives and is not ready.
    assert!(get(http, "/healthz").await.starts_with("HTTP/1.1 200"));
    let answer = get(http, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("control_plane"), "{answer}");

    system.restart_server(0).await;
    let ready = async { while !get(http, "/readyz").await.starts_with("HTTP/1.1 200") {} };
    let in_time = tokio::time::timeout(PATIENCE, ready).await;
    in_time.expect("it is ready within 30 s");
    let answer = get(http, "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("# TYPE sidehook_"), "{answer}");
    assert!(get(http, "/nowhere").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_drain_has_a_hard_end() {
    let builder = System::builder().embedded().without_agent();
    let mut system = builder.drain_timeout("1s").start().await;
    let client = system.client(0);
    let hanging = Receiver::start(Behaviour::Hang).await;
    subscribe(&client, &hanging).await;
    let mut agent = system.another_agent("agent", 0);
    let published = client.publish(vec![event("order", 1)]).await;
    published.expect("published");
    assert!(hanging.wait_for(1, PATIENCE).await);

    // The attempt may take 30 s, and a second is given.
    agent.terminate();
    let ended = agent.wait_exit(Duration::from_secs(15)).await;
    let ended = ended.expect("it does not wait for the receiver");
    assert_eq!(ended.code(), Some(3), "and says that it was cut short");

    // The server's end is not up to those that it serves either.
    let _agent = system.another_agent("another", 0);
    let request = v1::WatchDeliveriesRequest::default();
    let watch = client.deliveries().watch_deliveries(request).await;
    let _watch = watch.expect("a watch");
    system.server(0).terminate();
    let ended = system.server(0).wait_exit(Duration::from_secs(15)).await;
    assert!(ended.is_some(), "it does not wait for its streams");
}

/// A server, its agent, and everything in flight at a receiver that holds it.
struct InFlight {
    system: System,
    client: Client,
    receiver: Receiver,
    /// Between agent and server.
    line: FaultProxy,
    agent: Process,
    ledger: Ledger,
}

impl InFlight {
    async fn begin() -> Self {
        let system = System::builder().embedded().without_agent().start().await;
        let client = system.client(0);
        let receiver = Receiver::start(Behaviour::Held).await;
        subscribe(&client, &receiver).await;
        let line = FaultProxy::start(system.agents(0)).await;
        let agent = system.agent_at("agent", line.address());
        let mut ledger = Ledger::new();
        publish_all(&client, &mut ledger).await;
        assert!(receiver.wait_for(EVENTS as usize, PATIENCE).await);
        Self {
            system,
            client,
            receiver,
            line,
            agent,
            ledger,
        }
    }

    /// Nothing is sent twice, and every delivery has its one attempt; the agent's log.
    async fn end(mut self) -> String {
        let settled = async { while delivered(&self.client).await < EVENTS as usize {} };
        let in_time = tokio::time::timeout(PATIENCE, settled).await;
        in_time.expect("all are settled, long before their leases end");
        let received = self.receiver.received();
        self.ledger.received("receiver", &received);
        self.ledger.assert_nothing_lost();
        assert_eq!(self.ledger.repeated(), 0, "{}", self.ledger);
        self.agent.terminate();
        let ended = self.agent.wait_exit(PATIENCE).await;
        ended.expect("it drains");
        self.agent.log()
    }
}

/// How many deliveries are delivered, each at its first attempt.
async fn delivered(client: &Client) -> usize {
    let request = v1::ListDeliveriesRequest {
        page_size: 100,
        state: v1::DeliveryState::Delivered.into(),
        ..v1::ListDeliveriesRequest::default()
    };
    // The server is on its way back.
    let Ok(page) = client.deliveries().list_deliveries(request).await else {
        return 0;
    };
    let deliveries = page.into_inner().deliveries;
    assert!(deliveries.iter().all(|one| one.attempt_count == 1));
    deliveries.len()
}

/// The numbers that the agent's log tells of its connections.
fn told(log: &str, name: &str) -> Vec<u32> {
    let connected = log
        .lines()
        .filter(|line| line.contains("connected to the control"));
    let values = connected.filter_map(|line| line.split(&format!("{name}=")).nth(1));
    let numbers = values.filter_map(|rest| rest.split_whitespace().next()?.parse().ok());
    numbers.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_outlive_the_control_plane_that_gave_them() {
    let mut all = InFlight::begin().await;
    all.system.restart_server(0).await;
    all.receiver.release();
    let log = all.end().await;
    assert_eq!(told(&log, "dead_leases"), [0, 0], "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_that_come_while_nobody_is_connected_are_kept() {
    let mut all = InFlight::begin().await;
    all.system.kill_server(0);
    all.receiver.release();
    all.system.restart_server(0).await;
    all.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_that_were_sent_and_not_acknowledged_are_sent_again() {
    let mut all = InFlight::begin().await;
    // A server that takes what it is sent and never gets to it.
    let id = all.system.server_id(0).to_string();
    let stopped = Command::new("kill").args(["-STOP", &id]).status();
    assert!(stopped.is_ok_and(|status| status.success()));
    let before = all.line.bytes_to_target();
    all.receiver.release();
    let sent = async {
        while all.line.bytes_to_target() < before + 10 * EVENTS {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, sent).await;
    in_time.expect("the agent reports");
    all.system.restart_server(0).await;
    let log = all.end().await;
    let resent = told(&log, "resent");
    assert!(resent.len() == 2 && resent[1] > 0, "{resent:?}: {log}");
}

#[tokio::test]
async fn the_agents_log_calls_it_what_the_api_calls_it() {
    let system = System::builder().embedded().without_agent().start().await;
    let mut agent = system.another_agent("agent", 0);
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
    agent.terminate();
    let ended = agent.wait_exit(PATIENCE).await;
    ended.expect("it ends, and with it its log");
    let log = agent.log();
    assert!(log.contains(&id), "{id}: {log}");
}
