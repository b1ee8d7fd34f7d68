//! One tenant's calls, in their order.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use sidehook_core::{
    address::{EventId, Lane, Partition, Sequence},
    health::{Kind, Latency, Mark},
    id::{AgentId, SubscriptionNumber, TenantId},
    pool::Pool,
    time::Timestamp,
    version::Version,
};
use sidehook_redis::RedisStore;
use sidehook_store::{
    Stamp, Store as _,
    budget::Budget,
    catalog::{Bounds, Catalog, Change, Expect, QueueSettings, Write, Written},
    rules,
    turn::{
        Calls, Claim, Demand, Disposition, EventPublished, Grant, Holder, LeaseSettle, NewEvent,
        Publish, PublishReply, Settle, SettleItem, TenantPublish, TenantPublished,
    },
};

use super::CLAIM;
use crate::Failure;

/// More than is ever lent here.
const WINDOW: u32 = 1_000;
const LEASE: Duration = Duration::from_secs(90);
const TOKEN: u128 = 4242;
/// About what an attempt's record weighs.
const RECORD: &[u8] = &[7; 150];
/// About what its subscription's health notes of it.
const NOTE: &[u8] = &[7; 40];

/// What is published at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    /// Events of one call.
    pub(crate) events: u32,
    /// Subscriptions that each of them goes to.
    pub(crate) fanout: u32,
    /// Bytes of an event's record on average: half as many to half as many again, evenly,
    /// so that no size fits the allocator by chance.
    pub(crate) bytes: u32,
}

impl Batch {
    /// Deliveries of one call.
    pub(crate) fn deliveries(self) -> u64 {
        u64::from(self.events) * u64::from(self.fanout)
    }
}

/// A tenant, alone in its partition.
pub(crate) struct Flow {
    tenant: TenantId,
    catalog: Version,
    /// The subscriptions that events go to in turn.
    targets: Range<u32>,
    /// The one that is next.
    next: u32,
    /// Events published so far, and the bytes of their records.
    published: (u32, u64),
    /// The last sequences of settle, publish and claim.
    sequences: [u32; 3],
}

/// Kinds of calls, as places in `Flow::sequences`.
const SETTLE: usize = 0;
const PUBLISH: usize = 1;
const CLAIMING: usize = 2;

impl Flow {
    /// Creates the subscriptions of a tenant that has none.
    pub(super) async fn create(
        store: &RedisStore,
        tenant: TenantId,
        targets: Range<u32>,
    ) -> Result<Self, Failure> {
        let mut flow = Self {
            tenant,
            catalog: Version::default(),
            next: targets.start,
            targets,
            published: (0, 0),
            sequences: [0; 3],
        };
        for number in flow.targets.clone() {
            flow.put(store, number).await?;
        }
        flow.catalog = flow.catalog(store).await?.version;
        Ok(flow)
    }

    pub(super) const fn tenant(&self) -> TenantId {
        self.tenant
    }

    pub(super) fn partition(&self) -> Partition {
        Partition::of(self.tenant)
    }

    /// Creates a subscription, and sends it all events from now on.
    pub(super) async fn add(&mut self, store: &RedisStore, number: u32) -> Result<(), Failure> {
        self.put(store, number).await?;
        self.catalog = self.catalog(store).await?.version;
        (self.targets, self.next) = (number..number + 1, number);
        Ok(())
    }

    /// Deletes a subscription.
    pub(super) async fn remove(&mut self, store: &RedisStore, number: u32) -> Result<(), Failure> {
        let catalog = self.catalog(store).await?;
        let mut rows = catalog.rows.into_iter();
        let row = rows.find(|row| row.number.0 == number);
        let expect = Expect::Version(row.ok_or("no such subscription")?.version);
        self.write(store, number, expect, Change::Delete).await?;
        self.catalog = self.catalog(store).await?.version;
        Ok(())
    }

    async fn put(&self, store: &RedisStore, number: u32) -> Result<(), Failure> {
        let queue = QueueSettings {
            pool: self.pool(),
            window: WINDOW,
            paused: false,
        };
        let record = Bytes::from_static(b"subscription");
        let change = Change::Put { record, queue };
        self.write(store, number, Expect::Absent, change).await
    }

    async fn write(
        &self,
        store: &RedisStore,
        number: u32,
        expect: Expect,
        change: Change,
    ) -> Result<(), Failure> {
        let nonce = u64::from(number) << 1 | u64::from(expect != Expect::Absent);
        let write = Write {
            tenant: self.tenant,
            number: SubscriptionNumber(number),
            expect,
            bounds: Bounds::default(),
            nonce,
            change,
        };
        match store.write(&write).await? {
            Written::Done(_) => Ok(()),
            other => Err(format!("a subscription was not written: {other:?}").into()),
        }
    }

