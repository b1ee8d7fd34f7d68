//! What the examples sit at: one store, one lane, a clock of their own, and calls
//! that are easy to write. Every look at the store checks that it is sound.

use core::time::Duration;

use bytes::Bytes;
use sidehook_core::{
    address::{DeliveryId, EventId, Lane, Partition, SegmentId, Sequence},
    id::{SubscriptionNumber, TenantId},
    time::Timestamp,
    version::Version,
};

use super::choices::{START, TENANT, holder, shared};
use crate::{
    budget::Budget,
    catalog::{Bounds, Change, Expect, QueueSettings, Write, Written},
    inspect::Inspection,
    ledger,
    port::Store,
    rules,
    turn::{
        Calls, Claim, ClaimReply, Demand, Disposition, Grant, LeaseId, LeaseSettle, NewEvent,
        Publish, PublishReply, Replies, Settle, SettleItem, Stamp, TenantPublish, TenantPublished,
        TickReply, Turn,
    },
};

/// How long the examples lend.
pub(super) const TERM: Duration = Duration::from_secs(30);

/// One delivery of a grant.
#[derive(Clone, Debug)]
pub(super) struct Lent {
    pub(super) lease: LeaseId,
    pub(super) token: u128,
    pub(super) position: u16,
    pub(super) tenant: TenantId,
    pub(super) delivery: DeliveryId,
    pub(super) segment: SegmentId,
    pub(super) leases_lost: u8,
    pub(super) retry: Option<Bytes>,
}

impl Lent {
    pub(super) fn item(&self, disposition: Disposition) -> SettleItem {
        SettleItem {
            position: self.position,
            tenant: self.tenant,
            subscription: self.delivery.subscription(),
            segment: self.segment,
            index: self.delivery.index(),
            generation: self.delivery.generation(),
            disposition,
            mark: None,
        }
    }
}

/// A grant's deliveries, by position.
pub(super) fn unfold(grant: &Grant, token: u128) -> Vec<Lent> {
    let mut lent = Vec::new();
    for run in &grant.runs {
        for index in &run.indices {
            lent.push(Lent {
                lease: grant.lease,
                token,
                position: u16::try_from(lent.len()).expect("grants are small"),
                tenant: run.tenant,
                delivery: DeliveryId::new(run.segment, *index, run.subscription, run.generation),
                segment: run.segment,
                leases_lost: run.leases_lost,
                retry: run.retry.clone(),
            });
        }
    }
    lent
}

/// Ends with this record.
pub(super) fn end(record: &'static str) -> Disposition {
    Disposition::End {
        record: Bytes::from_static(record.as_bytes()),
    }
}

/// Tries again at `at`.
pub(super) fn retry(at: Timestamp) -> Disposition {
    Disposition::Retry {
        at,
        retry: Bytes::from_static(b"tried"),
        record: Bytes::from_static(b"failed"),
    }
}

/// One lease's outcomes.
pub(super) fn outcomes(lent: &[Lent], how: impl Fn(&Lent) -> Disposition) -> Settle {
    let mut leases: Vec<LeaseSettle> = Vec::new();
    for one in lent {
        let item = one.item(how(one));
        match leases.iter_mut().find(|lease| lease.lease == one.lease) {
            Some(lease) => lease.items.push(item),
            None => leases.push(LeaseSettle {
                lease: one.lease,
                token: one.token,
                items: vec![item],
            }),
        }
    }
    Settle { leases }
}

/// A demand of the shared pool.
pub(super) fn demand(max_deliveries: u32) -> Demand {
    Demand {
        pool: shared(),
        holder: holder(1),
        max_deliveries,
        per_tenant: u32::MAX,
        shares: Vec::new(),
        lease: TERM,
        token: 4_242,
    }
}

pub(super) struct Desk<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) now: Timestamp,
    pub(super) lane: Lane,
    next: u32,
    nonce: u64,
}

impl<'a> Desk<'a> {
    pub(super) fn new(store: &'a dyn Store) -> Self {
        Self {
            store,
            now: START,
            lane: Lane::from_random(77),
            next: 1,
            nonce: 1_000,
        }
    }

