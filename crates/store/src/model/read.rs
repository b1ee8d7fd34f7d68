//! Reading events, deliveries and the log; redelivering; laying open.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use sidehook_core::{
    address::{DeliveryId, SegmentId},
    health::Health,
    id::TenantId,
};

use super::state::{Item, QueueKey, State};
use crate::{
    budget::{self, Usage},
    inspect::Inspection,
    read::{LogCursor, LogPage, Redeliver, Segment, Whereabouts},
};

impl State {
    pub(super) fn segment(&self, id: &SegmentId) -> Option<Segment> {
        self.segments.get(id).map(|segment| Segment {
            tenant: segment.tenant,
            records: segment.records.clone(),
        })
    }

    pub(super) fn outcomes(&self, id: &SegmentId) -> Vec<Bytes> {
        let segment = self.segments.get(id);
        segment
            .map(|segment| segment.outcomes.clone())
            .unwrap_or_default()
    }

    pub(super) fn log(&self, tenant: TenantId, from: Option<LogCursor>, max: usize) -> LogPage {
        let Some(tenant) = self.tenants.get(&tenant) else {
            return LogPage::default();
        };
        let below = from.map_or(u64::MAX, |cursor| cursor.0);
        let mut rest = tenant.log.range(..below).rev();
        let mut page = LogPage {
            retained_since: tenant.log.first_key_value().map(|(_, (_, at))| *at),
            ..LogPage::default()
        };
        let mut last = below;
        for (position, (segment, _)) in rest.by_ref().take(max.max(1)) {
            page.segments.push(*segment);
            last = *position;
        }
        page.next = rest.next().map(|_| LogCursor(last));
        page
    }

    pub(super) fn locate(&self, tenant: TenantId, delivery: &DeliveryId) -> Whereabouts {
        match self.known.get(delivery) {
            Some((owner, place)) if *owner == tenant => place.clone(),
            _ => Whereabouts::default(),
        }
    }

    pub(super) fn redeliver(&mut self, call: &Redeliver) -> bool {
        let key = (call.tenant, call.subscription);
        let Some(id) = call.delivery.segment() else {
            return false;
        };
        let index = call.delivery.index();
        let there = self.segments.get_mut(&id).filter(|segment| {
            let record = segment.records.get(usize::from(index));
            segment.tenant == call.tenant && record.is_some_and(|record| !record.is_empty())
        });
        let queue = self.queues.get_mut(&key).filter(|queue| !queue.deleted);
        let (Some(segment), Some(queue)) = (there, queue) else {
            return false;
        };
        let made = segment.made.entry((call.subscription, index)).or_default();
        if call.delivery.generation() <= *made {
            return true;
        }
        *made = call.delivery.generation();
        segment.unfinished += 1;
        let record = segment.records.get(usize::from(index));
        let charge = budget::charge(record.map_or(0, Bytes::len) as u64, 1);
        queue.ready.push_back(Item {
            segment: id,
            index,
            generation: call.delivery.generation(),
            leases_lost: 0,
            charge,
            retry: Some(call.retry.clone()),
        });
        let place = Whereabouts {
            retry: Some(call.retry.clone()),
            ..Whereabouts::default()
        };
        self.known.insert(call.delivery, (call.tenant, place));
        self.owe(call.tenant, charge.into());
        self.align(key);
        true
    }

    pub(super) fn inspect(&self) -> Inspection {
        let mut seen = Inspection {
            segments: self.segments.len(),
            ..Inspection::default()
        };
        for (id, tenant) in &self.tenants {
            if tenant.used != Usage::default() {
                seen.used.insert(*id, tenant.used);
            }
        }
        for ((tenant, number), queue) in &self.queues {
            let ready = queue.ready.iter().map(|item| (*tenant, item.id(*number)));
            seen.ready.extend(ready);
            let waiting = queue.waiting.iter();
            seen.waiting
                .extend(waiting.map(|(id, (at, _))| (*tenant, *id, *at)));
            if queue.in_flight > 0 {
                seen.in_flight.push((*tenant, *number, queue.in_flight));
            }
            let health = self.health((*tenant, *number));
            if !health.is_empty() {
                seen.health.insert((*tenant, *number), health);
            }
        }
        for (id, lease) in self.leases.iter() {
            let lent = lease.slots.iter().flatten();
            seen.leased
                .extend(lent.map(|((tenant, number), item)| (*tenant, item.id(*number), id)));
        }
        seen.faults = self.faults(&seen);
        seen
    }

