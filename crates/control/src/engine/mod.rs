//! The engine: everything between an accepted RPC and the store's hot operations.
//!
//! A few *turn workers* drive the store, each for its share of the partitions and
//! with at most one turn under way. What arrives meanwhile (events to publish,
//! outcomes to settle, credit to claim for) waits in the worker's inbox and travels
//! together in the next turn: group commit without timers, and one notification per
//! batch instead of a channel per event.
//!
//! Every call carries a stamp and is repeated with the same stamp until the store
//! has answered, however long that takes: only then is it known what happened. So a
//! store that is away stops the engine, and loses nothing. Publishers are told after
//! a deadline, agents keep their streams.
//!
//! The engine decides nothing about deliveries: matching and retrying are the
//! domain's, and what a subscription is the catalog's. Fairness between agents, pools
//! and partitions is the `board`'s, between the queues of tenants the store's claim's.

mod apply;
mod clock;
mod compose;
mod held;
mod inbox;
mod lane;
mod metrics;
mod pauses;
mod piece;
mod publish;
mod worker;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use sidehook_core::{
    address::{EventId, Partition},
    event::Event,
    filter::TooCostly,
    id::{SubscriptionNumber, TenantId},
    limits::{PARTITIONS, TENANT_LOG_BYTES_DEFAULT, TENANT_PENDING_BYTES_DEFAULT},
    time::Timestamp,
};
use sidehook_runtime::{
    tasks::{OnPanic, TaskKind, Tasks},
    throttle::Throttle,
};
use sidehook_store::{
    Store, StoreError,
    budget::{Budget as TenantBudget, Exhausted, Which},
};
use tokio::sync::broadcast;

use self::{
    clock::StoreClock, inbox::Inbox, metrics::DispatchMetrics, pauses::Pauses, piece::Budget,
};
use crate::{
    agents::{AgentGate, Sessions},
    allowances::Allowances,
    board::{Board, Partitions},
    catalog::Catalogs,
    presence,
    segments::SegmentCache,
    watch::{self, Feed, WatchItem},
};

pub use pauses::{OnPause, Pause, PauseAnswer};
pub(crate) use piece::SettlePiece;

/// How the engine is sized and timed.
#[derive(Clone, Debug)]
pub struct DispatchConfig {
    /// Turn workers; each has a connection to the store where that matters.
    pub workers: usize,
    /// How long deliveries are lent: at least the longest request time-out and two
    /// heartbeats.
    pub lease: Duration,
    /// How often agents give a sign of life.
    pub heartbeat: Duration,
    /// How long a publisher waits for the store before it is told that it is
    /// unavailable.
    pub publish_deadline: Duration,
    /// Events that may wait for the store; more are refused at once. While a part of the
    /// store does not answer, events for it are refused beyond half of that.
    pub waiting_events: usize,
    /// Bytes of events that may wait for the store; more are refused at once, as above.
    pub waiting_bytes: usize,
    /// Bytes of recent events that are kept for agents.
    pub segment_cache_bytes: usize,
    /// How much each tenant may have in the store for which nothing else is set.
    pub tenant_budget: TenantBudget,
    /// How long agents may still report after a drain began.
    pub drain: Duration,
}

impl Default for DispatchConfig {
    fn default() -> Self {
        Self {
            workers: 4,
            lease: Duration::from_secs(90),
            heartbeat: Duration::from_secs(10),
            publish_deadline: Duration::from_secs(10),
            waiting_events: 50_000,
            waiting_bytes: 128 * 1024 * 1024,
            segment_cache_bytes: 128 * 1024 * 1024,
            tenant_budget: TenantBudget {
                pending: TENANT_PENDING_BYTES_DEFAULT,
                log: TENANT_LOG_BYTES_DEFAULT,
            },
            drain: Duration::from_secs(20),
        }
    }
}

/// An event to publish.
#[derive(Clone, Debug)]
pub struct PublishItem {
    /// The event, validated. The digests that go with its idempotency key are taken
    /// when it is encoded.
    pub event: Event,
    /// The one subscription that it goes to, whatever its patterns; `None`: those
    /// that match.
    pub target: Option<SubscriptionNumber>,
}

/// What became of an event.
pub type PublishOutcome = Result<Published, PublishError>;

