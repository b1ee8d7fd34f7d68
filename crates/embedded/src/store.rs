//! The store: hands changes to the writer, and reads by itself.

use core::time::Duration;
use std::{panic::AssertUnwindSafe, path::Path, sync::Arc, thread};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use redb::ReadableDatabase as _;
use sidehook_core::{
    address::{DeliveryId, Partition, SegmentId},
    health::Health,
    id::{SubscriptionNumber, TenantId},
    limits::CALL_RECORDS,
    time::Timestamp,
    version::Version,
};
use sidehook_store::{
    CallError, Store, StoreError,
    catalog::{Catalog, Change, Write, Written},
    hint::{BlockId, Hint, HistoryRecord},
    image::{Cursor, Image, Page as ImagePage},
    inspect::Inspection,
    port::Durability,
    rates::{Buckets, Taken, Want},
    read::{Lease, LogCursor, LogPage, Redeliver, Segment, Whereabouts},
    registry::{Kind, Page},
    turn::{Holder, LeaseId, Stamp, Turn, TurnReply},
};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};

use crate::{
    batch::Batch,
    clock,
    engine::{Engine, Slot},
    error::{Fault, OpenError, unavailable},
    layout,
    media::{Directory, Media},
    open,
    tables::View,
    work::{self, Asker, Operation, TurnWork},
    writer::{Message, QUEUE, Writer},
};

/// Hints that a receiver may lag behind.
const HINTS: usize = 4_096;
/// Readers that may wait for the disk at the same moment.
const READERS: usize = 64;

/// A durable store on one node.
pub struct Embedded {
    slot: Slot,
    /// Gone once the store is dropped: the writer then ends.
    inbox: Option<mpsc::Sender<Message>>,
    writer: Mutex<Option<thread::JoinHandle<()>>>,
    hints: broadcast::Sender<Hint>,
    durability: Durability,
    /// They need not outlast the process, which has the store for itself.
    rates: Mutex<Buckets>,
    /// Bounds what reads at the same moment.
    reading: Semaphore,
}

impl Embedded {
    /// Opens the store in a directory, or makes one. Blocks: after a crash it may
    /// take a while, though normally it is a matter of milliseconds. Of the levels of
    /// durability [`Durability::Strict`] brings every call to disk before it is
    /// answered, any other within a second: what kills the process takes up to that
    /// much with it, as a power loss does.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(directory: &Path, durability: Durability) -> Result<Self, OpenError> {
        Self::over(Box::new(Directory::prepare(directory)?), durability)
    }

    /// Checks every page of a directory's store, which nobody may have open; mends what
    /// can be mended of the engine's own accounts. Blocks, for as long as it takes to
    /// read the whole file. Whether all was well before.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::Corrupt`] if something is damaged for good.
    pub fn verify(directory: &Path) -> Result<bool, OpenError> {
        let name = directory.display().to_string();
        let file = Directory::existing(directory)?;
        let told = |error| open::told(&name, error);
        let checked = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut database = open::database(&file).map_err(told)?;
            database.check_integrity().map_err(told)
        }));
        checked.unwrap_or_else(|_| {
            let detail = format!("{name}: the engine panicked");
            Err(OpenError::Corrupt(detail))
        })
    }

    /// Opens the store on a medium of the caller's own: for tests of what failing
    /// media do to it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn over(media: Box<dyn Media>, durability: Durability) -> Result<Self, OpenError> {
        let name = media.name();
        let database = open::database(&*media).map_err(|error| open::told(&name, error))?;
        let identity = open::prepare(&database)?;
        let durability = match durability {
            Durability::Strict => Durability::Strict,
            Durability::Relaxed | Durability::Volatile => Durability::Relaxed,
        };
        let slot: Slot = Arc::new(RwLock::new(Some(Arc::new(database))));
        let (inbox, receiver) = mpsc::channel(QUEUE);
        let (hints, _) = broadcast::channel(HINTS);
        let strict = durability == Durability::Strict;
        let engine = Engine::new(media, Arc::clone(&slot), strict, identity);
        let waiter = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| OpenError::Io(error.to_string()))?;
        let writer = Writer::new(engine, receiver, waiter, hints.clone());
        // A panic of this thread ends it: every later call is answered that the store
        // is away.
        let writer = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| OpenError::Io(error.to_string()))?;
        Ok(Self {
            slot,
            inbox: Some(inbox),
            writer: Mutex::new(Some(writer)),
            hints,
            durability,
            rates: Mutex::default(),
            reading: Semaphore::new(READERS),
        })
    }

    /// Brings everything that was acknowledged to disk.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when that failed.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.ask(Message::Flush).await
    }

    /// Brings everything to disk and lets the directory go; what is called afterwards
    /// is answered that the store is away. Dropping the store does the same, blocking.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when not everything could be brought to disk.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.ask(Message::Close).await
    }

    /// Lets the writer do something, and waits for its answer.
    async fn ask<T>(&self, message: impl FnOnce(Asker<T>) -> Message) -> Result<T, StoreError> {
        let (asker, answer) = oneshot::channel();
        let inbox = self.inbox.as_ref().ok_or_else(closed)?;
        let sent = inbox.send(message(asker)).await;
        sent.map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Changes something; `weight` is the bytes that `run` carries.
    async fn change<T, F>(&self, weight: usize, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Batch<'_>) -> Result<T, Fault> + Send + 'static,
    {
        self.ask(|asker| Message::Work(Box::new(Operation::new(run, weight, asker))))
            .await
    }

    /// Reads something, where it may wait for the disk.
    async fn read<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&View) -> Result<T, Fault> + Send + 'static,
    {
        let _permit = self.reading.acquire().await.map_err(|_| closed())?;
        let database = self.slot.read().clone();
        let database = database.ok_or_else(away)?;
        let reading = tokio::task::spawn_blocking(move || {
            let view = View::new(database.begin_read()?);
            drop(database);
            read(&view)
        });
        let read = reading
            .await
            .map_err(|error| unavailable(format!("reading was given up: {error}")))?;
        if let (Err(Fault::Io(..)), Some(inbox)) = (&read, &self.inbox) {
            // The writer reopens the database; if its inbox is full it will notice.
            let _ = inbox.try_send(Message::Check);
        }
        Ok(read?)
    }
}

