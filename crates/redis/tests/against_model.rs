//! Random operations on the model and on Redis must answer alike, word for word.

mod support;

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sidehook_core::{
    address::{DeliveryId, EventId, Lane, Partition, SegmentId, Sequence},
    id::{AgentId, SubscriptionNumber, TenantId},
    pool::Pool,
    time::Timestamp,
    version::Version,
};
use sidehook_store::{
    Stamp, Store, Turn,
    catalog::{Change, Expect, QueueSettings, Write},
    inspect::Inspection,
    model::Model,
    read::Redeliver,
    rules,
    turn::{
        Calls, Claim, Demand, Disposition, Grant, Holder, Idempotency, LeaseId, LeaseSettle,
        NewEvent, Publish, Settle, SettleItem, TenantPublish,
    },
};
use support::{START, Server};

/// Tenants that share a partition, found by trying.
fn tenants() -> Vec<TenantId> {
    let first = Partition::of(TenantId::from_bits(1));
    (1..)
        .map(TenantId::from_bits)
        .filter(|one| Partition::of(*one) == first)
        .take(3)
        .collect()
}

fn pools(tenants: &[TenantId]) -> Vec<Pool> {
    let named = |owner, name: &str| Pool {
        owner,
        name: name.to_owned(),
    };
    let mut pools = vec![named(TenantId::PLATFORM, "shared")];
    pools.extend(tenants.iter().map(|one| named(*one, "own")));
    pools
}

struct Driver {
    random: StdRng,
    now: Timestamp,
    partition: Partition,
    tenants: Vec<TenantId>,
    pools: Vec<Pool>,
    lane: Lane,
    next: u32,
    versions: HashMap<(TenantId, u32), Version>,
    grants: Vec<(Grant, u128)>,
    segments: Vec<SegmentId>,
    ended: Vec<(TenantId, DeliveryId)>,
    last: Option<Turn>,
}

