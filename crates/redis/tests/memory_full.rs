//! A Redis whose memory is full: events are refused whole, everything else goes on,
//! also over new connections, and what was accepted drains to the last delivery.

mod support;

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use sidehook_core::{
    address::{EventId, SegmentId},
    id::SubscriptionNumber,
    time::Timestamp,
    version::Version,
};
use sidehook_redis::RedisStore;
use sidehook_store::{
    CallError, Store as _, StoreError,
    catalog::{Bounds, Change, Expect, QueueSettings, Write},
    registry::Kind,
    turn::{Calls, Disposition, Grant, Replies, Settle},
};
use support::{
    Line, START, Server, calls, claim, demand, events, execute, pool, subscribe, tenant,
};

/// Events of one publish.
const BATCH: usize = 64;
/// Bytes of an event.
const BYTES: usize = 1_024;

async fn tell(server: &Server, command: &[&str]) -> redis::Value {
    let mut client = server.client().await;
    let mut cmd = redis::cmd(command[0]);
    cmd.arg(&command[1..]);
    cmd.query_async(&mut client).await.expect("it answers")
}

/// Leaves room for so many more bytes.
async fn room(server: &Server, bytes: u64) {
    let mut client = server.client().await;
    let text: String = redis::cmd("INFO")
        .arg("memory")
        .query_async(&mut client)
        .await
        .expect("it answers");
    let used = text
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    let used: u64 = used
        .expect("INFO tells it")
        .trim()
        .parse()
        .expect("a number");
    let limit = (used + bytes).to_string();
    tell(server, &["CONFIG", "SET", "maxmemory", &limit]).await;
}

/// A delivery of the one subscription.
type Key = (SegmentId, u8);

struct Story {
    store: RedisStore,
    catalog: Version,
    line: Line,
    accepted: BTreeSet<Key>,
    refused: usize,
    delivered: BTreeSet<Key>,
    now: Timestamp,
}

impl Story {
    async fn begin(server: &Server) -> Self {
        let store = server.store().await;
        let catalog = subscribe(&store, 1, 10_000).await;
        Self {
            store,
            catalog,
            line: Line::new(9),
            accepted: BTreeSet::new(),
            refused: 0,
            delivered: BTreeSet::new(),
            now: START,
        }
    }

