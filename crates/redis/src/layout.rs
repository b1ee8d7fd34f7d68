//! Every key and packed format, in one table.
//!
//! A partition's keys begin with its tag, `{sh07}:`, so that Redis Cluster keeps
//! them together; the registry's begin with `{shsys}:`. Numbers are big-endian, so
//! that packed text sorts as the numbers do. Names below stand for
//!
//! ```text
//! stamp     lane 8, sequence 4
//! segment   stamp 12, ordinal 1               also a lease's name, from its claim's stamp
//! queue     tenant 16, subscription 4
//! header    epoch 4, recorded 1, leases lost 1, charge 4, generation 2, segment 13
//! entry     header 25, indices 1 each         deliveries of one segment in one queue
//! run       queue 20, header 25, count 1, indices; if recorded: length 4, what it remembers
//! delivery  queue 20, generation 2, segment 13, index 1
//! version   counter 8, nonce 8
//! pool      owner 16, name
//! ```
//!
//! | key | type | content |
//! |---|---|---|
//! | `state` | hash | `t` tenant → version 16, segments that left the front of its log 8, pending bytes 8, log bytes 8, its budgets as told last: pending 8, log 8 (both 0: none); `q` queue → window 4, in flight 4, ready 4, epoch 4, paused 1, deleted 1, in a ring 1, charges of what is queued and waits 8, pool; `idem`, `lanes` → how far the sweeps are |
//! | `lanes` | hash | kind 1 (`s`ettle, `p`ublish, `c`laim, `i`mport), lane 8 → sequence 4, time 8, reply of the lane's last call |
//! | `cat:`tenant | hash | subscription 4 → version 16, record |
//! | `gone:`tenant | hash | deleted subscription 4 → the version that it had |
//! | `new:`segment | string | a segment staged by a plain SET, before its publish script takes it over |
//! | `seg:`segment | string | tenant 16, events 1, for each: accepted 1, length 4; then the records |
//! | `out:`segment | string | for each stretch of one queue's attempts: stamp of its history block 12, offset 4 and length 4 in it, subscription 4 (−1: of any), lowest and highest index 1 each, attempts 2, deliveries that ended 2 (signed: a redelivery is −1). Unfinished = total − sum |
//! | `made:`segment | hash | subscription 4, event's index 1 → the generation that was redelivered last 2 |
//! | `log:`tenant | list | time 8, segment 13, total deliveries 4, bytes that it counts for 4; newest last |
//! | `logs` | sorted set | tenants by the time of the oldest entry of their log, or 0: beyond its budget |
//! | `late` | sorted set | tenant 16 and log entry of events that left the log but for their unfinished deliveries, all with score 0 |
//! | `told` | hash | segment of these with long outcomes → bytes of its outcomes that were added up 8, their sum 8 (signed) |
//! | `late:`tenant | sorted set | the same log entries by position |
//! | `que:`queue | list | entries |
//! | `tenants:`pool | list | ring of tenants with eligible queues |
//! | `queues:`tenant pool | list | ring of a tenant's eligible queues: subscription 4 |
//! | `pools` | set | pools whose ring is not empty, or was not at the last tick |
//! | `lease` | hash | lease → token 16, agent 16, session 8, deadline 8, runs |
//! | `open` | hash | lease → one `1` (open) or `0` for each position; only after a partial settle |
//! | `deadlines` | sorted set | leases by deadline |
//! | `rec` | hash | delivery → leases lost 1, charge 4, what it remembers: retried ones and redeliveries |
//! | `wait` | sorted set | deliveries by the time of their retry |
//! | `health` | hash | of a queue whose subscription's attempts were counted: `h` queue → stamp of the settle that wrote it 12, attempts of each kind 8, the newest bucket of each row, notes of successes; `e` queue → notes of failures; `0`, `1` queue → buckets of that row that are over, oldest first. A bucket: number 4, attempts of each kind 4, by class of time 4 (`health.rs`). A note: length 1, note; newest last |
//! | `clearing` | list | deleted queues with entries left |
//! | `blk:`stamp | string | the records of one settle: length 4, tenant 16, record |
//! | `blocks` | list | time 8, stamp 12 |
//! | `idem:`day | hash | tenant 16, key 16 → content 16, event id 16, time 8 |
//! | `rates` | sorted set | buckets of tokens 16 by the microsecond at which each is full |
//! | `hints` | channel | `d` pool, `c` tenant, `s` stamp |
//! | `{shsys}:reg:`kind | hash | key → record |
//! | `{shsys}:keys:`kind | sorted set | the keys, all with score 0, hence in order |
//! | `{shsys}:format` | string | the number of this format, in digits (`format.rs`) |
//!
//! A key `never` never exists: with either tag it is the guard that scripts are given
//! (`route`).
//!
//! `state` and `idem` carry one field `pad` longer than 64 bytes: Redis would keep a
//! small hash of short values as a list and search it from the start.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use sidehook_core::{
    address::{DeliveryId, Lane, Partition, SegmentId, Sequence},
    id::{AgentId, SubscriptionNumber, TenantId},
    pool::Pool,
    time::Timestamp,
    version::Version,
};
use sidehook_store::{
    StoreError,
    hint::{BlockId, HistoryRecord},
    read::Segment,
    turn::{Holder, LeaseId, Run, Stamp},
};

