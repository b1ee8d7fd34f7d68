//! Each lane's last call of each kind, with its reply.

use sidehook_core::address::Sequence;

use super::state::State;
use crate::{
    error::CallError,
    turn::{ClaimReply, PublishReply, SettleReply, Stamp},
};

/// A lane's last calls.
#[derive(Default)]
pub(super) struct LaneState {
    pub(super) settle: Last<SettleReply>,
    pub(super) publish: Last<PublishReply>,
    pub(super) claim: Last<ClaimReply>,
    pub(super) import: Last<()>,
}

/// The last call of one kind.
pub(super) struct Last<R>(Option<(Sequence, R)>);

impl<R> Default for Last<R> {
    fn default() -> Self {
        Self(None)
    }
}

impl<R: Clone> Last<R> {
    /// The answer to a call that is not new.
    fn recall(&self, sequence: Sequence) -> Option<Result<R, CallError>> {
        match &self.0 {
            Some((last, reply)) if *last == sequence => Some(Ok(reply.clone())),
            Some((last, _)) if *last > sequence => Some(Err(CallError::Superseded)),
            _ => None,
        }
    }
}

impl State {
    /// Runs a call unless it is old; a call that fails uses up no sequence.
    pub(super) fn stamped<R: Clone>(
        &mut self,
        stamp: Stamp,
        last: fn(&mut LaneState) -> &mut Last<R>,
        run: impl FnOnce(&mut Self) -> Result<R, CallError>,
    ) -> Result<R, CallError> {
        let lane = self.lanes.entry(stamp.lane).or_default();
        if let Some(answer) = last(lane).recall(stamp.sequence) {
            return answer;
        }
        let reply = run(self)?;
        let lane = self.lanes.entry(stamp.lane).or_default();
        *last(lane) = Last(Some((stamp.sequence, reply.clone())));
        Ok(reply)
    }
}
