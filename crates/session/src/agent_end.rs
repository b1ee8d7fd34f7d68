//! The agent's end of the agent protocol.
//!
//! It holds what outlives a connection: the leases, and the outcomes that are not acknowledged. A connection is one
//! *session* of it. Times are durations on the agent's monotonic clock, whatever its zero.
//!
//! | state    | event                                     | next     | effect |
//! |----------|-------------------------------------------|----------|--------|
//! | apart    | [`connect`](AgentEnd::connect)            | greeting | Hello: earlier sessions are closed, held leases are named |
//! | greeting | [`welcome`](AgentEnd::welcome)            | together | dead leases end; all unacknowledged outcomes are sent again |
//! | together | [`assign`](AgentEnd::assign)              | together | a lease, counted from the echoed stamp; credit goes down |
//! | together | [`report`](AgentEnd::report)              | together | a numbered batch, kept until acknowledged; credit goes up |
//! | together | [`acknowledge`](AgentEnd::acknowledge)    | together | batches are forgotten, and leases that have nothing left |
//! | together | [`tick`](AgentEnd::tick)                  | together | heartbeat; renewal of leases that near their end |
//! | together | [`renewed`](AgentEnd::renewed)            | together | leases go on, or are dead |
//! | together | [`heartbeat`](AgentEnd::heartbeat)        | together | the stream is alive |
//! | any      | [`disconnect`](AgentEnd::disconnect)      | apart    | leases run on to the ends that they have |
//!
//! Anything else is a [`ProtocolError`], after which the caller disconnects: the next Hello sorts both ends out.
//!
//! What holds always:
//! * No POST begins at or after the end of its lease ([`Lease::check`]).
//! * An outcome that was reported is acknowledged, or sent again in every new session.
//! * Every delivery gives exactly one outcome, also when its lease is dead: that is what returns its credit.
//! * The deliveries that the control plane may still be owed an outcome for on this stream are at most the capacity;
//!   an Assign beyond that is refused whole.
//!
//! Absent on purpose: what is being delivered. Workers own that; here a lease only counts how many of its deliveries
//! have no outcome yet.

mod lease;
mod outbox;
mod pulse;
mod stamps;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use sidehook_core::limits::CLOSED_SESSIONS_MAX;

pub use lease::{Check, Lease};
pub use outbox::{Batch, LeaseReports};

use crate::UNACKNOWLEDGED_CAPACITIES;
use outbox::Outbox;
use pulse::{Beat, Pulse};
use stamps::Stamps;

/// What the control plane did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A frame before Welcome, or on no stream.
    #[error("a frame came before Welcome")]
    NotWelcomed,
    /// Welcome came twice.
    #[error("Welcome came twice")]
    WelcomedTwice,
    /// Welcome names a lease or heartbeat of no length.
    #[error("Welcome gives no time for leases or heartbeats")]
    NoTime,
    /// An echoed stamp that was never sent.
    #[error("stamp {stamp} is echoed, but the newest is {newest}")]
    UnknownStamp {
        /// The stamp.
        stamp: u64,
        /// The newest that was sent.
        newest: u64,
    },
    /// More deliveries than were asked for.
    #[error("{assigned} deliveries are assigned on a credit of {credit}")]
    OverCredit {
        /// Deliveries of the frame.
        assigned: u32,
        /// Credit that was left.
        credit: u32,
    },
    /// A lease that is held already.
    #[error("a lease is assigned that is held already")]
    LeaseTwice,
    /// Outcomes are acknowledged that were never sent.
    #[error("batch {sequence} is acknowledged, but the newest is {newest}")]
    UnknownBatch {
        /// The batch.
        sequence: u64,
        /// The newest that was sent.
        newest: u64,
    },
}

/// The changing part of Hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Its stamp.
    pub stamp: u64,
    /// The session that begins.
    pub session_id: u64,
    /// Sessions that are over.
    pub closed_session_ids: Vec<u64>,
    /// Deliveries at one time.
    pub capacity: u32,
    /// Leases of earlier sessions that have deliveries without outcome, or unacknowledged outcomes.
    pub held_leases: Vec<Bytes>,
    /// Outcomes that this stream will carry for those leases.
    pub held_deliveries: u32,
}

/// What is due now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Due {
    /// Send a heartbeat with this number.
    pub heartbeat: Option<u64>,
    /// Send a Renew for these leases.
    pub renew: Vec<Bytes>,
    /// The stream is stuck: disconnect.
    pub is_stuck: bool,
}

/// How one attempt ended.
#[derive(Debug)]
pub struct Report<R> {
    /// Number of the lease ([`Lease::number`]).
    pub lease: u64,
    /// The delivery's position in it.
    pub position: u32,
    /// How it ended.
    pub outcome: R,
}

