//! A store that is away at times: before a call, or after it, when nobody knows
//! whether it was executed; and that at times takes a lane to be out of step.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use sidehook_core::{
    address::{DeliveryId, Partition, SegmentId},
    health::Health,
    id::{SubscriptionNumber, TenantId},
    time::Timestamp,
    version::Version,
};
use sidehook_store::{
    CallError, Store, StoreError, Turn, TurnReply,
    catalog::{Catalog, Write, Written},
    hint::{BlockId, Hint, HistoryRecord},
    image::{Cursor, Image, Page as ImagePage},
    inspect::Inspection,
    model::Model,
    port::Durability,
    rates::{Taken, Want},
    read::{Lease, LogCursor, LogPage, Redeliver, Segment, Whereabouts},
    registry::{Kind, Page},
    turn::{Calls, Holder, LeaseId, Stamp},
};
use tokio::sync::broadcast;

use crate::faults::{self, Faults};

/// See the module.
#[derive(Clone)]
pub(crate) struct Shaky {
    model: Arc<Model>,
    away: Arc<AtomicBool>,
    /// Of a hundred turns so many fail.
    failing: u64,
    turns: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    /// Calls that were executed although nobody was told.
    untold: Arc<Mutex<HashSet<(u64, u32)>>>,
    /// What goes wrong because the test says so.
    pub(crate) faults: Arc<Faults>,
}

impl Shaky {
    pub(crate) fn new(failing: u64) -> Self {
        Self {
            model: Arc::new(Model::new()),
            away: Arc::default(),
            failing,
            turns: Arc::default(),
            failed: Arc::default(),
            untold: Arc::default(),
            faults: Arc::default(),
        }
    }

    /// Another way to the same state, with faults of its own.
    pub(crate) fn sound(&self) -> Arc<dyn Store> {
        Arc::clone(&self.model) as Arc<dyn Store>
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::SeqCst)
    }

    /// Executes nothing but the ticks, and says of the rest that its lane is out of
    /// step.
    async fn superseded(&self, turn: &Turn) -> Result<TurnReply, StoreError> {
        self.failed.fetch_add(1, Ordering::SeqCst);
        let ticks = turn.calls.iter().map(|calls| Calls {
            tick: calls.tick,
            ..Calls::new(calls.partition)
        });
        let ticks = Turn {
            now: None,
            calls: ticks.collect(),
        };
        let mut reply = self.model.turn(0, &ticks).await?;
        for (replies, calls) in reply.calls.iter_mut().zip(&turn.calls) {
            let superseded = CallError::Superseded;
            replies.settle = calls.settle.as_ref().map(|_| Err(superseded.clone()));
            replies.publish = calls.publish.as_ref().map(|_| Err(superseded.clone()));
            replies.claim = calls.claim.as_ref().map(|_| Err(superseded.clone()));
        }
        Ok(reply)
    }

    fn fail(&self) -> StoreError {
        self.failed.fetch_add(1, Ordering::SeqCst);
        StoreError::Unavailable {
            detail: "shaky".to_owned(),
            retry_after: Duration::from_millis(1),
        }
    }
}

/// Lane and sequence of every call; kinds need not be told apart, for what is taken
/// for executed is only spared.
fn stamps(turn: &Turn) -> impl Iterator<Item = (u64, u32)> {
    turn.calls.iter().flat_map(|calls| {
        let settle = calls.settle.as_ref().map(|(stamp, _)| *stamp);
        let publish = calls.publish.as_ref().map(|(stamp, _)| *stamp);
        let claim = calls.claim.as_ref().map(|(stamp, _)| *stamp);
        let stamps = [settle, publish, claim].into_iter().flatten();
        stamps.map(|stamp| (stamp.lane.bits(), stamp.sequence.number()))
    })
}

#[async_trait]
impl Store for Shaky {
    async fn turn(&self, worker: usize, turn: &Turn) -> Result<TurnReply, StoreError> {
        if self.away.load(Ordering::SeqCst) {
            if turn.calls.iter().any(|calls| calls.settle.is_some()) {
                self.faults.unsettled.add();
            }
            return Err(self.fail());
        }
        if turn.calls.iter().any(|calls| calls.claim.is_some()) {
            self.faults.claiming.add();
            self.faults.claims.pass().await;
        }
        let mut sound = turn.clone();
        let lost = self.faults.lose(&mut sound);
        if !lost.is_empty() {
            return Ok(faults::lost(self.model.turn(worker, &sound).await?, &lost));
        }
        let places = self.faults.refuse(&mut sound);
        if !places.is_empty() {
            return faults::refused(self.model.turn(worker, &sound).await?, &places);
        }
        // A walk through 0..100 in steps that share no factor with it.
        let draw = (self.turns.fetch_add(1, Ordering::SeqCst) * 37) % 100;
        if draw >= self.failing {
            let reply = self.model.turn(worker, turn).await?;
            return Ok(self.faults.scratch(reply));
        }
        if matches!(draw % 4, 1 | 2) {
            self.untold.lock().extend(stamps(turn));
        }
        match draw % 4 {
            0 => Err(self.fail()),
            // Only a call that was not executed can be superseded.
            3 if stamps(turn).all(|stamp| !self.untold.lock().contains(&stamp)) => {
                Ok(self.superseded(turn).await?)
            }
            3 => self.model.turn(worker, turn).await,
            1 => {
                self.model.turn(worker, turn).await?;
                Err(self.fail())
            }
            _ => {
                let mut reply = self.model.turn(worker, turn).await?;
                let unknown = || CallError::Unknown {
                    detail: "shaky".to_owned(),
                };
                self.failed.fetch_add(1, Ordering::SeqCst);
                for replies in &mut reply.calls {
                    if let Some(claim) = &mut replies.claim {
                        *claim = Err(unknown());
                    }
                    if let Some(settle) = &mut replies.settle {
                        *settle = Err(unknown());
                    }
                }
                Ok(reply)
            }
        }
    }