/// Bytes of a packed segment or lease name.
const SEGMENT: usize = 13;
/// Bytes of one stretch of attempts in a segment's outcomes.
pub(crate) const OUTCOME: usize = 30;
/// Bytes of the table row of one event in a segment.
const EVENT_ROW: usize = 5;

/// What a partition's keys begin with.
pub(crate) fn tag(partition: Partition) -> String {
    format!("{{sh{:02}}}:", partition.number())
}

/// The key that every script of a partition is given.
pub(crate) fn state_key(partition: Partition) -> String {
    tag(partition) + "state"
}

/// A partition's key `word` followed by `rest`.
pub(crate) fn key(partition: Partition, word: &str, rest: &[u8]) -> Vec<u8> {
    let mut key = tag(partition).into_bytes();
    key.extend_from_slice(word.as_bytes());
    key.extend_from_slice(rest);
    key
}

/// Packs a stamp.
pub(crate) fn stamp(stamp: Stamp) -> [u8; 12] {
    let mut packed = [0; 12];
    packed[..8].copy_from_slice(&stamp.lane.bits().to_be_bytes());
    packed[8..].copy_from_slice(&stamp.sequence.number().to_be_bytes());
    packed
}

/// Packs a segment's name; its partition is in the key's tag.
pub(crate) fn segment(id: SegmentId) -> [u8; SEGMENT] {
    let mut packed = [0; SEGMENT];
    packed[..12].copy_from_slice(&stamp(Stamp {
        lane: id.lane,
        sequence: id.sequence,
    }));
    packed[12] = id.ordinal;
    packed
}

/// Packs a version.
pub(crate) fn version(version: Version) -> [u8; 16] {
    let mut packed = [0; 16];
    packed[..8].copy_from_slice(&version.counter.to_be_bytes());
    packed[8..].copy_from_slice(&version.nonce.to_be_bytes());
    packed
}

/// Packs a pool.
pub(crate) fn pool(pool: &Pool) -> Vec<u8> {
    [&pool.owner.to_bytes(), pool.name.as_bytes()].concat()
}

/// Packs a holder.
pub(crate) fn holder(holder: Holder) -> [u8; 24] {
    let mut packed = [0; 24];
    packed[..16].copy_from_slice(&holder.agent.to_bytes());
    packed[16..].copy_from_slice(&holder.session.to_be_bytes());
    packed
}

/// Packs a queue.
pub(crate) fn queue(tenant: TenantId, number: SubscriptionNumber) -> [u8; 20] {
    let mut packed = [0; 20];
    packed[..16].copy_from_slice(&tenant.to_bytes());
    packed[16..].copy_from_slice(&number.0.to_be_bytes());
    packed
}

/// Packs a delivery's name within its queue: generation, segment, index. `None` if
/// no server made this id.
pub(crate) fn place(delivery: DeliveryId) -> Option<[u8; 16]> {
    let mut packed = [0; 16];
    packed[..2].copy_from_slice(&delivery.generation().to_be_bytes());
    packed[2..15].copy_from_slice(&segment(delivery.segment()?));
    packed[15] = delivery.index();
    Some(packed)
}

