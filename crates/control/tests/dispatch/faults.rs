//! What a test lets go wrong in a [`Shaky`](crate::shaky::Shaky) store, and what it can
//! see of it.

use parking_lot::Mutex;
use sidehook_core::id::TenantId;
use sidehook_store::{
    CallError, StoreError, Turn, TurnReply,
    turn::{Calls, LeaseId},
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
    /// Outcomes of this lease are refused, and their call with them.
    pub(crate) poison: Mutex<Option<LeaseId>>,
}

impl Faults {
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

/// The answer to settles that were taken out.
pub(crate) fn refused(mut reply: TurnReply, places: &[usize]) -> Result<TurnReply, StoreError> {
    for place in places {
        reply.calls[*place].settle = Some(Err(CallError::Refused {
            detail: "poisoned".to_owned(),
        }));
    }
    Ok(reply)
}
