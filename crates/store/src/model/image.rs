//! All of a partition as records, and the way back.
//!
//! The list is made anew for every page: a store in memory that is exported at all is
//! a test's, and small.

use std::collections::HashMap;

use bytes::Buf as _;
use sidehook_core::{limits::CALL_RECORDS, time::Timestamp};

use super::{
    claim::runs,
    state::{Item, Queue, QueueKey, SegmentState, State},
};
use crate::{
    error::CallError,
    image::{self, Cursor, Image, Page},
    read::Whereabouts,
    rules,
    turn::Run,
};

impl State {
    /// A page of the list; the cursor is a place in it.
    pub(super) fn export(&self, now: Timestamp, from: Option<&Cursor>) -> Page {
        let begin = from.and_then(|cursor| cursor.0.clone().try_get_u64().ok());
        let begin = usize::try_from(begin.unwrap_or(0)).unwrap_or(usize::MAX);
        let mut all = self.records(now).into_iter().skip(begin);
        let records: Vec<Image> = all.by_ref().take(CALL_RECORDS).collect();
        let end = (begin + records.len()) as u64;
        let next = all
            .next()
            .map(|_| Cursor(end.to_be_bytes().to_vec().into()));
        Page { records, next }
    }

    fn records(&self, now: Timestamp) -> Vec<Image> {
        let mut to = Vec::new();
        self.tenants_to(&mut to);
        let queued = |run| Image::Deliveries { run, due: None };
        for lease in self.leases.by_deadline() {
            let open = lease.slots.iter().flatten();
            let open = open.filter(|(key, _)| self.live(*key).is_some());
            let open: Vec<_> = open.cloned().collect();
            to.extend(runs(&open).into_iter().map(queued));
        }
        let live = || self.queues.iter().filter(|(_, queue)| !queue.deleted);
        for (key, queue) in live() {
            let ready = queue.ready.iter().map(|item| (*key, item.clone()));
            let ready: Vec<_> = ready.collect();
            to.extend(runs(&ready).into_iter().map(queued));
        }
        for (key, queue) in live() {
            for (due, item) in queue.waiting.values() {
                let one = runs(&[(*key, item.clone())]).into_iter();
                let due = Some(*due);
                to.extend(one.map(|run| Image::Deliveries { run, due }));
            }
        }
        let keys = self.keys.in_force(now);
        to.extend(keys.map(|(tenant, idempotency, event, at)| Image::Key {
            tenant,
            idempotency,
            event,
            at,
        }));
        to
    }

    fn tenants_to(&self, to: &mut Vec<Image>) {
        let mut tenants: Vec<_> = self.tenants.iter().collect();
        tenants.sort_unstable_by_key(|(id, _)| **id);
        for (id, held) in tenants {
            let (tenant, version) = (*id, held.version);
            to.push(Image::Tenant { tenant, version });
            to.extend(held.rows.values().filter_map(|row| {
                let queue = self.live((tenant, row.number))?;
                Some(Image::Subscription {
                    tenant,
                    row: row.clone(),
                    queue: queue.settings.clone(),
                    health: Box::new(queue.health.clone()),
                })
            }));
            let mut deleted: Vec<_> = held.deleted.iter().collect();
            deleted.sort_unstable_by_key(|(number, _)| **number);
            to.extend(deleted.into_iter().map(|(number, version)| Image::Deleted {
                tenant,
                number: *number,
                version: *version,
            }));
            for (id, published) in held.log.values() {
                let Some(segment) = self.segments.get(id) else {
                    continue;
                };
                to.push(Image::Segment {
                    id: *id,
                    tenant,
                    published: *published,
                    bytes: segment.bytes,
                    records: segment.records.clone(),
                });
                to.extend(image::attempts(tenant, *id, segment.outcomes.clone()));
            }
        }
    }

    fn live(&self, key: QueueKey) -> Option<&Queue> {
        self.queues.get(&key).filter(|queue| !queue.deleted)
    }

    /// Takes records over, if all of them find what they belong to.
    pub(super) fn import(&mut self, records: &[Image]) -> Result<(), CallError> {
        rules::import(self.partition, records)?;
        let needs = rules::Needs::of(records);
        let queues = needs.queues.iter().all(|key| self.live(*key).is_some());
        let mut segments = needs.segments.iter();
        if !queues || !segments.all(|id| self.segments.contains_key(id)) {
            return Err(rules::Needs::unmet());
        }
        for record in records {
            self.take_over(record);
        }
        Ok(())
    }

    fn take_over(&mut self, record: &Image) {
        match record {
            Image::Tenant { tenant, version } => {
                self.tenants.entry(*tenant).or_default().version = *version;
            }
            Image::Subscription {
                tenant,
                row,
                queue,
                health,
            } => {
                let rows = &mut self.tenants.entry(*tenant).or_default().rows;
                rows.insert(row.number, row.clone());
                let mut queue = Queue::new(queue.clone());
                queue.health.clone_from(health);
                self.queues.insert((*tenant, row.number), queue);
            }
            Image::Deleted {
                tenant,
                number,
                version,
            } => {
                let held = self.tenants.entry(*tenant).or_default();
                held.deleted.insert(*number, *version);
            }
            Image::Segment {
                id,
                tenant,
                published,
                bytes,
                records,
            } => {
                let held = self.tenants.entry(*tenant).or_default();
                let segment = SegmentState {
                    tenant: *tenant,
                    published: *published,
                    position: held.position + 1,
                    bytes: *bytes,
                    records: records.clone(),
                    outcomes: Vec::new(),
                    unfinished: 0,
                    made: HashMap::new(),
                    overdue: false,
                };
                self.keep(*id, segment);
            }
            Image::Attempts {
                segment, records, ..
            } => {
                if let Some(segment) = self.segments.get_mut(segment) {
                    segment.outcomes.extend(records.iter().cloned());
                }
            }
            Image::Deliveries { run, due } => self.queue_run(run, *due),
            Image::Key {
                tenant,
                idempotency,
                event,
                at,
            } => self.keys.restore(*at, *tenant, idempotency, *event),
            Image::Registry { .. } => {}
        }
    }

    fn queue_run(&mut self, run: &Run, due: Option<Timestamp>) {
        let key = (run.tenant, run.subscription);
        if let Some(segment) = self.segments.get_mut(&run.segment) {
            segment.unfinished += u32::try_from(run.indices.len()).unwrap_or(u32::MAX);
        }
        self.owe(key.0, u64::from(run.charge) * run.indices.len() as u64);
        for index in &run.indices {
            let item = Item {
                segment: run.segment,
                index: *index,
                generation: run.generation,
                leases_lost: run.leases_lost,
                charge: run.charge,
                retry: run.retry.clone(),
            };
            let id = item.id(key.1);
            if run.generation > 0
                && let Some(segment) = self.segments.get_mut(&run.segment)
            {
                let made = segment.made.entry((key.1, *index)).or_default();
                *made = run.generation.max(*made);
            }
            if run.retry.is_some() {
                let place = Whereabouts {
                    retry: run.retry.clone(),
                    due,
                    leased: false,
                };
                self.known.insert(id, (key.0, place));
            }
            let Some(queue) = self.queues.get_mut(&key) else {
                continue;
            };
            match due {
                Some(at) => {
                    queue.waiting.insert(id, (at, item));
                    self.due.insert((at, key, id));
                }
                None => queue.ready.push_back(item),
            }
        }
        self.align(key);
    }
}