/// Packs a history block's id.
pub(crate) fn block_id(partition: Partition, stamp: &[u8]) -> BlockId {
    BlockId([&[partition.number()], stamp].concat().into())
}

/// Where a history block is; `None` if no store made this id.
pub(crate) fn parse_block_id(block: &BlockId) -> Option<(Partition, &[u8])> {
    let (number, stamp) = block.0.split_first()?;
    (stamp.len() == 12).then_some((Partition::new(*number)?, stamp))
}

/// Packs a segment: the table of its events and their records, all accepted.
pub(crate) fn pack_segment<'a>(
    tenant: TenantId,
    records: impl ExactSizeIterator<Item = &'a Bytes> + Clone,
) -> Vec<u8> {
    let bytes: usize = records.clone().map(|record| record.len() + EVENT_ROW).sum();
    let mut packed = Vec::with_capacity(17 + bytes);
    packed.extend_from_slice(&tenant.to_bytes());
    packed.push(records.len() as u8);
    for record in records.clone() {
        packed.push(1);
        packed.put_u32(record.len() as u32);
    }
    for record in records {
        packed.extend_from_slice(record);
    }
    packed
}

/// Packs a segment that another store kept: a record of no bytes was not accepted.
pub(crate) fn pack_kept(tenant: TenantId, records: &[Bytes]) -> Vec<u8> {
    let mut packed = pack_segment(tenant, records.iter());
    for (index, record) in records.iter().enumerate() {
        packed[17 + EVENT_ROW * index] = u8::from(!record.is_empty());
    }
    packed
}

/// Appends an attempt's record to a history block.
pub(crate) fn put_record(block: &mut BytesMut, tenant: TenantId, record: &[u8]) {
    block.put_u32(record.len() as u32);
    block.put_slice(&tenant.to_bytes());
    block.put_slice(record);
}

/// What cannot be read.
pub(crate) fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt {
        detail: format!("{what} is cut short or malformed"),
    }
}

/// Reads packed bytes from the front.
pub(crate) struct Reader {
    bytes: Bytes,
    what: &'static str,
}

