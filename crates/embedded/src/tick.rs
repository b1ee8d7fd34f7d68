//! What happens without traffic: leases end, retries fall due, deleted queues are
//! cleared, old events and idempotency keys leave. Each up to a bound, so that no
//! tick takes long.

use sidehook_core::{
    address::{Partition, SegmentId},
    limits::{CALL_RECORDS, LOG_AGE},
    time::Timestamp,
};
use sidehook_store::turn::{LeaseId, TickReply};

use crate::{
    batch::Batch,
    error::Fault,
    layout::{self, Entry, Record},
};

impl Batch<'_> {
    pub(crate) fn tick(
        &mut self,
        partition: Partition,
        now: Timestamp,
    ) -> Result<TickReply, Fault> {
        let leases_lost = self.expire_leases(partition, now)?;
        self.queue_retries(partition, now)?;
        let more = self.clear_deleted(partition)?;
        self.drop_old(partition, now)?;
        self.forget_keys(partition, now)?;
        let next_due = self.next_due(partition)?;
        Ok(TickReply {
            next_due: if more { Some(now) } else { next_due },
            due: self.pools(partition)?,
            leases_lost,
        })
    }

    fn expire_leases(&mut self, partition: Partition, now: Timestamp) -> Result<u32, Fault> {
        let mut lost = 0;
        while (lost as usize) < CALL_RECORDS {
            let first = self.tables.deadlines.first(&layout::partition(partition))?;
            let Some((key, _)) = first else {
                break;
            };
            let (deadline, lease) = layout::parse_timed(&key)?;
            if deadline > now {
                break;
            }
            lost += self.take_back(LeaseId(lease), 1)?;
        }
        Ok(lost)
    }

    fn queue_retries(&mut self, partition: Partition, now: Timestamp) -> Result<(), Fault> {
        for _ in 0..CALL_RECORDS {
            let first = self.tables.due.first(&layout::partition(partition))?;
            let Some((key, _)) = first else {
                return Ok(());
            };
            let (at, place) = layout::parse_due(&key)?;
            if at > now {
                return Ok(());
            }
            self.tables.due.delete(&key)?;
            if !self.queue(place.queue)?.is_some_and(layout::Queue::is_live) {
                self.end_recorded(&place)?;
                continue;
            }
            let Some(record) = self.record(&place)? else {
                let detail = format!("{} is due, but has no record", place.id());
                return Err(Fault::Corrupt(detail));
            };
            let entry = Entry {
                recorded: true,
                leases_lost: record.leases_lost,
                generation: place.generation,
                segment: place.segment,
                indices: vec![place.index],
            };
            let record = Record {
                due: None,
                ..record
            };
            self.tables
                .records
                .put(&layout::record(&place), &record.pack())?;
            self.push_back(place.queue, &entry)?;
            self.align(place.queue)?;
        }
        Ok(())
    }

    /// Clears deleted queues; whether there is more to clear.
    fn clear_deleted(&mut self, partition: Partition) -> Result<bool, Fault> {
        let mut left = CALL_RECORDS;
        loop {
            let first = self.tables.clearing.first(&layout::partition(partition))?;
            let Some((key, _)) = first else {
                return Ok(false);
            };
            if left == 0 {
                return Ok(true);
            }
            left = self.clear(layout::parse_queue(&key)?, left)?;
        }
    }

    /// Drops events past their age; those with unfinished deliveries go with the
    /// last of them.
    fn drop_old(&mut self, partition: Partition, now: Timestamp) -> Result<(), Fault> {
        for _ in 0..CALL_RECORDS {
            let first = self.tables.ages.first(&layout::partition(partition))?;
            let Some((key, _)) = first else {
                return Ok(());
            };
            let (published, id) = layout::parse_timed(&key)?;
            if published + LOG_AGE > now {
                return Ok(());
            }
            self.tables.ages.delete(&key)?;
            match self.state_mut(id)? {
                Some(state) if state.unfinished > 0 => state.overdue = true,
                Some(state) => {
                    let at = layout::log(state.tenant, state.position);
                    self.tables.log.delete(&at)?;
                    self.drop_segment(id)?;
                }
                None => {
                    let detail = format!("{id:?} has an age, but is no segment");
                    return Err(Fault::Corrupt(detail));
                }
            }
        }
        Ok(())
    }

    fn drop_segment(&mut self, id: SegmentId) -> Result<(), Fault> {
        let key = layout::segment(id);
        for (part, _) in self.tables.segments.all(&key)? {
            self.tables.segments.delete(&part)?;
        }
        for (row, _) in self.tables.outcomes.all(&key)? {
            self.tables.outcomes.delete(&row)?;
        }
        for (row, _) in self.tables.made.all(&key)? {
            self.tables.made.delete(&row)?;
        }
        self.set_state(id, None);
        Ok(())
    }

    fn next_due(&self, partition: Partition) -> Result<Option<Timestamp>, Fault> {
        let prefix = layout::partition(partition);
        let lease = self.tables.deadlines.first(&prefix)?;
        let lease = lease
            .map(|(key, _)| layout::parse_timed(&key))
            .transpose()?;
        let retry = self.tables.due.first(&prefix)?;
        let retry = retry.map(|(key, _)| layout::parse_due(&key)).transpose()?;
        let age = self.tables.ages.first(&prefix)?;
        let age = age.map(|(key, _)| layout::parse_timed(&key)).transpose()?;
        let times = [
            lease.map(|(deadline, _)| deadline),
            retry.map(|(at, _)| at),
            age.map(|(at, _)| at + LOG_AGE),
            self.keys_due(partition)?,
        ];
        Ok(times.into_iter().flatten().min())
    }
}
