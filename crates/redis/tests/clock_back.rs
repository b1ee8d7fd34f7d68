//! What a clock that was ahead leaves behind in Redis' own sweeps once it is back: keys by
//! day, history and lanes are not kept until that time comes.

mod support;

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use sidehook_core::{limits::CALL_RECORDS, time::Timestamp};
use sidehook_redis::RedisStore;
use sidehook_store::{
    Store as _,
    rates::{FULL_AFTER_MAX, Rate, Want},
    turn::{Disposition, Idempotency, LeaseSettle, Settle, SettleItem},
};
use support::{Line, START, Server, calls, claim, events, execute, subscribe};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The words of the keys that there are, and how many lanes have a record.
async fn look(client: &mut redis::aio::MultiplexedConnection) -> (BTreeSet<String>, usize) {
    let keys = redis::cmd("KEYS").arg("*").query_async(client).await;
    let keys: Vec<Vec<u8>> = keys.expect("it answers");
    let mut lanes = 0;
    let mut words = BTreeSet::new();
    for key in keys {
        let text = String::from_utf8_lossy(&key).into_owned();
        let rest = text.split_once("}:").map_or("", |(_, rest)| rest);
        let word = rest.split(':').next().unwrap_or_default().to_owned();
        if word == "lanes" {
            let count = redis::cmd("HLEN").arg(&key[..]).query_async(client).await;
            lanes += count.unwrap_or(0);
        }
        words.insert(word);
    }
    (words, lanes)
}

/// Publishes an event with an idempotency key at `now`, and delivers it.
async fn deliver(store: &RedisStore, line: &mut Line, now: Timestamp, key: u8) {
    let catalog = store.catalog(support::tenant(), None).await;
    let catalog = catalog.expect("it answers").expect("nothing known").version;
    let stamp = line.stamp(1);
    let mut publish = events(stamp, catalog, 1, 50, &[1]);
    publish.tenants[0].events[0].idempotency = Some(Idempotency {
        key: [key; 16],
        content: [key; 16],
    });
    let mut one = calls();
    one.publish = Some((stamp, publish));
    one.claim = Some((line.stamp(2), claim(1)));
    let claimed = execute(store, now, one).await.claim;
    let grants = claimed.expect("asked").expect("it works").grants;
    let grant = grants[0].as_ref().expect("there is work");
    let run = &grant.runs[0];
    let item = SettleItem {
        position: 0,
        tenant: run.tenant,
        subscription: run.subscription,
        segment: run.segment,
        index: run.indices[0],
        generation: run.generation,
        disposition: Disposition::End {
            record: Bytes::from_static(b"delivered"),
        },
        mark: None,
    };
    let leases = vec![LeaseSettle {
        lease: grant.lease,
        token: 4242,
        items: vec![item],
    }];
    let mut one = calls();
    one.settle = Some((line.stamp(0), Settle { leases }));
    let settled = execute(store, now, one).await.settle;
    let stale = settled.expect("asked").expect("it works").stale.concat();
    assert_eq!(stale, Vec::<u16>::new());
}

async fn tick(store: &RedisStore, now: Timestamp) {
    for _ in 0..20 {
        let mut one = calls();
        one.tick = true;
        let told = execute(store, now, one).await.tick;
        told.expect("asked").expect("it works");
    }
}

#[tokio::test]
async fn what_was_written_ahead_does_not_stay_until_then() {
    let server = Server::start();
    let (store, mut client) = (server.store().await, server.client().await);
    subscribe(&store, 1, 8).await;
    tick(&store, START).await;
    let ahead = START + DAY * 2_000;
    tick(&store, ahead).await;
    let (mut line, mut other) = (Line::new(1), Line::new(2));
    deliver(&store, &mut line, ahead, 1).await;
    tick(&store, ahead).await;
    let (words, lanes) = look(&mut client).await;
    assert!(words.contains("idem") && words.contains("blk") && lanes >= 3);
    // The clock is back: keys and lanes from ahead go, history is there for its age.
    tick(&store, START + DAY).await;
    let (words, lanes) = look(&mut client).await;
    assert!(!words.contains("idem"), "{words:?}");
    assert_eq!(lanes, 0);
    assert!(words.contains("blk"));
    // What comes now is kept and swept as ever.
    deliver(&store, &mut other, START + DAY, 2).await;
    tick(&store, START + DAY).await;
    let (words, lanes) = look(&mut client).await;
    assert!(words.contains("idem") && lanes >= 3);
    tick(&store, START + DAY * 30).await;
    assert!(look(&mut client).await.0.contains("blk"));
    tick(&store, START + DAY * 31).await;
    let (words, lanes) = look(&mut client).await;
    assert!(
        !words.contains("blk") && !words.contains("idem"),
        "{words:?}"
    );
    assert_eq!(lanes, 0);
}

/// The names of the buckets of tokens.
async fn buckets(client: &mut redis::aio::MultiplexedConnection) -> usize {
    let key = redis::cmd("KEYS").arg("*:rates").query_async(client).await;
    let keys: Vec<Vec<u8>> = key.expect("it answers");
    let mut count = 0;
    for key in keys {
        let found = redis::cmd("ZCARD").arg(key).query_async(client).await;
        count += found.unwrap_or(0);
    }
    count
}

#[tokio::test]
async fn buckets_from_ahead_leave_although_others_are_full() {
    let server = Server::start();
    let (store, mut client) = (server.store().await, server.client().await);
    let want = |bucket| Want {
        tenant: support::tenant(),
        bucket: [bucket; 16],
        rate: Rate {
            per_second: 1,
            burst: 1,
        },
        tokens: 1,
    };
    let ahead = START + FULL_AFTER_MAX * 2;
    let wants: Vec<Want> = (0..100).map(want).collect();
    let taken = store.take(Some(ahead), &wants).await.expect("it answers");
    assert!(taken.iter().all(Option::is_some), "{taken:?}");
    let wants: Vec<Want> = (100..150).map(want).collect();
    store.take(Some(START), &wants).await.expect("it answers");
    assert_eq!(buckets(&mut client).await, 150);
    let mut one = calls();
    one.tick = true;
    let told = execute(&store, START + Duration::from_secs(2), one).await;
    assert!(matches!(told.tick, Some(Ok(_))), "{told:?}");
    // As many as a tick may remove: all that are full, and of those from ahead.
    assert_eq!(buckets(&mut client).await, 150 - CALL_RECORDS);
}
