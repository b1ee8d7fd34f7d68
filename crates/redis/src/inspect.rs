//! Laying a partition open: everything in one view, and whatever contradicts itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use sidehook_core::{
    address::{DeliveryId, Partition, SegmentId},
    id::{SubscriptionNumber, TenantId},
    pool::Pool,
    time::Timestamp,
};
use sidehook_store::{
    StoreError,
    budget::Usage,
    inspect::{Inspection, difference},
    turn::LeaseId,
};

use crate::{
    health,
    image::remembered,
    layout::{self, Reader, corrupt},
    leases::{self, bytes, list},
    route::Route,
    scripts,
};

pub(crate) type QueueKey = (TenantId, SubscriptionNumber);

/// A queue's record.
struct Queue {
    window: u32,
    flying: u32,
    ready: u32,
    epoch: u32,
    paused: bool,
    deleted: bool,
    ringed: bool,
    /// Charges of what is queued and waits.
    owed: u64,
    pool: Pool,
}

/// The script's answer, part by part.
struct Dump {
    state: Vec<(Bytes, Bytes)>,
    lease: Vec<(Bytes, Bytes)>,
    open: HashMap<Bytes, Bytes>,
    rec: HashMap<Bytes, Bytes>,
    wait: Vec<(Bytes, Bytes)>,
    deadlines: Vec<(Bytes, Bytes)>,
    log: Vec<Bytes>,
    lists: Vec<(Bytes, Vec<Bytes>)>,
    rings: Vec<(Bytes, Vec<Bytes>)>,
    outcomes: Vec<Bytes>,
    health: Vec<(Bytes, Bytes)>,
}

fn pairs(value: Option<redis::Value>) -> Vec<(Bytes, Bytes)> {
    let mut flat = value.map(list).unwrap_or_default().into_iter().map(bytes);
    let mut pairs = Vec::new();
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        pairs.push((name, value));
    }
    pairs
}

fn named_lists(value: Option<redis::Value>) -> Vec<(Bytes, Vec<Bytes>)> {
    let mut flat = value.map(list).unwrap_or_default().into_iter();
    let mut found = Vec::new();
    while let (Some(name), Some(items)) = (flat.next(), flat.next()) {
        found.push((bytes(name), list(items).into_iter().map(bytes).collect()));
    }
    found
}

fn flat(value: Option<redis::Value>) -> Vec<Bytes> {
    let values = value.map(list).unwrap_or_default();
    values.into_iter().map(bytes).collect()
}

pub(crate) async fn inspect(route: &Route, partition: Partition) -> Result<Inspection, StoreError> {
    let script = scripts::call(&scripts::INSPECT, partition);
    let mut parts = list(route.one(script).await?).into_iter();
    let dump = Dump {
        state: pairs(parts.next()),
        lease: pairs(parts.next()),
        open: pairs(parts.next()).into_iter().collect(),
        rec: pairs(parts.next()).into_iter().collect(),
        wait: pairs(parts.next()),
        deadlines: pairs(parts.next()),
        log: flat(parts.next()),
        lists: named_lists(parts.next()),
        rings: named_lists(parts.next()),
        outcomes: flat(parts.next()),
        health: pairs(parts.next()),
    };
    View::new(partition, &dump)?.finish(&dump)
}

/// What is gathered from a dump.
struct View {
    partition: Partition,
    queues: BTreeMap<QueueKey, Queue>,
    seen: Inspection,
    /// Unfinished deliveries, those of deleted subscriptions included.
    unfinished: HashMap<SegmentId, i64>,
    /// What tenants have, as their rows tell, and as it is counted here.
    told: BTreeMap<TenantId, Usage>,
    counted: BTreeMap<TenantId, Usage>,
    /// Charges of what is queued and waits, of queues that are not deleted.
    owed: BTreeMap<QueueKey, u64>,
}

pub(crate) fn queue_key(packed: &Bytes) -> Result<QueueKey, StoreError> {
    let mut reader = Reader::new("a queue's name", packed.clone());
    Ok((reader.tenant()?, SubscriptionNumber(reader.u32()?)))
}

pub(crate) fn score(text: &Bytes) -> Result<Timestamp, StoreError> {
    let text = core::str::from_utf8(text).ok();
    let number: Option<f64> = text.and_then(|text| text.parse().ok());
    number
        .map(|number| Timestamp::from_millis(number as i64))
        .ok_or_else(|| corrupt("a score"))
}

impl View {
    fn new(partition: Partition, dump: &Dump) -> Result<Self, StoreError> {
        let (mut queues, mut told) = (BTreeMap::new(), BTreeMap::new());
        for (field, value) in &dump.state {
            if let Some((tenant, used)) = used(field, value)? {
                told.insert(tenant, used);
            }
            if field.len() != 21 || field[0] != b'q' {
                continue;
            }
            let mut reader = Reader::new("a queue", value.clone());
            let queue = Queue {
                window: reader.u32()?,
                flying: reader.u32()?,
                ready: reader.u32()?,
                epoch: reader.u32()?,
                paused: reader.u8()? == 1,
                deleted: reader.u8()? == 1,
                ringed: reader.u8()? == 1,
                owed: reader.u64()?,
                pool: reader.pool()?,
            };
            queues.insert(queue_key(&field.slice(1..))?, queue);
        }
        Ok(Self {
            partition,
            queues,
            seen: Inspection::default(),
            unfinished: HashMap::new(),
            told,
            counted: BTreeMap::new(),
            owed: BTreeMap::new(),
        })
    }

