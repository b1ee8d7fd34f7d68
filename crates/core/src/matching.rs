//! Which subscriptions want an event.
//!
//! A tenant's active subscriptions are compiled into a [`MatchIndex`] once per
//! change; an event then costs at most four look-ups, however many subscriptions
//! there are. Test events are not matched: they are addressed to one subscription.

use core::fmt;
use std::collections::HashMap;

use crate::{
    event::{TEST_OBJECT_TYPE, Word, WordError, is_reserved},
    id::SubscriptionNumber,
};

/// One half of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Term {
    /// `*`.
    Any,
    /// Exactly this.
    Only(Word),
}

impl Term {
    /// Reads `*` or a word.
    ///
    /// # Errors
    /// What is wrong with the word.
    pub fn parse(text: &str) -> Result<Self, WordError> {
        if text == "*" {
            Ok(Self::Any)
        } else {
            Word::new(text.to_owned()).map(Self::Only)
        }
    }

    /// `*` or a word, as a record keeps it, unchecked.
    #[must_use]
    pub fn kept(text: String) -> Self {
        if text == "*" {
            Self::Any
        } else {
            Self::Only(Word::kept(text))
        }
    }

    /// Reads `*` or an object type that publishers may use.
    ///
    /// # Errors
    /// What is wrong with the word.
    pub fn parse_object_type(text: &str) -> Result<Self, WordError> {
        if is_reserved(text) {
            Err(WordError::Reserved)
        } else {
            Self::parse(text)
        }
    }

    /// The text: `*` or the word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Any => "*",
            Self::Only(word) => word.as_str(),
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(word) => word.as_str() == text,
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which events are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// The kind of object.
    pub object_type: Term,
    /// What happened.
    pub action: Term,
}

impl Pattern {
    /// Whether an event of this type and action is wanted.
    #[must_use]
    pub fn matches(&self, object_type: &str, action: &str) -> bool {
        object_type != TEST_OBJECT_TYPE.as_str()
            && self.object_type.matches(object_type)
            && self.action.matches(action)
    }
}

/// The patterns of one tenant's active subscriptions, compiled.
#[derive(Clone, Debug, Default)]
pub struct MatchIndex {
    by_type: HashMap<Word, ByAction>,
    any_type: ByAction,
}

/// Sorted numbers, each once per list.
#[derive(Clone, Debug, Default)]
struct ByAction {
    by_action: HashMap<Word, Vec<SubscriptionNumber>>,
    any_action: Vec<SubscriptionNumber>,
}

impl ByAction {
    fn lists(&self, action: &str) -> [&[SubscriptionNumber]; 2] {
        [
            self.by_action.get(action).map_or(&[], Vec::as_slice),
            &self.any_action,
        ]
    }

    fn sort(&mut self) {
        for list in self.by_action.values_mut().chain([&mut self.any_action]) {
            list.sort_unstable();
            list.dedup();
        }
    }
}

impl MatchIndex {
    /// Compiles the patterns of active subscriptions.
    #[must_use]
    pub fn build<'a>(
        subscriptions: impl IntoIterator<Item = (SubscriptionNumber, &'a [Pattern])>,
    ) -> Self {
        let mut index = Self::default();
        for (number, patterns) in subscriptions {
            for pattern in patterns {
                let actions = match &pattern.object_type {
                    Term::Any => &mut index.any_type,
                    Term::Only(word) => index.by_type.entry(word.clone()).or_default(),
                };
                match &pattern.action {
                    Term::Any => &mut actions.any_action,
                    Term::Only(word) => actions.by_action.entry(word.clone()).or_default(),
                }
                .push(number);
            }
        }
        for actions in index.by_type.values_mut().chain([&mut index.any_type]) {
            actions.sort();
        }
        index
    }

    /// Puts the subscriptions that want such an event into `out`, sorted, each once;
    /// what was in `out` is gone. Allocates only when `out` has to grow.
    pub fn matches(&self, object_type: &str, action: &str, out: &mut Vec<SubscriptionNumber>) {
        out.clear();
        if object_type == TEST_OBJECT_TYPE.as_str() {
            return;
        }
        let mut lists = 0;
        let typed = self.by_type.get(object_type);
        for actions in typed.into_iter().chain([&self.any_type]) {
            for list in actions.lists(action) {
                out.extend_from_slice(list);
                lists += usize::from(!list.is_empty());
            }
        }
        if lists > 1 {
            out.sort_unstable();
            out.dedup();
        }
    }
}

#[cfg(test)]
mod tests;
