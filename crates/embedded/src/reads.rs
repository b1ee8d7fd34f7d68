//! Reading what was committed, in read transactions that wait for nobody.

use bytes::Bytes;
use sidehook_core::{
    address::{DeliveryId, Partition, SegmentId},
    id::{SubscriptionNumber, TenantId},
    time::Timestamp,
    version::Version,
};
use sidehook_store::{
    catalog::{Catalog, Row},
    hint::{BlockId, HistoryRecord},
    read::{Lease, LogCursor, LogPage, Segment, Whereabouts},
    registry::{Entry, Kind, Page},
    turn::LeaseId,
};

use crate::{
    codec::Reader,
    error::Fault,
    layout::{self, Loan, Place, Queue, Record, TenantRow},
    lease,
    tables::{Look, View},
};

pub(crate) fn parse_log(
    partition: Partition,
    value: Bytes,
) -> Result<(SegmentId, Timestamp), Fault> {
    let mut from = Reader::new("a log entry", value);
    Ok((from.segment(partition)?, from.time()?))
}

impl View {
    pub(crate) fn leases(&self, leases: &[LeaseId]) -> Result<Vec<Option<Lease>>, Fault> {
        let table = self.table(layout::LEASES)?;
        let read = leases.iter().map(|id| {
            let parse = |value| Loan::parse(id.0.partition, value);
            let loan = table.read(&layout::segment(id.0), parse)?;
            Ok(loan.map(|loan| loan.read(*id)))
        });
        read.collect()
    }

    pub(crate) fn catalog(
        &self,
        tenant: TenantId,
        known: Option<Version>,
    ) -> Result<Option<Catalog>, Fault> {
        let key = layout::tenant(tenant);
        let row = self.table(layout::TENANTS)?.read(&key, TenantRow::parse)?;
        let row = row.unwrap_or_default();
        if known == Some(row.version) {
            return Ok(None);
        }
        let mut catalog = Catalog {
            version: row.version,
            rows: Vec::new(),
        };
        for (key, value) in self.table(layout::SUBSCRIPTIONS)?.all(&key)? {
            let (_, number) = layout::parse_queue(&key)?;
            let mut from = Reader::new("a subscription", value);
            catalog.rows.push(Row {
                number,
                version: from.version()?,
                record: from.rest(),
            });
        }
        Ok(Some(catalog))
    }

    pub(crate) fn segments(&self, ids: &[SegmentId]) -> Result<Vec<Option<Segment>>, Fault> {
        let table = self.table(layout::SEGMENTS)?;
        let read = ids
            .iter()
            .map(|id| table.read_parts(&layout::segment(*id), layout::parse_segment));
        read.collect()
    }

    pub(crate) fn outcomes(&self, ids: &[SegmentId]) -> Result<Vec<Vec<Bytes>>, Fault> {
        let table = self.table(layout::OUTCOMES)?;
        let read = ids.iter().map(|id| {
            let mut records = Vec::new();
            for (_, value) in table.all(&layout::segment(*id))? {
                append_outcomes(value, |_, record| records.push(record))?;
            }
            Ok(records)
        });
        read.collect()
    }

    /// A history block is a list of rows of `outcomes`.
    pub(crate) fn history(&self, block: &BlockId) -> Result<Vec<HistoryRecord>, Fault> {
        let mut records = Vec::new();
        let mut from = Reader::new("a history block's id", block.0.clone());
        let Ok(partition) = from.partition() else {
            return Ok(records);
        };
        let table = self.table(layout::OUTCOMES)?;
        while !from.is_empty() {
            let (Ok(segment), Ok(row)) = (from.segment(partition), from.u32()) else {
                break;
            };
            if let Some(value) = table.get(&layout::outcome(segment, row))? {
                append_outcomes(value, |tenant, record| {
                    records.push(HistoryRecord { tenant, record });
                })?;
            }
        }
        Ok(records)
    }

