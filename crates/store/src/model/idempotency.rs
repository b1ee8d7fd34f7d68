//! Idempotency keys of the last 24 hours.

use std::collections::{HashMap, VecDeque};

use sidehook_core::{address::EventId, id::TenantId, limits::IDEMPOTENCY_TTL, time::Timestamp};

use crate::turn::{EventPublished, Idempotency};

type Key = (TenantId, [u8; 16]);

/// The keys in force, and the order in which they lapse.
#[derive(Default)]
pub(super) struct Keys {
    used: HashMap<Key, Used>,
    order: VecDeque<(Timestamp, Key)>,
}

struct Used {
    content: [u8; 16],
    event: EventId,
    at: Timestamp,
}

impl Used {
    fn lapsed(&self, now: Timestamp) -> bool {
        self.at + IDEMPOTENCY_TTL <= now
    }
}

impl Keys {
    /// What became of the event that used this key before, if one did.
    pub(super) fn used(
        &self,
        now: Timestamp,
        tenant: TenantId,
        idempotency: &Idempotency,
    ) -> Option<EventPublished> {
        let used = self.used.get(&(tenant, idempotency.key))?;
        if used.lapsed(now) {
            return None;
        }
        Some(if used.content == idempotency.content {
            EventPublished::Duplicate(used.event)
        } else {
            EventPublished::KeyReused(used.event)
        })
    }

    /// Remembers a key.
    pub(super) fn remember(
        &mut self,
        now: Timestamp,
        tenant: TenantId,
        idempotency: &Idempotency,
        event: EventId,
    ) {
        let key = (tenant, idempotency.key);
        let used = Used {
            content: idempotency.content,
            event,
            at: now,
        };
        self.used.insert(key, used);
        self.order.push_back((now, key));
    }

    /// Forgets at most `max` lapsed keys.
    pub(super) fn forget(&mut self, now: Timestamp, max: usize) {
        for _ in 0..max {
            match self.order.front() {
                Some((at, _)) if *at + IDEMPOTENCY_TTL <= now => {}
                _ => return,
            }
            if let Some((at, key)) = self.order.pop_front()
                && self.used.get(&key).is_some_and(|used| used.at == at)
            {
                self.used.remove(&key);
            }
        }
    }

    /// The keys in force, in the order in which they lapse.
    pub(super) fn in_force(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = (TenantId, Idempotency, EventId, Timestamp)> {
        self.order.iter().filter_map(move |(at, key)| {
            let used = self.used.get(key);
            let used = used.filter(|used| used.at == *at && !used.lapsed(now))?;
            let idempotency = Idempotency {
                key: key.1,
                content: used.content,
            };
            Some((key.0, idempotency, used.event, used.at))
        })
    }

    /// Remembers a key that was used at any time before.
    pub(super) fn restore(
        &mut self,
        at: Timestamp,
        tenant: TenantId,
        idempotency: &Idempotency,
        event: EventId,
    ) {
        self.remember(at, tenant, idempotency, event);
        if let Some(last) = self.order.pop_back() {
            let place = self.order.partition_point(|(other, _)| *other <= at);
            self.order.insert(place, last);
        }
    }

    /// When the next key lapses.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.order.front().map(|(at, _)| *at + IDEMPOTENCY_TTL)
    }
}
