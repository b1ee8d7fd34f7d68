//! Examples, and a naive scan beside the index.

use proptest::prelude::*;

use super::*;

fn pattern(object_type: &str, action: &str) -> Pattern {
    Pattern {
        object_type: Term::parse(object_type).expect("a term"),
        action: Term::parse(action).expect("a term"),
        extra_filter: None,
    }
}

/// Holds where the field `n` of the payload is this.
fn filtered(pattern: Pattern, n: u32) -> Pattern {
    let equals = format!(r#"{{"type":"equals","value":{n}}}"#);
    let field =
        |name, filter| format!(r#"{{"type":"field_accessor","field":"{name}","filter":{filter}}}"#);
    let filter = Filter::parse(&field("data", field("n", equals)), "extra_filter");
    Pattern {
        extra_filter: Some(Arc::new(filter.expect("a filter"))),
        ..pattern
    }
}

fn event(object_type: &str, action: &str, data: String) -> Event {
    let word = |text: &str| Word::new(text.to_owned()).expect("a word");
    Event {
        idempotency_key: String::new(),
        object_type: word(object_type),
        action: word(action),
        object_id: String::new(),
        user_id: String::new(),
        lead_id: String::new(),
        request_id: String::new(),
        campaign_id: String::new(),
        organization_id: String::new(),
        occurred_at: None,
        data: data.into(),
        previous_data: "".into(),
        changed_fields: Vec::new(),
        meta: "".into(),
    }
}

/// The index of subscriptions without a scope.
fn index_of(subscriptions: &[(SubscriptionNumber, Vec<Pattern>)]) -> MatchIndex {
    MatchIndex::build(subscriptions.iter().map(|(number, patterns)| Wanted {
        number: *number,
        campaign_id: "",
        patterns,
    }))
}

fn matches_of(index: &MatchIndex, event: &Event) -> Vec<u32> {
    let mut out = vec![SubscriptionNumber(99)];
    let matched = index.matches(event, TenantId::from_bits(1), &mut out);
    assert_eq!(matched, Ok(()));
    out.into_iter().map(|number| number.0).collect()
}

fn matches(index: &MatchIndex, object_type: &str, action: &str) -> Vec<u32> {
    matches_of(index, &event(object_type, action, "{}".to_owned()))
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
    let index = index_of(&subscriptions);
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
    let index = index_of(&[(SubscriptionNumber(1), all.to_vec())]);
    assert_eq!(matches(&index, "sidehook.test", "requested"), [0_u32; 0]);
    assert_eq!(matches(&index, "sidehook.testing", "requested"), [1]);
}

#[test]
fn a_scope_leaves_events_of_its_campaign_alone() {
    let (any, created) = ([pattern("*", "*")], [pattern("lead", "created")]);
    let filtered = [filtered(pattern("lead", "*"), 1)];
    let wanted = |number, campaign_id, patterns| Wanted {
        number: SubscriptionNumber(number),
        campaign_id,
        patterns,
    };
    let index = MatchIndex::build([
        wanted(1, "", &created),
        wanted(2, "spring", &any),
        wanted(3, "spring", &created),
        wanted(4, "Spring", &any),
        wanted(5, "autumn", &filtered),
    ]);
    for (campaign, action, expected) in [
        ("", "created", &[1][..]),
        ("spring", "created", &[1, 2, 3]),
        ("spring", "deleted", &[2]),
        ("autumn", "created", &[1, 5]),
        ("winter", "created", &[1]),
        ("winter", "deleted", &[]),
    ] {
        let mut event = event("lead", action, r#"{"n":1}"#.to_owned());
        event.campaign_id = campaign.to_owned();
        assert_eq!(matches_of(&index, &event), expected, "{campaign} {action}");
    }
}

#[test]
fn a_filter_narrows_its_own_pattern_only() {
    let created = || pattern("lead", "created");
    let subscriptions = [
        (SubscriptionNumber(1), vec![filtered(created(), 1)]),
        (SubscriptionNumber(2), vec![filtered(created(), 2)]),
        (
            SubscriptionNumber(3),
            vec![filtered(created(), 1), filtered(pattern("*", "*"), 2)],
        ),
        (
            SubscriptionNumber(4),
            vec![filtered(created(), 1), created()],
        ),
        (
            SubscriptionNumber(5),
            vec![
                filtered(created(), 1),
                filtered(created(), 1),
                filtered(created(), 3),
            ],
        ),
        (
            SubscriptionNumber(6),
            vec![filtered(created(), 1), pattern("*", "created")],
        ),
    ];
    let index = index_of(&subscriptions);
    let matches = |action, data: &str| matches_of(&index, &event("lead", action, data.to_owned()));
    assert_eq!(matches("created", r#"{"n":1}"#), [1, 3, 4, 5, 6]);
    assert_eq!(matches("created", r#"{"n":2.0}"#), [2, 3, 4, 6]);
    assert_eq!(matches("created", r#"{"n":3}"#), [4, 5, 6]);
    assert_eq!(matches("created", "{}"), [4, 6]);
    assert_eq!(matches("deleted", r#"{"n":2}"#), [3]);
    assert_eq!(matches("created", "no JSON"), [4, 6]);
}

#[test]
fn an_event_on_which_filters_take_too_long_is_wanted_by_nobody_known() {
    let costly = |n: u32| {
        let filter = format!(
            r#"{{"type":"field_accessor","field":"data","filter":{{"type":"contains","value":{n}}}}}"#
        );
        Pattern {
            extra_filter: Some(Arc::new(
                Filter::parse(&filter, "extra_filter").expect("a filter"),
            )),
            ..pattern("lead", "*")
        }
    };
    let subscriptions: Vec<_> = (1..100)
        .map(|n| (SubscriptionNumber(n), vec![costly(n)]))
        .chain([(SubscriptionNumber(0), vec![pattern("*", "*")])])
        .collect();
    let index = index_of(&subscriptions);
    let mut out = Vec::new();
    let hostile = event("lead", "created", format!("[1{}]", ",0".repeat(100_000)));
    let matched = index.matches(&hostile, TenantId::from_bits(1), &mut out);
    assert_eq!((matched, out), (Err(TooCostly), Vec::new()));
    let usual = event("lead", "created", "[2,5]".to_owned());
    assert_eq!(matches_of(&index, &usual), [0, 2, 5]);
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
            (
                0..40_u32,
                "[cd]?",
                proptest::collection::vec(("[ab*]", "[xy*]", 0..5_u32), 0..6),
            ),
            0..30,
        ),
        campaign in "[cde]?",
        object_type in "[abc]",
        action in "[xyz]",
        n in 0..3_u32,
    ) {
        let holds = |filter: u32| filter > 2 || filter == n;
        let compiled: Vec<(SubscriptionNumber, &str, Vec<Pattern>)> = subscriptions
            .iter()
            .map(|(number, scope, patterns)| {
                let compile = |(object_type, action, filter): &(String, String, u32)| {
                    let pattern = pattern(object_type, action);
                    if *filter > 2 { pattern } else { filtered(pattern, *filter) }
                };
                let patterns = patterns.iter().map(compile).collect();
                (SubscriptionNumber(*number), scope.as_str(), patterns)
            })
            .collect();
        let index = MatchIndex::build(compiled.iter().map(|(number, campaign_id, patterns)| Wanted {
            number: *number,
            campaign_id,
            patterns,
        }));
        let scan: std::collections::BTreeSet<u32> = subscriptions
            .iter()
            .filter(|(_, scope, patterns)| {
                let wanted = |(t, a, filter): &(String, String, u32)| {
                    pattern(t, a).matches(&object_type, &action) && holds(*filter)
                };
                is_in_scope(scope, &campaign) && patterns.iter().any(wanted)
            })
            .map(|(number, ..)| *number)
            .collect();
        let mut event = event(&object_type, &action, format!(r#"{{"n":{n}}}"#));
        event.campaign_id = campaign;
        prop_assert_eq!(matches_of(&index, &event), Vec::from_iter(scan));
    }
}
