//! Taking over what another store exported: one script for each call, with records
//! in the formats of the layout.

use bytes::{BufMut as _, BytesMut};
use redis::{Cmd, Pipeline, Value};
use sidehook_core::{
    address::{Partition, SegmentId},
    limits::IDEMPOTENCY_TTL,
    time::Timestamp,
};
use sidehook_store::{
    CallError, StoreError,
    image::Image,
    rules::{self, Needs},
    turn::{Run, Stamp},
};

use crate::{error, health, layout, route::Route, scripts};

pub(crate) async fn import(
    route: &Route,
    now: Option<Timestamp>,
    partition: Partition,
    stamp: Stamp,
    records: &[Image],
) -> Result<(), CallError> {
    rules::import(partition, records)?;
    let mut pipe = Pipeline::new();
    pipe.add_command(command(now, partition, stamp, records));
    let sent = route.send_kept(pipe).await;
    let values = sent.map_err(|error| match error {
        StoreError::Unavailable { detail, .. } => CallError::Unknown { detail },
        StoreError::Corrupt { detail } => CallError::Refused { detail },
    })?;
    match values.first() {
        Some(Value::BulkString(reply)) if reply.first() == Some(&b'=') => Ok(()),
        Some(Value::BulkString(_)) => Err(CallError::Superseded),
        Some(Value::ServerError(error)) => Err(error::call_error(error)),
        _ => Err(CallError::Unknown {
            detail: "no reply to the import".to_owned(),
        }),
    }
}

fn command(now: Option<Timestamp>, partition: Partition, stamp: Stamp, records: &[Image]) -> Cmd {
    let needs = Needs::of(records);
    let queues = needs.queues.iter();
    let queues: Vec<u8> = queues.flat_map(|key| layout::queue(key.0, key.1)).collect();
    let segments = needs.segments.iter();
    let segments: Vec<u8> = segments.flat_map(|id| layout::segment(*id)).collect();
    let mut script = scripts::call(&scripts::IMPORT, partition);
    script
        .arg(now.map(|now| millis(now).to_string()).unwrap_or_default())
        .arg(&layout::stamp(stamp)[..])
        .arg(queues)
        .arg(segments);
    // The block stands in front of the records that refer to it.
    let (mut block, mut offsets) = (BytesMut::new(), Vec::new());
    for record in records {
        if let Image::Attempts {
            tenant, records, ..
        } = record
        {
            offsets.push(block.len());
            for record in records {
                layout::put_record(&mut block, *tenant, record);
            }
        }
    }
    script.arg(&block[..]);
    let mut offsets = offsets.into_iter();
    for record in records {
        append(&mut script, record, &mut offsets);
    }
    script
}

fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(0)
}

fn append(script: &mut Cmd, record: &Image, offsets: &mut impl Iterator<Item = usize>) {
    match record {
        Image::Tenant { tenant, version } => {
            script.arg("t").arg(&tenant.to_bytes()[..]);
            script.arg(&layout::version(*version)[..]);
        }
        Image::Subscription {
            tenant,
            row,
            queue,
            health,
        } => {
            let value = [&layout::version(row.version)[..], &row.record].concat();
            script.arg("s").arg(&layout::queue(*tenant, row.number)[..]);
            script.arg(value).arg(queue.window);
            script.arg(u8::from(queue.paused));
            script.arg(layout::pool(&queue.pool));
            for row in health::pack(health) {
                script.arg(row);
            }
        }
        Image::Deleted {
            tenant,
            number,
            version,
        } => {
            script.arg("g").arg(&layout::queue(*tenant, *number)[..]);
            script.arg(&layout::version(*version)[..]);
        }
        Image::Segment {
            id,
            tenant,
            published,
            bytes,
            records,
        } => {
            script.arg("e").arg(&tenant.to_bytes()[..]);
            script.arg(&millis(*published).to_be_bytes()[..]);
            script
                .arg(name(*id))
                .arg(layout::pack_kept(*tenant, records))
                .arg(&bytes.to_be_bytes()[..]);
        }
        Image::Attempts {
            segment, records, ..
        } => {
            script.arg("o").arg(name(*segment));
            script.arg(offsets.next().unwrap_or(0)).arg(records.len());
        }
        Image::Deliveries { run, due } => {
            script
                .arg("r")
                .arg(&layout::queue(run.tenant, run.subscription)[..]);
            script.arg(header(run)).arg(&run.indices[..]);
            script.arg(run.retry.as_deref().unwrap_or_default());
            script.arg(due.map(|due| millis(due).to_string()).unwrap_or_default());
        }
        Image::Key {
            tenant,
            idempotency,
            event,
            at,
        } => {
            let ttl = u64::try_from(IDEMPOTENCY_TTL.as_millis()).unwrap_or(u64::MAX);
            let time = millis(*at).to_be_bytes();
            script.arg("k").arg(millis(*at) / ttl);
            script.arg([tenant.to_bytes(), idempotency.key].concat());
            script.arg([&idempotency.content[..], &event.to_bytes(), &time].concat());
        }
        // Refused before: it lies in no partition.
        Image::Registry { .. } => {}
    }
}

fn name(id: SegmentId) -> Vec<u8> {
    layout::segment(id).to_vec()
}

/// A header without its epoch, which the store gives.
fn header(run: &Run) -> Vec<u8> {
    let mut packed = Vec::with_capacity(21);
    packed.push(u8::from(run.retry.is_some()));
    packed.push(run.leases_lost);
    packed.put_u32(run.charge);
    packed.put_u16(run.generation);
    packed.extend_from_slice(&layout::segment(run.segment));
    packed
}
