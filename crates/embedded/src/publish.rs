//! Publishing: all of one tenant's events or, if its catalog moved on, none; and
//! the idempotency keys of the last 24 hours.

use std::collections::HashMap;

use bytes::Bytes;
use sidehook_core::{
    address::{Partition, SegmentId},
    id::TenantId,
    limits::{CALL_RECORDS, IDEMPOTENCY_TTL},
    time::Timestamp,
};
use sidehook_store::{
    budget, rules,
    turn::{
        EventPublished, Idempotency, NewEvent, Publish, PublishReply, Stamp, TenantPublish,
        TenantPublished,
    },
};

use crate::{
    batch::Batch,
    codec::{Reader, Writer},
    error::Fault,
    lanes::Called,
    layout::{self, Entry, KeyRow, Leaving, QueueKey, SegmentState},
    tables::Index,
};

/// What one tenant's accepted events come to.
#[derive(Default)]
struct Gathered {
    results: Vec<EventPublished>,
    /// The records, empty where an event was not accepted.
    records: Vec<Bytes>,
    /// By queue, in the order in which they were first aimed at: the events.
    aimed: Vec<(QueueKey, Vec<u8>)>,
    places: HashMap<QueueKey, usize>,
    /// The idempotency keys that were new.
    keys: Vec<[u8; 16]>,
}

