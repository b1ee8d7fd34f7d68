//! Settling: outcomes in, stale positions out.

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};
use redis::Cmd;
use sidehook_core::address::Partition;
use sidehook_store::{
    StoreError,
    turn::{Disposition, LeaseSettle, Settle, SettleItem, SettleReply, Stamp},
};

use crate::{
    health,
    layout::{self, Reader},
    scripts,
};

/// Positions from here on are in no lease: stale without asking.
const POSITIONS: u16 = 128;

/// The script's call.
pub(crate) fn command(partition: Partition, stamp: Stamp, now: &str, call: &Settle) -> Cmd {
    let (mut block, mut notes) = (BytesMut::new(), Vec::new());
    let leases = call.leases.iter();
    let leases: Vec<_> = leases
        .map(|lease| pack(lease, &mut block, &mut notes))
        .collect();
    let mut script = scripts::call(&scripts::SETTLE, partition);
    script
        .arg(now)
        .arg(&layout::stamp(stamp)[..])
        .arg(&block[..])
        .arg(&*health::TERMS)
        .arg(notes);
    for lease in leases {
        script
            .arg(lease.head)
            .arg(lease.groups)
            .arg(lease.items)
            .arg(lease.retries);
    }
    script
}

/// One lease's arguments.
#[derive(Default)]
struct Packed {
    head: Vec<u8>,
    groups: Vec<u8>,
    items: Vec<u8>,
    retries: Vec<u8>,
}

fn pack(lease: &LeaseSettle, block: &mut BytesMut, notes: &mut Vec<u8>) -> Packed {
    let mut packed = Packed::default();
    packed
        .head
        .extend_from_slice(&layout::segment(lease.lease.0));
    packed.head.put_u128(lease.token);
    let mut last: Option<(usize, &SettleItem)> = None;
    for item in lease.items.iter().filter(|one| one.position < POSITIONS) {
        match last {
            Some((at, before)) if alike(before, item) => packed.groups[at] += 1,
            _ => {
                last = Some((packed.groups.len(), item));
                packed.groups.push(1);
                let queue = layout::queue(item.tenant, item.subscription);
                packed.groups.extend_from_slice(&queue);
                packed.groups.put_u16(item.generation);
                let segment = layout::segment(item.segment);
                packed.groups.extend_from_slice(&segment);
            }
        }
        packed.items.push(item.position as u8);
        packed.items.push(item.index);
        let offset = block.len() as u32;
        let kind = match &item.disposition {
            Disposition::End { record } => {
                layout::put_record(block, item.tenant, record);
                b'e'
            }
            Disposition::Retry { at, retry, record } => {
                layout::put_record(block, item.tenant, record);
                packed.retries.put_u64(at.as_millis().max(0) as u64);
                packed.retries.put_u32(retry.len() as u32);
                packed.retries.extend_from_slice(retry);
                b'r'
            }
            Disposition::Release => b'b',
        };
        packed.items.push(kind);
        packed.items.put_u32(offset);
        packed
            .items
            .push(health::put_mark(item.mark.as_ref(), notes));
    }
    packed
}

fn alike(one: &SettleItem, other: &SettleItem) -> bool {
    (one.tenant, one.subscription, one.segment, one.generation)
        == (
            other.tenant,
            other.subscription,
            other.segment,
            other.generation,
        )
}

/// Reads the script's reply.
pub(crate) fn decode(reply: Bytes, call: &Settle) -> Result<SettleReply, StoreError> {
    let mut reader = Reader::new("the reply to a settle", reply);
    let mut stale = Vec::with_capacity(call.leases.len());
    for lease in &call.leases {
        let count = usize::from(reader.u8()?);
        let named: BTreeSet<u16> = reader
            .take(count)?
            .iter()
            .map(|one| u16::from(*one))
            .collect();
        let positions = lease.items.iter().map(|item| item.position);
        stale.push(
            positions
                .filter(|one| *one >= POSITIONS || named.contains(one))
                .collect(),
        );
    }
    Ok(SettleReply { stale })
}