    pub(super) fn partition() -> Partition {
        Partition::of(TENANT)
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    pub(super) fn stamp(&mut self) -> Stamp {
        let sequence = Sequence::new(self.next).expect("examples are short");
        self.next += 1;
        Stamp {
            lane: self.lane,
            sequence,
        }
    }

    /// Executes one partition's calls.
    pub(super) async fn execute(&self, calls: Calls) -> Replies {
        let turn = Turn {
            now: Some(self.now),
            calls: vec![calls],
        };
        let mut reply = self.store.turn(0, &turn).await.expect("the store answers");
        assert_eq!(reply.now, self.now, "the time is the one given");
        assert_eq!(reply.calls.len(), 1, "one partition, one answer");
        reply.calls.remove(0)
    }

    // ------------------------------------------------------------ catalog

    /// Changes a subscription on top of what is there.
    pub(super) async fn change(
        &mut self,
        tenant: TenantId,
        number: u32,
        change: Change,
    ) -> Version {
        let catalog = self.store.catalog(tenant, None).await.expect("it answers");
        let rows = catalog.expect("nothing is known").rows;
        let row = rows.iter().find(|row| row.number.0 == number);
        self.nonce += 1;
        let write = Write {
            tenant,
            number: SubscriptionNumber(number),
            expect: row.map_or(Expect::Absent, |row| Expect::Version(row.version)),
            bounds: Bounds::default(),
            nonce: self.nonce,
            change,
        };
        match self.store.write(&write).await.expect("it answers") {
            Written::Done(version) => version,
            other => panic!("{write:?}: {other:?}"),
        }
    }

    /// Creates or changes a subscription of the shared pool.
    pub(super) async fn subscribe(&mut self, tenant: TenantId, number: u32, window: u32) {
        self.serve(tenant, number, window, false).await;
    }

    /// The same, paused or not.
    pub(super) async fn serve(&mut self, tenant: TenantId, number: u32, window: u32, paused: bool) {
        let queue = QueueSettings {
            pool: shared(),
            window,
            paused,
        };
        let record = Bytes::from_static(b"subscription");
        self.change(tenant, number, Change::Put { record, queue })
            .await;
    }

    pub(super) async fn catalog(&self, tenant: TenantId) -> Version {
        let catalog = self.store.catalog(tenant, None).await.expect("it answers");
        catalog.expect("nothing is known").version
    }

    // ------------------------------------------------------------ publish

    /// A call with one tenant's events, for its present catalog.
    pub(super) async fn events(
        &mut self,
        tenant: TenantId,
        count: u8,
        targets: &[u32],
    ) -> (Stamp, Publish) {
        let stamp = self.stamp();
        let segment = rules::address(Partition::of(tenant), stamp, 0).expect("the first place");
        let targets: Vec<_> = targets.iter().map(|one| SubscriptionNumber(*one)).collect();
        let events = (0..count).map(|index| NewEvent {
            id: EventId::new(self.now, segment, index),
            record: Bytes::from(vec![index; 20]),
            idempotency: None,
            targets: targets.clone(),
        });
        let one = TenantPublish {
            tenant,
            catalog: self.catalog(tenant).await,
            budget: Budget::UNLIMITED,
            events: events.collect(),
        };
        let tenants = vec![one];
        (stamp, Publish { tenants })
    }

    pub(super) async fn send(&self, stamp: Stamp, publish: Publish) -> PublishReply {
        let mut calls = Calls::new(Self::partition());
        calls.publish = Some((stamp, publish));
        let reply = self.execute(calls).await.publish.expect("it was asked");
        reply.expect("publishing works")
    }

    /// Publishes events that must all be accepted; their ids.
    pub(super) async fn publish(
        &mut self,
        tenant: TenantId,
        count: u8,
        targets: &[u32],
    ) -> Vec<EventId> {
        let (stamp, publish) = self.events(tenant, count, targets).await;
        let ids = publish.tenants[0].events.iter().map(|event| event.id);
        let ids: Vec<_> = ids.collect();
        let reply = self.send(stamp, publish).await;
        let accepted = vec![crate::turn::EventPublished::Accepted; ids.len()];
        assert_eq!(reply.tenants, [TenantPublished::Done(accepted)]);
        ids
    }

    // ------------------------------------------------------------ claim, settle, tick

    pub(super) async fn demand(&mut self, demands: Vec<Demand>) -> ClaimReply {
        let mut calls = Calls::new(Self::partition());
        calls.claim = Some((self.stamp(), Claim { demands }));
        let reply = self.execute(calls).await.claim.expect("it was asked");
        reply.expect("claiming works")
    }

    /// Claims from the shared pool.
    pub(super) async fn claim(&mut self, max: u32) -> Vec<Lent> {
        let demand = demand(max);
        let token = demand.token;
        let reply = self.demand(vec![demand]).await;
        let grant = reply.grants.first().and_then(Option::as_ref);
        grant.map(|grant| unfold(grant, token)).unwrap_or_default()
    }

    /// Settles; the stale positions, of all leases.
    pub(super) async fn settle(&mut self, settle: Settle) -> Vec<u16> {
        let mut calls = Calls::new(Self::partition());
        calls.settle = Some((self.stamp(), settle));
        let reply = self.execute(calls).await.settle.expect("it was asked");
        let mut stale = reply.expect("settling works").stale.concat();
        stale.sort_unstable();
        stale
    }

    /// Ends all of them, none stale.
    pub(super) async fn finish(&mut self, lent: &[Lent]) {
        let stale = self.settle(outcomes(lent, |_| end("done"))).await;
        assert_eq!(stale, Vec::<u16>::new(), "the leases hold");
    }

    /// Ticks until nothing is left to do now; how many deliveries lost their lease.
    pub(super) async fn tick(&self) -> (u32, TickReply) {
        tick_out(self.store, self.now, Self::partition())
            .await
            .expect("ticks come to an end")
    }

    /// A look at the partition, which must be sound.
    pub(super) async fn look(&self) -> Inspection {
        let seen = self.store.inspect(Self::partition()).await;
        let seen = seen.expect("the store answers");
        ledger::sound(&seen).expect("the store is sound");
        seen
    }

    /// How many are ready, leased and waiting.
    pub(super) async fn counts(&self) -> [usize; 3] {
        let seen = self.look().await;
        [seen.ready.len(), seen.leased.len(), seen.waiting.len()]
    }
}

/// Ticks until nothing is left to do at `now`: the leases lost in all, and the
/// last answer.
pub(super) async fn tick_out(
    store: &dyn Store,
    now: Timestamp,
    partition: Partition,
) -> Result<(u32, TickReply), String> {
    let mut lost = 0;
    for _ in 0..1_000 {
        let mut calls = Calls::new(partition);
        calls.tick = true;
        let turn = Turn {
            now: Some(now),
            calls: vec![calls],
        };
        let reply = store
            .turn(0, &turn)
            .await
            .map_err(|error| error.to_string())?;
        let tick = reply.calls.into_iter().next().and_then(|one| one.tick);
        let tick = tick.ok_or("a tick that was asked for has no answer")?;
        let tick = tick.map_err(|error| error.to_string())?;
        lost += tick.leases_lost;
        if tick.next_due.is_none_or(|due| due > now) {
            return Ok((lost, tick));
        }
    }
    Err("a thousand ticks do not do what is due".to_owned())
}
