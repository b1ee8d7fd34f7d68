//! What happens without traffic: leases end, retries fall due, old events and
//! idempotency keys leave. Each up to a bound, so that no tick takes long.

use sidehook_core::{
    address::{DeliveryId, SegmentId},
    limits::{CALL_RECORDS, LOG_AGE},
    time::Timestamp,
};

use super::state::{QueueKey, State, Tenant};
use crate::{clock, turn::TickReply};

impl State {
    pub(super) fn tick(&mut self, now: Timestamp) -> TickReply {
        let leases_lost = self.expire_leases(now);
        self.queue_retries(now);
        self.drop_old(now);
        self.keys.forget(now, CALL_RECORDS);
        TickReply {
            next_due: self.next_due(now),
            due: self.rings.pools(),
            leases_lost,
        }
    }

    fn expire_leases(&mut self, now: Timestamp) -> u32 {
        let mut lost = 0;
        while lost < CALL_RECORDS as u32
            && let Some(lease) = self.leases.over(now)
        {
            lost += self.take_back(lease, 1);
        }
        lost
    }

    fn queue_retries(&mut self, now: Timestamp) {
        for _ in 0..CALL_RECORDS {
            let Some(first) = self.next_retry(now) else {
                return;
            };
            self.due.remove(&first);
            let (_, key, id) = first;
            if let Some((_, place)) = self.known.get_mut(&id) {
                place.due = None;
            }
            if let Some(queue) = self.queues.get_mut(&key)
                && let Some((_, item)) = queue.waiting.remove(&id)
            {
                queue.ready.push_back(item);
            }
            self.align(key);
        }
    }

    /// A delivery that waits no longer.
    fn next_retry(&self, now: Timestamp) -> Option<(Timestamp, QueueKey, DeliveryId)> {
        let first = self.due.first().filter(|(at, ..)| *at <= now);
        let ahead = self.due.iter().rev();
        let ahead = ahead.take_while(|(at, ..)| clock::is_due(*at, now));
        first.or_else(|| ahead.last()).copied()
    }

    /// Drops events whose last delivery has ended, then the oldest of logs beyond their
    /// budgets, then events past their age; those with unfinished deliveries go with the
    /// last of them.
    fn drop_old(&mut self, now: Timestamp) {
        for _ in 0..CALL_RECORDS {
            let Some(id) = self.leaving.pop_first() else {
                break;
            };
            // It may have been redelivered since.
            if self
                .segments
                .get(&id)
                .is_some_and(|one| one.unfinished == 0)
            {
                self.forget(id);
            }
        }
        for _ in 0..CALL_RECORDS {
            let Some(id) = self.next_to_leave(now) else {
                return;
            };
            let Some(segment) = self.segments.get_mut(&id) else {
                return;
            };
            self.ages.remove(&(segment.published, id));
            if let Some(tenant) = self.tenants.get_mut(&segment.tenant) {
                tenant.front = segment.position;
            }
            if segment.unfinished > 0 {
                segment.overdue = true;
            } else {
                self.forget(id);
            }
        }
    }

    fn next_to_leave(&mut self, now: Timestamp) -> Option<SegmentId> {
        while let Some(first) = self.over.first().copied() {
            let tenant = self.tenants.get(&first).filter(|tenant| tenant.is_over());
            match tenant.and_then(Tenant::oldest) {
                Some(id) => return Some(id),
                None => self.over.remove(&first),
            };
        }
        let (published, id) = *self.ages.first()?;
        (published + LOG_AGE <= now).then_some(id)
    }

    fn forget(&mut self, id: SegmentId) {
        if let Some(segment) = self.segments.remove(&id)
            && let Some(tenant) = self.tenants.get_mut(&segment.tenant)
        {
            tenant.log.remove(&segment.position);
            tenant.used.log -= u64::from(segment.bytes).min(tenant.used.log);
        }
    }

    fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        if self.leases.over(now).is_some() || self.next_retry(now).is_some() {
            return Some(now);
        }
        let lease = self.leases.first().map(|(deadline, _)| deadline);
        let retry = self.due.first().map(|(at, ..)| *at);
        let age = self.ages.first().map(|(at, _)| *at + LOG_AGE);
        let key = self.keys.next_due();
        let some = !self.leaving.is_empty() || !self.over.is_empty();
        let leaving = some.then(Timestamp::default);
        let all = [lease, retry, age, key, leaving];
        all.into_iter().flatten().min()
    }
}
