//! Laying a partition open: everything in one view, and whatever contradicts itself.

use std::collections::{BTreeMap, BTreeSet};

use sidehook_core::{
    address::{DeliveryId, Partition, SegmentId},
    id::TenantId,
    pool::Pool,
    time::Timestamp,
};
use sidehook_store::{
    budget::Usage,
    inspect::{Inspection, difference},
    turn::LeaseId,
};

use crate::{
    codec::Reader,
    error::Fault,
    layout::{self, Definition, Entry, Loan, Place, Queue, QueueKey, Record, SegmentState, Stage},
    queue::place,
    tables::{Look as _, Pair, View},
};

/// What is gathered from the tables of one partition.
struct Sight {
    partition: Partition,
    seen: Inspection,
    queues: BTreeMap<QueueKey, Queue>,
    records: BTreeMap<Vec<u8>, Record>,
    /// Unfinished deliveries, those of deleted subscriptions included.
    unfinished: BTreeMap<SegmentId, u32>,
    /// What tenants have, counted here.
    counted: BTreeMap<TenantId, Usage>,
    /// Charges of what is queued and waits, of queues that are not deleted.
    owed: BTreeMap<QueueKey, u64>,
}

impl View {
    /// Lays a partition open.
    pub(crate) fn inspect(&self, partition: Partition) -> Result<Inspection, Fault> {
        let mut sight = Sight {
            partition,
            seen: Inspection::default(),
            queues: BTreeMap::new(),
            records: BTreeMap::new(),
            unfinished: BTreeMap::new(),
            counted: BTreeMap::new(),
            owed: BTreeMap::new(),
        };
        for (key, value) in self.partition(layout::QUEUES, partition)? {
            sight.queues.insert(
                layout::parse_queue(&key)?,
                Queue::parse(value).map_err(|fault| fault.at(&key))?,
            );
        }
        for (key, value) in self.partition(layout::RECORDS, partition)? {
            sight.records.insert(key, Record::parse(value)?);
        }
        sight.entries(&self.partition(layout::ENTRIES, partition)?)?;
        sight.leases(self)?;
        sight.waiting(&self.partition(layout::DUE, partition)?)?;
        sight.rings(self)?;
        sight.clearing(&self.partition(layout::CLEARING, partition)?)?;
        sight.segments(self)?;
        sight.tenants(self)?;
        sight.usage(self)?;
        sight.health(self)?;
        let damaged = self.keys(layout::DAMAGED, partition)?.len();
        if damaged > 0 {
            sight.fault(format!("{damaged} damaged rows were taken out of the way"));
        }
        Ok(sight.seen)
    }

    fn partition(&self, table: Definition, partition: Partition) -> Result<Vec<Pair>, Fault> {
        self.table(table)?.all(&layout::partition(partition))
    }

    fn keys(&self, table: Definition, partition: Partition) -> Result<BTreeSet<Vec<u8>>, Fault> {
        let prefix = layout::partition(partition);
        let keys = self.table(table)?.keys(&prefix, usize::MAX)?;
        Ok(keys.into_iter().collect())
    }
}

impl Sight {
    fn fault(&mut self, fault: String) {
        self.seen.faults.push(fault);
    }

    fn count(&mut self, segment: SegmentId, count: usize) {
        *self.unfinished.entry(segment).or_default() += u32::try_from(count).unwrap_or(u32::MAX);
    }

    /// Counts what a queue's deliveries owe that are queued or wait.
    fn charge(&mut self, key: QueueKey, charge: u64) {
        if self.queues.get(&key).is_some_and(Queue::is_live) {
            *self.owed.entry(key).or_default() += charge;
            self.counted.entry(key.0).or_default().pending += charge;
        }
    }

    /// Whether a delivery has a record, one that waits or one that does not.
    fn recorded(&self, place: &Place) -> Option<Option<Timestamp>> {
        let record = self.records.get(&layout::record(place))?;
        Some(record.due)
    }

