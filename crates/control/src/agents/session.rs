//! An agent's session, as the rest of the control plane sees it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use sidehook_core::{pool::Pool, time::Timestamp};
use sidehook_session::server_end::ServerEnd;
use sidehook_store::turn::Holder;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::outbox::Outbox;
use crate::board::SessionKey;

/// What an agent said of itself.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Deliveries that it takes.
    pub(crate) capacity: u32,
    /// When it connected.
    pub(crate) connected_at: Timestamp,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its number here.
    pub(crate) key: SessionKey,
    /// As what it holds leases.
    pub(crate) holder: Holder,
    /// The pool that it works for.
    pub(crate) pool: Pool,
    /// For people.
    pub(crate) profile: Profile,
    /// The protocol's state. A lease is recorded and its frame put into the outbox
    /// under one lock of it.
    pub(crate) end: Mutex<ServerEnd>,
    /// Frames to the agent.
    pub(crate) outbox: Arc<Outbox>,
    /// Cancelled when a newer session of the agent closes this one.
    pub(crate) closed: CancellationToken,
    stamp: AtomicU64,
    last_seen_ms: AtomicI64,
    draining: AtomicBool,
    settled: Notify,
}

impl Session {
    /// A session that begins at `now`.
    pub(crate) fn new(
        key: SessionKey,
        holder: Holder,
        pool: Pool,
        profile: Profile,
        outbox: Arc<Outbox>,
    ) -> Self {
        Self {
            key,
            holder,
            pool,
            last_seen_ms: AtomicI64::new(profile.connected_at.as_millis()),
            profile,
            end: Mutex::new(ServerEnd::new()),
            outbox,
            closed: CancellationToken::new(),
            stamp: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            settled: Notify::new(),
        }
    }

    /// A frame with this stamp arrived.
    pub(crate) fn heard(&self, stamp: u64, now: Timestamp) {
        self.stamp.fetch_max(stamp, Ordering::Relaxed);
        self.last_seen_ms.store(now.as_millis(), Ordering::Relaxed);
    }

    /// The newest stamp that arrived.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp.load(Ordering::Relaxed)
    }

    /// When it was last heard of.
    pub(crate) fn last_seen(&self) -> Timestamp {
        Timestamp::from_millis(self.last_seen_ms.load(Ordering::Relaxed))
    }

    /// It takes nothing new.
    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it takes nothing new.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// A newer session closed this one: what it still says is void.
    pub(crate) fn close(&self) {
        self.end.lock().close();
        self.closed.cancel();
    }

    /// All outcomes of a batch are settled: the agent may forget it.
    pub(crate) fn batch_settled(&self, sequence: u64) {
        let mut end = self.end.lock();
        end.settled(sequence);
        self.outbox.acknowledge(end.ack());
        let is_settled = end.is_settled();
        drop(end);
        if is_settled {
            self.settled.notify_waiters();
        }
    }

    /// Resolves when every batch that arrived is settled.
    pub(crate) async fn all_settled(&self) {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if self.end.lock().is_settled() {
                return;
            }
            settled.await;
        }
    }
}

/// Acknowledges a batch of outcomes once all its pieces are settled.
#[derive(Debug)]
pub(crate) struct Ticket {
    session: Arc<Session>,
    sequence: u64,
    pieces: AtomicUsize,
}

impl Ticket {
    /// A batch in so many pieces.
    pub(crate) const fn new(session: Arc<Session>, sequence: u64, pieces: usize) -> Self {
        Self {
            session,
            sequence,
            pieces: AtomicUsize::new(pieces),
        }
    }

    /// One of them is settled.
    pub(crate) fn settled(&self) {
        if self.pieces.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.session.batch_settled(self.sequence);
        }
    }
}

/// A session's place among the others: others can close it as long as this is there.
#[derive(Debug)]
pub(crate) struct Registered<'a> {
    sessions: &'a Sessions,
    /// The session.
    pub(crate) session: Arc<Session>,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.sessions.by_key.lock().remove(&self.session.key);
    }
}

/// The sessions of this replica.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_key: Mutex<HashMap<SessionKey, Arc<Session>>>,
    next: AtomicU64,
}

impl Sessions {
    /// A number for a new session.
    pub(crate) fn next_key(&self) -> SessionKey {
        SessionKey(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Adds a session. One of the same agent and number is closed by it.
    pub(crate) fn register(&self, session: Arc<Session>) -> Registered<'_> {
        self.close(&[session.holder]);
        self.by_key.lock().insert(session.key, Arc::clone(&session));
        Registered {
            sessions: self,
            session,
        }
    }

    /// The session with this number.
    pub(crate) fn get(&self, key: SessionKey) -> Option<Arc<Session>> {
        self.by_key.lock().get(&key).cloned()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.by_key.lock().values().cloned().collect()
    }

    /// Closes the sessions of these holders.
    pub(crate) fn close(&self, holders: &[Holder]) {
        let sessions = self.all();
        let closed = sessions
            .iter()
            .filter(|session| holders.contains(&session.holder));
        closed.for_each(|session| session.close());
    }
}
