//! The table at the head of `retry`, row by row, and what holds over a whole life.

#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::limits::{BACKOFF_INITIAL_MIN, BACKOFF_MAX_MAX, RETRY_WAIT_MAX};

mod presets;

const PRESETS: [RetryPreset; 4] = [
    RetryPreset::Close,
    RetryPreset::Collect,
    RetryPreset::Hookshot,
    RetryPreset::StandardWebhooks,
];
const HOUR: Duration = Duration::from_secs(3600);

fn terms(initial: Duration, max: Duration, age: Duration, attempts: Option<u32>) -> RetryTerms {
    RetryTerms {
        initial_backoff: Some(initial),
        max_backoff: Some(max),
        max_age: Some(age),
        max_attempts: attempts,
        ..RetryTerms::default()
    }
}

fn outcome(kind: OutcomeKind, status: u16, retry_after_s: Option<u64>, at: Timestamp) -> Outcome {
    Outcome {
        kind,
        response_status: status,
        duration: Duration::from_millis(5),
        started_at: at,
        response_body: Bytes::new(),
        error_detail: String::new(),
        retry_after: retry_after_s.map(Duration::from_secs),
    }
}

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn decide_new(kind: OutcomeKind, status: u16, retry_after_s: Option<u64>) -> Disposition {
    let policy = RetryPolicy::default();
    decide(
        &policy,
        RetryState::default(),
        &outcome(kind, status, retry_after_s, NOW),
        NOW,
        1.0,
    )
}

fn retry_of(disposition: Disposition) -> (Duration, RetryState) {
    match disposition {
        Disposition::Retry { at, state } => (at.since(NOW), state),
        other => panic!("expected a retry, not {other:?}"),
    }
}

#[test]
fn only_2xx_is_a_success() {
    for status in 100..=999 {
        let success = (200..300).contains(&status);
        let delivered = decide_new(OutcomeKind::Response, status, None) == Disposition::Delivered;
        assert_eq!(delivered, success, "{status}");
    }
}

#[test]
fn the_receivers_failures_count() {
    for (kind, status) in [
        (OutcomeKind::Response, 301),
        (OutcomeKind::Response, 404),
        (OutcomeKind::Response, 500),
        (OutcomeKind::Dns, 0),
        (OutcomeKind::Connect, 0),
        (OutcomeKind::Tls, 0),
        (OutcomeKind::Timeout, 0),
        (OutcomeKind::Timeout, 200),
        (OutcomeKind::Protocol, 0),
    ] {
        let (delay, state) = retry_of(decide_new(kind, status, None));
        assert_eq!(delay, Duration::from_secs(5), "{kind:?}");
        let first = Some(NOW);
        let expected = RetryState {
            attempts: 1,
            first_attempt_at: first,
            attempts_in_all: 1,
        };
        assert_eq!(state, expected, "{kind:?}");
        assert_eq!(state.next_number(), 2);
    }
}

#[test]
fn an_agents_failures_spend_nothing_and_still_back_off() {
    let (first, most) = (Duration::from_secs(1), Duration::from_secs(60));
    let policy = RetryPolicy::new(terms(first, most, HOUR, Some(1))).unwrap();
    let mut state = RetryState {
        attempts: 0,
        first_attempt_at: Some(NOW),
        attempts_in_all: 0,
    };
    for expected_s in [1, 2, 4, 8, 16, 32, 60, 60] {
        let failed = outcome(OutcomeKind::KeyMissing, 0, None, NOW);
        let (delay, next) = retry_of(decide(&policy, state, &failed, NOW, 1.0));
        assert_eq!(delay, Duration::from_secs(expected_s));
        assert_eq!(next.attempts, 0);
        state = next;
    }
    // Then the receiver's first failure is the one attempt that the policy allows.
    let failed = outcome(OutcomeKind::Response, 500, None, NOW);
    let dead = decide(&policy, state, &failed, NOW, 1.0);
    let Disposition::Dead {
        reason: reason::EXHAUSTED,
        pause: None,
        state,
    } = dead
    else {
        panic!("{dead:?}")
    };
    assert_eq!((state.attempts, state.attempts_in_all), (1, 9));
}

#[test]
fn max_age_bounds_agents_failures_too() {
    let policy = RetryPolicy::default();
    let state = RetryState {
        first_attempt_at: Some(NOW),
        ..RetryState::default()
    };
    let failed = outcome(OutcomeKind::EgressRefused, 0, None, NOW);
    let late = NOW + policy.max_age();
    assert!(matches!(
        decide(&policy, state, &failed, late, 0.0),
        Disposition::Dead {
            reason: reason::EXHAUSTED,
            pause: None,
            ..
        }
    ));
}

