//! Wrong fields as the API shows them.

use sidehook_core::violation::Violations;

use crate::v1;

/// The violations, each with the path of its field.
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
