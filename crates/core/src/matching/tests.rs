//! Examples, and a naive scan beside the index.

use proptest::prelude::*;

use super::*;

fn pattern(object_type: &str, action: &str) -> Pattern {
    Pattern {
        object_type: Term::parse(object_type).expect("a term"),
        action: Term::parse(action).expect("a term"),
    }
}

fn matches(index: &MatchIndex, object_type: &str, action: &str) -> Vec<u32> {
    let mut out = vec![SubscriptionNumber(99)];
    index.matches(object_type, action, &mut out);
    out.into_iter().map(|number| number.0).collect()
}

#[test]
fn words_and_stars() {
    let subscriptions = [
        (SubscriptionNumber(7), vec![pattern("*", "*")]),
        (
            SubscriptionNumber(3),
            vec![pattern("lead", "*"), pattern("lead", "created")],
        ),
        (SubscriptionNumber(5), vec![pattern("*", "created")]),
        (SubscriptionNumber(1), vec![pattern("lead", "created")]),
    ];
    let index = MatchIndex::build(subscriptions.iter().map(|(n, p)| (*n, p.as_slice())));
    assert_eq!(matches(&index, "lead", "created"), [1, 3, 5, 7]);
    assert_eq!(matches(&index, "lead", "deleted"), [3, 7]);
    assert_eq!(matches(&index, "task", "created"), [5, 7]);
    assert_eq!(matches(&index, "Lead", "Created"), [7]);
    assert_eq!(
        matches(&MatchIndex::default(), "lead", "created"),
        [0_u32; 0]
    );
}

#[test]
fn a_test_event_matches_nothing() {
    let all = [pattern("*", "*")];
    let index = MatchIndex::build([(SubscriptionNumber(1), all.as_slice())]);
    assert_eq!(matches(&index, "sidehook.test", "requested"), [0_u32; 0]);
    assert_eq!(matches(&index, "sidehook.testing", "requested"), [1]);
}

#[test]
fn terms_are_stars_or_words() {
    assert_eq!(Term::parse("*"), Ok(Term::Any));
    assert_eq!(
        Term::parse("lead*"),
        Err(WordError::Character { position: 4 })
    );
    assert_eq!(Term::parse(""), Err(WordError::Empty));
    assert_eq!(
        Term::parse_object_type("sidehook.test"),
        Err(WordError::Reserved)
    );
    assert_eq!(
        Term::parse_object_type("opportunity").map(|term| term.to_string()),
        Ok("opportunity".to_owned())
    );
}

proptest! {
    #[test]
    fn the_index_finds_what_a_scan_finds(
        subscriptions in proptest::collection::vec(
            (0..40_u32, proptest::collection::vec(("[ab*]", "[xy*]"), 0..6)),
            0..30,
        ),
        object_type in "[abc]",
        action in "[xyz]",
    ) {
        let subscriptions: Vec<(SubscriptionNumber, Vec<Pattern>)> = subscriptions
            .iter()
            .map(|(number, patterns)| {
                let patterns = patterns.iter().map(|(t, a)| pattern(t, a)).collect();
                (SubscriptionNumber(*number), patterns)
            })
            .collect();
        let index = MatchIndex::build(subscriptions.iter().map(|(n, p)| (*n, p.as_slice())));
        let scan: std::collections::BTreeSet<u32> = subscriptions
            .iter()
            .filter(|(_, patterns)| patterns.iter().any(|p| p.matches(&object_type, &action)))
            .map(|(number, _)| number.0)
            .collect();
        prop_assert_eq!(matches(&index, &object_type, &action), Vec::from_iter(scan));
    }
}
