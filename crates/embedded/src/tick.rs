//! What happens without traffic: leases end, retries fall due, deleted queues are
//! cleared, old events and idempotency keys leave. Each is a chore of its own, done up
//! to a bound, so that no tick takes long; and each walks an index from its front: a
//! row that cannot be worked off is blamed, and taken out before the chore is done
//! again.

use sidehook_core::{
    address::{Partition, SegmentId},
    id::TenantId,
    limits::{CALL_BYTES, CALL_RECORDS, LEASE_MAX, LOG_AGE, RETRY_WAIT_MAX},
    time::Timestamp,
};
use sidehook_store::{
    clock,
    turn::{LeaseId, TickReply},
};

use crate::{
    batch::Batch,
    error::Fault,
    layout::{self, Entry, Leaving, Place, Record},
    reads::parse_log,
    tables::Index,
};

/// What old events take along in one tick: rows and bytes.
const DROPPED_ROWS: usize = 8 * CALL_RECORDS;
const DROPPED_BYTES: usize = 8 * CALL_BYTES;

/// One thing that a tick does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chore {
    /// Leases past their deadline end.
    Leases,
    /// Retries that are due are queued.
    Retries,
    /// Deleted queues are cleared.
    Clearing,
    /// Events past their age leave.
    Ages,
    /// Idempotency keys lapse.
    Keys,
}

impl Chore {
    /// All of them, in their order.
    pub(crate) const ALL: [Self; 5] = [
        Self::Leases,
        Self::Retries,
        Self::Clearing,
        Self::Ages,
        Self::Keys,
    ];
}

/// What the chores of one tick came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ticked {
    leases_lost: u32,
    /// Whether there is more to clear or to drop.
    clearing: bool,
    dropping: bool,
}

impl Ticked {
    /// A chore was not done after all.
    pub(crate) const fn forget(&mut self, chore: Chore) {
        match chore {
            Chore::Leases => self.leases_lost = 0,
            Chore::Clearing => self.clearing = false,
            Chore::Ages => self.dropping = false,
            Chore::Retries | Chore::Keys => {}
        }
    }
}

/// How much a tick may still drop.
struct Budget {
    rows: usize,
    bytes: usize,
}

impl Budget {
    /// Charges a row of so many bytes.
    const fn charge(&mut self, bytes: usize) {
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    const fn is_spent(&self) -> bool {
        self.rows == 0 || self.bytes == 0
    }
}

impl Batch<'_> {
    /// Does a chore.
    pub(crate) fn chore(
        &mut self,
        partition: Partition,
        now: Timestamp,
        chore: Chore,
        ticked: &mut Ticked,
    ) -> Result<(), Fault> {
        match chore {
            Chore::Leases => ticked.leases_lost = self.expire_leases(partition, now)?,
            Chore::Retries => self.queue_retries(partition, now)?,
            Chore::Clearing => ticked.clearing = self.clear_deleted(partition)?,
            Chore::Ages => ticked.dropping = self.drop_old(partition, now)?,
            Chore::Keys => self.forget_keys(partition, now)?,
        }
        Ok(())
    }

    /// What a tick answers.
    pub(crate) fn ticked(
        &self,
        partition: Partition,
        now: Timestamp,
        ticked: Ticked,
    ) -> Result<TickReply, Fault> {
        let next_due = self.next_due(partition)?;
        let more = ticked.clearing
            || ticked.dropping
            || self.lease_over(partition, now)?.is_some()
            || self.retry_due(partition, now)?.is_some();
        Ok(TickReply {
            next_due: if more { Some(now) } else { next_due },
            due: self.pools(partition)?,
            leases_lost: ticked.leases_lost,
        })
    }

    fn expire_leases(&mut self, partition: Partition, now: Timestamp) -> Result<u32, Fault> {
        let (mut lost, mut left) = (0_u32, CALL_RECORDS);
        while left > 0 {
            let Some(key) = self.lease_over(partition, now)? else {
                break;
            };
            let blame = |fault: Fault| fault.blame(Index::Deadlines, &key);
            let (_, lease) = layout::parse_timed(&key).map_err(blame)?;
            let taken = self.expire(&key, LeaseId(lease)).map_err(blame)?;
            lost = lost.saturating_add(taken);
            left = left.saturating_sub(taken.max(1) as usize);
        }
        Ok(lost)
    }

    /// The deadline of a lease that is over.
    fn lease_over(&self, partition: Partition, now: Timestamp) -> Result<Option<Vec<u8>>, Fault> {
        let prefix = layout::partition(partition);
        let Some((key, _)) = self.tables.deadlines.first(&prefix)? else {
            return Ok(None);
        };
        let parsed = layout::parse_timed(&key);
        let (deadline, _) = parsed.map_err(|fault| fault.blame(Index::Deadlines, &key))?;
        if clock::is_over(deadline, now) {
            return Ok(Some(key));
        }
        let ahead = layout::after(partition, now + LEASE_MAX);
        let ahead = self.tables.deadlines.some(&prefix, &ahead, 1)?.pop();
        Ok(ahead.map(|(key, _)| key))
    }