fn away() -> StoreError {
    unavailable("it is being reopened".to_owned())
}

fn closed() -> StoreError {
    unavailable("the store is closed".to_owned())
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.inbox = None;
        if let Some(writer) = self.writer.lock().take() {
            // It tells of its own failures.
            let _ = writer.join();
        }
    }
}

#[async_trait::async_trait]
impl Store for Embedded {
    async fn turn(&self, _worker: usize, turn: &Turn) -> Result<TurnReply, StoreError> {
        if turn.calls.iter().any(|calls| calls.tick) {
            self.rates.lock().sweep(clock(turn.now), CALL_RECORDS);
        }
        let turn = turn.clone();
        self.ask(|asker| Message::Work(Box::new(TurnWork::new(turn, asker))))
            .await
    }

    async fn renew(
        &self,
        now: Option<Timestamp>,
        leases: &[(LeaseId, u128)],
        term: Duration,
    ) -> Result<Vec<bool>, StoreError> {
        let leases = leases.to_vec();
        // The time of the first run is that of all.
        let mut at = None;
        let weight = size_of_val(&leases[..]);
        self.change(weight, move |batch| {
            let now = *at.get_or_insert_with(|| clock(now));
            let renewed = leases
                .iter()
                .map(|(id, token)| batch.renew(now, *id, *token, term));
            renewed.collect()
        })
        .await
    }

    async fn release(&self, holders: &[Holder], keep: &[LeaseId]) -> Result<u32, StoreError> {
        let holders: Arc<[Holder]> = holders.into();
        let mut keep = keep.to_vec();
        keep.sort_unstable();
        let keep: Arc<[LeaseId]> = keep.into();
        let (mut count, mut after) = (0_u32, None);
        // Some at a time, so that others get their turn in between.
        loop {
            let (holders, keep) = (Arc::clone(&holders), Arc::clone(&keep));
            let run = move |batch: &mut Batch<'_>| batch.release(&holders, &keep, after);
            let (some, more) = self.change(0, run).await?;
            count = count.saturating_add(some);
            if more.is_none() {
                return Ok(count);
            }
            after = more;
        }
    }

    async fn leases(&self, leases: &[LeaseId]) -> Result<Vec<Option<Lease>>, StoreError> {
        let leases = leases.to_vec();
        self.read(move |view| view.leases(&leases)).await
    }

    async fn catalog(
        &self,
        tenant: TenantId,
        known: Option<Version>,
    ) -> Result<Option<Catalog>, StoreError> {
        self.read(move |view| view.catalog(tenant, known)).await
    }

    async fn write(&self, write: &Write) -> Result<Written, StoreError> {
        let write = write.clone();
        let weight = match &write.change {
            Change::Put { record, .. } => record.len(),
            Change::Delete => 0,
        };
        self.change(weight, move |batch| batch.write(&write)).await
    }

