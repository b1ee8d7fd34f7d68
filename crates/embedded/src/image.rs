//! All of a partition as records that any store understands, table by table, and the
//! way back.
//!
//! A cursor is the table and the key to go on from. Every page is a view of its own;
//! whoever exports holds the directory's lock, so nobody writes in between but
//! themselves.

use bytes::Bytes;
use sidehook_core::{
    address::Partition,
    limits::{CALL_BYTES, CALL_RECORDS, IDEMPOTENCY_TTL},
    time::Timestamp,
};
use sidehook_store::{
    catalog::Row,
    image::{self, Cursor, Image, Page},
    turn::{Idempotency, LeaseId, Run},
};

use crate::{
    codec::Reader,
    error::Fault,
    layout::{
        self, Definition, Entry, KeyRow, Loan, Queue, QueueKey, Record, SegmentState, TenantRow,
    },
    queue::place,
    reads::parse_log,
    tables::{Look as _, View},
};

/// What a cursor's first byte stands for: the tables, in the order of the records.
const STAGES: [Definition; 8] = [
    layout::TENANTS,
    layout::SUBSCRIPTIONS,
    layout::GRAVES,
    layout::LOG,
    layout::DEADLINES,
    layout::ENTRIES,
    layout::RECORDS,
    layout::KEYS,
];

impl View {
    /// A page of a partition's records.
    pub(crate) fn export(
        &self,
        now: Timestamp,
        partition: Partition,
        from: Option<&Cursor>,
    ) -> Result<Page, Fault> {
        let prefix = layout::partition(partition);
        let (stage, from) = match from.and_then(|cursor| cursor.0.split_first()) {
            Some((stage, key)) => (usize::from(*stage), key.to_vec()),
            None => (0, prefix.to_vec()),
        };
        let Some(table) = STAGES.get(stage) else {
            return Ok(Page::default());
        };
        let rows = self.table(*table)?.some(&prefix, &from, CALL_RECORDS)?;
        let mut page = Page::default();
        let (mut bytes, mut last) = (0, None);
        for (key, value) in &rows {
            let before = page.records.len();
            self.read_row(stage, partition, now, key, value, &mut page.records)?;
            let new = page.records.iter().skip(before);
            bytes += new.map(|record| record.weight().1).sum::<usize>();
            last = Some(key);
            if bytes > CALL_BYTES {
                break;
            }
        }
        page.next = match last {
            // The first key above another one is that one with a zero behind it.
            Some(last) => Some([&[stage as u8], &last[..], &[0]].concat()),
            None if stage + 1 < STAGES.len() => Some([&[stage as u8 + 1], &prefix[..]].concat()),
            None => None,
        }
        .map(|next| Cursor(next.into()));
        Ok(page)
    }

    fn read_row(
        &self,
        stage: usize,
        partition: Partition,
        now: Timestamp,
        key: &[u8],
        value: &Bytes,
        to: &mut Vec<Image>,
    ) -> Result<(), Fault> {
        match stage {
            0 => to.push(Image::Tenant {
                tenant: tenant_of(key)?,
                version: TenantRow::parse(value.clone())?.version,
            }),
            1 => to.push(self.subscription(key, value)?),
            2 => {
                let (tenant, number) = layout::parse_queue(key)?;
                let version = Reader::new("a deleted subscription", value.clone()).version()?;
                to.push(Image::Deleted {
                    tenant,
                    number,
                    version,
                });
            }
            3 => self.segment_to(partition, key, value, to)?,
            4 => self.lent_to(partition, key, to)?,
            5 => self.entry_to(partition, key, value, to)?,
            6 => self.waiting_to(key, value, to)?,
            _ => {
                let row = KeyRow::parse(value.clone())?;
                if row.at + IDEMPOTENCY_TTL > now {
                    let digest = key.get(17..).unwrap_or_default();
                    to.push(Image::Key {
                        tenant: tenant_of(key)?,
                        idempotency: Idempotency {
                            key: Reader::copy("an idempotency key", digest).array()?,
                            content: row.content,
                        },
                        event: row.event,
                        at: row.at,
                    });
                }
            }
        }
        Ok(())
    }

    fn subscription(&self, key: &[u8], value: &Bytes) -> Result<Image, Fault> {
        let (tenant, number) = layout::parse_queue(key)?;
        let queue = self.live(key)?;
        let queue = queue.ok_or_else(|| {
            Fault::corrupt(format!(
                "{tenant} {number:?}: a subscription without a queue"
            ))
        })?;
        let mut from = Reader::new("a subscription", value.clone());
        let row = Row {
            number,
            version: from.version()?,
            record: from.rest(),
        };
        let health = self.readable_health((tenant, number))?;
        Ok(Image::Subscription {
            tenant,
            row,
            queue: queue.settings,
            health: Box::new(health),
        })
    }