    pub(crate) fn log(
        &self,
        tenant: TenantId,
        from: Option<LogCursor>,
        max: usize,
    ) -> Result<LogPage, Fault> {
        let table = self.table(layout::LOG)?;
        let partition = Partition::of(tenant);
        let prefix = layout::tenant(tenant);
        let mut page = LogPage::default();
        if let Some((_, value)) = table.first(&prefix)? {
            page.retained_since = Some(parse_log(partition, value)?.1);
        }
        let mut below = from.map_or(u64::MAX, |cursor| cursor.0);
        loop {
            let key = layout::log(tenant, below);
            let Some((key, value)) = table.last_below(&prefix, &key)? else {
                return Ok(page);
            };
            if page.segments.len() >= max.max(1) {
                page.next = Some(LogCursor(below));
                return Ok(page);
            }
            page.segments.push(parse_log(partition, value)?.0);
            below = Reader::copy("a log entry's key", &key[prefix.len()..]).u64()?;
        }
    }

    pub(crate) fn locate(
        &self,
        tenant: TenantId,
        ids: &[DeliveryId],
    ) -> Result<Vec<Whereabouts>, Fault> {
        let (records, queues) = (self.table(layout::RECORDS)?, self.table(layout::QUEUES)?);
        let (lent, leases) = (self.table(layout::LENT)?, self.table(layout::LEASES)?);
        let read = ids.iter().map(|id| {
            let place = Place::of(tenant, *id);
            let here = |place: &Place| place.segment.partition == Partition::of(tenant);
            let Some(place) = place.filter(here) else {
                return Ok(Whereabouts::default());
            };
            let leased = is_lent(&lent, &leases, &place)?;
            let queue = queues.read(&layout::queue(place.queue), Queue::parse)?;
            // What a deleted queue still holds has ended, but for what is lent.
            if !leased && !queue.is_some_and(|queue| queue.is_live()) {
                return Ok(Whereabouts::default());
            }
            let record = records.read(&layout::record(&place), Record::parse)?;
            Ok(Whereabouts {
                due: record.as_ref().and_then(|record| record.due),
                retry: record.map(|record| record.retry),
                leased,
            })
        });
        read.collect()
    }

    pub(crate) fn registry_get(&self, kind: Kind, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.table(layout::REGISTRY)?
            .get(&layout::registry(kind, key))
    }

    pub(crate) fn registry_list(
        &self,
        kind: Kind,
        after: &[u8],
        max: usize,
    ) -> Result<Page, Fault> {
        let prefix = layout::registry(kind, &[]);
        // The first key above `after` is `after` with a zero behind it.
        let from = [&prefix, after, &[0]].concat();
        let table = self.table(layout::REGISTRY)?;
        let mut pairs = table.some(&prefix, &from, max.saturating_add(1))?;
        let more = pairs.len() > max;
        pairs.truncate(max);
        let entry = |(key, value): (Vec<u8>, Bytes)| Entry {
            key: Bytes::from(key).slice(prefix.len()..),
            value,
        };
        Ok(Page {
            entries: pairs.into_iter().map(entry).collect(),
            more,
        })
    }
}

/// Goes through one row of attempts.
fn append_outcomes(value: Bytes, mut each: impl FnMut(TenantId, Bytes)) -> Result<(), Fault> {
    let mut from = Reader::new("a segment's outcomes", value);
    let tenant = from.tenant()?;
    while !from.is_empty() {
        let length = from.length()?;
        each(tenant, from.take(length)?);
    }
    Ok(())
}

fn is_lent(lent: &impl Look, leases: &impl Look, place: &Place) -> Result<bool, Fault> {
    let number: SubscriptionNumber = place.queue.1;
    for (key, _) in lent.all(&layout::lent_of(place.segment, number))? {
        let id = layout::parse_lent(&key)?;
        let parse = |value| Loan::parse(id.0.partition, value);
        let loan = leases.read(&layout::segment(id.0), parse)?;
        if loan.is_some_and(|loan| lease::holds(&loan, place)) {
            return Ok(true);
        }
    }
    Ok(false)
}
