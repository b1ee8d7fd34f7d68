//! Which subscriptions want an event.
//!
//! A tenant's active subscriptions are compiled into a [`MatchIndex`] once per
//! change; an event then costs at most four look-ups, and four more if it is of a
//! campaign, however many subscriptions there are. Those of other campaigns or types
//! are not even seen. Only if a pattern that fits has a filter is the event's payload read, once
//! for all of them. Test events are not matched: they are addressed to one subscription.

use core::fmt;
use std::{collections::HashMap, sync::Arc};

use crate::{
    event::{Event, TEST_OBJECT_TYPE, Word, WordError, is_reserved},
    filter::{Document, Filter, FilterKey, FilterSet, TooCostly},
    id::{SubscriptionNumber, TenantId},
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
    /// What must hold beside; `None`: nothing.
    pub extra_filter: Option<Arc<Filter>>,
}

impl Pattern {
    /// Whether an event of this type and action is wanted, but for the filter.
    #[must_use]
    pub fn matches(&self, object_type: &str, action: &str) -> bool {
        object_type != TEST_OBJECT_TYPE.as_str()
            && self.object_type.matches(object_type)
            && self.action.matches(action)
    }
}

/// Bytes of the filters of these patterns, as JSON text.
#[must_use]
pub fn filter_bytes<'a>(patterns: impl IntoIterator<Item = &'a Pattern>) -> usize {
    let filters = patterns.into_iter();
    let filters = filters.filter_map(|pattern| pattern.extra_filter.as_ref());
    filters.map(|filter| filter.to_string().len()).sum()
}

/// What one active subscription wants.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The subscription.
    pub number: SubscriptionNumber,
    /// Its scope: only events of this campaign, or all if it is empty.
    pub campaign_id: &'a str,
    /// Which of them: those that fit any pattern.
    pub patterns: &'a [Pattern],
}

/// Whether a subscription with this scope wants events of this campaign, which may be
/// none (``).
#[must_use]
pub fn is_in_scope(scope: &str, campaign_id: &str) -> bool {
    scope.is_empty() || scope == campaign_id
}

/// The patterns of one tenant's active subscriptions, compiled.
#[derive(Debug, Default)]
pub struct MatchIndex {
    of_all: ByType,
    by_campaign: HashMap<Box<str>, ByType>,
    filters: FilterSet,
}

/// What those with one scope want.
#[derive(Debug, Default)]
struct ByType {
    by_type: HashMap<Word, ByAction>,
    any_type: ByAction,
}

#[derive(Debug, Default)]
struct ByAction {
    by_action: HashMap<Word, Wishes>,
    any_action: Wishes,
}

/// Who wants the events of one pattern. Sorted by number.
#[derive(Debug, Default)]
struct Wishes {
    /// Those that want all of them, each once.
    all: Vec<SubscriptionNumber>,
    /// Those that want the ones for which the filter holds.
    filtered: Vec<(SubscriptionNumber, FilterKey)>,
}

impl ByType {
    fn insert(&mut self, pattern: &Pattern) -> &mut Wishes {
        let actions = match &pattern.object_type {
            Term::Any => &mut self.any_type,
            Term::Only(word) => self.by_type.entry(word.clone()).or_default(),
        };
        match &pattern.action {
            Term::Any => &mut actions.any_action,
            Term::Only(word) => actions.by_action.entry(word.clone()).or_default(),
        }
    }

    fn sort(&mut self) {
        for actions in self.by_type.values_mut().chain([&mut self.any_type]) {
            let named = actions.by_action.values_mut();
            named
                .chain([&mut actions.any_action])
                .for_each(Wishes::sort);
        }
    }

    fn wishes(&self, object_type: &str, action: &str) -> impl Iterator<Item = &Wishes> {
        let typed = self.by_type.get(object_type).into_iter();
        typed
            .chain([&self.any_type])
            .flat_map(move |actions| actions.wishes(action))
    }
}

