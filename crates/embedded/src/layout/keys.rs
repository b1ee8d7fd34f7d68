//! The tables by name, and the keys of each.

use super::{
    Definition, Fault, Holder, Idempotency, LeaseId, Partition, Pool, QueueKey, Reader, SegmentId,
    SubscriptionNumber, TenantId, Timestamp, Writer, millis,
};
use sidehook_core::address::{DeliveryId, Lane};
use sidehook_store::registry::Kind;

macro_rules! definitions {
    ($($name:ident = $text:literal),* $(,)?) => {
        $(pub(crate) const $name: Definition = Definition::new($text);)*
    };
}

definitions! {
    META = "meta",
    REGISTRY = "registry",
    TENANTS = "tenants",
    SUBSCRIPTIONS = "subscriptions",
    GRAVES = "graves",
    QUEUES = "queues",
    ENTRIES = "entries",
    CLEARING = "clearing",
    RECORDS = "records",
    DUE = "due",
    SEGMENTS = "segments",
    STATES = "states",
    OUTCOMES = "outcomes",
    MADE = "made",
    LOG = "log",
    AGES = "ages",
    LEASES = "leases",
    DEADLINES = "deadlines",
    HOLDERS = "holders",
    LENT = "lent",
    KEYS = "keys",
    LAPSES = "lapses",
    LANES = "lanes",
    RING_TENANTS = "ring_tenants",
    RING_QUEUES = "ring_queues",
    RING_PLACES = "ring_places",
    DAMAGED = "damaged",
    HEALTH = "health",
    HEALTH_OVER = "health_over",
}

/// Key of the format's number in `meta`.
pub(crate) const FORMAT_KEY: &[u8] = b"format";
/// Key of the store's own random name in `meta`.
pub(crate) const NAME_KEY: &[u8] = b"name";
/// Key of the number of the last commit in `meta`.
pub(crate) const COMMIT_KEY: &[u8] = b"commit";

/// The byte of a registry kind.
const fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::Tenant => 0,
        Kind::ApiKey => 1,
        Kind::Agent => 2,
        Kind::Tombstone => 3,
        Kind::Agreement => 4,
        Kind::User => 5,
    }
}

/// Begins a key of a partition.
fn begin(partition: Partition) -> Writer {
    let mut key = Writer::with_capacity(64);
    key.u8(partition.number());
    key
}

/// Begins a key of a tenant's partition with the tenant.
fn of_tenant(tenant: TenantId) -> Writer {
    let mut key = begin(Partition::of(tenant));
    key.tenant(tenant);
    key
}

/// All of a partition.
pub(crate) fn partition(partition: Partition) -> [u8; 1] {
    [partition.number()]
}

/// Key in `registry`.
pub(crate) fn registry(kind: Kind, key: &[u8]) -> Vec<u8> {
    [&[kind_byte(kind)], key].concat()
}

/// Key in `tenants`; prefix of a tenant's in `subscriptions` and `log`.
pub(crate) fn tenant(tenant: TenantId) -> Vec<u8> {
    of_tenant(tenant).finish()
}

/// Key in `subscriptions`, `graves`, `queues` and `clearing`; prefix of a queue's
/// in `entries` and `records`.
pub(crate) fn queue((tenant, number): QueueKey) -> Vec<u8> {
    let mut key = of_tenant(tenant);
    key.u32(number.0);
    key.finish()
}

/// Buckets of a subscription's health that are over, of one row.
pub(crate) fn over(queue: QueueKey, row: u8) -> Vec<u8> {
    let mut key = of_tenant(queue.0);
    key.u32(queue.1.0).u8(row);
    key.finish()
}

/// Reads what [`queue`] packed.
pub(crate) fn parse_queue(key: &[u8]) -> Result<QueueKey, Fault> {
    let mut from = Reader::copy("a queue's key", key);
    let partition = from.partition()?;
    let queue = (from.tenant_in(partition)?, from.number()?);
    from.end()?;
    Ok(queue)
}

/// Reads a key of `entries`: the queue, and the position in it.
pub(crate) fn parse_entry(key: &[u8]) -> Result<(QueueKey, u64), Fault> {
    let mut from = Reader::copy("an entry's key", key);
    let partition = from.partition()?;
    let queue = (from.tenant_in(partition)?, from.number()?);
    let entry = (queue, from.u64()?);
    from.end()?;
    Ok(entry)
}

/// Key in `made`, behind its segment's.
pub(crate) fn made(place: &Place) -> Vec<u8> {
    let mut packed = segment(place.segment);
    packed.extend_from_slice(&place.queue.1.0.to_be_bytes());
    packed.push(place.index);
    packed
}

/// Key in `entries`.
pub(crate) fn entry(key: QueueKey, position: u64) -> Vec<u8> {
    let mut packed = queue(key);
    packed.extend_from_slice(&position.to_be_bytes());
    packed
}

