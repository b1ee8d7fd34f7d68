//! The hot operations: settle, publish, claim and tick, gathered into turns.
//!
//! # Repeating
//! Every settle, publish and claim carries a stamp: the lane and the call's
//! sequence in it, counted apart for each of the three kinds. A partition keeps
//! each (lane, kind)'s last sequence with its reply. The same sequence again
//! answers the same reply and changes nothing; a lower one is
//! [`CallError::Superseded`]; a higher one is executed. A call that answered an
//! error changed nothing, unless what could not be read was the reply to it: after
//! [`CallError::Refused`] go on with the next sequence. Ticks need no stamp: executing
//! one twice is executing it once.
//!
//! # Order
//! Within a partition a turn executes settle, publish, claim, tick, in that order.
//! Calls of different partitions have no order.

use core::time::Duration;

use bytes::Bytes;
use sidehook_core::{
    address::{EventId, Lane, Partition, SegmentId, Sequence},
    health::Mark,
    id::{AgentId, SubscriptionNumber, TenantId},
    pool::Pool,
    time::Timestamp,
    version::Version,
};

use crate::{
    budget::{Budget, Exhausted},
    error::CallError,
};

/// What one worker has for its partitions at one moment. Each partition appears
/// at most once.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// The time to go by; `None`, always so in production: the store's own clock.
    pub now: Option<Timestamp>,
    /// The calls, by partition.
    pub calls: Vec<Calls>,
}

/// One partition's calls of a turn.
#[derive(Clone, Debug)]
pub struct Calls {
    /// The partition.
    pub partition: Partition,
    /// Outcomes to settle.
    pub settle: Option<(Stamp, Settle)>,
    /// Events to publish.
    pub publish: Option<(Stamp, Publish)>,
    /// Demand to meet.
    pub claim: Option<(Stamp, Claim)>,
    /// Whether to do what is due without traffic.
    pub tick: bool,
}

impl Calls {
    /// No calls yet.
    #[must_use]
    pub const fn new(partition: Partition) -> Self {
        Self {
            partition,
            settle: None,
            publish: None,
            claim: None,
            tick: false,
        }
    }
}

/// A call's place in its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The lane.
    pub lane: Lane,
    /// Its sequence among the lane's calls of the same kind.
    pub sequence: Sequence,
}

/// The answer to a turn.
#[derive(Clone, Debug)]
pub struct TurnReply {
    /// The store's time when it executed the turn.
    pub now: Timestamp,
    /// One entry per entry of the turn's `calls`, in their order.
    pub calls: Vec<Replies>,
}

/// The answers to one partition's calls: `Some` exactly where the turn had a call.
#[derive(Clone, Debug)]
pub struct Replies {
    /// Answer to `settle`.
    pub settle: Option<Result<SettleReply, CallError>>,
    /// Answer to `publish`.
    pub publish: Option<Result<PublishReply, CallError>>,
    /// Answer to `claim`.
    pub claim: Option<Result<ClaimReply, CallError>>,
    /// Answer to `tick`.
    pub tick: Option<Result<TickReply, CallError>>,
}

// ---------------------------------------------------------------- publish

/// Events of one or more tenants of a partition: at most
/// [`CALL_RECORDS`](sidehook_core::limits::CALL_RECORDS) events and
/// [`CALL_BYTES`](sidehook_core::limits::CALL_BYTES) (or one larger event).
#[derive(Clone, Debug, Default)]
pub struct Publish {
    /// By tenant, each at most once. A tenant's place in this list is the ordinal
    /// of its segment: the segment's id is (partition, stamp, ordinal).
    pub tenants: Vec<TenantPublish>,
}

/// One tenant's events.
#[derive(Clone, Debug)]
pub struct TenantPublish {
    /// The tenant.
    pub tenant: TenantId,
    /// The catalog that the events were matched against: if it is not the present
    /// one, none of this tenant's events is accepted.
    pub catalog: Version,
    /// How much the tenant may have. The store keeps it until it is told another one.
    pub budget: Budget,
    /// The events: an event's place in this list is its index in the segment.
    pub events: Vec<NewEvent>,
}

