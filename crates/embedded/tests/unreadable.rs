//! A row that cannot be read: the call that needs it is refused with where and
//! what, and everyone else goes on, in the same turn too.

use core::time::Duration;

use bytes::Bytes;
use redb::{ReadableTable as _, TableDefinition};
use sidehook_core::{
    address::{Lane, Partition, Sequence},
    id::{AgentId, SubscriptionNumber, TenantId},
    pool::Pool,
};
use sidehook_embedded::Embedded;
use sidehook_store::{
    CallError, Stamp, Store as _, StoreError, Turn,
    catalog::{Change, Expect, QueueSettings, Write, Written},
    port::Durability,
    turn::{Calls, Claim, Demand, Holder},
};

const QUEUES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("queues");

fn write(tenant: TenantId, number: u32) -> Write {
    Write {
        tenant,
        number: SubscriptionNumber(number),
        expect: Expect::Absent,
        nonce: 1,
        change: Change::Put {
            record: Bytes::from_static(b"subscription"),
            queue: QueueSettings {
                pool: Pool {
                    owner: TenantId::PLATFORM,
                    name: "shared".to_owned(),
                },
                window: 8,
                paused: false,
            },
        },
    }
}

/// Cuts the row of a queue in `tenant`'s partition short.
fn spoil(file: &std::path::Path, tenant: TenantId) {
    let database = redb::Database::create(file).expect("it opens");
    let writing = database.begin_write().expect("it begins");
    let mut table = writing.open_table(QUEUES).expect("a table");
    let prefix = [Partition::of(tenant).number()];
    let (key, value) = {
        let row = table.range(&prefix[..]..).expect("a range").next();
        let (key, value) = row.expect("a row").expect("readable");
        (key.value().to_vec(), value.value().to_vec())
    };
    let cut = &value[..value.len() - 1];
    table.insert(&key[..], cut).expect("it inserts");
    drop(table);
    writing.commit().expect("it commits");
}

fn calls(tenant: TenantId) -> Calls {
    let demand = Demand {
        pool: Pool {
            owner: TenantId::PLATFORM,
            name: "shared".to_owned(),
        },
        holder: Holder {
            agent: AgentId::from_bits(1),
            session: 1,
        },
        max_deliveries: 1,
        lease: Duration::from_secs(1),
        token: 1,
    };
    let stamp = Stamp {
        lane: Lane::from_random(1),
        sequence: Sequence::FIRST,
    };
    let mut calls = Calls::new(Partition::of(tenant));
    let demands = vec![demand];
    calls.claim = Some((stamp, Claim { demands }));
    calls.tick = true;
    calls
}

/// Publishes one event to subscription 1.
async fn publish(store: &Embedded, tenant: TenantId) -> Result<(), CallError> {
    use sidehook_core::address::EventId;
    use sidehook_store::{
        rules,
        turn::{NewEvent, Publish, TenantPublish},
    };
    let partition = Partition::of(tenant);
    let stamp = Stamp {
        lane: Lane::from_random(2),
        sequence: Sequence::FIRST,
    };
    let catalog = store.catalog(tenant, None).await.expect("it answers");
    let now = store.now().await.expect("it answers");
    let segment = rules::address(partition, stamp, 0).expect("the first");
    let mut calls = Calls::new(partition);
    let event = NewEvent {
        id: EventId::new(now, segment, 0),
        record: Bytes::from_static(b"event"),
        idempotency: None,
        targets: vec![SubscriptionNumber(1)],
    };
    let one = TenantPublish {
        tenant,
        catalog: catalog.expect("nothing known").version,
        events: vec![event],
    };
    calls.publish = Some((stamp, Publish { tenants: vec![one] }));
    let turn = Turn {
        now: None,
        calls: vec![calls],
    };
    let reply = store.turn(0, &turn).await.expect("it answers");
    let reply = reply.calls.into_iter().next().expect("one partition's");
    reply.publish.expect("asked").map(drop)
}

#[tokio::test]
async fn what_is_unreadable_fails_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let (spoilt, sound) = (TenantId::from_bits(1), TenantId::from_bits(2));
    assert_ne!(Partition::of(spoilt), Partition::of(sound));
    let store = Embedded::open(directory.path(), Durability::Relaxed).expect("it opens");
    for tenant in [spoilt, sound] {
        let written = store.write(&write(tenant, 1)).await;
        assert!(matches!(written, Ok(Written::Done(_))), "{written:?}");
        publish(&store, tenant).await.expect("it publishes");
    }
    drop(store);
    spoil(&directory.path().join("store.redb"), spoilt);

    let store = Embedded::open(directory.path(), Durability::Relaxed).expect("it opens");
    let turn = Turn {
        now: None,
        calls: vec![calls(spoilt), calls(sound)],
    };
    let reply = store.turn(0, &turn).await.expect("it answers");
    let [first, second] = &reply.calls[..] else {
        panic!("two partitions: {reply:?}");
    };
    let Some(Err(CallError::Refused { detail })) = &first.claim else {
        panic!("it cannot be read: {first:?}");
    };
    let wanted = format!(
        "a queue is cut short or malformed (key {:02x}",
        Partition::of(spoilt).number()
    );
    assert!(detail.starts_with(&wanted), "{detail}");
    assert!(matches!(first.tick, Some(Ok(_))), "ticks need no queue");
    let claim = second.claim.as_ref().expect("asked").as_ref();
    assert!(claim.expect("it lends").grants[0].is_some(), "{second:?}");

    let written = store.write(&write(spoilt, 1)).await;
    assert!(
        matches!(written, Ok(Written::Done(_))),
        "a repeat needs no queue"
    );
    let seen = store.inspect(Partition::of(spoilt)).await;
    assert!(matches!(seen, Err(StoreError::Corrupt { .. })), "{seen:?}");
    let seen = store.inspect(Partition::of(sound)).await;
    assert_eq!(seen.expect("it answers").leased.len(), 1);
}