    /// The row of a delivery that waits no longer.
    fn retry_due(&self, partition: Partition, now: Timestamp) -> Result<Option<Vec<u8>>, Fault> {
        let prefix = layout::partition(partition);
        let Some((key, _)) = self.tables.due.first(&prefix)? else {
            return Ok(None);
        };
        let parsed = layout::parse_due(&key);
        let (at, _) = parsed.map_err(|fault| fault.blame(Index::Due, &key))?;
        if clock::is_due(at, now) {
            return Ok(Some(key));
        }
        let ahead = layout::after(partition, now + RETRY_WAIT_MAX);
        let ahead = self.tables.due.some(&prefix, &ahead, 1)?.pop();
        Ok(ahead.map(|(key, _)| key))
    }

    /// Takes a lease back whose deadline that is.
    fn expire(&mut self, deadline: &[u8], id: LeaseId) -> Result<u32, Fault> {
        let taken = self.take_back(id, 1)?;
        if self.tables.deadlines.has(deadline)? {
            let detail = format!("{id:?} has another deadline");
            return Err(Fault::corrupt(detail));
        }
        Ok(taken)
    }

    fn queue_retries(&mut self, partition: Partition, now: Timestamp) -> Result<(), Fault> {
        for _ in 0..CALL_RECORDS {
            let Some(key) = self.retry_due(partition, now)? else {
                return Ok(());
            };
            let blame = |fault: Fault| fault.blame(Index::Due, &key);
            let (_, place) = layout::parse_due(&key).map_err(blame)?;
            self.tables.due.delete(&key)?;
            self.queue_retry(&place).map_err(blame)?;
        }
        Ok(())
    }

    fn queue_retry(&mut self, place: &Place) -> Result<(), Fault> {
        if !self.queue(place.queue)?.is_some_and(layout::Queue::is_live) {
            return self.end_recorded(place);
        }
        let Some(record) = self.record(place)? else {
            let detail = format!("{} is due, but has no record", place.id());
            return Err(Fault::corrupt(detail));
        };
        if let Some(queue) = self.queue_mut(place.queue)? {
            // What is queued again adds it.
            queue.owed = queue.owed.saturating_sub(record.charge.into());
        }
        let entry = Entry {
            recorded: true,
            leases_lost: record.leases_lost,
            charge: record.charge,
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
            .put(&layout::record(place), &record.pack())?;
        self.push_back(place.queue, &entry)?;
        self.align(place.queue)
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
            let blame = |fault: Fault| fault.blame(Index::Clearing, &key);
            let queue = layout::parse_queue(&key).map_err(blame)?;
            left = self.clear(queue, left).map_err(blame)?;
        }
    }

    /// Drops events past their age or beyond their tenant's budget; those with unfinished
    /// deliveries go with the last of them. Whether there is more to drop.
    fn drop_old(&mut self, partition: Partition, now: Timestamp) -> Result<bool, Fault> {
        let mut budget = Budget {
            rows: DROPPED_ROWS,
            bytes: DROPPED_BYTES,
        };
        while !budget.is_spent() {
            let mut found = self.tables.ages.keys(&layout::partition(partition), 1)?;
            let Some(key) = found.pop() else {
                return Ok(false);
            };
            let blame = |fault: Fault| fault.blame(Index::Ages, &key);
            let (published, id) = layout::parse_timed(&key).map_err(blame)?;
            if published + LOG_AGE > now {
                return Ok(false);
            }
            budget.charge(0);
            if self.drop_event(now, id, &mut budget).map_err(blame)? {
                self.tables.ages.delete(&key)?;
            }
        }
        Ok(true)
    }

