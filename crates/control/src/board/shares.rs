//! Shares: how much of an agent that serves several tenants one of them may have.
//!
//! What an agent is at work on cannot be taken back: a receiver that hangs keeps its
//! place until the attempt's time is over. So the places for those who are quiet must
//! stay free beforehand, however many tenants flood:
//!
//! **A tenant may have 2·f²/c of an agent's c places, but always one; f of them are free
//! once everything that is asked for is granted. A demand asks for a quarter of what is
//! free, and for one at least.**
//!
//! A place is one delivery, or its part of the agent's bytes if its events are larger.
//!
//! - Alone, a tenant gets half of an agent and no more, for nobody knows beforehand who
//!   will come next. An agent that is one tenant's own has no such limit; one that is
//!   shared can be given twice the capacity.
//! - Each further one gets a share of what the others leave, and the last √(c/2) places
//!   are for those alone who have nothing there. So about 2·√c tenants must flood one
//!   agent, all of whose receivers hang, before a quiet one finds no place: 31 at a
//!   capacity of 256, 63 at 1,024 (tested below). Beyond that the quiet one waits until
//!   some attempt ends (60 s at most), and is then before all that flood, since these
//!   have more than a share of nothing.
//! - While all are served, K tenants that flood have equal parts of it: together half of
//!   an agent for K = 1, three quarters for K = 8, and more the more they are.
//!
//! Bytes are known only once granted, by a guess before: one grant of a tenant may exceed
//! its share of them, and the next is then smaller.
//!
//! Who has had their share is named in the demand, so that the store passes them over;
//! what they then may have waiting is *held back* ([`Board::hold_back`]). It is due again
//! as soon as one of the pool's sessions may take some of it, and not before: each such
//! time either something of it is lent, or it is forgotten until a claim names it again.
//! So neither does it wait for a tick, nor is it claimed in vain again and again.
//!
//! A claim names at most [`CLAIM_SHARES`] tenants. If more of one partition were at work
//! on one agent, it would not be asked for that partition until some of it is done.

use std::collections::BTreeMap;

use sidehook_core::{address::Partition, id::TenantId, limits::CLAIM_SHARES};
use sidehook_session::server_end::Credit;

use super::{Board, PoolKey, Reservation, SessionKey};

/// Part of what is free that one demand asks for.
const QUARTER: u32 = 4;

/// Deliveries and bytes by tenant, neighbours of one tenant together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally(Vec<(TenantId, u32, u64)>);

impl Tally {
    /// Adds deliveries of a tenant with so many bytes in all.
    pub(crate) fn add(&mut self, tenant: TenantId, deliveries: u32, bytes: u64) {
        match self.0.last_mut() {
            Some((last, count, sum)) if *last == tenant => {
                *count = count.saturating_add(deliveries);
                *sum = sum.saturating_add(bytes);
            }
            _ => self.0.push((tenant, deliveries, bytes)),
        }
    }

    /// The same bytes, of no further deliveries.
    pub(super) fn only_bytes(&self) -> Self {
        let of = |(tenant, _, bytes): &(TenantId, u32, u64)| (*tenant, 0, *bytes);
        Self(self.0.iter().map(of).collect())
    }

    /// Deliveries in all.
    pub(crate) fn deliveries(&self) -> u32 {
        let counts = self.0.iter().map(|(_, count, _)| *count);
        counts.fold(0, u32::saturating_add)
    }

    /// Bytes in all.
    pub(crate) fn bytes(&self) -> u64 {
        let sums = self.0.iter().map(|(.., bytes)| *bytes);
        sums.fold(0, u64::saturating_add)
    }
}

/// What a tenant has of an agent.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    deliveries: u32,
    bytes: u64,
}

/// What each tenant has of one agent.
#[derive(Debug, Default)]
pub(super) struct Shares {
    held: BTreeMap<(Partition, TenantId), Held>,
    /// No tenant that is held back has fewer places than these here.
    least: u64,
}

/// What one demand may be lent of each tenant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// Of one that is not named.
    pub(super) each: u32,
    /// Of others.
    pub(super) shares: Vec<(TenantId, u32)>,
}

