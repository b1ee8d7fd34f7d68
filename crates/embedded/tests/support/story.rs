//! The calls that the tests' stories are made of: one tenant, one pool.

use std::time::Duration;

use bytes::Bytes;
use sidehook_core::{
    address::{EventId, Lane, Partition, Sequence},
    id::{AgentId, SubscriptionNumber, TenantId},
    pool::Pool,
    time::Timestamp,
};
use sidehook_embedded::Embedded;
use sidehook_store::{
    CallError, Stamp, Store as _, StoreError, Turn,
    catalog::{Bounds, Change, Expect, QueueSettings, Write},
    rules,
    turn::{
        Calls, Claim, ClaimReply, Demand, Holder, NewEvent, Publish, Replies, TenantPublish,
        TickReply,
    },
};

/// The pool of all of them.
pub(crate) fn pool() -> Pool {
    Pool {
        owner: TenantId::PLATFORM,
        name: "shared".to_owned(),
    }
}

/// Who claims.
pub(crate) fn holder() -> Holder {
    Holder {
        agent: AgentId::from_bits(1),
        session: 1,
    }
}

/// A new subscription.
pub(crate) fn write(tenant: TenantId, number: u32) -> Write {
    Write {
        tenant,
        number: SubscriptionNumber(number),
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
    }
}

/// A stamp.
pub(crate) fn stamp(sequence: u32) -> Stamp {
    Stamp {
        lane: Lane::from_random(2),
        sequence: Sequence::new(sequence).expect("not the zeroth"),
    }
}

/// Makes a turn of one partition.
pub(crate) async fn turn(
    store: &Embedded,
    now: Option<Timestamp>,
    calls: Calls,
) -> Result<Replies, StoreError> {
    let turn = Turn {
        now,
        calls: vec![calls],
    };
    let reply = store.turn(0, &turn).await?;
    Ok(reply.calls.into_iter().next().expect("one partition's"))
}

/// Publishes one event to a subscription.
pub(crate) async fn publish(
    store: &Embedded,
    tenant: TenantId,
    sequence: u32,
    to: u32,
) -> Result<(), CallError> {
    publish_record(store, tenant, sequence, to, Bytes::from_static(b"event")).await
}

/// Publishes one event to a subscription, if it is there.
pub(crate) async fn publish_record(
    store: &Embedded,
    tenant: TenantId,
    sequence: u32,
    to: u32,
    record: Bytes,
) -> Result<(), CallError> {
    let partition = Partition::of(tenant);
    let catalog = store.catalog(tenant, None).await.expect("it answers");
    let now = store.now().await.expect("it answers");
    let segment = rules::address(partition, stamp(sequence), 0).expect("the first");
    let event = NewEvent {
        id: EventId::new(now, segment, 0),
        record,
        idempotency: None,
        targets: vec![SubscriptionNumber(to)],
    };
    let one = TenantPublish {
        tenant,
        catalog: catalog.expect("nothing known").version,
        budget: sidehook_store::budget::Budget::UNLIMITED,
        events: vec![event],
    };
    let mut calls = Calls::new(partition);
    calls.publish = Some((stamp(sequence), Publish { tenants: vec![one] }));
    let replies = turn(store, None, calls).await.expect("it answers");
    replies.publish.expect("asked").map(drop)
}

/// Asks for so many deliveries.
pub(crate) fn claims(calls: &mut Calls, sequence: u32, max_deliveries: u32) {
    let demands = vec![Demand {
        pool: pool(),
        holder: holder(),
        max_deliveries,
        per_tenant: u32::MAX,
        shares: Vec::new(),
        lease: Duration::from_secs(30),
        token: 1,
    }];
    calls.claim = Some((stamp(sequence), Claim { demands }));
}

/// Claims so many deliveries.
pub(crate) async fn claim(
    store: &Embedded,
    tenant: TenantId,
    sequence: u32,
    max_deliveries: u32,
) -> ClaimReply {
    let mut calls = Calls::new(Partition::of(tenant));
    claims(&mut calls, sequence, max_deliveries);
    let replies = turn(store, None, calls).await.expect("it answers");
    replies.claim.expect("asked").expect("it lends")
}

/// Ticks.
pub(crate) async fn tick(
    store: &Embedded,
    now: Option<Timestamp>,
    partition: Partition,
) -> TickReply {
    let mut calls = Calls::new(partition);
    calls.tick = true;
    let replies = turn(store, now, calls).await.expect("it answers");
    replies.tick.expect("asked").expect("it ticks")
}
