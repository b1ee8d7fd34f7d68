//! The model as the judge: random calls go to it and to a store, step by step, and
//! both must answer alike, word for word.
//!
//! Where the suite's other sequences ask whether promises are kept, this asks for
//! sameness, which also covers what the port leaves to the store's taste (the order
//! within a lease, say). A step is one call, so that a test of crashes can tell the
//! state before it from the state after it.

use core::{fmt::Debug, time::Duration};

use bytes::Bytes;
use rand::Rng as _;
use sidehook_core::{
    address::{DeliveryId, Partition, SegmentId},
    id::{SubscriptionNumber, TenantId},
    time::Timestamp,
};

use super::driver::Driver;
use crate::{
    catalog::{Catalog, Write, Written},
    error::{CallError, StoreError},
    inspect::Inspection,
    model::Model,
    port::Store,
    read::{Lease, LogPage, Redeliver, Segment},
    turn::{Calls, Holder, LeaseId, Replies, Turn},
};

/// How long leases are renewed for.
const TERM: Duration = Duration::from_secs(60);

/// A sequence of random calls to the model and to a store.
pub struct Comparison {
    pub(super) model: Model,
    pub(super) driver: Driver,
    asked: Asked,
    seed: u64,
    steps: usize,
}

/// What a store holds of a sequence's partition. Two that are equal are equal in
/// everything that can be asked for, but for idempotency keys and lanes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holdings {
    /// Where the deliveries are.
    pub places: Inspection,
    tenants: Vec<TenantId>,
    catalogs: Vec<Catalog>,
    logs: Vec<LogPage>,
    pub(super) leases: Vec<Option<Lease>>,
    segments: Vec<(SegmentId, Segment, Vec<Bytes>)>,
}

impl Holdings {
    /// The subscriptions that there are.
    pub(super) fn live(&self) -> impl Iterator<Item = (TenantId, SubscriptionNumber)> {
        let catalogs = self.tenants.iter().zip(&self.catalogs);
        catalogs.flat_map(|(tenant, catalog)| catalog.rows.iter().map(|row| (*tenant, row.number)))
    }
}

/// Order within a lease aside, which both give by position.
fn sorted(mut seen: Inspection) -> Inspection {
    seen.leased.sort_unstable();
    seen.waiting.sort_unstable();
    seen
}

/// When idempotency keys lapse is of no matter to anyone. A tick that is repeated
/// takes back nothing.
fn comparable(mut replies: Replies, again: bool) -> Replies {
    if let Some(Ok(tick)) = &mut replies.tick {
        tick.next_due = None;
        if again {
            tick.leases_lost = 0;
        }
    }
    replies
}

/// A call, and what the model answered.
enum Asked {
    Read,
    Write(Write, Written),
    Renew(Timestamp, Vec<(LeaseId, u128)>, Vec<bool>),
    Release(Holder, Vec<LeaseId>, u32),
    Redeliver(Redeliver, bool),
    Turn(Turn, Vec<Replies>),
}

/// What a store that is away answers is no difference.
fn away<T>(answer: Result<T, StoreError>) -> Result<Result<T, StoreError>, StoreError> {
    match answer {
        Err(error @ StoreError::Unavailable { .. }) => Err(error),
        answer => Ok(answer),
    }
}

/// Where nothing is known of one call, the turn is to be made again.
fn known(replies: &[Replies]) -> Result<(), StoreError> {
    let unknown = replies.iter().flat_map(|one| {
        let errors = [
            one.settle.as_ref().and_then(|one| one.as_ref().err()),
            one.publish.as_ref().and_then(|one| one.as_ref().err()),
            one.claim.as_ref().and_then(|one| one.as_ref().err()),
            one.tick.as_ref().and_then(|one| one.as_ref().err()),
        ];
        errors.into_iter().flatten()
    });
    for error in unknown {
        if let CallError::Unknown { detail } = error {
            return Err(StoreError::Unavailable {
                detail: detail.clone(),
                retry_after: Duration::ZERO,
            });
        }
    }
    Ok(())
}

