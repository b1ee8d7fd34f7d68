//! A mask changes what it names and nothing else.

use super::*;

#[test]
fn nested_paths_change_only_themselves() {
    let current = new(&minimal()).unwrap();
    let patch = v1::Subscription {
        url: "not looked at".to_owned(),
        retry_policy: Some(v1::RetryPolicy {
            max_age: seconds(60),
            ..Default::default()
        }),
        timeouts: Some(v1::Timeouts {
            total: seconds(7),
            ..Default::default()
        }),
        ..v1::Subscription::default()
    };
    let changed = update(
        &current,
        &patch,
        &["retry_policy.max_age", "timeouts.total"],
    );
    assert_eq!(changed.retry_policy.max_age(), Duration::from_secs(60));
    assert_eq!(
        changed.retry_policy.max_backoff(),
        Duration::from_secs(20 * 60)
    );
    assert_eq!(changed.timeouts.total(), Duration::from_secs(7));
    let untouched = Subscription {
        retry_policy: current.retry_policy,
        timeouts: current.timeouts,
        ..changed
    };
    assert_eq!(untouched, current);
}

#[test]
fn a_named_field_that_is_not_set_goes_back_to_its_default() {
    let proto = v1::Subscription {
        max_in_flight: 5,
        verify_ssl: Some(false),
        headers: vec![header("X-A", "1")],
        timeouts: Some(v1::Timeouts {
            total: seconds(7),
            dns: seconds(1),
            connect: seconds(1),
        }),
        ..minimal()
    };
    let current = new(&proto).unwrap();
    let nothing = v1::Subscription::default();
    let mask = [
        "max_in_flight",
        "verify_ssl",
        "headers",
        "timeouts",
        "retry_policy.max_age",
    ];
    let changed = update(&current, &nothing, &mask);
    assert_eq!(
        changed,
        Subscription {
            ..new(&minimal()).unwrap()
        }
    );
    assert_eq!(
        fields(apply_update(&current, &nothing, &paths(&["url"]))),
        ["subscription.url"]
    );
    let status = apply_update(&current, &nothing, &paths(&["status"]));
    assert_eq!(fields(status), ["subscription.status"]);
}

#[test]
fn an_empty_mask_stands_for_what_is_set() {
    let current = new(&minimal()).unwrap();
    let patch = v1::Subscription {
        description: "new".to_owned(),
        retry_policy: Some(v1::RetryPolicy {
            max_attempts: 3,
            ..Default::default()
        }),
        signing: Some(v1::Signing::default()),
        ..v1::Subscription::default()
    };
    let changed = update(&current, &patch, &[]);
    assert_eq!(changed.retry_policy.max_attempts(), Some(3));
    assert_eq!(
        changed.retry_policy.max_age(),
        current.retry_policy.max_age()
    );
    assert_eq!(
        changed.signing, current.signing,
        "an empty message sets nothing"
    );
    assert_eq!(changed.url, current.url);
    assert_eq!(update(&current, &v1::Subscription::default(), &[]), current);
}

#[test]
fn a_scope_is_given_changed_and_taken_away() {
    let spring = v1::Subscription {
        campaign_id: "spring".to_owned(),
        ..minimal()
    };
    let current = new(&spring).unwrap();
    assert_eq!(to_proto(&current).campaign_id, "spring");
    let autumn = v1::Subscription {
        campaign_id: "autumn".to_owned(),
        ..v1::Subscription::default()
    };
    for mask in [&["campaign_id"][..], &[]] {
        assert_eq!(update(&current, &autumn, mask).campaign_id, "autumn");
    }
    assert_eq!(update(&current, &minimal(), &[]), current);
    let nothing = v1::Subscription::default();
    let changed = update(&current, &nothing, &["campaign_id"]);
    assert_eq!(changed, new(&minimal()).unwrap());
}

#[test]
fn wrong_paths_are_named() {
    let current = new(&minimal()).unwrap();
    let mask = paths(&["url", "id", "retry_policy.none", "*", "", "signing.close"]);
    let patch = v1::Subscription {
        url: "https://example.com/new".to_owned(),
        ..minimal()
    };
    let violations = apply_update(&current, &patch, &mask).unwrap_err();
    assert!(
        violations
            .as_slice()
            .iter()
            .all(|wrong| wrong.field == "update_mask")
    );
    for (wrong, word) in violations.as_slice().iter().zip([
        "`id` is output only",
        "`retry_policy.none` is not",
        "`*` is not",
        "`` is not",
        "`signing.close` is not the scheme",
    ]) {
        assert!(wrong.description.starts_with(word), "{}", wrong.description);
    }
    assert_eq!(violations.as_slice().len(), 5);
}

#[test]
fn a_path_counts_once_and_a_mask_has_an_end() {
    let current = new(&minimal()).unwrap();
    let patch = v1::Subscription {
        events: vec![pattern("lead", "*"); 100],
        ..v1::Subscription::default()
    };
    let repeated = |count| vec!["events"; count];
    assert_eq!(update(&current, &patch, &repeated(100)).events.len(), 100);
    let refused = apply_update(&current, &patch, &paths(&repeated(101)));
    assert_eq!(fields(refused), ["update_mask"]);
}

#[test]
fn lists_that_are_too_long_are_refused_by_their_length_alone() {
    let long = v1::Subscription {
        events: vec![pattern("", ""); 101],
        headers: vec![header("", ""); 21],
        ..minimal()
    };
    let both = ["subscription.events", "subscription.headers"];
    assert_eq!(fields(new(&long)), both);
    let current = new(&minimal()).unwrap();
    assert_eq!(fields(apply_update(&current, &long, &[])), both);
    let named = apply_update(&current, &long, &paths(&["headers"]));
    assert_eq!(fields(named), ["subscription.headers"]);
    update(&current, &long, &["url"]);
}
