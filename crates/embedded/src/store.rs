//! The store: hands changes to the writer, and reads by itself.

use core::time::Duration;
use std::{path::Path, sync::Arc, thread};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use redb::ReadableDatabase as _;
use sidehook_core::{
    address::{DeliveryId, Partition, SegmentId},
    id::TenantId,
    time::Timestamp,
    version::Version,
};
use sidehook_store::{
    CallError, Store, StoreError,
    catalog::{Catalog, Write, Written},
    hint::{BlockId, Hint, HistoryRecord},
    image::{Cursor, Image, Page as ImagePage},
    inspect::Inspection,
    port::Durability,
    read::{Lease, LogCursor, LogPage, Redeliver, Segment, Whereabouts},
    registry::{Kind, Page},
    turn::{Holder, LeaseId, Stamp, Turn, TurnReply},
};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::{
    batch::Batch,
    clock,
    error::{Fault, OpenError, unavailable},
    layout,
    media::{Directory, Media},
    open,
    tables::View,
    work::{self, Asker, Operation, TurnWork},
    writer::{Message, QUEUE, Slot, Writer},
};

/// Hints that a receiver may lag behind.
const HINTS: usize = 4_096;

/// A durable store on one node.
pub struct Embedded {
    slot: Slot,
    /// Gone once the store is dropped: the writer then ends.
    inbox: Option<mpsc::Sender<Message>>,
    writer: Mutex<Option<thread::JoinHandle<()>>>,
    hints: broadcast::Sender<Hint>,
    durability: Durability,
}

impl Embedded {
    /// Opens the store in a directory, or makes one. Blocks: after a crash it may
    /// take a while, though normally it is a matter of milliseconds. Of the levels of
    /// durability [`Durability::Strict`] brings every call to disk before it is
    /// answered, any other within a second.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(directory: &Path, durability: Durability) -> Result<Self, OpenError> {
        let failed =
            |error: std::io::Error| OpenError::Io(format!("{}: {error}", directory.display()));
        let media = Directory::prepare(directory).map_err(failed)?;
        Self::start(Box::new(media), directory, durability)
    }

    /// Opens the store on a medium of the caller's own: for tests of what failing
    /// media do to it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn over(media: Box<dyn Media>, durability: Durability) -> Result<Self, OpenError> {
        Self::start(media, Path::new("the medium"), durability)
    }

    fn start(
        media: Box<dyn Media>,
        name: &Path,
        durability: Durability,
    ) -> Result<Self, OpenError> {
        let database = open::database(&*media).map_err(|error| open::told(name, error))?;
        open::prepare(&database)?;
        let durability = match durability {
            Durability::Strict => Durability::Strict,
            Durability::Relaxed | Durability::Volatile => Durability::Relaxed,
        };
        let slot: Slot = Arc::new(RwLock::new(Some(Arc::new(database))));
        let (inbox, receiver) = mpsc::channel(QUEUE);
        let (hints, _) = broadcast::channel(HINTS);
        let writer = Writer::new(media, Arc::clone(&slot), durability, hints.clone());
        let waiter = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| OpenError::Io(error.to_string()))?;
        // A panic of this thread ends it: every later call is answered that the store
        // is away.
        let writer = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(receiver, &waiter))
            .map_err(|error| OpenError::Io(error.to_string()))?;
        Ok(Self {
            slot,
            inbox: Some(inbox),
            writer: Mutex::new(Some(writer)),
            hints,
            durability,
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

    /// Changes something.
    async fn change<T, F>(&self, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Batch<'_>) -> Result<T, Fault> + Send + 'static,
    {
        self.ask(|asker| Message::Work(Box::new(Operation::new(run, asker))))
            .await
    }

    /// Reads something, where it may wait for the disk.
    async fn read<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&View) -> Result<T, Fault> + Send + 'static,
    {
        let database = self.slot.read().clone();
        let database = database.ok_or_else(|| unavailable("it is being reopened".to_owned()))?;
        let reading = tokio::task::spawn_blocking(move || {
            let view = View::new(database.begin_read()?);
            drop(database);
            read(&view)
        });
        let read = reading
            .await
            .map_err(|error| unavailable(format!("reading was given up: {error}")))?;
        if let (Err(Fault::Io(_)), Some(inbox)) = (&read, &self.inbox) {
            // The writer reopens the database; if its inbox is full it will notice.
            let _ = inbox.try_send(Message::Check);
        }
        Ok(read?)
    }
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
        self.change(move |batch| {
            let now = clock(now);
            let renewed = leases
                .iter()
                .map(|(id, token)| batch.renew(now, *id, *token, term));
            renewed.collect()
        })
        .await
    }

    async fn release(&self, holders: &[Holder], keep: &[LeaseId]) -> Result<u32, StoreError> {
        let (holders, keep) = (holders.to_vec(), keep.to_vec());
        self.change(move |batch| batch.release(&holders, &keep))
            .await
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
        self.change(move |batch| batch.write(&write)).await
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
        self.change(move |batch| batch.redeliver(&redeliver)).await
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
        self.change(move |batch| match &value {
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

    async fn now(&self) -> Result<Timestamp, StoreError> {
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
        let done = self.change(move |batch| {
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
