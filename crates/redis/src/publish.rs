//! Publishing: stages segments by plain SETs, which keep payloads out of Lua, and
//! hands the script what it needs to take them over.

use std::collections::HashMap;

use bytes::{BufMut, Bytes};
use redis::{Cmd, Pipeline};
use sidehook_core::{
    address::{EventId, Partition, Sequence},
    id::SubscriptionNumber,
    limits::{DELIVERY_OVERHEAD, EVENT_OVERHEAD, IDEMPOTENCY_TTL},
};
use sidehook_store::{
    StoreError,
    budget::{Exhausted, Which},
    turn::{
        EventPublished, NewEvent, Publish, PublishReply, Stamp, TenantPublish, TenantPublished,
    },
};

use crate::{
    layout::{self, Reader},
    scripts,
};

/// The keys that a call stages its segments under.
pub(crate) fn staged(partition: Partition, stamp: Stamp, call: &Publish) -> Vec<Vec<u8>> {
    (0..call.tenants.len())
        .map(|place| {
            let name = [&layout::stamp(stamp)[..], &[place as u8]].concat();
            layout::key(partition, "new:", &name)
        })
        .collect()
}

/// Appends the SETs and the script's call, in front of a lane's first ones its
/// announcement; answers how many SETs.
pub(crate) fn append(
    pipe: &mut Pipeline,
    partition: Partition,
    stamp: Stamp,
    now: &str,
    call: &Publish,
) -> usize {
    let mut script = scripts::call(&scripts::PUBLISH, partition);
    script
        .arg(now)
        .arg(&layout::stamp(stamp)[..])
        .arg(IDEMPOTENCY_TTL.as_millis() as u64)
        .arg(EVENT_OVERHEAD)
        .arg(DELIVERY_OVERHEAD);
    let keys = staged(partition, stamp, call);
    let count = keys.len();
    if stamp.sequence == Sequence::FIRST {
        let mut lane = scripts::call(&scripts::LANE, partition);
        pipe.add_command(lane.arg(now).arg(&layout::stamp(stamp)[..]).clone());
    }
    for (key, tenant) in keys.into_iter().zip(&call.tenants) {
        let records = tenant.events.iter().map(|event| &event.record);
        let segment = layout::pack_segment(tenant.tenant, records);
        append_tenant(&mut script, tenant, segment.len());
        pipe.cmd("SET").arg(key).arg(segment);
    }
    pipe.add_command(script);
    count
}

fn append_tenant<'a>(script: &mut Cmd, tenant: &'a TenantPublish, bytes: usize) {
    let mut head = Vec::with_capacity(53);
    head.extend_from_slice(&tenant.tenant.to_bytes());
    head.extend_from_slice(&layout::version(tenant.catalog));
    head.put_u32(bytes as u32);
    head.push(tenant.events.len() as u8);
    head.put_u64(tenant.budget.pending);
    head.put_u64(tenant.budget.log);
    let keyed = || {
        let with_key = |event: &'a NewEvent| Some((event, event.idempotency?));
        tenant.events.iter().filter_map(with_key)
    };
    let indices: Vec<u8> = keyed().map(|(event, _)| event.id.index()).collect();
    script.arg(head).arg(runs(tenant)).arg(indices);
    for (event, idempotency) in keyed() {
        let mut pair = [0; 68];
        pair[..16].copy_from_slice(&tenant.tenant.to_bytes());
        pair[16..32].copy_from_slice(&idempotency.key);
        pair[32..48].copy_from_slice(&idempotency.content);
        pair[48..64].copy_from_slice(&event.id.to_bytes());
        pair[64..].copy_from_slice(&(event.record.len() as u32).to_be_bytes());
        script.arg(&pair[..32]).arg(&pair[32..]);
    }
}

/// The events of each target, in the order in which targets first occur: queues
/// join their rings in that order.
fn runs(tenant: &TenantPublish) -> Vec<u8> {
    let mut places: HashMap<SubscriptionNumber, usize> = HashMap::new();
    let mut rows: Vec<(SubscriptionNumber, Vec<u8>)> = Vec::new();
    for event in &tenant.events {
        for target in &event.targets {
            let place = *places.entry(*target).or_insert(rows.len());
            if place == rows.len() {
                rows.push((*target, Vec::new()));
            }
            rows[place].1.push(event.id.index());
        }
    }
    let mut packed = Vec::with_capacity(rows.iter().map(|(_, row)| row.len() + 5).sum());
    for (number, indices) in rows {
        packed.put_u32(number.0);
        packed.push(indices.len() as u8);
        packed.extend_from_slice(&indices);
    }
    packed
}

/// Reads the script's reply.
pub(crate) fn decode(reply: Bytes, call: &Publish) -> Result<PublishReply, StoreError> {
    let mut reader = Reader::new("the reply to a publish", reply);
    let mut tenants = Vec::with_capacity(call.tenants.len());
    for _ in &call.tenants {
        tenants.push(match reader.u8()? {
            b's' => TenantPublished::Stale {
                current: reader.version()?,
            },
            b'x' => TenantPublished::Exhausted(Exhausted {
                which: match reader.u8()? {
                    0 => Which::Pending,
                    1 => Which::Log,
                    _ => return Err(layout::corrupt("the reply to a publish")),
                },
                used: reader.u64()?,
                budget: reader.u64()?,
            }),
            b'A' => {
                let count = usize::from(reader.u8()?);
                TenantPublished::Done(vec![EventPublished::Accepted; count])
            }
            b'd' => TenantPublished::Done(results(&mut reader)?),
            _ => return Err(layout::corrupt("the reply to a publish")),
        });
    }
    Ok(PublishReply { tenants })
}

fn results(reader: &mut Reader) -> Result<Vec<EventPublished>, StoreError> {
    let count = reader.u8()?;
    (0..count)
        .map(|_| {
            Ok(match reader.u8()? {
                b'd' => EventPublished::Duplicate(EventId::from_bits(reader.u128()?)),
                b'k' => EventPublished::KeyReused(EventId::from_bits(reader.u128()?)),
                b'a' => EventPublished::Accepted,
                _ => return Err(layout::corrupt("the reply to a publish")),
            })
        })
        .collect()
}
