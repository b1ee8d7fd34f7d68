//! The port itself.

use std::collections::BTreeMap;

use bytes::Bytes;
use sidehook_core::{
    address::{DeliveryId, Partition, SegmentId},
    health::Health,
    id::{SubscriptionNumber, TenantId},
    time::Timestamp,
    version::Version,
};
use tokio::sync::broadcast;

use crate::{
    catalog::{Catalog, Write, Written},
    error::{CallError, StoreError},
    hint::{BlockId, Hint, HistoryRecord},
    image::{Cursor, Image, Page as ImagePage},
    inspect::{Inspection, Occupancy},
    rates::{Taken, Want},
    read::{Lease, LogCursor, LogPage, Pair, Redeliver, Segment, Whereabouts},
    registry::{Kind, Page},
    turn::{Holder, LeaseId, Stamp, Turn, TurnReply},
};

/// How safely the store keeps what it acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// In memory.
    Volatile,
    /// On disk within about a second: what ends the process at once, or the power, takes
    /// up to that much with it.
    Relaxed,
    /// On disk before the answer.
    Strict,
}

/// A store. Every mutation is safe to repeat unchanged after an error that leaves
/// its outcome unknown. `now` is `None` in production: the store's own clock.
#[async_trait::async_trait]
pub trait Store: Send + Sync + 'static {
    /// Executes a turn. Workers (numbered from 0) do not wait for one another.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when nothing is known about any of the calls;
    /// everything else is told call by call.
    async fn turn(&self, worker: usize, turn: &Turn) -> Result<TurnReply, StoreError>;

    /// Makes leases last until `now + term`. Answers for each whether it holds.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn renew(
        &self,
        now: Option<Timestamp>,
        leases: &[(LeaseId, u128)],
        term: core::time::Duration,
    ) -> Result<Vec<bool>, StoreError>;

    /// Gives the leases of `holders` in all partitions back, but not those in `keep`:
    /// their deliveries return to the heads of their queues unchanged. Answers how
    /// many deliveries.
    ///
    /// # Errors
    /// [`StoreError`]; some may have been given back.
    async fn release(&self, holders: &[Holder], keep: &[LeaseId]) -> Result<u32, StoreError>;

    /// Reads open leases; `None` for those that are over.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn leases(&self, leases: &[LeaseId]) -> Result<Vec<Option<Lease>>, StoreError>;

    /// Reads a tenant's subscriptions; `None` if `known` is still their version.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn catalog(
        &self,
        tenant: TenantId,
        known: Option<Version>,
    ) -> Result<Option<Catalog>, StoreError>;

    /// Changes a subscription.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn write(&self, write: &Write) -> Result<Written, StoreError>;

    /// Reads segments; `None` for those that are not (or no longer) there.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn segments(&self, segments: &[SegmentId]) -> Result<Vec<Option<Segment>>, StoreError>;

    /// Reads a tenant's log, newest first, at most `max` segments.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn log(
        &self,
        tenant: TenantId,
        from: Option<LogCursor>,
        max: usize,
    ) -> Result<LogPage, StoreError>;

    /// The attempt records of each segment's deliveries, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn outcomes(&self, segments: &[SegmentId]) -> Result<Vec<Vec<Bytes>>, StoreError>;

    /// The attempt records of some pairs, each pair's oldest first. A store leaves others
    /// of the same segments out as far as that saves reading; the caller tells them apart.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn attempts(&self, pairs: &[Pair]) -> Result<Vec<Bytes>, StoreError> {
        let mut segments: Vec<SegmentId> = pairs.iter().map(|pair| pair.segment).collect();
        segments.sort_unstable();
        segments.dedup();
        let found = self.outcomes(&segments).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The attempt records of one settle call; empty once they are gone.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn history(&self, block: &BlockId) -> Result<Vec<HistoryRecord>, StoreError>;

    /// The health of some of a tenant's subscriptions, in one round trip however many they
    /// are; an empty one where nothing was counted, and of a subscription that is not
    /// there.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn health(
        &self,
        tenant: TenantId,
        subscriptions: &[SubscriptionNumber],
    ) -> Result<Vec<Health>, StoreError>;

    /// Where unfinished deliveries of one tenant are.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn locate(
        &self,
        tenant: TenantId,
        deliveries: &[DeliveryId],
    ) -> Result<Vec<Whereabouts>, StoreError>;

    /// Queues a new generation of a delivery. `false` if its subscription or its
    /// segment is gone; a pause does not matter. A generation that was made before is
    /// not made again, nor is an older one, also when it has ended: the answer is `true`.
    /// (A copied store remembers only the generations that were unfinished.)
    ///
    /// # Errors
    /// [`StoreError`].
    async fn redeliver(&self, redeliver: &Redeliver) -> Result<bool, StoreError>;

    /// Reads a registry record.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn registry_get(&self, kind: Kind, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Writes a registry record, or removes it with `None`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn registry_put(
        &self,
        kind: Kind,
        key: &[u8],
        value: Option<Bytes>,
    ) -> Result<(), StoreError>;

    /// Writes a registry record unless there is one, and answers the one that is there
    /// then: of several processes that come at one moment all are answered the same.
    /// What a store does for this without saying so suffices only where a store belongs
    /// to one process at a time, which makes the call once.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn registry_claim(
        &self,
        kind: Kind,
        key: &[u8],
        value: Bytes,
    ) -> Result<Bytes, StoreError> {
        if let Some(found) = self.registry_get(kind, key).await? {
            return Ok(found);
        }
        self.registry_put(kind, key, Some(value.clone())).await?;
        Ok(value)
    }

    /// Lists registry records by key, from the first key above `after` on.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn registry_list(&self, kind: Kind, after: &[u8], max: usize)
    -> Result<Page, StoreError>;

    /// Takes tokens out of buckets, which fill by themselves ([`rates`](crate::rates)): of
    /// each what it has, at most what is wanted. `None` where a part of the store that has
    /// a bucket does not answer. Not to be repeated for certainty: a repeat takes again.
    ///
    /// # Errors
    /// [`StoreError`]; some may have been taken.
    async fn take(
        &self,
        now: Option<Timestamp>,
        wants: &[Want],
    ) -> Result<Vec<Option<Taken>>, StoreError>;

    /// The store's time.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// Hints from now on. A receiver that lags misses some.
    fn hints(&self) -> broadcast::Receiver<Hint>;

    /// Makes safe what was acknowledged and lets go of everything: the last call of a
    /// process that ends in order. A store that has nothing to do is done.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when something could not be made safe.
    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// How safely acknowledged events are kept.
    fn durability(&self) -> Durability;

    /// How many other processes use the store at this moment, as far as it can tell. A
    /// store that belongs to one process at a time has none.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn others(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// What each tenant that has anything has in a partition; no others are held
    /// up for longer than by any call of a server. While others write, what moves
    /// meanwhile may be missed or counted twice.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn occupancy(
        &self,
        partition: Partition,
    ) -> Result<BTreeMap<TenantId, Occupancy>, StoreError> {
        Ok(self.inspect(partition).await?.occupancy())
    }

    /// Lays a partition open. Others may be held up for as long as that takes.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn inspect(&self, partition: Partition) -> Result<Inspection, StoreError>;

    /// Reads some of a partition's records, from the beginning or from where a page
    /// ended. What is read is of one piece only while nobody writes.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn export(
        &self,
        now: Option<Timestamp>,
        partition: Partition,
        from: Option<&Cursor>,
    ) -> Result<ImagePage, StoreError>;

    /// Writes records of a partition that were exported, in their order, into a
    /// store that was empty before: all of them or none. At most
    /// [`CALL_RECORDS`](sidehook_core::limits::CALL_RECORDS) and
    /// [`CALL_BYTES`](sidehook_core::limits::CALL_BYTES) as [`Image::weight`] counts,
    /// or one that is larger. Safe to repeat with the same stamp.
    ///
    /// # Errors
    /// [`CallError`]; refused is what belongs to something that is not there.
    async fn import(
        &self,
        now: Option<Timestamp>,
        partition: Partition,
        stamp: Stamp,
        records: &[Image],
    ) -> Result<(), CallError>;
}
