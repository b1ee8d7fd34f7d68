//! Publishing: all of one tenant's events or, if its catalog moved on, none.

use std::collections::HashMap;

use bytes::Bytes;
use sidehook_core::{address::SegmentId, time::Timestamp};

use super::state::{Item, QueueKey, SegmentState, State};
use crate::{
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
        let mut segment = SegmentState {
            tenant: call.tenant,
            published: now,
            position: tenant.position + 1,
            records: vec![Bytes::new(); call.events.len()],
            outcomes: Vec::new(),
            unfinished: 0,
            made: HashMap::new(),
            overdue: false,
        };
        let mut results = Vec::with_capacity(call.events.len());
        let mut accepted = false;
        for (event, record) in call.events.iter().zip(&mut segment.records) {
            let result = self.admit(now, call, event);
            if result == EventPublished::Accepted {
                accepted = true;
                record.clone_from(&event.record);
                segment.unfinished += self.enqueue(call, id, event);
            }
            results.push(result);
        }
        if accepted && let Some(tenant) = self.tenants.get_mut(&call.tenant) {
            tenant.position = segment.position;
            tenant.log.insert(segment.position, (id, now));
            self.ages.insert((now, id));
            self.segments.insert(id, segment);
        }
        TenantPublished::Done(results)
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

    /// Queues an event's deliveries; how many.
    fn enqueue(&mut self, call: &TenantPublish, segment: SegmentId, event: &NewEvent) -> u32 {
        let mut count = 0;
        for number in &event.targets {
            let key: QueueKey = (call.tenant, *number);
            match self.queues.get_mut(&key) {
                Some(queue) if !queue.deleted && !queue.settings.paused => {
                    queue.ready.push_back(Item {
                        segment,
                        index: event.id.index(),
                        generation: 0,
                        leases_lost: 0,
                        retry: None,
                    });
                    count += 1;
                }
                _ => continue,
            }
            self.align(key);
        }
        count
    }
}
