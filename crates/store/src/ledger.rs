//! A naive account of a store, kept beside it: flat lists of what was published
//! and what was answered. From those alone it says what the next answers may be and
//! where every delivery must be.
//!
//! It shares no code with the [model](crate::model), nor its shape: there are no
//! queues, rings or timers here, only a line per delivery, and whoever wants to know
//! something reads all lines. What the port leaves to the store (which of several
//! eligible queues is served first) the ledger takes from the answer, after
//! checking that the answer was allowed.
//!
//! Every method takes a call with its answer, once per call that was executed (not
//! for repeats), and fails with what is wrong, in words. Ticks must be told of once
//! a store has no more to do at that time.

mod balance;
mod health;
mod lent;
mod usage;

use std::collections::{BTreeMap, HashMap};

pub use balance::sound;
use bytes::Bytes;
use sidehook_core::{
    address::{DeliveryId, EventId, Partition, SegmentId},
    health::Mark,
    id::{SubscriptionNumber, TenantId},
    limits::{DELIVERY_OVERHEAD, EVENT_OVERHEAD, IDEMPOTENCY_TTL, LEASE_MAX, RETRY_WAIT_MAX},
    time::Timestamp,
    version::Version,
};

use crate::{
    budget::Budget,
    catalog::{Change, Expect, QueueSettings, Write, Written},
    read::Redeliver,
    rules,
    turn::{
        EventPublished, Holder, Idempotency, LeaseId, Publish, PublishReply, Stamp, TenantPublish,
        TenantPublished,
    },
};

/// What is wrong with an answer, in words.
pub type Told = Result<(), String>;

/// Fails with `words` unless `holds`.
fn demand(holds: bool, words: impl FnOnce() -> String) -> Told {
    if holds { Ok(()) } else { Err(words()) }
}

/// Where a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Queued.
    Ready,
    /// Lent.
    Leased(LeaseId),
    /// Waiting for its retry.
    Waiting(Timestamp),
    /// Delivered or dead: its last attempt record said which.
    Ended,
    /// Ended without a last attempt: its subscription was deleted.
    Cancelled,
}

/// One delivery.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its id.
    pub delivery: DeliveryId,
    /// Where it is.
    pub standing: Standing,
    /// How many leases it lost.
    pub leases_lost: u8,
    /// What it counts for in its tenant's pending bytes.
    pub charge: u64,
    /// What it remembers.
    pub retry: Option<Bytes>,
}

impl Line {
    /// Its subscription.
    #[must_use]
    pub const fn subscription(&self) -> (TenantId, SubscriptionNumber) {
        (self.tenant, self.delivery.subscription())
    }

    /// Whether it is still to be delivered.
    #[must_use]
    pub const fn unfinished(&self) -> bool {
        !matches!(self.standing, Standing::Ended | Standing::Cancelled)
    }
}

/// One lease, open or over.
#[derive(Clone, Debug)]
pub struct Loan {
    /// Its id.
    pub lease: LeaseId,
    /// Its token.
    pub token: u128,
    /// Who took it.
    pub holder: Holder,
    /// When it ends.
    pub deadline: Timestamp,
    /// What was lent, by position.
    pub deliveries: Vec<DeliveryId>,
}

/// One segment of which something was accepted.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its id.
    pub segment: SegmentId,
    /// Its tenant.
    pub tenant: TenantId,
    /// When.
    pub at: Timestamp,
    /// Its records, empty where an event was not accepted.
    pub records: Vec<Bytes>,
    /// What it counts for in its tenant's log.
    pub bytes: u64,
    /// The attempt records of its deliveries, oldest first.
    pub outcomes: Vec<Bytes>,
    /// It is to leave with its last delivery.
    pub overdue: bool,
    /// It has left.
    pub gone: bool,
}

/// A subscription that exists or existed.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Its version; of a deleted one, the last.
    pub version: Version,
    /// How its queue is served; `None`: it was deleted.
    pub queue: Option<QueueSettings>,
}

struct KeyUse {
    tenant: TenantId,
    idempotency: Idempotency,
    event: EventId,
    at: Timestamp,
}

/// The account.
#[derive(Default)]
pub struct Ledger {
    lines: Vec<Line>,
    /// Where a delivery's line is: only to be found faster.
    places: HashMap<DeliveryId, usize>,
    loans: Vec<Loan>,
    segments: Vec<Published>,
    subscriptions: BTreeMap<(TenantId, SubscriptionNumber), Subscription>,
    catalogs: BTreeMap<TenantId, Version>,
    keys: Vec<KeyUse>,
    /// What each tenant may have, as told last.
    budgets: BTreeMap<TenantId, Budget>,
    /// Every attempt that counted for a subscription, and when it was settled.
    marks: BTreeMap<(TenantId, SubscriptionNumber), Vec<(Timestamp, Mark)>>,
}