impl Reader {
    /// Reads `bytes`, which are a `what` in error messages.
    pub(crate) const fn new(what: &'static str, bytes: Bytes) -> Self {
        Self { bytes, what }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn need(&self, size: usize) -> Result<(), StoreError> {
        if self.bytes.len() < size {
            return Err(corrupt(self.what));
        }
        Ok(())
    }

    pub(crate) fn take(&mut self, size: usize) -> Result<Bytes, StoreError> {
        self.need(size)?;
        Ok(self.bytes.split_to(size))
    }

    pub(crate) fn rest(self) -> Bytes {
        self.bytes
    }

    pub(crate) fn u8(&mut self) -> Result<u8, StoreError> {
        self.need(1)?;
        Ok(self.bytes.get_u8())
    }

    pub(crate) fn u16(&mut self) -> Result<u16, StoreError> {
        self.need(2)?;
        Ok(self.bytes.get_u16())
    }

    pub(crate) fn i16(&mut self) -> Result<i16, StoreError> {
        self.need(2)?;
        Ok(self.bytes.get_i16())
    }

    pub(crate) fn u32(&mut self) -> Result<u32, StoreError> {
        self.need(4)?;
        Ok(self.bytes.get_u32())
    }

    pub(crate) fn u64(&mut self) -> Result<u64, StoreError> {
        self.need(8)?;
        Ok(self.bytes.get_u64())
    }

    pub(crate) fn u128(&mut self) -> Result<u128, StoreError> {
        self.need(16)?;
        Ok(self.bytes.get_u128())
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, StoreError> {
        let millis = i64::try_from(self.u64()?).map_err(|_| corrupt(self.what))?;
        Ok(Timestamp::from_millis(millis))
    }

    pub(crate) fn tenant(&mut self) -> Result<TenantId, StoreError> {
        Ok(TenantId::from_bits(self.u128()?))
    }

    pub(crate) fn version(&mut self) -> Result<Version, StoreError> {
        Ok(Version {
            counter: self.u64()?,
            nonce: self.u64()?,
        })
    }

    pub(crate) fn segment(&mut self, partition: Partition) -> Result<SegmentId, StoreError> {
        let lane = Lane::from_random(self.u64()?);
        let sequence = Sequence::new(self.u32()?).ok_or_else(|| corrupt(self.what))?;
        Ok(SegmentId {
            partition,
            lane,
            sequence,
            ordinal: self.u8()?,
        })
    }

    pub(crate) fn holder(&mut self) -> Result<Holder, StoreError> {
        Ok(Holder {
            agent: AgentId::from_bits(self.u128()?),
            session: self.u64()?,
        })
    }

    /// A pool, up to the end.
    pub(crate) fn pool(mut self) -> Result<Pool, StoreError> {
        let owner = self.tenant()?;
        let name = core::str::from_utf8(&self.bytes).map_err(|_| corrupt(self.what))?;
        Ok(Pool {
            owner,
            name: name.to_owned(),
        })
    }

    /// A header; whether the deliveries have a record of their own, and the run
    /// with neither indices nor retry.
    pub(crate) fn header(
        &mut self,
        partition: Partition,
        tenant: TenantId,
        subscription: SubscriptionNumber,
    ) -> Result<(bool, Run), StoreError> {
        let _epoch = self.u32()?;
        let recorded = self.u8()? == 1;
        let leases_lost = self.u8()?;
        let charge = self.u32()?;
        let generation = self.u16()?;
        let run = Run {
            tenant,
            subscription,
            segment: self.segment(partition)?,
            indices: Vec::new(),
            leases_lost,
            charge,
            generation,
            retry: None,
        };
        Ok((recorded, run))
    }

    /// A run.
    pub(crate) fn run(&mut self, partition: Partition) -> Result<Run, StoreError> {
        let tenant = self.tenant()?;
        let subscription = SubscriptionNumber(self.u32()?);
        let (recorded, mut run) = self.header(partition, tenant, subscription)?;
        let count = usize::from(self.u8()?);
        run.indices = self.take(count)?.to_vec();
        if recorded {
            let length = self.u32()? as usize;
            run.retry = Some(self.take(length)?);
        }
        Ok(run)
    }

    /// A delivery's name.
    pub(crate) fn delivery(
        &mut self,
        partition: Partition,
    ) -> Result<(TenantId, DeliveryId), StoreError> {
        let tenant = self.tenant()?;
        let number = SubscriptionNumber(self.u32()?);
        let generation = self.u16()?;
        let segment = self.segment(partition)?;
        let index = self.u8()?;
        let id = DeliveryId::new(segment, index, number, generation);
        Ok((tenant, id))
    }

    /// One record of a history block.
    pub(crate) fn record(&mut self) -> Result<HistoryRecord, StoreError> {
        let length = self.u32()? as usize;
        Ok(HistoryRecord {
            tenant: self.tenant()?,
            record: self.take(length)?,
        })
    }
}

/// Reads a segment.
pub(crate) fn parse_segment(bytes: Bytes) -> Result<Segment, StoreError> {
    let mut reader = Reader::new("a segment", bytes);
    let tenant = reader.tenant()?;
    let count = reader.u8()?;
    let mut table = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        table.push((reader.u8()? == 1, reader.u32()? as usize));
    }
    let mut records = Vec::with_capacity(table.len());
    for (accepted, length) in table {
        let record = reader.take(length)?;
        records.push(if accepted { record } else { Bytes::new() });
    }
    Ok(Segment { tenant, records })
}

/// Reads the name of a lease.
pub(crate) fn parse_lease_id(partition: Partition, bytes: Bytes) -> Result<LeaseId, StoreError> {
    Reader::new("a lease's name", bytes)
        .segment(partition)
        .map(LeaseId)
}

/// Appends a run; joins it with its neighbour if nothing tells them apart.
pub(crate) fn push_run(runs: &mut Vec<Run>, run: Run) {
    if let Some(last) = runs.last_mut()
        && run.retry.is_none()
        && last.retry.is_none()
        && (last.tenant, last.subscription, last.segment)
            == (run.tenant, run.subscription, run.segment)
        && (last.generation, last.leases_lost, last.charge)
            == (run.generation, run.leases_lost, run.charge)
    {
        last.indices.extend_from_slice(&run.indices);
    } else {
        runs.push(run);
    }
}

#[cfg(test)]
mod tests;
