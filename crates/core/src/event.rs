//! Events: what happened, published once and never changed.
//!
//! Payloads are JSON text that is checked and then left alone: byte for byte it is
//! signed and sent. An [`Event`] has no id yet: the address that the id is exists
//! only once the store's call is composed.

use core::{borrow::Borrow, fmt};
use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::{
    limits::{CHANGED_FIELDS, IDEMPOTENCY_KEY_BYTES, REFERENCE_BYTES, TYPE_BYTES},
    text::check_text,
    violation::Violations,
};

/// Object types that begin so are the platform's own.
pub const RESERVED_PREFIX: &str = "sidehook.";
/// Object type of the event that TestSubscription sends.
pub const TEST_OBJECT_TYPE: Word = Word(Cow::Borrowed("sidehook.test"));
/// Action of the event that TestSubscription sends.
pub const TEST_ACTION: Word = Word(Cow::Borrowed("requested"));

/// Whether an object type is the platform's own.
#[must_use]
pub fn is_reserved(object_type: &str) -> bool {
    object_type.starts_with(RESERVED_PREFIX)
}

/// An object type or action: 1 to 100 bytes of visible ASCII without `*` and `:`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(Cow<'static, str>);

/// Why a text is not an object type or action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// Nothing was given.
    #[error("required")]
    Empty,
    /// More than 100 bytes.
    #[error("at most 100 bytes are allowed")]
    TooLong,
    /// Not visible ASCII, or `*` or `:`.
    #[error(
        "the character at position {position} is not allowed: only visible ASCII without spaces, `*` and `:` is"
    )]
    Character {
        /// Byte offset, from 0.
        position: usize,
    },
    /// One of the platform's own.
    #[error("object types that begin with `sidehook.` are reserved")]
    Reserved,
}

impl Word {
    /// A word as a record keeps it, unchecked: events that were made by other rules are
    /// still matched by it.
    #[must_use]
    pub const fn kept(text: String) -> Self {
        Self(Cow::Owned(text))
    }

    /// Checks a text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: String) -> Result<Self, WordError> {
        if text.is_empty() {
            return Err(WordError::Empty);
        }
        if text.len() > TYPE_BYTES {
            return Err(WordError::TooLong);
        }
        let foreign = |byte: u8| !byte.is_ascii_graphic() || matches!(byte, b'*' | b':');
        match text.bytes().position(foreign) {
            Some(position) => Err(WordError::Character { position }),
            None => Ok(Self(Cow::Owned(text))),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// Equal, ordered and hashed as the text is: maps by `Word` are asked with `&str`.
impl Borrow<str> for Word {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// When something happened, as exactly as the publisher said. Seconds are within the
/// years 1 to 9999, nanoseconds below 1,000,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OccurredAt {
    seconds: i64,
    nanos: u32,
}

impl OccurredAt {
    /// Seconds since 1970-01-01 UTC and nanoseconds; `None` if out of range.
    #[must_use]
    pub fn new(seconds: i64, nanos: u32) -> Option<Self> {
        let years = -62_135_596_800..=253_402_300_799;
        (years.contains(&seconds) && nanos < 1_000_000_000).then_some(Self { seconds, nanos })
    }

    /// Seconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after that second.
    #[must_use]
    pub const fn nanos(self) -> u32 {
        self.nanos
    }
}

/// What a publisher says of an event. Optional texts are empty when not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What makes publishing safe to repeat; at most 256 bytes. Not part of the
    /// content.
    pub idempotency_key: String,
    /// The kind of object.
    pub object_type: Word,
    /// What happened to it.
    pub action: Word,
    /// The object.
    pub object_id: String,
    /// Who did it.
    pub user_id: String,
    /// The lead that the object belongs to.
    pub lead_id: String,
    /// The request that caused it.
    pub request_id: String,
    /// The campaign that it belongs to.
    pub campaign_id: String,
    /// The organisation as the publisher names it.
    pub organization_id: String,
    /// When it happened; `None`: when it is accepted.
    pub occurred_at: Option<OccurredAt>,
    /// The object after the event: JSON text.
    pub data: Bytes,
    /// The changed fields before: JSON text, or empty.
    pub previous_data: Bytes,
    /// The names of the fields that changed.
    pub changed_fields: Vec<String>,
    /// More about it: the text of a JSON object, or empty.
    pub meta: Bytes,
}

impl Event {
    /// Bytes of the payload: `data`, `previous_data` and `meta` together.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.data.len() + self.previous_data.len() + self.meta.len()
    }

    /// What is wrong with the event, if anything: lengths, JSON, and a payload of more
    /// than `payload_max` bytes. Publishers may not use the platform's object types.
    #[must_use]
    pub fn check(&self, payload_max: usize) -> Violations {
        let mut violations = Violations::new();
        if is_reserved(self.object_type.as_str()) {
            violations.add("object_type", WordError::Reserved.to_string());
        }
        let texts = [
            (
                "idempotency_key",
                &self.idempotency_key,
                IDEMPOTENCY_KEY_BYTES,
            ),
            ("object_id", &self.object_id, REFERENCE_BYTES),
            ("user_id", &self.user_id, REFERENCE_BYTES),
            ("lead_id", &self.lead_id, REFERENCE_BYTES),
            ("request_id", &self.request_id, REFERENCE_BYTES),
            ("campaign_id", &self.campaign_id, REFERENCE_BYTES),
            ("organization_id", &self.organization_id, REFERENCE_BYTES),
        ];
        for (field, text, max) in texts {
            check_text(&mut violations, || field.to_owned(), text, max);
        }
        violations.require(
            self.changed_fields.len() <= CHANGED_FIELDS,
            "changed_fields",
            "at most 1000 names are allowed",
        );
        for (index, name) in self.changed_fields.iter().enumerate().take(CHANGED_FIELDS) {
            let field = || format!("changed_fields[{index}]");
            if name.is_empty() {
                violations.add(field(), "must not be empty");
            }
            check_text(&mut violations, field, name, REFERENCE_BYTES);
        }
        self.check_payload(&mut violations, payload_max);
        violations
    }

    fn check_payload(&self, violations: &mut Violations, payload_max: usize) {
        let bytes = self.payload_bytes();
        if bytes > payload_max {
            // Not worth reading.
            let description = format!(
                "`data`, `previous_data` and `meta` have {bytes} bytes together, at most {payload_max} are allowed"
            );
            violations.add("data", description);
            return;
        }
        if self.data.is_empty() {
            violations.add("data", "required: JSON text, for example `{}`");
        }
        let payloads = [
            ("data", &self.data),
            ("previous_data", &self.previous_data),
            ("meta", &self.meta),
        ];
        for (field, text) in payloads.into_iter().filter(|(_, text)| !text.is_empty()) {
            match serde_json::from_slice::<&RawValue>(text) {
                Err(error) => violations.add(field, format!("not JSON: {error}")),
                Ok(value) if field == "meta" && !value.get().starts_with('{') => {
                    violations.add(field, "must be a JSON object");
                }
                Ok(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
