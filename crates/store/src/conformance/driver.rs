//! Draws random calls for a comparison with the model, and remembers enough of the
//! answers to draw sensible ones.

use core::time::Duration;
use std::collections::HashMap;

use bytes::Bytes;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sidehook_core::{
    address::{DeliveryId, EventId, Lane, Partition, SegmentId, Sequence},
    id::{AgentId, SubscriptionNumber, TenantId},
    pool::Pool,
    time::Timestamp,
    version::Version,
};

use super::choices::{START, budget, mark, trims};
use crate::{
    catalog::{Bounds, Change, Expect, QueueSettings, Write},
    model::Model,
    port::Store as _,
    read::Redeliver,
    rules,
    turn::{
        Calls, Claim, Demand, Disposition, Grant, Holder, Idempotency, LeaseSettle, NewEvent,
        Publish, Settle, SettleItem, Stamp, TenantPublish, Turn, TurnReply,
    },
};

/// Tenants that share a partition, found by trying.
pub(super) fn tenants() -> Vec<TenantId> {
    let first = Partition::of(TenantId::from_bits(1));
    (1..)
        .map(TenantId::from_bits)
        .filter(|one| Partition::of(*one) == first)
        .take(3)
        .collect()
}

pub(super) fn pools(tenants: &[TenantId]) -> Vec<Pool> {
    let named = |owner, name: &str| Pool {
        owner,
        name: name.to_owned(),
    };
    let mut pools = vec![named(TenantId::PLATFORM, "shared")];
    pools.extend(tenants.iter().map(|one| named(*one, "own")));
    pools
}

pub(super) struct Driver {
    pub(super) random: StdRng,
    pub(super) now: Timestamp,
    pub(super) partition: Partition,
    pub(super) tenants: Vec<TenantId>,
    pub(super) pools: Vec<Pool>,
    pub(super) lane: Lane,
    pub(super) next: u32,
    pub(super) versions: HashMap<(TenantId, u32), Version>,
    pub(super) grants: Vec<(Grant, u128)>,
    pub(super) segments: Vec<SegmentId>,
    pub(super) ended: Vec<(TenantId, DeliveryId)>,
    pub(super) last: Option<Turn>,
    /// Whether logs are trimmed, and so no subscriptions deleted.
    trims: bool,
}

impl Driver {
    pub(super) fn new(seed: u64) -> Self {
        let tenants = tenants();
        Self {
            random: StdRng::seed_from_u64(seed),
            now: START,
            partition: Partition::of(tenants[0]),
            pools: pools(&tenants),
            tenants,
            lane: Lane::from_random(seed),
            next: 1,
            versions: HashMap::new(),
            grants: Vec::new(),
            segments: Vec::new(),
            ended: Vec::new(),
            last: None,
            trims: trims(seed),
        }
    }

    pub(super) fn chance(&mut self, one_in: u32) -> bool {
        self.random.random_range(0..one_in) == 0
    }

    pub(super) fn tenant(&mut self) -> TenantId {
        self.tenants[self.random.random_range(0..self.tenants.len())]
    }

    pub(super) fn pool(&mut self) -> Pool {
        self.pools[self.random.random_range(0..self.pools.len())].clone()
    }

    pub(super) fn write(&mut self) -> Write {
        let tenant = self.tenant();
        let number = self.random.random_range(0..6);
        let known = self.versions.get(&(tenant, number)).copied();
        let expect = match known {
            Some(version) if !self.chance(10) => Expect::Version(version),
            _ => Expect::Absent,
        };
        let change = if known.is_some() && self.chance(6) && !self.trims {
            Change::Delete
        } else {
            Change::Put {
                record: Bytes::from(vec![number as u8; 3]),
                queue: QueueSettings {
                    pool: self.pool(),
                    window: self.random.random_range(1..40),
                    paused: self.chance(5),
                },
            }
        };
        Write {
            tenant,
            number: SubscriptionNumber(number),
            expect,
            bounds: Bounds::default(),
            nonce: self.random.random(),
            change,
        }
    }

    pub(super) async fn publish(&mut self, model: &Model, stamp: Stamp) -> Publish {
        let mut tenants = Vec::new();
        let wanted: Vec<_> = self
            .tenants
            .clone()
            .into_iter()
            .filter(|_| !self.chance(3))
            .collect();
        for (place, tenant) in wanted.into_iter().enumerate() {
            let segment = rules::address(self.partition, stamp, place).expect("few tenants");
            self.segments.push(segment);
            let catalog = model
                .catalog(tenant, None)
                .await
                .expect("the model answers");
            let mut catalog = catalog.expect("nothing known").version;
            if self.chance(15) {
                catalog.nonce ^= 1;
            }
            let count = self.random.random_range(1..20_u8);
            let events = (0..count).map(|index| self.event(segment, index)).collect();
            tenants.push(TenantPublish {
                tenant,
                catalog,
                budget: budget(&mut self.random, self.trims),
                events,
            });
        }
        Publish { tenants }
    }

    pub(super) fn event(&mut self, segment: SegmentId, index: u8) -> NewEvent {
        let idempotency = self.chance(4).then(|| Idempotency {
            key: [self.random.random_range(0..30); 16],
            content: [self.random.random_range(0..2); 16],
        });
        let targets = (0..7)
            .filter(|_| self.chance(2))
            .map(SubscriptionNumber)
            .collect();
        NewEvent {
            id: EventId::new(self.now, segment, index),
            record: Bytes::from(vec![index; usize::from(index) + 1]),
            idempotency,
            targets,
        }
    }