/// An event that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its id; of a duplicate, the first event's.
    pub event_id: EventId,
    /// Whether its idempotency key was used for the same content before.
    pub duplicate: bool,
    /// How many subscriptions it matched; 0 for a duplicate.
    pub matched: u32,
}

/// Why an event was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Too many events wait for the store already. The event is not stored.
    #[error("too many events are waiting for the store; try again")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The store cannot be reached.
    #[error("the store is unavailable; {}", if *.maybe_stored { "the event may be stored all the same: repeat it with its idempotency key" } else { "the event was not stored" })]
    Unavailable {
        /// Whether the event may have been, or yet be, stored.
        maybe_stored: bool,
        /// When to try again.
        retry_after: Duration,
    },
    /// The store has no room. The event is not stored.
    #[error("the store is full")]
    Full,
    /// The tenant has used up one of its budgets. The event is not stored.
    #[error("{}", over_budget(*.told))]
    OverBudget {
        /// Which, and by how much.
        told: Exhausted,
        /// When to try again.
        retry_after: Duration,
    },
    /// Its idempotency key was used for other content, by this event.
    #[error("the idempotency key was used for other content, by {0}")]
    KeyReused(EventId),
    /// The tenant's filters take too long on it: who wants it is not known. The event is not stored.
    #[error(transparent)]
    FiltersTooCostly(TooCostly),
    /// The store refused the call or holds something unreadable.
    #[error("the store refused the event: {detail}")]
    Refused {
        /// Why.
        detail: String,
    },
}

fn over_budget(
    Exhausted {
        which,
        used,
        budget,
    }: Exhausted,
) -> String {
    match which {
        Which::Pending => format!(
            "what is still to be delivered counts {used} bytes, of {budget} that the tenant \
             may have: wait until receivers have caught up, or delete subscriptions that \
             never will"
        ),
        Which::Log => format!(
            "the events that are kept count {used} bytes, of {budget} that the tenant may \
             have, and the oldest have not left yet: those that are delivered leave within \
             seconds; for the others wait until receivers have caught up, or delete \
             subscriptions that never will"
        ),
    }
}

/// The engine of one replica. Clones are the same engine.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

/// What is logged at most once in a while, however often it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Complaint {
    /// The store did not answer; the turn will be repeated.
    Turn,
    /// It refused a call.
    Refused,
    /// The tenant's subscriptions cannot be read: its deliveries wait.
    Catalog(TenantId),
    /// A segment cannot be read: its deliveries wait.
    Segment,
    /// An event's record cannot be read: its deliveries are dead.
    Event,
}

/// What the workers, sessions and publishers of one engine share. Of its locks at
/// most two are held at one time, and then a session's before the board's.
pub(crate) struct Shared {
    pub(crate) config: DispatchConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) catalogs: Catalogs,
    pub(crate) allowances: Allowances,
    pub(crate) tasks: Tasks,
    pub(crate) clock: StoreClock,
    pub(crate) board: Mutex<Board>,
    pub(crate) segments: Mutex<SegmentCache>,
    pub(crate) sessions: Sessions,
    pub(crate) feed: Feed,
    pub(crate) pauses: Arc<Pauses>,
    pub(crate) metrics: DispatchMetrics,
    inboxes: Vec<Inbox>,
    budget: Arc<Budget>,
    complaints: Throttle<Complaint>,
}

impl Shared {
    fn inbox(&self, partition: Partition) -> &Inbox {
        &self.inboxes[usize::from(partition.number()) % self.inboxes.len()]
    }

    /// Logs what went wrong, unless the same was logged a moment ago.
    pub(crate) fn complain(&self, what: Complaint, detail: &dyn std::fmt::Display) {
        let Some(suppressed) = self.complaints.admit(what) else {
            return;
        };
        match what {
            Complaint::Turn => {
                tracing::warn!(%detail, suppressed, "the store did not answer; the turn will be repeated");
            }
            Complaint::Refused => tracing::error!(%detail, suppressed, "the store refused a call"),
            Complaint::Catalog(tenant) => {
                tracing::error!(%tenant, %detail, suppressed, "the tenant's deliveries wait: its subscriptions cannot be read");
            }
            Complaint::Segment => {
                tracing::error!(%detail, suppressed, "deliveries wait: their events cannot be read");
            }
            Complaint::Event => {
                tracing::error!(%detail, suppressed, "deliveries are dead: their event's record is corrupt");
            }
        }
    }