/// One event.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Its id: (time, segment, index).
    pub id: EventId,
    /// The encoded event record.
    pub record: Bytes,
    /// Its idempotency key, if it has one.
    pub idempotency: Option<Idempotency>,
    /// The subscriptions that it goes to, ascending, each once. One that is not in
    /// the catalog is passed over.
    pub targets: Vec<SubscriptionNumber>,
}

/// An idempotency key and what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Idempotency {
    /// Digest of the key; the store tells tenants apart itself.
    pub key: [u8; 16],
    /// Digest of the event's content.
    pub content: [u8; 16],
}

/// Answer to a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishReply {
    /// One per tenant of the call.
    pub tenants: Vec<TenantPublished>,
}

/// What became of one tenant's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantPublished {
    /// The catalog has changed; nothing of this tenant was accepted.
    Stale {
        /// The present version.
        current: Version,
    },
    /// A budget is used up, and at least one of the events is new; nothing of this tenant
    /// was accepted. (If none is new, the answer is [`Done`](Self::Done).)
    Exhausted(Exhausted),
    /// One per event.
    Done(Vec<EventPublished>),
}

/// What became of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventPublished {
    /// Stored, and queued for its targets.
    Accepted,
    /// Its idempotency key was used for the same content less than 24 hours ago,
    /// or earlier in the same call: nothing was stored.
    Duplicate(EventId),
    /// Its idempotency key was used for other content: nothing was stored.
    KeyReused(EventId),
}

// ---------------------------------------------------------------- claim

/// Demand for work of one partition. At most
/// [`CALL_RECORDS`](sidehook_core::limits::CALL_RECORDS) deliveries in all are
/// lent by one call.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// The demands; a demand's place in this list is the ordinal of its lease.
    pub demands: Vec<Demand>,
}

/// What one agent can take.
#[derive(Clone, Debug)]
pub struct Demand {
    /// The pool that it works for.
    pub pool: Pool,
    /// Who it is.
    pub holder: Holder,
    /// At most this many deliveries, at least 1.
    pub max_deliveries: u32,
    /// At most this many of one tenant, at least 1.
    pub per_tenant: u32,
    /// Tenants of whom at most so many are lent instead, each once, and in all demands of
    /// a call at most [`CLAIM_SHARES`](sidehook_core::limits::CLAIM_SHARES). Of 0 nothing
    /// is: whoever has had their share is passed over, and keeps their turn.
    pub shares: Vec<(TenantId, u32)>,
    /// How long to lend them, at most [`LEASE_MAX`](sidehook_core::limits::LEASE_MAX).
    pub lease: Duration,
    /// Random: whoever settles must know it.
    pub token: u128,
}

/// Who holds a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    /// The agent.
    pub agent: AgentId,
    /// Its session when it was lent.
    pub session: u64,
}

/// A lease's id: (partition, the claim's stamp, the demand's ordinal).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub SegmentId);

/// Answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimReply {
    /// One per demand; `None` where nothing was due.
    pub grants: Vec<Option<Grant>>,
    /// For each demand, whether its pool has more that is due and that the windows and
    /// the demand's shares allow.
    pub more: Vec<bool>,
    /// The present catalog version of every tenant in the grants, each once.
    pub catalogs: Vec<(TenantId, Version)>,
}

/// Deliveries lent under one lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The lease.
    pub lease: LeaseId,
    /// When it ends, by the store's clock.
    pub deadline: Timestamp,
    /// The deliveries, as runs. Their positions in the lease count through the
    /// runs' indices in this order, from 0.
    pub runs: Vec<Run>,
}

