//! The board: which agent is asked for which partition's work, and when.
//!
//! Pure: wake-ups and credit in, demands out. A *cell* is a (pool, partition) that may
//! have work; it is due, busy, both or neither:
//!
//! | cell | event | becomes |
//! |---|---|---|
//! | any | work was published, settled, put back or seen ([`Board::wake`]) | due |
//! | due, not busy | credit in the pool, room in the turn ([`Board::demands`]) | busy |
//! | busy | the claim was answered, and there is more ([`Board::answered`]) | due |
//! | busy | the claim was answered, and there is no more | idle, or due if woken meanwhile |
//!
//! Work that nobody has credit for leaves its cell due, so that returned credit needs
//! no search: it is seen in the next turn. Wake-ups may be lost; ticks name the pools
//! with work due at least once a second, and so repair that.
//!
//! Fair by rotation: partitions take turns, the pools of a partition take turns, the
//! agents of a pool take turns, and while several partitions are due a pool's credit is divided among them,
//! but not below what one visit of a queue takes. How much of an agent one tenant may
//! have is told in [`shares`].

mod shares;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use sidehook_core::{
    address::Partition,
    id::TenantId,
    limits::{CALL_RECORDS, CLAIM_QUANTUM, PARTITIONS},
    pool::Pool,
};
use sidehook_session::server_end::Credit;

pub(crate) use self::shares::Tally;
use self::shares::{Shares, Terms, ask};

/// A set of partitions, one bit each.
pub(crate) type Partitions = u64;

/// The partition alone.
pub(crate) const fn bit(partition: Partition) -> Partitions {
    1 << partition.number()
}

/// A pool with agents here. A number is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PoolKey(u64);

/// An agent's session here. A number is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionKey(pub(crate) u64);

/// What one agent is asked for in one partition: its credit is set aside until
/// [`Board::answered`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// The partition.
    pub(crate) partition: Partition,
    /// The pool.
    pub(crate) pool: PoolKey,
    /// The agent's session.
    pub(crate) session: SessionKey,
    /// At most so many deliveries.
    pub(crate) max: u32,
    /// At most so many of one tenant.
    pub(crate) each: u32,
    /// Tenants of whom at most so many instead.
    pub(crate) shares: Vec<(TenantId, u32)>,
}

/// What became of a reservation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// What went to the agent.
    pub(crate) assigned: Tally,
    /// What was [`Board::granted`] and did not.
    pub(crate) kept_back: Tally,
}

#[derive(Debug)]
struct PoolState {
    pool: Pool,
    sessions: VecDeque<SessionKey>,
    due: Partitions,
    busy: Partitions,
    queued: Partitions,
    typical_bytes: u64,
    /// Tenants that no session takes anything of, and that may have work.
    held_back: BTreeSet<TenantId>,
    /// Who is to be asked first for what was held back in a partition.
    takers: BTreeMap<Partition, SessionKey>,
}

#[derive(Debug)]
struct SessionState {
    pool: PoolKey,
    credit: Credit,
    /// By tenant; `None` if all of it is one tenant's.
    shares: Option<Shares>,
}

impl SessionState {
    /// What it is asked for now.
    fn ask(&self, typical: u64) -> u32 {
        match self.shares {
            Some(_) => ask(&self.credit, typical),
            None => self.credit.free(typical),
        }
    }

    /// On which terms; `None`: it cannot be asked now.
    fn terms(&self, typical: u64, max: u32, partition: Partition, names: usize) -> Option<Terms> {
        let Some(shares) = &self.shares else {
            return Some(Terms {
                each: u32::MAX,
                shares: Vec::new(),
            });
        };
        shares.terms(&self.credit, typical, max, partition, names)
    }
}

/// What one claim may still carry.
struct Room {
    deliveries: u32,
    names: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Board {
    by_name: HashMap<Pool, PoolKey>,
    pools: HashMap<PoolKey, PoolState>,
    sessions: HashMap<SessionKey, SessionState>,
    /// Per partition the pools that are due there, in the order of their turns.
    queues: Vec<VecDeque<PoolKey>>,
    next_key: u64,
    /// The partition whose turn it is.
    turn: u8,
}

/// First guess at an event's size.
const TYPICAL_BYTES: u64 = 1_024;

impl Board {
    /// A board without agents.
    pub(crate) fn new() -> Self {
        Self {
            by_name: HashMap::new(),
            pools: HashMap::new(),
            sessions: HashMap::new(),
            queues: vec![VecDeque::new(); usize::from(PARTITIONS)],
            next_key: 0,
            turn: 0,
        }
    }

