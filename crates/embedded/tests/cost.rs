//! What a delivery costs: prints figures, asserts nothing. Run it by hand, in release:
//! `cargo test --release -p sidehook-embedded --test cost -- --ignored --nocapture`.

#![expect(clippy::print_stdout, reason = "figures are its purpose")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use sidehook_core::{
    address::{EventId, Lane, Partition, Sequence},
    id::{AgentId, SubscriptionNumber, TenantId},
    pool::Pool,
};
use sidehook_embedded::Embedded;
use sidehook_store::{
    Stamp, Store, Turn,
    catalog::{Bounds, Change, Expect, QueueSettings, Write},
    port::Durability,
    rules,
    turn::{
        Calls, Claim, ClaimReply, Demand, Disposition, Holder, NewEvent, Publish, Settle,
        TenantPublish,
    },
};

const BATCH: u8 = 64;
const BYTES: usize = 1024;

fn pool() -> Pool {
    Pool {
        owner: TenantId::PLATFORM,
        name: "shared".to_owned(),
    }
}

/// One partition's line of turns.
struct Line {
    tenant: TenantId,
    lane: Lane,
    next: u32,
    /// What was lent and is to be settled.
    lent: Option<(Stamp, ClaimReply)>,
    deliveries: u64,
}

impl Line {
    async fn new(store: &dyn Store, tenant: TenantId) -> Self {
        let write = Write {
            tenant,
            number: SubscriptionNumber(1),
            expect: Expect::Absent,
            bounds: Bounds::default(),
            nonce: 1,
            change: Change::Put {
                record: Bytes::from_static(b"subscription"),
                queue: QueueSettings {
                    pool: pool(),
                    window: 1_000,
                    paused: false,
                },
            },
        };
        store.write(&write).await.expect("it answers");
        Self {
            tenant,
            lane: Lane::from_random(5),
            next: 1,
            lent: None,
            deliveries: 0,
        }
    }

    /// Settles what the turn before lent, publishes and, unless told not to, claims.
    async fn turn(&mut self, store: &dyn Store, record: &Bytes, claims: bool) {
        let partition = Partition::of(self.tenant);
        let stamp = Stamp {
            lane: self.lane,
            sequence: Sequence::new(self.next).expect("few turns"),
        };
        self.next += 1;
        let mut calls = Calls::new(partition);
        calls.settle = self.lent.take().map(|(_, claim)| (stamp, ends(&claim)));
        let catalog = store.catalog(self.tenant, None);
        let catalog = match self.next {
            2 => catalog.await.expect("it answers").expect("nothing known"),
            _ => sidehook_store::catalog::Catalog {
                version: sidehook_core::version::Version {
                    counter: 1,
                    nonce: 1,
                },
                rows: Vec::new(),
            },
        };
        let now = store.now().await.expect("it answers");
        let segment = rules::address(partition, stamp, 0).expect("the first place");
        let events = (0..BATCH).map(|index| NewEvent {
            id: EventId::new(now, segment, index),
            record: record.clone(),
            idempotency: None,
            targets: vec![SubscriptionNumber(1)],
        });
        let one = TenantPublish {
            tenant: self.tenant,
            catalog: catalog.version,
            budget: sidehook_store::budget::Budget::UNLIMITED,
            events: events.collect(),
        };
        calls.publish = Some((stamp, Publish { tenants: vec![one] }));
        let demand = Demand {
            pool: pool(),
            holder: Holder {
                agent: AgentId::from_bits(1),
                session: 1,
            },
            max_deliveries: BATCH.into(),
            per_tenant: u32::MAX,
            shares: Vec::new(),
            lease: Duration::from_secs(30),
            token: 4242,
        };
        let demands = vec![demand];
        calls.claim = claims.then_some((stamp, Claim { demands }));
        let turn = Turn {
            now: None,
            calls: vec![calls],
        };
        let mut reply = store.turn(0, &turn).await.expect("it answers");
        let reply = reply.calls.remove(0);
        reply.publish.expect("asked").expect("it publishes");
        if let Some(settled) = reply.settle {
            let stale = settled.expect("it settles").stale.concat();
            assert!(stale.is_empty(), "{stale:?}");
            self.deliveries += u64::from(BATCH);
        }
        self.lent = reply.claim.map(|claim| (stamp, claim.expect("it lends")));
    }
}

fn ends(claim: &ClaimReply) -> Settle {
    let record = Bytes::from_static(&[7; 100]);
    let end = |_| Disposition::End {
        record: record.clone(),
    };
    let grants = claim.grants.iter().flatten();
    Settle {
        leases: grants.map(|grant| grant.settle(4242, end)).collect(),
    }
}

/// Publishes without claiming.
async fn pile_up(store: &dyn Store, line: &mut Line, backlog: usize, record: &Bytes) {
    for _ in 0..backlog / usize::from(BATCH) {
        line.turn(store, record, false).await;
    }
}

async fn measure(durability: Durability, lines: usize, turns: usize, backlog: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Embedded::open(directory.path(), durability).expect("it opens");
    let mut all = Vec::new();
    let tenants = (1..).map(TenantId::from_bits);
    let mut seen = std::collections::HashSet::new();
    for tenant in tenants
        .filter(|one| seen.insert(Partition::of(*one)))
        .take(lines)
    {
        all.push(Line::new(&store, tenant).await);
    }
    let record = Bytes::from(vec![b'x'; BYTES]);
    for line in &mut all {
        pile_up(&store, line, backlog, &record).await;
    }
    let begin = Instant::now();
    for _ in 0..turns {
        let together = all.iter_mut().map(|line| line.turn(&store, &record, true));
        futures_util::future::join_all(together).await;
    }
    let took = begin.elapsed();
    let count: u64 = all.iter().map(|line| line.deliveries).sum();
    let each = took.as_secs_f64() * 1e6 / count as f64;
    let file = std::fs::metadata(directory.path().join("store.redb")).expect("a file");
    let close = Instant::now();
    drop(store);
    println!(
        "{durability:?}, {lines} partitions, backlog {backlog}: {count} deliveries, {each:.1} µs each, file {} MiB, closed in {:?}",
        file.len() >> 20,
        close.elapsed()
    );
    let open = Instant::now();
    let store = Embedded::open(directory.path(), durability).expect("it opens");
    println!("  opened in {:?}", open.elapsed());
    drop(store);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures, asserts nothing"]
async fn microseconds_per_delivery() {
    println!("batch {BATCH}, {BYTES} bytes");
    measure(Durability::Relaxed, 1, 1_500, 0).await;
    measure(Durability::Relaxed, 8, 200, 0).await;
    measure(Durability::Relaxed, 1, 1_500, 250_000).await;
    measure(Durability::Strict, 1, 300, 0).await;
    measure(Durability::Strict, 8, 40, 0).await;
}
