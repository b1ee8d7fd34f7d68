//! A batch: one write transaction, and what its calls share while it lasts.
//!
//! Queues, segments' states and tenants are touched by many deliveries of one batch, so they
//! are read once, changed in memory, and written back once before the commit. This
//! memory lives and dies with the transaction: if the batch is given up, so is it.

use std::collections::{BTreeMap, btree_map::Entry};

use sidehook_core::{
    address::{Partition, SegmentId},
    id::TenantId,
    pool::Pool,
};
use sidehook_store::hint::Hint;

use crate::{
    error::Fault,
    layout::{self, Leaving, Place, Queue, QueueKey, SegmentState, Stage, TenantRow},
    tables::Tables,
};

/// A row that was read, perhaps changed.
struct Held<T> {
    row: Option<T>,
    changed: bool,
}

/// One write transaction's work.
pub(crate) struct Batch<'t> {
    pub(crate) tables: Tables<'t>,
    queues: BTreeMap<QueueKey, Held<Queue>>,
    states: BTreeMap<SegmentId, Held<SegmentState>>,
    tenants: BTreeMap<TenantId, Held<TenantRow>>,
    /// What to tell once all is committed.
    pub(crate) hints: Vec<Hint>,
    /// Whether the medium has no room for more events.
    pub(crate) full: bool,
}

impl<'t> Batch<'t> {
    pub(crate) const fn new(tables: Tables<'t>, full: bool) -> Self {
        Self {
            tables,
            queues: BTreeMap::new(),
            states: BTreeMap::new(),
            tenants: BTreeMap::new(),
            hints: Vec::new(),
            full,
        }
    }

    /// Writes back what was changed; what is left to tell, or `None` if nothing was.
    /// `number` is that of this commit, if commits are counted.
    pub(crate) fn finish(mut self, number: Option<u64>) -> Result<Option<Vec<Hint>>, Fault> {
        for (key, held) in self.queues {
            if held.changed {
                let key = layout::queue(key);
                match held.row {
                    Some(row) => self.tables.queues.put(&key, &row.pack())?,
                    None => self.tables.queues.delete(&key)?,
                }
            }
        }
        for (id, held) in self.states {
            if held.changed {
                let key = layout::segment(id);
                match held.row {
                    Some(row) => self.tables.states.put(&key, &row.pack())?,
                    None => self.tables.states.delete(&key)?,
                }
            }
        }
        for (tenant, held) in self.tenants {
            if let Some(row) = held.row.filter(|_| held.changed) {
                let key = layout::tenant(tenant);
                self.tables.tenants.put(&key, &row.pack())?;
            }
        }
        if !self.tables.changed() {
            return Ok(None);
        }
        if let Some(number) = number {
            let number = number.to_be_bytes();
            self.tables.meta.put(layout::COMMIT_KEY, &number)?;
        }
        Ok(Some(self.hints))
    }

    // ------------------------------------------------------------ queues

    fn held_queue(&mut self, key: QueueKey) -> Result<&mut Held<Queue>, Fault> {
        match self.queues.entry(key) {
            Entry::Occupied(held) => Ok(held.into_mut()),
            Entry::Vacant(free) => {
                let row = self.tables.queues.read(&layout::queue(key), Queue::parse)?;
                Ok(free.insert(Held {
                    row,
                    changed: false,
                }))
            }
        }
    }

    /// A queue, to look at.
    pub(crate) fn queue(&mut self, key: QueueKey) -> Result<Option<&Queue>, Fault> {
        Ok(self.held_queue(key)?.row.as_ref())
    }

    /// A queue, to change.
    pub(crate) fn queue_mut(&mut self, key: QueueKey) -> Result<Option<&mut Queue>, Fault> {
        let held = self.held_queue(key)?;
        held.changed |= held.row.is_some();
        Ok(held.row.as_mut())
    }

    /// Makes or removes a queue.
    pub(crate) fn set_queue(&mut self, key: QueueKey, row: Option<Queue>) {
        self.queues.insert(key, Held { row, changed: true });
    }

    /// Puts a queue into its pool's ring or takes it out, as its state wants.
    pub(crate) fn align(&mut self, key: QueueKey) -> Result<(), Fault> {
        let Some(queue) = self.queue(key)? else {
            return Ok(());
        };
        let (wanted, ring) = (queue.eligible(), queue.ring);
        if wanted == (ring != 0) {
            return Ok(());
        }
        let pool = queue.settings.pool.clone();
        let position = if wanted {
            self.join(&pool, key)?
        } else {
            self.leave(&pool, key, ring)?;
            0
        };
        if let Some(queue) = self.queue_mut(key)? {
            queue.ring = position;
        }
        Ok(())
    }

