//! The model as the judge: random calls go to it and to a store, step by step, and
//! both must answer alike, word for word.
//!
//! Where the suite's other sequences ask whether promises are kept, this asks for
//! sameness, which also covers what the port leaves to the store's taste (the order
//! within a lease, say). A step is one call, so that a test of crashes can tell the
//! state before it from the state after it.

use core::{fmt::Debug, time::Duration};

use rand::Rng as _;
use sidehook_core::address::{DeliveryId, Partition};

use super::driver::Driver;
use crate::{
    catalog::Written,
    error::StoreError,
    inspect::Inspection,
    model::Model,
    port::Store,
    turn::{Calls, LeaseId, Replies, Turn},
};

/// A sequence of random calls to the model and to a store.
pub struct Comparison {
    model: Model,
    driver: Driver,
    seed: u64,
    steps: usize,
}

/// Order within a lease aside, which both give by position.
fn sorted(mut seen: Inspection) -> Inspection {
    seen.leased.sort_unstable();
    seen.waiting.sort_unstable();
    seen
}

/// When idempotency keys lapse is of no matter to anyone.
fn undated(mut replies: Replies) -> Replies {
    if let Some(Ok(tick)) = &mut replies.tick {
        tick.next_due = None;
    }
    replies
}

/// What a store that is away answers is no difference.
fn away<T>(answer: Result<T, StoreError>) -> Result<Result<T, StoreError>, StoreError> {
    match answer {
        Err(error @ StoreError::Unavailable { .. }) => Err(error),
        answer => Ok(answer),
    }
}