#[derive(Debug)]
struct Held {
    lease: Lease,
    /// The session that it was assigned in.
    session_id: u64,
    /// Deliveries without an outcome.
    open: u32,
    /// Outcomes without an acknowledgement.
    unacknowledged: u32,
    /// The longest time limit of its deliveries.
    longest: Duration,
    asked_at: Duration,
}

#[derive(Debug)]
struct Stream {
    session_id: u64,
    stamps: Stamps,
    outstanding: u32,
    welcomed: Option<Welcomed>,
}

#[derive(Debug)]
struct Welcomed {
    term: Duration,
    pulse: Pulse,
}

/// The agent's end. `R` is what a report says of an attempt.
#[derive(Debug)]
pub struct AgentEnd<R> {
    capacity: u32,
    stream: Option<Stream>,
    /// Sessions that ended and that no Welcome has answered to.
    closed: Vec<u64>,
    held: BTreeMap<u64, Held>,
    numbers: HashMap<Bytes, u64>,
    next_number: u64,
    outbox: Outbox<R>,
}

impl<R> AgentEnd<R> {
    /// Apart, holding nothing. `capacity` is how many deliveries it takes at one time; `left_behind` are sessions of
    /// this agent's earlier processes, which are over.
    #[must_use]
    pub fn new(capacity: u32, left_behind: Vec<u64>) -> Self {
        Self {
            capacity,
            stream: None,
            closed: left_behind,
            held: BTreeMap::new(),
            numbers: HashMap::new(),
            next_number: 0,
            outbox: Outbox::new(),
        }
    }

    /// Begins a session on a new stream; the one before, if any, is closed.
    pub fn connect(&mut self, session_id: u64, now: Duration) -> Hello {
        self.disconnect();
        self.outbox.renumber();
        let held_deliveries = self
            .held
            .values()
            .map(|held| held.open + held.unacknowledged)
            .sum();
        let mut stamps = Stamps::default();
        let stamp = stamps.next(now, Duration::MAX);
        self.stream = Some(Stream {
            session_id,
            stamps,
            outstanding: held_deliveries,
            welcomed: None,
        });
        Hello {
            stamp,
            session_id,
            closed_session_ids: self.closed_sessions(),
            capacity: self.capacity,
            held_leases: self
                .held
                .values()
                .map(|held| held.lease.id().clone())
                .collect(),
            held_deliveries,
        }
    }

    /// The session is accepted: leases hold for `term`, heartbeats are due `every` so often, and the `dead` leases are
    /// over. Everything in [`Self::unacknowledged`] is to be sent now.
    ///
    /// # Errors
    /// It was accepted before, or a time is zero.
    pub fn welcome(
        &mut self,
        term: Duration,
        every: Duration,
        dead: &[Bytes],
        now: Duration,
    ) -> Result<(), ProtocolError> {
        let stream = self.stream.as_mut().ok_or(ProtocolError::NotWelcomed)?;
        if stream.welcomed.is_some() {
            return Err(ProtocolError::WelcomedTwice);
        }
        if term.is_zero() || every.is_zero() {
            return Err(ProtocolError::NoTime);
        }
        stream.welcomed = Some(Welcomed {
            term,
            pulse: Pulse::new(every, now),
        });
        let resent = u32::try_from(self.outbox.outcomes()).unwrap_or(u32::MAX);
        stream.outstanding = stream.outstanding.saturating_sub(resent);
        self.closed.clear();
        self.bury(dead);
        Ok(())
    }

    /// Outcomes that were sent and not acknowledged, oldest first.
    pub fn unacknowledged(&self) -> impl Iterator<Item = &Batch<R>> {
        self.outbox.batches()
    }

    /// The stamp of the next frame of this stream; 0 without a stream.
    pub fn stamp(&mut self, now: Duration) -> u64 {
        self.stream.as_mut().map_or(0, |stream| {
            let term = stream.welcomed.as_ref().map(|welcomed| welcomed.term);
            stream.stamps.next(now, term.unwrap_or(Duration::MAX))
        })
    }

