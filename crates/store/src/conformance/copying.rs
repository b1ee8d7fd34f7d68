//! Copies: what a store held is in the copy, whatever kind of store that is, and the
//! copy goes on from there.

use std::collections::BTreeMap;

use bytes::Bytes;
use sidehook_core::{
    address::{DeliveryId, EventId, Lane, Partition, SegmentId, Sequence},
    id::{SubscriptionNumber, TenantId},
    time::Timestamp,
};

use super::{
    StoreFactory,
    choices::{START, TENANT},
    compare::{Comparison, Holdings},
    desk::Desk,
};
use crate::{
    budget::{Budget, Usage},
    error::CallError,
    image::{Image, Reading, Writing, contents, open_runs},
    inspect::Inspection,
    model::Model,
    port::Store,
    registry::Kind,
    rules,
    turn::{
        Calls, EventPublished, Idempotency, NewEvent, Publish, Run, Stamp, TenantPublish,
        TenantPublished, Turn,
    },
};

const NOW: Option<Timestamp> = Some(START);

/// All records of a store.
async fn records(store: &dyn Store, now: Option<Timestamp>) -> Vec<Image> {
    let mut reading = Reading::new(store, now);
    let mut all = Vec::new();
    while let Some(page) = reading.next().await.expect("the store answers") {
        all.extend(page);
    }
    all
}

async fn fill(store: &dyn Store, now: Option<Timestamp>, records: &[Image]) {
    let mut writing = Writing::new(store, now, Lane::from_random(u64::MAX));
    for record in records {
        let put = writing.put(record.clone()).await;
        put.expect("a whole export is taken");
    }
    writing.finish().await.expect("a whole export is taken");
}

/// What is lent is at the heads of its queues, the earliest deadline first. What is lent
/// of a deleted subscription has ended.
fn expected(mut held: Holdings) -> Holdings {
    let live: Vec<(TenantId, SubscriptionNumber)> = held.live().collect();
    let mut queues: BTreeMap<_, Vec<DeliveryId>> = BTreeMap::new();
    let mut leases: Vec<_> = held.leases.drain(..).flatten().collect();
    leases.sort_unstable_by_key(|lease| (lease.deadline, lease.id));
    let lent = leases
        .iter()
        .flat_map(|lease| open_runs(&lease.runs, &lease.open));
    for run in lent {
        let key = (run.tenant, run.subscription);
        if live.contains(&key) {
            queues.entry(key).or_default().extend(ids(&run));
        } else if let Some(used) = held.places.used.get_mut(&run.tenant) {
            used.pending -= u64::from(run.charge) * run.indices.len() as u64;
        }
    }
    for (tenant, id) in held.places.ready.drain(..) {
        let key = (tenant, id.subscription());
        queues.entry(key).or_default().push(id);
    }
    held.places.used.retain(|_, used| *used != Usage::default());
    held.places.leased.clear();
    held.places.in_flight.clear();
    for ((tenant, _), ids) in queues {
        held.places
            .ready
            .extend(ids.into_iter().map(|id| (tenant, id)));
    }
    held
}

fn ids(run: &Run) -> impl Iterator<Item = DeliveryId> + '_ {
    let id = |index: &u8| DeliveryId::new(run.segment, *index, run.subscription, run.generation);
    run.indices.iter().map(id)
}

/// A random sequence, a copy of what it left, and the rest of the sequence there.
pub(super) async fn play(from: &dyn StoreFactory, to: &dyn StoreFactory, seed: u64, steps: usize) {
    let source = from.fresh().await;
    let mut comparison = Comparison::new(seed);
    for _ in 0..steps {
        let stepped = comparison.step(&*source).await;
        stepped.expect("the store answers");
    }
    let now = Some(comparison.driver.now);
    let held = comparison.holdings(&*source).await;
    let wanted = expected(held.expect("the store answers"));
    let all = records(&*source, now).await;
    let wrote = records(&comparison.model, now).await;
    assert_eq!(by_kind(&all), by_kind(&wrote), "{}", comparison.place());
    drop(source);

    let target = to.fresh().await;
    fill(&*target, now, &all).await;
    let held = comparison.holdings(&*target).await;
    let held = held.expect("the store answers");
    assert_eq!(held, wanted, "{}", comparison.place());

    let model = Model::new();
    fill(&model, now, &all).await;
    comparison.model = model;
    comparison.reopened();
    comparison.driver.grants.clear();
    for _ in 0..steps {
        let stepped = comparison.step(&*target).await;
        stepped.expect("the store answers");
        let agreed = comparison.agree(&*target).await;
        agreed.expect("the store answers");
    }
    let finished = comparison.finish(&*target).await;
    finished.expect("the store answers");
}

