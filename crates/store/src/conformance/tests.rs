//! The model under the suite; and the suite under a store that breaks a promise.

use core::time::Duration;

use bytes::Bytes;
use sidehook_core::{
    address::{DeliveryId, Partition, SegmentId},
    health::Health,
    id::{SubscriptionNumber, TenantId},
    time::Timestamp,
    version::Version,
};
use tokio::sync::broadcast::Receiver;

use super::{StoreFactory, copies, examples, random, sequence};
use crate::{
    catalog::{Catalog, Write, Written},
    error::{CallError, StoreError},
    hint::{BlockId, Hint, HistoryRecord},
    image::{Cursor, Image, Page as ImagePage},
    inspect::Inspection,
    model::Model,
    port::{Durability, Store},
    rates::{Taken, Want},
    read::{Lease, LogCursor, LogPage, Redeliver, Segment, Whereabouts},
    registry::{Kind, Page},
    turn::{Holder, LeaseId, Stamp, Turn, TurnReply},
};

struct Models;

#[async_trait::async_trait]
impl StoreFactory for Models {
    async fn fresh(&self) -> Box<dyn Store> {
        Box::new(Model::new())
    }
}

#[tokio::test]
async fn the_model_passes_the_examples() {
    examples(&Models).await;
}

#[tokio::test]
async fn the_model_passes_random_sequences() {
    random(&Models, super::seeds(), super::STEPS).await;
}

#[tokio::test]
async fn the_model_copies_into_itself() {
    copies(&Models, &Models, 0..24, 200).await;
}

/// A model that takes every settle for a new one, repeated or not.
struct Forgetful(Model, core::sync::atomic::AtomicU64);

struct Forgetfuls;

#[async_trait::async_trait]
impl StoreFactory for Forgetfuls {
    async fn fresh(&self) -> Box<dyn Store> {
        Box::new(Forgetful(Model::new(), 0.into()))
    }
}

impl Forgetful {
    /// The same turn, its settles in a lane that nobody else uses.
    fn anew(&self, turn: &Turn) -> Turn {
        let mut turn = turn.clone();
        let lane = self.1.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        for (stamp, _) in turn.calls.iter_mut().filter_map(|one| one.settle.as_mut()) {
            stamp.lane = sidehook_core::address::Lane::from_random(lane + 1_000_000);
        }
        turn
    }
}

#[tokio::test]
async fn a_store_that_settles_twice_is_found_out() {
    let mut failure = None;
    for seed in super::SEEDS {
        let played = sequence::play(&Forgetfuls, seed, super::STEPS).await;
        failure = failure.or(played.err().map(|failure| failure.to_string()));
    }
    let told = failure.expect("repeated settles answer otherwise");
    assert!(told.starts_with("seed "), "{told}");
    let count = told.lines().count();
    assert!(count < 40, "shortened to {count} lines: {told}");
}

#[async_trait::async_trait]
impl Store for Forgetful {
    async fn turn(&self, worker: usize, turn: &Turn) -> Result<TurnReply, StoreError> {
        self.0.turn(worker, &self.anew(turn)).await
    }

    async fn renew(
        &self,
        now: Option<Timestamp>,
        leases: &[(LeaseId, u128)],
        term: Duration,
    ) -> Result<Vec<bool>, StoreError> {
        self.0.renew(now, leases, term).await
    }

    async fn release(&self, holders: &[Holder], keep: &[LeaseId]) -> Result<u32, StoreError> {
        self.0.release(holders, keep).await
    }

    async fn leases(&self, leases: &[LeaseId]) -> Result<Vec<Option<Lease>>, StoreError> {
        self.0.leases(leases).await
    }

    async fn catalog(
        &self,
        tenant: TenantId,
        known: Option<Version>,
    ) -> Result<Option<Catalog>, StoreError> {
        self.0.catalog(tenant, known).await
    }

    async fn write(&self, write: &Write) -> Result<Written, StoreError> {
        self.0.write(write).await
    }

    async fn segments(&self, segments: &[SegmentId]) -> Result<Vec<Option<Segment>>, StoreError> {
        self.0.segments(segments).await
    }

    async fn log(
        &self,
        tenant: TenantId,
        from: Option<LogCursor>,
        max: usize,
    ) -> Result<LogPage, StoreError> {
        self.0.log(tenant, from, max).await
    }

    async fn outcomes(&self, segments: &[SegmentId]) -> Result<Vec<Vec<Bytes>>, StoreError> {
        self.0.outcomes(segments).await
    }

    async fn history(&self, block: &BlockId) -> Result<Vec<HistoryRecord>, StoreError> {
        self.0.history(block).await
    }

    async fn health(
        &self,
        tenant: TenantId,
        subscriptions: &[SubscriptionNumber],
    ) -> Result<Vec<Health>, StoreError> {
        self.0.health(tenant, subscriptions).await
    }

    async fn locate(
        &self,
        tenant: TenantId,
        deliveries: &[DeliveryId],
    ) -> Result<Vec<Whereabouts>, StoreError> {
        self.0.locate(tenant, deliveries).await
    }

    async fn redeliver(&self, redeliver: &Redeliver) -> Result<bool, StoreError> {
        self.0.redeliver(redeliver).await
    }

    async fn registry_get(&self, kind: Kind, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.0.registry_get(kind, key).await
    }

    async fn registry_put(
        &self,
        kind: Kind,
        key: &[u8],
        value: Option<Bytes>,
    ) -> Result<(), StoreError> {
        self.0.registry_put(kind, key, value).await
    }

    async fn registry_list(
        &self,
        kind: Kind,
        after: &[u8],
        max: usize,
    ) -> Result<Page, StoreError> {
        self.0.registry_list(kind, after, max).await
    }

    async fn take(
        &self,
        now: Option<Timestamp>,
        wants: &[Want],
    ) -> Result<Vec<Option<Taken>>, StoreError> {
        self.0.take(now, wants).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.0.now().await
    }

    fn hints(&self) -> Receiver<Hint> {
        self.0.hints()
    }

    fn durability(&self) -> Durability {
        self.0.durability()
    }

    async fn inspect(&self, partition: Partition) -> Result<Inspection, StoreError> {
        self.0.inspect(partition).await
    }

    async fn export(
        &self,
        now: Option<Timestamp>,
        partition: Partition,
        from: Option<&Cursor>,
    ) -> Result<ImagePage, StoreError> {
        self.0.export(now, partition, from).await
    }

    async fn import(
        &self,
        now: Option<Timestamp>,
        partition: Partition,
        stamp: Stamp,
        records: &[Image],
    ) -> Result<(), CallError> {
        self.0.import(now, partition, stamp, records).await
    }
}
