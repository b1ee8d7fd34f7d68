//! Buckets of tokens.
//!
//! Those of a partition are one sorted set, by the moment at which each is full. Nothing
//! is promised about them that a replica would have to have, so nobody waits for any.
//! To take twice would take twice as much, so that a call is sent once.

use redis::Pipeline;
use sidehook_core::{address::Partition, time::Timestamp};
use sidehook_store::{
    StoreError,
    rates::{SWEPT, Taken, Want},
};

use crate::{
    layout::Reader,
    leases::{by_partition, bytes},
    route::Route,
    scripts,
};

/// Takes tokens; `None` where a node does not answer as others do.
pub(crate) async fn take(
    route: &Route,
    now: Option<Timestamp>,
    wants: &[Want],
) -> Result<Vec<Option<Taken>>, StoreError> {
    let sorted = by_partition(wants, |want| Partition::of(want.tenant));
    let now = now
        .map(|now| now.as_millis().max(0).to_string())
        .unwrap_or_default();
    let mut pipe = Pipeline::new();
    for (partition, wants) in &sorted {
        let mut script = scripts::call(&scripts::TAKE, *partition);
        script.arg(&now).arg(wants.len() + SWEPT);
        for (_, want) in wants {
            let rate = want.rate.bounded();
            script.arg(&want.bucket[..]).arg(rate.per_second);
            script.arg(rate.burst).arg(want.tokens);
        }
        pipe.add_command(script);
    }
    let mut taken = vec![None; wants.len()];
    for (wants, reply) in sorted.values().zip(route.send_once(pipe).await?) {
        let mut reader = Reader::new("the reply to a take", bytes(reply));
        for (place, want) in wants {
            // An error of its node has no bytes.
            if reader.is_empty() {
                break;
            }
            let (granted, full_in) = (reader.u32()?, reader.u64()?);
            taken[*place] = Some(Taken::told(want.rate.bounded(), granted, full_in));
        }
    }
    Ok(taken)
}
