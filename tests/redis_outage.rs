//! Redis away, in all the ways in which it can be: publishers are told that the store
//! is unavailable and when to come back, agents keep their streams, nobody spins or
//! floods the log, and everything resumes without a restart of ours. Redis is
//! reached through a proxy, and so is the control plane by its agent.

use std::time::{Duration, Instant};

use sidehook_api::v1;
use sidehook_testkit::{
    client::{Client, event},
    fault_proxy::FaultProxy,
    ledger::Ledger,
    process::{Process, loopback},
    receiver::{Behaviour, Receiver},
    redis_server::RedisServer,
    system::System,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;
use tonic_types::StatusExt as _;

const PATIENCE: Duration = Duration::from_secs(90);
/// Events of one call.
const BATCH: u64 = 20;
/// Connections to Redis of one server: four workers, one aside, one for hints.
const CONNECTIONS: u64 = 6;

struct Story {
    // Dropped in this order: who depends goes before what it depends on.
    _agent: Process,
    system: System,
    line: FaultProxy,
    stream: FaultProxy,
    redis: RedisServer,
    client: Client,
    receiver: Receiver,
    ledger: Ledger,
    published: u64,
}

/// An outage that is going on.
struct Outage {
    begun: Instant,
    connections: u64,
    lines: usize,
}

fn order(n: u64) -> v1::Event {
    let mut one = event("order", n);
    one.idempotency_key = format!("order-{n}");
    one
}

impl Story {
    async fn begin(arguments: &[&str]) -> Self {
        let redis = RedisServer::start_with(arguments).await;
        let line = FaultProxy::start(loopback(redis.port())).await;
        let store = format!(
            "redis = \"redis://{}/\"\nresponse_timeout = \"1s\"",
            line.address()
        );
        let system = System::builder()
            .without_agent()
            .store(&store)
            .start()
            .await;
        let stream = FaultProxy::start(system.agents(0)).await;
        let agent = system.agent_at("agent", stream.address());
        let client = system.client(0);
        let receiver = Receiver::start(Behaviour::Ok).await;
        client.subscribe(&receiver.url(), "order").await;
        let mut story = Self {
            _agent: agent,
            system,
            line,
            stream,
            redis,
            client,
            receiver,
            ledger: Ledger::new(),
            published: 0,
        };
        story.publish_until_accepted().await;
        story.drain().await;
        story
    }

    /// Publishes the next events until they are accepted, under the same keys; each
    /// refusal must say that the store is away, and when to come back.
    async fn publish_until_accepted(&mut self) {
        let begun = Instant::now();
        while !self.publish().await {
            assert!(begun.elapsed() < PATIENCE, "publishing never resumed");
        }
        self.published += BATCH;
    }

    async fn publish(&mut self) -> bool {
        let batch = (self.published..self.published + BATCH)
            .map(order)
            .collect();
        let results = match self.client.publish(batch).await {
            Ok(results) => results,
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                let hint = status.get_error_details().retry_info().cloned();
                assert!(hint.expect("a hint").retry_delay > Some(Duration::ZERO));
                return false;
            }
        };
        let mut all = true;
        for result in results {
            let Some(error) = result.error else {
                self.ledger.acknowledged(&result.event_id, ["receiver"]);
                continue;
            };
            all = false;
            assert_eq!(error.code, Code::Unavailable as i32, "{error:?}");
            let hint = error.retry_after.expect("a hint");
            assert!(hint.seconds > 0 || hint.nanos > 0);
        }
        all
    }

    fn lines(&mut self) -> usize {
        self.system.server(0).log().lines().count()
    }

    fn outage(&mut self) -> Outage {
        Outage {
            begun: Instant::now(),
            connections: self.line.connections(),
            lines: self.lines(),
        }
    }

    /// Publishers press until they were refused so often; then bounds what the
    /// outage has cost.
    async fn suffer(&mut self, outage: &Outage, refusals: usize) {
        for _ in 0..refusals {
            assert!(!self.publish().await, "Redis is away");
            assert!(outage.begun.elapsed() < PATIENCE);
        }
        let tried = self.line.connections() - outage.connections;
        let elapsed = outage.begun.elapsed();
        let bound = CONNECTIONS * (attempts_within(elapsed) + 1);
        assert!(
            tried <= bound,
            "{tried} attempts in {elapsed:?}, {bound} are allowed"
        );
        let lines = self.lines() - outage.lines;
        let bound = 10 + elapsed.as_secs() as usize;
        assert!(
            lines <= bound,
            "{lines} lines in {elapsed:?}:\n{}",
            self.system.server(0).log()
        );
    }

    /// After the cure: works again, over the same stream, and nothing is missing. The
    /// whole log of the server, which has ended.
    async fn recovered(mut self) -> String {
        self.publish_until_accepted().await;
        self.publish_until_accepted().await;
        self.drain().await;
        self.ledger.assert_nothing_lost();
        assert_eq!(self.ledger.unexpected(), []);
        assert_eq!(self.stream.connections(), 1, "the agent's stream broke");
        self.system.terminate_server().await;
        self.system.server(0).log()
    }

    async fn drain(&mut self) {
        let begun = Instant::now();
        loop {
            self.ledger.received("receiver", &self.receiver.take());
            if self.ledger.is_complete() {
                return;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "it does not drain:\n{}",
                self.ledger
            );
            let more = self.receiver.count() + 1;
            self.receiver
                .wait_for(more, Duration::from_millis(200))
                .await;
        }
    }

    /// Waits until `/readyz` has these words in it.
    async fn until_readyz_says(&self, words: &str) {
        let begun = Instant::now();
        loop {
            let answer = readyz(&self.system).await;
            if answer.contains(words) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "never {words:?}, but {answer}");
        }
    }
}

