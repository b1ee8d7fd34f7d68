//! The in-memory reference store: what the port means, as plainly as it can be
//! said while still serving the demo and `sidehook dev` at full speed.
//!
//! Every partition is a `State` of plain collections behind one mutex;
//! a call holds it from its first check to its last change, so that atomicity
//! needs no thought. Nothing is searched: a delivery costs O(log n), whatever the
//! backlog. What deliberately is not here: anything on disk, and a bound on
//! memory — an event stays for [`LOG_AGE`](sidehook_core::limits::LOG_AGE).
//!
//! One thing that the port leaves open: a retry that falls due goes to the tail
//! of its queue, so that a receiver's old failures do not hold up what is new.

mod catalog;
mod claim;
mod history;
mod idempotency;
mod image;
mod lanes;
mod lease;
mod publish;
mod read;
mod ring;
mod settle;
mod state;
mod tick;

use core::time::Duration;
use std::{
    collections::BTreeMap,
    ops::Bound,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use sidehook_core::{
    address::{DeliveryId, Partition, SegmentId},
    health::Health,
    id::{SubscriptionNumber, TenantId},
    limits::CALL_RECORDS,
    time::Timestamp,
    version::Version,
};
use state::State;
use tokio::sync::broadcast;

use crate::{
    catalog::{Catalog, Write, Written},
    error::{CallError, StoreError},
    hint::{BlockId, Hint, HistoryRecord},
    image::{Cursor, Image, Page as ImagePage},
    inspect::Inspection,
    port::{Durability, Store},
    rates::{Buckets, Taken, Want},
    read::{Lease, LogCursor, LogPage, Redeliver, Segment, Whereabouts},
    registry::{Entry, Kind, Page},
    turn::{Calls, Holder, LeaseId, Replies, Stamp, Turn, TurnReply},
};

/// Hints that a receiver may lag behind.
const HINTS: usize = 4_096;

/// A store in memory, gone with the process.
pub struct Model {
    partitions: Vec<Mutex<State>>,
    registry: Mutex<BTreeMap<(Kind, Vec<u8>), Bytes>>,
    rates: Mutex<Buckets>,
    hints: broadcast::Sender<Hint>,
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        let (hints, _) = broadcast::channel(HINTS);
        let partitions = Partition::all()
            .map(|partition| Mutex::new(State::new(partition, hints.clone())))
            .collect();
        Self {
            partitions,
            registry: Mutex::new(BTreeMap::new()),
            rates: Mutex::default(),
            hints,
        }
    }

    fn at(&self, partition: Partition) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.partitions.get(usize::from(partition.number()));
        state.map(Mutex::lock).ok_or_else(|| StoreError::Corrupt {
            detail: format!("there is no partition {}", partition.number()),
        })
    }

    fn of(&self, tenant: TenantId) -> Result<MutexGuard<'_, State>, StoreError> {
        self.at(Partition::of(tenant))
    }
}

/// `now` as given, else the system's clock: the one place that reads it.
fn clock(now: Option<Timestamp>) -> Timestamp {
    now.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Timestamp::default() + since.unwrap_or_default()
    })
}

fn execute(state: &mut State, now: Timestamp, calls: &Calls) -> Replies {
    let settle = calls.settle.as_ref().map(|(stamp, call)| {
        let run = |state: &mut State| state.settle(now, call);
        state.stamped(*stamp, |lane| &mut lane.settle, run)
    });
    let publish = calls.publish.as_ref().map(|(stamp, call)| {
        let run = |state: &mut State| state.publish(now, *stamp, call);
        state.stamped(*stamp, |lane| &mut lane.publish, run)
    });
    let claim = calls.claim.as_ref().map(|(stamp, call)| {
        let run = |state: &mut State| state.claim(now, *stamp, call);
        state.stamped(*stamp, |lane| &mut lane.claim, run)
    });
    Replies {
        settle,
        publish,
        claim,
        tick: calls.tick.then(|| Ok(state.tick(now))),
    }
}

/// The answer to calls for a partition that the turn has had already.
fn refuse(calls: &Calls) -> Replies {
    let refused = || CallError::Refused {
        detail: "the partition occurs twice in the turn".to_owned(),
    };
    Replies {
        settle: calls.settle.is_some().then(|| Err(refused())),
        publish: calls.publish.is_some().then(|| Err(refused())),
        claim: calls.claim.is_some().then(|| Err(refused())),
        tick: calls.tick.then(|| Err(refused())),
    }
}

#[async_trait::async_trait]
impl Store for Model {
    async fn turn(&self, _worker: usize, turn: &Turn) -> Result<TurnReply, StoreError> {
        let now = clock(turn.now);
        let mut seen = 0_u64;
        let mut calls = Vec::with_capacity(turn.calls.len());
        for one in &turn.calls {
            let bit = 1_u64 << (one.partition.number() & 63);
            calls.push(if seen & bit == 0 {
                execute(&mut *self.at(one.partition)?, now, one)
            } else {
                refuse(one)
            });
            seen |= bit;
        }
        if turn.calls.iter().any(|calls| calls.tick) {
            self.rates.lock().sweep(now, CALL_RECORDS);
        }
        Ok(TurnReply { now, calls })
    }

    async fn renew(
        &self,
        now: Option<Timestamp>,
        leases: &[(LeaseId, u128)],
        term: Duration,
    ) -> Result<Vec<bool>, StoreError> {
        let now = clock(now);
        leases
            .iter()
            .map(|lease| Ok(self.at(lease.0.0.partition)?.renew(now, *lease, term)))
            .collect()
    }