    /// Puts a queue into a ring; tells of a pool that had no work before.
    fn join(&mut self, pool: &Pool, key: QueueKey) -> Result<u64, Fault> {
        let (position, first) = self.ring_add(pool, key)?;
        if first {
            self.hints.push(Hint::Due {
                partition: Partition::of(key.0),
                pool: pool.clone(),
            });
        }
        Ok(position)
    }

    /// Counts lent deliveries as back; forgets a cleared queue with its last one.
    pub(crate) fn land(&mut self, key: QueueKey, count: u32) -> Result<(), Fault> {
        let Some(queue) = self.queue_mut(key)? else {
            return Ok(());
        };
        queue.in_flight = queue.in_flight.saturating_sub(count);
        if queue.in_flight == 0 && queue.stage == Stage::Cleared {
            self.set_queue(key, None);
        }
        Ok(())
    }

    // ------------------------------------------------------------ segments

    /// A segment's state, to change.
    pub(crate) fn state_mut(&mut self, id: SegmentId) -> Result<Option<&mut SegmentState>, Fault> {
        let held = match self.states.entry(id) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(free) => {
                let key = layout::segment(id);
                let row = self.tables.states.read(&key, SegmentState::parse)?;
                free.insert(Held {
                    row,
                    changed: false,
                })
            }
        };
        held.changed |= held.row.is_some();
        Ok(held.row.as_mut())
    }

    /// Makes or removes a segment's state.
    pub(crate) fn set_state(&mut self, id: SegmentId, row: Option<SegmentState>) {
        self.states.insert(id, Held { row, changed: true });
    }

    /// Counts deliveries of a segment as ended, and lets it go if it waited for them.
    pub(crate) fn end(&mut self, id: SegmentId, count: u32) -> Result<(), Fault> {
        let Some(state) = self.state_mut(id)? else {
            return Ok(());
        };
        state.unfinished = state.unfinished.saturating_sub(count);
        if state.unfinished == 0
            && state.leaving == Leaving::WithItsLast
            && let Some(age) = state.age()
        {
            self.tables.ages.put(&layout::timed(age, id), &[])?;
        }
        Ok(())
    }

    /// Counts another delivery of a segment as unfinished.
    pub(crate) fn begin(&mut self, id: SegmentId) -> Result<(), Fault> {
        let Some(state) = self.state_mut(id)? else {
            return Ok(());
        };
        let age = state.age();
        state.unfinished = state.unfinished.saturating_add(1);
        if state.age().is_none()
            && let Some(age) = age
        {
            self.tables.ages.delete(&layout::timed(age, id))?;
        }
        Ok(())
    }

    /// Ends a delivery that has a record of its own.
    pub(crate) fn end_recorded(&mut self, place: &Place) -> Result<(), Fault> {
        self.tables.records.delete(&layout::record(place))?;
        self.end(place.segment, 1)
    }

    // ------------------------------------------------------------ tenants

    /// A tenant; one without any row is as if it had been empty.
    pub(crate) fn tenant(&mut self, tenant: TenantId) -> Result<Option<TenantRow>, Fault> {
        if let Some(held) = self.tenants.get(&tenant) {
            return Ok(held.row);
        }
        let key = layout::tenant(tenant);
        let row = self.tables.tenants.read(&key, TenantRow::parse)?;
        let changed = false;
        self.tenants.insert(tenant, Held { row, changed });
        Ok(row)
    }

    pub(crate) fn set_tenant(&mut self, tenant: TenantId, row: TenantRow) {
        let (row, changed) = (Some(row), true);
        self.tenants.insert(tenant, Held { row, changed });
    }

    /// Charges a tenant for new deliveries.
    pub(crate) fn charge(&mut self, tenant: TenantId, bytes: u64) -> Result<(), Fault> {
        let mut row = self.tenant(tenant)?.unwrap_or_default();
        row.used.pending = row.used.pending.saturating_add(bytes);
        self.set_tenant(tenant, row);
        Ok(())
    }

    /// Acquits a tenant of deliveries that have ended. Where its row cannot be read
    /// nothing can be counted, which must not keep them from ending.
    pub(crate) fn acquit(&mut self, tenant: TenantId, bytes: u64) -> Result<(), Fault> {
        match self.tenant(tenant) {
            Ok(Some(mut row)) => {
                row.used.pending = row.used.pending.saturating_sub(bytes);
                self.set_tenant(tenant, row);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(Fault::Corrupt(detail, _)) => {
                tracing::error!(%tenant, %detail, "what a tenant owes cannot be told");
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }
}
