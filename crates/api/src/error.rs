//! What is wrong, on the wire and at rest.

use sidehook_core::violation::Violations;

use crate::v1;

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

/// Wrong fields as the API shows them.
#[must_use]
pub fn field_violations(violations: &Violations) -> Vec<v1::FieldViolation> {
    violations
        .as_slice()
        .iter()
        .map(|violation| v1::FieldViolation {
            field: violation.field.clone(),
            description: violation.description.clone(),
        })
        .collect()
}