    /// An agent is there, and has `held` in its hands: everything that its pool may have
    /// work in is due. Answers those partitions.
    pub(crate) fn join(
        &mut self,
        session: SessionKey,
        pool: &Pool,
        credit: Credit,
        held: &Tally,
    ) -> Partitions {
        let key = self.pool_key(pool);
        let shares = (pool.owner == TenantId::PLATFORM).then(|| {
            let mut shares = Shares::default();
            shares.add(held);
            shares
        });
        let state = SessionState {
            pool: key,
            credit,
            shares,
        };
        self.sessions.insert(session, state);
        let reach = reach(pool);
        if let Some(state) = self.pools.get_mut(&key) {
            state.sessions.push_back(session);
            state.held_back.clear();
        }
        for partition in Partition::all().filter(|partition| reach & bit(*partition) != 0) {
            self.mark(key, partition);
        }
        reach
    }

    /// An agent left. The pool is forgotten with its last one.
    pub(crate) fn leave(&mut self, session: SessionKey) {
        let Some(state) = self.sessions.remove(&session) else {
            return;
        };
        let Some(pool) = self.pools.get_mut(&state.pool) else {
            return;
        };
        pool.sessions.retain(|other| *other != session);
        if pool.sessions.is_empty() {
            self.by_name.remove(&pool.pool);
            self.pools.remove(&state.pool);
            // Its places in the queues are passed over when their turn comes.
        }
    }

    /// Takes nothing more for one agent.
    pub(crate) fn stop_session(&mut self, session: SessionKey) {
        if let Some(state) = self.sessions.get_mut(&session) {
            state.credit.stop();
        }
    }

    /// A pool has, or may have, work due in a partition. `false` if it has no agents
    /// here.
    pub(crate) fn wake(&mut self, pool: &Pool, partition: Partition) -> bool {
        let Some(key) = self.by_name.get(pool).copied() else {
            return false;
        };
        self.mark(key, partition);
        true
    }

    /// An agent reported so many deliveries, of which those in `known` were lent in this
    /// session: its credit is back. Answers the partitions in which its pool has work that
    /// waits for credit.
    pub(crate) fn give_back(
        &mut self,
        session: SessionKey,
        deliveries: u32,
        known: &Tally,
    ) -> Partitions {
        let Some(state) = self.sessions.get_mut(&session) else {
            return 0;
        };
        state.credit.give_back(deliveries, known.bytes());
        if let Some(shares) = &mut state.shares {
            shares.remove(known, &state.credit);
        }
        let pool = state.pool;
        self.look_again(session);
        self.waiting(pool)
    }

    /// The partitions in which a pool has work and nobody is asking for it.
    fn waiting(&self, pool: PoolKey) -> Partitions {
        let pool = self.pools.get(&pool);
        pool.map_or(0, |pool| pool.due & !pool.busy)
    }

    /// Deliveries in an agent's hands.
    pub(crate) fn in_flight(&self, session: SessionKey) -> u32 {
        let state = self.sessions.get(&session);
        state.map_or(0, |state| state.credit.used())
    }

    /// What to claim now in `partitions`: at most [`CALL_RECORDS`] deliveries in each.
    pub(crate) fn demands(&mut self, partitions: Partitions) -> Vec<Reservation> {
        let mut demands: Vec<Reservation> = Vec::new();
        let turn = usize::from(self.turn);
        let after = Partition::all().skip(turn);
        let order = after.chain(Partition::all().take(turn));
        for partition in order.filter(|partition| partitions & bit(*partition) != 0) {
            let mut room = Room {
                deliveries: CALL_RECORDS as u32,
                names: shares::NAMES,
            };
            for _ in 0..self.queues[usize::from(partition.number())].len() {
                let queue = &mut self.queues[usize::from(partition.number())];
                let Some(key) = queue.pop_front() else { break };
                if !self.visit(key, partition, &mut room, &mut demands) {
                    self.queues[usize::from(partition.number())].push_back(key);
                }
                if room.deliveries == 0 {
                    break;
                }
            }
        }
        if let Some(last) = demands.last() {
            self.turn = (last.partition.number() + 1) % PARTITIONS;
        }
        demands
    }

