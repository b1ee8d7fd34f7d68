//! A turn worker: composes a turn, has it executed, applies the answers, again.
//!
//! Calls whose fate is unknown are repeated with their stamps until it is known; no
//! later call of the same partition and kind is made meanwhile. While the store answers
//! others, they are held back for a while (`held`), and everything else goes on beside
//! them; a store that answers nothing is left alone for as long.
//!
//! A partition is *away* while its last answer left something unknown. Nothing is
//! claimed there until one of its calls, a tick at least, is answered: a claim sets aside
//! credit of agents that other partitions have in common with it, and would keep it for
//! as long as the partition is away.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sidehook_core::{address::Partition, limits::PARTITIONS};
use sidehook_runtime::backoff::Backoff;
use sidehook_store::turn::{Calls, Claim, Demand, Turn};

use super::{
    Complaint, Shared, apply,
    compose::{self, ClaimFlight, PublishFlight, SettleFlight},
    held::{self, Held},
    lane::{CallKind, LaneState},
};
use crate::board::{Partitions, bit};

/// A partition is ticked at least this often: the probe behind lost wake-ups.
const TICK_EVERY: Duration = Duration::from_secs(1);
/// And at most this often, whatever is due.
const TICK_SPACING: Duration = Duration::from_millis(5);
/// A store that has answered within this time is not away as a whole: every partition
/// is asked at least each second.
const PARTLY: Duration = Duration::from_secs(3);
/// A partition that was not away before is asked again so soon: it may have been no more
/// than a lost connection.
const PROBE_SOON: Duration = Duration::from_millis(20);
/// How often publishes that nobody waits for any more are looked for behind a call.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What is under way in one partition, beside the calls themselves.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// Of its settle.
    pub(super) settle: Option<SettleFlight>,
    /// Of its publish.
    pub(super) publish: Option<PublishFlight>,
    /// Of its claim.
    pub(super) claim: Option<ClaimFlight>,
}

/// See the module.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    number: usize,
    partitions: Partitions,
    pub(super) lanes: Vec<LaneState>,
    pub(super) next_ticks: Vec<Instant>,
    turn: Turn,
    flights: Vec<Flight>,
    /// Calls that are to be repeated later.
    held: Held,
    /// See the module.
    away: Partitions,
    next_sweep: Instant,
    /// When the store answered last.
    answered: Instant,
    backoff: Backoff,
}

impl Worker {
    /// The worker with this number.
    pub(super) fn new(shared: Arc<Shared>, number: usize) -> Self {
        let workers = shared.inboxes.len();
        let mine = Partition::all().filter(|p| usize::from(p.number()) % workers == number);
        let partitions = usize::from(PARTITIONS);
        Self {
            number,
            partitions: mine.map(bit).fold(0, |all, one| all | one),
            lanes: (0..partitions).map(|_| LaneState::draw()).collect(),
            next_ticks: vec![Instant::now(); partitions],
            turn: Turn::default(),
            flights: Vec::new(),
            held: Held::new(),
            away: 0,
            next_sweep: Instant::now(),
            answered: Instant::now(),
            backoff: Backoff::new(Duration::from_millis(20), Duration::from_secs(2)),
            shared,
        }
    }

