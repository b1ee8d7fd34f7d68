//! What a test lets go wrong in a [`Shaky`](crate::shaky::Shaky) store, and what it can
//! see of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use sidehook_core::{
    address::{Partition, SegmentId},
    id::TenantId,
};
use sidehook_store::{
    CallError, StoreError, Turn, TurnReply,
    read::Segment,
    turn::{Calls, Holder, LeaseId},
};
use tokio::sync::watch;

/// A door that is open until it is shut.
pub(crate) struct Gate(watch::Sender<bool>);

impl Gate {
    pub(crate) fn set_open(&self, open: bool) {
        self.0.send_replace(open);
    }

    pub(crate) async fn pass(&self) {
        let mut open = self.0.subscribe();
        open.wait_for(|open| *open).await.expect("the gate stays");
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(true))
    }
}

/// Something that happens again and again, and can be waited for.
#[derive(Default)]
pub(crate) struct Count(watch::Sender<u64>);

impl Count {
    pub(crate) fn add(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    pub(crate) fn now(&self) -> u64 {
        *self.0.borrow()
    }

    pub(crate) async fn reaches(&self, wanted: u64) {
        let mut count = self.0.subscribe();
        let reached = count.wait_for(|count| *count >= wanted).await;
        reached.expect("the count stays");
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Faults {
    /// Turns with outcomes that were not answered.
    pub(crate) unsettled: Count,
    /// Changes of subscriptions that were not answered.
    pub(crate) unwritten: Count,
    /// Partitions, one bit each, that answer nothing.
    pub(crate) missing: AtomicU64,
    /// Those of them that were asked in vain.
    pub(crate) missed: watch::Sender<u64>,
    /// Claims among what they were asked.
    pub(crate) missed_claims: Count,
    /// Outcomes of this lease are refused, and their call with them.
    pub(crate) poison: Mutex<Option<LeaseId>>,
    /// Shut, it keeps turns with claims from being executed.
    pub(crate) claims: Gate,
    /// Turns with claims that came to it.
    pub(crate) claiming: Count,
    /// Shut, it keeps agents' presence from being written.
    pub(crate) presence: Gate,
    /// Shut, it keeps leases from being released.
    pub(crate) releases: Gate,
    /// Whose leases were asked to be released.
    pub(crate) released: Mutex<Vec<Holder>>,
    /// How many renewals came in one call each.
    pub(crate) renewals: Mutex<Vec<usize>>,
    /// What reading leases answers.
    pub(crate) leases: Mutex<Option<StoreError>>,
    /// The answer to the next publish cannot be read.
    pub(crate) published_unread: AtomicBool,
    /// This tenant's catalog cannot be read.
    pub(crate) unreadable: Mutex<Option<TenantId>>,
    /// Attempts to read it.
    pub(crate) unread: Count,
    /// Segments cannot be read.
    pub(crate) corrupt_segment: Mutex<Option<SegmentId>>,
    /// No event's record is what it was.
    pub(crate) garbled: AtomicBool,
}

impl Faults {
    /// Fails if this tenant's catalog cannot be read.
    pub(crate) fn catalog(&self, tenant: TenantId) -> Result<(), StoreError> {
        if *self.unreadable.lock() != Some(tenant) {
            return Ok(());
        }
        self.unread.add();
        Err(corrupt())
    }

    /// What of the events found can be read.
    pub(crate) fn segments(
        &self,
        ids: &[SegmentId],
        mut found: Vec<Option<Segment>>,
    ) -> Result<Vec<Option<Segment>>, StoreError> {
        let broken = *self.corrupt_segment.lock();
        if ids.iter().any(|id| Some(*id) == broken) {
            return Err(corrupt());
        }
        if self.garbled.load(Ordering::SeqCst) {
            for record in found.iter_mut().flatten().flat_map(|it| &mut it.records) {
                *record = Bytes::from_static(b"\xff");
            }
        }
        Ok(found)
    }

    /// Makes answers unreadable: the calls were executed all the same.
    pub(crate) fn scratch(&self, mut reply: TurnReply) -> TurnReply {
        for replies in &mut reply.calls {
            if replies.publish.is_some() && self.published_unread.swap(false, Ordering::SeqCst) {
                replies.publish = Some(Err(refusal("an unreadable reply")));
            }
        }
        reply
    }

    /// Takes out of a turn what the missing partitions are asked; answers it, by place.
    pub(crate) fn lose(&self, turn: &mut Turn) -> Vec<(usize, Calls)> {
        let missing = self.missing.load(Ordering::SeqCst);
        let mut lost = Vec::new();
        for (place, calls) in turn.calls.iter_mut().enumerate() {
            let bit = bit(calls.partition);
            if missing & bit == 0 {
                continue;
            }
            if calls.claim.is_some() {
                self.missed_claims.add();
            }
            let none = Calls::new(calls.partition);
            lost.push((place, std::mem::replace(calls, none)));
            self.missed.send_modify(|missed| *missed |= bit);
        }
        lost
    }

    /// Waits until each of these partitions was asked in vain.
    pub(crate) async fn missed(&self, partitions: u64) {
        let mut missed = self.missed.subscribe();
        let all = missed.wait_for(|missed| missed & partitions == partitions);
        all.await.expect("the faults stay");
    }

    /// Takes out of a turn what is refused; answers the places of the settles.
    pub(crate) fn refuse(&self, turn: &mut Turn) -> Vec<usize> {
        let Some(poison) = *self.poison.lock() else {
            return Vec::new();
        };
        let poisoned = |calls: &Calls| {
            let settle = calls.settle.as_ref();
            settle.is_some_and(|(_, settle)| settle.leases.iter().any(|one| one.lease == poison))
        };
        let mut refused = Vec::new();
        for (place, calls) in turn.calls.iter_mut().enumerate() {
            if poisoned(calls) {
                calls.settle = None;
                refused.push(place);
            }
        }
        refused
    }
}

/// A partition alone.
pub(crate) fn bit(partition: Partition) -> u64 {
    1 << partition.number()
}

/// The answer to calls that were lost: nobody knows.
pub(crate) fn lost(mut reply: TurnReply, lost: &[(usize, Calls)]) -> TurnReply {
    let unknown = || CallError::Unknown {
        detail: "missing".to_owned(),
    };
    for (place, calls) in lost {
        let replies = &mut reply.calls[*place];
        replies.settle = calls.settle.as_ref().map(|_| Err(unknown()));
        replies.publish = calls.publish.as_ref().map(|_| Err(unknown()));
        replies.claim = calls.claim.as_ref().map(|_| Err(unknown()));
        replies.tick = calls.tick.then(|| Err(unknown()));
    }
    reply
}

/// The answer to settles that were taken out.
pub(crate) fn refused(mut reply: TurnReply, places: &[usize]) -> Result<TurnReply, StoreError> {
    for place in places {
        reply.calls[*place].settle = Some(Err(refusal("poisoned")));
    }
    Ok(reply)
}

fn refusal(detail: &str) -> CallError {
    CallError::Refused {
        detail: detail.to_owned(),
    }
}

fn corrupt() -> StoreError {
    StoreError::Corrupt {
        detail: "scratched".to_owned(),
    }
}