    async fn release(&self, holders: &[Holder], keep: &[LeaseId]) -> Result<u32, StoreError> {
        let given = self.partitions.iter();
        Ok(given.map(|state| state.lock().release(holders, keep)).sum())
    }

    async fn leases(&self, leases: &[LeaseId]) -> Result<Vec<Option<Lease>>, StoreError> {
        leases
            .iter()
            .map(|id| Ok(self.at(id.0.partition)?.lease(*id)))
            .collect()
    }

    async fn catalog(
        &self,
        tenant: TenantId,
        known: Option<Version>,
    ) -> Result<Option<Catalog>, StoreError> {
        Ok(self.of(tenant)?.catalog(tenant, known))
    }

    async fn write(&self, write: &Write) -> Result<Written, StoreError> {
        Ok(self.of(write.tenant)?.write(write))
    }

    async fn segments(&self, segments: &[SegmentId]) -> Result<Vec<Option<Segment>>, StoreError> {
        segments
            .iter()
            .map(|id| Ok(self.at(id.partition)?.segment(id)))
            .collect()
    }

    async fn log(
        &self,
        tenant: TenantId,
        from: Option<LogCursor>,
        max: usize,
    ) -> Result<LogPage, StoreError> {
        Ok(self.of(tenant)?.log(tenant, from, max))
    }

    async fn outcomes(&self, segments: &[SegmentId]) -> Result<Vec<Vec<Bytes>>, StoreError> {
        segments
            .iter()
            .map(|id| Ok(self.at(id.partition)?.outcomes(id)))
            .collect()
    }

    async fn history(&self, block: &BlockId) -> Result<Vec<HistoryRecord>, StoreError> {
        match history::parse(block) {
            Some((partition, number)) => Ok(self.at(partition)?.history.read(number)),
            None => Ok(Vec::new()),
        }
    }

    async fn health(
        &self,
        tenant: TenantId,
        subscriptions: &[SubscriptionNumber],
    ) -> Result<Vec<Health>, StoreError> {
        let state = self.of(tenant)?;
        let numbers = subscriptions.iter();
        Ok(numbers.map(|one| state.health((tenant, *one))).collect())
    }

    async fn locate(
        &self,
        tenant: TenantId,
        deliveries: &[DeliveryId],
    ) -> Result<Vec<Whereabouts>, StoreError> {
        let state = self.of(tenant)?;
        let places = deliveries.iter().map(|id| state.locate(tenant, id));
        Ok(places.collect())
    }

    async fn redeliver(&self, redeliver: &Redeliver) -> Result<bool, StoreError> {
        Ok(self.of(redeliver.tenant)?.redeliver(redeliver))
    }

    async fn registry_get(&self, kind: Kind, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.registry.lock().get(&(kind, key.to_vec())).cloned())
    }

    async fn registry_put(
        &self,
        kind: Kind,
        key: &[u8],
        value: Option<Bytes>,
    ) -> Result<(), StoreError> {
        let mut registry = self.registry.lock();
        match value {
            Some(value) => registry.insert((kind, key.to_vec()), value),
            None => registry.remove(&(kind, key.to_vec())),
        };
        Ok(())
    }

    async fn registry_claim(
        &self,
        kind: Kind,
        key: &[u8],
        value: Bytes,
    ) -> Result<Bytes, StoreError> {
        let mut registry = self.registry.lock();
        Ok(registry
            .entry((kind, key.to_vec()))
            .or_insert(value)
            .clone())
    }

    async fn registry_list(
        &self,
        kind: Kind,
        after: &[u8],
        max: usize,
    ) -> Result<Page, StoreError> {
        let registry = self.registry.lock();
        let from = Bound::Excluded((kind, after.to_vec()));
        let mut rest = registry
            .range((from, Bound::Unbounded))
            .take_while(|((found, _), _)| *found == kind);
        let entry = |((_, key), value): (&(Kind, Vec<u8>), &Bytes)| Entry {
            key: Bytes::copy_from_slice(key),
            value: value.clone(),
        };
        let entries = rest.by_ref().take(max).map(entry).collect();
        let more = rest.next().is_some();
        Ok(Page { entries, more })
    }

    async fn take(
        &self,
        now: Option<Timestamp>,
        wants: &[Want],
    ) -> Result<Vec<Option<Taken>>, StoreError> {
        Ok(self.rates.lock().take(clock(now), wants))
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(clock(None))
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    fn durability(&self) -> Durability {
        Durability::Volatile
    }

    async fn inspect(&self, partition: Partition) -> Result<Inspection, StoreError> {
        Ok(self.at(partition)?.inspect())
    }

    async fn export(
        &self,
        now: Option<Timestamp>,
        partition: Partition,
        from: Option<&Cursor>,
    ) -> Result<ImagePage, StoreError> {
        Ok(self.at(partition)?.export(clock(now), from))
    }

    async fn import(
        &self,
        _now: Option<Timestamp>,
        partition: Partition,
        stamp: Stamp,
        records: &[Image],
    ) -> Result<(), CallError> {
        let state = self.at(partition);
        let mut state = state.map_err(|error| CallError::Refused {
            detail: error.to_string(),
        })?;
        let run = |state: &mut State| state.import(records);
        state.stamped(stamp, |lane| &mut lane.import, run)
    }
}
