//! Queues: entries at both ends, and clearing what is left of a deleted one.

use bytes::Bytes;
use sidehook_core::address::Partition;
use sidehook_store::turn::Run;

use crate::{
    batch::Batch,
    error::Fault,
    layout::{self, Entry, Place, QueueKey, Record, Stage},
    tables::DAMAGED_ENTRY,
};

fn lost(key: QueueKey, what: &str) -> Fault {
    Fault::corrupt(format!("{} {:?}: {what}", key.0, key.1))
}

impl Batch<'_> {
    /// Appends deliveries to a queue. The caller knows that it is there, and aligns it.
    pub(crate) fn push_back(&mut self, key: QueueKey, entry: &Entry) -> Result<(), Fault> {
        let Some(queue) = self.queue_mut(key)? else {
            return Err(lost(key, "no queue to append to"));
        };
        let at = queue.tail;
        let room = queue.tail.checked_add(1);
        queue.tail = room.ok_or_else(|| lost(key, "no position is left"))?;
        queue.owed = queue.owed.saturating_add(entry.charges());
        queue.ready = queue.ready.saturating_add(entry.indices.len() as u64);
        self.tables
            .entries
            .put(&layout::entry(key, at), &entry.pack())
    }

    fn push_front(&mut self, key: QueueKey, entry: &Entry) -> Result<(), Fault> {
        let Some(queue) = self.queue_mut(key)? else {
            return Err(lost(key, "no queue to return to"));
        };
        let room = queue.head.checked_sub(1);
        queue.head = room.ok_or_else(|| lost(key, "no position is left"))?;
        queue.owed = queue.owed.saturating_add(entry.charges());
        queue.ready = queue.ready.saturating_add(entry.indices.len() as u64);
        let at = queue.head;
        self.tables
            .entries
            .put(&layout::entry(key, at), &entry.pack())
    }

    /// Puts lent deliveries back to the head of their queue, or ends them if its
    /// subscription is gone. The caller aligns the queue.
    pub(crate) fn put_back(&mut self, key: QueueKey, entry: &Entry) -> Result<(), Fault> {
        let count = u32::try_from(entry.indices.len()).unwrap_or(u32::MAX);
        if self.queue(key)?.is_some_and(layout::Queue::is_live) {
            self.push_front(key, entry)?;
        } else {
            self.acquit(key.0, entry.charges())?;
            self.end_entry(key, entry)?;
        }
        self.land(key, count)
    }

    /// Ends all deliveries of an entry, of which a tenant was acquitted before.
    fn end_entry(&mut self, key: QueueKey, entry: &Entry) -> Result<(), Fault> {
        if !entry.recorded {
            let count = u32::try_from(entry.indices.len()).unwrap_or(u32::MAX);
            return self.end(entry.segment, count);
        }
        for index in &entry.indices {
            self.end_recorded(&place(key, entry, *index))?;
        }
        Ok(())
    }

    fn head_entry(&self, key: QueueKey, head: u64) -> Result<Entry, Fault> {
        let parse = |value| Entry::parse(Partition::of(key.0), value);
        let entry = self.tables.entries.read(&layout::entry(key, head), parse)?;
        entry.ok_or_else(|| lost(key, "an entry is missing"))
    }

    /// The entry at the head, and what each of its deliveries remembers if they are
    /// recorded.
    fn lendable(&self, key: QueueKey, head: u64) -> Result<(Entry, Vec<Bytes>), Fault> {
        let entry = self.head_entry(key, head)?;
        let mut retries = Vec::new();
        if entry.recorded {
            for index in &entry.indices {
                let record = self.record(&place(key, &entry, *index))?;
                let record = record.ok_or_else(|| lost(key, "a record is missing"))?;
                retries.push(record.retry);
            }
        }
        Ok((entry, retries))
    }

    /// Keeps an entry that cannot be lent among the damaged rows, so that those behind
    /// it can; how many deliveries it had, as far as that can be told.
    fn set_entry_aside(&mut self, key: QueueKey, head: u64, detail: &str) -> Result<u64, Fault> {
        let at = layout::entry(key, head);
        let Some(value) = self.tables.entries.take(&at)? else {
            tracing::error!(%detail, "a queue lacks an entry: it goes on without");
            return Ok(0);
        };
        let segment = layout::segment_of_entry(Partition::of(key.0), &value);
        tracing::error!(%detail, ?segment,
            "a queue's deliveries cannot be lent: they go to the damaged rows");
        let damaged = layout::damaged(DAMAGED_ENTRY, &at);
        self.tables.damaged.put(&damaged, &value)?;
        Ok(value.len().saturating_sub(layout::ENTRY_HEADER) as u64)
    }

    /// Takes at most `count` deliveries from the head of a queue, into `runs`; counts
    /// them as in flight. How many; fewer only if entries were unreadable.
    pub(crate) fn lend_from(
        &mut self,
        key: QueueKey,
        count: u32,
        runs: &mut Vec<Run>,
    ) -> Result<u32, Fault> {
        let mut left = count as usize;
        let ends = self.queue(key)?.map(|queue| (queue.head, queue.tail));
        let Some((mut head, tail)) = ends else {
            return Err(lost(key, "no queue to lend from"));
        };
        let (mut aside, mut charges) = (0_u64, 0_u64);
        while left > 0 && head < tail {
            let (mut entry, retries) = match self.lendable(key, head) {
                Ok(found) => found,
                Err(Fault::Corrupt(detail, _)) => {
                    let had = self.set_entry_aside(key, head, &detail)?;
                    aside = aside.saturating_add(had);
                    head += 1;
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            let at = layout::entry(key, head);
            if entry.indices.len() > left {
                let rest = Entry {
                    indices: entry.indices.split_off(left),
                    ..entry.clone()
                };
                self.tables.entries.put(&at, &rest.pack())?;
            } else {
                self.tables.entries.delete(&at)?;
                head += 1;
            }
            left -= entry.indices.len();
            charges = charges.saturating_add(entry.charges());
            append_runs(key, &entry, retries, runs);
        }
        let taken = count.saturating_sub(u32::try_from(left).unwrap_or(u32::MAX));
        if let Some(queue) = self.queue_mut(key)? {
            queue.head = head;
            queue.owed = queue.owed.saturating_sub(charges);
            let gone = aside.saturating_add(taken.into());
            // How many an unreadable entry had is a guess, which must strand none: every
            // entry has one at least.
            let least = tail - head;
            let ready = queue.ready.saturating_sub(gone).max(least);
            queue.ready = if least == 0 { 0 } else { ready };
            queue.in_flight = queue.in_flight.saturating_add(taken);
        }
        Ok(taken)
    }

    /// What a delivery has of its own.
    pub(crate) fn record(&self, place: &Place) -> Result<Option<Record>, Fault> {
        let key = layout::record(place);
        self.tables.records.read(&key, Record::parse)
    }

    /// Ends what a deleted queue still holds, at most `budget` entries and records;
    /// what is left of the budget, of which every call takes something. The queue is
    /// forgotten with the last of it, unless something of it is lent.
    pub(crate) fn clear(&mut self, key: QueueKey, budget: usize) -> Result<usize, Fault> {
        let Some(queue) = self.queue(key)? else {
            self.tables.clearing.delete(&layout::queue(key))?;
            return Ok(budget.saturating_sub(1));
        };
        let (mut head, tail) = (queue.head, queue.tail);
        let mut left = budget;
        while left > 0 && head < tail {
            let entry = self.head_entry(key, head)?;
            self.tables.entries.delete(&layout::entry(key, head))?;
            self.end_entry(key, &entry)?;
            head += 1;
            left -= 1;
            if let Some(queue) = self.queue_mut(key)? {
                queue.head = head;
                queue.ready = queue.ready.saturating_sub(entry.indices.len() as u64);
            }
        }
        if left == 0 || !self.clear_waiting(key, &mut left)? {
            return Ok(0);
        }
        self.tables.clearing.delete(&layout::queue(key))?;
        let Some(queue) = self.queue_mut(key)? else {
            return Ok(left.saturating_sub(1));
        };
        queue.stage = Stage::Cleared;
        if queue.in_flight == 0 {
            self.set_queue(key, None);
        }
        Ok(left.saturating_sub(1))
    }

    /// Ends what waits; whether that was all. Only lent deliveries keep their
    /// records, and a window bounds those.
    fn clear_waiting(&mut self, key: QueueKey, left: &mut usize) -> Result<bool, Fault> {
        let prefix = layout::queue(key);
        let in_flight = self.queue(key)?.map_or(0, |queue| queue.in_flight);
        let most = left.saturating_add(in_flight as usize).saturating_add(1);
        for (found, value) in self.tables.records.some(&prefix, &prefix, most)? {
            let Some(at) = Record::parse(value)?.due else {
                continue;
            };
            if *left == 0 {
                return Ok(false);
            }
            *left -= 1;
            let place = layout::parse_record(&found)?;
            self.tables.due.delete(&layout::due(at, &place))?;
            self.end_recorded(&place)?;
        }
        Ok(true)
    }
}

/// Turns an entry into runs; a recorded delivery is a run of its own.
fn append_runs(key: QueueKey, entry: &Entry, retries: Vec<Bytes>, runs: &mut Vec<Run>) {
    let run = |indices, retry| Run {
        tenant: key.0,
        subscription: key.1,
        segment: entry.segment,
        indices,
        leases_lost: entry.leases_lost,
        charge: entry.charge,
        generation: entry.generation,
        retry,
    };
    if entry.recorded {
        let recorded = entry.indices.iter().zip(retries);
        runs.extend(recorded.map(|(index, retry)| run(vec![*index], Some(retry))));
    } else if let Some(last) = runs.last_mut()
        && last.retry.is_none()
        && (last.tenant, last.subscription) == key
        && last.segment == entry.segment
        && (last.generation, last.leases_lost, last.charge)
            == (entry.generation, entry.leases_lost, entry.charge)
    {
        last.indices.extend_from_slice(&entry.indices);
    } else {
        runs.push(run(entry.indices.clone(), None));
    }
}

/// The delivery `index` of an entry.
pub(crate) const fn place(key: QueueKey, entry: &Entry, index: u8) -> Place {
    Place {
        queue: key,
        generation: entry.generation,
        segment: entry.segment,
        index,
    }
}