impl Comparison {
    /// Begins a sequence, with an empty model.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            model: Model::new(),
            driver: Driver::new(seed),
            seed,
            steps: 0,
        }
    }

    /// The partition that all calls are about.
    #[must_use]
    pub const fn partition(&self) -> Partition {
        self.driver.partition
    }

    /// What the model holds, as [`Comparison::agree`] compares it.
    pub async fn wanted(&self) -> Inspection {
        let seen = self.model.inspect(self.driver.partition).await;
        sorted(seen.expect("the model answers"))
    }

    /// The store was opened anew and has forgotten its lanes: nothing of before is
    /// repeated.
    pub fn reopened(&mut self) {
        self.driver.last = None;
    }

    /// Makes one call, to the model first, and compares the answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the store is; the model has done the step.
    ///
    /// # Panics
    /// When the answers differ.
    pub async fn step(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        self.steps += 1;
        let done = match self.driver.random.random_range(0..40) {
            0..4 => self.write(store).await,
            4..7 => self.read(store).await,
            7 => self.renew(store).await,
            8 => self.release(store).await,
            9..11 => self.redeliver(store).await,
            _ => self.turn(store).await,
        };
        let wait = Duration::from_millis(self.driver.random.random_range(0..8_000));
        self.driver.now = self.driver.now + wait;
        done
    }

    /// Compares what both hold.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the store is.
    ///
    /// # Panics
    /// When it differs, or the store is not sound.
    pub async fn agree(&self, store: &dyn Store) -> Result<(), StoreError> {
        let seen = away(store.inspect(self.driver.partition).await)?;
        let seen = seen.expect("what it holds is readable");
        assert_eq!(seen.faults, Vec::<String>::new(), "{}", self.place());
        assert_eq!(sorted(seen), self.wanted().await, "{}", self.place());
        Ok(())
    }

    fn place(&self) -> String {
        format!("seed {}, step {}", self.seed, self.steps)
    }

    fn same<T: PartialEq + Debug>(
        &self,
        got: Result<T, StoreError>,
        wanted: Result<T, StoreError>,
        call: impl Debug,
    ) -> Result<(), StoreError> {
        assert_eq!(away(got)?, wanted, "{} {call:#?}", self.place());
        Ok(())
    }

    async fn write(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let write = self.driver.write();
        let wanted = self.model.write(&write).await;
        if let Ok(Written::Done(version)) = wanted {
            let key = (write.tenant, write.number.0);
            self.driver.versions.insert(key, version);
        }
        self.same(store.write(&write).await, wanted, &write)?;
        let wanted = self.model.catalog(write.tenant, None).await;
        self.same(store.catalog(write.tenant, None).await, wanted, &write)
    }

    async fn turn(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let turn = self.driver.turn(&self.model).await;
        let wanted = self.model.turn(0, &turn).await;
        let wanted = wanted.expect("the model answers");
        self.driver.learn(&turn, &wanted);
        let got = away(store.turn(0, &turn).await)?.expect("a turn's calls fail by themselves");
        let all = |replies: Vec<Replies>| {
            let replies = replies.into_iter().map(undated);
            format!("{:?}", replies.collect::<Vec<_>>())
        };
        assert_eq!(
            all(got.calls),
            all(wanted.calls),
            "{} {turn:#?}",
            self.place()
        );
        Ok(())
    }

    async fn renew(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let grants = self.driver.grants.iter().take(3);
        let leases: Vec<_> = grants.map(|(grant, token)| (grant.lease, *token)).collect();
        let (now, term) = (Some(self.driver.now), Duration::from_secs(60));
        let wanted = self.model.renew(now, &leases, term).await;
        self.same(store.renew(now, &leases, term).await, wanted, &leases)
    }

    async fn release(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let holder = self.driver.holder();
        let grants = self.driver.grants.iter().take(2);
        let keep: Vec<LeaseId> = grants.map(|(grant, _)| grant.lease).collect();
        let wanted = self.model.release(holder, &keep).await;
        self.same(store.release(holder, &keep).await, wanted, (holder, &keep))
    }

    async fn redeliver(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let Some(call) = self.driver.redeliver() else {
            return Ok(());
        };
        let wanted = self.model.redeliver(&call).await;
        self.same(store.redeliver(&call).await, wanted, &call)
    }

    /// Reads everything that a sequence has left behind, but the logs.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the store is.
    ///
    /// # Panics
    /// When the answers differ.
    pub async fn read(&self, store: &dyn Store) -> Result<(), StoreError> {
        let grants = self.driver.grants.iter();
        let leases: Vec<LeaseId> = grants.map(|(grant, _)| grant.lease).collect();
        let wanted = self.model.leases(&leases).await;
        self.same(store.leases(&leases).await, wanted, &leases)?;
        for tenant in &self.driver.tenants {
            let ended = self.driver.ended.iter().rev().take(40);
            let ended = ended.filter(|(one, _)| one == tenant);
            let ids: Vec<DeliveryId> = ended.map(|(_, id)| *id).collect();
            let wanted = self.model.locate(*tenant, &ids).await;
            self.same(store.locate(*tenant, &ids).await, wanted, &ids)?;
        }
        let segments = &self.driver.segments;
        let wanted = self.model.segments(segments).await;
        self.same(store.segments(segments).await, wanted, segments)?;
        let wanted = self.model.outcomes(segments).await;
        self.same(store.outcomes(segments).await, wanted, segments)
    }

    /// Reads the logs in pages, and lets everything past its age leave.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the store is.
    ///
    /// # Panics
    /// When the answers differ.
    pub async fn finish(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        for _ in 0..2 {
            self.logs(store).await?;
            self.driver.now = self.driver.now + Duration::from_secs(31 * 24 * 3600);
            for _ in 0..40 {
                let mut calls = Calls::new(self.driver.partition);
                calls.tick = true;
                let turn = Turn {
                    now: Some(self.driver.now),
                    calls: vec![calls],
                };
                let _ = self.model.turn(0, &turn).await;
                away(store.turn(0, &turn).await)?.expect("ticks fail by themselves");
            }
            self.agree(store).await?;
        }
        Ok(())
    }

    async fn logs(&self, store: &dyn Store) -> Result<(), StoreError> {
        for tenant in &self.driver.tenants {
            let mut from = None;
            loop {
                let wanted = self.model.log(*tenant, from, 3).await;
                let next = wanted.as_ref().map_or(None, |page| page.next);
                self.same(store.log(*tenant, from, 3).await, wanted, (tenant, from))?;
                from = next;
                if from.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }
}
