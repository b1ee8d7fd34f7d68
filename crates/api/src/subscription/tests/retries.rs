//! Presets of retries: what they give, and what an update leaves of them.

use sidehook_core::retry::{ExhaustionAction, RetryPolicy, RetryPreset};

use super::*;

fn with(policy: v1::RetryPolicy) -> v1::Subscription {
    v1::Subscription {
        retry_policy: Some(policy),
        ..minimal()
    }
}

fn of(preset: v1::RetryPreset) -> v1::RetryPolicy {
    v1::RetryPolicy {
        preset: preset.into(),
        ..v1::RetryPolicy::default()
    }
}

const PRESETS: [(v1::RetryPreset, RetryPreset); 5] = [
    (v1::RetryPreset::Unspecified, RetryPreset::Close),
    (v1::RetryPreset::Close, RetryPreset::Close),
    (v1::RetryPreset::Collect, RetryPreset::Collect),
    (v1::RetryPreset::Hookshot, RetryPreset::Hookshot),
    (
        v1::RetryPreset::StandardWebhooks,
        RetryPreset::StandardWebhooks,
    ),
];

#[test]
fn a_preset_by_itself_is_shown_with_all_that_it_gives() {
    for (wire, preset) in PRESETS {
        let made = new(&with(of(wire))).unwrap();
        assert_eq!(made.retry_policy, RetryPolicy::of(preset), "{wire:?}");
        let shown = to_proto(&made).retry_policy.unwrap();
        assert!(shown.preset != 0 && shown.on_exhausted != 0);
        assert!(shown.initial_backoff.is_some() && shown.max_backoff.is_some());
        assert_eq!(new(&with(shown)).unwrap(), made, "and means the same again");
    }
}

#[test]
fn what_is_given_counts_before_the_preset() {
    let given = v1::RetryPolicy {
        max_attempts: 7,
        max_age: seconds(3_600),
        on_exhausted: v1::ExhaustionAction::Drop.into(),
        ..of(v1::RetryPreset::Collect)
    };
    let policy = new(&with(given)).unwrap().retry_policy;
    assert_eq!(policy.preset(), RetryPreset::Collect);
    assert_eq!(policy.max_attempts(), Some(7));
    assert_eq!(policy.max_age(), Duration::from_secs(3_600));
    assert_eq!(policy.on_exhausted(), ExhaustionAction::Drop);
    assert_eq!(policy.max_backoff(), RetryPolicy::default().max_backoff());
}

#[test]
fn another_preset_takes_along_what_nobody_chose() {
    let chosen = v1::RetryPolicy {
        max_attempts: 7,
        ..v1::RetryPolicy::default()
    };
    let current = new(&with(chosen)).unwrap();
    let patch = with(of(v1::RetryPreset::Hookshot));
    for mask in [&["retry_policy.preset"][..], &[]] {
        let policy = update(&current, &patch, mask).retry_policy;
        let hookshot = RetryPolicy::of(RetryPreset::Hookshot);
        assert_eq!(policy.max_attempts(), Some(7), "that was chosen");
        assert_eq!(policy.max_age(), hookshot.max_age());
        assert_eq!(policy.initial_backoff(), hookshot.initial_backoff());
        assert_eq!(policy.max_backoff(), hookshot.max_backoff());
    }
    // What the same change names is chosen, though it be the old preset's.
    let patch = with(v1::RetryPolicy {
        max_age: seconds(72 * 3_600),
        ..of(v1::RetryPreset::Collect)
    });
    let mask = ["retry_policy.preset", "retry_policy.max_age"];
    let policy = update(&current, &patch, &mask).retry_policy;
    assert_eq!(policy.max_age(), Duration::from_secs(72 * 3_600));
    assert_eq!(policy.on_exhausted(), ExhaustionAction::Pause);
    // And back: naming the preset without one falls to the default.
    let collect = new(&with(of(v1::RetryPreset::Collect))).unwrap();
    let nothing = v1::Subscription::default();
    let policy = update(&collect, &nothing, &["retry_policy.preset"]).retry_policy;
    assert_eq!(policy, RetryPolicy::default());
    // A change of something else leaves all as it is.
    let policy = update(&collect, &minimal(), &["url"]).retry_policy;
    assert_eq!(policy, collect.retry_policy);
}

#[test]
fn numbers_that_stand_for_nothing_are_refused() {
    let wrong = v1::RetryPolicy {
        on_exhausted: 9,
        preset: 9,
        ..v1::RetryPolicy::default()
    };
    assert_eq!(
        fields(new(&with(wrong))),
        [
            "subscription.retry_policy.on_exhausted",
            "subscription.retry_policy.preset"
        ]
    );
}
