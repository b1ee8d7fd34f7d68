//! What happens without traffic: leases end, retries fall due, old events and
//! idempotency keys leave. Each up to a bound, so that no tick takes long.

use sidehook_core::{
    limits::{CALL_RECORDS, LOG_AGE},
    time::Timestamp,
};

use super::state::State;
use crate::turn::TickReply;

impl State {
    pub(super) fn tick(&mut self, now: Timestamp) -> TickReply {
        let leases_lost = self.expire_leases(now);
        self.queue_retries(now);
        self.drop_old(now);
        self.keys.forget(now, CALL_RECORDS);
        TickReply {
            next_due: self.next_due(),
            due: self.rings.pools(),
            leases_lost,
        }
    }

    fn expire_leases(&mut self, now: Timestamp) -> u32 {
        let mut lost = 0;
        while lost < CALL_RECORDS as u32
            && let Some((deadline, lease)) = self.leases.first()
            && deadline <= now
        {
            lost += self.take_back(lease, 1);
        }
        lost
    }

    fn queue_retries(&mut self, now: Timestamp) {
        for _ in 0..CALL_RECORDS {
            match self.due.first() {
                Some((at, ..)) if *at <= now => {}
                _ => return,
            }
            let Some((_, key, id)) = self.due.pop_first() else {
                return;
            };
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

    /// Drops events past their age; those with unfinished deliveries go with the
    /// last of them.
    fn drop_old(&mut self, now: Timestamp) {
        for _ in 0..CALL_RECORDS {
            match self.ages.first() {
                Some((published, _)) if *published + LOG_AGE <= now => {}
                _ => return,
            }
            let Some((_, id)) = self.ages.pop_first() else {
                return;
            };
            match self.segments.get_mut(&id) {
                Some(segment) if segment.unfinished > 0 => segment.overdue = true,
                _ => {
                    if let Some(segment) = self.segments.remove(&id)
                        && let Some(tenant) = self.tenants.get_mut(&segment.tenant)
                    {
                        tenant.log.remove(&segment.position);
                    }
                }
            }
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        let lease = self.leases.first().map(|(deadline, _)| deadline);
        let retry = self.due.first().map(|(at, ..)| *at);
        let age = self.ages.first().map(|(at, _)| *at + LOG_AGE);
        let key = self.keys.next_due();
        [lease, retry, age, key].into_iter().flatten().min()
    }
}
