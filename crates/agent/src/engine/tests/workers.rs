//! Jobs that are not attempted, and the workers that come and go between them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sidehook_api::agent_v1::SubscriptionSettings;
use sidehook_core::outcome::OutcomeKind;

use super::receiver::{Do, Receiver, answer};
use super::rig::{Rig, settings, wait_for};

fn ok() -> Do {
    Do::Answer(answer(200, "", b""))
}

#[tokio::test]
async fn a_drain_hands_back_what_has_not_begun_and_finishes_the_rest() {
    let mut rig = Rig::new();
    let receiver = Receiver::start(&rig.tasks, |_| Do::AnswerAndHang(Vec::new())).await;
    let settings = SubscriptionSettings {
        max_in_flight: 2,
        total_timeout_ms: 500,
        ..settings(&receiver.url())
    };
    rig.submit(&settings, 10);
    assert!(wait_for(|| receiver.requests().len() == 2).await);
    rig.engine.drain();
    rig.submit(&settings, 5);
    let outcomes = rig.outcomes(15).await;
    let of = |kind| {
        let outcomes = outcomes.iter();
        outcomes
            .filter(|report| report.outcome.kind == kind)
            .count()
    };
    assert_eq!(
        (of(OutcomeKind::NotStarted), of(OutcomeKind::Timeout)),
        (13, 2)
    );
    assert_eq!(receiver.requests().len(), 2);
}

#[tokio::test]
async fn nothing_is_posted_under_a_lease_that_is_over() {
    let mut rig = Rig::new();
    let receiver = Receiver::start(&rig.tasks, |_| ok()).await;
    let lease = rig.lease(4);
    rig.end_lease(&lease);
    rig.submit_under(&lease, &settings(&receiver.url()), 4);
    for report in rig.outcomes(4).await {
        assert_eq!(report.outcome.kind, OutcomeKind::NotStarted);
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_handed_back() {
    let mut rig = Rig::new();
    let receiver = Receiver::start(&rig.tasks, |_| ok()).await;
    rig.submit_unreadable(&settings(&receiver.url()));
    let outcome = rig.outcomes(1).await.remove(0).outcome;
    assert_eq!(outcome.kind, OutcomeKind::NotStarted);
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_come_and_go_without_losing_a_job() {
    let mut rig = Rig::new();
    let receiver = Receiver::start(&rig.tasks, |_| ok()).await;
    let mut settings = settings(&receiver.url());
    let mut total = 0;
    for round in 0..300_u32 {
        settings.max_in_flight = [1, 7, 64, 2][(round % 4) as usize];
        let count = 1 + round * 7 % 40;
        rig.submit(&settings, count);
        total += count as usize;
        if round % 3 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let outcomes = rig.outcomes(total).await;
    assert!(outcomes.iter().all(|report| report.outcome.status == 200));
    assert_eq!(receiver.requests().len(), total);
    assert!(receiver.most_open() <= 64, "{}", receiver.most_open());
}

#[tokio::test]
async fn a_job_that_arrives_after_the_window_shrank_is_taken_by_those_who_stay() {
    let mut rig = Rig::new();
    let receiver = Receiver::start(&rig.tasks, |number| match number {
        0..3 => Do::AnswerAndHang(Vec::new()),
        _ => ok(),
    })
    .await;
    let wide = SubscriptionSettings {
        max_in_flight: 3,
        total_timeout_ms: 300,
        ..settings(&receiver.url())
    };
    rig.submit(&wide, 3);
    rig.outcomes(3).await;
    let narrow = SubscriptionSettings {
        max_in_flight: 1,
        total_timeout_ms: 10_000,
        ..wide
    };
    let outcome = rig.post(&narrow).await;
    assert_eq!((outcome.kind, outcome.status), (OutcomeKind::Response, 200));
}

#[tokio::test]
async fn a_window_that_grows_is_used_by_what_waits_already() {
    let mut rig = Rig::new();
    let receiver = Receiver::start(&rig.tasks, |number| match number {
        0 => Do::AnswerAndHang(Vec::new()),
        _ => ok(),
    })
    .await;
    let narrow = SubscriptionSettings {
        max_in_flight: 1,
        total_timeout_ms: 10_000,
        ..settings(&receiver.url())
    };
    rig.submit(&narrow, 2);
    assert!(wait_for(|| receiver.requests().len() == 1).await);
    rig.engine.prepare(SubscriptionSettings {
        max_in_flight: 2,
        ..narrow
    });
    let outcome = rig.outcomes(1).await.remove(0).outcome;
    assert_eq!(outcome.status, 200, "{}", outcome.detail);
}

#[tokio::test]
async fn a_delivery_lost_on_its_way_is_reported_all_the_same() {
    let mut rig = Rig::new();
    let settings = settings("http://127.0.0.1:1/");
    drop(rig.job(&settings));
    let outcome = rig.outcomes(1).await.remove(0).outcome;
    assert_eq!(outcome.kind, OutcomeKind::NotStarted);
    let job = rig.job(&settings);
    let failing = AssertUnwindSafe(move || {
        let _held = job;
        panic!("a fault of the engine's");
    });
    assert!(catch_unwind(failing).is_err());
    let outcome = rig.outcomes(1).await.remove(0).outcome;
    assert_eq!(outcome.kind, OutcomeKind::Interrupted);
}