impl Batch<'_> {
    pub(crate) fn publish(
        &mut self,
        partition: Partition,
        now: Timestamp,
        stamp: Stamp,
        call: &Publish,
    ) -> Called<PublishReply> {
        rules::publish(partition, stamp, call)?;
        let mut tenants = Vec::with_capacity(call.tenants.len());
        for (place, one) in call.tenants.iter().enumerate() {
            if let Some(segment) = rules::address(partition, stamp, place) {
                tenants.push(self.publish_tenant(now, segment, one)?);
            }
        }
        Ok(PublishReply { tenants })
    }

    fn publish_tenant(
        &mut self,
        now: Timestamp,
        id: SegmentId,
        call: &TenantPublish,
    ) -> Result<TenantPublished, Fault> {
        let mut tenant = self.tenant(call.tenant)?.unwrap_or_default();
        if tenant.version != call.catalog {
            return Ok(TenantPublished::Stale {
                current: tenant.version,
            });
        }
        if tenant.budget != Some(call.budget) {
            tenant.budget = Some(call.budget);
            self.set_tenant(call.tenant, tenant);
            self.trim(call.tenant)?;
        }
        if let Some(exhausted) = budget::refusal(tenant.used, call.budget)
            && self.has_news(now, call)?
        {
            return Ok(TenantPublished::Exhausted(exhausted));
        }
        let mut gathered = Gathered::default();
        for event in &call.events {
            self.admit(now, call, event, &mut gathered)?;
        }
        if !gathered.keys.is_empty() {
            self.remember_lapses(now, id, call, &gathered.keys)?;
        }
        let accepted = |result: &EventPublished| *result == EventPublished::Accepted;
        if gathered.results.iter().any(accepted) {
            tenant.position += 1;
            self.set_tenant(call.tenant, tenant);
            self.store(now, id, call, tenant.position, &gathered)?;
        }
        Ok(TenantPublished::Done(gathered.results))
    }

    /// Whether some event is no repeat of one that was published before this call.
    fn has_news(&mut self, now: Timestamp, call: &TenantPublish) -> Result<bool, Fault> {
        for event in &call.events {
            let Some(idempotency) = &event.idempotency else {
                return Ok(true);
            };
            if self.used(now, call.tenant, idempotency)?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Which event used an idempotency key, if it is in force.
    fn used(
        &self,
        now: Timestamp,
        tenant: TenantId,
        idempotency: &Idempotency,
    ) -> Result<Option<KeyRow>, Fault> {
        let key = layout::idempotency(tenant, idempotency);
        let used = self.tables.keys.read(&key, KeyRow::parse)?;
        Ok(used.filter(|used| used.at + IDEMPOTENCY_TTL > now))
    }

    /// Judges an event, and notes where it goes if it is new.
    fn admit(
        &mut self,
        now: Timestamp,
        call: &TenantPublish,
        event: &NewEvent,
        to: &mut Gathered,
    ) -> Result<(), Fault> {
        let result = self.judge(now, call, event, to)?;
        to.results.push(result);
        if result != EventPublished::Accepted {
            to.records.push(Bytes::new());
            return Ok(());
        }
        to.records.push(event.record.clone());
        for number in &event.targets {
            let key = (call.tenant, *number);
            let place = match to.places.get(&key) {
                Some(place) => *place,
                None if self.takes(key)? => {
                    to.places.insert(key, to.aimed.len());
                    to.aimed.push((key, Vec::new()));
                    to.aimed.len() - 1
                }
                None => continue,
            };
            if let Some((_, indices)) = to.aimed.get_mut(place) {
                indices.push(event.id.index());
            }
        }
        Ok(())
    }

    /// Whether a queue is there and takes deliveries.
    fn takes(&mut self, key: QueueKey) -> Result<bool, Fault> {
        let queue = self.queue(key)?;
        Ok(queue.is_some_and(|queue| queue.is_live() && !queue.settings.paused))
    }

    fn judge(
        &mut self,
        now: Timestamp,
        call: &TenantPublish,
        event: &NewEvent,
        to: &mut Gathered,
    ) -> Result<EventPublished, Fault> {
        let Some(idempotency) = &event.idempotency else {
            return Ok(EventPublished::Accepted);
        };
        if let Some(used) = self.used(now, call.tenant, idempotency)? {
            return Ok(if used.content == idempotency.content {
                EventPublished::Duplicate(used.event)
            } else {
                EventPublished::KeyReused(used.event)
            });
        }
        let row = KeyRow {
            content: idempotency.content,
            event: event.id,
            at: now,
        };
        let key = layout::idempotency(call.tenant, idempotency);
        self.tables.keys.put(&key, &row.pack())?;
        to.keys.push(idempotency.key);
        Ok(EventPublished::Accepted)
    }

    fn remember_lapses(
        &mut self,
        now: Timestamp,
        id: SegmentId,
        call: &TenantPublish,
        keys: &[[u8; 16]],
    ) -> Result<(), Fault> {
        let mut row = Writer::with_capacity(16 + 16 * keys.len());
        row.tenant(call.tenant);
        for key in keys {
            row.bytes(key);
        }
        let at = layout::timed(now, id);
        self.tables.lapses.put(&at, &row.finish())
    }

    /// Writes a segment, and queues its deliveries.
    fn store(
        &mut self,
        now: Timestamp,
        id: SegmentId,
        call: &TenantPublish,
        position: u64,
        gathered: &Gathered,
    ) -> Result<(), Fault> {
        let accepted = gathered.records.iter().filter(|one| !one.is_empty());
        let bytes: usize = accepted.clone().map(Bytes::len).sum();
        let deliveries: usize = gathered.aimed.iter().map(|(_, one)| one.len()).sum();
        let charge = budget::charge(bytes as u64, deliveries as u64);
        let bytes = budget::kept(bytes as u64, accepted.count() as u64, deliveries as u64);
        for (key, indices) in &gathered.aimed {
            let entry = Entry {
                recorded: false,
                leases_lost: 0,
                charge,
                generation: 0,
                segment: id,
                indices: indices.clone(),
            };
            self.push_back(*key, &entry)?;
            self.align(*key)?;
        }
        let payload = layout::pack_segment(call.tenant, &gathered.records);
        for (number, part) in (0..).zip(layout::cut(&payload)) {
            self.tables.segments.put(&layout::part(id, number), part)?;
        }
        let state = SegmentState {
            tenant: call.tenant,
            published: now,
            position,
            unfinished: u32::try_from(deliveries).unwrap_or(u32::MAX),
            outcomes: 0,
            bytes,
            leaving: Leaving::ByAge,
        };
        self.charge(call.tenant, u64::from(charge) * deliveries as u64)?;
        self.keep(id, state)
    }

    /// Keeps a segment at the end of its tenant's log.
    pub(crate) fn keep(&mut self, id: SegmentId, state: SegmentState) -> Result<(), Fault> {
        let (tenant, published) = (state.tenant, state.published);
        let mut held = self.tenant(tenant)?.unwrap_or_default();
        held.used.log = held.used.log.saturating_add(state.bytes.into());
        self.set_tenant(tenant, held);
        self.set_state(id, Some(state));
        let mut row = Writer::with_capacity(21);
        row.segment(id).time(published);
        let at = layout::log(tenant, state.position);
        self.tables.log.put(&at, &row.finish())?;
        self.tables.ages.put(&layout::timed(published, id), &[])?;
        self.trim(tenant)
    }

    /// Forgets lapsed keys, one publish's at a time, until a call's worth is gone.
    pub(crate) fn forget_keys(
        &mut self,
        partition: Partition,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let mut forgotten = 0;
        while forgotten < CALL_RECORDS {
            let prefix = layout::partition(partition);
            let Some((key, value)) = self.tables.lapses.first(&prefix)? else {
                return Ok(());
            };
            let blame = |fault: Fault| fault.blame(Index::Lapses, &key);
            let (at, _) = layout::parse_timed(&key).map_err(blame)?;
            if at + IDEMPOTENCY_TTL > now {
                return Ok(());
            }
            self.tables.lapses.delete(&key)?;
            forgotten += self.lapse(at, value).map_err(blame)?;
        }
        Ok(())
    }

    /// Forgets the keys of one publish that were not used again since; how many rows
    /// that took.
    fn lapse(&mut self, at: Timestamp, keys: Bytes) -> Result<usize, Fault> {
        let mut from = Reader::new("lapsing keys", keys);
        let tenant = from.tenant()?;
        let mut rows = 1;
        while !from.is_empty() {
            let key = layout::idempotency_key(tenant, &from.take(16)?);
            let used = self.tables.keys.read(&key, KeyRow::parse)?;
            if used.is_some_and(|used| used.at == at) {
                self.tables.keys.delete(&key)?;
            }
            rows += 1;
        }
        Ok(rows)
    }

    /// When the next key lapses.
    pub(crate) fn keys_due(&self, partition: Partition) -> Result<Option<Timestamp>, Fault> {
        let first = self.tables.lapses.first(&layout::partition(partition))?;
        first
            .map(|(key, _)| {
                let parsed = layout::parse_timed(&key);
                let (at, _) = parsed.map_err(|fault| fault.blame(Index::Lapses, &key))?;
                Ok(at + IDEMPOTENCY_TTL)
            })
            .transpose()
    }
}
