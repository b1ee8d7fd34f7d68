//! The store port over a Redis of its own, without servers and agents: only what the
//! store does is measured here.
//!
//! A desk has some tenants, each alone in its partition, with a number of
//! subscriptions that events go to in turn. It publishes, lends and settles as turn
//! workers do: a settle and the next claim of a partition travel in one pipeline.

mod calls;
mod redis;

use std::time::{Duration, Instant};

use sidehook_core::{address::Partition, id::TenantId, time::Timestamp};
use sidehook_redis::{RedisConfig, RedisStore};
use sidehook_store::{
    Store as _, StoreError, Turn,
    turn::{Calls, Grant, Replies, Settle},
};
use sidehook_testkit::RedisServer;

use self::calls::Flow;
pub(crate) use self::{calls::Batch, redis::Slowest};
use crate::{Failure, proc_stat::main_thread_cpu};

/// Deliveries of one claim, and outcomes of one settle.
pub(crate) const CLAIM: u32 = 64;
/// Claims of one sample, each with its settle.
const CLAIMS: u64 = 5;
/// Deliveries of one sample.
pub(crate) const SAMPLE: u64 = CLAIMS * CLAIM as u64;
/// Far beyond what any call takes, also while Redis allots the memory of a backlog.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// A Redis, a store over it, and its tenants.
pub(crate) struct Desk {
    redis: RedisServer,
    store: RedisStore,
    flows: Vec<Flow>,
}

/// What lending and settling [`SAMPLE`] deliveries took.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    /// CPU time of Redis' main thread, which executes all commands.
    pub(crate) cpu: Duration,
    /// From the first call to the last answer, at the port.
    pub(crate) elapsed: Duration,
    /// Commands that Redis executed, those of scripts included.
    pub(crate) commands: u64,
}

/// Ticks until nothing more was due.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ticks {
    /// How many.
    pub(crate) count: u64,
    /// CPU time of Redis' main thread for the dearest, its reading and answering included.
    pub(crate) longest_cpu: Duration,
}

impl Desk {
    /// Starts a Redis, and makes tenants with so many subscriptions each.
    pub(crate) async fn start(tenants: usize, subscriptions: u32) -> Result<Self, Failure> {
        // Rewriting its log would copy the whole backlog in the middle of a sample.
        let settings = ["--auto-aof-rewrite-percentage", "0"];
        let redis = RedisServer::start_with(&settings).await;
        let config = RedisConfig {
            response_timeout: RESPONSE_TIMEOUT,
            ..RedisConfig::new(redis.url())
        };
        let store = RedisStore::connect(config).await?;
        let mut desk = Self {
            redis,
            store,
            flows: Vec::with_capacity(tenants),
        };
        let mut numbers = 1_u128..;
        while desk.flows.len() < tenants {
            let tenant = TenantId::from_bits(numbers.next().ok_or("no tenants left")?);
            let partition = Partition::of(tenant);
            if desk.flows.iter().any(|flow| flow.partition() == partition) {
                continue;
            }
            let flow = Flow::create(&desk.store, tenant, 1..subscriptions + 1).await?;
            desk.flows.push(flow);
        }
        Ok(desk)
    }

    /// Publishes until every tenant has got so many more deliveries.
    pub(crate) async fn fill(&mut self, per_tenant: u64, batch: Batch) -> Result<(), Failure> {
        let mut left = per_tenant;
        while left > 0 {
            let some = batch.deliveries().min(left);
            let publish = |flow: &mut Flow| flow.publish(batch, some);
            let calls = self.flows.iter_mut().map(publish).collect();
            published(self.turn(calls).await?)?;
            left -= some;
        }
        Ok(())
    }