    async fn renew(
        &self,
        now: Option<Timestamp>,
        leases: &[(LeaseId, u128)],
        term: Duration,
    ) -> Result<Vec<bool>, StoreError> {
        self.faults.renewals.lock().push(leases.len());
        self.model.renew(now, leases, term).await
    }

    async fn release(&self, holders: &[Holder], keep: &[LeaseId]) -> Result<u32, StoreError> {
        self.faults.released.lock().extend(holders);
        self.faults.releases.pass().await;
        self.model.release(holders, keep).await
    }

    async fn leases(&self, leases: &[LeaseId]) -> Result<Vec<Option<Lease>>, StoreError> {
        if let Some(error) = self.faults.leases.lock().clone() {
            return Err(error);
        }
        self.model.leases(leases).await
    }

    async fn catalog(
        &self,
        tenant: TenantId,
        known: Option<Version>,
    ) -> Result<Option<Catalog>, StoreError> {
        self.faults.catalog(tenant)?;
        self.model.catalog(tenant, known).await
    }

    async fn write(&self, write: &Write) -> Result<Written, StoreError> {
        if self.away.load(Ordering::SeqCst) {
            self.faults.unwritten.add();
            return Err(self.fail());
        }
        self.model.write(write).await
    }

    async fn segments(&self, segments: &[SegmentId]) -> Result<Vec<Option<Segment>>, StoreError> {
        let found = self.model.segments(segments).await?;
        self.faults.segments(segments, found)
    }

    async fn log(
        &self,
        tenant: TenantId,
        from: Option<LogCursor>,
        max: usize,
    ) -> Result<LogPage, StoreError> {
        self.model.log(tenant, from, max).await
    }

    async fn outcomes(&self, segments: &[SegmentId]) -> Result<Vec<Vec<Bytes>>, StoreError> {
        self.model.outcomes(segments).await
    }

    async fn history(&self, block: &BlockId) -> Result<Vec<HistoryRecord>, StoreError> {
        self.model.history(block).await
    }

    async fn health(
        &self,
        tenant: TenantId,
        subscriptions: &[SubscriptionNumber],
    ) -> Result<Vec<Health>, StoreError> {
        self.model.health(tenant, subscriptions).await
    }

    async fn locate(
        &self,
        tenant: TenantId,
        deliveries: &[DeliveryId],
    ) -> Result<Vec<Whereabouts>, StoreError> {
        self.model.locate(tenant, deliveries).await
    }

    async fn redeliver(&self, redeliver: &Redeliver) -> Result<bool, StoreError> {
        self.model.redeliver(redeliver).await
    }

    async fn registry_get(&self, kind: Kind, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.model.registry_get(kind, key).await
    }

    async fn registry_put(
        &self,
        kind: Kind,
        key: &[u8],
        value: Option<Bytes>,
    ) -> Result<(), StoreError> {
        if kind == Kind::Agent {
            self.faults.presence.pass().await;
        }
        self.model.registry_put(kind, key, value).await
    }

    async fn registry_list(
        &self,
        kind: Kind,
        after: &[u8],
        max: usize,
    ) -> Result<Page, StoreError> {
        self.model.registry_list(kind, after, max).await
    }

    async fn take(
        &self,
        now: Option<Timestamp>,
        wants: &[Want],
    ) -> Result<Vec<Option<Taken>>, StoreError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(self.fail());
        }
        self.model.take(now, wants).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.model.now().await
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.model.hints()
    }

    fn durability(&self) -> Durability {
        self.model.durability()
    }

    async fn inspect(&self, partition: Partition) -> Result<Inspection, StoreError> {
        self.model.inspect(partition).await
    }

    async fn export(
        &self,
        now: Option<Timestamp>,
        partition: Partition,
        from: Option<&Cursor>,
    ) -> Result<ImagePage, StoreError> {
        self.model.export(now, partition, from).await
    }

    async fn import(
        &self,
        now: Option<Timestamp>,
        partition: Partition,
        stamp: Stamp,
        records: &[Image],
    ) -> Result<(), CallError> {
        self.model.import(now, partition, stamp, records).await
    }
}