/// A delivery in its queue: what its place in `records` and `due` is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) queue: QueueKey,
    pub(crate) generation: u16,
    pub(crate) segment: SegmentId,
    pub(crate) index: u8,
}

impl Place {
    /// The place of a delivery of `tenant`; `None` if no server made its id.
    pub(crate) fn of(tenant: TenantId, id: DeliveryId) -> Option<Self> {
        Some(Self {
            queue: (tenant, id.subscription()),
            generation: id.generation(),
            segment: id.segment()?,
            index: id.index(),
        })
    }

    /// The delivery's id.
    pub(crate) fn id(&self) -> DeliveryId {
        DeliveryId::new(self.segment, self.index, self.queue.1, self.generation)
    }

    fn put(&self, to: &mut Writer) {
        to.tenant(self.queue.0)
            .u32(self.queue.1.0)
            .u16(self.generation)
            .segment(self.segment)
            .u8(self.index);
    }

    fn read(from: &mut Reader, partition: Partition) -> Result<Self, Fault> {
        Ok(Self {
            queue: (from.tenant_in(partition)?, from.number()?),
            generation: from.u16()?,
            segment: from.segment(partition)?,
            index: from.u8()?,
        })
    }
}

/// Key in `records`.
pub(crate) fn record(place: &Place) -> Vec<u8> {
    let mut key = begin(Partition::of(place.queue.0));
    place.put(&mut key);
    key.finish()
}

/// Reads a key of `records`.
pub(crate) fn parse_record(key: &[u8]) -> Result<Place, Fault> {
    let mut from = Reader::copy("a record's key", key);
    let partition = from.partition()?;
    let place = Place::read(&mut from, partition)?;
    from.end()?;
    Ok(place)
}

/// Key in `due`.
pub(crate) fn due(at: Timestamp, place: &Place) -> Vec<u8> {
    let mut key = begin(Partition::of(place.queue.0));
    key.time(at);
    place.put(&mut key);
    key.finish()
}

/// Reads a key of `due`.
pub(crate) fn parse_due(key: &[u8]) -> Result<(Timestamp, Place), Fault> {
    let mut from = Reader::copy("the key of a time", key);
    let partition = from.partition()?;
    let due = (from.time()?, Place::read(&mut from, partition)?);
    from.end()?;
    Ok(due)
}

/// Key in `states`; prefix of a segment's in `segments` and `outcomes`.
pub(crate) fn segment(id: SegmentId) -> Vec<u8> {
    let mut key = begin(id.partition);
    key.segment(id);
    key.finish()
}

/// Key in `segments`.
pub(crate) fn part(id: SegmentId, part: u8) -> Vec<u8> {
    let mut key = begin(id.partition);
    key.segment(id).u8(part);
    key.finish()
}

/// Reads a key of `states` or `leases`.
pub(crate) fn parse_segment_key(key: &[u8]) -> Result<SegmentId, Fault> {
    let mut from = Reader::copy("the key of a segment or lease", key);
    let partition = from.partition()?;
    let id = from.segment(partition)?;
    from.end()?;
    Ok(id)
}

/// The segment that a key of `segments` or `made` begins with.
pub(crate) fn parse_segment_of(key: &[u8]) -> Result<SegmentId, Fault> {
    let mut from = Reader::copy("the key of a segment's part", key);
    let partition = from.partition()?;
    from.segment(partition)
}

/// Key in `outcomes`.
pub(crate) fn outcome(id: SegmentId, row: u32) -> Vec<u8> {
    let mut key = begin(id.partition);
    key.segment(id).u32(row);
    key.finish()
}

/// Key in `log`.
pub(crate) fn log(tenant: TenantId, position: u64) -> Vec<u8> {
    let mut key = of_tenant(tenant);
    key.u64(position);
    key.finish()
}

/// Key in `ages`, `deadlines` and `lapses`.
pub(crate) fn timed(at: Timestamp, id: SegmentId) -> Vec<u8> {
    let mut key = begin(id.partition);
    key.u64(millis(at)).segment(id);
    key.finish()
}

/// The first key behind all those of `at` among those that begin with a time.
pub(crate) fn after(partition: Partition, at: Timestamp) -> Vec<u8> {
    let mut key = begin(partition);
    key.time(at + core::time::Duration::from_millis(1));
    key.finish()
}

/// Reads what [`timed`] packed.
pub(crate) fn parse_timed(key: &[u8]) -> Result<(Timestamp, SegmentId), Fault> {
    let mut from = Reader::copy("the key of a time", key);
    let partition = from.partition()?;
    let timed = (from.time()?, from.segment(partition)?);
    from.end()?;
    Ok(timed)
}

