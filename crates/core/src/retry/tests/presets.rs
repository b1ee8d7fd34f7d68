//! What each preset promises, over the life of a delivery that always fails.

use super::*;

/// All delays of a receiver that fails every time, the longest that can be drawn, and
/// what becomes of the delivery in the end.
fn failing_always(policy: &RetryPolicy) -> (Vec<u64>, Disposition) {
    let (mut state, mut now, mut delays) = (RetryState::default(), NOW, Vec::new());
    loop {
        let failed = outcome(OutcomeKind::Response, 500, None, now);
        match decide(policy, state, &failed, now, 1.0) {
            Disposition::Retry { at, state: next } => {
                delays.push(at.since(now).as_secs());
                (state, now) = (next, at);
            }
            end => return (delays, end),
        }
    }
}

#[test]
fn the_default_is_what_close_promises() {
    let (delays, end) = failing_always(&RetryPolicy::default());
    assert_eq!(delays[..9], [5, 10, 20, 40, 80, 160, 320, 640, 1200]);
    assert!(delays[8..].iter().all(|delay| *delay == 1200));
    let total = delays.iter().sum::<u64>();
    assert!((71 * 3600..=72 * 3600).contains(&total), "{total} s");
    assert!(matches!(end, Disposition::Dead { pause: None, .. }));
}

#[test]
fn collect_pauses_after_a_day() {
    let (delays, end) = failing_always(&RetryPolicy::of(RetryPreset::Collect));
    let total = delays.iter().sum::<u64>();
    assert!((23 * 3600..=24 * 3600).contains(&total), "{total} s");
    let Disposition::Dead { reason, pause, .. } = end else {
        panic!("{end:?}")
    };
    assert_eq!(
        (reason, pause),
        (reason::EXHAUSTED, Some(PauseReason::Exhausted))
    );
}

#[test]
fn hookshot_tries_25_times_in_about_three_weeks() {
    let policy = RetryPolicy::of(RetryPreset::Hookshot);
    let (delays, end) = failing_always(&policy);
    let powers: Vec<u64> = (1..25).map(|n: u64| n.pow(4) + 15).collect();
    assert_eq!(delays, powers, "24 waits between 25 attempts");
    let days = delays.iter().sum::<u64>() / 86_400;
    assert_eq!(days, 20);
    assert!(matches!(end, Disposition::Dead { pause: None, .. }));
    let least = policy.backoff(23, 0.0);
    assert_eq!(least, Duration::from_secs(24_u64.pow(4) + 15) * 9 / 10);
}

#[test]
fn standard_webhooks_follows_its_table() {
    let (delays, end) = failing_always(&RetryPolicy::of(RetryPreset::StandardWebhooks));
    let (minute, hour) = (60, 3600);
    let table = [5, 5 * minute, 30 * minute].into_iter();
    let table: Vec<u64> = table
        .chain([2, 5, 10, 14, 20, 24].map(|hours| hours * hour))
        .collect();
    assert_eq!(delays, table);
    assert_eq!(delays.iter().sum::<u64>(), 75 * hour + 35 * minute + 5);
    assert!(matches!(end, Disposition::Dead { pause: None, .. }));
}

#[test]
fn a_policys_own_bounds_hold_for_every_curve() {
    for preset in PRESETS {
        let given = RetryTerms {
            preset,
            initial_backoff: Some(Duration::from_secs(60)),
            max_backoff: Some(HOUR),
            max_attempts: Some(3),
            on_exhausted: Some(ExhaustionAction::Pause),
            ..RetryTerms::default()
        };
        let policy = RetryPolicy::new(given).unwrap();
        assert_eq!(
            policy.backoff(0, 1.0),
            Duration::from_secs(60).max(match preset {
                RetryPreset::Close | RetryPreset::Collect => Duration::ZERO,
                other => RetryPolicy::of(other).backoff(0, 1.0),
            })
        );
        assert_eq!(policy.backoff(30, 1.0), HOUR, "{preset:?}");
        let (delays, end) = failing_always(&policy);
        assert_eq!(delays.len(), 2, "{preset:?}");
        let pause = Some(PauseReason::Exhausted);
        assert!(matches!(end, Disposition::Dead { pause: found, .. } if found == pause));
    }
}