#[test]
fn gone_ends_the_delivery_and_pauses() {
    let dead = decide_new(OutcomeKind::Response, 410, Some(5));
    assert!(matches!(
        dead,
        Disposition::Dead {
            reason: reason::GONE,
            pause: Some(PauseReason::Gone),
            ..
        }
    ));
}

#[test]
fn what_was_not_started_is_released() {
    assert_eq!(
        decide_new(OutcomeKind::NotStarted, 0, None),
        Disposition::Release
    );
}

#[test]
fn retry_after_only_postpones_and_only_on_429_and_503() {
    let delay = |status, after| retry_of(decide_new(OutcomeKind::Response, status, after)).0;
    assert_eq!(delay(503, Some(60)), Duration::from_secs(60));
    assert_eq!(delay(429, Some(60)), Duration::from_secs(60));
    assert_eq!(delay(500, Some(60)), Duration::from_secs(5));
    assert_eq!(delay(503, Some(1)), Duration::from_secs(5));
    assert_eq!(delay(503, Some(u64::MAX)), Duration::from_secs(24 * 3600));
}

#[test]
fn retry_after_reaches_no_further_than_max_age() {
    let policy = RetryPolicy::new(terms(Duration::from_secs(1), HOUR, HOUR, None)).unwrap();
    let busy = outcome(OutcomeKind::Response, 503, Some(7200), NOW);
    let (delay, state) = retry_of(decide(&policy, RetryState::default(), &busy, NOW, 1.0));
    assert_eq!(delay, HOUR);
    let last = decide(&policy, state, &busy, NOW + HOUR, 1.0);
    assert!(matches!(last, Disposition::Dead { .. }), "{last:?}");
}

#[test]
fn policies_out_of_range_are_refused() {
    let (s, day) = (Duration::from_secs, HOUR * 24);
    for (initial, max, age, fields) in [
        (
            Duration::from_millis(99),
            s(1),
            s(1),
            vec!["initial_backoff"],
        ),
        (s(2), s(1), s(1), vec!["max_backoff"]),
        (s(1), day * 5 + s(1), s(1), vec!["max_backoff"]),
        (s(1), s(1), day * 28 + s(1), vec!["max_age"]),
        (
            Duration::ZERO,
            day * 6,
            Duration::MAX,
            vec!["initial_backoff", "max_backoff", "max_age"],
        ),
    ] {
        let violations = RetryPolicy::new(terms(initial, max, age, None)).unwrap_err();
        let found: Vec<_> = violations
            .as_slice()
            .iter()
            .map(|v| v.field.as_str())
            .collect();
        assert_eq!(found, fields);
    }
    let unlimited = RetryPolicy::new(terms(s(1), s(1), Duration::ZERO, Some(0))).unwrap();
    assert_eq!(unlimited.max_attempts(), None);
}

fn policies() -> impl Strategy<Value = RetryPolicy> {
    let ms = |ms| Duration::from_millis(ms);
    (
        proptest::sample::select(PRESETS.as_slice()),
        100..432_000_000_u64,
        0..432_000_000_u64,
        0..2_419_200_000_u64,
        proptest::option::of(1..50_u32),
        proptest::sample::select(&[ExhaustionAction::Drop, ExhaustionAction::Pause][..]),
    )
        .prop_map(move |(preset, initial, more, age, attempts, action)| {
            let max = (initial + more).min(432_000_000);
            let terms = terms(ms(initial), ms(max), ms(age), attempts);
            let terms = RetryTerms {
                preset,
                on_exhausted: Some(action),
                ..terms
            };
            RetryPolicy::new(terms).expect("in range")
        })
}

fn kinds() -> impl Strategy<Value = OutcomeKind> {
    prop_oneof![
        Just(OutcomeKind::Response),
        Just(OutcomeKind::Timeout),
        Just(OutcomeKind::Connect),
        Just(OutcomeKind::KeyMissing),
        Just(OutcomeKind::EgressRefused),
        Just(OutcomeKind::NotStarted),
    ]
}

