//! Ticking: what is due without traffic.

use core::time::Duration;

use bytes::Bytes;
use redis::Cmd;
use sidehook_core::{
    address::Partition,
    limits::{CALL_RECORDS, IDEMPOTENCY_TTL, LEASE_MAX, LOG_AGE, RETRY_WAIT_MAX},
    time::Timestamp,
};
use sidehook_store::{StoreError, rates::FULL_AFTER_MAX, turn::TickReply};

use crate::{layout::Reader, scripts};

/// How long an idle lane's last reply is kept: far beyond any repeat of its call.
const LANE_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Bytes of outcomes that one tick reads to learn what is over: some 2,000 stretches.
const OUTCOMES: usize = 64 * 1024;

/// The script's call.
pub(crate) fn command(partition: Partition, now: &str) -> Cmd {
    let mut script = scripts::call(&scripts::TICK, partition);
    script.arg(now).arg(CALL_RECORDS);
    for age in [LOG_AGE, IDEMPOTENCY_TTL, LANE_AGE] {
        script.arg(age.as_millis() as u64);
    }
    script.arg(OUTCOMES);
    for longest in [LEASE_MAX, RETRY_WAIT_MAX, FULL_AFTER_MAX] {
        script.arg(longest.as_millis() as u64);
    }
    script
}

/// Reads the script's reply.
pub(crate) fn decode(reply: Bytes) -> Result<TickReply, StoreError> {
    let mut reader = Reader::new("the reply to a tick", reply);
    let leases_lost = reader.u32()?;
    let next_due = Some(reader.time()?).filter(|due| *due > Timestamp::default());
    let mut due = Vec::new();
    while !reader.is_empty() {
        let length = usize::from(reader.u8()?);
        due.push(Reader::new("a pool", reader.take(length)?).pool()?);
    }
    due.sort_unstable();
    Ok(TickReply {
        next_due,
        due,
        leases_lost,
    })
}