impl Comparison {
    /// Begins a sequence, with an empty model.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            model: Model::new(),
            driver: Driver::new(seed),
            asked: Asked::Read,
            seed,
            steps: 0,
        }
    }

    /// The partition that all calls are about.
    #[must_use]
    pub const fn partition(&self) -> Partition {
        self.driver.partition
    }

    /// What the model holds now.
    pub async fn wanted(&self) -> Holdings {
        let held = self.holdings(&self.model).await;
        held.expect("the model answers")
    }

    /// What a store holds, as far as this sequence can know of it.
    ///
    /// # Errors
    /// [`StoreError`], when the store answers so.
    pub async fn holdings(&self, store: &dyn Store) -> Result<Holdings, StoreError> {
        let mut held = Holdings {
            places: sorted(store.inspect(self.driver.partition).await?),
            tenants: self.driver.tenants.clone(),
            ..Holdings::default()
        };
        for tenant in &self.driver.tenants {
            held.catalogs.extend(store.catalog(*tenant, None).await?);
            held.logs.push(store.log(*tenant, None, usize::MAX).await?);
        }
        let mut leases: Vec<_> = held.places.leased.iter().map(|(.., id)| *id).collect();
        leases.sort_unstable();
        leases.dedup();
        held.leases = store.leases(&leases).await?;
        let segments = &self.driver.segments;
        let events = store.segments(segments).await?;
        let outcomes = store.outcomes(segments).await?;
        let all = segments.iter().zip(events.into_iter().zip(outcomes));
        held.segments = all
            .filter_map(|(id, (events, outcomes))| Some((*id, events?, outcomes)))
            .collect();
        Ok(held)
    }

    /// The store was opened anew and has forgotten its lanes: nothing of before is
    /// repeated.
    pub fn reopened(&mut self) {
        self.driver.last = None;
    }

    /// Makes one call, to the model first, and compares the answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the store is, or when nothing is known of one
    /// call of a turn; the model has done the step.
    ///
    /// # Panics
    /// When the answers differ.
    pub async fn step(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        self.steps += 1;
        self.asked = self.draw().await;
        let wait = Duration::from_millis(self.driver.random.random_range(0..8_000));
        self.driver.now = self.driver.now + wait;
        self.ask(store, false).await
    }

    /// Makes the last call again, unchanged, because nobody knows whether the store
    /// has executed it. Only what the port lets differ then may differ: how many
    /// leases were lost or released.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the store still is.
    ///
    /// # Panics
    /// When the answers differ.
    pub async fn again(&self, store: &dyn Store) -> Result<(), StoreError> {
        self.ask(store, true).await
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
        let counted = away(store.occupancy(self.driver.partition).await)?;
        assert_eq!(counted, Ok(seen.occupancy()), "{}", self.place());
        let wanted = self.model.inspect(self.driver.partition).await;
        let wanted = wanted.expect("the model answers");
        assert_eq!(sorted(seen), sorted(wanted), "{}", self.place());
        Ok(())
    }

    pub(super) fn place(&self) -> String {
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

    /// Draws a call, and has the model answer it.
    async fn draw(&mut self) -> Asked {
        let answers = "the model answers";
        match self.driver.random.random_range(0..40) {
            0..4 => {
                let write = self.driver.write();
                let wanted = self.model.write(&write).await.expect(answers);
                if let Written::Done(version) = wanted {
                    let key = (write.tenant, write.number.0);
                    self.driver.versions.insert(key, version);
                }
                Asked::Write(write, wanted)
            }
            4..7 => Asked::Read,
            7 => {
                let grants = self.driver.grants.iter().take(3);
                let leases: Vec<_> = grants.map(|(grant, token)| (grant.lease, *token)).collect();
                let now = Some(self.driver.now);
                let wanted = self.model.renew(now, &leases, TERM).await;
                Asked::Renew(self.driver.now, leases, wanted.expect(answers))
            }
            8 => {
                let holder = self.driver.holder();
                let grants = self.driver.grants.iter().take(2);
                let keep: Vec<LeaseId> = grants.map(|(grant, _)| grant.lease).collect();
                let wanted = self.model.release(&[holder], &keep).await;
                Asked::Release(holder, keep, wanted.expect(answers))
            }
            9..11 => match self.driver.redeliver() {
                Some(call) => {
                    let wanted = self.model.redeliver(&call).await;
                    Asked::Redeliver(call, wanted.expect(answers))
                }
                None => Asked::Read,
            },
            _ => {
                let turn = self.driver.turn(&self.model).await;
                let wanted = self.model.turn(0, &turn).await.expect(answers);
                self.driver.learn(&turn, &wanted);
                Asked::Turn(turn, wanted.calls)
            }
        }
    }

    /// Has the store answer, too.
    async fn ask(&self, store: &dyn Store, again: bool) -> Result<(), StoreError> {
        match &self.asked {
            Asked::Read => self.read(store).await,
            Asked::Write(write, wanted) => {
                self.same(store.write(write).await, Ok(*wanted), write)?;
                let wanted = self.model.catalog(write.tenant, None).await;
                self.same(store.catalog(write.tenant, None).await, wanted, write)
            }
            Asked::Renew(now, leases, wanted) => {
                let got = store.renew(Some(*now), leases, TERM).await;
                self.same(got, Ok(wanted.clone()), leases)
            }
            Asked::Release(holder, keep, wanted) => {
                let got = away(store.release(&[*holder], keep).await)?;
                if !(again && got == Ok(0)) {
                    self.same(got, Ok(*wanted), (holder, keep))?;
                }
                Ok(())
            }
            Asked::Redeliver(call, wanted) => {
                self.same(store.redeliver(call).await, Ok(*wanted), call)
            }
            Asked::Turn(turn, wanted) => {
                let got = away(store.turn(0, turn).await)?;
                let got = got.expect("a turn's calls fail by themselves").calls;
                known(&got)?;
                let all = |replies: &[Replies]| {
                    let replies = replies.iter().map(|one| comparable(one.clone(), again));
                    format!("{:?}", replies.collect::<Vec<_>>())
                };
                assert_eq!(all(&got), all(wanted), "{} {turn:#?}", self.place());
                Ok(())
            }
        }
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
            // Backwards, and one that never was.
            let numbers: Vec<_> = (0..8).rev().map(SubscriptionNumber).collect();
            let wanted = self.model.health(*tenant, &numbers).await;
            self.same(store.health(*tenant, &numbers).await, wanted, &numbers)?;
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
