//! What is compiled agrees with the naive reference, explanations agree with both, and nothing panics.

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::Value;

use super::{
    generate::{aimed, filter as any_filter, payload, written},
    reference, *,
};

/// Rounds of each property: thousands of pairs of filter and payload.
fn many() -> ProptestConfig {
    ProptestConfig {
        cases: 1_000,
        ..ProptestConfig::default()
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect(text)
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn filters_together_agree_with_the_reference(
        filters in prop::collection::vec(any_filter(), 1..12),
        payload in payload(),
        dice in any::<u64>(),
    ) {
        let mut filters = filters;
        let aims = (0..8).map(|turn| aimed(&payload, dice.rotate_left(7 * turn)));
        filters.extend(aims);
        let payload = written(&payload, dice);
        let mut set = FilterSet::default();
        let filters: Vec<(String, FilterKey)> = filters
            .iter()
            .map(|json| {
                let text = written(json, dice.rotate_left(7));
                let key = set.insert(&filter(&text));
                (text, key)
            })
            .collect();
        let document = Document::Json(payload.as_bytes());
        let mut reading = set.read(&document).expect("JSON");
        for (text, key) in filters {
            let expected = reference::holds(&parsed(&text), &parsed(&payload));
            prop_assert_eq!(reading.holds(key), Ok(expected), "{} of {}", text, payload);
        }
    }

    #[test]
    fn explanations_agree_with_the_reference(
        json in any_filter(),
        payload in payload(),
        dice in any::<u64>(),
    ) {
        let (text, payload) = (written(&json, dice), written(&payload, dice.rotate_left(9)));
        let filter = filter(&text);
        let found = filter.explain(&payload).expect("JSON");
        let json = parsed(&text);
        prop_assert_eq!(found.len(), reference::nodes(&json));
        let expected = reference::holds(&json, &parsed(&payload));
        prop_assert_eq!(found[0].holds, Some(expected), "{} of {}", text, payload);
        // Each node that looked at something decides as it would alone.
        for node in &found {
            let Some(verdict) = node.holds else { continue };
            let mut at = &json;
            for step in node.path.split('.').filter(|step| !step.is_empty()) {
                at = match step.split_once('[') {
                    None => &at[step],
                    Some((key, index)) => {
                        let index: usize = index.trim_end_matches(']').parse().expect("an index");
                        &at[key][index]
                    }
                };
            }
            let looked = node.value.map_or(Value::Null, parsed);
            prop_assert_eq!(verdict, reference::holds(at, &looked), "{}", node.path);
        }
    }

    #[test]
    fn printed_and_read_again_it_is_the_same(json in any_filter(), dice in any::<u64>()) {
        let given = filter(&written(&json, dice));
        let printed = given.to_string();
        let again = filter(&printed);
        prop_assert_eq!(&again, &given);
        prop_assert_eq!(again.to_string(), printed.clone());
        prop_assert!(printed.len() <= written(&json, dice).len(), "nothing grows: {}", printed);
    }

    /// Not even for bytes that were never checked.
    #[test]
    fn nothing_panics(
        json in any_filter(),
        payload in payload(),
        dice in any::<u64>(),
        wounds in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut set = FilterSet::default();
        let key = set.insert(&filter(&written(&json, dice)));
        let mut bytes = written(&payload, dice).into_bytes();
        for (place, byte) in wounds {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            if let Ok(mut reading) = set.read(&Document::Json(bytes)) {
                let _ = reading.holds(key);
            }
            let text = String::from_utf8_lossy(bytes);
            let _ = Filter::parse(&text, "extra_filter");
            let _ = filter(IS_NULL).explain(&text);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(
        text in r#"[\[\]{}",:a-f0-9\\ ]{0,40}|\{"type":"(not|and|equals)","(filters?|value)":[\[\]{}",:a-f0-9\\ ]{0,30}\}"#,
    ) {
        let _ = Filter::parse(&text, "extra_filter");
    }
}

/// A generator whose filters hold always or never would prove nothing.
#[test]
fn the_generator_is_worth_its_name() {
    let mut runner = TestRunner::deterministic();
    let (mut held, mut twice) = (0, 0);
    for round in 0..1_000 {
        let draw = |text| written(&text, round);
        let json = any_filter()
            .new_tree(&mut runner)
            .expect("a filter")
            .current();
        let payload = payload()
            .new_tree(&mut runner)
            .expect("a payload")
            .current();
        let (filter, payload) = (draw(json), draw(payload));
        held += usize::from(reference::holds(&parsed(&filter), &parsed(&payload)));
        twice += usize::from(parsed(&payload).to_string().len() * 4 < payload.len() * 3);
    }
    assert!((200..800).contains(&held), "{held} of 1000 hold");
    assert!(
        twice > 50,
        "{twice} of 1000 payloads say more than they mean"
    );
}
