//! What is wrong with an input, field by field.

use core::fmt;

use crate::limits::VIOLATIONS;

/// One wrong field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field's path in the API's own names, for example `events[2].action`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub description: String,
}

/// Everything that is wrong with an input; checks add to it and go on. It keeps the
/// first [`VIOLATIONS`]: a hostile input must not make an endless answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Nothing is wrong yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that `field` is wrong.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        if self.0.len() < VIOLATIONS {
            self.0.push(Violation {
                field: field.into(),
                description: description.into(),
            });
        }
    }

    /// Notes that `field` is wrong unless `holds`.
    pub fn require(&mut self, holds: bool, field: &str, description: &str) {
        if !holds {
            self.add(field, description);
        }
    }

    /// The violations so far.
    #[must_use]
    pub fn as_slice(&self) -> &[Violation] {
        &self.0
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts `prefix` before every path.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        for violation in &mut self.0 {
            violation.field = format!("{prefix}.{}", violation.field);
        }
        self
    }

    /// Adds what another check found.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
        self.0.truncate(VIOLATIONS);
    }

    /// Without those that `of_others` picks. A list that is full stays whole: what is
    /// not in it any more is not known to be somebody else's.
    #[must_use]
    pub fn without(mut self, of_others: impl Fn(&Violation) -> bool) -> Self {
        if self.0.len() < VIOLATIONS {
            self.0.retain(|violation| !of_others(violation));
        }
        self
    }

    /// `value` if nothing is wrong.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(
                f,
                "{separator}{}: {}",
                violation.field, violation.description
            )?;
        }
        Ok(())
    }
}

impl core::error::Error for Violations {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_an_end() {
        let mut violations = Violations::new();
        for index in 0..2 * VIOLATIONS {
            violations.add(format!("events[{index}]"), "wrong");
        }
        let mut both = violations.clone();
        both.extend(violations.under("subscription"));
        assert_eq!(both.as_slice().len(), VIOLATIONS);
        assert_eq!(both.as_slice()[0].field, "events[0]");
        assert!(both.into_result(()).is_err());
    }
}