    /// Health belongs to subscriptions that are there, and does not contradict itself.
    fn health(&mut self, view: &View) -> Result<(), Fault> {
        let (health, strays) = view.healths(self.partition)?;
        self.seen.health = health;
        let live = |key: &QueueKey| self.queues.get(key).is_some_and(Queue::is_live);
        let faults = self.seen.health_faults(live);
        self.seen.faults.extend(faults);
        if strays > 0 {
            self.fault(format!("{strays} rows of old health of no subscription"));
        }
        Ok(())
    }

    /// Queues' entries: without gaps, as many as counted, with their records.
    fn entries(&mut self, pairs: &[Pair]) -> Result<(), Fault> {
        let mut found: BTreeMap<QueueKey, (Vec<u64>, Vec<DeliveryId>)> = BTreeMap::new();
        for (key, value) in pairs {
            let (queue, position) = layout::parse_entry(key)?;
            let entry = Entry::parse(self.partition, value.clone())?;
            let (positions, ids) = found.entry(queue).or_default();
            positions.push(position);
            ids.extend(
                entry
                    .indices
                    .iter()
                    .map(|index| place(queue, &entry, *index).id()),
            );
            self.count(entry.segment, entry.indices.len());
            self.charge(queue, entry.charges());
            for index in &entry.indices {
                let place = place(queue, &entry, *index);
                if entry.recorded != self.recorded(&place).is_some()
                    || self.recorded(&place).flatten().is_some()
                {
                    let id = place.id();
                    self.fault(format!("{id}: queued, and its record says otherwise"));
                }
            }
        }
        for (key, queue) in &self.queues {
            let (positions, ids) = found.remove(key).unwrap_or_default();
            if !positions.into_iter().eq(queue.head..queue.tail) {
                let fault = format!("{key:?}: entries do not run from head to tail");
                self.seen.faults.push(fault);
            }
            if ids.len() as u64 != queue.ready {
                let fault = format!("{key:?}: {} queued, {} counted", ids.len(), queue.ready);
                self.seen.faults.push(fault);
            }
            if queue.is_live() {
                let ready = ids.into_iter().map(|id| (key.0, id));
                self.seen.ready.extend(ready);
            }
        }
        for key in found.into_keys() {
            self.fault(format!("{key:?}: entries, but no queue"));
        }
        Ok(())
    }

    /// Leases, with their deadlines, holders and what they hold; in-flight counters.
    fn leases(&mut self, view: &View) -> Result<(), Fault> {
        let (mut deadlines, mut holders, mut lent) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut in_flight: BTreeMap<QueueKey, u32> = BTreeMap::new();
        for (key, value) in view.partition(layout::LEASES, self.partition)? {
            let id = LeaseId(layout::parse_segment_key(&key)?);
            let loan = Loan::parse(self.partition, value)?;
            deadlines.insert(layout::timed(loan.deadline, id.0));
            holders.insert(layout::holder(loan.holder, id));
            let mut position = 0;
            for run in &loan.runs {
                lent.insert(layout::lent(run.segment, run.subscription, id));
                let queue = (run.tenant, run.subscription);
                for index in &run.indices {
                    if loan.is_open(position) {
                        let entry = crate::lease::entry_of(run, vec![*index]);
                        let place = place(queue, &entry, *index);
                        self.seen.leased.push((run.tenant, place.id(), id));
                        self.count(run.segment, 1);
                        let counted = self.counted.entry(run.tenant).or_default();
                        counted.pending += u64::from(run.charge);
                        *in_flight.entry(queue).or_default() += 1;
                        if run.retry.is_some() != self.recorded(&place).is_some() {
                            let id = place.id();
                            self.fault(format!("{id}: lent, and its record says otherwise"));
                        }
                    }
                    position += 1;
                }
            }
            if loan.open == 0 || u32::from(position) < 128 - loan.open.leading_zeros() {
                self.fault(format!("{id:?}: nothing open, or more than was lent"));
            }
        }
        for (table, wanted) in [
            (layout::DEADLINES, deadlines),
            (layout::HOLDERS, holders),
            (layout::LENT, lent),
        ] {
            if view.keys(table, self.partition)? != wanted {
                self.fault(format!("leases and {table} differ"));
            }
        }
        let told = self.queues.iter();
        let told = told.filter(|(_, queue)| queue.in_flight > 0);
        let told: BTreeMap<_, _> = told.map(|(key, queue)| (*key, queue.in_flight)).collect();
        if in_flight != told {
            self.fault(format!("in flight: {in_flight:?} lent, {told:?} counted"));
        }
        let told = told.into_iter();
        let told = told.map(|((tenant, number), count)| (tenant, number, count));
        self.seen.in_flight.extend(told);
        Ok(())
    }

