//! Walking a tenant's event log, newest first.
//!
//! The log is a list of segments. A page of a list ends anywhere in one, and goes on
//! there although the log has grown at its head meanwhile: so a [`Position`] names the
//! segments that were read from the log and not shown yet, and where in the first of
//! them to go on. Whatever a position names is checked against its tenant when read.
//!
//! A page is bounded three ways: items shown, entries examined
//! ([`LIST_EXAMINED`]: a filter that matches nothing must not read a log of millions)
//! and bytes (a page travels as one message). A segment counts as an entry itself: one
//! with nothing to examine is read all the same.

use core::{mem, time::Duration};
use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use sidehook_api::{
    event::{StoredEvent, decode, to_proto},
    time::read_timestamp,
    v1,
};
use sidehook_core::{
    address::{EventId, SegmentId},
    id::TenantId,
    limits::LIST_EXAMINED,
    time::Timestamp,
};
use sidehook_store::{
    Store, StoreError,
    read::{LogCursor, Segment},
};

use crate::errors::OperationError;

/// Segments read at one time.
const CHUNK: usize = 16;
/// Bytes of events on a page; one event may go beyond it.
const PAGE_BYTES: usize = 2 * 1024 * 1024;
/// How long after it was accepted an event may be written, and still be found by a list
/// that begins at a time.
const WRITTEN_WITHIN: Duration = Duration::from_secs(3600);
/// Bytes of a segment's id in a position.
const SEGMENT_BYTES: usize = 10;

/// Reads the logs that lie in a store.
#[derive(Clone)]
pub struct EventLog {
    store: Arc<dyn Store>,
}

impl core::fmt::Debug for EventLog {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("EventLog")
    }
}

/// Which events a list shows; empty texts do not filter.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventFilter<'a> {
    /// The kind of object.
    pub object_type: &'a str,
    /// What happened.
    pub action: &'a str,
    /// The object.
    pub object_id: &'a str,
    /// The user.
    pub user_id: &'a str,
    /// The lead.
    pub lead_id: &'a str,
    /// The request that caused it.
    pub request_id: &'a str,
    /// The campaign.
    pub campaign_id: &'a str,
    /// Accepted at this time or later.
    pub accepted_from: Option<Timestamp>,
    /// Accepted before this time.
    pub accepted_before: Option<Timestamp>,
}

impl EventFilter<'_> {
    fn admits(&self, event: &v1::Event) -> bool {
        let is = |wanted: &str, value: &str| wanted.is_empty() || wanted == value;
        is(self.object_type, &event.object_type)
            && is(self.action, &event.action)
            && is(self.object_id, &event.object_id)
            && is(self.user_id, &event.user_id)
            && is(self.lead_id, &event.lead_id)
            && is(self.request_id, &event.request_id)
            && is(self.campaign_id, &event.campaign_id)
            && self.admits_time(accepted_at(event))
    }

    fn admits_time(&self, accepted_at: Timestamp) -> bool {
        self.accepted_from.is_none_or(|from| from <= accepted_at)
            && self.accepted_before.is_none_or(|end| accepted_at < end)
    }

    /// Whether no older event of the log is admitted either, after one that was accepted
    /// then. The log has the order in which events were written, which is that in which
    /// they were accepted but for those whose store was away meanwhile.
    fn ends_at(&self, accepted_at: Timestamp) -> bool {
        self.accepted_from
            .is_some_and(|from| accepted_at + WRITTEN_WITHIN < from)
    }
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What it shows.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Position>,
    /// When the oldest event of the log was published; `None` for an empty log.
    pub retained_since: Option<Timestamp>,
}

/// Where a page begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Segments that were read from the log and are not wholly shown.
    pending: VecDeque<SegmentId>,
    /// How many entries of the first of them to pass over.
    pub(crate) passed: u32,
    /// Where the log goes on after them; `None`: nowhere.
    next: Option<LogCursor>,
}

impl Position {
    /// The beginning of one segment, after which nothing follows.
    pub(crate) fn of(segment: SegmentId) -> Self {
        Self {
            pending: [segment].into(),
            ..Self::default()
        }
    }