    async fn catalog(&self, store: &RedisStore) -> Result<Catalog, Failure> {
        let found = store.catalog(self.tenant, None).await?;
        Ok(found.ok_or("a catalog was not answered")?)
    }

    fn pool(&self) -> Pool {
        Pool {
            owner: self.tenant,
            name: "default".to_owned(),
        }
    }

    fn stamp(&mut self, kind: usize) -> Stamp {
        self.sequences[kind] += 1;
        Stamp {
            lane: Lane::from_random(1),
            // Sequences end far beyond what a benchmark calls.
            sequence: Sequence::new(self.sequences[kind]).unwrap_or(Sequence::FIRST),
        }
    }

    /// Publishes a batch, or less: so many deliveries, a multiple of the fan-out.
    pub(super) fn publish(&mut self, batch: Batch, deliveries: u64) -> Calls {
        let mut calls = Calls::new(self.partition());
        let stamp = self.stamp(PUBLISH);
        let count = (deliveries / u64::from(batch.fanout)) as u8;
        let events = (0..count).filter_map(|index| {
            let segment = rules::address(self.partition(), stamp, 0)?;
            Some(NewEvent {
                id: EventId::new(Timestamp::default(), segment, index),
                record: self.record(batch.bytes),
                idempotency: None,
                targets: self.aim(batch.fanout),
            })
        });
        let events = events.collect();
        let tenant = TenantPublish {
            tenant: self.tenant,
            catalog: self.catalog,
            budget: Budget::UNLIMITED,
            events,
        };
        let tenants = vec![tenant];
        calls.publish = Some((stamp, Publish { tenants }));
        calls
    }

    /// The next event's record.
    fn record(&mut self, bytes: u32) -> Bytes {
        let (events, all) = &mut self.published;
        // Multiples of the golden ratio, modulo one, are spread evenly.
        let spread = u64::from(events.wrapping_mul(0x9e37_79b9));
        let length = u64::from(bytes / 2) + ((spread * u64::from(bytes + 1)) >> 32);
        *events += 1;
        *all += length;
        Bytes::from(vec![*events as u8; length as usize])
    }

    /// Bytes of all records published so far.
    pub(super) const fn published_bytes(&self) -> u64 {
        self.published.1
    }

    /// The next so many subscriptions.
    fn aim(&mut self, fanout: u32) -> Vec<SubscriptionNumber> {
        let mut aimed = Vec::with_capacity(fanout as usize);
        for _ in 0..fanout.min(self.targets.len() as u32) {
            aimed.push(SubscriptionNumber(self.next));
            self.next += 1;
            if self.next == self.targets.end {
                self.next = self.targets.start;
            }
        }
        aimed.sort_unstable();
        aimed
    }

    /// Settles what was lent, if anything, and lends [`CLAIM`] deliveries, if wanted.
    pub(super) fn calls(&mut self, settle: Option<Settle>, claims: bool) -> Calls {
        let mut calls = Calls::new(self.partition());
        calls.settle = settle.map(|settle| (self.stamp(SETTLE), settle));
        calls.claim = claims.then(|| (self.stamp(CLAIMING), self.claim()));
        calls
    }

    fn claim(&self) -> Claim {
        let demand = Demand {
            pool: self.pool(),
            holder: Holder {
                agent: AgentId::from_bits(1),
                session: 1,
            },
            max_deliveries: CLAIM,
            per_tenant: u32::MAX,
            shares: Vec::new(),
            lease: LEASE,
            token: TOKEN,
        };
        Claim {
            demands: vec![demand],
        }
    }
}

/// Ends all deliveries of a grant.
pub(super) fn ending(grant: &Grant) -> Settle {
    let deliveries = grant
        .runs
        .iter()
        .flat_map(|run| run.indices.iter().map(move |index| (run, *index)));
    let items = deliveries.zip(0..).map(|((run, index), position)| {
        let record = Bytes::from_static(RECORD);
        SettleItem {
            position,
            tenant: run.tenant,
            subscription: run.subscription,
            segment: run.segment,
            index,
            generation: run.generation,
            disposition: Disposition::End { record },
            mark: Some(Mark {
                kind: Kind::FirstSuccess,
                latency: Latency::of(Duration::from_millis(1)),
                note: Bytes::from_static(NOTE),
            }),
        }
    });
    let lease = LeaseSettle {
        lease: grant.lease,
        token: TOKEN,
        items: items.collect(),
    };
    Settle {
        leases: vec![lease],
    }
}

/// Whether every event was accepted.
pub(super) fn accepted(reply: &PublishReply) -> Result<(), Failure> {
    for tenant in &reply.tenants {
        let all = match tenant {
            TenantPublished::Done(events) => {
                let accepted = |event: &EventPublished| *event == EventPublished::Accepted;
                events.iter().all(accepted)
            }
            _ => false,
        };
        if !all {
            return Err(format!("events were not accepted: {tenant:?}").into());
        }
    }
    Ok(())
}