    /// One pool's turn in one partition; whether it left the queue.
    fn visit(
        &mut self,
        key: PoolKey,
        partition: Partition,
        room: &mut Room,
        demands: &mut Vec<Reservation>,
    ) -> bool {
        let Some(pool) = self.pools.get_mut(&key) else {
            return true;
        };
        if pool.busy & bit(partition) != 0 {
            return false;
        }
        let typical = pool.typical_bytes;
        let sessions = pool.sessions.iter();
        let sessions = sessions.filter_map(|session| self.sessions.get(session));
        let all: u64 = sessions.map(|state| u64::from(state.ask(typical))).sum();
        let waiting = u64::from((pool.due & !pool.busy).count_ones()).max(1);
        let share = (all / waiting).max(u64::from(CLAIM_QUANTUM)).min(all);
        let share = u32::try_from(share).unwrap_or(u32::MAX);
        let mut share = share.min(room.deliveries);
        let before = demands.len();
        // Another one might have its share of what waits here, in each turn again.
        if let Some(taker) = pool.takers.remove(&partition)
            && let Some(at) = pool.sessions.iter().position(|one| *one == taker)
            && let Some(taker) = pool.sessions.remove(at)
        {
            pool.sessions.push_front(taker);
        }
        for _ in 0..pool.sessions.len() {
            if share == 0 {
                break;
            }
            let Some(session) = pool.sessions.pop_front() else {
                break;
            };
            pool.sessions.push_back(session);
            let Some(state) = self.sessions.get_mut(&session) else {
                continue;
            };
            let max = state.ask(typical).min(share);
            if max == 0 {
                continue;
            }
            let Some(terms) = state.terms(typical, max, partition, room.names) else {
                if room.names < shares::NAMES && demands.len() > before {
                    // Those before it took the names: it is the first in the next claim.
                    pool.sessions.rotate_right(1);
                    break;
                }
                continue;
            };
            state.credit.reserve(max);
            share -= max;
            room.deliveries -= max;
            room.names -= terms.shares.len();
            demands.push(Reservation {
                partition,
                pool: key,
                session,
                max,
                each: terms.each,
                shares: terms.shares,
            });
        }
        if demands.len() == before {
            return false;
        }
        pool.due &= !bit(partition);
        pool.queued &= !bit(partition);
        pool.busy |= bit(partition);
        true
    }

    /// A claim was answered: what of the reservation was used. Answers the partitions
    /// in which work waits for the credit that is free again.
    pub(crate) fn answered(&mut self, reservation: &Reservation, answer: &Answer) -> Partitions {
        let (used, bytes) = (answer.assigned.deliveries(), answer.assigned.bytes());
        if let Some(state) = self.sessions.get_mut(&reservation.session) {
            state.credit.settle(reservation.max, used, bytes);
            if let Some(shares) = &mut state.shares {
                shares.add(&answer.assigned.only_bytes());
                shares.remove(&answer.kept_back, &state.credit);
            }
        }
        let Some(pool) = self.pools.get_mut(&reservation.pool) else {
            return 0;
        };
        if used > 0 {
            let average = bytes / u64::from(used);
            // Grows at once and shrinks slowly: a guess too small overdraws bytes.
            let typical = (pool.typical_bytes * 7 + average) / 8;
            pool.typical_bytes = average.max(typical).max(1);
        }
        if used == reservation.max {
            return 0;
        }
        self.look_again(reservation.session);
        self.waiting(reservation.pool)
    }

    /// The whole claim that a cell was busy with is over; `more`: there is work left.
    pub(crate) fn over(&mut self, key: PoolKey, partition: Partition, more: bool) {
        let Some(pool) = self.pools.get_mut(&key) else {
            return;
        };
        pool.busy &= !bit(partition);
        if more {
            self.mark(key, partition);
        }
    }

    fn pool_key(&mut self, pool: &Pool) -> PoolKey {
        if let Some(key) = self.by_name.get(pool) {
            return *key;
        }
        self.next_key += 1;
        let key = PoolKey(self.next_key);
        self.by_name.insert(pool.clone(), key);
        let state = PoolState {
            pool: pool.clone(),
            sessions: VecDeque::new(),
            due: 0,
            busy: 0,
            queued: 0,
            typical_bytes: TYPICAL_BYTES,
            held_back: BTreeSet::new(),
            takers: BTreeMap::new(),
        };
        self.pools.insert(key, state);
        key
    }

    fn mark(&mut self, key: PoolKey, partition: Partition) {
        let Some(pool) = self.pools.get_mut(&key) else {
            return;
        };
        pool.due |= bit(partition);
        if pool.queued & bit(partition) == 0 {
            pool.queued |= bit(partition);
            self.queues[usize::from(partition.number())].push_back(key);
        }
    }
}

/// Where a pool can have work: its tenant's partition, or everywhere.
fn reach(pool: &Pool) -> Partitions {
    if pool.owner == TenantId::PLATFORM {
        u64::MAX
    } else {
        bit(Partition::of(pool.owner))
    }
}

#[cfg(test)]
mod tests;