    /// The position as bytes.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.next.is_some())];
        bytes.extend(self.next.map_or(0, |next| next.0).to_be_bytes());
        bytes.extend(self.passed.to_be_bytes());
        for segment in &self.pending {
            bytes.extend(&segment.bits().to_be_bytes()[16 - SEGMENT_BYTES..]);
        }
        bytes
    }

    /// Reads what [`Self::write`] wrote.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (has_next, bytes) = bytes.split_first()?;
        let (next, bytes) = bytes.split_first_chunk()?;
        let (passed, bytes) = bytes.split_first_chunk()?;
        let (segments, rest) = bytes.as_chunks::<SEGMENT_BYTES>();
        if !rest.is_empty() || segments.len() > CHUNK {
            return None;
        }
        let segment = |bytes: &[u8; SEGMENT_BYTES]| {
            let mut bits = [0; 16];
            bits[16 - SEGMENT_BYTES..].copy_from_slice(bytes);
            SegmentId::from_bits(u128::from_be_bytes(bits))
        };
        Some(Self {
            pending: segments.iter().map(segment).collect::<Option<_>>()?,
            passed: u32::from_be_bytes(*passed),
            next: (*has_next == 1).then_some(LogCursor(u64::from_be_bytes(*next))),
        })
    }

    /// The position after the first pending segment.
    pub(crate) fn leave_segment(&mut self) {
        self.pending.pop_front();
        self.passed = 0;
    }

    fn is_end(&self) -> bool {
        self.pending.is_empty() && self.next.is_none()
    }
}

/// A walk along a log.
pub(crate) struct Walk<'a> {
    log: &'a EventLog,
    tenant: TenantId,
    /// Where it is.
    pub(crate) position: Position,
    started: bool,
    retained_since: Option<Option<Timestamp>>,
    /// Entries that may still be examined.
    pub(crate) budget: usize,
}

impl Walk<'_> {
    /// The next pending segments with what lies in them (`None` for what is gone, or is
    /// another tenant's); an empty list at the end of the log.
    pub(crate) async fn segments(
        &mut self,
    ) -> Result<Vec<(SegmentId, Option<Segment>)>, StoreError> {
        if self.position.pending.is_empty() {
            if self.started && self.position.next.is_none() {
                return Ok(Vec::new());
            }
            let from = self.position.next.take();
            let page = self.log.store.log(self.tenant, from, CHUNK).await?;
            self.started = true;
            self.retained_since = Some(page.retained_since);
            self.position.pending = page.segments.into();
            self.position.next = page.next;
        }
        let ids: Vec<_> = self.position.pending.iter().copied().collect();
        let segments = self.log.store.segments(&ids).await?;
        let own = |segment: &Segment| segment.tenant == self.tenant;
        let segments = segments.into_iter().map(|segment| segment.filter(own));
        Ok(ids.into_iter().zip(segments).collect())
    }

    /// Enters the first pending segment; false if the page has examined its share.
    pub(crate) fn enter_segment(&mut self) -> bool {
        let left = self.budget.checked_sub(1);
        self.budget = left.unwrap_or_default();
        left.is_some()
    }

    /// Whether nothing is left, as far as is known.
    pub(crate) fn is_over(&self) -> bool {
        self.started && self.position.is_end()
    }

    /// The page that ends here.
    pub(crate) async fn page<T>(self, items: Vec<T>) -> Result<Page<T>, StoreError> {
        let retained_since = match self.retained_since {
            Some(known) => known,
            None => {
                self.log
                    .store
                    .log(self.tenant, None, 1)
                    .await?
                    .retained_since
            }
        };
        let over = self.is_over();
        Ok(Page {
            items,
            next: (!over).then_some(self.position),
            retained_since,
        })
    }
}

impl EventLog {
    /// Reads from `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The record of an event.
    ///
    /// # Errors
    /// It is not there (any more), or the store's.
    pub async fn event(&self, tenant: TenantId, id: EventId) -> Result<Bytes, OperationError> {
        let unknown = || OperationError::not_found("event", id);
        let segment_id = id.segment().ok_or_else(unknown)?;
        let segment = self.segment(tenant, segment_id).await?;
        let segment = segment.ok_or_else(unknown)?;
        let record = segment.records.get(usize::from(id.index()));
        let record = record.filter(|record| !record.is_empty());
        let record = record.cloned().ok_or_else(unknown)?;
        // The same address with another time is another id.
        if to_proto(&decode(record.clone())?)?.id != id.to_string() {
            return Err(unknown());
        }
        Ok(record)
    }

