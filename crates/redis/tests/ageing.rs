//! What is over leaves Redis, key by key: nothing depends on EXPIRE, so whatever
//! the sweeps forget stays for ever.

mod support;

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use sidehook_core::{address::Partition, id::SubscriptionNumber, time::Timestamp};
use sidehook_store::{
    Store,
    catalog::{Change, Expect, Write, Written},
    turn::{Disposition, Grant, Idempotency, LeaseSettle, Settle, SettleItem},
};
use support::{Line, START, Server, calls, claim, events, execute, subscribe, tenant};

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
    keys.iter().map(word).collect()
}

#[tokio::test]
async fn what_is_over_leaves_no_keys_behind() {
    let server = Server::start();
    let store = server.store().await;
    let mut client = server.client().await;
    let catalog = subscribe(&store, 1, 8).await;
    let mut line = Line::new(9);
    for round in 0..3_u8 {
        let stamp = line.stamp(1);
        let mut publish = events(stamp, catalog, 16, 50, &[1]);
        for event in &mut publish.tenants[0].events {
            event.idempotency = Some(Idempotency {
                key: [event.id.index() + 16 * round; 16],
                content: [0; 16],
            });
        }
        let mut one = calls();
        one.publish = Some((stamp, publish));
        one.claim = Some((line.stamp(2), claim(8)));
        let replies = execute(&store, START, one).await;
        let grants = replies.claim.expect("asked").expect("it works").grants;
        let mut one = calls();
        let settle = halves(grants[0].as_ref().expect("something was queued"), START);
        one.settle = Some((line.stamp(0), settle));
        execute(&store, START, one).await;
    }
    let full = words(&mut client).await;
    for word in [
        "seg", "out", "log", "que", "rec", "wait", "blk", "idem", "lanes",
    ] {
        assert!(full.contains(word), "{word} is in use: {full:?}");
    }
    delete(&store).await;
    for day in [0, 1, 2, 31, 40] {
        let now = START + DAY * day;
        for _ in 0..20 {
            let mut one = calls();
            one.tick = true;
            execute(&store, now, one).await;
        }
        let seen = store
            .inspect(Partition::of(tenant()))
            .await
            .expect("it answers");
        assert_eq!(seen.faults, Vec::<String>::new(), "day {day}");
    }
    let left = words(&mut client).await;
    let graves = ["gone", "state"].map(str::to_owned).into();
    assert_eq!(left, graves, "only the deleted subscription's grave");
}