    /// A subscription's health.
    pub(super) fn health(&self, key: QueueKey) -> Health {
        let queue = self.queues.get(&key).filter(|queue| !queue.deleted);
        queue.map_or_else(Health::default, |queue| queue.health.clone())
    }

    /// Tenants whose bytes are not the sum of what they count.
    fn miscounted(&self) -> Vec<String> {
        let mut truth: BTreeMap<TenantId, Usage> = BTreeMap::new();
        let queued = self.queues.iter().flat_map(|(key, queue)| {
            let waiting = queue.waiting.values().map(|(_, item)| item);
            let items = queue.ready.iter().chain(waiting);
            items.map(move |item| (key.0, item.charge))
        });
        let leases = self.leases.iter();
        let slots = leases.flat_map(|(_, lease)| lease.slots.iter().flatten());
        let lent = slots.map(|((tenant, _), item)| (*tenant, item.charge));
        for (tenant, charge) in queued.chain(lent) {
            truth.entry(tenant).or_default().pending += u64::from(charge);
        }
        for segment in self.segments.values() {
            truth.entry(segment.tenant).or_default().log += u64::from(segment.bytes);
        }
        let mut faults = Vec::new();
        for (id, tenant) in &self.tenants {
            let counted = truth.remove(id).unwrap_or_default();
            if counted != tenant.used {
                let told = tenant.used;
                faults.push(format!("{id}: has {counted:?}, told are {told:?}"));
            }
        }
        let strangers = truth.keys().map(|id| format!("{id}: bytes of no tenant"));
        faults.extend(strangers);
        faults
    }

    /// Whatever contradicts the model's own rules.
    fn faults(&self, seen: &Inspection) -> Vec<String> {
        let mut faults = Vec::new();
        let mut unfinished: HashMap<SegmentId, u32> = HashMap::new();
        let ready = seen.ready.iter().map(|(_, id)| id);
        let leased = seen.leased.iter().map(|(_, id, _)| id);
        let waiting = seen.waiting.iter().map(|(_, id, _)| id);
        for segment in ready
            .chain(leased)
            .chain(waiting)
            .filter_map(|id| id.segment())
        {
            *unfinished.entry(segment).or_default() += 1;
        }
        for (id, segment) in &self.segments {
            let counted = unfinished.remove(id).unwrap_or(0);
            if counted != segment.unfinished {
                let told = segment.unfinished;
                faults.push(format!("{id:?}: {counted} unfinished, {told} counted"));
            }
        }
        faults.extend(
            unfinished
                .keys()
                .map(|id| format!("{id:?}: gone before its deliveries")),
        );
        faults.extend(self.miscounted());
        faults.extend(seen.health_faults(|_| true));
        let on_ring: BTreeMap<_, _> = self
            .rings
            .entries()
            .map(|(pool, key)| (key, pool))
            .collect();
        for (key, queue) in &self.queues {
            let ring = on_ring.get(key);
            if queue.eligible() != ring.is_some()
                || ring.is_some_and(|pool| **pool != queue.settings.pool)
            {
                faults.push(format!("{key:?}: in the wrong ring, or wrongly in none"));
            }
            if queue.deleted && queue.in_flight == 0 {
                faults.push(format!("{key:?}: deleted, empty and still there"));
            }
        }
        if self.due.len() != seen.waiting.len() {
            faults.push(format!(
                "{} waiting, {} due",
                seen.waiting.len(),
                self.due.len()
            ));
        }
        faults
    }
}
