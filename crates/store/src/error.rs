//! How store operations fail.

use core::time::Duration;

/// An operation as a whole failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or did not answer in time. Whether a mutation
    /// was executed is not known: repeat it unchanged.
    #[error("the store is unavailable: {detail}")]
    Unavailable {
        /// What went wrong, without addresses' credentials.
        detail: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// What lies in the store cannot be read. Nothing was changed.
    #[error("the store holds something unreadable: {detail}")]
    Corrupt {
        /// Where and what.
        detail: String,
    },
}

/// One call of a turn failed; the turn's other calls are not touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Whether it was executed is not known: repeat it unchanged, before any later
    /// call of its lane.
    #[error("no answer from the store: {detail}")]
    Unknown {
        /// What went wrong.
        detail: String,
    },
    /// The store has no room. Nothing was changed; only publishing can meet this.
    #[error("the store is full")]
    Full,
    /// A later call of this lane was executed: the lane is out of step and must be
    /// replaced by a new one. Nothing was changed.
    #[error("a later call of this lane was executed already")]
    Superseded,
    /// The store holds something unreadable, or the call broke a rule of the port.
    /// Nothing was changed; repeating is of no use.
    #[error("the store refused the call: {detail}")]
    Refused {
        /// Why.
        detail: String,
    },
}