    /// Works until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            self.take_up();
            self.compose();
            if self.turn.calls.is_empty() {
                let next_tick = self.next_tick();
                let next = self
                    .held
                    .until()
                    .map_or(next_tick, |until| until.min(next_tick));
                tokio::select! {
                    () = self.shared.inboxes[self.number].woken() => {}
                    () = tokio::time::sleep_until(next.into()) => {}
                }
                continue;
            }
            if !self.execute().await {
                let wait = self.backoff.next(rand::random());
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// Adds to the turn what was held back long enough.
    fn take_up(&mut self) {
        for (calls, flight) in self.held.due(Instant::now()) {
            let slot = self.slot(calls.partition);
            let (into, its) = (&mut self.turn.calls[slot], &mut self.flights[slot]);
            held::join(into, its, calls, flight);
        }
    }

    /// Executes the turn and keeps of it what must be repeated. Answers whether to go
    /// on at once.
    async fn execute(&mut self) -> bool {
        let metrics = &self.shared.metrics;
        metrics.turns.increment(1);
        metrics.turn_calls.record(self.turn.calls.len() as f64);
        let asked = Instant::now();
        let reply = self.shared.store.turn(self.number, &self.turn).await;
        self.shared.metrics.turn_seconds.record(asked.elapsed());
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                self.complain(&error.to_string());
                let asked_for = self.turn.calls.iter();
                let silent = asked_for.fold(0, |all, calls| all | bit(calls.partition));
                self.found(0, silent);
                if asked.duration_since(self.answered) > PARTLY {
                    return false;
                }
                let calls = std::mem::take(&mut self.turn.calls).into_iter();
                let flights = std::mem::take(&mut self.flights);
                calls
                    .zip(flights)
                    .filter(|(calls, _)| has_calls(calls))
                    .for_each(|(calls, flight)| self.held.hold(calls, flight));
                self.held.wait(Instant::now(), rand::random());
                return true;
            }
        };
        self.answered = Instant::now();
        self.shared.clock.set(reply.now);
        let (mut heard, mut silent) = (0, 0);
        for (calls, replies) in self.turn.calls.iter().zip(&reply.calls) {
            let unknown = apply::is_unknown(replies);
            *(if unknown { &mut silent } else { &mut heard }) |= bit(calls.partition);
        }
        self.found(heard, silent);
        let calls = std::mem::take(&mut self.turn.calls);
        let flights = std::mem::take(&mut self.flights);
        let mut replies = reply.calls.into_iter();
        let mut unknown = None;
        for (mut calls, mut flight) in calls.into_iter().zip(flights) {
            let mut detail = None;
            if let Some(replies) = replies.next() {
                detail = apply::replies(self, &mut calls, &mut flight, replies);
            }
            calls.tick = false;
            if detail.is_some() {
                self.held.hold(calls, flight);
                unknown = unknown.or(detail);
            } else if has_calls(&calls) {
                self.turn.calls.push(calls);
                self.flights.push(flight);
            }
        }
        if let Some(detail) = unknown {
            self.complain(&detail);
            self.held.wait(Instant::now(), rand::random());
        } else {
            self.held.all_is_well();
        }
        self.backoff.reset();
        true
    }

    /// Remembers which partitions answered everything and which did not.
    fn found(&mut self, heard: Partitions, silent: Partitions) {
        let soon = Instant::now() + PROBE_SOON;
        for partition in each(silent & !self.away) {
            let next = &mut self.next_ticks[index(partition)];
            *next = (*next).min(soon);
        }
        self.away = (self.away & !heard) | silent;
        self.shared.inboxes[self.number].set_away(self.away);
    }

    fn complain(&self, detail: &str) {
        self.shared.metrics.turn_failures.increment(1);
        self.shared.complain(Complaint::Turn, &detail);
    }

    /// Adds to the turn whatever waits and may go.
    fn compose(&mut self) {
        let shared = Arc::clone(&self.shared);
        let sweep = self.sweeps();
        let (settles, publishes, abandoned) = {
            let mut waiting = shared.inboxes[self.number].lock();
            let settling = waiting.settling & !self.under_way(|calls| calls.settle.is_some());
            let publishing = waiting.publishing & !self.under_way(|calls| calls.publish.is_some());
            let settles: Vec<_> = each(settling)
                .map(|partition| (partition, waiting.take_settles(partition)))
                .collect();
            let publishes: Vec<_> = each(publishing)
                .map(|partition| (partition, waiting.take_publishes(partition)))
                .collect();
            let behind_a_call = waiting.publishing & !publishing & sweep;
            let abandoned = waiting.take_abandoned(behind_a_call);
            (settles, publishes, abandoned)
        };
        // Not while others wait for the lock: they may be many.
        drop(abandoned);
        for (partition, pieces) in settles {
            let mut board = shared.board.lock();
            for session in pieces.iter().filter_map(|piece| piece.session.as_ref()) {
                // What is settled makes room in its queue's window.
                board.wake(&session.pool, partition);
            }
            drop(board);
            let stamp = self.lanes[index(partition)].stamp(CallKind::Settle);
            let (settle, flight) = compose::settle(pieces);
            let slot = self.slot(partition);
            self.turn.calls[slot].settle = Some((stamp, settle));
            self.flights[slot].settle = Some(flight);
        }
        for (partition, pieces) in publishes {
            if pieces.is_empty() {
                continue;
            }
            let mut board = shared.board.lock();
            for pool in pieces.iter().flat_map(|piece| &piece.pools) {
                board.wake(pool, partition);
            }
            drop(board);
            for piece in &pieces {
                shared
                    .metrics
                    .publish_wait_seconds
                    .record(piece.since.elapsed());
            }
            let stamp = self.lanes[index(partition)].stamp(CallKind::Publish);
            let now = shared.clock.now();
            let (publish, flight) = compose::publish(partition, stamp, now, pieces);
            let slot = self.slot(partition);
            self.turn.calls[slot].publish = Some((stamp, publish));
            self.flights[slot].publish = Some(flight);
        }
        self.compose_claims(&shared);
        self.compose_ticks();
    }

    /// The partitions in which to look for what nobody waits for: all, or none if that
    /// was done a short while ago.
    fn sweeps(&mut self) -> Partitions {
        let now = Instant::now();
        if self.next_sweep > now {
            return 0;
        }
        self.next_sweep = now + SWEEP_EVERY;
        self.partitions
    }

    fn compose_claims(&mut self, shared: &Shared) {
        let asking = self.under_way(|calls| calls.claim.is_some());
        let free = self.partitions & !asking & !self.away & !self.held.partitions();
        let reservations = shared.board.lock().demands(free);
        for reservation in reservations {
            let partition = reservation.partition;
            let Some(session) = shared.sessions.get(reservation.session) else {
                apply::give_up(shared, &reservation);
                continue;
            };
            let demand = Demand {
                pool: session.pool.clone(),
                holder: session.holder,
                max_deliveries: reservation.max,
                per_tenant: reservation.each,
                shares: reservation.shares.clone(),
                lease: shared.config.lease,
                token: rand::random(),
            };
            let entry = (reservation, session.stamp());
            let stamp = self.lanes[index(partition)].stamp(CallKind::Claim);
            let slot = self.slot(partition);
            let claim = self.turn.calls[slot]
                .claim
                .get_or_insert_with(|| (stamp, Claim::default()));
            claim.1.demands.push(demand);
            let empty = || ClaimFlight {
                reservations: Vec::new(),
            };
            let flight = self.flights[slot].claim.get_or_insert_with(empty);
            flight.reservations.push(entry);
        }
    }

    fn compose_ticks(&mut self) {
        let now = Instant::now();
        for partition in each(self.partitions) {
            if self.next_ticks[index(partition)] <= now {
                self.next_ticks[index(partition)] = now + TICK_EVERY;
                let slot = self.slot(partition);
                self.turn.calls[slot].tick = true;
            }
        }
    }

    /// Something is due in a partition at this time by the store's clock.
    pub(super) fn tick_by(&mut self, partition: Partition, at: sidehook_core::time::Timestamp) {
        let wait = at.since(self.shared.clock.now()).max(TICK_SPACING);
        let next = &mut self.next_ticks[index(partition)];
        *next = (*next).min(Instant::now() + wait);
    }

    fn next_tick(&self) -> Instant {
        let mine = each(self.partitions).map(|partition| self.next_ticks[index(partition)]);
        mine.min().unwrap_or_else(|| Instant::now() + TICK_EVERY)
    }

    fn under_way(&self, has: impl Fn(&Calls) -> bool) -> Partitions {
        let calls = self.turn.calls.iter().chain(self.held.calls());
        let calls = calls.filter(|calls| has(calls));
        calls.fold(0, |all, calls| all | bit(calls.partition))
    }

    /// A partition's place in the turn, made if there is none yet.
    fn slot(&mut self, partition: Partition) -> usize {
        let mut calls = self.turn.calls.iter();
        if let Some(slot) = calls.position(|calls| calls.partition == partition) {
            return slot;
        }
        self.turn.calls.push(Calls::new(partition));
        self.flights.push(Flight::default());
        self.turn.calls.len() - 1
    }
}

/// Whether there is a call that is to be answered.
const fn has_calls(calls: &Calls) -> bool {
    calls.settle.is_some() || calls.publish.is_some() || calls.claim.is_some()
}

/// A partition's place in tables.
pub(super) fn index(partition: Partition) -> usize {
    usize::from(partition.number())
}

/// The partitions of a set.
pub(super) fn each(partitions: Partitions) -> impl Iterator<Item = Partition> {
    Partition::all().filter(move |partition| partitions & bit(*partition) != 0)
}
