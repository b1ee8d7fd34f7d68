//! Publishing: all of one tenant's events or, if its catalog moved on, none.

use std::collections::HashMap;

use bytes::Bytes;
use sidehook_core::{address::SegmentId, id::TenantId, time::Timestamp};

use super::state::{Item, QueueKey, SegmentState, State, Tenant};
use crate::{
    budget,
    error::CallError,
    rules,
    turn::{
        EventPublished, NewEvent, Publish, PublishReply, Stamp, TenantPublish, TenantPublished,
    },
};

impl State {
    pub(super) fn publish(
        &mut self,
        now: Timestamp,
        stamp: Stamp,
        call: &Publish,
    ) -> Result<PublishReply, CallError> {
        rules::publish(self.partition, stamp, call)?;
        let tenants = call
            .tenants
            .iter()
            .enumerate()
            .filter_map(|(place, one)| {
                let segment = rules::address(self.partition, stamp, place)?;
                Some(self.publish_tenant(now, segment, one))
            })
            .collect();
        Ok(PublishReply { tenants })
    }

    fn publish_tenant(
        &mut self,
        now: Timestamp,
        id: SegmentId,
        call: &TenantPublish,
    ) -> TenantPublished {
        let tenant = self.tenants.entry(call.tenant).or_default();
        if tenant.version != call.catalog {
            return TenantPublished::Stale {
                current: tenant.version,
            };
        }
        tenant.budget = Some(call.budget);
        let (used, position) = (tenant.used, tenant.position + 1);
        self.watch(call.tenant);
        if let Some(exhausted) = budget::refusal(used, call.budget)
            && call
                .events
                .iter()
                .any(|event| self.is_new(now, call, event))
        {
            return TenantPublished::Exhausted(exhausted);
        }
        let mut segment = SegmentState {
            tenant: call.tenant,
            published: now,
            position,
            bytes: 0,
            records: vec![Bytes::new(); call.events.len()],
            outcomes: Vec::new(),
            unfinished: 0,
            made: HashMap::new(),
            overdue: false,
        };
        let mut results = Vec::with_capacity(call.events.len());
        let mut accepted = Vec::new();
        for (event, record) in call.events.iter().zip(&mut segment.records) {
            let result = self.admit(now, call, event);
            if result == EventPublished::Accepted {
                record.clone_from(&event.record);
                accepted.push(event);
            }
            results.push(result);
        }
        if !accepted.is_empty() {
            self.store(id, call.tenant, segment, &accepted);
        }
        TenantPublished::Done(results)
    }

    /// Keeps a segment, and queues the deliveries of its accepted events.
    fn store(
        &mut self,
        id: SegmentId,
        tenant: TenantId,
        mut segment: SegmentState,
        accepted: &[&NewEvent],
    ) {
        let mut aimed = Vec::new();
        for event in accepted {
            let targets = event.targets.iter().map(|number| (tenant, *number));
            let open = targets.filter(|key| self.takes(*key));
            aimed.extend(open.map(|key| (key, event.id.index())));
        }
        let bytes = accepted.iter().map(|event| event.record.len() as u64);
        let (bytes, deliveries) = (bytes.sum(), aimed.len() as u64);
        let charge = budget::charge(bytes, deliveries);
        segment.bytes = budget::kept(bytes, accepted.len() as u64, deliveries);
        segment.unfinished = u32::try_from(deliveries).unwrap_or(u32::MAX);
        for (key, index) in aimed {
            self.enqueue(key, id, index, charge);
        }
        self.owe(tenant, u64::from(charge) * deliveries);
        self.keep(id, segment);
    }

    /// Appends a segment to its tenant's log.
    pub(super) fn keep(&mut self, id: SegmentId, segment: SegmentState) {
        let tenant = self.tenants.entry(segment.tenant).or_default();
        tenant.position = segment.position;
        tenant.log.insert(segment.position, (id, segment.published));
        tenant.used.log += u64::from(segment.bytes);
        self.ages.insert((segment.published, id));
        self.watch(segment.tenant);
        self.segments.insert(id, segment);
    }

    /// Has the next tick trim a log that is beyond its budget.
    fn watch(&mut self, tenant: TenantId) {
        if self.tenants.get(&tenant).is_some_and(Tenant::is_over) {
            self.over.insert(tenant);
        }
    }

    /// Whether an event is no repeat of one that was published before this call.
    fn is_new(&self, now: Timestamp, call: &TenantPublish, event: &NewEvent) -> bool {
        let key = event.idempotency.as_ref();
        let used = key.and_then(|key| self.keys.used(now, call.tenant, key));
        used.is_none()
    }

    fn admit(&mut self, now: Timestamp, call: &TenantPublish, event: &NewEvent) -> EventPublished {
        let Some(idempotency) = &event.idempotency else {
            return EventPublished::Accepted;
        };
        if let Some(used) = self.keys.used(now, call.tenant, idempotency) {
            return used;
        }
        self.keys.remember(now, call.tenant, idempotency, event.id);
        EventPublished::Accepted
    }

    /// Whether a queue is there and takes deliveries.
    fn takes(&self, key: QueueKey) -> bool {
        let queue = self.queues.get(&key);
        queue.is_some_and(|queue| !queue.deleted && !queue.settings.paused)
    }

    fn enqueue(&mut self, key: QueueKey, segment: SegmentId, index: u8, charge: u32) {
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.ready.push_back(Item {
                segment,
                index,
                generation: 0,
                leases_lost: 0,
                charge,
                retry: None,
            });
        }
        self.align(key);
    }
}
