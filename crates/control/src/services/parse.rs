//! Parsing what several requests have.

use core::{fmt::Display, str::FromStr};

use sidehook_core::{id::ParseIdError, version::Version, violation::Violations};

use crate::errors::OperationError;

/// An id that must be given.
pub(super) fn id<T: FromStr<Err = ParseIdError>>(
    text: &str,
    field: &str,
) -> Result<T, OperationError> {
    if text.is_empty() {
        return Err(OperationError::field(field, "required"));
    }
    parse(text, field)
}

/// An id that may be left out.
pub(super) fn optional_id<T: FromStr<Err = ParseIdError>>(
    text: &str,
    field: &str,
    violations: &mut Violations,
) -> Option<T> {
    if text.is_empty() {
        return None;
    }
    let parsed = text.parse::<T>();
    parsed
        .map_err(|error| violations.add(field, error.to_string()))
        .ok()
}

/// An etag that may be left out.
pub(super) fn etag(text: &str, field: &str) -> Result<Option<Version>, OperationError> {
    if text.is_empty() {
        return Ok(None);
    }
    parse(text, field).map(Some)
}

fn parse<T: FromStr<Err: Display>>(text: &str, field: &str) -> Result<T, OperationError> {
    text.parse()
        .map_err(|error: T::Err| OperationError::field(field, error.to_string()))
}
