//! A store and its ledger, and the steps of a random sequence played on both. After
//! each, every partition in play is laid open and compared.

mod standings;
mod turns;

use core::time::Duration;
use std::collections::{BTreeSet, HashMap};

use rand::{SeedableRng as _, rngs::StdRng};
use sidehook_core::{
    address::{DeliveryId, Lane, Partition, Sequence},
    id::{SubscriptionNumber, TenantId},
    limits::LOG_AGE,
    time::Timestamp,
};

pub(super) use standings::{Attempt, record};
use turns::answer;

use super::{
    choices::{START, own, shared, tenants, trims},
    desk::{Lent, TERM, demand, outcomes, tick_out, unfold},
    draw::Draw,
    sequence::{Kind, Step},
};
use crate::{
    catalog::{Bounds, Change, Expect, Write},
    inspect::Inspection,
    ledger::{Ledger, Told},
    port::Store,
    turn::{Calls, Claim, Disposition, Replies, Stamp, Turn},
};

/// A lane that was idle for longer may have been forgotten.
const LANES_KEPT: Duration = Duration::from_secs(600);

/// No lane and no idempotency key is remembered for longer.
const REMEMBERED: Duration = Duration::from_secs(10 * 24 * 3600);

pub(super) struct World<'a> {
    store: &'a dyn Store,
    ledger: Ledger,
    now: Timestamp,
    tenants: Vec<TenantId>,
    partitions: BTreeSet<Partition>,
    lanes: [Lane; 2],
    next: u32,
    /// The last sequence executed of each kind.
    last: HashMap<(Partition, Lane, u8), u32>,
    /// The last turn, without its ticks, and its answer.
    sent: Option<(Turn, Vec<Replies>)>,
    /// Whether logs are trimmed, and so no subscriptions deleted.
    trims: bool,
    /// Every call so far, in words.
    pub(super) calls: Vec<String>,
}

/// Ends it well.
fn delivered(lent: &Lent) -> Disposition {
    Disposition::End {
        record: record(lent.delivery, Attempt::Delivered, 0),
    }
}

fn words(error: impl ToString) -> String {
    error.to_string()
}

impl<'a> World<'a> {
    pub(super) fn new(store: &'a dyn Store, seed: u64) -> Self {
        let mut all = tenants(false, 2);
        all.extend(tenants(true, 1));
        Self {
            store,
            ledger: Ledger::new(),
            now: START,
            partitions: all.iter().map(|one| Partition::of(*one)).collect(),
            tenants: all,
            lanes: [seed * 2, seed * 2 + 1].map(Lane::from_random),
            next: 1,
            last: HashMap::new(),
            sent: None,
            trims: trims(seed),
            calls: Vec::new(),
        }
    }

    fn tell(&mut self, call: impl core::fmt::Debug) {
        let ms = self.now.since(START).as_millis();
        self.calls.push(format!("{ms} ms: {call:?}"));
    }

    /// Plays one step, and compares.
    pub(super) async fn step(&mut self, step: Step) -> Told {
        let tenants = self.tenants.clone();
        let mut draw = Draw {
            random: StdRng::seed_from_u64(step.seed),
            ledger: &self.ledger,
            now: self.now,
            tenants: &tenants,
            trims: self.trims,
        };
        match step.kind {
            Kind::Write => {
                if let Some(write) = draw.write() {
                    self.write(&write).await?;
                }
            }
            Kind::Turn => self.turn(step.seed).await?,
            Kind::Repeat => self.repeat().await?,
            Kind::Outdated => self.outdated(step.seed).await?,
            Kind::Renew => {
                let leases = draw.leases();
                self.tell(("renew", &leases));
                let told = self.store.renew(Some(self.now), &leases, TERM).await;
                let told = told.map_err(words)?;
                self.ledger.renewed(self.now + TERM, &leases, &told)?;
            }
            Kind::Release => {
                let (holder, keep) = (draw.holder(), draw.leases());
                let keep: Vec<_> = keep.into_iter().map(|(lease, _)| lease).collect();
                self.tell(("release", holder, &keep));
                let told = self.store.release(&[holder], &keep).await.map_err(words)?;
                self.ledger.released(holder, &keep, told)?;
            }
            Kind::Redeliver => {
                if let Some(call) = draw.redeliver() {
                    self.tell(&call);
                    let told = self.store.redeliver(&call).await.map_err(words)?;
                    self.ledger.redelivered(&call, told)?;
                }
            }
            Kind::Read => self.read().await?,
            Kind::Pass => {
                let pause = draw.pause();
                self.pass(pause);
            }
        }
        self.balance().await
    }

    fn pass(&mut self, pause: Duration) {
        self.now = self.now + pause;
        if pause >= LANES_KEPT {
            self.sent = None;
            self.last.clear();
        }
    }

    async fn balance(&self) -> Told {
        for partition in &self.partitions {
            let seen = self.store.inspect(*partition).await.map_err(words)?;
            self.ledger.balance(*partition, &seen)?;
            self.standings(*partition, &seen).await?;
        }
        Ok(())
    }