    async fn segments(&self, segments: &[SegmentId]) -> Result<Vec<Option<Segment>>, StoreError> {
        let segments = segments.to_vec();
        self.read(move |view| view.segments(&segments)).await
    }

    async fn log(
        &self,
        tenant: TenantId,
        from: Option<LogCursor>,
        max: usize,
    ) -> Result<LogPage, StoreError> {
        self.read(move |view| view.log(tenant, from, max)).await
    }

    async fn outcomes(&self, segments: &[SegmentId]) -> Result<Vec<Vec<Bytes>>, StoreError> {
        let segments = segments.to_vec();
        self.read(move |view| view.outcomes(&segments)).await
    }

    async fn history(&self, block: &BlockId) -> Result<Vec<HistoryRecord>, StoreError> {
        let block = block.clone();
        self.read(move |view| view.history(&block)).await
    }

    async fn health(
        &self,
        tenant: TenantId,
        subscriptions: &[SubscriptionNumber],
    ) -> Result<Vec<Health>, StoreError> {
        let subscriptions = subscriptions.to_vec();
        self.read(move |view| view.health(tenant, &subscriptions))
            .await
    }

    async fn locate(
        &self,
        tenant: TenantId,
        deliveries: &[DeliveryId],
    ) -> Result<Vec<Whereabouts>, StoreError> {
        let deliveries = deliveries.to_vec();
        self.read(move |view| view.locate(tenant, &deliveries))
            .await
    }

    async fn redeliver(&self, redeliver: &Redeliver) -> Result<bool, StoreError> {
        let redeliver = redeliver.clone();
        let weight = redeliver.retry.len();
        self.change(weight, move |batch| batch.redeliver(&redeliver))
            .await
    }

    async fn registry_get(&self, kind: Kind, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let key = key.to_vec();
        self.read(move |view| view.registry_get(kind, &key)).await
    }

    async fn registry_put(
        &self,
        kind: Kind,
        key: &[u8],
        value: Option<Bytes>,
    ) -> Result<(), StoreError> {
        let key = layout::registry(kind, key);
        let weight = key.len() + value.as_ref().map_or(0, Bytes::len);
        self.change(weight, move |batch| match &value {
            Some(value) => batch.tables.registry.put(&key, value),
            None => batch.tables.registry.delete(&key),
        })
        .await
    }

    async fn registry_list(
        &self,
        kind: Kind,
        after: &[u8],
        max: usize,
    ) -> Result<Page, StoreError> {
        let after = after.to_vec();
        self.read(move |view| view.registry_list(kind, &after, max))
            .await
    }

    async fn take(
        &self,
        now: Option<Timestamp>,
        wants: &[Want],
    ) -> Result<Vec<Option<Taken>>, StoreError> {
        Ok(self.rates.lock().take(clock(now), wants))
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        let writes = self.inbox.as_ref().is_some_and(|inbox| !inbox.is_closed());
        if !writes {
            return Err(closed());
        }
        if self.slot.read().is_none() {
            return Err(away());
        }
        Ok(clock(None))
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    async fn close(&self) -> Result<(), StoreError> {
        Self::close(self).await
    }

    fn durability(&self) -> Durability {
        self.durability
    }

    async fn inspect(&self, partition: Partition) -> Result<Inspection, StoreError> {
        self.read(move |view| view.inspect(partition)).await
    }

    async fn export(
        &self,
        now: Option<Timestamp>,
        partition: Partition,
        from: Option<&Cursor>,
    ) -> Result<ImagePage, StoreError> {
        let from = from.cloned();
        self.read(move |view| view.export(clock(now), partition, from.as_ref()))
            .await
    }

    async fn import(
        &self,
        _now: Option<Timestamp>,
        partition: Partition,
        stamp: Stamp,
        records: &[Image],
    ) -> Result<(), CallError> {
        let records = records.to_vec();
        let weight = records.iter().map(|record| record.weight().1).sum();
        let done = self.change(weight, move |batch| {
            let run = |batch: &mut Batch<'_>| batch.import(partition, &records);
            work::told(batch.stamped(partition, stamp, run))
        });
        match done.await {
            Ok(told) => told.map(|_| ()),
            Err(StoreError::Unavailable { detail, .. }) => Err(CallError::Unknown { detail }),
            Err(StoreError::Corrupt { detail }) => Err(CallError::Refused { detail }),
        }
    }
}
