//! Publishing: once per key, byte for byte, and seen by every replica's catalog.

use std::{collections::BTreeSet, ops::Range, time::Duration};

use sidehook_api::v1;
use sidehook_testkit::{
    client::{event, subscription},
    receiver::{Behaviour, Receiver, event_id},
    system::System,
};
use tokio_stream::StreamExt as _;
use tonic::Code;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn one_key_publishes_once() {
    let system = System::builder().servers(2).start().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    system.client(0).subscribe(&receiver.url(), "order").await;
    let keyed = |n| v1::Event {
        idempotency_key: "order-7".into(),
        ..event("order", n)
    };
    let first = system
        .client(0)
        .publish(vec![keyed(1)])
        .await
        .expect("published")
        .remove(0);
    let again = system
        .client(1)
        .publish(vec![keyed(1)])
        .await
        .expect("published")
        .remove(0);
    assert!(!first.duplicate && again.duplicate);
    assert_eq!(first.event_id, again.event_id);
    let other = system
        .client(1)
        .publish(vec![keyed(2)])
        .await
        .expect("a result")
        .remove(0);
    let error = other.error.expect("other content");
    assert_eq!(error.code, Code::AlreadyExists as i32, "{error:?}");
    // An event behind it has arrived: a second delivery would have come before it.
    let last = system
        .client(0)
        .publish(vec![event("order", 3)])
        .await
        .expect("published");
    assert!(receiver.wait_for(2, PATIENCE).await);
    let ids: Vec<_> = receiver.received().iter().filter_map(event_id).collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
    assert!(ids.contains(&first.event_id) && ids.contains(&last[0].event_id));
}

#[tokio::test]
async fn payloads_arrive_byte_for_byte() {
    let system = System::builder().start().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    let made = system.client(0).subscribe(&receiver.url(), "order").await;
    let data = "{ \"b\":1.0,\n\t\"a\" : \"\\u00e9 é 𝄞\", \"big\":123456789012345678901234567890, \"b\":2 }";
    let previous = "{\"x\":1e400}";
    let wanted = v1::Event {
        data: data.into(),
        previous_data: previous.into(),
        ..event("order", 1)
    };
    system
        .client(0)
        .publish(vec![wanted])
        .await
        .expect("published");
    assert!(receiver.wait_for(1, PATIENCE).await);
    let body = receiver.received()[0].body.clone();
    let text = std::str::from_utf8(&body).expect("UTF-8");
    assert!(text.starts_with("{\"event\": {"), "{text}");
    assert!(text.contains(&format!("\"data\": {data}")), "{text}");
    assert!(
        text.contains(&format!("\"previous_data\": {previous}")),
        "{text}"
    );
    assert!(
        text.ends_with(&format!("\"subscription_id\": \"{}\"}}", made.id)),
        "{text}"
    );
}

#[tokio::test]
async fn every_replica_sees_what_was_changed_before() {
    let system = System::builder().servers(2).start().await;
    let (one, two) = (system.client(0), system.client(1));
    let receiver = Receiver::start(Behaviour::Ok).await;
    for round in 0..25 {
        let made = one.subscribe(&receiver.url(), "order").await;
        let matched = |results: Vec<v1::PublishResult>| results[0].matched;
        let seen = two
            .publish(vec![event("order", round)])
            .await
            .expect("published");
        assert_eq!(matched(seen), 1, "round {round}: created, and not seen");
        let pause = v1::PauseSubscriptionRequest {
            id: made.id.clone(),
            etag: String::new(),
        };
        one.webhooks()
            .pause_subscription(pause)
            .await
            .expect("paused");
        let seen = two
            .publish(vec![event("order", round)])
            .await
            .expect("published");
        assert_eq!(matched(seen), 0, "round {round}: paused, and still matched");
        let resume = v1::ResumeSubscriptionRequest {
            id: made.id.clone(),
            ..v1::ResumeSubscriptionRequest::default()
        };
        two.webhooks()
            .resume_subscription(resume)
            .await
            .expect("resumed");
        let seen = one
            .publish(vec![event("order", round)])
            .await
            .expect("published");
        assert_eq!(matched(seen), 1, "round {round}: resumed, and not seen");
        let delete = v1::DeleteSubscriptionRequest {
            id: made.id,
            etag: String::new(),
        };
        one.webhooks()
            .delete_subscription(delete)
            .await
            .expect("deleted");
        let seen = two
            .publish(vec![event("order", round)])
            .await
            .expect("published");
        assert_eq!(
            matched(seen),
            0,
            "round {round}: deleted, and still matched"
        );
    }
}

#[tokio::test]
async fn a_stream_answers_every_event_and_moves_its_watermark() {
    let system = System::builder().start().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    system.client(0).subscribe(&receiver.url(), "order").await;
    let batch = |sequence| v1::StreamEventsRequest {
        sequence,
        events: (sequence..sequence + 10)
            .map(|n| event("order", n))
            .collect(),
    };
    let batches: Vec<_> = (0..5).map(|n| batch(n * 10)).collect();
    let stream = tokio_stream::iter(batches);
    let answers = system
        .client(0)
        .events()
        .stream_events(stream)
        .await
        .expect("a stream");
    let mut answers = answers.into_inner();
    let (mut results, mut watermark) = (0, 0);
    while let Some(answer) = answers.message().await.expect("an answer") {
        assert!(answer.watermark >= watermark, "it never falls");
        watermark = answer.watermark;
        assert!(answer.results.iter().all(|result| result.error.is_none()));
        results += answer.results.len();
    }
    assert_eq!((results, watermark), (50, 50));
    assert!(receiver.wait_for(50, PATIENCE).await);
}