    /// Has outcomes settled.
    pub(crate) fn settle(&self, mut pieces: Vec<SettlePiece>) {
        // Nearly always all pieces are one worker's.
        while let Some(first) = pieces.first() {
            let inbox = self.inbox(first.lease.0.partition);
            let (mine, others) = pieces.into_iter().partition::<Vec<_>, _>(|piece| {
                std::ptr::eq(self.inbox(piece.lease.0.partition), inbox)
            });
            inbox.settle(mine.into_iter());
            pieces = others;
        }
    }

    /// Tells the workers of these partitions that there is something to claim.
    pub(crate) fn wake(&self, partitions: Partitions) {
        if partitions == 0 {
            return;
        }
        for (number, inbox) in self.inboxes.iter().enumerate() {
            let mut mine = worker::each(partitions);
            if mine.any(|partition| usize::from(partition.number()) % self.inboxes.len() == number)
            {
                inbox.wake();
            }
        }
    }
}

/// Without one of them nothing is delivered or published in its partitions.
const WORKER: TaskKind = TaskKind::new("turn_worker", OnPanic::Abort).background();
/// Without it other replicas' work is found by ticks only.
const HINTS: TaskKind = TaskKind::new("dispatch_hints", OnPanic::Abort).background();
/// Without it nobody sees attempts live.
const FEED: TaskKind = TaskKind::new("attempt_feed", OnPanic::Log).background();
/// Without it receivers that are gone stay subscribed.
const PAUSES: TaskKind = TaskKind::new("pauses", OnPanic::Abort).background();
/// Without it agents look absent.
const PRESENCE: TaskKind = TaskKind::new("presence", OnPanic::Log).background();

impl Engine {
    /// Starts the workers. They serve until the drain of `tasks` is over, so that what
    /// is accepted or reported meanwhile still reaches the store.
    ///
    /// # Errors
    /// The store cannot be asked for its time.
    pub async fn start(
        config: DispatchConfig,
        store: Arc<dyn Store>,
        catalogs: Catalogs,
        allowances: Allowances,
        on_pause: Arc<dyn OnPause>,
        tasks: &Tasks,
    ) -> Result<Self, StoreError> {
        let clock = StoreClock::new(store.now().await?);
        let pauses = Arc::<Pauses>::default();
        let shared = Arc::new(Shared {
            clock,
            board: Mutex::new(Board::new()),
            segments: Mutex::new(SegmentCache::new(config.segment_cache_bytes)),
            sessions: Sessions::default(),
            feed: Feed::default(),
            pauses: Arc::clone(&pauses),
            metrics: DispatchMetrics::new(),
            inboxes: (0..config.workers.clamp(1, usize::from(PARTITIONS)))
                .map(|_| Inbox::new())
                .collect(),
            budget: Arc::new(Budget::new(config.waiting_events, config.waiting_bytes)),
            complaints: Throttle::new(Duration::from_secs(5)),
            tasks: tasks.clone(),
            store,
            catalogs,
            allowances,
            config,
        });
        for number in 0..shared.inboxes.len() {
            let worker = worker::Worker::new(Arc::clone(&shared), number);
            tasks.spawn(WORKER, worker.run());
        }
        tasks.spawn(HINTS, watch::wake_on_hints(Arc::clone(&shared)));
        tasks.spawn(FEED, watch::feed_on_hints(Arc::clone(&shared)));
        tasks.spawn(PRESENCE, presence::keep(Arc::clone(&shared)));
        tasks.spawn(PAUSES, pauses.make(on_pause));
        Ok(Self(shared))
    }

    /// Publishes events of one tenant; the answers come in the order of `items`. An
    /// answer means that the event is stored as safely as the store stores anything.
    pub async fn publish(&self, tenant: TenantId, items: Vec<PublishItem>) -> Vec<PublishOutcome> {
        publish::publish(&self.0, tenant, items).await
    }

    /// Attempts of one tenant's deliveries from now on, of all replicas. A receiver
    /// that is slow misses some and is told so.
    #[must_use]
    pub fn watch(&self, tenant: TenantId) -> broadcast::Receiver<WatchItem> {
        self.0.feed.watch(tenant)
    }

    /// The store's time, as far as it is known here.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// What agents connect to.
    #[must_use]
    pub fn agents(&self) -> AgentGate {
        AgentGate::new(Arc::clone(&self.0))
    }
}
