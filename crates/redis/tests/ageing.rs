//! What is over leaves Redis, key by key: nothing depends on EXPIRE, so whatever
//! the sweeps forget stays for ever.

#[path = "support/proxy.rs"]
mod proxy;
mod support;

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use proxy::Proxy;
use sidehook_core::{
    address::{DeliveryId, Partition, SegmentId},
    health::{Kind, Latency, Mark},
    id::SubscriptionNumber,
    time::Timestamp,
};
use sidehook_redis::RedisStore;
use sidehook_store::{
    Store,
    catalog::{Bounds, Change, Expect, Write, Written},
    rates::{Rate, Want},
    read::Redeliver,
    turn::{Calls, Disposition, Grant, Idempotency, LeaseSettle, Replies, Settle, SettleItem},
};
use support::{Line, START, Server, calls, claim, events, execute, open, subscribe, tenant};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Ends the first half of a grant and lets the second half wait.
fn halves(grant: &Grant, now: Timestamp) -> Settle {
    let run = &grant.runs[0];
    let items = (0..).zip(&run.indices).map(|(position, index)| SettleItem {
        position,
        tenant: run.tenant,
        subscription: run.subscription,
        segment: run.segment,
        index: *index,
        generation: run.generation,
        mark: Some(Mark {
            kind: Kind::of(true, usize::from(position) < run.indices.len() / 2),
            latency: Latency::of(DAY),
            note: Bytes::from_static(b"note"),
        }),
        disposition: if usize::from(position) < run.indices.len() / 2 {
            Disposition::End {
                record: Bytes::from_static(b"delivered"),
            }
        } else {
            Disposition::Retry {
                at: now + DAY,
                retry: Bytes::from_static(b"once"),
                record: Bytes::from_static(b"failed"),
            }
        },
    });
    Settle {
        leases: vec![LeaseSettle {
            lease: grant.lease,
            token: 4242,
            items: items.collect(),
        }],
    }
}

async fn delete(store: &dyn Store) {
    let catalog = store.catalog(tenant(), None).await.expect("it answers");
    let row = catalog.expect("nothing known").rows[0].clone();
    let write = Write {
        tenant: tenant(),
        number: SubscriptionNumber(1),
        expect: Expect::Version(row.version),
        bounds: Bounds::default(),
        nonce: 1,
        change: Change::Delete,
    };
    assert_eq!(store.write(&write).await, Ok(Written::Done(row.version)));
}

/// The words of the keys that are there, for instance `seg`.
async fn words(client: &mut redis::aio::MultiplexedConnection) -> BTreeSet<String> {
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS")
        .arg("*")
        .query_async(client)
        .await
        .expect("it answers");
    let word = |key: &Vec<u8>| {
        let text = String::from_utf8_lossy(key);
        let rest = text.split_once("}:").map(|(_, rest)| rest.to_owned());
        rest.and_then(|rest| rest.split(':').next().map(str::to_owned))
            .expect("every key carries its partition's tag")
    };
    // What belongs to all partitions stays.
    let own = keys.iter().filter(|key| !key.starts_with(b"{shsys}:"));
    own.map(word).collect()
}

/// The words of the layout's table: all kinds of keys that a partition has.
fn layout() -> BTreeSet<String> {
    let rows = include_str!("../src/layout.rs").lines();
    let words = rows.filter_map(|row| {
        let name = row.strip_prefix("//! | `")?.split(['`', ':']).next()?;
        let key = !name.starts_with('{') && name != "hints";
        key.then(|| name.to_owned())
    });
    words.collect()
}

/// A lane that stages its first segment and dies: the commands up to the publish.
async fn die_while_staging(server: &Server, client: &mut redis::aio::MultiplexedConnection) {
    let proxy = Proxy::start(server.port).await;
    let store = open(&proxy.url()).await;
    let catalog = subscribe(&store, 1, 8).await;
    let mut one = calls();
    one.tick = true;
    execute(&store, START, one).await;
    let stamp = Line::new(5).stamp(1);
    let mut one = calls();
    one.publish = Some((stamp, events(stamp, catalog, 3, 50, &[1])));
    proxy.record();
    execute(&store, START, one).await;
    let mut commands = proxy.recorded();
    commands.retain(|command| matches!(&command[0][..], b"EVALSHA" | b"SET"));
    commands.pop();
    assert!(!commands.is_empty());
    let mut pipe = redis::pipe();
    pipe.cmd("FLUSHALL").ignore();
    for command in commands {
        let mut cmd = redis::Cmd::new();
        cmd.arg(&command[..]);
        pipe.add_command(cmd).ignore();
    }
    let _: () = pipe.query_async(client).await.expect("it answers");
}