async fn readyz(system: &System) -> String {
    let address = system.http(0);
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

/// How many attempts of one connection fit into this time if each wait is as short
/// as the back-off can draw it: from half of 50 ms on, doubling, up to half of 2 s.
fn attempts_within(elapsed: Duration) -> u64 {
    let (mut attempts, mut sum, mut wait) = (1, Duration::ZERO, Duration::from_millis(25));
    loop {
        sum += wait;
        if sum > elapsed {
            return attempts;
        }
        attempts += 1;
        wait = (wait * 2).min(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn redis_that_refuses_connections_is_waited_for() {
    let mut story = Story::begin(&[]).await;
    let outage = story.outage();
    story.line.refuse();
    story.suffer(&outage, 30).await;
    story.until_readyz_says("503").await;
    story.line.forward();
    story.until_readyz_says("200 OK").await;
    story.recovered().await;
}

#[tokio::test]
async fn redis_in_a_black_hole_is_waited_for() {
    let mut story = Story::begin(&[]).await;
    let outage = story.outage();
    story.line.stall();
    story.suffer(&outage, 2).await;
    story.line.forward();
    story.recovered().await;
}

#[tokio::test]
async fn a_slow_redis_is_slow_and_nothing_else() {
    let mut story = Story::begin(&[]).await;
    story.line.delay(Duration::from_millis(50));
    let before = story.line.connections();
    for _ in 0..3 {
        assert!(story.publish().await, "it is slow, not away");
        story.published += BATCH;
    }
    story.drain().await;
    assert_eq!(
        story.line.connections(),
        before,
        "no connection was given up"
    );
    story.line.forward();
    story.recovered().await;
}

#[tokio::test]
async fn redis_killed_and_started_again_is_found_again() {
    let mut story = Story::begin(&["--appendfsync", "always"]).await;
    let outage = story.outage();
    story.redis.kill9();
    story.suffer(&outage, 1).await;
    story.redis.restart().await;
    story.recovered().await;
}

#[tokio::test]
async fn a_master_that_became_a_replica_is_away_until_there_is_a_master() {
    let mut story = Story::begin(&[]).await;
    let outage = story.outage();
    // Of a master that is not there: it keeps its data and takes no writes.
    story.redis.command(&["REPLICAOF", "127.0.0.1", "1"]).await;
    story.suffer(&outage, 5).await;
    story.until_readyz_says("503").await;
    story.redis.command(&["REPLICAOF", "NO", "ONE"]).await;
    story.recovered().await;
}

#[tokio::test]
async fn scripts_that_are_flushed_again_and_again_are_nobodys_business() {
    let mut story = Story::begin(&[]).await;
    for _ in 0..10 {
        story.redis.command(&["SCRIPT", "FLUSH"]).await;
        assert!(story.publish().await, "they are taught again");
        story.published += BATCH;
    }
    story.recovered().await;
}

#[tokio::test]
async fn a_server_that_keeps_less_than_the_one_before_is_told_of_everywhere() {
    let mut story = Story::begin(&["--appendfsync", "always"]).await;
    story.until_readyz_says("store: durability strict").await;
    for (setting, value, level, word) in [
        (
            "appendfsync",
            "everysec",
            v1::Durability::Relaxed,
            "relaxed",
        ),
        ("appendonly", "no", v1::Durability::Volatile, "volatile"),
    ] {
        story
            .redis
            .command(&["CONFIG", "SET", setting, value])
            .await;
        story.line.cut();
        story
            .until_readyz_says(&format!("store: durability {word}"))
            .await;
        let results = story.client.publish(vec![order(1_000_000)]).await;
        let result = results.expect("it works").remove(0);
        story.ledger.acknowledged(&result.event_id, ["receiver"]);
        assert_eq!(result.durability(), level);
    }
    let log = story.recovered().await;
    for word in ["relaxed", "volatile"] {
        let warned = log
            .lines()
            .filter(|line| line.contains("keeps less safely"));
        let named = warned
            .filter(|line| line.to_lowercase().contains(word))
            .count();
        assert_eq!(named, 1, "once each:\n{log}");
    }
}