    /// What waits is due, and what is due waits.
    fn waiting(&mut self, due: &[Pair]) -> Result<(), Fault> {
        let due: BTreeSet<&Vec<u8>> = due.iter().map(|(key, _)| key).collect();
        let mut wanted = BTreeSet::new();
        let (mut waiting, mut owed) = (BTreeMap::new(), Vec::new());
        for (key, record) in &self.records {
            let place = layout::parse_record(key)?;
            let Some(at) = record.due else {
                continue;
            };
            wanted.insert(layout::due(at, &place));
            owed.push((place.queue, record.charge));
            *self.unfinished.entry(place.segment).or_default() += 1;
            if self.queues.get(&place.queue).is_some_and(Queue::is_live) {
                waiting.insert((place.queue, place.id()), at);
            }
        }
        for (queue, charge) in owed {
            self.charge(queue, charge.into());
        }
        if !wanted.iter().eq(due) {
            self.fault("records that wait and times differ".to_owned());
        }
        let waiting = waiting.into_iter();
        let waiting = waiting.map(|(((tenant, _), id), at)| (tenant, id, at));
        self.seen.waiting.extend(waiting);
        Ok(())
    }

    /// Every eligible queue is in its pool's ring, where its row says.
    fn rings(&mut self, view: &View) -> Result<(), Fault> {
        let mut ringed: BTreeMap<QueueKey, (Pool, u64)> = BTreeMap::new();
        let mut places = BTreeSet::new();
        for (key, value) in view.partition(layout::RING_QUEUES, self.partition)? {
            let (pool, tenant, position) = layout::parse_ring_queue(&key)?;
            let number = Reader::new("a ring's queue", value).number()?;
            places.insert(layout::ring_place(&pool, tenant));
            if ringed.insert((tenant, number), (pool, position)).is_some() {
                self.fault(format!("{tenant} {number:?}: twice in rings"));
            }
        }
        let mut told = BTreeSet::new();
        for (key, value) in view.partition(layout::RING_TENANTS, self.partition)? {
            let (pool, position) = layout::parse_ring_tenant(&key)?;
            let tenant = Reader::new("a ring's tenant", value).tenant()?;
            let place = layout::ring_place(&pool, tenant);
            let at = view.table(layout::RING_PLACES)?.get(&place)?;
            if at.as_deref() != Some(&position.to_be_bytes()[..]) || !told.insert(place) {
                self.fault(format!("{tenant}: in a ring at another place than told"));
            }
        }
        if told != places || view.keys(layout::RING_PLACES, self.partition)? != places {
            self.fault("rings' tenants and queues differ".to_owned());
        }
        for (key, queue) in &self.queues {
            let wanted = (queue.ring != 0).then(|| (queue.settings.pool.clone(), queue.ring));
            if queue.eligible() != (queue.ring != 0) || ringed.remove(key) != wanted {
                let fault = format!("{key:?}: in the wrong ring, or wrongly in none");
                self.seen.faults.push(fault);
            }
        }
        for key in ringed.into_keys() {
            self.fault(format!("{key:?}: in a ring, but no queue"));
        }
        Ok(())
    }

    /// Deleted queues are on the list, and go when nothing is left of them.
    fn clearing(&mut self, pairs: &[Pair]) -> Result<(), Fault> {
        let listed = pairs.iter().map(|(key, _)| layout::parse_queue(key));
        let listed = listed.collect::<Result<BTreeSet<_>, Fault>>()?;
        let stage = |wanted| {
            let queues = self.queues.iter();
            queues
                .filter(move |(_, queue)| queue.stage == wanted)
                .map(|(key, queue)| (*key, queue.in_flight))
        };
        let wanted: BTreeSet<_> = stage(Stage::Clearing).map(|(key, _)| key).collect();
        let over: Vec<_> = stage(Stage::Cleared)
            .filter(|(_, lent)| *lent == 0)
            .collect();
        if listed != wanted {
            self.fault("deleted queues and those to clear differ".to_owned());
        }
        for (key, _) in over {
            self.fault(format!("{key:?}: deleted, empty and still there"));
        }
        Ok(())
    }

