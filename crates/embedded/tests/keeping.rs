//! What was answered is there as long as the process lives, whatever the medium does
//! in between: at the relaxed level too, where it was not on disk yet.

mod support;

use bytes::Bytes;
use sidehook_core::{address::Partition, id::TenantId};
use sidehook_embedded::Embedded;
use sidehook_store::{
    CallError, Store as _, StoreError, port::Durability, registry::Kind, turn::Calls,
};
use support::{
    Disk,
    story::{claim, claims, publish, tick, turn, write},
};

const TENANT: TenantId = TenantId::from_bits(7);

fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

async fn put(store: &Embedded, number: u32, bytes: usize) -> Result<(), StoreError> {
    let value = Some(Bytes::from(vec![number as u8; bytes]));
    store
        .registry_put(Kind::Tombstone, &key(number), value)
        .await
}

/// Reads until it is answered.
async fn get(store: &Embedded, number: u32) -> Option<Bytes> {
    loop {
        match store.registry_get(Kind::Tombstone, &key(number)).await {
            Ok(found) => return found,
            Err(error) => assert!(matches!(error, StoreError::Unavailable { .. }), "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_disk_that_stays_full_loses_nothing_and_is_told() {
    let disk = Disk::default();
    let store = disk.store(Durability::Relaxed);
    put(&store, 0, 10).await.expect("it answers");
    store.flush().await.expect("there is room");
    disk.fill(true);
    let (mut kept, mut refused) = (Vec::new(), 0);
    for number in 1..2_000 {
        match put(&store, number, 2_000).await {
            Ok(()) => kept.push(number),
            Err(error) => {
                assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
                refused += 1;
            }
        }
        if refused == 50 {
            break;
        }
    }
    assert_eq!(refused, 50, "nobody is answered on credit for ever");
    assert!(!kept.is_empty() && disk.errors() > 0);
    disk.fill(false);
    for number in kept {
        assert!(get(&store, number).await.is_some(), "{number} was answered");
    }
    put(&store, 9_999, 10).await.expect("it goes on");
}

/// A store of more than fits into the disk's cache, with a bad sector under the row 0.
async fn with_a_bad_sector(level: Durability) -> (Disk, Embedded) {
    let disk = Disk::default();
    let store = disk.store(level);
    let mut value = vec![7; 3_000];
    value[1_000..1_016].copy_from_slice(b"THE-BAD-SECTOR!!");
    let value = Some(value.into());
    let zero = key(0);
    let marked = store.registry_put(Kind::Tombstone, &zero, value);
    marked.await.expect("it answers");
    for number in 1..300 {
        put(&store, number, 3_000).await.expect("it answers");
    }
    store.close().await.expect("it closes");
    drop(store);
    let store = disk.store(level);
    disk.spoil(b"THE-BAD-SECTOR!!");
    (disk, store)
}

#[tokio::test]
async fn a_bad_sector_under_one_row_loses_nothing_of_others() {
    let (disk, store) = with_a_bad_sector(Durability::Relaxed).await;
    for round in 0..5 {
        let number = 1_000 + round;
        put(&store, number, 100).await.expect("it answers");
        let read = store.registry_get(Kind::Tombstone, &key(0)).await;
        assert!(
            matches!(read, Err(StoreError::Unavailable { .. })),
            "{read:?}"
        );
        assert!(get(&store, number).await.is_some(), "{number} was answered");
    }
    assert!(disk.errors() >= 5);
}

#[tokio::test]
async fn a_write_that_needs_a_bad_sector_is_told_and_others_go_on() {
    for level in [Durability::Relaxed, Durability::Strict] {
        let (disk, store) = with_a_bad_sector(level).await;
        put(&store, 1_000, 100).await.expect("it answers");
        let before = disk.opens();
        let (bad, good) = tokio::join!(put(&store, 0, 10), put(&store, 2_000, 10));
        assert!(matches!(bad, Err(StoreError::Corrupt { .. })), "{bad:?}");
        let opened = disk.opens() - before;
        assert!(opened <= 3, "{level:?}: opened {opened} times");
        // What came while the store was being opened may have been turned away.
        match good {
            Ok(()) => {}
            Err(StoreError::Unavailable { .. }) => {
                put(&store, 2_000, 10).await.expect("it is not touched");
            }
            Err(other) => panic!("{other}"),
        }
        assert!(get(&store, 1_000).await.is_some());
        assert!(get(&store, 2_000).await.is_some());
    }
}

#[tokio::test]
async fn a_panic_of_the_engine_ends_nothing() {
    for level in [Durability::Relaxed, Durability::Strict] {
        let disk = Disk::default();
        let store = disk.store(level);
        put(&store, 1, 10).await.expect("it answers");
        disk.panic_in_sync();
        // At the strict level the panic is in this commit, else in the flush.
        let second = put(&store, 2, 10).await;
        let flushed = store.flush().await;
        assert!(second.is_err() || flushed.is_err(), "it panicked");
        disk.panic_in_sync();
        disk.panic_in_open();
        let _ = put(&store, 3, 10).await;
        let _ = store.flush().await;
        while put(&store, 4, 10).await.is_err() || store.flush().await.is_err() {
            tokio::task::yield_now().await;
        }
        store.now().await.expect("it lives");
        assert!(get(&store, 1).await.is_some());
        assert!(get(&store, 2).await.is_some() || second.is_err());
        drop(store);
        let store = disk.store(level);
        assert!(get(&store, 4).await.is_some());
    }
}

#[tokio::test]
async fn leases_that_were_answered_are_lent_once() {
    let disk = Disk::default();
    let store = disk.store(Durability::Relaxed);
    store.write(&write(TENANT, 1)).await.expect("it answers");
    for sequence in 1..=4 {
        publish(&store, TENANT, sequence, 1)
            .await
            .expect("it publishes");
    }
    let first = claim(&store, TENANT, 1, 2).await.grants[0].clone();
    disk.fail_after(0);
    assert!(store.flush().await.is_err());
    let first = first.expect("some were queued");
    let mut held = store.leases(&[first.lease]).await;
    while held.is_err() {
        tokio::task::yield_now().await;
        held = store.leases(&[first.lease]).await;
    }
    let held = held
        .expect("it answers")
        .remove(0)
        .expect("it was answered");
    assert_eq!(
        (held.runs, held.deadline),
        (first.runs.clone(), first.deadline)
    );
    let second = claim(&store, TENANT, 2, 4).await.grants[0].clone();
    let runs = second.expect("two are left").runs;
    assert_eq!(runs.iter().map(|run| run.indices.len()).sum::<usize>(), 2);
    assert!(runs.iter().all(|run| !first.runs.contains(run)));
    let seen = store
        .inspect(Partition::of(TENANT))
        .await
        .expect("it answers");
    assert_eq!(seen.faults, Vec::<String>::new());
}

#[tokio::test]
async fn a_store_that_is_another_one_is_not_opened_again() {
    let disk = Disk::default();
    let store = disk.store(Durability::Strict);
    put(&store, 1, 10).await.expect("it answers");
    disk.wipe();
    disk.fail_after(0);
    for _ in 0..20 {
        assert!(put(&store, 2, 10).await.is_err());
        assert!(store.registry_get(Kind::Tombstone, &key(1)).await.is_err());
    }
    assert!(store.now().await.is_err(), "it is away");
    assert!(disk.opens() > 1, "it was tried");
}

#[tokio::test]
async fn little_room_stops_publishing_and_nothing_else() {
    let disk = Disk::default();
    let store = disk.store(Durability::Strict);
    store.write(&write(TENANT, 1)).await.expect("it answers");
    publish(&store, TENANT, 1, 1).await.expect("there is room");
    drop(store);
    disk.tell_free(1_000_000);
    let store = disk.store(Durability::Strict);
    let full = publish(&store, TENANT, 2, 1).await;
    assert_eq!(full, Err(CallError::Full));
    let mut calls = Calls::new(Partition::of(TENANT));
    claims(&mut calls, 1, 1);
    calls.tick = true;
    let replies = turn(&store, None, calls).await.expect("it answers");
    let lent = replies.claim.expect("asked").expect("it lends");
    let lease = lent.grants[0].as_ref().expect("one was queued").lease;
    tick(&store, None, Partition::of(TENANT)).await;
    let leases = [(lease, 1)];
    let held = store.renew(None, &leases, core::time::Duration::from_secs(9));
    assert_eq!(held.await, Ok(vec![true]));
    drop(store);
    disk.tell_free(1 << 40);
    let store = disk.store(Durability::Strict);
    publish(&store, TENANT, 2, 1)
        .await
        .expect("there is room again");
}