impl Ledger {
    /// An account of an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every delivery ever.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Every lease ever.
    #[must_use]
    pub fn loans(&self) -> &[Loan] {
        &self.loans
    }

    /// Every segment that may still be there, oldest first.
    #[must_use]
    pub fn segments(&self) -> &[Published] {
        &self.segments
    }

    /// A subscription that exists or existed.
    #[must_use]
    pub fn subscription(&self, key: (TenantId, SubscriptionNumber)) -> Option<&Subscription> {
        self.subscriptions.get(&key)
    }

    /// The present version of a tenant's catalog.
    #[must_use]
    pub fn catalog(&self, tenant: TenantId) -> Version {
        self.catalogs.get(&tenant).copied().unwrap_or_default()
    }

    /// How the queue is served, if its subscription exists.
    fn queue(&self, key: (TenantId, SubscriptionNumber)) -> Option<&QueueSettings> {
        self.subscriptions.get(&key)?.queue.as_ref()
    }

    fn line(&mut self, delivery: DeliveryId) -> Result<&mut Line, String> {
        let place = self.places.get(&delivery).copied();
        place
            .and_then(|place| self.lines.get_mut(place))
            .ok_or_else(|| format!("{delivery} was never published"))
    }

    fn open(&mut self, tenant: TenantId, delivery: DeliveryId, charge: u64, retry: Option<Bytes>) {
        self.places.insert(delivery, self.lines.len());
        self.lines.push(Line {
            tenant,
            delivery,
            standing: Standing::Ready,
            leases_lost: 0,
            charge,
            retry,
        });
    }

    /// What of the tenant as a whole stands in the way of a write.
    fn bound(&self, write: &Write, is_new: bool) -> Option<Written> {
        let expected = write.bounds.catalog;
        if expected.is_some_and(|version| version != self.catalog(write.tenant)) {
            return Some(Written::Overtaken);
        }
        let mine = self.subscriptions.iter();
        let mine = mine.filter(|((tenant, _), one)| *tenant == write.tenant && one.queue.is_some());
        (is_new && mine.count() >= write.bounds.most as usize).then_some(Written::TooMany)
    }

    /// A subscription was written.
    ///
    /// # Errors
    /// The answer was not the one it had to be.
    pub fn wrote(&mut self, write: &Write, answer: &Written) -> Told {
        let key = (write.tenant, write.number);
        let before = self.subscriptions.get(&key);
        let current = before.and_then(|one| one.queue.as_ref().map(|_| one.version));
        let expected = match write.expect {
            Expect::Absent => before.is_none() && matches!(write.change, Change::Put { .. }),
            Expect::Version(version) => current == Some(version),
        };
        let bound = self.bound(write, current.is_none());
        let fits = expected && bound.is_none();
        let had = current.unwrap_or_default();
        let next = Version {
            counter: had.counter + 1,
            nonce: write.nonce,
        };
        let (version, queue) = match &write.change {
            Change::Put { queue, .. } => (next, Some(queue.clone())),
            Change::Delete => (had, None),
        };
        let deleted = before.filter(|one| one.queue.is_none());
        let wanted = match (&write.change, deleted) {
            (Change::Delete, Some(one)) => Written::Done(one.version),
            _ if fits => Written::Done(version),
            _ if expected => bound.unwrap_or(Written::Done(version)),
            _ => Written::Conflict { current },
        };
        demand(wanted == *answer, || {
            format!("the write answers {wanted:?}")
        })?;
        if !fits {
            return Ok(());
        }
        let catalog = self.catalogs.entry(write.tenant).or_default();
        *catalog = catalog.next(write.nonce);
        if queue.is_none() {
            self.marks.remove(&key);
            for line in self
                .lines
                .iter_mut()
                .filter(|one| one.subscription() == key)
            {
                if matches!(line.standing, Standing::Ready | Standing::Waiting(_)) {
                    line.standing = Standing::Cancelled;
                }
            }
        }
        self.subscriptions
            .insert(key, Subscription { version, queue });
        Ok(())
    }

    /// A publish was executed.
    ///
    /// # Errors
    /// The answer was not the one it had to be.
    pub fn published(
        &mut self,
        now: Timestamp,
        partition: Partition,
        stamp: Stamp,
        call: &Publish,
        answer: &PublishReply,
    ) -> Told {
        let count = (call.tenants.len(), answer.tenants.len());
        demand(count.0 == count.1, || {
            format!("{count:?}: a publish answers for each tenant")
        })?;
        for (place, (call, answer)) in call.tenants.iter().zip(&answer.tenants).enumerate() {
            let segment = rules::address(partition, stamp, place);
            let segment = segment.ok_or("more tenants than a call has room for")?;
            let current = self.catalog(call.tenant);
            let wanted = if call.catalog != current {
                TenantPublished::Stale { current }
            } else if let Some(exhausted) = self.exhausted(now, call) {
                TenantPublished::Exhausted(exhausted)
            } else {
                TenantPublished::Done(self.accept(now, segment, call))
            };
            demand(wanted == *answer, || {
                format!("to {} the publish answers {wanted:?}", call.tenant)
            })?;
        }
        Ok(())
    }