/// The `n`th event of a stream, safe to publish again.
fn numbered(n: u64) -> v1::Event {
    v1::Event {
        idempotency_key: format!("stream-{n}"),
        ..event("order", n)
    }
}

#[tokio::test]
async fn a_broken_stream_is_resumed_at_its_watermark() {
    const EVENTS: u64 = 100;
    const BATCH: u64 = 10;
    let system = System::builder().start().await;
    let receiver = Receiver::start(Behaviour::Ok).await;
    system.client(0).subscribe(&receiver.url(), "order").await;
    // The events of this range, in a stream that stays open behind them if it is to
    // break before the end of all.
    let stream_of = async |range: Range<u64>| {
        let (first, end) = (range.start, range.end);
        let batches = range.step_by(BATCH as usize);
        let batches = batches.map(move |n| v1::StreamEventsRequest {
            sequence: n - first,
            events: (n..end.min(n + BATCH)).map(numbered).collect(),
        });
        let batches = tokio_stream::iter(batches.collect::<Vec<_>>());
        let more = tokio_stream::pending().take((end < EVENTS).into());
        let batches = batches.chain(more);
        let stream = system.client(0).events().stream_events(batches).await;
        stream.expect("a stream").into_inner()
    };
    let mut answers = stream_of(0..EVENTS / 2).await;
    let mut watermark = 0;
    while watermark < 3 * BATCH {
        let answer = answers.message().await.expect("an answer");
        watermark = answer.expect("more answers").watermark;
    }
    // What was sent behind the watermark may have been taken or not.
    drop(answers);

    let mut answers = stream_of(watermark..EVENTS).await;
    let (mut results, mut rest) = (0, 0);
    while let Some(answer) = answers.message().await.expect("an answer") {
        assert!(answer.results.iter().all(|result| result.error.is_none()));
        (results, rest) = (results + answer.results.len() as u64, answer.watermark);
    }
    assert_eq!((results, rest), (EVENTS - watermark, EVENTS - watermark));
    // One more behind them all: what was published twice would have come by now.
    let last = system.client(0).publish(vec![event("order", EVENTS)]).await;
    last.expect("published");
    assert!(receiver.wait_for(EVENTS as usize + 1, PATIENCE).await);
    let ids: BTreeSet<_> = receiver.received().iter().filter_map(event_id).collect();
    assert_eq!(ids.len() as u64, EVENTS + 1, "each exactly once");
    assert_eq!(receiver.count() as u64, EVENTS + 1);
}

#[tokio::test]
async fn in_a_stream_each_event_fails_alone_and_the_watermark_goes_on() {
    let system = System::builder().embedded().without_agent().start().await;
    let mut wrong = event("order", 2);
    wrong.object_type = String::new();
    let batch = |sequence, events| v1::StreamEventsRequest { sequence, events };
    let batches = [
        batch(0, vec![event("order", 1), wrong]),
        batch(2, vec![event("order", 3)]),
    ];
    let stream = tokio_stream::iter(batches);
    let answers = system.client(0).events().stream_events(stream).await;
    let mut answers = answers.expect("a stream").into_inner();
    let mut failed = Vec::new();
    let mut watermark = 0;
    while let Some(answer) = answers.message().await.expect("an answer") {
        for (n, result) in (answer.sequence..).zip(answer.results) {
            if let Some(error) = result.error {
                failed.push((n, error.field_violations[0].field.clone()));
            }
        }
        watermark = answer.watermark;
    }
    assert_eq!(failed, [(1, "object_type".to_owned())]);
    assert_eq!(watermark, 3);
}

#[tokio::test]
async fn a_test_event_goes_to_its_subscription_alone() {
    let system = System::builder().start().await;
    let client = system.client(0);
    let (wanted, other) = (
        Receiver::start(Behaviour::Ok).await,
        Receiver::start(Behaviour::Ok).await,
    );
    let id = client.subscribe(&wanted.url(), "order").await.id;
    client.create(subscription(&other.url(), "*")).await;
    let request = v1::TestSubscriptionRequest { id };
    let answer = client
        .webhooks()
        .test_subscription(request)
        .await
        .expect("sent")
        .into_inner();
    assert!(wanted.wait_for(1, PATIENCE).await);
    assert_eq!(event_id(&wanted.received()[0]), Some(answer.event_id));
    // What comes behind it reaches the other one first.
    client
        .publish(vec![event("order", 1)])
        .await
        .expect("published");
    assert!(other.wait_for(1, PATIENCE).await);
    assert!(!String::from_utf8_lossy(&other.received()[0].body).contains("sidehook.test"));
}
