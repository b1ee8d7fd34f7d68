//! Subscriptions: changing them, and what that does to their queues; redelivering.

use bytes::Bytes;
use sidehook_core::{address::Partition, version::Version};
use sidehook_store::{
    budget,
    catalog::{Change, Expect, QueueSettings, Write, Written},
    hint::Hint,
    read::Redeliver,
};

use crate::{
    batch::Batch,
    codec::{Reader, Writer},
    error::Fault,
    layout::{self, Entry, Place, Queue, QueueKey, Record, Stage, TenantRow},
};

/// Deliveries and entries that deleting a subscription ends at once; `tick` ends
/// the rest.
const CLEARED_AT_ONCE: usize = sidehook_core::limits::CALL_RECORDS;

fn version_of(value: Bytes) -> Result<Version, Fault> {
    Reader::new("a subscription's version", value).version()
}

impl Batch<'_> {
    pub(crate) fn write(&mut self, write: &Write) -> Result<Written, Fault> {
        let key = (write.tenant, write.number);
        let row = layout::queue(key);
        let current = self.tables.subscriptions.read(&row, version_of)?;
        let deleted = self.tables.graves.read(&row, version_of)?;
        match (&write.change, current, deleted) {
            (Change::Delete, None, Some(had)) => return Ok(Written::Done(had)),
            (Change::Put { .. }, Some(now), _) if now.nonce == write.nonce => {
                return Ok(Written::Done(now));
            }
            _ => {}
        }
        let fits = match write.expect {
            Expect::Absent => current.is_none() && deleted.is_none(),
            Expect::Version(version) => current == Some(version),
        };
        if !fits || (current.is_none() && matches!(write.change, Change::Delete)) {
            return Ok(Written::Conflict { current });
        }
        let mut tenant = self.tenant(write.tenant)?.unwrap_or_default();
        let expected = write.bounds.catalog;
        if expected.is_some_and(|version| version != tenant.version) {
            return Ok(Written::Overtaken);
        }
        if current.is_none() && tenant.subscriptions as usize >= write.bounds.subscriptions() {
            return Ok(Written::TooMany);
        }
        tenant.version = tenant.version.next(write.nonce);
        let had = current.unwrap_or_default();
        let version = match &write.change {
            Change::Put { record, queue } => {
                tenant.subscriptions += u32::from(current.is_none());
                let version = had.next(write.nonce);
                let mut value = Writer::with_capacity(16 + record.len());
                value.version(version).bytes(record);
                self.tables.subscriptions.put(&row, &value.finish())?;
                self.reset_queue(key, queue)?;
                version
            }
            Change::Delete => {
                tenant.subscriptions = tenant.subscriptions.saturating_sub(1);
                self.tables.subscriptions.delete(&row)?;
                let mut value = Writer::with_capacity(16);
                value.version(had);
                self.tables.graves.put(&row, &value.finish())?;
                self.delete_queue(key)?;
                self.forget_health(key)?;
                had
            }
        };
        // What was acquitted meanwhile stays so.
        let used = self.tenant(write.tenant)?.unwrap_or_default().used;
        self.set_tenant(write.tenant, TenantRow { used, ..tenant });
        self.hints.push(Hint::Catalog(write.tenant));
        Ok(Written::Done(version))
    }

    fn reset_queue(&mut self, key: QueueKey, settings: &QueueSettings) -> Result<(), Fault> {
        let Some(queue) = self.queue(key)? else {
            self.set_queue(key, Some(Queue::new(settings.clone())));
            return Ok(());
        };
        let (pool, ring) = (queue.settings.pool.clone(), queue.ring);
        if ring != 0 {
            self.leave(&pool, key, ring)?;
        }
        if let Some(queue) = self.queue_mut(key)? {
            queue.ring = 0;
            queue.settings = settings.clone();
        }
        self.align(key)
    }

    fn delete_queue(&mut self, key: QueueKey) -> Result<(), Fault> {
        let Some(queue) = self.queue_mut(key)? else {
            return Ok(());
        };
        queue.stage = Stage::Clearing;
        // What is left here has ended, although it is yet to be cleared away.
        let owed = core::mem::take(&mut queue.owed);
        self.acquit(key.0, owed)?;
        self.align(key)?;
        self.tables.clearing.put(&layout::queue(key), &[])?;
        self.clear(key, CLEARED_AT_ONCE)?;
        Ok(())
    }

    pub(crate) fn redeliver(&mut self, call: &Redeliver) -> Result<bool, Fault> {
        let key = (call.tenant, call.subscription);
        let Some(place) = Place::of(call.tenant, call.delivery) else {
            return Ok(false);
        };
        let place = Place {
            queue: key,
            ..place
        };
        if place.segment.partition != Partition::of(call.tenant)
            || !self.queue(key)?.is_some_and(Queue::is_live)
        {
            return Ok(false);
        }
        let Some(bytes) = self.accepted(&place)? else {
            return Ok(false);
        };
        let charge = budget::charge(bytes as u64, 1);
        if !self.make(&place)? {
            return Ok(true);
        }
        let record = Record {
            leases_lost: 0,
            charge,
            due: None,
            retry: call.retry.clone(),
        };
        self.tables
            .records
            .put(&layout::record(&place), &record.pack())?;
        let entry = Entry {
            recorded: true,
            leases_lost: 0,
            charge,
            generation: place.generation,
            segment: place.segment,
            indices: vec![place.index],
        };
        self.push_back(key, &entry)?;
        self.charge(call.tenant, charge.into())?;
        self.begin(place.segment)?;
        self.align(key)?;
        Ok(true)
    }

    /// Remembers that a generation was made; `false` if it or a later one was before.
    pub(crate) fn make(&mut self, place: &Place) -> Result<bool, Fault> {
        let key = layout::made(place);
        let made = match self.tables.made.get(&key)? {
            Some(value) => Reader::new("a redelivery's generation", value).u16()?,
            None => 0,
        };
        if place.generation > made {
            self.tables
                .made
                .put(&key, &place.generation.to_be_bytes())?;
        }
        Ok(place.generation > made)
    }

    /// The bytes of a delivery's event, if it is there and was accepted.
    fn accepted(&self, place: &Place) -> Result<Option<usize>, Fault> {
        let key = layout::segment(place.segment);
        let segment = self
            .tables
            .segments
            .read_parts(&key, layout::parse_segment)?;
        let segment = segment.filter(|segment| segment.tenant == place.queue.0);
        let record = segment.and_then(|segment| {
            let record = segment.records.get(usize::from(place.index));
            record.map(Bytes::len)
        });
        Ok(record.filter(|bytes| *bytes > 0))
    }
}