    /// Segments: with payload, log entry and age, and as many unfinished deliveries
    /// as there are.
    fn segments(&mut self, view: &View) -> Result<(), Fault> {
        let (mut payloads, mut log, mut ages) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut outcomes = BTreeSet::new();
        for (key, value) in view.partition(layout::STATES, self.partition)? {
            let id = layout::parse_segment_key(&key)?;
            let state = SegmentState::parse(value)?;
            let payload = view.table(layout::SEGMENTS)?;
            let payload = payload.read_parts(&key, layout::parse_segment)?;
            if payload.is_none_or(|payload| payload.tenant != state.tenant) {
                self.fault(format!("{id:?}: no payload, or another tenant's"));
            }
            payloads.insert(key);
            log.insert(layout::log(state.tenant, state.position));
            ages.extend(state.age().map(|age| layout::timed(age, id)));
            self.counted.entry(state.tenant).or_default().log += u64::from(state.bytes);
            outcomes.extend((0..state.outcomes).map(|row| layout::outcome(id, row)));
            let counted = self.unfinished.remove(&id).unwrap_or(0);
            if counted != state.unfinished {
                let told = state.unfinished;
                self.fault(format!("{id:?}: {counted} unfinished, {told} counted"));
            }
        }
        self.seen.segments = payloads.len();
        for key in view.keys(layout::SEGMENTS, self.partition)? {
            let id = layout::parse_segment_of(&key)?;
            if !payloads.contains(&layout::segment(id)) {
                self.fault(format!("{id:?}: a payload, but no state"));
            }
        }
        for key in view.keys(layout::MADE, self.partition)? {
            let id = layout::parse_segment_of(&key)?;
            if !payloads.contains(&layout::segment(id)) {
                self.fault(format!("{id:?}: redelivered, but no segment"));
            }
        }
        for (table, wanted) in [
            (layout::LOG, log),
            (layout::AGES, ages),
            (layout::OUTCOMES, outcomes),
        ] {
            if view.keys(table, self.partition)? != wanted {
                self.fault(format!("segments and {table} differ"));
            }
        }
        for id in core::mem::take(&mut self.unfinished).into_keys() {
            self.fault(format!("{id:?}: gone before its deliveries"));
        }
        Ok(())
    }

    /// Tenants count their subscriptions, each of which has a queue.
    fn tenants(&mut self, view: &View) -> Result<(), Fault> {
        let subscriptions = view.keys(layout::SUBSCRIPTIONS, self.partition)?;
        let live = self.queues.iter().filter(|(_, queue)| queue.is_live());
        let live: BTreeSet<_> = live.map(|(key, _)| layout::queue(*key)).collect();
        if live != subscriptions {
            self.fault("subscriptions and queues differ".to_owned());
        }
        for (key, value) in view.partition(layout::TENANTS, self.partition)? {
            let told = layout::TenantRow::parse(value)?.subscriptions as usize;
            let own = subscriptions.iter().filter(|one| one.starts_with(&key));
            let counted = own.count();
            if counted != told {
                self.fault(format!("{counted} subscriptions, {told} counted"));
            }
        }
        Ok(())
    }

    /// What tenants and queues are said to owe is what their deliveries do.
    fn usage(&mut self, view: &View) -> Result<(), Fault> {
        let told = self.queues.iter().map(|(key, queue)| (*key, queue.owed));
        let queues = difference("queues owe", &mut self.owed, &mut told.collect());
        let mut used = BTreeMap::new();
        for (key, value) in view.partition(layout::TENANTS, self.partition)? {
            let tenant = Reader::copy("a tenant's key", &key[1..]).tenant()?;
            used.insert(tenant, layout::TenantRow::parse(value)?.used);
        }
        let tenants = difference("tenants have", &mut self.counted, &mut used);
        self.seen.faults.extend(queues.into_iter().chain(tenants));
        self.seen.used = used;
        Ok(())
    }
}