/// A test's way through the days.
struct Days {
    store: RedisStore,
    client: redis::aio::MultiplexedConnection,
    /// The words of all keys that were there at any time.
    seen: BTreeSet<String>,
}

impl Days {
    async fn execute(&mut self, now: Timestamp, one: Calls) -> Replies {
        let replies = execute(&self.store, now, one).await;
        self.seen.extend(words(&mut self.client).await);
        replies
    }

    async fn ticks(&mut self, day: u32) {
        for _ in 0..20 {
            let mut one = calls();
            one.tick = true;
            self.execute(START + DAY * day, one).await;
        }
        let seen = self.store.inspect(Partition::of(tenant())).await;
        let faults = seen.expect("it answers").faults;
        assert_eq!(faults, Vec::<String>::new(), "day {day}");
    }

    /// Redelivers so often that the outcomes of the segment are long.
    async fn redeliver(&self, segment: SegmentId) {
        for generation in 1..=140 {
            let number = SubscriptionNumber(1);
            let call = Redeliver {
                tenant: tenant(),
                delivery: DeliveryId::new(segment, 0, number, generation),
                subscription: number,
                retry: Bytes::from_static(b"by hand"),
            };
            assert_eq!(self.store.redeliver(&call).await, Ok(true));
        }
    }
}

#[tokio::test]
async fn what_is_over_leaves_no_keys_behind() {
    let server = Server::start();
    let mut client = server.client().await;
    die_while_staging(&server, &mut client).await;
    let store = server.store().await;
    let catalog = subscribe(&store, 1, 8).await;
    let mut days = Days {
        store,
        client,
        seen: BTreeSet::new(),
    };
    let want = Want {
        tenant: tenant(),
        bucket: [1; 16],
        rate: Rate {
            per_second: 1,
            burst: 5,
        },
        tokens: 1,
    };
    let taken = days.store.take(Some(START), &[want]).await;
    assert!(matches!(taken, Ok(taken) if taken[0].is_some()));
    let mut line = Line::new(9);
    for round in 0..3_u8 {
        let stamp = line.stamp(1);
        let mut publish = events(stamp, catalog, 16, 50, &[1]);
        let segment = publish.tenants[0].events[0].id.segment();
        for event in &mut publish.tenants[0].events {
            event.idempotency = Some(Idempotency {
                key: [event.id.index() + 16 * round; 16],
                content: [0; 16],
            });
        }
        let mut one = calls();
        one.publish = Some((stamp, publish));
        one.claim = Some((line.stamp(2), claim(8)));
        let replies = days.execute(START, one).await;
        let grants = replies.claim.expect("asked").expect("it works").grants;
        let grant = grants[0].as_ref().expect("something was queued");
        let mut settle = halves(grant, START);
        // The first round's lease stays open in part.
        settle.leases[0]
            .items
            .truncate(if round == 0 { 6 } else { 8 });
        let mut one = calls();
        one.settle = Some((line.stamp(0), settle));
        days.execute(START, one).await;
        if round == 0 {
            days.redeliver(segment.expect("made here")).await;
        }
    }
    for day in [0, 1, 2, 31] {
        days.ticks(day).await;
    }
    delete(&days.store).await;
    days.seen.extend(words(&mut days.client).await);
    for day in [31, 40, 41] {
        days.ticks(day).await;
    }
    assert_eq!(days.seen, layout(), "every kind of key was in use");
    let left = words(&mut days.client).await;
    let graves = ["gone", "state"].map(str::to_owned).into();
    assert_eq!(left, graves, "only the deleted subscription's grave");
}
