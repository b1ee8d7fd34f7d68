//! Settling: checks everything first, then moves each delivery on.

use std::collections::BTreeSet;

use bytes::Bytes;
use sidehook_core::time::Timestamp;

use super::state::{Item, QueueKey, State};
use crate::{
    error::CallError,
    hint::{Hint, HistoryRecord},
    read::Whereabouts,
    rules,
    turn::{Disposition, LeaseSettle, Settle, SettleItem, SettleReply},
};

/// What a settle call gathers on its way.
#[derive(Default)]
struct Gathered {
    touched: BTreeSet<QueueKey>,
    records: Vec<HistoryRecord>,
}

impl State {
    pub(super) fn settle(
        &mut self,
        now: Timestamp,
        call: &Settle,
    ) -> Result<SettleReply, CallError> {
        rules::settle(self.partition, call)?;
        for one in &call.leases {
            self.check_items(one)?;
        }
        let mut gathered = Gathered::default();
        let stale = call
            .leases
            .iter()
            .map(|one| self.settle_lease(now, one, &mut gathered))
            .collect();
        for key in gathered.touched {
            self.align(key);
        }
        if !gathered.records.is_empty() {
            let block = self.history.keep(gathered.records);
            self.hint(Hint::Settled(block));
        }
        Ok(SettleReply { stale })
    }

    /// An open position must be what the caller takes it for.
    fn check_items(&self, call: &LeaseSettle) -> Result<(), CallError> {
        let Some(lease) = self.leases.get(call.lease, call.token) else {
            return Ok(());
        };
        for item in &call.items {
            let slot = lease.slots.get(usize::from(item.position));
            if let Some(Some((key, lent))) = slot
                && (*key, lent.segment, lent.index, lent.generation)
                    != (
                        (item.tenant, item.subscription),
                        item.segment,
                        item.index,
                        item.generation,
                    )
            {
                let position = item.position;
                let detail = format!("position {position} is another delivery");
                return Err(CallError::Refused { detail });
            }
        }
        Ok(())
    }

    /// Settles under one lease; the positions that were stale.
    fn settle_lease(
        &mut self,
        now: Timestamp,
        call: &LeaseSettle,
        gathered: &mut Gathered,
    ) -> Vec<u16> {
        let valid = self.leases.get(call.lease, call.token).is_some();
        let mut stale = Vec::new();
        let mut released = Vec::new();
        for item in &call.items {
            let slot = if valid {
                self.leases.take(call.lease, item.position)
            } else {
                None
            };
            let Some((key, lent)) = slot else {
                stale.push(item.position);
                continue;
            };
            gathered.touched.insert(key);
            if let Some(queue) = self.queues.get_mut(&key)
                && !queue.deleted
            {
                queue.health.count(now, &item.mark);
            }
            if item.disposition == Disposition::Release {
                released.push((item.position, key, lent));
            } else {
                self.conclude(key, lent, item, gathered);
            }
        }
        // Back to the heads last position first, so that they keep their order.
        released.sort_unstable_by_key(|(position, ..)| core::cmp::Reverse(*position));
        for (_, key, lent) in released {
            self.put_back(key, lent);
        }
        stale
    }

    /// Moves an attempted delivery on.
    fn conclude(&mut self, key: QueueKey, lent: Item, call: &SettleItem, gathered: &mut Gathered) {
        match &call.disposition {
            Disposition::End { record } => {
                self.record(&lent, key, record, gathered);
                self.end(key, &lent);
            }
            Disposition::Retry { at, retry, record } => {
                self.record(&lent, key, record, gathered);
                self.wait(key, lent, *at, retry);
            }
            Disposition::Release => {}
        }
        self.land(key);
    }

    fn record(&mut self, lent: &Item, key: QueueKey, record: &Bytes, gathered: &mut Gathered) {
        if let Some(segment) = self.segments.get_mut(&lent.segment) {
            segment.outcomes.push(record.clone());
        }
        gathered.records.push(HistoryRecord {
            tenant: key.0,
            record: record.clone(),
        });
    }

    /// Lets a delivery wait for its retry, unless its subscription is gone.
    fn wait(&mut self, key: QueueKey, mut item: Item, at: Timestamp, retry: &Bytes) {
        let id = item.id(key.1);
        match self.queues.get_mut(&key) {
            Some(queue) if !queue.deleted => {
                item.retry = Some(retry.clone());
                let place = Whereabouts {
                    retry: item.retry.clone(),
                    due: Some(at),
                    leased: false,
                };
                self.known.insert(id, (key.0, place));
                self.due.insert((at, key, id));
                queue.waiting.insert(id, (at, item));
            }
            _ => self.end(key, &item),
        }
    }
}