    /// Drops what is left of a segment, or lets it wait for its last delivery or its age;
    /// whether its row among the ages is done with.
    fn drop_event(
        &mut self,
        now: Timestamp,
        id: SegmentId,
        budget: &mut Budget,
    ) -> Result<bool, Fault> {
        let Some(state) = self.state_mut(id)?.copied() else {
            let detail = format!("{id:?} has an age, but is no segment");
            return Err(Fault::corrupt(detail));
        };
        let mut tenant = self.tenant(state.tenant)?.unwrap_or_default();
        if state.leaving == Leaving::Next && !tenant.is_over() && state.published + LOG_AGE > now {
            self.leaves(id, Leaving::ByAge)?;
            self.tables
                .ages
                .put(&layout::timed(state.published, id), &[])?;
            return Ok(true);
        }
        if state.unfinished > 0 {
            self.leaves(id, Leaving::WithItsLast)?;
            tenant.front = tenant.front.max(state.position);
            self.set_tenant(state.tenant, tenant);
            self.trim(state.tenant)?;
            return Ok(true);
        }
        let log = layout::log(state.tenant, state.position);
        if !self.drop_outcomes(id, budget)? || !self.drop_made(id, budget)? {
            return Ok(false);
        }
        let key = layout::segment(id);
        for (part, bytes) in self.tables.segments.sizes(&key)? {
            self.tables.segments.delete(&part)?;
            budget.charge(bytes);
        }
        self.tables.log.delete(&log)?;
        self.set_state(id, None);
        tenant.front = tenant.front.max(state.position);
        tenant.used.log = tenant.used.log.saturating_sub(state.bytes.into());
        self.set_tenant(state.tenant, tenant);
        self.trim(state.tenant)?;
        Ok(true)
    }

    fn leaves(&mut self, id: SegmentId, how: Leaving) -> Result<(), Fault> {
        if let Some(state) = self.state_mut(id)? {
            state.leaving = how;
        }
        Ok(())
    }

    /// Has the next tick take the oldest event of a log that is beyond its budget. One
    /// that cannot be read stays, and keeps nobody from publishing before the log is full.
    pub(crate) fn trim(&mut self, id: TenantId) -> Result<(), Fault> {
        match self.hasten(id) {
            Err(Fault::Corrupt(detail, _)) => {
                tracing::error!(%detail, tenant = %id, "a log cannot be trimmed");
                Ok(())
            }
            done => done,
        }
    }

    fn hasten(&mut self, id: TenantId) -> Result<(), Fault> {
        let tenant = self.tenant(id)?.unwrap_or_default();
        if !tenant.is_over() {
            return Ok(());
        }
        let prefix = layout::tenant(id);
        let front = layout::log(id, tenant.front.saturating_add(1));
        let oldest = self.tables.log.some(&prefix, &front, 1)?.pop();
        let Some((_, row)) = oldest else {
            return Ok(());
        };
        let (segment, published) = parse_log(Partition::of(id), row)?;
        let Some(state) = self.state_mut(segment)? else {
            return Ok(());
        };
        if state.leaving == Leaving::ByAge {
            state.leaving = Leaving::Next;
            let age = state.age().unwrap_or_default();
            self.tables
                .ages
                .delete(&layout::timed(published, segment))?;
            self.tables.ages.put(&layout::timed(age, segment), &[])?;
        }
        Ok(())
    }

    /// Drops a segment's attempts, the last first: what is left is as if there had
    /// never been more. Whether all are gone.
    fn drop_outcomes(&mut self, id: SegmentId, budget: &mut Budget) -> Result<bool, Fault> {
        let mut rows = self.state_mut(id)?.map_or(0, |state| state.outcomes);
        while rows > 0 && !budget.is_spent() {
            rows -= 1;
            let bytes = self.tables.outcomes.drop(&layout::outcome(id, rows))?;
            budget.charge(bytes);
        }
        if let Some(state) = self.state_mut(id)? {
            state.outcomes = rows;
        }
        Ok(rows == 0)
    }

    /// Forgets which deliveries of a segment were made again; whether that is all.
    fn drop_made(&mut self, id: SegmentId, budget: &mut Budget) -> Result<bool, Fault> {
        let most = budget.rows.saturating_add(1);
        for key in self.tables.made.keys(&layout::segment(id), most)? {
            if budget.is_spent() {
                return Ok(false);
            }
            self.tables.made.delete(&key)?;
            budget.charge(key.len());
        }
        Ok(true)
    }

    fn next_due(&self, partition: Partition) -> Result<Option<Timestamp>, Fault> {
        let prefix = layout::partition(partition);
        let timed = |index, key: Option<Vec<u8>>| -> Result<_, Fault> {
            let Some(key) = key else {
                return Ok(None);
            };
            let (at, _) = layout::parse_timed(&key).map_err(|fault| fault.blame(index, &key))?;
            Ok(Some(at))
        };
        let lease = self.tables.deadlines.keys(&prefix, 1)?.pop();
        let age = self.tables.ages.keys(&prefix, 1)?.pop();
        let retry = self.tables.due.keys(&prefix, 1)?.pop();
        let retry = retry.map(|key| {
            let parsed = layout::parse_due(&key).map(|(at, _)| at);
            parsed.map_err(|fault| fault.blame(Index::Due, &key))
        });
        let times = [
            timed(Index::Deadlines, lease)?,
            retry.transpose()?,
            timed(Index::Ages, age)?.map(|at| at + LOG_AGE),
            self.keys_due(partition)?,
        ];
        Ok(times.into_iter().flatten().min())
    }
}
