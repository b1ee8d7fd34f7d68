//! The load generator: a publisher over `StreamEvents`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sidehook_api::v1;
use sidehook_testkit::client::Client;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::{Failure, stats::now_us, target::PATIENCE};

/// Bytes of the `data` of an event: with its envelope about 1 KiB on the wire.
const DATA_BYTES: usize = 600;
/// Batches that may be unanswered at one time.
const WINDOW: u64 = 64;

/// An event of about 1 KiB that says when it was made.
pub(crate) fn event(object_type: &str) -> v1::Event {
    let filler = "x".repeat(DATA_BYTES);
    v1::Event {
        object_type: object_type.into(),
        action: "updated".into(),
        object_id: "oppo_7H4sjNso7FyBFaeR3RXi5PMJbilfo0c6UPCxsJtEhCO".into(),
        data: Bytes::from(format!(r#"{{"note":"{filler}"}}"#)),
        meta: Bytes::from(format!(r#"{{"sent_us":{}}}"#, now_us())),
        ..v1::Event::default()
    }
}

/// How fast to publish.
pub(crate) enum Pace {
    /// As fast as answers come, in batches of this many, until so many are out.
    Saturate { batch: usize, events: u64 },
    /// So many events per second, one by one, for so long.
    Steady { per_second: f64, time: Duration },
}

/// Publishes; answers how many events were accepted.
pub(crate) async fn publish(
    client: &Client,
    object_type: &str,
    pace: Pace,
) -> Result<u64, Failure> {
    let (sender, receiver) = mpsc::channel::<v1::StreamEventsRequest>(8);
    let object_type = object_type.to_owned();
    let answered = std::sync::Arc::new(tokio::sync::Semaphore::new(WINDOW as usize));
    let permits = std::sync::Arc::clone(&answered);
    let mut feeding = tokio::task::JoinSet::new();
    feeding.spawn(async move { feed(&sender, &object_type, pace, &permits).await });
    let events = ReceiverStream::new(receiver);
    let mut answers = client.events().stream_events(events).await?.into_inner();
    let mut accepted = 0;
    while let Some(answer) = answers.message().await? {
        if let Some(error) = answer
            .results
            .iter()
            .find_map(|result| result.error.as_ref())
        {
            return Err(format!("an event was refused: {}", error.message).into());
        }
        accepted += answer.results.len() as u64;
        answered.add_permits(usize::from(!answer.results.is_empty()));
    }
    while let Some(done) = feeding.join_next().await {
        done?;
    }
    Ok(accepted)
}

async fn feed(
    sender: &mpsc::Sender<v1::StreamEventsRequest>,
    object_type: &str,
    pace: Pace,
    window: &tokio::sync::Semaphore,
) {
    let (batch, events, time, interval) = match pace {
        Pace::Saturate { batch, events } => (batch, events, PATIENCE, None),
        Pace::Steady { per_second, time } => (
            1,
            u64::MAX,
            time,
            Some(Duration::from_secs_f64(1.0 / per_second)),
        ),
    };
    let mut ticks = tokio::time::interval(interval.unwrap_or(Duration::from_secs(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let start = Instant::now();
    let mut sequence = 0;
    while sequence < events && start.elapsed() < time {
        if interval.is_some() {
            ticks.tick().await;
        }
        let Ok(permit) = window.acquire().await else {
            return;
        };
        permit.forget();
        let count = usize::try_from(events - sequence)
            .unwrap_or(usize::MAX)
            .min(batch);
        let events = (0..count).map(|_| event(object_type)).collect();
        if sender
            .send(v1::StreamEventsRequest { sequence, events })
            .await
            .is_err()
        {
            return;
        }
        sequence += count as u64;
    }
}
