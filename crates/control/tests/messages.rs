//! Messages that are too large, in each way that they come.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

mod support;

use sidehook_api::v1;
use sidehook_core::limits::FRAME_BYTES;
use support::{assert_reason, event, start, with};
use tonic::{Code, Status, codec::CompressionEncoding};

/// Events that together are larger than a message may be.
fn too_many() -> Vec<v1::Event> {
    let data = format!("\"{}\"", "x".repeat(100_000));
    let event = v1::Event {
        data: data.into(),
        ..event()
    };
    vec![event; FRAME_BYTES / 100_000 + 1]
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let told = answer.as_ref().expect_err("refused").message().to_owned();
    assert!(told.contains(&FRAME_BYTES.to_string()), "{told}");
    assert!(told.contains("smaller batches"), "{told}");
    assert_reason(answer, Code::InvalidArgument, "MESSAGE_TOO_LARGE");
}

#[tokio::test]
async fn a_call_that_is_too_large_is_told_the_limit_and_what_to_do() {
    let api = start().await;
    let request = || v1::PublishEventsRequest { events: too_many() };
    let mut plain = api.events();
    assert_refused(plain.publish_events(with(&api.admin, request())).await);
    let mut zipped = api.events().send_compressed(CompressionEncoding::Gzip);
    assert_refused(zipped.publish_events(with(&api.admin, request())).await);
    assert!(api.all_events().await.is_empty());
}

#[tokio::test]
async fn a_batch_of_a_stream_that_is_too_large_ends_it_with_the_same_words() {
    let api = start().await;
    let batches = [vec![event()], too_many()];
    let batches = (0..)
        .zip(batches)
        .map(|(sequence, events)| v1::StreamEventsRequest { sequence, events });
    let batches: Vec<_> = batches.collect();
    let batches = tokio_stream::iter(batches);
    let answers = api.events().stream_events(with(&api.admin, batches)).await;
    let mut answers = answers.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().watermark, 1);
    assert_refused(answers.message().await);
    assert_eq!(api.all_events().await.len(), 1);
}
