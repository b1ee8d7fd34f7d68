//! A subscription's health that cannot be read begins anew, with all that belongs to it,
//! and holds up neither settling nor an export.

mod support;

use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use sidehook_core::{
    address::Partition,
    health::{HOURS, Kind, Latency, Mark},
    id::SubscriptionNumber,
    time::Timestamp,
};
use sidehook_redis::RedisStore;
use sidehook_store::{
    Store as _, StoreError,
    image::Image,
    turn::{Disposition, Settle},
};
use support::{Line, START, Server, calls, claim, events, execute, subscribe, tenant};

const HOUR: Duration = Duration::from_secs(3_600);

/// Delivers an event at `now`; the attempt counts.
async fn deliver(store: &RedisStore, line: &mut Line, now: Timestamp) {
    let catalog = store.catalog(tenant(), None).await.expect("it answers");
    let catalog = catalog.expect("nothing known").version;
    let stamp = line.stamp(1);
    let mut one = calls();
    one.publish = Some((stamp, events(stamp, catalog, 1, 50, &[1])));
    one.claim = Some((line.stamp(2), claim(1)));
    let claimed = execute(store, now, one).await.claim;
    let grants = claimed.expect("asked").expect("it works").grants;
    let grant = grants[0].as_ref().expect("there is work");
    let mut settled = grant.settle(4242, |_| Disposition::End {
        record: Bytes::from_static(b"ended"),
    });
    settled.items[0].mark = Some(Mark {
        kind: Kind::FirstFail,
        latency: Latency::of(Duration::ZERO),
        note: Bytes::from_static(b"note"),
    });
    let leases = vec![settled];
    let mut one = calls();
    one.settle = Some((line.stamp(0), Settle { leases }));
    let settled = execute(store, now, one).await.settle;
    let stale = settled.expect("asked").expect("it works").stale.concat();
    assert_eq!(stale, Vec::<u16>::new());
}

/// Cuts a row of the only health short, to so many bytes.
async fn cut(client: &mut MultiplexedConnection, kind: u8, length: usize) {
    let keys = redis::cmd("KEYS").arg("*:health").query_async(client).await;
    let keys: Vec<Vec<u8>> = keys.expect("it answers");
    let mut cmd = redis::cmd("HGETALL");
    let rows = cmd.arg(&keys[0]).query_async(client).await;
    let rows: Vec<(Vec<u8>, Vec<u8>)> = rows.expect("it answers");
    let row = rows.iter().find(|(field, _)| field[0] == kind);
    let (field, value) = row.expect("there is one");
    let mut cmd = redis::cmd("HSET");
    cmd.arg(&keys[0]).arg(field).arg(&value[..length]);
    let _: () = cmd.query_async(client).await.expect("it answers");
}

/// Whether each subscription that is exported has an empty health.
async fn exported(store: &RedisStore) -> Vec<bool> {
    let (mut from, mut found) = (None, Vec::new());
    loop {
        let page = store.export(Some(START), Partition::of(tenant()), from.as_ref());
        let page = page.await.expect("it goes on without it");
        found.extend(page.records.iter().filter_map(|record| match record {
            Image::Subscription { health, .. } => Some(health.is_empty()),
            _ => None,
        }));
        from = page.next;
        if from.is_none() {
            return found;
        }
    }
}

#[tokio::test]
async fn it_begins_anew_and_stops_no_export() {
    let server = Server::start();
    let (store, mut client) = (server.store().await, server.client().await);
    let mut line = Line::new(1);
    subscribe(&store, 1, 8).await;
    let numbers = [SubscriptionNumber(1)];
    for hour in 0..3 {
        deliver(&store, &mut line, START + HOUR * hour).await;
    }
    let told = store.health(tenant(), &numbers).await.expect("it is whole");
    assert_eq!(told[0].over[HOURS].len(), 2);
    assert_eq!(exported(&store).await, [false]);

    cut(&mut client, b'h', 100).await;
    let told = store.health(tenant(), &numbers).await;
    assert!(matches!(told, Err(StoreError::Corrupt { .. })), "{told:?}");
    assert_eq!(exported(&store).await, [true]);
    deliver(&store, &mut line, START + HOUR * 3).await;
    let told = store.health(tenant(), &numbers).await.expect("it is anew");
    assert_eq!(told[0].recent.counters.first_fail, 1);
    assert_eq!(told[0].recent.errors.len(), 1);
    assert_eq!(
        told[0].fault(),
        None,
        "what belonged to the old one is gone"
    );
    assert_eq!(exported(&store).await, [false]);

    deliver(&store, &mut line, START + HOUR * 4).await;
    cut(&mut client, b'1', 59).await;
    assert_eq!(exported(&store).await, [true]);
}