/// How much a demand asks for.
pub(super) fn ask(credit: &Credit, typical: u64) -> u32 {
    credit.free(typical).div_ceil(QUARTER)
}

/// Places that a tenant may have once `asked` deliveries are granted.
fn limit(credit: &Credit, typical: u64, asked: u32) -> u64 {
    let asked = credit.places(1, typical).saturating_mul(asked.into());
    let free = credit.places_free(typical).saturating_sub(asked);
    let share = 2 * free.saturating_mul(free) / u64::from(credit.capacity()).max(1);
    share.max(1)
}

impl Shares {
    /// Tenants have more.
    pub(super) fn add(&mut self, tally: &Tally) {
        for (tenant, deliveries, bytes) in &tally.0 {
            let held = self.held.entry((Partition::of(*tenant), *tenant));
            let held = held.or_default();
            held.deliveries = held.deliveries.saturating_add(*deliveries);
            held.bytes = held.bytes.saturating_add(*bytes);
        }
    }

    /// Tenants have less.
    pub(super) fn remove(&mut self, tally: &Tally, credit: &Credit) {
        for (tenant, deliveries, bytes) in &tally.0 {
            let key = (Partition::of(*tenant), *tenant);
            let Some(held) = self.held.get_mut(&key) else {
                continue;
            };
            held.deliveries = held.deliveries.saturating_sub(*deliveries);
            held.bytes = held.bytes.saturating_sub(*bytes);
            self.least = self.least.min(credit.places(held.deliveries, held.bytes));
            if held.deliveries == 0 {
                self.held.remove(&key);
            }
        }
    }

    fn of(&self, tenant: TenantId) -> Held {
        let held = self.held.get(&(Partition::of(tenant), tenant));
        held.copied().unwrap_or_default()
    }

    /// Deliveries that may still be lent of a tenant who has `held`.
    fn left(credit: &Credit, typical: u64, limit: u64, held: Held) -> u32 {
        let least = u64::from(held.deliveries == 0);
        let left = limit.saturating_sub(credit.places(held.deliveries, held.bytes));
        let left = left / credit.places(1, typical).max(1);
        u32::try_from(left.max(least)).unwrap_or(u32::MAX)
    }

    /// The terms of a demand for `asked` deliveries of a partition; `None` if more than
    /// `names` tenants would have to be named. Whoever may have more than is asked for is
    /// not.
    pub(super) fn terms(
        &self,
        credit: &Credit,
        typical: u64,
        asked: u32,
        partition: Partition,
        names: usize,
    ) -> Option<Terms> {
        let limit = limit(credit, typical, asked);
        let ends = [0, u128::MAX].map(|bits| (partition, TenantId::from_bits(bits)));
        let here = self.held.range(ends[0]..=ends[1]);
        let left = here.map(|((_, tenant), held)| {
            let left = Self::left(credit, typical, limit, *held);
            (*tenant, left)
        });
        let shares: Vec<_> = left
            .filter(|(_, left)| *left <= asked)
            .take(names + 1)
            .collect();
        (shares.len() <= names).then(|| Terms {
            each: Self::left(credit, typical, limit, Held::default()),
            shares,
        })
    }

    /// Whether a demand would be lent something of this tenant: there is a share left,
    /// and the demand can be made at all.
    fn takes(&self, credit: &Credit, typical: u64, tenant: TenantId) -> bool {
        let asked = ask(credit, typical);
        let limit = limit(credit, typical, asked);
        asked > 0
            && Self::left(credit, typical, limit, self.of(tenant)) > 0
            && self.nameable(credit, typical, asked, Partition::of(tenant))
    }

    /// Whether a claim of its own could name whom a demand has to name.
    fn nameable(&self, credit: &Credit, typical: u64, asked: u32, partition: Partition) -> bool {
        let few = self.held.len() <= NAMES;
        few || self
            .terms(credit, typical, asked, partition, NAMES)
            .is_some()
    }
}

