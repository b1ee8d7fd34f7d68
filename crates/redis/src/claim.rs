//! Claiming: demands in, grants out.

use bytes::{BufMut, Bytes};
use redis::Cmd;
use sidehook_core::{
    address::Partition,
    limits::{CALL_RECORDS, CLAIM_QUANTUM},
};
use sidehook_store::{
    StoreError, rules,
    turn::{Claim, ClaimReply, Demand, Grant, LeaseId, Stamp},
};

use crate::{
    layout::{self, Reader},
    scripts,
};

/// The script's call.
pub(crate) fn command(partition: Partition, stamp: Stamp, now: &str, call: &Claim) -> Cmd {
    let mut script = scripts::call(&scripts::CLAIM, partition);
    script
        .arg(now)
        .arg(&layout::stamp(stamp)[..])
        .arg(CALL_RECORDS)
        .arg(CLAIM_QUANTUM);
    for demand in &call.demands {
        script.arg(pack(demand));
    }
    script
}

fn pack(demand: &Demand) -> Vec<u8> {
    let mut packed = Vec::with_capacity(90 + 20 * demand.shares.len());
    packed.put_u128(demand.token);
    packed.extend_from_slice(&layout::holder(demand.holder));
    packed.put_u32(demand.max_deliveries);
    packed.put_u64(u64::try_from(demand.lease.as_millis()).unwrap_or(u64::MAX >> 12));
    packed.put_u32(demand.per_tenant);
    packed.put_u16(u16::try_from(demand.shares.len()).unwrap_or(u16::MAX));
    for (tenant, share) in &demand.shares {
        packed.extend_from_slice(&tenant.to_bytes());
        packed.put_u32(*share);
    }
    packed.extend_from_slice(&layout::pool(&demand.pool));
    packed
}

/// Reads the script's reply.
pub(crate) fn decode(
    reply: Bytes,
    partition: Partition,
    stamp: Stamp,
    call: &Claim,
) -> Result<ClaimReply, StoreError> {
    let mut reader = Reader::new("the reply to a claim", reply);
    let mut grants = Vec::with_capacity(call.demands.len());
    for place in 0..call.demands.len() {
        grants.push(match reader.u8()? {
            b'0' => None,
            _ => Some(grant(&mut reader, partition, stamp, place)?),
        });
    }
    let mut more = Vec::with_capacity(call.demands.len());
    for _ in &call.demands {
        more.push(reader.u8()? == b'1');
    }
    let mut catalogs = Vec::new();
    while !reader.is_empty() {
        catalogs.push((reader.tenant()?, reader.version()?));
    }
    catalogs.sort_unstable_by_key(|(tenant, _)| *tenant);
    Ok(ClaimReply {
        grants,
        more,
        catalogs,
    })
}

fn grant(
    reader: &mut Reader,
    partition: Partition,
    stamp: Stamp,
    place: usize,
) -> Result<Grant, StoreError> {
    let lease = rules::address(partition, stamp, place)
        .map(LeaseId)
        .ok_or_else(|| layout::corrupt("a lease's ordinal"))?;
    let deadline = reader.time()?;
    let count = reader.u16()?;
    let mut runs = Vec::new();
    for _ in 0..count {
        let run = reader.run(partition)?;
        layout::push_run(&mut runs, run);
    }
    Ok(Grant {
        lease,
        deadline,
        runs,
    })
}