    /// Takes `deliveries` under a lease whose frame echoes `stamp`; `longest` is the longest time limit among them.
    /// `None` if there are none. The lease may be over already.
    ///
    /// # Errors
    /// The frame does not fit what was said before; nothing of it is taken.
    pub fn assign(
        &mut self,
        id: &Bytes,
        stamp: u64,
        deliveries: u32,
        longest: Duration,
        now: Duration,
    ) -> Result<Option<Lease>, ProtocolError> {
        let capacity = self.capacity;
        let (stream, term) = self.welcomed()?;
        let session_id = stream.session_id;
        let ends = ends(stream, stamp, term)?;
        let credit = capacity.saturating_sub(stream.outstanding);
        if deliveries > credit {
            return Err(ProtocolError::OverCredit {
                assigned: deliveries,
                credit,
            });
        }
        if self.numbers.contains_key(id) {
            return Err(ProtocolError::LeaseTwice);
        }
        if deliveries == 0 {
            return Ok(None);
        }
        if let Some(stream) = &mut self.stream {
            stream.outstanding += deliveries;
        }
        // A copy: the frame that the id is a slice of would live as long as the lease.
        let id = Bytes::copy_from_slice(id);
        self.next_number += 1;
        let number = self.next_number;
        let lease = Lease::new(id.clone(), number, ends);
        let held = Held {
            lease: lease.clone(),
            session_id,
            open: deliveries,
            unacknowledged: 0,
            longest,
            asked_at: now,
        };
        self.numbers.insert(id, number);
        self.held.insert(number, held);
        Ok(Some(lease))
    }

    /// Whether outcomes may be sent now: not before Welcome, and not while very many are unacknowledged. What is held
    /// back holds its credit back, and so ends the flow of work.
    #[must_use]
    pub fn may_report(&self) -> bool {
        let limit = UNACKNOWLEDGED_CAPACITIES * self.capacity as usize;
        self.is_welcome() && self.outbox.outcomes() < limit.max(1)
    }

    /// Makes a batch of `reports`, to be sent and kept. Reports for leases that are not held are left out; `None` if
    /// nothing is left.
    pub fn report(&mut self, reports: impl IntoIterator<Item = Report<R>>) -> Option<&Batch<R>> {
        let mut leases: Vec<LeaseReports<R>> = Vec::new();
        for report in reports {
            let Some(held) = self
                .held
                .get_mut(&report.lease)
                .filter(|held| held.open > 0)
            else {
                continue;
            };
            held.open -= 1;
            held.unacknowledged += 1;
            if let Some(stream) = &mut self.stream {
                stream.outstanding = stream.outstanding.saturating_sub(1);
            }
            let outcome = (report.position, report.outcome);
            match leases
                .iter_mut()
                .rev()
                .find(|lease| lease.number == report.lease)
            {
                Some(lease) => lease.outcomes.push(outcome),
                None => leases.push(LeaseReports {
                    lease: held.lease.id().clone(),
                    number: report.lease,
                    outcomes: vec![outcome],
                }),
            }
        }
        (!leases.is_empty()).then(|| self.outbox.push(leases))
    }

    /// Forgets what is settled: every batch up to `watermark`, and those `above`.
    ///
    /// # Errors
    /// A batch was never sent on this stream.
    pub fn acknowledge(&mut self, watermark: u64, above: &[u64]) -> Result<(), ProtocolError> {
        self.welcomed()?;
        let newest = self.outbox.newest();
        let unknown = above
            .iter()
            .chain([&watermark])
            .find(|sequence| **sequence > newest);
        if let Some(&sequence) = unknown {
            return Err(ProtocolError::UnknownBatch { sequence, newest });
        }
        for lease in self
            .outbox
            .acknowledge(watermark, above)
            .into_iter()
            .flat_map(|batch| batch.leases)
        {
            let Some(held) = self.held.get_mut(&lease.number) else {
                continue;
            };
            let settled = u32::try_from(lease.outcomes.len()).unwrap_or(u32::MAX);
            held.unacknowledged = held.unacknowledged.saturating_sub(settled);
            if held.open == 0 && held.unacknowledged == 0 {
                self.held.remove(&lease.number);
                self.numbers.remove(&lease.lease);
            }
        }
        Ok(())
    }

    /// The `leases` hold for a whole term from the frame `stamp` on; the `dead` ones are over.
    ///
    /// # Errors
    /// The stamp was never sent.
    pub fn renewed(
        &mut self,
        stamp: u64,
        leases: &[Bytes],
        dead: &[Bytes],
    ) -> Result<(), ProtocolError> {
        let (stream, term) = self.welcomed()?;
        let ends = ends(stream, stamp, term)?;
        for held in leases.iter().filter_map(|id| self.held_by_id(id)) {
            held.lease.extend(ends);
        }
        self.bury(dead);
        Ok(())
    }

    /// A heartbeat came back.
    ///
    /// # Errors
    /// It came before Welcome.
    pub fn heartbeat(&mut self, number: u64) -> Result<(), ProtocolError> {
        let stream = self.stream.as_mut().ok_or(ProtocolError::NotWelcomed)?;
        let welcomed = stream.welcomed.as_mut();
        welcomed
            .ok_or(ProtocolError::NotWelcomed)?
            .pulse
            .answer(number);
        Ok(())
    }