    fn fault(&mut self, fault: String) {
        self.seen.faults.push(fault);
    }

    fn count(&mut self, delivery: DeliveryId) {
        if let Some(segment) = delivery.segment() {
            *self.unfinished.entry(segment).or_default() += 1;
        }
    }

    /// Counts what a queue's deliveries owe that are queued or wait.
    fn charge(&mut self, key: QueueKey, charge: u64) {
        if self.queues.get(&key).is_some_and(|queue| !queue.deleted) {
            *self.owed.entry(key).or_default() += charge;
            self.counted.entry(key.0).or_default().pending += charge;
        }
    }

    fn finish(mut self, dump: &Dump) -> Result<Inspection, StoreError> {
        self.ready(dump)?;
        self.leased(dump)?;
        self.waiting(dump)?;
        self.in_flight();
        self.rings(dump)?;
        self.log(dump)?;
        self.usage();
        self.health(dump)?;
        Ok(self.seen)
    }

    /// What tenants and queues are said to owe is what their deliveries do.
    fn usage(&mut self) {
        let told = self.queues.iter().map(|(key, queue)| (*key, queue.owed));
        let queues = difference("queues owe", &mut self.owed, &mut told.collect());
        let tenants = difference("tenants have", &mut self.counted, &mut self.told);
        self.seen.faults.extend(queues.into_iter().chain(tenants));
        self.seen.used = core::mem::take(&mut self.told);
    }

    fn health(&mut self, dump: &Dump) -> Result<(), StoreError> {
        self.seen.health = health::of_fields(&dump.health)?;
        let live = |key: &QueueKey| self.queues.get(key).is_some_and(|queue| !queue.deleted);
        let faults = self.seen.health_faults(live);
        self.seen.faults.extend(faults);
        Ok(())
    }

    fn ready(&mut self, dump: &Dump) -> Result<(), StoreError> {
        let mut ready = BTreeMap::new();
        for (name, entries) in &dump.lists {
            let (tenant, number) = queue_key(name)?;
            let mut found = Vec::new();
            for entry in entries {
                let mut reader = Reader::new("a queue's entry", entry.clone());
                let (recorded, run) = reader.header(self.partition, tenant, number)?;
                let indices = reader.rest();
                let charge = u64::from(run.charge) * indices.len() as u64;
                self.charge((tenant, number), charge);
                for index in indices {
                    let id = DeliveryId::new(run.segment, index, number, run.generation);
                    found.push(id);
                    self.count(id);
                    if recorded && !dump.rec.contains_key(&record_name(tenant, id)) {
                        self.fault(format!("{id}: queued without its record"));
                    }
                }
            }
            let queue = &self.queues[&(tenant, number)];
            if queue.ready as usize != found.len() {
                let told = queue.ready;
                self.fault(format!(
                    "{tenant} {number:?}: {} queued, {told} counted",
                    found.len()
                ));
            }
            if !self.queues[&(tenant, number)].deleted {
                ready.insert((tenant, number), found);
            }
        }
        for ((tenant, _), found) in ready {
            self.seen
                .ready
                .extend(found.into_iter().map(|id| (tenant, id)));
        }
        Ok(())
    }

    fn leased(&mut self, dump: &Dump) -> Result<(), StoreError> {
        let mut names = BTreeSet::new();
        let mut found = BTreeMap::new();
        for (name, record) in &dump.lease {
            names.insert(name.clone());
            let id = layout::parse_lease_id(self.partition, name.clone())?;
            let open = dump.open.get(name).cloned().unwrap_or_default();
            found.insert(id, leases::parse(id, record, &open)?);
        }
        let deadlines: BTreeSet<Bytes> = dump
            .deadlines
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        if names != deadlines {
            self.fault("leases and their deadlines differ".to_owned());
        }
        if dump.open.keys().any(|name| !names.contains(name)) {
            self.fault("an open map without its lease".to_owned());
        }
        for (id, lease) in found {
            let ids = lease.runs.iter().flat_map(|run| {
                run.indices.iter().map(|index| {
                    let number = run.subscription;
                    let id = DeliveryId::new(run.segment, *index, number, run.generation);
                    (run.tenant, id, run.charge)
                })
            });
            for (position, (tenant, delivery, charge)) in (0_u16..).zip(ids) {
                if lease.open.binary_search(&position).is_ok() {
                    self.counted.entry(tenant).or_default().pending += u64::from(charge);
                    self.seen.leased.push((tenant, delivery, LeaseId(id.0)));
                    self.count(delivery);
                }
            }
        }
        Ok(())
    }

