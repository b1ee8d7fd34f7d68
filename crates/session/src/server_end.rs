//! The control plane's end of a session: what one agent may be given, what it was
//! given, and what of its outcomes is settled.
//!
//! | step | call | effect |
//! |---|---|---|
//! | Hello lists a lease that is still open | [`ServerEnd::assign`] | its deliveries may be reported here |
//! | a claim was granted | [`ServerEnd::assign`] | its deliveries may be reported here |
//! | Outcomes arrives | [`ServerEnd::receive`] | its number is next, or it is a repeat, or the agent is broken |
//! | each outcome in it | [`ServerEnd::take`] | the delivery leaves the lease; a second report is void |
//! | all of them are settled | [`ServerEnd::settled`], [`ServerEnd::ack`] | the agent may forget the batch |
//! | a newer session names this one closed | [`ServerEnd::close`] | later frames are void |
//!
//! Leases do not end here by time: the store knows when a lease is over, and the
//! agent reports every delivery of a session once, even those that it did not begin or
//! whose lease is dead. So each report gives exactly one delivery of credit back,
//! void ones too. [`Credit`] itself is kept by whoever hands work out.

mod acks;
mod credit;
mod lease_ref;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use sidehook_core::{
    address::{DeliveryId, SegmentId},
    id::{SubscriptionNumber, TenantId},
    retry::{RetryPolicy, RetryState},
    time::Timestamp,
};

pub use acks::{Ack, Acks, Receipt};
pub use credit::Credit;
pub use lease_ref::LeaseRef;
pub use settings::{SentSettings, SettingsUse};

/// A delivery in the agent's hands: what settling it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lent {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its subscription.
    pub subscription: SubscriptionNumber,
    /// Its event's segment.
    pub segment: SegmentId,
    /// Its event's index there.
    pub index: u8,
    /// Its generation.
    pub generation: u16,
    /// What it remembers of earlier attempts.
    pub retry: RetryState,
    /// When it is tried again; `None` if its subscription is gone.
    pub policy: Option<RetryPolicy>,
    /// Bytes of its event, as counted against the agent's capacity.
    pub bytes: u32,
    /// When its event was accepted; `None` if nobody looked.
    pub accepted_at: Option<Timestamp>,
}

impl Lent {
    /// Its identifier.
    #[must_use]
    pub fn id(&self) -> DeliveryId {
        DeliveryId::new(self.segment, self.index, self.subscription, self.generation)
    }
}

/// Why a report is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Void {
    /// The session was closed by a newer one.
    Closed,
    /// No such lease is known here, or its token is another.
    UnknownLease,
    /// The lease has no such delivery, or it was reported before.
    UnknownPosition,
}

#[derive(Debug)]
struct Held {
    token: u128,
    open: usize,
    positions: Vec<Option<Lent>>,
}

/// One session. See the module for what happens when.
#[derive(Debug, Default)]
pub struct ServerEnd {
    leases: HashMap<SegmentId, Held>,
    acks: Acks,
    /// Settings that went out on this stream.
    pub settings: SentSettings,
    closed: bool,
}

impl ServerEnd {
    /// A session without leases.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a lease into the agent's hands; a delivery's place in `positions` is its
    /// position in the lease, `None` where it was not assigned or is settled. Leases of
    /// earlier sessions that the agent still holds are put in likewise.
    pub fn assign(&mut self, lease: LeaseRef, positions: Vec<Option<Lent>>) {
        let open = positions.iter().flatten().count();
        if open > 0 && !self.closed {
            let held = Held {
                token: lease.token,
                open,
                positions,
            };
            self.leases.insert(lease.id, held);
        }
    }

    /// Whether the agent knows this lease and may ask for more time for it.
    #[must_use]
    pub fn holds(&self, lease: LeaseRef) -> bool {
        let held = self.leases.get(&lease.id);
        !self.closed && held.is_some_and(|held| held.token == lease.token)
    }

    /// Takes a reported delivery out of its lease.
    ///
    /// # Errors
    /// Why the report is to be ignored.
    pub fn take(&mut self, lease: LeaseRef, position: u32) -> Result<Lent, Void> {
        if self.closed {
            return Err(Void::Closed);
        }
        let held = self.leases.get_mut(&lease.id);
        let held = held.filter(|held| held.token == lease.token);
        let held = held.ok_or(Void::UnknownLease)?;
        let slot = held.positions.get_mut(position as usize);
        let lent = slot.and_then(Option::take).ok_or(Void::UnknownPosition)?;
        held.open -= 1;
        if held.open == 0 {
            self.leases.remove(&lease.id);
        }
        Ok(lent)
    }

    /// Notes that the batch with this number arrived.
    pub fn receive(&mut self, sequence: u64) -> Receipt {
        self.acks.receive(sequence)
    }

    /// Notes that all outcomes of a batch are settled.
    pub fn settled(&mut self, sequence: u64) {
        self.acks.settled(sequence);
    }

    /// What the agent may forget, as far as it was not said yet.
    pub fn ack(&mut self) -> Ack {
        self.acks.ack()
    }

    /// Whether no batch waits to be settled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.acks.is_settled()
    }

    /// Makes everything that the agent still sends on this session void.
    pub fn close(&mut self) {
        self.closed = true;
        self.leases.clear();
    }

    /// Whether a newer session closed this one.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// The deliveries in the agent's hands, in no particular order.
    pub fn lent(&self) -> impl Iterator<Item = &Lent> {
        let held = self.leases.values();
        held.flat_map(|held| held.positions.iter().flatten())
    }

    /// Deliveries in the agent's hands.
    #[must_use]
    pub fn open(&self) -> usize {
        self.leases.values().map(|held| held.open).sum()
    }
}