    /// What is due `now`. Call it every [`Self::tick_every`], and when a [`Lease::check`] answered [`Check::Renew`].
    pub fn tick(&mut self, now: Duration) -> Due {
        let mut due = Due::default();
        let Some(welcomed) = self
            .stream
            .as_mut()
            .and_then(|stream| stream.welcomed.as_mut())
        else {
            return due;
        };
        match welcomed.pulse.beat(now) {
            Beat::Quiet => {}
            Beat::Send(number) => due.heartbeat = Some(number),
            Beat::Stuck => due.is_stuck = true,
        }
        let (term, every) = (welcomed.term, welcomed.pulse.every());
        for held in self.held.values_mut().filter(|held| held.open > 0) {
            // Early enough that a POST of the longest limit fits while the answer is awaited.
            let margin = (held.longest + every).min(term * 3 / 4);
            let is_near = held.lease.is_wanted() || held.lease.ends() <= now + margin;
            let may_ask = now.saturating_sub(held.asked_at) >= term / 8 || held.lease.is_wanted();
            if is_near && may_ask && !held.lease.is_dead() {
                held.asked_at = now;
                held.lease.set_renewing(true);
                due.renew.push(held.lease.id().clone());
            }
        }
        due
    }

    /// How often [`Self::tick`] wants to be called; `None` before Welcome.
    #[must_use]
    pub fn tick_every(&self) -> Option<Duration> {
        let welcomed = self.stream.as_ref()?.welcomed.as_ref()?;
        let every = (welcomed.pulse.every() / 4).min(welcomed.term / 16);
        Some(every.max(Duration::from_millis(10)))
    }

    /// The stream is gone, or is given up.
    pub fn disconnect(&mut self) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        self.closed.push(stream.session_id);
        keep_newest(&mut self.closed);
        for held in self.held.values() {
            held.lease.set_renewing(false);
        }
    }

    /// Whether the session is accepted.
    #[must_use]
    pub fn is_welcome(&self) -> bool {
        self.stream
            .as_ref()
            .is_some_and(|stream| stream.welcomed.is_some())
    }

    /// Whether nothing is held and nothing is unacknowledged.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.held.is_empty()
    }

    /// Deliveries that the control plane may still assign on this stream, as far as this end knows; 0 without one.
    #[must_use]
    pub fn credit(&self) -> u32 {
        self.stream
            .as_ref()
            .map_or(0, |stream| self.capacity.saturating_sub(stream.outstanding))
    }

    /// Leases held.
    #[must_use]
    pub fn leases(&self) -> usize {
        self.held.len()
    }

    /// The sessions that Hello names as closed. One whose lease is still held is named again each time: should this
    /// process die, the next one knows from the last Hello under whose number the lease is to be released.
    fn closed_sessions(&self) -> Vec<u64> {
        let alive = self.held.values().filter(|held| !held.lease.is_dead());
        let mut sessions: Vec<u64> = alive.map(|held| held.session_id).collect();
        sessions.dedup();
        sessions.retain(|session| !self.closed.contains(session));
        sessions.extend(&self.closed);
        keep_newest(&mut sessions);
        sessions
    }

    fn welcomed(&self) -> Result<(&Stream, Duration), ProtocolError> {
        let stream = self.stream.as_ref().ok_or(ProtocolError::NotWelcomed)?;
        let welcomed = stream.welcomed.as_ref();
        Ok((stream, welcomed.ok_or(ProtocolError::NotWelcomed)?.term))
    }

    fn held_by_id(&self, id: &Bytes) -> Option<&Held> {
        self.held.get(self.numbers.get(id)?)
    }

    fn bury(&self, dead: &[Bytes]) {
        for held in dead.iter().filter_map(|id| self.held_by_id(id)) {
            held.lease.kill();
        }
    }
}

fn keep_newest(sessions: &mut Vec<u64>) {
    let surplus = sessions.len().saturating_sub(CLOSED_SESSIONS_MAX);
    sessions.drain(..surplus);
}

/// When a lease ends that is counted from the frame `stamp`; one that counts from a forgotten frame is over.
fn ends(stream: &Stream, stamp: u64, term: Duration) -> Result<Duration, ProtocolError> {
    let newest = stream.stamps.newest();
    match stream.stamps.sent_at(stamp) {
        Ok(sent_at) => Ok(sent_at.map_or(Duration::from_micros(1), |at| at + term)),
        Err(()) => Err(ProtocolError::UnknownStamp { stamp, newest }),
    }
}
