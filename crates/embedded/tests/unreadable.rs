//! Rows that cannot be read: whatever needs one is told where and what, or goes on
//! without it, and everyone else does not notice, in the same turn and the same
//! commit.

mod support;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use redb::{Database, ReadableDatabase as _, ReadableTableMetadata as _, TableDefinition};
use sidehook_core::{
    address::Partition,
    id::{SubscriptionNumber, TenantId},
};
use sidehook_embedded::Embedded;
use sidehook_store::{
    Store as _, StoreError, Turn,
    catalog::{Expect, Written},
    port::Durability,
    turn::Calls,
};
use support::{
    Disk,
    rows::{cut_first, first, put},
    story::{claim, claims, pool, publish, tick, write},
};

const SPOILT: TenantId = TenantId::from_bits(1);
const SOUND: TenantId = TenantId::from_bits(2);

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

const QUEUES: Table = TableDefinition::new("queues");
const DAMAGED: Table = TableDefinition::new("damaged");

/// Cuts the row of the first queue in `tenant`'s partition short.
fn cut_queue(database: &Database, tenant: TenantId) {
    let (key, value) = {
        let reading = database.begin_read().expect("it begins");
        let table = reading.open_table(QUEUES).expect("a table");
        let prefix = [Partition::of(tenant).number()];
        let row = table.range(&prefix[..]..).expect("a range").next();
        let (key, value) = row.expect("a row").expect("readable");
        (key.value().to_vec(), value.value().to_vec())
    };
    put(database, "queues", &key, &value[..value.len() - 1]);
}

/// A store with so many subscriptions of one tenant, and so many events for each.
async fn with_events(disk: &Disk, subscriptions: u32, events: u32) -> Embedded {
    let store = disk.store(Durability::Strict);
    for number in 1..=subscriptions {
        let written = store.write(&write(SPOILT, number)).await;
        assert!(matches!(written, Ok(Written::Done(_))), "{written:?}");
        for event in 0..events {
            let sequence = 1 + (number - 1) * events + event;
            let published = publish(&store, SPOILT, sequence, number).await;
            published.expect("it publishes");
        }
    }
    store
}

/// Claims all there is; how many deliveries of which subscription.
async fn lent(store: &Embedded, sequence: u32) -> Vec<(u32, usize)> {
    let reply = claim(store, SPOILT, sequence, 100).await;
    let runs = reply.grants[0].iter().flat_map(|grant| &grant.runs);
    let mut count = BTreeMap::new();
    for run in runs {
        *count.entry(run.subscription.0).or_default() += run.indices.len();
    }
    count.into_iter().collect()
}

#[tokio::test]
async fn a_place_in_a_ring_that_cannot_be_read_ends_no_claim() {
    for spoil in [cut_first as fn(&Database, &str), |database, table| {
        // A place that is another one's.
        let (key, value) = first(database, table);
        put(database, table, &key, &[value[0] + 1; 8]);
    }] {
        let disk = Disk::default();
        drop(with_events(&disk, 1, 1).await);
        let database = disk.database();
        cut_queue(&database, SPOILT);
        spoil(&database, "ring_places");
        drop(database);

        let store = disk.store(Durability::Strict);
        let claimed = tokio::time::timeout(Duration::from_secs(60), lent(&store, 1)).await;
        assert_eq!(claimed, Ok(vec![]), "the only queue is bad");
        store.write(&write(SPOILT, 2)).await.expect("it answers");
        publish(&store, SPOILT, 9, 2).await.expect("it publishes");
        assert_eq!(lent(&store, 2).await, [(2, 1)], "it joins the ring again");
        drop(store);
        assert_eq!(damaged(&disk.database()), 1);
    }
}

fn damaged(database: &Database) -> u64 {
    let reading = database.begin_read().expect("it begins");
    let table = reading.open_table(DAMAGED).expect("a table");
    table.len().expect("it counts")
}

/// A turn with a claim and a tick for each tenant.
fn both() -> Turn {
    let calls = [SPOILT, SOUND].map(|tenant| {
        let mut calls = Calls::new(Partition::of(tenant));
        claims(&mut calls, 1, 8);
        calls.tick = true;
        calls
    });
    Turn {
        now: None,
        calls: calls.into(),
    }
}

