//! Reading events, deliveries and leases.

use bytes::Bytes;
use sidehook_core::{
    address::{DeliveryId, SegmentId},
    id::{SubscriptionNumber, TenantId},
    time::Timestamp,
};

use crate::turn::{Holder, LeaseId, Run};

/// The events of one tenant in one publish call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The tenant.
    pub tenant: TenantId,
    /// The encoded event records by index; empty where an event was not accepted.
    pub records: Vec<Bytes>,
}

/// A page of a tenant's log, newest segment first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPage {
    /// The segments.
    pub segments: Vec<SegmentId>,
    /// What to ask with for the next page; `None` at the end.
    pub next: Option<LogCursor>,
    /// When the oldest segment of the log was published; `None` for an empty log.
    pub retained_since: Option<Timestamp>,
}

/// Where a page of a log ended: it stays valid while the log grows and is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogCursor(pub u64);

/// An open lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The lease.
    pub id: LeaseId,
    /// Its token.
    pub token: u128,
    /// Who holds it.
    pub holder: Holder,
    /// When it ends.
    pub deadline: Timestamp,
    /// What was lent, as the grant said.
    pub runs: Vec<Run>,
    /// Positions not settled yet, ascending.
    pub open: Vec<u16>,
}

/// Where an unfinished delivery is, as far as it has left the run form or is lent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// What it remembers, if it was retried or is a redelivery.
    pub retry: Option<Bytes>,
    /// When it is due, if it waits.
    pub due: Option<Timestamp>,
    /// Whether it is lent.
    pub leased: bool,
}

/// An event and a subscription: what all generations of a delivery have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The event's segment.
    pub segment: SegmentId,
    /// The event's place in it.
    pub index: u8,
    /// The subscription.
    pub subscription: SubscriptionNumber,
}

/// Makes a new delivery of an event that was delivered before.
#[derive(Clone, Debug)]
pub struct Redeliver {
    /// The tenant.
    pub tenant: TenantId,
    /// The new delivery: the next generation of an ended one.
    pub delivery: DeliveryId,
    /// Its subscription, for the queue.
    pub subscription: SubscriptionNumber,
    /// What it is to remember.
    pub retry: Bytes,
}