/// The records without what a store may choose: the order of tenants, of keys and of
/// what waits, and how runs are cut.
fn by_kind(records: &[Image]) -> (Vec<Image>, Vec<(DeliveryId, Option<Timestamp>)>) {
    let (mut others, mut deliveries) = (Vec::new(), Vec::new());
    for record in records {
        match record {
            Image::Deliveries { run, due } => deliveries.extend(ids(run).map(|id| (id, *due))),
            other => others.push(other.clone()),
        }
    }
    others.sort_by_key(|one| {
        let (rank, key) = match one {
            Image::Tenant { .. } => (0, [0; 16]),
            Image::Subscription { .. } => (1, [0; 16]),
            Image::Deleted { .. } => (2, [0; 16]),
            Image::Segment { .. } | Image::Attempts { .. } => (3, [0; 16]),
            Image::Key { idempotency, .. } => (4, idempotency.key),
            Image::Deliveries { .. } | Image::Registry { .. } => (5, [0; 16]),
        };
        (rank, one.tenant(), key)
    });
    // What is lent and queued keeps its order.
    deliveries.sort_by_key(|(id, due)| due.map(|due| (due, *id)));
    (others, deliveries)
}

pub(super) async fn examples(from: &dyn StoreFactory, to: &dyn StoreFactory) {
    keys_answer_duplicates(from, to).await;
    registries_are_copied(from, to).await;
    large_segments_are_copied(from, to).await;
    imports_are_all_or_nothing(to).await;
}

fn keyed(segment: SegmentId, content: u8) -> TenantPublish {
    TenantPublish {
        tenant: TENANT,
        catalog: sidehook_core::version::Version::default(),
        budget: Budget::UNLIMITED,
        events: vec![NewEvent {
            id: EventId::new(START, segment, 0),
            record: Bytes::from_static(b"event"),
            idempotency: Some(Idempotency {
                key: [7; 16],
                content: [content; 16],
            }),
            targets: Vec::new(),
        }],
    }
}

async fn publish_keyed(store: &dyn Store, sequence: u32, content: u8) -> EventPublished {
    let partition = Partition::of(TENANT);
    let stamp = Stamp {
        lane: Lane::from_random(1),
        sequence: Sequence::new(sequence).expect("a small number"),
    };
    let segment = rules::address(partition, stamp, 0).expect("the first place");
    let mut calls = Calls::new(partition);
    let tenants = vec![keyed(segment, content)];
    calls.publish = Some((stamp, Publish { tenants }));
    let turn = Turn {
        now: NOW,
        calls: vec![calls],
    };
    let mut reply = store.turn(0, &turn).await.expect("the store answers");
    let published = reply.calls.remove(0).publish.expect("it was asked");
    match published.expect("it is allowed").tenants.remove(0) {
        TenantPublished::Done(results) => results[0],
        other => panic!("{other:?}"),
    }
}

async fn keys_answer_duplicates(from: &dyn StoreFactory, to: &dyn StoreFactory) {
    let source = from.fresh().await;
    let first = publish_keyed(&*source, 1, 1).await;
    assert_eq!(first, EventPublished::Accepted);
    let EventPublished::Duplicate(event) = publish_keyed(&*source, 2, 1).await else {
        panic!("the key was used");
    };
    let all = records(&*source, NOW).await;
    drop(source);
    let target = to.fresh().await;
    fill(&*target, NOW, &all).await;
    let again = publish_keyed(&*target, 3, 1).await;
    assert_eq!(again, EventPublished::Duplicate(event));
    let other = publish_keyed(&*target, 4, 2).await;
    assert_eq!(other, EventPublished::KeyReused(event));
}