    /// The queue of this key, unless its subscription was deleted.
    fn live(&self, key: &[u8]) -> Result<Option<Queue>, Fault> {
        let queue = self.table(layout::QUEUES)?.read(key, Queue::parse)?;
        Ok(queue.filter(Queue::is_live))
    }

    fn segment_to(
        &self,
        partition: Partition,
        key: &[u8],
        value: &Bytes,
        to: &mut Vec<Image>,
    ) -> Result<(), Fault> {
        let (id, published) = parse_log(partition, value.clone())?;
        let segment = self.segments(&[id])?.pop().flatten();
        let segment = segment
            .ok_or_else(|| Fault::corrupt(format!("{id:?}: in the log, without payload")))?;
        let tenant = tenant_of(key)?;
        let state = self
            .table(layout::STATES)?
            .read(&layout::segment(id), SegmentState::parse)?;
        let state =
            state.ok_or_else(|| Fault::corrupt(format!("{id:?}: in the log, without state")))?;
        to.push(Image::Segment {
            id,
            tenant,
            published,
            bytes: state.bytes,
            records: segment.records,
        });
        let attempts = self.outcomes(&[id])?.pop().unwrap_or_default();
        to.extend(image::attempts(tenant, id, attempts));
        Ok(())
    }

    fn lent_to(&self, partition: Partition, key: &[u8], to: &mut Vec<Image>) -> Result<(), Fault> {
        let (_, id) = layout::parse_timed(key)?;
        let parse = |value| Loan::parse(partition, value);
        let loan = self
            .table(layout::LEASES)?
            .read(&layout::segment(id), parse)?;
        let Some(loan) = loan else {
            return Ok(());
        };
        let lease = loan.read(LeaseId(id));
        for run in image::open_runs(&lease.runs, &lease.open) {
            let queue = layout::queue((run.tenant, run.subscription));
            if self.live(&queue)?.is_some() {
                to.push(Image::Deliveries { run, due: None });
            }
        }
        Ok(())
    }

    fn entry_to(
        &self,
        partition: Partition,
        key: &[u8],
        value: &Bytes,
        to: &mut Vec<Image>,
    ) -> Result<(), Fault> {
        let (queue, _) = layout::parse_entry(key)?;
        if self.live(&layout::queue(queue))?.is_none() {
            return Ok(());
        }
        let entry = Entry::parse(partition, value.clone())?;
        let mut run = run_of(queue, &entry);
        if !entry.recorded {
            to.push(Image::Deliveries { run, due: None });
            return Ok(());
        }
        for index in &entry.indices {
            let place = place(queue, &entry, *index);
            let record = self
                .table(layout::RECORDS)?
                .read(&layout::record(&place), Record::parse)?;
            let missing = || Fault::corrupt(format!("{}: queued without its record", place.id()));
            run.retry = Some(record.ok_or_else(missing)?.retry);
            run.indices = vec![*index];
            let run = run.clone();
            to.push(Image::Deliveries { run, due: None });
        }
        Ok(())
    }

    fn waiting_to(&self, key: &[u8], value: &Bytes, to: &mut Vec<Image>) -> Result<(), Fault> {
        let place = layout::parse_record(key)?;
        let record = Record::parse(value.clone())?;
        if record.due.is_none() || self.live(&layout::queue(place.queue))?.is_none() {
            return Ok(());
        }
        let (tenant, subscription) = place.queue;
        let run = Run {
            tenant,
            subscription,
            segment: place.segment,
            indices: vec![place.index],
            leases_lost: record.leases_lost,
            charge: record.charge,
            generation: place.generation,
            retry: Some(record.retry),
        };
        let due = record.due;
        to.push(Image::Deliveries { run, due });
        Ok(())
    }
}

/// The tenant that a key begins with, behind its partition.
fn tenant_of(key: &[u8]) -> Result<sidehook_core::id::TenantId, Fault> {
    Reader::copy("a tenant's key", key.get(1..).unwrap_or_default()).tenant()
}

fn run_of((tenant, subscription): QueueKey, entry: &Entry) -> Run {
    Run {
        tenant,
        subscription,
        segment: entry.segment,
        indices: entry.indices.clone(),
        leases_lost: entry.leases_lost,
        charge: entry.charge,
        generation: entry.generation,
        retry: None,
    }
}
