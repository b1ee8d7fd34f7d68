//! That buckets do not care for order, and what states follow from them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn at(minutes: u64) -> Timestamp {
    START + Duration::from_secs(60 * minutes)
}

fn mark(is_first: bool, is_success: bool) -> Mark {
    Mark {
        kind: Kind::of(is_first, is_success),
        latency: Latency::of(Duration::from_millis(7)),
        note: Bytes::from_static(b"note"),
    }
}

fn any_mark() -> impl Strategy<Value = Mark> {
    (
        any::<bool>(),
        any::<bool>(),
        0..20_000_u64,
        any::<[u8; 3]>(),
    )
        .prop_map(|(is_first, is_success, ms, note)| Mark {
            kind: Kind::of(is_first, is_success),
            latency: Latency::of(Duration::from_millis(ms)),
            note: Bytes::copy_from_slice(&note),
        })
}

fn counted(calls: &[(u64, Vec<Mark>)]) -> Health {
    let mut health = Health::default();
    for (minute, marks) in calls {
        health.count(at(*minute), marks);
    }
    health
}

/// Every bucket of a row as a flat list of marks gives it.
fn naive(calls: &[(u64, Vec<Mark>)], row: usize) -> BTreeMap<u32, (u64, u64)> {
    let mut found: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for (minute, mark) in calls
        .iter()
        .flat_map(|(m, all)| all.iter().map(move |o| (m, o)))
    {
        let entry = found.entry(SPANS[row].number(at(*minute))).or_default();
        match mark.kind.is_success() {
            true => entry.0 += 1,
            false => entry.1 += 1,
        }
    }
    found
}

proptest! {
    #[test]
    fn order_and_cuts_do_not_matter_within_a_stretch(
        marks in prop::collection::vec(any_mark(), 1..40),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        seed in any::<prop::sample::Index>(),
    ) {
        let whole = counted(&[(0, marks.clone())]);
        let mut turned = marks;
        let places = turned.len();
        turned.rotate_left(seed.index(places));
        turned.reverse();
        let mut health = Health::default();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(places)).collect();
        places.sort_unstable();
        let mut rest = &turned[..];
        let mut before = 0;
        for place in places {
            let (head, tail) = rest.split_at(place - before);
            health.count(at(0), head);
            (rest, before) = (tail, place);
        }
        health.count(at(0), rest);
        prop_assert_eq!(health.recent.counters, whole.recent.counters);
        prop_assert_eq!(health.recent.current, whole.recent.current);
        prop_assert_eq!(&health.over, &whole.over);
        prop_assert_eq!(health.state(), whole.state());
        prop_assert_eq!(health.failing_hours(), whole.failing_hours());
        prop_assert_eq!(health.fault(), None);
    }

    #[test]
    fn what_is_kept_is_what_happened(
        calls in prop::collection::vec(
            (0..600_u64, prop::collection::vec(any_mark(), 0..4)), 0..20,
        ),
        forward in any::<bool>(),
    ) {
        let mut calls = calls;
        if forward {
            calls.sort_by_key(|(minute, _)| *minute);
        }
        let health = counted(&calls);
        prop_assert_eq!(health.fault(), None);
        // Fewer calls than buckets are kept: nothing has left, whichever way time went.
        let last = calls.iter().rfind(|(_, marks)| !marks.is_empty());
        let last = last.map_or(0, |(minute, _)| *minute);
        for row in [MINUTES, HOURS] {
            let told: BTreeMap<_, _> = health
                .row(row)
                .iter()
                .map(|one| (one.number, (one.successes(), one.failures())))
                .collect();
            let mut wanted = naive(&calls, row);
            // What is later than the last call is yet to come.
            wanted.retain(|number, _| *number <= SPANS[row].number(at(last)));
            prop_assert_eq!(told, wanted);
        }
        let all: Vec<&Mark> = calls.iter().flat_map(|(_, marks)| marks).collect();
        let newest = |good: bool| {
            let mut notes: Vec<Bytes> = all
                .iter()
                .rev()
                .filter(|mark| mark.kind.is_success() == good)
                .take(NOTES)
                .map(|mark| mark.note.clone())
                .collect();
            notes.reverse();
            notes
        };
        prop_assert_eq!(&health.recent.successes, &newest(true));
        prop_assert_eq!(&health.recent.errors, &newest(false));
    }
}

