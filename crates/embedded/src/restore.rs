//! Taking over what another store exported: the same rows that the calls would have
//! left, counters and rings included.

use sidehook_core::{
    address::{Partition, SegmentId},
    id::TenantId,
    time::Timestamp,
};
use sidehook_store::{
    image::Image,
    rules::{self, Needs},
    turn::{Idempotency, Run, Stamp},
};

use crate::{
    batch::Batch,
    codec::{Reader, Writer},
    error::Fault,
    lanes::Called,
    layout::{self, Entry, KeyRow, Leaving, Queue, Record, SegmentState},
    queue::place,
    replies::Reply,
};

/// The answer to an import: there is nothing to tell.
#[derive(Clone, Copy)]
pub(crate) struct Imported;

impl Reply for Imported {
    const KIND: u8 = b'i';

    fn pack(&self, _to: &mut Writer) {}

    fn parse(_: Partition, _: Stamp, _: &mut Reader) -> Result<Self, Fault> {
        Ok(Self)
    }
}

impl Batch<'_> {
    /// Takes records over, if all of them find what they belong to.
    pub(crate) fn import(&mut self, partition: Partition, records: &[Image]) -> Called<Imported> {
        rules::import(partition, records)?;
        if !self.meets(&Needs::of(records))? {
            return Err(Needs::unmet().into());
        }
        for record in records {
            self.take_over(record)?;
        }
        Ok(Imported)
    }

    fn meets(&mut self, needs: &Needs) -> Result<bool, Fault> {
        for key in &needs.queues {
            if !self.queue(*key)?.is_some_and(Queue::is_live) {
                return Ok(false);
            }
        }
        for id in &needs.segments {
            if self.state_mut(*id)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take_over(&mut self, record: &Image) -> Result<(), Fault> {
        match record {
            Image::Tenant { tenant, version } => {
                let mut row = self.tenant(*tenant)?.unwrap_or_default();
                row.version = *version;
                self.set_tenant(*tenant, row);
                Ok(())
            }
            Image::Subscription {
                tenant,
                row,
                queue,
                health,
            } => {
                let key = (*tenant, row.number);
                let mut held = self.tenant(*tenant)?.unwrap_or_default();
                held.subscriptions += 1;
                self.set_tenant(*tenant, held);
                let mut value = Writer::with_capacity(16 + row.record.len());
                value.version(row.version).bytes(&row.record);
                let at = layout::queue(key);
                self.tables.subscriptions.put(&at, &value.finish())?;
                self.set_queue(key, Some(Queue::new(queue.clone())));
                self.restore_health(key, health)
            }
            Image::Deleted {
                tenant,
                number,
                version,
            } => {
                let mut value = Writer::with_capacity(16);
                value.version(*version);
                let at = layout::queue((*tenant, *number));
                self.tables.graves.put(&at, &value.finish())
            }
            Image::Segment {
                id,
                tenant,
                published,
                bytes,
                records,
            } => {
                let payload = layout::pack_segment(*tenant, records);
                self.keep_segment(*tenant, *id, (*published, *bytes), &payload)
            }
            Image::Attempts {
                segment, records, ..
            } => self.keep_outcomes(*segment, records).map(|_| ()),
            Image::Deliveries { run, due } => self.queue_run(run, *due),
            Image::Key {
                tenant,
                idempotency,
                event,
                at,
            } => {
                let row = KeyRow {
                    content: idempotency.content,
                    event: *event,
                    at: *at,
                };
                self.keep_key(*tenant, idempotency, row)
            }
            Image::Registry { .. } => Ok(()),
        }
    }

    fn keep_segment(
        &mut self,
        tenant: TenantId,
        id: SegmentId,
        (published, bytes): (Timestamp, u32),
        payload: &[u8],
    ) -> Result<(), Fault> {
        let mut held = self.tenant(tenant)?.unwrap_or_default();
        held.position += 1;
        self.set_tenant(tenant, held);
        for (number, part) in (0..).zip(layout::cut(payload)) {
            self.tables.segments.put(&layout::part(id, number), part)?;
        }
        let state = SegmentState {
            tenant,
            published,
            position: held.position,
            unfinished: 0,
            outcomes: 0,
            bytes,
            leaving: Leaving::ByAge,
        };
        self.keep(id, state)
    }

    fn queue_run(&mut self, run: &Run, due: Option<Timestamp>) -> Result<(), Fault> {
        let key = (run.tenant, run.subscription);
        let entry = Entry {
            recorded: run.retry.is_some(),
            leases_lost: run.leases_lost,
            charge: run.charge,
            generation: run.generation,
            segment: run.segment,
            indices: run.indices.clone(),
        };
        for index in &run.indices {
            self.make(&place(key, &entry, *index))?;
        }
        if let Some(state) = self.state_mut(run.segment)? {
            state.unfinished += u32::try_from(run.indices.len()).unwrap_or(u32::MAX);
        }
        self.charge(run.tenant, entry.charges())?;
        if let (Some(retry), Some(index)) = (&run.retry, run.indices.first()) {
            let place = place(key, &entry, *index);
            let record = Record {
                leases_lost: run.leases_lost,
                charge: run.charge,
                due,
                retry: retry.clone(),
            };
            let at = layout::record(&place);
            self.tables.records.put(&at, &record.pack())?;
            if let Some(due) = due {
                if let Some(queue) = self.queue_mut(key)? {
                    queue.owed = queue.owed.saturating_add(run.charge.into());
                }
                return self.tables.due.put(&layout::due(due, &place), &[]);
            }
        }
        self.push_back(key, &entry)?;
        self.align(key)
    }

    /// Remembers a key, beside the others of its publish.
    fn keep_key(
        &mut self,
        tenant: TenantId,
        idempotency: &Idempotency,
        row: KeyRow,
    ) -> Result<(), Fault> {
        let at = layout::idempotency(tenant, idempotency);
        self.tables.keys.put(&at, &row.pack())?;
        let Some(segment) = row.event.segment() else {
            return Ok(());
        };
        let at = layout::timed(row.at, segment);
        let mut value = Writer::with_capacity(64);
        match self.tables.lapses.get(&at)? {
            Some(before) => value.bytes(&before),
            None => value.tenant(tenant),
        };
        value.bytes(&idempotency.key);
        self.tables.lapses.put(&at, &value.finish())
    }
}