impl ByAction {
    fn wishes(&self, action: &str) -> impl Iterator<Item = &Wishes> {
        let named = self.by_action.get(action);
        named.into_iter().chain([&self.any_action])
    }
}

impl Wishes {
    fn sort(&mut self) {
        self.all.sort_unstable();
        self.all.dedup();
        let Self { all, filtered } = self;
        filtered.retain(|(number, _)| all.binary_search(number).is_err());
        filtered.sort_unstable();
        filtered.dedup();
    }
}

impl MatchIndex {
    /// Compiles the patterns of active subscriptions.
    #[must_use]
    pub fn build<'a>(subscriptions: impl IntoIterator<Item = Wanted<'a>>) -> Self {
        let mut index = Self::default();
        for wanted in subscriptions {
            let number = wanted.number;
            let scope = match wanted.campaign_id {
                "" => &mut index.of_all,
                campaign => index.by_campaign.entry(campaign.into()).or_default(),
            };
            for pattern in wanted.patterns {
                let wishes = scope.insert(pattern);
                match &pattern.extra_filter {
                    None => wishes.all.push(number),
                    Some(filter) => wishes.filtered.push((number, index.filters.insert(filter))),
                }
            }
        }
        index.of_all.sort();
        index.by_campaign.values_mut().for_each(ByType::sort);
        index
    }

    /// Puts the subscriptions of `tenant` that want the event into `out`, sorted, each
    /// once; what was in `out` is gone. Without filters it allocates only when `out` has
    /// to grow. No filter holds for an event whose payloads are not JSON: publishing
    /// refuses those.
    ///
    /// # Errors
    /// When the filters take too many steps on this event: then `out` is empty, for
    /// nobody knows who wants it.
    pub fn matches(
        &self,
        event: &Event,
        tenant: TenantId,
        out: &mut Vec<SubscriptionNumber>,
    ) -> Result<(), TooCostly> {
        out.clear();
        if event.object_type == TEST_OBJECT_TYPE {
            return Ok(());
        }
        let (mut lists, mut is_filtered) = (0, false);
        for wishes in self.wishes(event) {
            out.extend_from_slice(&wishes.all);
            lists += usize::from(!wishes.all.is_empty());
            is_filtered |= !wishes.filtered.is_empty();
        }
        if is_filtered && let Err(error) = self.filter(event, tenant, out) {
            out.clear();
            return Err(error);
        }
        if lists > 1 || is_filtered {
            out.sort_unstable();
            out.dedup();
        }
        Ok(())
    }

    /// Whether matching may have to read payloads: then it takes about 100 µs for an event
    /// instead of one, and as much as [`crate::limits::FILTER_STEPS`] allows at most.
    #[must_use]
    pub const fn has_filters(&self) -> bool {
        !self.filters.is_empty()
    }

    fn filter(
        &self,
        event: &Event,
        tenant: TenantId,
        out: &mut Vec<SubscriptionNumber>,
    ) -> Result<(), TooCostly> {
        let organization = event.organization(tenant);
        let members = event.members(&organization);
        let Ok(mut reading) = self.filters.read(&Document::Members(&members)) else {
            return Ok(());
        };
        for wishes in self.wishes(event) {
            for (number, filter) in &wishes.filtered {
                if reading.holds(*filter)? {
                    out.push(*number);
                }
            }
        }
        Ok(())
    }

    fn wishes<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = &'a Wishes> {
        let campaign = event.campaign_id.as_str();
        let of_campaign = match campaign {
            "" => None,
            campaign => self.by_campaign.get(campaign),
        };
        let (object_type, action) = (event.object_type.as_str(), event.action.as_str());
        let scopes = core::iter::once(&self.of_all).chain(of_campaign);
        scopes.flat_map(move |scope| scope.wishes(object_type, action))
    }
}

#[cfg(test)]
mod tests;
