//! Deleting a subscription with more behind it than one call may end: it is over at
//! once for everyone who looks, and ticks clear the rest.

use core::time::Duration;

use bytes::Bytes;
use sidehook_core::{
    address::{EventId, Lane, Partition, Sequence},
    id::{AgentId, SubscriptionNumber, TenantId},
    limits::CALL_RECORDS,
    pool::Pool,
    time::Timestamp,
};
use sidehook_embedded::Embedded;
use sidehook_store::{
    Stamp, Store as _, Turn,
    budget::{self, Budget, Usage},
    catalog::{Bounds, Change, Expect, QueueSettings, Write, Written},
    inspect::Inspection,
    port::Durability,
    rules,
    turn::{
        Calls, Claim, Demand, Disposition, Grant, Holder, NewEvent, Publish, Replies, Settle,
        TenantPublish,
    },
};

const TENANT: TenantId = TenantId::from_bits(7);
const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const TOKEN: u128 = 99;
const EVENT: &[u8] = b"event";

/// A store, and a line of turns to its one partition.
struct Desk {
    store: Embedded,
    next: u32,
}

impl Desk {
    async fn turn(&mut self, fill: impl FnOnce(&mut Calls, Stamp)) -> Replies {
        let stamp = Stamp {
            lane: Lane::from_random(1),
            sequence: Sequence::new(self.next).expect("few turns"),
        };
        self.next += 1;
        let mut calls = Calls::new(Partition::of(TENANT));
        fill(&mut calls, stamp);
        let turn = Turn {
            now: Some(START),
            calls: vec![calls],
        };
        let mut reply = self.store.turn(0, &turn).await.expect("it answers");
        reply.calls.remove(0)
    }

    async fn write(&self, expect: Expect, change: Change) -> Written {
        let write = Write {
            tenant: TENANT,
            number: SubscriptionNumber(1),
            expect,
            bounds: Bounds::default(),
            nonce: 5,
            change,
        };
        self.store.write(&write).await.expect("it answers")
    }

    /// Publishes one event, which is a queue entry of its own.
    async fn publish(&mut self) {
        let catalog = self.store.catalog(TENANT, None).await.expect("it answers");
        let catalog = catalog.expect("nothing known").version;
        let replies = self.turn(|calls, stamp| {
            let segment = rules::address(calls.partition, stamp, 0).expect("the first");
            let event = NewEvent {
                id: EventId::new(START, segment, 0),
                record: Bytes::from_static(EVENT),
                idempotency: None,
                targets: vec![SubscriptionNumber(1)],
            };
            let one = TenantPublish {
                tenant: TENANT,
                catalog,
                budget: Budget::UNLIMITED,
                events: vec![event],
            };
            calls.publish = Some((stamp, Publish { tenants: vec![one] }));
        });
        replies.await.publish.expect("asked").expect("it publishes");
    }

    async fn claim(&mut self, max_deliveries: u32) -> Grant {
        let demand = Demand {
            pool: pool(),
            holder: Holder {
                agent: AgentId::from_bits(1),
                session: 1,
            },
            max_deliveries,
            per_tenant: u32::MAX,
            shares: Vec::new(),
            lease: Duration::from_secs(30),
            token: TOKEN,
        };
        let replies = self.turn(|calls, stamp| {
            let demands = vec![demand];
            calls.claim = Some((stamp, Claim { demands }));
        });
        let reply = replies.await.claim.expect("asked").expect("it lends");
        reply.grants[0].clone().expect("something was queued")
    }

    async fn settle(&mut self, grant: &Grant, disposition: &Disposition) {
        let one = grant.settle(TOKEN, |_| disposition.clone());
        let replies = self.turn(|calls, stamp| {
            calls.settle = Some((stamp, Settle { leases: vec![one] }));
        });
        let reply = replies.await.settle.expect("asked").expect("it settles");
        assert_eq!(reply.stale, [Vec::<u16>::new()]);
    }

    async fn look(&self) -> Inspection {
        let seen = self.store.inspect(Partition::of(TENANT)).await;
        let seen = seen.expect("it answers");
        assert_eq!(seen.faults, Vec::<String>::new());
        seen
    }

    /// Whether there is more to do at once.
    async fn tick(&mut self) -> bool {
        let replies = self.turn(|calls, _| calls.tick = true).await;
        let reply = replies.tick.expect("asked").expect("it ticks");
        reply.next_due.is_some_and(|due| due <= START)
    }
}

fn pool() -> Pool {
    Pool {
        owner: TenantId::PLATFORM,
        name: "shared".to_owned(),
    }
}

#[tokio::test]
async fn what_is_deleted_ends_bit_by_bit() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Embedded::open(directory.path(), Durability::Relaxed).expect("it opens");
    let mut desk = Desk { store, next: 1 };
    let queue = QueueSettings {
        pool: pool(),
        window: 1_000,
        paused: false,
    };
    let record = Bytes::from_static(b"subscription");
    let written = desk.write(Expect::Absent, Change::Put { record, queue });
    let Written::Done(version) = written.await else {
        panic!("nothing is in the way");
    };
    let many = u32::try_from(CALL_RECORDS).expect("few");
    for _ in 0..4 * many {
        desk.publish().await;
    }
    let retry = Disposition::Retry {
        at: START + Duration::from_secs(60),
        retry: Bytes::from_static(b"once"),
        record: Bytes::from_static(b"failed"),
    };
    for _ in 0..2 {
        let grant = desk.claim(many).await;
        desk.settle(&grant, &retry).await;
    }
    let lent = desk.claim(3).await;
    let seen = desk.look().await;
    let counts = [seen.ready.len(), seen.leased.len(), seen.waiting.len()];
    assert_eq!(counts, [2 * CALL_RECORDS - 3, 3, 2 * CALL_RECORDS]);

    let deleted = desk.write(Expect::Version(version), Change::Delete).await;
    assert_eq!(deleted, Written::Done(version));
    let seen = desk.look().await;
    let counts = [seen.ready.len(), seen.leased.len(), seen.waiting.len()];
    assert_eq!(counts, [0, 3, 0], "only what is lent is left to see");
    let mut ticks = 0;
    while desk.tick().await {
        desk.look().await;
        ticks += 1;
        assert!(ticks < 20, "it comes to an end");
    }
    assert!(ticks >= 2, "{ticks} ticks are too few for what there was");
    let record = Bytes::from_static(b"done");
    desk.settle(&lent, &Disposition::End { record }).await;
    let seen = desk.look().await;
    let kept = 4 * CALL_RECORDS as u64 * u64::from(budget::kept(EVENT.len() as u64, 1, 1));
    let used = Usage {
        pending: 0,
        log: kept,
    };
    let left = Inspection {
        segments: 4 * CALL_RECORDS,
        used: [(TENANT, used)].into(),
        ..Inspection::default()
    };
    assert_eq!(seen, left, "the log alone");
}