async fn registries_are_copied(from: &dyn StoreFactory, to: &dyn StoreFactory) {
    let source = from.fresh().await;
    for number in 0..300_u32 {
        let value = Some(Bytes::from(number.to_string()));
        let key = number.to_be_bytes();
        let put = source.registry_put(Kind::ApiKey, &key, value);
        put.await.expect("the store answers");
    }
    let value = Some(Bytes::from_static(b"a tenant"));
    let put = source.registry_put(Kind::Tenant, b"t", value).await;
    put.expect("the store answers");
    let all = records(&*source, NOW).await;
    drop(source);
    let target = to.fresh().await;
    assert!(contents(&*target).await.expect("it answers").is_empty());
    fill(&*target, NOW, &all).await;
    assert_eq!(records(&*target, NOW).await, all);
    let held = contents(&*target).await.expect("it answers");
    assert_eq!(held.tenants, 1);
    assert!(held.others > 100, "{held}");
}

/// Payloads that fill calls, so that an export has pages and an import has calls.
async fn large_segments_are_copied(from: &dyn StoreFactory, to: &dyn StoreFactory) {
    let source = from.fresh().await;
    let mut desk = Desk::new(&*source);
    desk.subscribe(TENANT, 1, 100).await;
    desk.subscribe(TENANT, 2, 100).await;
    for _ in 0..150 {
        desk.publish(TENANT, 5, &[1, 2]).await;
    }
    let lent = desk.claim(80).await;
    desk.finish(&lent).await;
    desk.claim(40).await;
    let partition = Partition::of(TENANT);
    let before = source.inspect(partition).await.expect("it answers");
    let all = records(&*source, NOW).await;
    drop(source);
    let target = to.fresh().await;
    fill(&*target, NOW, &all).await;
    let after = target.inspect(partition).await.expect("it answers");
    assert_eq!(after.faults, Vec::<String>::new());
    assert_eq!(after.ready.len(), before.ready.len() + before.leased.len());
    assert_eq!(after.segments, before.segments);
    assert_eq!(after.ready.len(), 150 * 5 * 2 - 80);
}

/// A call that cannot be done changes nothing; one that is repeated changes nothing
/// more; and what belongs to nothing is refused.
async fn imports_are_all_or_nothing(to: &dyn StoreFactory) {
    let model = Model::new();
    let mut desk = Desk::new(&model);
    desk.subscribe(TENANT, 1, 100).await;
    desk.publish(TENANT, 3, &[1]).await;
    let all = records(&model, NOW).await;
    let partition = Partition::of(TENANT);
    let stamp = |sequence| Stamp {
        lane: Lane::from_random(5),
        sequence: Sequence::new(sequence).expect("a small number"),
    };
    let target = to.fresh().await;
    let without: Vec<_> = all
        .iter()
        .filter(|one| !matches!(one, Image::Subscription { .. }))
        .cloned()
        .collect();
    let refused = target.import(NOW, partition, stamp(1), &without).await;
    assert!(
        matches!(refused, Err(CallError::Refused { .. })),
        "{refused:?}"
    );
    let seen = target.inspect(partition).await;
    assert_eq!(seen, Ok(Inspection::default()));
    assert!(contents(&*target).await.expect("it answers").is_empty());
    for _ in 0..2 {
        let done = target.import(NOW, partition, stamp(2), &all).await;
        assert_eq!(done, Ok(()));
    }
    let wanted = model.inspect(partition).await;
    assert_eq!(target.inspect(partition).await, wanted);
    let late = target.import(NOW, partition, stamp(1), &all).await;
    assert_eq!(late, Err(CallError::Superseded));
    let elsewhere = Partition::all().find(|one| *one != partition);
    let elsewhere = elsewhere.expect("there are many");
    let foreign = target.import(NOW, elsewhere, stamp(3), &all).await;
    assert!(matches!(foreign, Err(CallError::Refused { .. })));
}
