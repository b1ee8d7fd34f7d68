//! A receiver's health that cannot be read: it is begun anew, and stops nothing.

mod support;

use std::time::Duration;

use bytes::Bytes;
use sidehook_core::{
    address::Partition,
    health::{HOURS, Health, Kind, Latency, Mark},
    id::{SubscriptionNumber, TenantId},
};
use sidehook_embedded::Embedded;
use sidehook_store::{
    Store as _, StoreError,
    catalog::Written,
    image::Image,
    port::Durability,
    turn::{Calls, Disposition, Settle},
};
use support::{
    Disk,
    rows::cut_first,
    story::{claim, publish, stamp, turn, write},
};

const SPOILT: TenantId = TenantId::from_bits(1);

/// Delivers an event `later` than now; the attempt counts.
async fn deliver(store: &Embedded, sequence: u32, later: Duration) {
    publish(store, SPOILT, sequence, 1)
        .await
        .expect("it publishes");
    let grant = claim(store, SPOILT, sequence, 1).await.grants[0].clone();
    let grant = grant.expect("one was queued");
    let ended = |_| Disposition::End {
        record: Bytes::from_static(b"ended"),
    };
    let mut settled = grant.settle(1, ended);
    settled.items[0].mark = Some(Mark {
        kind: Kind::FirstFail,
        latency: Latency::of(Duration::ZERO),
        note: Bytes::from_static(b"note"),
    });
    let mut calls = Calls::new(Partition::of(SPOILT));
    let leases = vec![settled];
    calls.settle = Some((stamp(sequence), Settle { leases }));
    let now = store.now().await.expect("it answers") + later;
    let replies = turn(store, Some(now), calls).await.expect("it answers");
    let settled = replies.settle.expect("asked").expect("it settles");
    assert_eq!(settled.stale.concat(), Vec::<u16>::new());
}

async fn health(store: &Embedded) -> Health {
    let numbers = [SubscriptionNumber(1)];
    let told = store.health(SPOILT, &numbers).await;
    told.expect("it can be read").remove(0)
}

#[tokio::test]
async fn a_health_that_cannot_be_read_begins_anew_and_stops_no_export() {
    let hour = Duration::from_secs(3_600);
    for table in ["health", "health_over"] {
        let disk = Disk::default();
        let store = disk.store(Durability::Strict);
        let written = store.write(&write(SPOILT, 1)).await;
        assert!(matches!(written, Ok(Written::Done(_))), "{written:?}");
        for sequence in 1..=3 {
            deliver(&store, sequence, hour * sequence).await;
        }
        assert_eq!(health(&store).await.over[HOURS].len(), 2);
        drop(store);
        cut_first(&disk.database(), table);

        let store = disk.store(Durability::Strict);
        let told = store.health(SPOILT, &[SubscriptionNumber(1)]).await;
        assert!(matches!(told, Err(StoreError::Corrupt { .. })), "{told:?}");
        let partition = Partition::of(SPOILT);
        let (mut from, mut exported) = (None, Vec::new());
        loop {
            let page = store.export(None, partition, from.as_ref()).await;
            let page = page.expect("it goes on without it");
            exported.extend(page.records);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        let healths = exported.iter().filter_map(|record| match record {
            Image::Subscription { health, .. } => Some(health.is_empty()),
            _ => None,
        });
        assert_eq!(healths.collect::<Vec<_>>(), [true]);
        deliver(&store, 4, hour * 4).await;
        if table == "health" {
            let told = health(&store).await;
            assert_eq!(told.recent.counters.first_fail, 1);
            assert_eq!(told.fault(), None, "what is over of the old one is gone");
        }
    }
}