#[tokio::test]
async fn a_bad_queue_leaves_its_ring_and_all_others_are_served() {
    assert_ne!(Partition::of(SPOILT), Partition::of(SOUND));
    let disk = Disk::default();
    let store = disk.store(Durability::Strict);
    for tenant in [SPOILT, SOUND] {
        for number in 1..=2 {
            let written = store.write(&write(tenant, number)).await;
            assert!(matches!(written, Ok(Written::Done(_))), "{written:?}");
        }
        publish(&store, tenant, 1, 1).await.expect("it publishes");
        publish(&store, tenant, 2, 2).await.expect("it publishes");
    }
    drop(store);
    cut_queue(&disk.database(), SPOILT);

    let store = disk.store(Durability::Strict);
    let syncs = || disk.syncs() - disk.growths();
    let before = syncs();
    let reply = store.turn(0, &both()).await.expect("it answers");
    assert_eq!(syncs() - before, 2, "one commit for all");
    let lent = |at: usize| {
        let claim = reply.calls[at].claim.as_ref().expect("asked").as_ref();
        let grant = claim.expect("it lends").grants[0].clone();
        let runs = grant.expect("something was queued").runs;
        runs.into_iter()
            .map(|run| run.subscription.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(lent(0), [2], "the one behind the bad one");
    assert_eq!(lent(1), [1, 2]);
    for calls in &reply.calls {
        assert!(matches!(calls.tick, Some(Ok(_))), "ticks need no queue");
    }
    let refused = publish(&store, SPOILT, 3, 1).await;
    let refused = refused.expect_err("it needs the queue").to_string();
    let wanted = format!("(key {:02x}", Partition::of(SPOILT).number());
    assert!(refused.contains(&wanted), "{refused}");
    publish(&store, SPOILT, 4, 2)
        .await
        .expect("the other one is sound");

    let written = store.write(&write(SPOILT, 1)).await;
    assert!(
        matches!(written, Ok(Written::Done(_))),
        "a repeat needs no queue"
    );
    let seen = store.inspect(Partition::of(SPOILT)).await;
    assert!(matches!(seen, Err(StoreError::Corrupt { .. })), "{seen:?}");
    let seen = store.inspect(Partition::of(SOUND)).await;
    assert_eq!(seen.expect("it answers").leased.len(), 2);
    drop(store);
    assert_eq!(damaged(&disk.database()), 1);
}

/// Rows that nobody can work off, one at the front of each index.
fn garble(database: &Database, partition: Partition) {
    let front = [partition.number(), 0, 0];
    for table in ["deadlines", "due", "clearing", "ages", "lapses"] {
        put(database, table, &front, b"");
    }
}

#[tokio::test]
async fn what_cannot_be_worked_off_stops_no_chore() {
    let disk = Disk::default();
    let store = disk.store(Durability::Strict);
    store.write(&write(SPOILT, 1)).await.expect("it answers");
    publish(&store, SPOILT, 1, 1).await.expect("it publishes");
    let grant = claim(&store, SPOILT, 1, 1).await.grants[0].clone();
    let deadline = grant.expect("one was queued").deadline;
    drop(store);
    let partition = Partition::of(SPOILT);
    let database = disk.database();
    garble(&database, partition);
    // A deleted queue that never was, with a byte too many; the last place of a ring.
    let mut key = vec![partition.number()];
    key.extend(SPOILT.to_bytes());
    key.extend([0, 0, 0, 9, 0]);
    put(&database, "clearing", &key, b"");
    let mut key = vec![partition.number()];
    key.extend(pool().owner.to_bytes());
    key.extend([0, 6]);
    key.extend(b"shared");
    key.extend([u8::MAX; 8]);
    put(&database, "ring_tenants", &key, &SPOILT.to_bytes());
    drop(database);

    let store = disk.store(Durability::Strict);
    let before = disk.syncs();
    let calls = Partition::all().map(|partition| {
        let mut calls = Calls::new(partition);
        calls.tick = true;
        calls
    });
    let turn = Turn {
        now: Some(deadline),
        calls: calls.collect(),
    };
    let reply = store.turn(0, &turn).await.expect("it answers");
    // Seven rows: each has the rest run once more, and giving up may sync.
    let synced = disk.syncs() - before;
    assert!(synced <= 2 + 7, "{synced} syncs");
    let ticks = reply.calls.iter().map(|calls| calls.tick.as_ref());
    let ticks: Vec<_> = ticks
        .map(|tick| tick.expect("asked").as_ref().expect("it ticks"))
        .collect();
    let lost: u32 = ticks.iter().map(|tick| tick.leases_lost).sum();
    assert_eq!(lost, 1, "behind the bad row");
    let before = disk.syncs();
    tick(&store, Some(deadline), partition).await;
    assert_eq!(disk.syncs(), before, "they are out of the way");
    let again = claim(&store, SPOILT, 2, 1).await;
    assert!(again.grants[0].is_some(), "{again:?}");
    let more = claim(&store, SPOILT, 3, 1).await;
    assert!(more.grants[0].is_none(), "{more:?}");
    let seen = store.inspect(partition).await.expect("it answers");
    drop(store);
    let damaged = damaged(&disk.database());
    assert_eq!(damaged, 7);
    let told = format!("{damaged} damaged rows were taken out of the way");
    assert!(seen.faults.contains(&told), "{seen:?}");
}

#[tokio::test]
async fn idle_ticks_write_nothing() {
    for level in [Durability::Strict, Durability::Relaxed] {
        let disk = Disk::default();
        let store = disk.store(level);
        store.write(&write(SOUND, 1)).await.expect("it answers");
        store.flush().await.expect("it is brought to disk");
        let before = disk.syncs();
        for _ in 0..10 {
            tick(&store, None, Partition::of(SOUND)).await;
        }
        store.flush().await.expect("there is nothing to bring");
        assert_eq!(disk.syncs(), before, "{level:?}");
        let key = [SubscriptionNumber(1).0 as u8];
        let value = Some(Bytes::from_static(b"v"));
        let put = store.registry_put(sidehook_store::registry::Kind::Tenant, &key, value);
        put.await.expect("it answers");
        store.flush().await.expect("it is brought to disk");
        assert!(disk.syncs() > before, "{level:?}: changes are");
    }
}

/// The last row of a table.
fn last(database: &Database, table: &str) -> (Vec<u8>, Vec<u8>) {
    let reading = database.begin_read().expect("it begins");
    let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table);
    let table = reading.open_table(definition).expect("a table");
    let row = table.range::<&[u8]>(..).expect("a range").next_back();
    let (key, value) = row.expect("a row").expect("readable");
    (key.value().to_vec(), value.value().to_vec())
}

#[tokio::test]
async fn a_tenant_whose_turn_cannot_be_read_keeps_its_deliveries() {
    let disk = Disk::default();
    drop(with_events(&disk, 2, 1).await);
    cut_first(&disk.database(), "ring_tenants");
    let store = disk.store(Durability::Strict);
    assert_eq!(lent(&store, 1).await, [(1, 1), (2, 1)]);
    drop(store);
    assert_eq!(damaged(&disk.database()), 1);
}

#[tokio::test]
async fn a_queue_taken_out_of_a_ring_joins_again() {
    let disk = Disk::default();
    drop(with_events(&disk, 1, 1).await);
    let database = disk.database();
    let (key, value) = first(&database, "tenants");
    cut_first(&database, "tenants");
    drop(database);
    let store = disk.store(Durability::Strict);
    assert_eq!(lent(&store, 1).await, [], "its tenant is bad");
    drop(store);
    put(&disk.database(), "tenants", &key, &value);
    let store = disk.store(Durability::Strict);
    publish(&store, SPOILT, 9, 1).await.expect("it publishes");
    assert_eq!(lent(&store, 2).await, [(1, 2)]);
}

#[tokio::test]
async fn a_queue_that_is_mended_strikes_no_other_out() {
    let disk = Disk::default();
    drop(with_events(&disk, 2, 1).await);
    let database = disk.database();
    let (key, value) = first(&database, "queues");
    cut_queue(&database, SPOILT);
    drop(database);
    let store = disk.store(Durability::Strict);
    assert_eq!(lent(&store, 1).await, [(2, 1)], "the other one is bad");
    // Into the place that the bad one had.
    publish(&store, SPOILT, 9, 2).await.expect("it publishes");
    drop(store);
    let database = disk.database();
    let (place, number) = last(&database, "ring_queues");
    assert_eq!((place.last(), number.last()), (Some(&1), Some(&2)));
    put(&database, "queues", &key, &value);
    drop(database);

    let store = disk.store(Durability::Strict);
    let Ok(Written::Done(version)) = store.write(&write(SPOILT, 1)).await else {
        panic!("a repeat is answered");
    };
    let mut again = write(SPOILT, 1);
    again.expect = Expect::Version(version);
    again.nonce = 2;
    let written = store.write(&again).await;
    assert!(matches!(written, Ok(Written::Done(_))), "{written:?}");
    assert_eq!(lent(&store, 2).await, [(1, 1), (2, 1)]);
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_holds_nothing_up_behind_it() {
    let disk = Disk::default();
    drop(with_events(&disk, 1, 3).await);
    let database = disk.database();
    let (key, value) = first(&database, "entries");
    // One index too many too, and a flag that is none.
    let bad = [&[9][..], &value[1..], &[0; 100]].concat();
    put(&database, "entries", &key, &bad);
    drop(database);
    let store = disk.store(Durability::Strict);
    assert_eq!(lent(&store, 1).await, [(1, 2)]);
    publish(&store, SPOILT, 9, 1).await.expect("it publishes");
    assert_eq!(lent(&store, 2).await, [(1, 1)], "its turns go on");
    drop(store);
    let database = disk.database();
    assert_eq!(last(&database, "damaged").1, bad, "it is kept");
    assert_eq!(damaged(&database), 1);
}

#[tokio::test]
async fn a_lease_goes_back_without_the_queue_that_cannot_be_read() {
    let disk = Disk::default();
    let store = with_events(&disk, 2, 2).await;
    let reply = claim(&store, SPOILT, 1, 8).await;
    let deadline = reply.grants[0].as_ref().expect("all were queued").deadline;
    drop(store);
    cut_queue(&disk.database(), SPOILT);
    let store = disk.store(Durability::Strict);
    let ticked = tick(&store, Some(deadline), Partition::of(SPOILT)).await;
    assert_eq!(ticked.leases_lost, 2);
    assert_eq!(lent(&store, 2).await, [(2, 2)]);
    drop(store);
    assert_eq!(damaged(&disk.database()), 1, "the rest is kept");
}