impl Driver {
    fn new(seed: u64) -> Self {
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
        }
    }

    fn chance(&mut self, one_in: u32) -> bool {
        self.random.random_range(0..one_in) == 0
    }

    fn tenant(&mut self) -> TenantId {
        self.tenants[self.random.random_range(0..self.tenants.len())]
    }

    fn pool(&mut self) -> Pool {
        self.pools[self.random.random_range(0..self.pools.len())].clone()
    }

    fn write(&mut self) -> Write {
        let tenant = self.tenant();
        let number = self.random.random_range(0..6);
        let known = self.versions.get(&(tenant, number)).copied();
        let expect = match known {
            Some(version) if !self.chance(10) => Expect::Version(version),
            _ => Expect::Absent,
        };
        let change = if known.is_some() && self.chance(6) {
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
            nonce: self.random.random(),
            change,
        }
    }

    async fn publish(&mut self, model: &Model, stamp: Stamp) -> Publish {
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
                events,
            });
        }
        Publish { tenants }
    }

    fn event(&mut self, segment: SegmentId, index: u8) -> NewEvent {
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

    fn claim(&mut self) -> Claim {
        let count = self.random.random_range(1..4);
        let demands = (0..count)
            .map(|_| Demand {
                pool: self.pool(),
                holder: self.holder(),
                max_deliveries: self.random.random_range(1..70),
                lease: Duration::from_millis(self.random.random_range(1..90_000)),
                token: self.random.random_range(0..5),
            })
            .collect();
        Claim { demands }
    }

    fn holder(&mut self) -> Holder {
        Holder {
            agent: AgentId::from_bits(self.random.random_range(0..3)),
            session: 1,
        }
    }

    fn settle(&mut self) -> Settle {
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
                    items.push(SettleItem {
                        position,
                        disposition: self.disposition(),
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

    fn disposition(&mut self) -> Disposition {
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

    async fn turn(&mut self, model: &Model) -> Turn {
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

    /// What a turn's answer tells about leases and ended deliveries.
    fn learn(&mut self, turn: &Turn, reply: &sidehook_store::TurnReply) {
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

fn id_of(item: &SettleItem) -> DeliveryId {
    DeliveryId::new(item.segment, item.index, item.subscription, item.generation)
}

fn items_of(grant: &Grant) -> Vec<SettleItem> {
    let items = grant.runs.iter().flat_map(|run| {
        run.indices.iter().map(|index| SettleItem {
            position: 0,
            tenant: run.tenant,
            subscription: run.subscription,
            segment: run.segment,
            index: *index,
            generation: run.generation,
            disposition: Disposition::Release,
        })
    });
    items.collect()
}

/// Order within a lease aside, which both give by position.
fn sorted(mut seen: Inspection) -> Inspection {
    seen.leased.sort_unstable();
    seen.waiting.sort_unstable();
    seen
}

async fn compare(seed: u64, steps: usize, redis: &dyn Store) {
    let model = Model::new();
    let mut driver = Driver::new(seed);
    let context = |step: usize| format!("seed {seed}, step {step}");
    for step in 0..steps {
        match driver.random.random_range(0..10) {
            0 => {
                let write = driver.write();
                let key = (write.tenant, write.number.0);
                let wanted = model.write(&write).await;
                assert_eq!(
                    redis.write(&write).await,
                    wanted,
                    "{} {write:?}",
                    context(step)
                );
                if let Ok(sidehook_store::catalog::Written::Done(version)) = wanted {
                    driver.versions.insert(key, version);
                }
                let known = model.catalog(write.tenant, None).await;
                assert_eq!(
                    redis.catalog(write.tenant, None).await,
                    known,
                    "{}",
                    context(step)
                );
            }
            1 => others(&mut driver, &model, redis, &context(step)).await,
            _ => {
                let turn = driver.turn(&model).await;
                let wanted = model.turn(0, &turn).await.expect("the model answers");
                let got = redis.turn(0, &turn).await.expect("Redis answers");
                let (mut wanted_one, mut got_one) = (wanted.calls[0].clone(), got.calls[0].clone());
                // When idempotency keys lapse is of no matter to anyone.
                for tick in [&mut wanted_one.tick, &mut got_one.tick] {
                    if let Some(Ok(tick)) = tick {
                        tick.next_due = None;
                    }
                }
                assert_eq!(
                    format!("{got_one:?}"),
                    format!("{wanted_one:?}"),
                    "{} {turn:#?}",
                    context(step)
                );
                driver.learn(&turn, &wanted);
            }
        }
        let wait = Duration::from_millis(driver.random.random_range(0..8_000));
        driver.now = driver.now + wait;
        let seen = redis
            .inspect(driver.partition)
            .await
            .expect("Redis answers");
        assert_eq!(seen.faults, Vec::<String>::new(), "{}", context(step));
        let wanted = model
            .inspect(driver.partition)
            .await
            .expect("the model answers");
        assert_eq!(sorted(seen), sorted(wanted), "{}", context(step));
    }
    finish(&mut driver, &model, redis).await;
}

/// Reads, renewals, releases and redeliveries.
async fn others(driver: &mut Driver, model: &Model, redis: &dyn Store, context: &str) {
    let leases: Vec<LeaseId> = driver.grants.iter().map(|(grant, _)| grant.lease).collect();
    assert_eq!(
        redis.leases(&leases).await,
        model.leases(&leases).await,
        "{context}"
    );
    let tokens: Vec<_> = driver
        .grants
        .iter()
        .map(|(grant, token)| (grant.lease, *token))
        .take(3)
        .collect();
    let (now, term) = (Some(driver.now), Duration::from_secs(60));
    assert_eq!(
        redis.renew(now, &tokens, term).await,
        model.renew(now, &tokens, term).await,
        "{context}"
    );
    if driver.chance(4) {
        let holder = driver.holder();
        let keep: Vec<_> = leases.iter().copied().take(2).collect();
        assert_eq!(
            redis.release(holder, &keep).await,
            model.release(holder, &keep).await,
            "{context}"
        );
    }
    let some = driver.ended.len().min(40);
    let asked: Vec<_> = driver.ended[driver.ended.len() - some..].to_vec();
    for tenant in driver.tenants.clone() {
        let ids: Vec<_> = asked
            .iter()
            .filter(|(one, _)| *one == tenant)
            .map(|(_, id)| *id)
            .collect();
        assert_eq!(
            redis.locate(tenant, &ids).await,
            model.locate(tenant, &ids).await,
            "{context}"
        );
    }
    if let Some((tenant, id)) = driver.ended.last().copied() {
        let call = Redeliver {
            tenant,
            delivery: id.next_generation().expect("few generations"),
            subscription: id.subscription(),
            retry: Bytes::from_static(b"again"),
        };
        assert_eq!(
            redis.redeliver(&call).await,
            model.redeliver(&call).await,
            "{context}"
        );
    }
    let segments = driver.segments.clone();
    assert_eq!(
        redis.segments(&segments).await,
        model.segments(&segments).await,
        "{context}"
    );
    assert_eq!(
        redis.outcomes(&segments).await,
        model.outcomes(&segments).await,
        "{context}"
    );
}

/// Logs in pages; then everything past its age leaves.
async fn finish(driver: &mut Driver, model: &Model, redis: &dyn Store) {
    for round in 0..2 {
        for tenant in driver.tenants.clone() {
            let mut from = None;
            loop {
                let wanted = model.log(tenant, from, 3).await.expect("the model answers");
                let got = redis.log(tenant, from, 3).await;
                assert_eq!(got, Ok(wanted.clone()), "round {round}");
                from = wanted.next;
                if from.is_none() {
                    break;
                }
            }
        }
        driver.now = driver.now + Duration::from_secs(31 * 24 * 3600);
        for _ in 0..40 {
            let mut calls = Calls::new(driver.partition);
            calls.tick = true;
            let turn = Turn {
                now: Some(driver.now),
                calls: vec![calls],
            };
            model.turn(0, &turn).await.expect("the model answers");
            redis.turn(0, &turn).await.expect("Redis answers");
        }
        let seen = redis
            .inspect(driver.partition)
            .await
            .expect("Redis answers");
        let wanted = model
            .inspect(driver.partition)
            .await
            .expect("the model answers");
        assert_eq!(sorted(seen), sorted(wanted), "round {round}");
    }
}

#[tokio::test]
async fn random_operations_answer_as_the_model_does() {
    let server = Server::start();
    for seed in 0..12 {
        let mut client = server.client().await;
        let _: () = redis::cmd("FLUSHALL")
            .query_async(&mut client)
            .await
            .expect("it answers");
        compare(seed, 250, &server.store().await).await;
    }
}
