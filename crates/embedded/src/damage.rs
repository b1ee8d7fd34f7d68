//! Rows that stand in the way: an index is walked from its front, so that one row
//! which cannot be worked off would stop everything behind it for ever. Such a row
//! is taken out of the index and kept in `damaged`, where whoever mends the store
//! finds it; what it belongs to stays where it is.

use crate::{
    batch::Batch,
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
            Index::RingQueues => self.close_gap(key),
            Index::RingTenants => self.forget_place(key),
            _ => Ok(()),
        }
    }

    /// A queue was taken out of a ring: its tenant leaves with its last one.
    fn close_gap(&mut self, key: &[u8]) -> Result<(), Fault> {
        match layout::parse_ring_queue(key) {
            Ok((pool, tenant, _)) => self.leave_if_last(&pool, tenant),
            // Whoever finds its tenant without a queue takes that one out.
            Err(_) => Ok(()),
        }
    }

    /// A tenant was taken out of a ring: it may join again.
    fn forget_place(&mut self, key: &[u8]) -> Result<(), Fault> {
        let Some((pool, position)) = key.split_last_chunk::<8>() else {
            return Ok(());
        };
        // The row may tell another tenant, or none: its place tells which it was.
        for (place, at) in self.tables.ring_places.all(pool)? {
            if at[..] == position[..] {
                self.tables.ring_places.delete(&place)?;
            }
        }
        Ok(())
    }
}