    /// Publishes a batch; whether it was accepted.
    async fn publish(&mut self, one: &mut Calls) -> bool {
        let stamp = self.line.stamp(1);
        let publish = events(stamp, self.catalog, BATCH, BYTES, &[1]);
        let ids: Vec<_> = publish.tenants[0]
            .events
            .iter()
            .map(|event| event.id)
            .collect();
        one.publish = Some((stamp, publish));
        let replies = self.execute(one).await;
        match replies.publish.expect("asked") {
            Ok(_) => {
                let key = |id: &EventId| Some((id.segment()?, id.index()));
                let keys = ids.iter().filter_map(key);
                self.accepted.extend(keys);
                true
            }
            Err(CallError::Full) => {
                self.refused += 1;
                false
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// Executes calls that all must work, but for the publish.
    async fn execute(&mut self, one: &Calls) -> Replies {
        let replies = execute(&self.store, self.now, one.clone()).await;
        assert!(
            replies.settle.as_ref().is_none_or(Result::is_ok),
            "{replies:?}"
        );
        assert!(
            replies.claim.as_ref().is_none_or(Result::is_ok),
            "{replies:?}"
        );
        assert!(
            replies.tick.as_ref().is_none_or(Result::is_ok),
            "{replies:?}"
        );
        replies
    }

    /// Claims up to so many.
    async fn claim(&mut self, max: u32) -> Option<Grant> {
        let mut one = calls();
        one.claim = Some((self.line.stamp(2), claim(max)));
        one.tick = true;
        let replies = self.execute(&one).await;
        let mut reply = replies.claim.expect("asked").expect("checked");
        reply.grants.remove(0)
    }

    /// Calls that settle a grant: every fourth waits for a retry, the rest ends.
    fn settle(&mut self, grant: &Grant, retries: bool) -> Calls {
        let record = Bytes::from_static(&[7; 150]);
        let settled = grant.settle(4242, |position| {
            let record = record.clone();
            if retries && position % 4 == 3 {
                Disposition::Retry {
                    at: self.now + Duration::from_secs(5),
                    retry: Bytes::from_static(b"once"),
                    record,
                }
            } else {
                Disposition::End { record }
            }
        });
        let ended = settled.items.iter();
        let ended = ended.filter(|one| matches!(one.disposition, Disposition::End { .. }));
        self.delivered
            .extend(ended.map(|one| (one.segment, one.index)));
        let mut one = calls();
        let settle = Settle {
            leases: vec![settled],
        };
        one.settle = Some((self.line.stamp(0), settle));
        one
    }

    /// Delivers all that there is, each with a retry now and then.
    async fn drain(&mut self) {
        for round in 0.. {
            let Some(grant) = self.claim(100).await else {
                if self.delivered.len() == self.accepted.len() {
                    return;
                }
                // Those that wait are due then.
                self.now = self.now + Duration::from_secs(10);
                assert!(round < 10_000, "it never drains");
                continue;
            };
            let one = self.settle(&grant, round < 20);
            self.execute(&one).await;
        }
    }

    async fn nothing_is_left_staged(&self, server: &Server) {
        let staged = tell(server, &["KEYS", "*new:*"]).await;
        assert_eq!(staged, redis::Value::Array(Vec::new()));
        let seen = self
            .store
            .inspect(calls().partition)
            .await
            .expect("it answers");
        assert_eq!(seen.faults, Vec::<String>::new());
    }
}

#[tokio::test]
async fn what_was_accepted_drains_from_a_full_redis_and_nothing_half_written_is_left() {
    let server = Server::start();
    let mut story = Story::begin(&server).await;
    room(&server, 2 << 20).await;
    while story.publish(&mut calls()).await {}
    assert!(story.accepted.len() > 5 * BATCH, "there was room for some");
    story.nothing_is_left_staged(&server).await;
    let seen = story
        .store
        .inspect(calls().partition)
        .await
        .expect("it answers");
    assert_eq!(
        seen.ready.len(),
        story.accepted.len(),
        "no more and no less than accepted"
    );

    // Now there is less than nothing: every write is over the limit.
    tell(&server, &["CONFIG", "SET", "maxmemory", "1mb"]).await;
    let grant = story.claim(100).await.expect("it lends");
    let leases = [(grant.lease, 4242)];
    let renewed = story
        .store
        .renew(Some(story.now), &leases, Duration::from_secs(60));
    assert_eq!(renewed.await, Ok(vec![true]));
    let released = story
        .store
        .release(&[demand(1).holder], &[])
        .await
        .expect("it answers");
    assert_eq!(released, 100);
    let presence =
        story
            .store
            .registry_put(Kind::Agent, b"agent", Some(Bytes::from_static(b"here")));
    presence.await.expect("presence is written");
    // A publish in the same pipeline as a settle spoils nothing.
    let grant = story.claim(100).await.expect("it lends again");
    let mut one = story.settle(&grant, true);
    assert!(!story.publish(&mut one).await);
    // Connections that are made now work too.
    tell(
        &server,
        &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
    )
    .await;
    story.drain().await;
    assert_eq!(
        story.delivered, story.accepted,
        "lost 0, and nothing that was refused"
    );
    story.nothing_is_left_staged(&server).await;

    // What was refused works by itself once there is room.
    assert!(!story.publish(&mut calls()).await);
    tell(&server, &["CONFIG", "SET", "maxmemory", "0"]).await;
    assert!(story.publish(&mut calls()).await);
    story.drain().await;
    assert_eq!(story.delivered, story.accepted);
    assert_eq!(story.refused, 3);
}

#[tokio::test]
async fn a_full_redis_can_be_opened_and_its_subscriptions_changed() {
    let server = Server::start();
    let mut story = Story::begin(&server).await;
    assert!(story.publish(&mut calls()).await);
    tell(&server, &["CONFIG", "SET", "maxmemory", "1mb"]).await;
    story.store = server.store().await;
    let current = story
        .store
        .catalog(tenant(), None)
        .await
        .expect("it answers");
    let row = current.expect("there is one").rows.remove(0);
    let write = Write {
        tenant: tenant(),
        number: SubscriptionNumber(1),
        expect: Expect::Version(row.version),
        bounds: Bounds::default(),
        nonce: 5,
        change: Change::Put {
            record: Bytes::from_static(b"paused"),
            queue: QueueSettings {
                pool: pool(),
                window: 100,
                paused: true,
            },
        },
    };
    let written = story.store.write(&write).await;
    assert!(
        !matches!(written, Err(StoreError::Unavailable { .. })),
        "{written:?}"
    );
    assert!(story.claim(10).await.is_none(), "it is paused");
}