/// Prefix of a holder's leases in `holders`.
pub(crate) fn held(partition: Partition, holder: Holder) -> Vec<u8> {
    let mut key = begin(partition);
    key.holder(holder);
    key.finish()
}

/// Key in `holders`.
pub(crate) fn holder(holder: Holder, lease: LeaseId) -> Vec<u8> {
    let mut key = begin(lease.0.partition);
    key.holder(holder).segment(lease.0);
    key.finish()
}

/// The lease in a key of `holders`.
pub(crate) fn parse_holder(key: &[u8]) -> Result<LeaseId, Fault> {
    let mut from = Reader::copy("a holder's key", key);
    let partition = from.partition()?;
    from.holder()?;
    let lease = from.segment(partition)?;
    from.end()?;
    Ok(LeaseId(lease))
}

/// Prefix in `lent`: the leases that hold something of a segment for a subscription.
pub(crate) fn lent_of(segment: SegmentId, number: SubscriptionNumber) -> Vec<u8> {
    let mut key = begin(segment.partition);
    key.segment(segment).u32(number.0);
    key.finish()
}

/// Key in `lent`.
pub(crate) fn lent(segment: SegmentId, number: SubscriptionNumber, lease: LeaseId) -> Vec<u8> {
    let mut key = begin(segment.partition);
    key.segment(segment).u32(number.0).segment(lease.0);
    key.finish()
}

/// The lease in a key of `lent`.
pub(crate) fn parse_lent(key: &[u8]) -> Result<LeaseId, Fault> {
    let mut from = Reader::copy("the key of something lent", key);
    let partition = from.partition()?;
    from.segment(partition)?;
    from.number()?;
    let lease = from.segment(partition)?;
    from.end()?;
    Ok(LeaseId(lease))
}

/// Key in `keys`.
pub(crate) fn idempotency(tenant: TenantId, idempotency: &Idempotency) -> Vec<u8> {
    idempotency_key(tenant, &idempotency.key)
}

/// Key in `keys`, from the digest alone.
pub(crate) fn idempotency_key(tenant: TenantId, digest: &[u8]) -> Vec<u8> {
    let mut key = of_tenant(tenant);
    key.bytes(digest);
    key.finish()
}

/// Key in `lanes`.
pub(crate) fn lane(partition: Partition, kind: u8, lane: Lane) -> Vec<u8> {
    let mut key = begin(partition);
    key.u8(kind).u64(lane.bits());
    key.finish()
}

/// Prefix of a pool's in `ring_tenants`.
pub(crate) fn pool(partition: Partition, pool: &Pool) -> Vec<u8> {
    let mut key = begin(partition);
    key.pool(pool);
    key.finish()
}

/// Key in `ring_tenants`.
pub(crate) fn ring_tenant(partition: Partition, pool: &Pool, position: u64) -> Vec<u8> {
    let mut key = begin(partition);
    key.pool(pool).u64(position);
    key.finish()
}

/// Reads a key of `ring_tenants`.
pub(crate) fn parse_ring_tenant(key: &[u8]) -> Result<(Pool, u64), Fault> {
    let mut from = Reader::copy("a ring's key", key);
    from.partition()?;
    let key = (from.pool()?, from.u64()?);
    from.end()?;
    Ok(key)
}

/// Key in `ring_places`; prefix of a tenant's in `ring_queues`.
pub(crate) fn ring_place(pool: &Pool, tenant: TenantId) -> Vec<u8> {
    let mut key = begin(Partition::of(tenant));
    key.pool(pool).tenant(tenant);
    key.finish()
}

/// Reads a key of `ring_places`.
pub(crate) fn parse_ring_place(key: &[u8]) -> Result<(Pool, TenantId), Fault> {
    let mut from = Reader::copy("a ring's key", key);
    let partition = from.partition()?;
    let key = (from.pool()?, from.tenant_in(partition)?);
    from.end()?;
    Ok(key)
}

/// Key in `ring_queues`.
pub(crate) fn ring_queue(pool: &Pool, tenant: TenantId, position: u64) -> Vec<u8> {
    let mut key = begin(Partition::of(tenant));
    key.pool(pool).tenant(tenant).u64(position);
    key.finish()
}

/// Reads a key of `ring_queues`.
pub(crate) fn parse_ring_queue(key: &[u8]) -> Result<(Pool, TenantId, u64), Fault> {
    let mut from = Reader::copy("a ring's key", key);
    let partition = from.partition()?;
    let key = (from.pool()?, from.tenant_in(partition)?, from.u64()?);
    from.end()?;
    Ok(key)
}

/// Key in `damaged`: whatever the row's key is, it begins with what should be its
/// partition.
pub(crate) fn damaged(index: u8, row: &[u8]) -> Vec<u8> {
    let partition = row.first().copied().unwrap_or_default();
    [&[partition, index], row].concat()
}
