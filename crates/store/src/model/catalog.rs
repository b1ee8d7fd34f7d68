//! Subscriptions: changing them, and what that does to their queues.

use sidehook_core::{id::TenantId, version::Version};

use super::state::{Queue, QueueKey, State};
use crate::{
    catalog::{Catalog, Change, Expect, QueueSettings, Row, Write, Written},
    hint::Hint,
};

impl State {
    pub(super) fn catalog(&self, tenant: TenantId, known: Option<Version>) -> Option<Catalog> {
        let catalog = self
            .tenants
            .get(&tenant)
            .map(|tenant| Catalog {
                version: tenant.version,
                rows: tenant.rows.values().cloned().collect(),
            })
            .unwrap_or_default();
        (known != Some(catalog.version)).then_some(catalog)
    }

    pub(super) fn write(&mut self, write: &Write) -> Written {
        let tenant = self.tenants.entry(write.tenant).or_default();
        let current = tenant.rows.get(&write.number).map(|row| row.version);
        let deleted = tenant.deleted.get(&write.number).copied();
        match (&write.change, current, deleted) {
            (Change::Delete, None, Some(had)) => return Written::Done(had),
            (Change::Put { .. }, Some(now), _) if now.nonce == write.nonce => {
                return Written::Done(now);
            }
            _ => {}
        }
        let fits = match write.expect {
            Expect::Absent => current.is_none() && deleted.is_none(),
            Expect::Version(version) => current == Some(version),
        };
        if !fits || (current.is_none() && matches!(write.change, Change::Delete)) {
            return Written::Conflict { current };
        }
        let expected = write.bounds.catalog;
        if expected.is_some_and(|version| version != tenant.version) {
            return Written::Overtaken;
        }
        if current.is_none() && tenant.rows.len() >= write.bounds.subscriptions() {
            return Written::TooMany;
        }
        tenant.version = tenant.version.next(write.nonce);
        let had = current.unwrap_or_default();
        let key = (write.tenant, write.number);
        let version = match &write.change {
            Change::Put { record, queue } => {
                let version = had.next(write.nonce);
                let row = Row {
                    number: write.number,
                    version,
                    record: record.clone(),
                };
                tenant.rows.insert(write.number, row);
                self.reset_queue(key, queue);
                version
            }
            Change::Delete => {
                tenant.rows.remove(&write.number);
                tenant.deleted.insert(write.number, had);
                self.clear_queue(key);
                had
            }
        };
        self.hint(Hint::Catalog(write.tenant));
        Written::Done(version)
    }

    fn reset_queue(&mut self, key: QueueKey, settings: &QueueSettings) {
        match self.queues.get_mut(&key) {
            Some(queue) => {
                if queue.on_ring {
                    self.rings.remove(&queue.settings.pool, key);
                    queue.on_ring = false;
                }
                queue.settings = settings.clone();
            }
            None => {
                self.queues.insert(key, Queue::new(settings.clone()));
            }
        }
        self.align(key);
    }

    /// Ends whatever is queued or waits; what is lent keeps the queue until it is
    /// back.
    fn clear_queue(&mut self, key: QueueKey) {
        let Some(queue) = self.queues.get_mut(&key) else {
            return;
        };
        queue.deleted = true;
        let ready = core::mem::take(&mut queue.ready);
        let waiting = core::mem::take(&mut queue.waiting);
        self.align(key);
        for item in ready {
            self.end(key, &item);
        }
        for (id, (at, item)) in waiting {
            self.due.remove(&(at, key, id));
            self.end(key, &item);
        }
        if self
            .queues
            .get(&key)
            .is_some_and(|queue| queue.in_flight == 0)
        {
            self.queues.remove(&key);
        }
    }
}
