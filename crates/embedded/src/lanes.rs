//! Lanes: each one's last call of each kind with its reply. They are cleared when
//! the store is opened: only the process that made a call can repeat it, and it is
//! new. Within a process a lane is replaced so rarely that none is ever dropped.

use sidehook_core::address::Partition;
use sidehook_store::{CallError, turn::Stamp};

use crate::{
    batch::Batch,
    codec::Writer,
    error::Fault,
    layout,
    replies::{self, Reply},
};

/// Why a call has no reply.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It broke a rule; nothing was changed.
    Call(CallError),
    /// The transaction must be given up.
    Fault(Fault),
}

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What a call comes to.
pub(crate) type Called<R> = Result<R, Refusal>;

impl Batch<'_> {
    /// Runs a call unless it is old; a call that fails uses up no sequence.
    pub(crate) fn stamped<R: Reply>(
        &mut self,
        partition: Partition,
        stamp: Stamp,
        run: impl FnOnce(&mut Self) -> Called<R>,
    ) -> Called<R> {
        let key = layout::lane(partition, R::KIND, stamp.lane);
        if let Some(row) = self.tables.lanes.get(&key)? {
            let (last, mut from) = replies::last_sequence(&row)?;
            if last == stamp.sequence.number() {
                return Ok(R::parse(partition, stamp, &mut from)?);
            }
            if last > stamp.sequence.number() {
                return Err(CallError::Superseded.into());
            }
        }
        let reply = run(self)?;
        let mut row = Writer::with_capacity(256);
        row.u32(stamp.sequence.number());
        reply.pack(&mut row);
        self.tables.lanes.put(&key, &row.finish())?;
        Ok(reply)
    }
}