    fn waiting(&mut self, dump: &Dump) -> Result<(), StoreError> {
        let mut found = BTreeMap::new();
        for (name, due) in &dump.wait {
            let (tenant, id) =
                Reader::new("a delivery's name", name.clone()).delivery(self.partition)?;
            self.count(id);
            let key = (tenant, id.subscription());
            match dump.rec.get(name) {
                Some(record) => self.charge(key, remembered(record)?.charge.into()),
                None => self.fault(format!("{id}: waits without its record")),
            }
            if self.queues.get(&key).is_some_and(|queue| !queue.deleted) {
                found.insert((key, id), score(due)?);
            }
        }
        let waiting = found
            .into_iter()
            .map(|(((tenant, _), id), due)| (tenant, id, due));
        self.seen.waiting.extend(waiting);
        Ok(())
    }

    fn in_flight(&mut self) {
        let mut lent: BTreeMap<QueueKey, u32> = BTreeMap::new();
        for (tenant, id, _) in &self.seen.leased {
            *lent.entry((*tenant, id.subscription())).or_default() += 1;
        }
        let told: BTreeMap<QueueKey, u32> = self
            .queues
            .iter()
            .filter(|(_, queue)| queue.flying > 0)
            .map(|(key, queue)| (*key, queue.flying))
            .collect();
        if lent != told {
            self.fault(format!("in flight: {lent:?} lent, {told:?} counted"));
        }
        let told = told
            .into_iter()
            .map(|((tenant, number), count)| (tenant, number, count));
        self.seen.in_flight.extend(told);
    }

    fn rings(&mut self, dump: &Dump) -> Result<(), StoreError> {
        let mut ringed: BTreeMap<QueueKey, Pool> = BTreeMap::new();
        for (name, numbers) in &dump.rings {
            let mut reader = Reader::new("a ring", name.clone());
            let tenant = reader.tenant()?;
            let pool = reader.pool()?;
            for number in numbers {
                let number = Reader::new("a ring's entry", number.clone()).u32()?;
                let key = (tenant, SubscriptionNumber(number));
                if ringed.insert(key, pool.clone()).is_some() {
                    self.fault(format!("{key:?}: twice in rings"));
                }
            }
        }
        let mut faults = Vec::new();
        for (key, queue) in &self.queues {
            let eligible =
                !queue.paused && !queue.deleted && queue.ready > 0 && queue.flying < queue.window;
            let ring = ringed.remove(key);
            if eligible != queue.ringed
                || ring.is_some() != queue.ringed
                || ring.is_some_and(|pool| pool != queue.pool)
            {
                faults.push(format!("{key:?}: in the wrong ring, or wrongly in none"));
            }
            if queue.epoch == 0 || (queue.deleted && queue.ready == 0 && queue.flying == 0) {
                faults.push(format!("{key:?}: deleted, empty and still there"));
            }
        }
        faults.extend(
            ringed
                .keys()
                .map(|key| format!("{key:?}: in a ring, but no queue")),
        );
        self.seen.faults.extend(faults);
        Ok(())
    }

    fn log(&mut self, dump: &Dump) -> Result<(), StoreError> {
        self.seen.segments = dump.log.len();
        for (entry, outcomes) in dump.log.iter().zip(&dump.outcomes) {
            let mut reader = Reader::new("a log entry", entry.clone());
            let tenant = reader.tenant()?;
            let _published = reader.time()?;
            let segment = reader.segment(self.partition)?;
            let mut told = i64::from(reader.u32()?);
            self.counted.entry(tenant).or_default().log += u64::from(reader.u32()?);
            let mut reader = Reader::new("a segment's outcomes", outcomes.clone());
            while !reader.is_empty() {
                let _place = reader.take(layout::OUTCOME - 2)?;
                told -= i64::from(reader.i16()?);
            }
            let counted = self.unfinished.remove(&segment).unwrap_or(0);
            if counted != told {
                self.fault(format!("{segment:?}: {counted} unfinished, {told} counted"));
            }
        }
        let gone: Vec<_> = self.unfinished.keys().copied().collect();
        for segment in gone {
            self.fault(format!("{segment:?}: gone before its deliveries"));
        }
        Ok(())
    }
}

/// What the row of a tenant tells that it has; `None` for another row.
pub(crate) fn used(field: &Bytes, value: &Bytes) -> Result<Option<(TenantId, Usage)>, StoreError> {
    if field.len() != 17 || field[0] != b't' {
        return Ok(None);
    }
    let tenant = Reader::new("a tenant", field.slice(1..)).tenant()?;
    let mut reader = Reader::new("a tenant", value.clone());
    let (_version, _left) = (reader.version()?, reader.u64()?);
    let used = Usage {
        pending: reader.u64()?,
        log: reader.u64()?,
    };
    Ok(Some((tenant, used)))
}

fn record_name(tenant: TenantId, id: DeliveryId) -> Bytes {
    let place = layout::place(id).unwrap_or_default();
    [&layout::queue(tenant, id.subscription())[..], &place]
        .concat()
        .into()
}