impl Board {
    /// A claim was answered: what each of its demands was granted. It counts from now on;
    /// what of it does not go to the agent comes back with [`Board::answered`]. To be
    /// called before the claim is [`Board::over`].
    pub(crate) fn granted(&mut self, claim: &[(&Reservation, Tally)]) {
        for (reservation, granted) in claim {
            let state = self.sessions.get_mut(&reservation.session);
            if let Some(shares) = state.and_then(|state| state.shares.as_mut()) {
                shares.add(granted);
            }
        }
        let mut left: BTreeMap<(PoolKey, TenantId), Vec<(SessionKey, u32)>> = BTreeMap::new();
        let shared = claim.iter().filter(|(one, _)| one.each < u32::MAX);
        for (reservation, granted) in shared.clone() {
            let (pool, session) = (reservation.pool, reservation.session);
            for (tenant, share) in &reservation.shares {
                let of = left.entry((pool, *tenant)).or_default();
                of.push((session, *share));
            }
            for (tenant, lent, _) in &granted.0 {
                let of = left.entry((pool, *tenant)).or_default();
                match of.last_mut().filter(|(last, _)| *last == session) {
                    Some((_, left)) => *left = left.saturating_sub(*lent),
                    None => of.push((session, reservation.each.saturating_sub(*lent))),
                }
            }
        }
        for ((pool, tenant), left) in left {
            // A demand that had room for more shows that there was no more, or was the
            // first to be full, and then the claim says so.
            let demands = shared.clone().filter(|(one, _)| one.pool == pool).count();
            if left.len() == demands && left.iter().all(|(_, left)| *left == 0) {
                self.hold_back(pool, tenant);
            }
        }
    }

    /// A tenant has had their share, and may have more waiting: it is due once one of the
    /// pool's sessions takes it.
    fn hold_back(&mut self, key: PoolKey, tenant: TenantId) {
        let Some(pool) = self.pools.get_mut(&key) else {
            return;
        };
        if pool.held_back.contains(&tenant) {
            return;
        }
        for session in &pool.sessions {
            let Some(state) = self.sessions.get_mut(session) else {
                continue;
            };
            let Some(shares) = &mut state.shares else {
                continue;
            };
            if shares.takes(&state.credit, pool.typical_bytes, tenant) {
                pool.takers.insert(Partition::of(tenant), *session);
                self.mark(key, Partition::of(tenant));
                return;
            }
            let held = shares.of(tenant);
            let places = state.credit.places(held.deliveries, held.bytes);
            shares.least = shares.least.min(places);
        }
        pool.held_back.insert(tenant);
    }

    /// A session may take more than before: what is due of those who were held back.
    pub(super) fn look_again(&mut self, session: SessionKey) {
        let Some(state) = self.sessions.get_mut(&session) else {
            return;
        };
        let (Some(shares), Some(pool)) = (&mut state.shares, self.pools.get_mut(&state.pool))
        else {
            return;
        };
        let (key, credit, typical) = (state.pool, &state.credit, pool.typical_bytes);
        let asked = ask(credit, typical);
        let limit = limit(credit, typical, asked);
        if asked == 0 || pool.held_back.is_empty() || shares.least >= limit {
            return;
        }
        let mut least = u64::MAX;
        let mut taken = Vec::new();
        // By partition: tenants of one share the answer.
        let mut nameable = BTreeMap::new();
        pool.held_back.retain(|tenant| {
            let held = shares.of(*tenant);
            let here = Partition::of(*tenant);
            let takes = Shares::left(credit, typical, limit, held) > 0
                && *nameable
                    .entry(here)
                    .or_insert_with(|| shares.nameable(credit, typical, asked, here));
            if takes {
                taken.push(*tenant);
            } else {
                least = least.min(credit.places(held.deliveries, held.bytes));
            }
            !takes
        });
        shares.least = least;
        let taken: Vec<Partition> = taken.into_iter().map(Partition::of).collect();
        pool.takers
            .extend(taken.iter().map(|partition| (*partition, session)));
        for partition in taken {
            self.mark(key, partition);
        }
    }
}

/// How many tenants the demands of one claim may name.
pub(super) const NAMES: usize = CLAIM_SHARES;

#[cfg(test)]
mod tests;
