//! What is wrong with bytes at rest.

/// A record that cannot be read: damaged, or written by a later version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unreadable {what} record: {detail}")]
pub struct CorruptRecord {
    /// What kind of record it should be.
    pub what: &'static str,
    /// What is wrong with it; never its content.
    pub detail: String,
}

impl CorruptRecord {
    pub(crate) fn new(what: &'static str, detail: impl Into<String>) -> Self {
        Self {
            what,
            detail: detail.into(),
        }
    }
}