    pub(super) fn claim(&mut self) -> Claim {
        let count = self.random.random_range(1..4);
        let demands = (0..count)
            .map(|_| Demand {
                pool: self.pool(),
                holder: self.holder(),
                max_deliveries: self.random.random_range(1..70),
                per_tenant: self.per_tenant(),
                shares: self.shares(),
                lease: Duration::from_millis(self.random.random_range(1..90_000)),
                token: self.random.random_range(0..5),
            })
            .collect();
        Claim { demands }
    }

    fn per_tenant(&mut self) -> u32 {
        if self.chance(2) {
            u32::MAX
        } else {
            self.random.random_range(1..40)
        }
    }

    fn shares(&mut self) -> Vec<(TenantId, u32)> {
        let mut shares = Vec::new();
        for tenant in self.tenants.clone() {
            match self.random.random_range(0..6) {
                0 => shares.push((tenant, 0)),
                1 => shares.push((tenant, self.random.random_range(1..30))),
                _ => {}
            }
        }
        shares
    }

    pub(super) fn holder(&mut self) -> Holder {
        Holder {
            agent: AgentId::from_bits(self.random.random_range(0..3)),
            session: 1,
        }
    }

    pub(super) fn settle(&mut self) -> Settle {
        let mut leases: Vec<LeaseSettle> = Vec::new();
        let mut room = 128_usize;
        for _ in 0..self.random.random_range(1..4) {
            if self.grants.is_empty() {
                break;
            }
            let at = self.random.random_range(0..self.grants.len());
            let (grant, mut token) = self.grants[at].clone();
            if leases.iter().any(|one| one.lease == grant.lease) {
                continue;
            }
            if self.chance(15) {
                token ^= 1;
            }
            let whole = self.chance(2);
            let mut items = Vec::new();
            for (position, item) in (0..).zip(items_of(&grant)) {
                if (whole || self.chance(2)) && items.len() < room {
                    let disposition = self.disposition();
                    let mark = mark(&mut self.random, &disposition);
                    items.push(SettleItem {
                        position,
                        disposition,
                        mark,
                        ..item
                    });
                }
            }
            if self.chance(4) {
                items.reverse();
            }
            if whole && self.chance(2) {
                self.grants.remove(at);
            }
            room -= items.len();
            leases.push(LeaseSettle {
                lease: grant.lease,
                token,
                items,
            });
        }
        Settle { leases }
    }

    pub(super) fn disposition(&mut self) -> Disposition {
        let record = Bytes::from(vec![self.random.random(); 5]);
        match self.random.random_range(0..10) {
            0..6 => Disposition::End { record },
            6..9 => Disposition::Retry {
                at: self.now + Duration::from_millis(self.random.random_range(0..60_000)),
                retry: Bytes::from(vec![self.random.random(); 3]),
                record,
            },
            _ => Disposition::Release,
        }
    }

    pub(super) async fn turn(&mut self, model: &Model) -> Turn {
        if let Some(last) = &self.last
            && self.random.random_range(0..12) == 0
        {
            return last.clone();
        }
        let stamp = Stamp {
            lane: self.lane,
            sequence: Sequence::new(self.next).expect("few turns"),
        };
        self.next += 1;
        let mut calls = Calls::new(self.partition);
        if self.chance(2) {
            calls.settle = Some((stamp, self.settle()));
        }
        if self.chance(3) {
            calls.publish = Some((stamp, self.publish(model, stamp).await));
        }
        if self.chance(2) {
            calls.claim = Some((stamp, self.claim()));
        }
        calls.tick = self.chance(4);
        Turn {
            now: Some(self.now),
            calls: vec![calls],
        }
    }

    /// The next generation of the delivery that was lent last.
    pub(super) fn redeliver(&mut self) -> Option<Redeliver> {
        let (tenant, id) = self.ended.last().copied()?;
        Some(Redeliver {
            tenant,
            delivery: id.next_generation()?,
            subscription: id.subscription(),
            retry: Bytes::from_static(b"again"),
        })
    }

    /// What a turn's answer tells about leases and ended deliveries.
    pub(super) fn learn(&mut self, turn: &Turn, reply: &TurnReply) {
        if let (Some((_, call)), Some(Ok(answer))) = (&turn.calls[0].claim, &reply.calls[0].claim) {
            for (demand, grant) in call.demands.iter().zip(&answer.grants) {
                if let Some(grant) = grant {
                    self.grants.push((grant.clone(), demand.token));
                    let ids = items_of(grant).into_iter();
                    self.ended
                        .extend(ids.map(|item| (item.tenant, id_of(&item))));
                }
            }
        }
        self.last = Some(turn.clone());
    }
}

pub(super) fn id_of(item: &SettleItem) -> DeliveryId {
    DeliveryId::new(item.segment, item.index, item.subscription, item.generation)
}

pub(super) fn items_of(grant: &Grant) -> Vec<SettleItem> {
    let items = grant.runs.iter().flat_map(|run| {
        run.indices.iter().map(|index| SettleItem {
            position: 0,
            tenant: run.tenant,
            subscription: run.subscription,
            segment: run.segment,
            index: *index,
            generation: run.generation,
            disposition: Disposition::Release,
            mark: None,
        })
    });
    items.collect()
}