impl Grant {
    /// What becomes of all its deliveries: of each, by its position, what `how` says. No
    /// attempt counts in its subscription's health.
    #[must_use]
    pub fn settle(&self, token: u128, mut how: impl FnMut(u16) -> Disposition) -> LeaseSettle {
        let ids = self.runs.iter();
        let ids = ids.flat_map(|run| run.indices.iter().map(move |index| (run, *index)));
        let items = (0_u16..)
            .zip(ids)
            .map(|(position, (run, index))| SettleItem {
                position,
                tenant: run.tenant,
                subscription: run.subscription,
                segment: run.segment,
                index,
                generation: run.generation,
                disposition: how(position),
                mark: None,
            });
        LeaseSettle {
            lease: self.lease,
            token,
            items: items.collect(),
        }
    }
}

/// Events of one segment for one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The tenant.
    pub tenant: TenantId,
    /// The subscription.
    pub subscription: SubscriptionNumber,
    /// The segment.
    pub segment: SegmentId,
    /// The events' indices in the segment.
    pub indices: Vec<u8>,
    /// How often these deliveries lost a lease, retries and releases notwithstanding.
    /// From
    /// [`LEASES_LOST_MAX`](sidehook_core::limits::LEASES_LOST_MAX) on they must not
    /// be attempted but settled as dead.
    pub leases_lost: u8,
    /// What each of them counts for in its tenant's pending bytes until it ends.
    pub charge: u32,
    /// Generation of the deliveries.
    pub generation: u16,
    /// What a retried delivery remembers, as given with its retry; then there is
    /// one index.
    pub retry: Option<Bytes>,
}

// ---------------------------------------------------------------- settle

/// Outcomes: at most [`CALL_RECORDS`](sidehook_core::limits::CALL_RECORDS) items.
#[derive(Clone, Debug, Default)]
pub struct Settle {
    /// By lease, each at most once.
    pub leases: Vec<LeaseSettle>,
}

/// Outcomes under one lease.
#[derive(Clone, Debug)]
pub struct LeaseSettle {
    /// The lease.
    pub lease: LeaseId,
    /// Its token.
    pub token: u128,
    /// The outcomes, each position at most once.
    pub items: Vec<SettleItem>,
}

/// What is to become of one delivery. All but `position` and `disposition` repeats
/// what the grant said.
#[derive(Clone, Debug)]
pub struct SettleItem {
    /// Its position in the lease.
    pub position: u16,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its subscription.
    pub subscription: SubscriptionNumber,
    /// Its event's segment.
    pub segment: SegmentId,
    /// Its event's index.
    pub index: u8,
    /// Its generation.
    pub generation: u16,
    /// What is to become of it.
    pub disposition: Disposition,
    /// What the attempt adds to its subscription's health, if it counts. Added with the
    /// disposition, so neither where the position is stale nor twice; not for a
    /// subscription that is deleted. A release has none.
    pub mark: Option<Mark>,
}

/// What is to become of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It ended: delivered, dead or cancelled.
    End {
        /// The encoded attempt record.
        record: Bytes,
    },
    /// It waits for another attempt. If its subscription was deleted meanwhile, it
    /// ends instead.
    Retry {
        /// When it is due. Beyond
        /// [`RETRY_WAIT_MAX`](sidehook_core::limits::RETRY_WAIT_MAX) from now: at once.
        at: Timestamp,
        /// What it is to remember.
        retry: Bytes,
        /// The encoded attempt record.
        record: Bytes,
    },
    /// No attempt was made: back to the head of its queue, unchanged.
    Release,
}

/// Answer to a settle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleReply {
    /// One per lease of the call: the positions that were stale (the lease is over,
    /// the token wrong, or the position settled before) and so were ignored.
    pub stale: Vec<Vec<u16>>,
}

// ---------------------------------------------------------------- tick

/// Answer to a tick: due retries were queued, expired leases taken back (their
/// deliveries go to the heads of their queues with one more lease lost), deleted
/// subscriptions' queues cleared, and events dropped that are old or beyond their
/// tenant's budget; each up to a bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickReply {
    /// When there is something to do next; now or earlier: there is more already.
    pub next_due: Option<Timestamp>,
    /// Pools that have work due in this partition.
    pub due: Vec<Pool>,
    /// How many deliveries lost their lease.
    pub leases_lost: u32,
}
