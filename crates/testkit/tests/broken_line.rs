//! The line between an agent and its control plane breaks, and heals within the
//! lease: nothing is lost and nothing is sent twice, for the agent keeps its leases.
//!
//! Needs the binaries: `cargo build --workspace --bins`.

use std::time::Duration;

use sidehook_testkit::{
    Behaviour, Client, FaultProxy, Ledger, Process, Receiver, System, event, verify,
};

const PATIENCE: Duration = Duration::from_secs(60);
const BATCH: u64 = 100;

struct Story {
    receiver: Receiver,
    line: FaultProxy,
    _agent: Process,
    client: Client,
    ledger: Ledger,
    published: u64,
    _system: System,
}

impl Story {
    async fn begin() -> Self {
        let receiver = Receiver::start(Behaviour::Ok).await;
        let system = System::builder().lease("30s").heartbeat("1s");
        let system = system.without_agent().start().await;
        let line = FaultProxy::start(system.agents(0)).await;
        let client = system.client(0);
        client.subscribe(&receiver.url(), "lead").await;
        Self {
            receiver,
            _agent: system.agent_at("far", line.address()),
            line,
            client,
            ledger: Ledger::new(),
            published: 0,
            _system: system,
        }
    }

    async fn publish(&mut self, batches: u64) {
        for _ in 0..batches {
            let range = self.published..self.published + BATCH;
            let events = range.map(|n| event("lead", n)).collect();
            let results = self.client.publish(events).await;
            for result in results.expect("the publisher's own line is whole") {
                assert!(result.error.is_none(), "{:?}", result.error);
                self.ledger.acknowledged(&result.event_id, ["receiver"]);
            }
            self.ledger.published(BATCH);
            self.published += BATCH;
        }
    }

    /// Waits until `count` requests came.
    async fn came(&self, count: u64) {
        let wanted = usize::try_from(count).expect("a few thousand");
        let came = self.receiver.wait_for(wanted, PATIENCE).await;
        assert!(came, "{} of {count} came", self.receiver.count());
    }

    async fn end(mut self) {
        self.came(self.published).await;
        self.ledger.received("receiver", &self.receiver.received());
        self.ledger.assert_nothing_lost();
        let (unexpected, repeated) = (self.ledger.unexpected(), self.ledger.repeated());
        assert!(unexpected.is_empty(), "{unexpected:?}:\n{}", self.ledger);
        assert_eq!(repeated, 0, "{}", self.ledger);
    }
}

#[tokio::test]
async fn cut_again_and_again() {
    let mut story = Story::begin().await;
    for cut in 1..=3 {
        let half = story.published + 5 * BATCH / 2;
        story.publish(5).await;
        story.came(half).await;
        assert!(story.line.connections() >= cut, "the agent comes back");
        story.line.cut();
    }
    story.end().await;
}

#[tokio::test]
async fn cut_within_a_frame() {
    let mut story = Story::begin().await;
    story.publish(1).await;
    story.came(BATCH).await;
    let before = story.line.connections();
    story.line.cut_after(4_321);
    story.publish(5).await;
    story.came(6 * BATCH).await;
    assert!(story.line.connections() > before, "it was cut");
    story.end().await;
}

#[tokio::test]
async fn silent_for_as_long_as_publishing_takes() {
    let mut story = Story::begin().await;
    story.publish(2).await;
    story.came(BATCH).await;
    story.line.stall();
    story.publish(5).await;
    story.line.forward();
    story.end().await;
}

#[tokio::test]
async fn a_long_line_delivers_what_is_signed() {
    let story = Story::begin().await;
    story.line.delay(Duration::from_millis(100));
    let receiver = Receiver::start(Behaviour::Ok).await;
    let subscription = story.client.subscribe(&receiver.url(), "task").await;
    let results = story.client.publish(vec![event("task", 1)]).await;
    assert_eq!(results.expect("accepted")[0].matched, 1);
    assert!(receiver.wait_for(1, PATIENCE).await);
    let received = &receiver.received()[0];
    assert_eq!(verify(received, &subscription), Ok(()));
}
