//! Counting what unfinished deliveries there are, and who else is there, beside servers
//! at work: in steps as short as any of theirs, from counters that Redis keeps anyway.

use std::collections::BTreeMap;

use bytes::Bytes;
use redis::Value;
use sidehook_core::{
    address::Partition,
    id::{SubscriptionNumber, TenantId},
};
use sidehook_store::{StoreError, budget::Usage, inspect::Occupancy};

use crate::{
    inspect,
    layout::{self, Reader, corrupt},
    leases::{bytes, list},
    route::Route,
};

/// Entries of one step.
const STEP: usize = 500;
/// A hint that tells nothing: whoever listens passes it over.
const NOTHING: &[u8] = b"?";

/// How many processes listen to hints, but for our own: every server does as long as it
/// runs, over one node, and Redis tells with each message how many got it over the node
/// that was given it.
pub(crate) async fn others(route: &Route) -> Result<u64, StoreError> {
    let partition = Partition::all().next();
    let partition = partition.ok_or_else(|| corrupt("the list of partitions"))?;
    let mut cmd = redis::cmd("PUBLISH");
    cmd.arg(layout::key(partition, "hints", b"")).arg(NOTHING);
    let mut listeners = 0;
    for answer in route.everywhere(cmd).await? {
        let Value::Int(here) = answer else {
            return Err(corrupt("the number of listeners"));
        };
        listeners += u64::try_from(here).unwrap_or(0);
    }
    Ok(listeners.saturating_sub(1))
}

/// What a queue's record tells, as far as it is counted here.
struct Counted {
    lent: u64,
    /// `None` once the subscription is deleted: what is left has ended.
    ready: Option<u64>,
}

/// What a partition's state tells.
#[derive(Default)]
struct State {
    queues: BTreeMap<(TenantId, SubscriptionNumber), Counted>,
    used: BTreeMap<TenantId, Usage>,
}

pub(crate) async fn occupancy(
    route: &Route,
    partition: Partition,
) -> Result<BTreeMap<TenantId, Occupancy>, StoreError> {
    let State { queues, used } = state(route, partition).await?;
    let mut tenants: BTreeMap<TenantId, Occupancy> = BTreeMap::new();
    for (tenant, used) in used {
        tenants.entry(tenant).or_default().used = used;
    }
    for ((tenant, _), queue) in &queues {
        let counts = tenants.entry(*tenant).or_default();
        counts.ready += queue.ready.unwrap_or(0);
        counts.lent += queue.lent;
    }
    let mut from = 0;
    loop {
        let mut cmd = redis::cmd("ZRANGE");
        cmd.arg(layout::key(partition, "wait", b""))
            .arg(from)
            .arg(from + STEP - 1);
        let names = list(route.one(cmd).await?);
        let count = names.len();
        for name in names {
            let (tenant, id) = Reader::new("a delivery's name", bytes(name)).delivery(partition)?;
            let queue = queues.get(&(tenant, id.subscription()));
            if queue.is_some_and(|queue| queue.ready.is_some()) {
                tenants.entry(tenant).or_default().waiting += 1;
            }
        }
        from += count;
        if count < STEP {
            tenants.retain(|_, counts| *counts != Occupancy::default());
            return Ok(tenants);
        }
    }
}

/// The counters of all queues and tenants. A scan may tell a field twice.
async fn state(route: &Route, partition: Partition) -> Result<State, StoreError> {
    let mut state = State::default();
    let mut cursor = Bytes::from_static(b"0");
    loop {
        let mut cmd = redis::cmd("HSCAN");
        cmd.arg(layout::key(partition, "state", b""))
            .arg(&cursor[..])
            .arg("COUNT")
            .arg(STEP);
        let mut answer = list(route.one(cmd).await?).into_iter();
        cursor = answer.next().map(bytes).unwrap_or_default();
        let rows = answer.next().map(list).unwrap_or_default();
        let rows: Vec<Bytes> = rows.into_iter().map(bytes).collect();
        for row in rows.chunks_exact(2) {
            state.used.extend(inspect::used(&row[0], &row[1])?);
            if row[0].len() != 21 || row[0][0] != b'q' {
                continue;
            }
            let mut name = Reader::new("a queue's name", row[0].slice(1..));
            let key = (name.tenant()?, SubscriptionNumber(name.u32()?));
            let mut reader = Reader::new("a queue", row[1].clone());
            let _window = reader.u32()?;
            let (lent, ready) = (reader.u32()?, reader.u32()?);
            let (_epoch, _paused) = (reader.u32()?, reader.u8()?);
            let is_live = reader.u8()? == 0;
            let counted = Counted {
                lent: lent.into(),
                ready: is_live.then_some(ready.into()),
            };
            state.queues.insert(key, counted);
        }
        if cursor[..] == b"0"[..] {
            return Ok(state);
        }
        if cursor.is_empty() {
            return Err(corrupt("the cursor of a scan"));
        }
    }
}