    /// Lends and settles [`SAMPLE`] deliveries of one tenant, then publishes as many.
    pub(crate) async fn sample(&mut self, at: usize, batch: Batch) -> Result<Sample, Failure> {
        let commands = self.commands().await?;
        let cpu = main_thread_cpu(self.redis.id())?;
        let start = Instant::now();
        let mut settle = None;
        for _ in 0..CLAIMS {
            settle = Some(self.lend(at, settle.take()).await?);
        }
        let calls = vec![self.flows[at].calls(settle, false)];
        settled(self.turn(calls).await?)?;
        let sample = Sample {
            elapsed: start.elapsed(),
            cpu: main_thread_cpu(self.redis.id())?.saturating_sub(cpu),
            commands: self.commands().await? - commands,
        };
        let mut left = SAMPLE;
        while left > 0 {
            let some = batch.deliveries().min(left);
            let calls = vec![self.flows[at].publish(batch, some)];
            published(self.turn(calls).await?)?;
            left -= some;
        }
        Ok(sample)
    }

    /// Settles what was lent before and lends again; what ends all of that.
    async fn lend(&mut self, at: usize, settle: Option<Settle>) -> Result<Settle, Failure> {
        let calls = vec![self.flows[at].calls(settle, true)];
        let mut replies = self.turn(calls).await?;
        let claimed = replies.iter_mut().find_map(|reply| reply.claim.take());
        settled(replies)?;
        let mut grants = claimed.ok_or("a claim was not answered")??.grants;
        let grant: Option<Grant> = grants.pop().flatten();
        let settle = calls::ending(&grant.ok_or("nothing was lent")?);
        let lent: usize = settle.leases.iter().map(|lease| lease.items.len()).sum();
        if lent != CLAIM as usize {
            return Err(format!("{lent} deliveries were lent, {CLAIM} were wanted").into());
        }
        Ok(settle)
    }

    /// Ticks a tenant's partition until nothing more is due.
    pub(crate) async fn tick(&self, at: usize) -> Result<Ticks, Failure> {
        let mut ticks = Ticks::default();
        loop {
            let mut calls = Calls::new(self.flows[at].partition());
            calls.tick = true;
            let before = main_thread_cpu(self.redis.id())?;
            let reply = self.store.turn(0, &turn(vec![calls])).await?;
            let cpu = main_thread_cpu(self.redis.id())?.saturating_sub(before);
            let (now, ticked) = (reply.now, reply.calls.into_iter().find_map(|one| one.tick));
            let due = ticked.ok_or("a tick was not answered")??.next_due;
            ticks.count += 1;
            ticks.longest_cpu = ticks.longest_cpu.max(cpu);
            if due.is_none_or(|due: Timestamp| due > now) {
                return Ok(ticks);
            }
        }
    }

    /// Gives a tenant one more subscription, which all its events go to from now on.
    pub(crate) async fn subscribe(&mut self, at: usize, number: u32) -> Result<(), Failure> {
        self.flows[at].add(&self.store, number).await
    }

    /// Deletes a tenant's subscription.
    pub(crate) async fn unsubscribe(&mut self, at: usize, number: u32) -> Result<(), Failure> {
        self.flows[at].remove(&self.store, number).await
    }

    /// Bytes of the records of all events published so far.
    pub(crate) fn published_bytes(&self) -> u64 {
        self.flows.iter().map(Flow::published_bytes).sum()
    }

    /// How many deliveries of a tenant are queued.
    pub(crate) async fn queued(&self, at: usize) -> Result<u64, Failure> {
        let flow = &self.flows[at];
        let found = self.store.occupancy(flow.partition()).await?;
        Ok(found.get(&flow.tenant()).map_or(0, |one| one.ready))
    }

    async fn turn(&self, calls: Vec<Calls>) -> Result<Vec<Replies>, StoreError> {
        Ok(self.store.turn(0, &turn(calls)).await?.calls)
    }
}

const fn turn(calls: Vec<Calls>) -> Turn {
    Turn { now: None, calls }
}

fn published(replies: Vec<Replies>) -> Result<(), Failure> {
    for reply in replies {
        calls::accepted(&reply.publish.ok_or("a publish was not answered")??)?;
    }
    Ok(())
}

fn settled(replies: Vec<Replies>) -> Result<(), Failure> {
    for reply in replies {
        if let Some(settled) = reply.settle {
            let stale: usize = settled?.stale.iter().map(Vec::len).sum();
            if stale > 0 {
                return Err(format!("{stale} outcomes were stale").into());
            }
        }
    }
    Ok(())
}
