//! Rows that stand in the way: an index is walked from its front, so that one row
//! which cannot be worked off would stop everything behind it for ever. Such a row
//! is taken out of the index and kept in `damaged`, where whoever mends the store
//! finds it; what it belongs to stays where it is.

use bytes::Bytes;

use crate::{
    batch::Batch,
    codec::Reader,
    error::{Culprit, Fault},
    layout,
    tables::Index,
};

impl Batch<'_> {
    /// Takes a row out of its index, and keeps it among the damaged ones.
    pub(crate) fn take_out(&mut self, culprit: &Culprit) -> Result<(), Fault> {
        let Culprit { index, key } = culprit;
        let Some(value) = self.tables.index(*index).take(key)? else {
            return Ok(());
        };
        let at = layout::damaged(index.byte(), key);
        self.tables.damaged.put(&at, &value)?;
        match index {
            Index::RingQueues => self.close_gap(key, value),
            Index::RingTenants => self.forget_place(key),
            _ => Ok(()),
        }
    }

    /// A queue was taken out of a ring: it may join again, and its tenant leaves with
    /// its last one.
    fn close_gap(&mut self, key: &[u8], value: Bytes) -> Result<(), Fault> {
        let Ok((pool, tenant, position)) = layout::parse_ring_queue(key) else {
            // Whoever finds its tenant without a queue takes that one out.
            return Ok(());
        };
        if let Ok(number) = Reader::new("a ring's queue", value).number() {
            match self.queue_mut((tenant, number)) {
                Ok(Some(queue)) if queue.ring == position && queue.settings.pool == pool => {
                    queue.ring = 0;
                }
                // Whoever mends the queue finds another one, or none, at its position.
                Ok(_) | Err(Fault::Corrupt(..)) => {}
                Err(fault) => return Err(fault),
            }
        }
        self.leave_if_last(&pool, tenant)
    }

    /// A tenant was taken out of a ring: it joins again, unless it has no queue there.
    fn forget_place(&mut self, key: &[u8]) -> Result<(), Fault> {
        let Some((pool, position)) = key.split_last_chunk::<8>() else {
            return Ok(());
        };
        // The row may tell another tenant, or none: its place tells which it was.
        for (place, at) in self.tables.ring_places.all(pool)? {
            // One that is no place may be this one's too.
            if at[..] != position[..] && at.len() == position.len() {
                continue;
            }
            self.tables.ring_places.delete(&place)?;
            let Ok((pool, tenant)) = layout::parse_ring_place(&place) else {
                continue;
            };
            if at[..] != position[..] {
                self.strike_tenant(&pool, tenant, &at)?;
            }
            if self.tables.ring_queues.first(&place)?.is_some() {
                self.append_tenant(&pool, tenant)?;
            }
        }
        Ok(())
    }
}