    async fn write(&mut self, write: &Write) -> Told {
        self.tell(write);
        let told = self.store.write(write).await.map_err(words)?;
        self.ledger.wrote(write, &told)?;
        let again = self.store.write(write).await.map_err(words)?;
        if let (crate::catalog::Written::Done(_), false) = (told, told == again) {
            return Err(format!("{write:?}, repeated, answers {again:?}"));
        }
        let catalog = self.store.catalog(write.tenant, None).await;
        let version = catalog.map_err(words)?.map(|catalog| catalog.version);
        let wanted = self.ledger.catalog(write.tenant);
        if version != Some(wanted) {
            return Err(format!("the catalog is {wanted:?}, not {version:?}"));
        }
        Ok(())
    }

    // ------------------------------------------------------------ reading

    async fn read(&mut self) -> Told {
        self.tell("read");
        for tenant in self.tenants.clone() {
            let lines = self.ledger.lines().iter().rev();
            let ids: Vec<DeliveryId> = lines
                .filter(|line| Partition::of(line.tenant) == Partition::of(tenant))
                .map(|line| line.delivery)
                .take(100)
                .collect();
            let told = self.store.locate(tenant, &ids).await.map_err(words)?;
            self.ledger.located(tenant, &ids, &told)?;
            self.read_log(tenant).await?;
        }
        let loans = self.ledger.loans().iter();
        let leases: Vec<_> = loans.map(|loan| loan.lease).collect();
        let told = self.store.leases(&leases).await.map_err(words)?;
        self.ledger.leased(&told)?;
        let segments = self.ledger.segments().iter();
        let ids: Vec<_> = segments.map(|one| one.segment).collect();
        let told = self.store.segments(&ids).await.map_err(words)?;
        let outcomes = self.store.outcomes(&ids).await.map_err(words)?;
        self.ledger.kept(self.now, &ids, &told, &outcomes)
    }

    /// The log, by pages, is what was published, newest first.
    async fn read_log(&self, tenant: TenantId) -> Told {
        let mut told = Vec::new();
        let mut from = None;
        loop {
            let page = self.store.log(tenant, from, 3).await.map_err(words)?;
            told.extend(page.segments);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        let wanted = self.ledger.log(tenant);
        if told == wanted {
            Ok(())
        } else {
            Err(format!("the log of {tenant} is {wanted:?}, not {told:?}"))
        }
    }

    // ------------------------------------------------------------ the end

    /// Delivers what can be, deletes the subscriptions, lets everything run out:
    /// then nothing is left.
    pub(super) async fn finish(&mut self) -> Told {
        self.read().await?;
        for partition in self.partitions.clone() {
            while self.deliver(partition).await? {}
        }
        self.balance().await?;
        for tenant in self.tenants.clone() {
            for number in (0..8).map(SubscriptionNumber) {
                let known = self.ledger.subscription((tenant, number));
                let Some(version) = known.map(|one| one.version) else {
                    continue;
                };
                let write = Write {
                    tenant,
                    number,
                    expect: Expect::Version(version),
                    bounds: Bounds::default(),
                    nonce: u64::from(number.0),
                    change: Change::Delete,
                };
                self.write(&write).await?;
            }
        }
        self.pass(LOG_AGE);
        for partition in self.partitions.clone() {
            self.tick(partition, 0).await?;
            // Segments that waited for their last delivery may take a few ticks.
            for _ in 0..32 {
                tick_out(self.store, self.now, partition).await?;
            }
            let seen = self.store.inspect(partition).await.map_err(words)?;
            if seen != Inspection::default() {
                return Err(format!("in the end there is left {seen:?}"));
            }
        }
        // What remembers calls leaves after what they were about.
        for _ in 0..2 {
            self.pass(REMEMBERED);
            for partition in self.partitions.clone() {
                for _ in 0..20 {
                    tick_out(self.store, self.now, partition).await?;
                }
            }
        }
        self.balance().await
    }

    /// Claims for every pool and ends all of it; whether there was any.
    async fn deliver(&mut self, partition: Partition) -> Result<bool, String> {
        let mut pools = vec![shared()];
        pools.extend(self.tenants.iter().map(|one| own(*one)));
        let demands = pools.into_iter().map(|pool| {
            let mut one = demand(128);
            one.pool = pool;
            one
        });
        let demands: Vec<_> = demands.collect();
        let token = demands.first().map_or(0, |one| one.token);
        let mut stamp = Stamp {
            lane: self.lanes[0],
            sequence: Sequence::new(self.next).unwrap_or(Sequence::FIRST),
        };
        let mut calls = Calls::new(partition);
        calls.claim = Some((stamp, Claim { demands }));
        let claim = self.execute(calls).await?.claim;
        let grants = &answer(&claim)?.grants;
        let lent: Vec<_> = grants
            .iter()
            .flatten()
            .flat_map(|grant| unfold(grant, token))
            .collect();
        self.next += 1;
        stamp.sequence = Sequence::new(self.next).unwrap_or(Sequence::FIRST);
        self.next += 1;
        let mut calls = Calls::new(partition);
        calls.settle = Some((stamp, outcomes(&lent, delivered)));
        self.execute(calls).await?;
        Ok(!lent.is_empty())
    }
}