    fn accept(
        &mut self,
        now: Timestamp,
        segment: SegmentId,
        call: &TenantPublish,
    ) -> Vec<EventPublished> {
        let mut results = Vec::new();
        let mut records = Vec::new();
        let first = self.lines.len();
        for event in &call.events {
            let used = event
                .idempotency
                .as_ref()
                .and_then(|key| self.key_used(now, call.tenant, key));
            results.push(used.unwrap_or(EventPublished::Accepted));
            if used.is_some() {
                records.push(Bytes::new());
                continue;
            }
            records.push(event.record.clone());
            if let Some(idempotency) = event.idempotency {
                self.keys.push(KeyUse {
                    tenant: call.tenant,
                    idempotency,
                    event: event.id,
                    at: now,
                });
            }
            for number in &event.targets {
                if self
                    .queue((call.tenant, *number))
                    .is_some_and(|queue| !queue.paused)
                {
                    let id = DeliveryId::new(segment, event.id.index(), *number, 0);
                    self.open(call.tenant, id, 0, None);
                }
            }
        }
        let accepted = results.iter();
        let accepted = accepted.filter(|one| **one == EventPublished::Accepted);
        let accepted = accepted.count();
        if accepted > 0 {
            let bytes: usize = records.iter().map(Bytes::len).sum();
            let deliveries = self.lines.len() - first;
            for line in self.lines.iter_mut().skip(first) {
                line.charge = bytes.div_ceil(deliveries) as u64 + DELIVERY_OVERHEAD;
            }
            let bytes = bytes as u64
                + accepted as u64 * EVENT_OVERHEAD
                + deliveries as u64 * DELIVERY_OVERHEAD;
            self.segments.push(Published {
                segment,
                tenant: call.tenant,
                at: now,
                records,
                bytes,
                outcomes: Vec::new(),
                overdue: false,
                gone: false,
            });
        }
        results
    }

    fn key_used(
        &self,
        now: Timestamp,
        tenant: TenantId,
        idempotency: &Idempotency,
    ) -> Option<EventPublished> {
        let used = self.keys.iter().rev().find(|used| {
            used.tenant == tenant
                && used.idempotency.key == idempotency.key
                && now < used.at + IDEMPOTENCY_TTL
        })?;
        Some(if used.idempotency.content == idempotency.content {
            EventPublished::Duplicate(used.event)
        } else {
            EventPublished::KeyReused(used.event)
        })
    }

    /// A delivery was asked for again.
    ///
    /// # Errors
    /// The answer was not the one it had to be.
    pub fn redelivered(&mut self, call: &Redeliver, answer: bool) -> Told {
        let segment = call.delivery.segment();
        let mut segments = self.segments.iter();
        let segment = segments.find(|one| Some(one.segment) == segment);
        let record = segment.and_then(|one| {
            let record = one.records.get(usize::from(call.delivery.index()))?;
            (!one.gone).then_some(record.len())
        });
        let wanted = record.is_some() && self.queue((call.tenant, call.subscription)).is_some();
        demand(wanted == answer, || {
            format!("{} is redelivered: {wanted}", call.delivery)
        })?;
        let place = self.places.get(&call.delivery).copied();
        if answer && place.is_none() {
            let charge = record.unwrap_or(0) as u64 + DELIVERY_OVERHEAD;
            let retry = Some(call.retry.clone());
            self.open(call.tenant, call.delivery, charge, retry);
        }
        Ok(())
    }

    /// Everything due at `now` was done, by ticks that told of `leases_lost`
    /// deliveries in all.
    ///
    /// # Errors
    /// That was not their number.
    pub fn ticked(&mut self, now: Timestamp, partition: Partition, leases_lost: u32) -> Told {
        let over: Vec<LeaseId> = self
            .loans
            .iter()
            .filter(|loan| loan.lease.0.partition == partition)
            .filter(|loan| loan.deadline <= now || loan.deadline > now + LEASE_MAX)
            .map(|loan| loan.lease)
            .collect();
        let wanted: u32 = over.into_iter().map(|lease| self.take_back(lease, 1)).sum();
        demand(wanted == leases_lost, || {
            format!("{wanted} deliveries lose their lease, not {leases_lost}")
        })?;
        for line in &mut self.lines {
            let here = Partition::of(line.tenant) == partition;
            let over = |due| due <= now || due > now + RETRY_WAIT_MAX;
            if here && matches!(line.standing, Standing::Waiting(due) if over(due)) {
                line.standing = Standing::Ready;
            }
        }
        self.trim(now, partition);
        Ok(())
    }
}