proptest! {
    #[test]
    fn a_doubling_back_off_lies_in_its_half(
        policy in policies(),
        n: u32,
        random in 0.0..=1.0_f64,
    ) {
        prop_assume!(matches!(policy.preset(), RetryPreset::Close | RetryPreset::Collect));
        let doubled = policy.initial_backoff().as_secs_f64() * 2_f64.powf(f64::from(n.min(60)));
        let longest = doubled.min(policy.max_backoff().as_secs_f64());
        let drawn = policy.backoff(n, random).as_secs_f64();
        prop_assert!(drawn <= longest * (1.0 + 1e-9), "{drawn} of {longest}");
        prop_assert!(drawn >= longest / 2.0 * (1.0 - 1e-9), "{drawn} of {longest}");
    }

    /// Whatever a record says: what acts is within the bounds that stores hold for.
    #[test]
    fn a_back_off_is_bounded_and_never_falls(
        preset in proptest::sample::select(PRESETS.as_slice()),
        initial in proptest::option::of(0..u64::MAX),
        max in proptest::option::of(0..u64::MAX),
        n: u32,
        random in 0.0..=1.0_f64,
    ) {
        let policy = RetryPolicy::kept(RetryTerms {
            preset,
            initial_backoff: initial.map(Duration::from_millis),
            max_backoff: max.map(Duration::from_millis),
            ..RetryTerms::default()
        });
        let drawn = policy.backoff(n, random);
        prop_assert!(drawn >= BACKOFF_INITIAL_MIN / 2, "{drawn:?}");
        prop_assert!(drawn <= BACKOFF_MAX_MAX && drawn < RETRY_WAIT_MAX, "{drawn:?}");
        for random in [0.0, 0.5, 1.0] {
            let now = policy.backoff(n.min(100), random);
            prop_assert!(now <= policy.backoff(n.min(100) + 1, random));
            prop_assert!(now <= policy.backoff(n.min(100), 1.0));
        }
        let policy = RetryPolicy::of(preset);
        let (drawn, longest) = (policy.backoff(n, random), policy.backoff(n, 1.0));
        prop_assert!((policy.initial_backoff()..=policy.max_backoff()).contains(&longest));
        prop_assert!(drawn >= longest / 2);
    }

    #[test]
    fn whatever_is_random_nothing_panics(
        policy in policies(),
        random: f64,
        status: u16,
        kind in kinds(),
        attempts: u32,
        attempts_in_all: u32,
        first: Option<i64>,
        started: i64,
        now: i64,
        after: Option<u64>,
    ) {
        let state = RetryState {
            attempts,
            attempts_in_all,
            first_attempt_at: first.map(Timestamp::from_millis),
        };
        let outcome = outcome(kind, status, after, Timestamp::from_millis(started));
        let _ = decide(&policy, state, &outcome, Timestamp::from_millis(now), random);
    }

    /// One delivery's whole life: no attempt begins after `max_age`, no retry comes
    /// before its back-off, and counts only grow as they should.
    #[test]
    fn no_attempt_begins_too_late(
        policy in policies(),
        steps in proptest::collection::vec(
            (kinds(), 300..600_u16, proptest::option::of(0..200_000_u64), 0.0..=1.0_f64, 0..60_000_u64),
            1..60,
        ),
    ) {
        let mut state = RetryState::default();
        let mut now = NOW;
        let mut first = None;
        for (kind, status, after, random, took_ms) in steps {
            let started = now;
            now = now + Duration::from_millis(took_ms);
            let attempt = outcome(kind, status, after, started);
            match decide(&policy, state, &attempt, now, random) {
                Disposition::Delivered => prop_assert!(false, "no step is a success"),
                Disposition::Release => prop_assert_eq!(kind, OutcomeKind::NotStarted),
                Disposition::Retry { at, state: next } => {
                    let first = *first.get_or_insert(started);
                    prop_assert_eq!(next.first_attempt_at, Some(first));
                    prop_assert!(at <= first + policy.max_age());
                    prop_assert!(at.since(now) >= policy.backoff(0, 0.0) - Duration::from_millis(1));
                    prop_assert!(at.since(now) < RETRY_WAIT_MAX);
                    prop_assert!(policy.max_attempts().is_none_or(|max| next.attempts < max));
                    prop_assert_eq!(next.attempts_in_all, state.attempts_in_all + 1);
                    let counted = attempt.blame() == Some(Blame::Receiver);
                    prop_assert_eq!(next.attempts, state.attempts + u32::from(counted));
                    state = next;
                    now = at;
                }
                Disposition::Dead { pause, .. } => {
                    let gone = kind == OutcomeKind::Response && status == 410;
                    let expected = match policy.on_exhausted() {
                        _ if gone => Some(PauseReason::Gone),
                        ExhaustionAction::Pause => Some(PauseReason::Exhausted),
                        ExhaustionAction::Drop => None,
                    };
                    prop_assert_eq!(pause, expected);
                    break;
                }
            }
        }
    }
}

#[test]
fn the_patient_policy_is_valid_and_outlasts_all_others() {
    let patient = RetryPolicy::PATIENT;
    let (first, most) = (patient.initial_backoff(), patient.max_backoff());
    let same = RetryPolicy::new(terms(first, most, patient.max_age(), None));
    assert_eq!(same, Ok(patient));
    assert_eq!(
        (patient.max_age(), patient.max_attempts()),
        (RETRY_AGE_MAX, None)
    );
}

#[test]
fn the_fifth_lost_lease_is_the_last() {
    assert!(!is_lost_too_often(4) && is_lost_too_often(5) && is_lost_too_often(u8::MAX));
}