    /// A segment, if it is there and the tenant's.
    pub(crate) async fn segment(
        &self,
        tenant: TenantId,
        id: SegmentId,
    ) -> Result<Option<Segment>, StoreError> {
        let mut segments = self.store.segments(&[id]).await?;
        let segment = segments.pop().flatten();
        Ok(segment.filter(|segment| segment.tenant == tenant))
    }

    /// A page of events, newest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn events(
        &self,
        tenant: TenantId,
        from: Option<Position>,
        size: usize,
        filter: &EventFilter<'_>,
    ) -> Result<Page<v1::Event>, OperationError> {
        let mut walk = self.walk(tenant, from);
        let (mut items, mut bytes) = (Vec::new(), 0);
        'page: while !walk.is_over() {
            for (_, segment) in walk.segments().await? {
                if !walk.enter_segment() {
                    break 'page;
                }
                let records = segment.map_or_else(Vec::new, |segment| segment.records);
                let entries = u32::try_from(records.len()).unwrap_or(u32::MAX);
                let passed = mem::take(&mut walk.position.passed) as usize;
                for (entry, record) in records.into_iter().rev().enumerate().skip(passed) {
                    let full = items.len() >= size || bytes >= PAGE_BYTES || walk.budget == 0;
                    if full {
                        walk.position.passed = u32::try_from(entry).unwrap_or(entries);
                        break 'page;
                    }
                    walk.budget -= 1;
                    if record.is_empty() {
                        continue;
                    }
                    let event = to_proto(&decode(record)?)?;
                    if filter.ends_at(accepted_at(&event)) {
                        walk.position = Position::default();
                        break 'page;
                    }
                    if filter.admits(&event) {
                        bytes += event.data.len() + event.previous_data.len() + event.meta.len();
                        items.push(event);
                    }
                }
                walk.position.leave_segment();
            }
        }
        Ok(walk.page(items).await?)
    }

    /// A walk that begins at `from`.
    pub(crate) fn walk(&self, tenant: TenantId, from: Option<Position>) -> Walk<'_> {
        Walk {
            log: self,
            tenant,
            started: from.is_some(),
            position: from.unwrap_or_default(),
            retained_since: None,
            budget: LIST_EXAMINED,
        }
    }
}

fn accepted_at(event: &v1::Event) -> Timestamp {
    let time = event.accepted_at.as_ref().and_then(read_timestamp);
    time.unwrap_or_default()
}

/// The events of a segment with their indices, newest first.
pub(crate) fn stored_events(
    segment: Segment,
) -> impl Iterator<Item = Result<(u8, StoredEvent), OperationError>> {
    let records = segment.records.into_iter().enumerate().rev();
    records
        .filter(|(_, record)| !record.is_empty())
        .map(|(index, record)| {
            let index = u8::try_from(index).map_err(|_| {
                OperationError::Internal("a segment with more than 128 events".to_owned())
            })?;
            Ok((index, decode(record)?))
        })
}

#[cfg(test)]
mod tests {
    use sidehook_core::address::{Lane, Partition, Sequence};

    use super::*;

    #[test]
    fn a_position_comes_back_and_nothing_else_is_one() {
        let segment = SegmentId {
            partition: Partition::new(63).expect("a partition"),
            lane: Lane::from_random(u64::MAX),
            sequence: Sequence::new(77).expect("in range"),
            ordinal: 127,
        };
        let position = Position {
            pending: [segment, segment].into(),
            passed: 9,
            next: Some(LogCursor(u64::MAX)),
        };
        let bytes = position.write();
        assert_eq!(Position::read(&bytes), Some(position));
        for end in 0..bytes.len() {
            let read = Position::read(&bytes[..end]);
            assert!(read.is_none() || end == bytes.len() - SEGMENT_BYTES || end == 13);
        }
        let end = Position::default();
        assert_eq!(Position::read(&end.write()), Some(end));
    }
}
