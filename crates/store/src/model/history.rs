//! The attempt records of the last settle calls, for those who watch: they read
//! them within moments, so the newest blocks are enough. The records themselves
//! stay with their segments.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use sidehook_core::address::Partition;

use crate::hint::{BlockId, HistoryRecord};

/// Blocks that a partition keeps.
const BLOCKS: usize = 1_024;

/// The newest blocks of one partition, numbered in their order.
pub(super) struct History {
    partition: Partition,
    blocks: VecDeque<Vec<HistoryRecord>>,
    /// Number of the first block kept.
    first: u64,
}

impl History {
    pub(super) const fn new(partition: Partition) -> Self {
        Self {
            partition,
            blocks: VecDeque::new(),
            first: 0,
        }
    }

    /// Keeps a block and names it.
    pub(super) fn keep(&mut self, records: Vec<HistoryRecord>) -> BlockId {
        let number = self.first + self.blocks.len() as u64;
        self.blocks.push_back(records);
        if self.blocks.len() > BLOCKS {
            self.blocks.pop_front();
            self.first += 1;
        }
        let mut id = BytesMut::with_capacity(9);
        id.put_u8(self.partition.number());
        id.put_u64(number);
        BlockId(id.freeze())
    }

    /// A block's records; empty once it is gone.
    pub(super) fn read(&self, number: u64) -> Vec<HistoryRecord> {
        number
            .checked_sub(self.first)
            .and_then(|place| self.blocks.get(usize::try_from(place).ok()?))
            .cloned()
            .unwrap_or_default()
    }
}

/// The partition and number that a block's id names.
pub(super) fn parse(block: &BlockId) -> Option<(Partition, u64)> {
    let bytes: &Bytes = &block.0;
    let (partition, number) = bytes.split_first()?;
    let number = u64::from_be_bytes(number.try_into().ok()?);
    Some((Partition::new(*partition)?, number))
}