#[test]
fn the_oldest_buckets_leave() {
    let mut health = Health::default();
    for hour in 0..200 {
        health.count(at(60 * hour), [&mark(true, true)]);
    }
    assert_eq!(health.fault(), None);
    assert_eq!(health.over[MINUTES].len(), SPANS[MINUTES].kept);
    assert_eq!(health.over[HOURS].len(), SPANS[HOURS].kept);
    let oldest = health.row(HOURS)[0].number;
    assert_eq!(oldest, SPANS[HOURS].number(at(60 * (199 - 80))));
    assert_eq!(health.recent.counters.first_success, 200);
}

#[test]
fn nothing_counted_is_no_health() {
    let mut health = Health::default();
    health.count(START, []);
    assert!(health.is_empty());
    assert_eq!(health.state().as_str(), "");
    assert_eq!((health.failing_hours(), health.fault()), (0, None));
}

#[test]
fn a_receiver_fails_and_recovers() {
    let mut health = Health::default();
    let mut then = |minute, marks: &[Mark]| {
        health.count(at(minute), marks);
        (health.state(), health.failing_hours())
    };
    assert_eq!(then(0, &[mark(true, true)]), (State::Healthy, 0));
    assert_eq!(then(60, &[mark(true, false)]), (State::Degraded, 1));
    assert_eq!(then(61, &[mark(false, false)]), (State::Degraded, 1));
    assert_eq!(then(120, &[mark(false, false)]), (State::Failing, 2));
    assert_eq!(then(121, &[mark(false, true)]), (State::Degraded, 0));
    let well = vec![mark(true, true); 50];
    assert_eq!(then(122, &well), (State::Healthy, 0), "few failures");
}

#[test]
fn a_single_failure_in_a_new_bucket_is_not_failing() {
    let mut health = Health::default();
    health.count(at(0), &vec![mark(true, true); 100]);
    health.count(at(10), [&mark(true, false)]);
    assert_eq!(health.state(), State::Healthy, "one in a hundred");
    health.count(at(10), [&mark(true, false), &mark(true, false)]);
    assert_eq!(health.state(), State::Failing);
}

#[test]
fn what_a_clock_that_was_ahead_counted_judges_nobody_until_then() {
    let mut health = Health::default();
    health.count(at(600), &vec![mark(true, false); 5]);
    assert_eq!(
        (health.state(), health.failing_hours()),
        (State::Failing, 1)
    );
    // The clock is back: what comes now is the newest there is.
    health.count(at(0), [&mark(true, true)]);
    assert_eq!(
        (health.state(), health.failing_hours()),
        (State::Healthy, 0)
    );
    health.count(at(60), &vec![mark(true, false); 3]);
    assert_eq!(
        (health.state(), health.failing_hours()),
        (State::Failing, 1)
    );
    // Once that time has come it has happened.
    health.count(at(600), [&mark(false, false)]);
    assert_eq!(health.row(HOURS).last().map(Bucket::failures), Some(6));
    assert_eq!((health.failing_hours(), health.fault()), (2, None));
}

#[test]
fn contradictions_are_told() {
    let mut health = Health::default();
    health.count(START, [&mark(true, true), &mark(true, false)]);
    assert_eq!(health.fault(), None);
    let mut wrong = health.clone();
    wrong.recent.current[HOURS].latencies[0] += 1;
    assert!(wrong.fault().is_some());
    let mut wrong = health.clone();
    wrong.recent.counters.retry_fail += 1;
    assert!(wrong.fault().is_some());
    let mut wrong = health.clone();
    wrong.recent.errors.clear();
    assert!(wrong.fault().is_some());
    let mut wrong = Health::default();
    wrong.recent.successes.push(Bytes::new());
    assert!(wrong.fault().is_some());
}
