//! Ends of attempts, gathered until they are sent.
//!
//! One vector behind a lock, swapped out whole: a channel message per outcome would cost twenty times as much. The
//! first outcome of a batch wakes the reporter, which waits a moment for more; the one that makes the batch worth
//! sending wakes it again.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use sidehook_core::limits::ERROR_DETAIL_BYTES;
use sidehook_core::outcome::OutcomeKind;
use sidehook_session::agent_end::Report;
use tokio::sync::Notify;

/// So many outcomes are sent at once without waiting for more.
pub(crate) const BATCH: usize = 32;

/// How one attempt ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) kind: OutcomeKind,
    /// 0 without a response.
    pub(crate) status: u16,
    /// When it began, on the agent's clock.
    pub(crate) began: Duration,
    pub(crate) took: Duration,
    pub(crate) body: Bytes,
    pub(crate) detail: String,
    pub(crate) retry_after_s: Option<u32>,
}

impl Outcome {
    /// An end without a response.
    pub(crate) fn failed(
        kind: OutcomeKind,
        mut detail: String,
        began: Duration,
        took: Duration,
    ) -> Self {
        if detail.len() > ERROR_DETAIL_BYTES {
            detail.truncate(detail.floor_char_boundary(ERROR_DETAIL_BYTES));
        }
        Self {
            kind,
            status: 0,
            began,
            took,
            body: Bytes::new(),
            detail,
            retry_after_s: None,
        }
    }
}

/// The outcomes that are not sent yet.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    gathered: Mutex<Vec<Report<Outcome>>>,
    changed: Notify,
}

impl Outcomes {
    pub(crate) fn push(&self, report: Report<Outcome>) {
        let len = {
            let mut gathered = self.gathered.lock();
            gathered.push(report);
            gathered.len()
        };
        if len == 1 || len == BATCH {
            self.changed.notify_one();
        }
    }

    /// Resolves when a batch was begun or became worth sending.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn len(&self) -> usize {
        self.gathered.lock().len()
    }

    /// Takes all of them.
    pub(crate) fn take(&self) -> Vec<Report<Outcome>> {
        std::mem::take(&mut *self.gathered.lock())
    }
}
