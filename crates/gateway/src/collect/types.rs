//! Collect's types of events, and the entries of a subscription that they stand for.
//!
//! A type `t` is an event of object type `collect` and action `t`. The names are Collect's
//! own, misspellings and all.
//!
//! | entry | is shown as | when types are given |
//! |---|---|---|
//! | `collect`, a type | the type | stays with its filter if the type is among them, else goes |
//! | `collect`, any action | all types | stays if all are among them; else becomes one for each of them, with its filter |
//! | any object, a type or any action | the type; all types | stays; types that come from it cannot be taken away here |
//! | of another object | not | stays |

use sidehook_api::v1::EventPattern;

/// All types.
pub(super) const TYPES: [&str; 25] = [
    "created",
    "statusChanged",
    "portalSubmited",
    "dueDateChanged",
    "portalViewed",
    "docUploaded",
    "docDeleted",
    "docParsed",
    "itemApproved",
    "itemRejected",
    "itemReopened",
    "itemCancelValidation",
    "formSubmited",
    "emailSent",
    "emailClicked",
    "emailBounced",
    "emailOpened",
    "emailMarkedAsSpam",
    "emailBlocked",
    "emailUnsub",
    "smsSent",
    "smsDelivered",
    "smsClicked",
    "smsFailed",
    "smsUndelivered",
];

const OBJECT: &str = "collect";
const ANY: &str = "*";

/// The type of this name.
pub(super) fn known(name: &str) -> Option<&'static str> {
    TYPES.into_iter().find(|known| *known == name)
}

fn covers(pattern: &EventPattern, name: &str) -> bool {
    (pattern.object_type == OBJECT || pattern.object_type == ANY)
        && (pattern.action == name || pattern.action == ANY)
}

/// The types that a subscription gets, in Collect's order.
pub(super) fn shown(patterns: &[EventPattern]) -> Vec<&'static str> {
    let gets = |name: &&str| patterns.iter().any(|pattern| covers(pattern, name));
    TYPES.into_iter().filter(gets).collect()
}

fn entry(action: &str, extra_filter: &str) -> EventPattern {
    EventPattern {
        object_type: OBJECT.to_owned(),
        action: action.to_owned(),
        extra_filter: extra_filter.to_owned(),
    }
}

/// The entries of a new subscription: those of the types, or one for all of them where
/// none are named.
pub(super) fn new(given: Option<&[&'static str]>) -> Vec<EventPattern> {
    match given {
        None => vec![entry(ANY, "")],
        Some(given) => given.iter().map(|name| entry(name, "")).collect(),
    }
}

/// The entries after exactly these types were asked for.
///
/// # Errors
/// A type that comes from an entry for all objects and is not among them.
pub(super) fn replaced(
    current: &[EventPattern],
    given: &[&'static str],
) -> Result<Vec<EventPattern>, &'static str> {
    let mut entries = Vec::with_capacity(current.len() + given.len());
    let is_given = |name: &str| given.contains(&name);
    for pattern in current {
        if pattern.object_type == ANY {
            let mut from_it = TYPES.into_iter().filter(|name| covers(pattern, name));
            if let Some(name) = from_it.find(|name| !is_given(name)) {
                return Err(name);
            }
        }
        let is_of_collect = pattern.object_type == OBJECT;
        if is_of_collect && pattern.action == ANY && !TYPES.into_iter().all(is_given) {
            entries.extend(given.iter().map(|name| entry(name, &pattern.extra_filter)));
        } else if !is_of_collect || known(&pattern.action).is_none_or(is_given) {
            entries.push(pattern.clone());
        }
    }
    for name in given {
        if !entries.iter().any(|one| covers(one, name)) {
            entries.push(entry(name, ""));
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    fn pattern(object_type: &str, action: &str, extra_filter: &str) -> EventPattern {
        EventPattern {
            object_type: object_type.to_owned(),
            action: action.to_owned(),
            extra_filter: extra_filter.to_owned(),
        }
    }

    #[test]
    fn the_types_are_collects_own() {
        let mut sorted = TYPES;
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(known("portalSubmited"), Some("portalSubmited"));
        for name in ["portalSubmitted", "Created", "created ", "*", ""] {
            assert_eq!(known(name), None, "{name}");
        }
    }

    #[test]
    fn none_named_are_all() {
        assert_eq!(new(None), [pattern("collect", "*", "")]);
        assert_eq!(shown(&new(None)), TYPES);
        assert_eq!(new(Some(&[])), []);
        assert_eq!(shown(&new(Some(&["smsSent"]))), ["smsSent"]);
    }

    #[test]
    fn what_has_no_words_here_stays() {
        let current = [
            pattern("opportunity", "*", "F"),
            pattern("collect", "created", "G"),
            pattern("collect", "smsSent", ""),
            pattern("collect", "archived", ""),
        ];
        let read = replaced(&current, &["smsFailed", "created"]);
        let expected = [
            pattern("opportunity", "*", "F"),
            pattern("collect", "created", "G"),
            pattern("collect", "archived", ""),
            pattern("collect", "smsFailed", ""),
        ];
        assert_eq!(read.as_deref(), Ok(&expected[..]));
    }

    #[test]
    fn all_types_become_some_with_their_filter() {
        let current = [pattern("collect", "*", "F")];
        let read = replaced(&current, &["smsSent"]);
        assert_eq!(
            read.as_deref(),
            Ok(&[pattern("collect", "smsSent", "F")][..])
        );
        let same = replaced(&current, &TYPES);
        assert_eq!(same.as_deref(), Ok(&current[..]));
    }

    #[test]
    fn what_comes_from_an_entry_for_all_objects_cannot_be_taken_away() {
        let current = [pattern("*", "created", "")];
        assert_eq!(replaced(&current, &["smsSent"]), Err("created"));
        let more = replaced(&current, &["created", "smsSent"]).expect("more");
        assert_eq!(
            more,
            [current[0].clone(), pattern("collect", "smsSent", "")]
        );
        assert_eq!(shown(&[pattern("*", "*", "")]), TYPES);
    }

    proptest! {
        #[test]
        fn what_was_asked_for_is_what_is_shown(
            current in prop::collection::vec(
                (select(vec!["collect", "quote"]), select(vec!["*", "created", "smsSent", "other"])), 0..6),
            given in prop::sample::subsequence(TYPES.to_vec(), 0..25),
        ) {
            let current = current.iter().map(|(one, other)| pattern(one, other, "F"));
            let entries = replaced(&current.collect::<Vec<_>>(), &given).expect("nothing of all objects");
            prop_assert_eq!(shown(&entries), given.clone());
            prop_assert_eq!(replaced(&entries, &given), Ok(entries));
        }
    }
}
