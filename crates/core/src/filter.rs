//! Filters: which of the events that a pattern wants are really wanted.
//!
//! A filter is a tree of nodes, given as JSON. It is evaluated on the event as a receiver with Close's envelope sees
//! it (`object_type`, `data`, `previous_data`, `changed_fields`, …), whatever format the subscription has.
//!
//! | `type` | beside it | holds when |
//! |---|---|---|
//! | `equals`, `not_equals` | `value` | the whole value is, or is not, the same |
//! | `is_null`, `non_null` | | the value is, or is not, null |
//! | `contains` | `value` | an array has the element, or a string has the substring |
//! | `and`, `or` | `filters` | all of them hold, or any |
//! | `not` | `filter` | it does not hold |
//! | `field_accessor` | `field`, `filter` | it holds for the value of that field |
//! | `any_array_value` | `filter` | it holds for any element |
//!
//! What the language's authors left open:
//! - A missing key reads as null, and so does every field of what is no object. `field` is one key, dots included.
//! - Values are compared deeply and by type: `1` is not `true`, nor `"1"`. Numbers are compared exactly, as decimals
//!   (`1` is `1.0`). Arrays have the same elements in the same order; objects the same keys, and a key with null is
//!   not a missing one. Strings are compared character by character: case matters, and no form of Unicode is made
//!   into another.
//! - Where an object has a key twice, the last one counts, as for the parsers of most receivers.
//! - `contains` compares elements as `equals` does, does not look into them, and finds nothing but strings in strings;
//!   the empty string is in every string. Of null, booleans, numbers and objects it is false.
//! - `any_array_value` is false for what is no array, and for an empty one.
//! - The event's `id`, `date_created` and `date_updated` cannot be asked for: events are matched before they have
//!   them. What a publisher did not give reads as the envelope shows it: null, or `{}` for `previous_data` and `meta`.
//!
//! # How it is evaluated
//! A tenant's filters are compiled together into one [`FilterSet`]: one tree of all the fields that any of them asks
//! for (`plan.rs`). An event is read once, along that tree (`tape.rs`): what no filter asks for is skipped, what is
//! asked for is borrowed from the payload, and 1,000 filters then look at the same few values (`evaluate.rs`). Equal
//! filters are one. The cost is at most linear in the payload for each node; there is no recursion into the payload
//! beyond what filters ask for, so its own nesting does not matter. All filters of an event together have a number of
//! steps ([`crate::limits::FILTER_STEPS`]); when it is spent there is an error and no verdict.
//!
//! Deliberately absent: an index over constants. It would make thousands of comparisons of one field cheap that are
//! cheap already, and could not help with `not`, `contains` and arrays.

mod constant;
mod document;
mod evaluate;
mod explain;
mod number;
mod parse;
mod path;
mod plan;
mod scan;
mod tape;

use core::fmt;

use serde_json::Value;

pub use constant::Constant;
pub use document::{Document, Field};
pub use evaluate::{Reading, TooCostly};
pub use explain::{NodeVerdict, Unexplained};
use parse::Limits;
pub use plan::{FilterKey, FilterSet};
pub use scan::Malformed;

use crate::violation::Violations;

/// A filter that was valid when it was made: within the limits of [`crate::limits`] of that day, and with nothing in
/// it that was not understood.
///
/// It displays as its canonical JSON: without blanks, keys in a fixed order, numbers as they were given. Reading that
/// gives the same filter again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    root: Node,
}

/// One node of a filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Node {
    Equals(Constant),
    NotEquals(Constant),
    IsNull,
    NonNull,
    Contains(Constant),
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Field {
        name: Box<str>,
        filter: Box<Self>,
    },
    AnyElement(Box<Self>),
    /// A filter as a later version wrote it.
    Unknown(Box<str>),
}

impl Filter {
    /// Reads a filter's JSON text.
    ///
    /// # Errors
    /// Everything that is wrong, by the path of the bad node; paths begin with `name`, for example `extra_filter`.
    pub fn parse(text: &str, name: &str) -> Result<Self, Violations> {
        let root = parse::parse(text, name, Limits::Today)?;
        Ok(Self { root })
    }

    /// Reads a filter that a record keeps: with no limits on its size. One that this version does not understand is
    /// kept as it is, and holds for nothing: nobody is sent what they may have wished to be spared.
    #[must_use]
    pub fn kept(text: &str) -> Self {
        let root = parse::parse(text, "", Limits::None);
        Self {
            root: root.unwrap_or_else(|_| Node::Unknown(text.into())),
        }
    }
}

impl Node {
    /// Its `type`.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Equals(_) => "equals",
            Self::NotEquals(_) => "not_equals",
            Self::IsNull => "is_null",
            Self::NonNull => "non_null",
            Self::Contains(_) => "contains",
            Self::And(_) => "and",
            Self::Or(_) => "or",
            Self::Not(_) => "not",
            Self::Field { .. } => "field_accessor",
            Self::AnyElement(_) => "any_array_value",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Unknown(text) = self {
            return f.write_str(text);
        }
        write!(f, r#"{{"type":"{}""#, self.kind())?;
        match self {
            Self::Equals(value) | Self::NotEquals(value) | Self::Contains(value) => {
                write!(f, r#","value":{value}"#)?;
            }
            Self::IsNull | Self::NonNull | Self::Unknown(_) => {}
            Self::And(filters) | Self::Or(filters) => {
                f.write_str(r#","filters":["#)?;
                for (index, filter) in filters.iter().enumerate() {
                    write!(f, "{}{filter}", if index == 0 { "" } else { "," })?;
                }
                f.write_str("]")?;
            }
            Self::Not(filter) | Self::AnyElement(filter) => write!(f, r#","filter":{filter}"#)?,
            Self::Field { name, filter } => {
                write!(f, r#","field":{},"filter":{filter}"#, Value::from(&**name))?;
            }
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests;
