//! Events as Hookshot names them: `subject`, `subject:action`, or `*`.
//!
//! | text | object type | action |
//! |---|---|---|
//! | `application_form` | `application_form` | any |
//! | `application_form:created` | `application_form` | `created` |
//! | `*` | any | any |
//! | `*:created`, of another API's subscription | any | `created` |
//!
//! A filter has no words here. It is kept as long as its entry's text is: of entries that
//! have the same text one is shown, and all of them stay or go.

use sidehook_api::v1::EventPattern;

const ANY: &str = "*";

/// The text of an entry.
fn text(pattern: &EventPattern) -> String {
    match (&*pattern.object_type, &*pattern.action) {
        (subject, ANY) => subject.to_owned(),
        (subject, action) => format!("{subject}:{action}"),
    }
}

/// The texts of a subscription's entries, each once.
pub(super) fn shown(patterns: &[EventPattern]) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for text in patterns.iter().map(text) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

/// The entries that these texts stand for, with what `current` has of them.
pub(super) fn read(texts: &[String], current: &[EventPattern]) -> Vec<EventPattern> {
    let mut patterns: Vec<EventPattern> = Vec::new();
    for given in texts {
        let (object_type, action) = given.split_once(':').unwrap_or((given, ANY));
        let new = EventPattern {
            object_type: object_type.to_owned(),
            action: action.to_owned(),
            extra_filter: String::new(),
        };
        let same =
            |one: &&EventPattern| one.object_type == new.object_type && one.action == new.action;
        if patterns.iter().any(|one| same(&one)) {
            continue;
        }
        let before = patterns.len();
        patterns.extend(current.iter().filter(same).cloned());
        if patterns.len() == before {
            patterns.push(new);
        }
    }
    patterns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(object_type: &str, action: &str, extra_filter: &str) -> EventPattern {
        EventPattern {
            object_type: object_type.to_owned(),
            action: action.to_owned(),
            extra_filter: extra_filter.to_owned(),
        }
    }

    fn texts(of: &[&str]) -> Vec<String> {
        of.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn each_form_stands_for_an_entry() {
        let given = texts(&["application_form", "quote:created", "*", "*:sent"]);
        let read = read(&given, &[]);
        let expected = [
            pattern("application_form", "*", ""),
            pattern("quote", "created", ""),
            pattern("*", "*", ""),
            pattern("*", "sent", ""),
        ];
        assert_eq!(read, expected);
        assert_eq!(shown(&read), given);
    }

    #[test]
    fn entries_keep_their_filters_as_long_as_they_are_named() {
        let current = [
            pattern("quote", "created", "F"),
            pattern("quote", "created", "G"),
            pattern("form", "*", "H"),
        ];
        assert_eq!(shown(&current), ["quote:created", "form"]);
        let read = read(&texts(&["*", "quote:created", "*"]), &current);
        let expected = [
            pattern("*", "*", ""),
            pattern("quote", "created", "F"),
            pattern("quote", "created", "G"),
        ];
        assert_eq!(read, expected);
    }
}
