//! A lease as the agent holds it: until when, and whether a POST may begin under it.
//!
//! Many workers ask the same lease before each POST while one driver renews it or learns of its death, so the two
//! facts that they share are atomics and a question costs no lock.
//!
//! | state    | event                          | next     |
//! |----------|--------------------------------|----------|
//! | held     | renewal asked for              | renewing |
//! | renewing | renewed                        | held, with a later end |
//! | renewing | no answer, stream lost         | held, with the old end |
//! | any      | end passed, reported dead      | over     |
//!
//! `over` by time is not final while a renewal is on its way (the control plane may have extended the lease already),
//! but nothing begins meanwhile; over by death is final.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

/// Whether a POST may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Yes: it ends within the lease, or a renewal is on its way.
    Begin,
    /// Not before a renewal was asked for; the wish is noted, and the driver should be woken to send it.
    Renew,
    /// Never: the lease is over, somebody else may hold the delivery.
    Over,
}

/// A lease. Clones are the same lease.
#[derive(Debug, Clone)]
pub struct Lease(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: Bytes,
    number: u64,
    /// Microseconds on the agent's monotonic clock; 0 once the lease is dead.
    ends_us: AtomicU64,
    renewing: AtomicBool,
    wanted: AtomicBool,
}

impl Lease {
    pub(super) fn new(id: Bytes, number: u64, ends: Duration) -> Self {
        Self(Arc::new(Inner {
            id,
            number,
            ends_us: AtomicU64::new(micros(ends)),
            renewing: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
        }))
    }

    /// Whether a POST that takes at most `limit` may begin `now`.
    #[must_use]
    pub fn check(&self, now: Duration, limit: Duration) -> Check {
        let ends_us = self.0.ends_us.load(Ordering::Acquire);
        if micros(now) >= ends_us {
            return Check::Over;
        }
        if micros(now.saturating_add(limit)) <= ends_us || self.0.renewing.load(Ordering::Acquire) {
            return Check::Begin;
        }
        self.0.wanted.store(true, Ordering::Release);
        Check::Renew
    }

    /// The lease as the control plane named it.
    #[must_use]
    pub fn id(&self) -> &Bytes {
        &self.0.id
    }

    /// Its number at this agent: what reports name it by.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// When it ends, on the agent's monotonic clock; zero once it is dead.
    #[must_use]
    pub fn ends(&self) -> Duration {
        Duration::from_micros(self.0.ends_us.load(Ordering::Acquire))
    }

    pub(super) fn is_dead(&self) -> bool {
        self.0.ends_us.load(Ordering::Acquire) == 0
    }

    pub(super) fn extend(&self, ends: Duration) {
        if !self.is_dead() {
            self.0.ends_us.fetch_max(micros(ends), Ordering::AcqRel);
        }
        self.set_renewing(false);
    }

    pub(super) fn kill(&self) {
        self.0.ends_us.store(0, Ordering::Release);
        self.set_renewing(false);
    }

    pub(super) fn set_renewing(&self, renewing: bool) {
        self.0.renewing.store(renewing, Ordering::Release);
        if renewing {
            self.0.wanted.store(false, Ordering::Release);
        }
    }

    /// Whether a worker asked for a renewal that was not sent yet.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.wanted.load(Ordering::Acquire)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
