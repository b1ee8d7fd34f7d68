//! A file of events through a stream: one half reads batches ahead, the other takes the
//! results, and what both know is where to go on after a broken stream.

use std::{collections::BTreeMap, sync::Mutex};

use indicatif::{ProgressBar, ProgressStyle};
use sidehook_api::v1::{self, event_service_client::EventServiceClient};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::client::{
    Failure, Output,
    channel::Api,
    event_file,
    render::{json_line, line},
    terminal::harmless,
};

/// Events of one batch of a stream.
const BATCH: usize = 64;
/// Batches read ahead of the connection.
const AHEAD: usize = 8;

/// What the two halves of a stream share.
struct Progress {
    bar: ProgressBar,
    /// Line of each event that has no result yet, by its position in the stream.
    open: Mutex<BTreeMap<u64, u64>>,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    published: u64,
    duplicates: u64,
    failed: u64,
}

/// Publishes the lines of `input`, `length` bytes where that is known.
pub(super) async fn stream(
    mut client: EventServiceClient<Api>,
    input: impl AsyncBufRead + Unpin,
    length: Option<u64>,
    output: Output,
) -> Result<(), Failure> {
    let progress = Progress::new(length);
    let (batches, requests) = mpsc::channel(AHEAD);
    let answer = async {
        let mut answers = client
            .stream_events(ReceiverStream::new(requests))
            .await?
            .into_inner();
        while let Some(answer) = answers.message().await? {
            progress.settle(answer);
        }
        Ok(())
    };
    let outcome = tokio::try_join!(feed(input, batches, &progress), answer);
    progress.bar.finish_and_clear();
    if let Err(failure) = outcome {
        return Err(progress.explain(failure));
    }
    if !lock(&progress.open).is_empty() {
        return Err(progress.explain(Failure::new("the server ended the stream early")));
    }
    progress.conclude(output)
}

/// Reads lines into batches until the input ends or nobody takes them any more.
async fn feed(
    mut input: impl AsyncBufRead + Unpin,
    batches: mpsc::Sender<v1::StreamEventsRequest>,
    progress: &Progress,
) -> Result<(), Failure> {
    let (mut number, mut sequence) = (0, 0);
    let (mut json, mut events) = (Vec::new(), Vec::with_capacity(BATCH));
    loop {
        json.clear();
        let read = input.read_until(b'\n', &mut json).await;
        let read = read.map_err(|error| Failure::new(format!("reading events: {error}")))?;
        number += 1;
        if read > 0 && !json.trim_ascii().is_empty() {
            match event_file::parse(&json) {
                Ok(event) => {
                    lock(&progress.open).insert(sequence + events.len() as u64, number);
                    events.push(event);
                }
                Err(error) => progress.fail(number, &error),
            }
        }
        progress.bar.inc(read as u64);
        if events.len() == BATCH || (read == 0 && !events.is_empty()) {
            let events = std::mem::replace(&mut events, Vec::with_capacity(BATCH));
            let next = sequence + events.len() as u64;
            if batches
                .send(v1::StreamEventsRequest { sequence, events })
                .await
                .is_err()
            {
                // The other half knows why.
                return Ok(());
            }
            sequence = next;
        }
        if read == 0 {
            return Ok(());
        }
    }
}

impl Progress {
    fn new(length: Option<u64>) -> Self {
        // Without a terminal the bar hides itself.
        let (bar, template) = match length {
            Some(length) => (
                ProgressBar::new(length),
                "{bar:40} {bytes} of {total_bytes}, {eta} left {msg}",
            ),
            None => (ProgressBar::new_spinner(), "{spinner} {bytes} {msg}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self {
            bar,
            open: Mutex::default(),
            tally: Mutex::default(),
        }
    }

    /// Takes the results of consecutive events.
    fn settle(&self, answer: v1::StreamEventsResponse) {
        for (position, result) in (answer.sequence..).zip(answer.results) {
            let number = lock(&self.open).remove(&position).unwrap_or_default();
            match result.error {
                Some(error) => self.fail(number, &described(&error)),
                None => {
                    let mut tally = lock(&self.tally);
                    tally.published += 1;
                    tally.duplicates += u64::from(result.duplicate);
                }
            }
        }
    }

    fn fail(&self, number: u64, error: &str) {
        lock(&self.tally).failed += 1;
        let error = harmless(error);
        self.bar.suspend(|| eprintln!("line {number}: {error}"));
    }

    /// Adds to the failure of the stream where to go on.
    fn explain(&self, failure: Failure) -> Failure {
        let published = lock(&self.tally).published;
        let failure = failure.hint(format!("{published} events were published before"));
        match lock(&self.open).first_key_value() {
            Some((_, number)) => failure.hint(format!(
                "line {number} is the first without a result: publish from there on; events \
                 with an `idempotency_key` may be repeated"
            )),
            None => failure,
        }
    }

    fn conclude(&self, output: Output) -> Result<(), Failure> {
        let Tally {
            published,
            duplicates,
            failed,
        } = *lock(&self.tally);
        match output {
            Output::Json => json_line(&serde_json::json!({
                "published": published,
                "duplicates": duplicates,
                "failed": failed,
            }))?,
            Output::Table => line(&format!(
                "{published} events published, {duplicates} of them before; {failed} failed"
            ))?,
        }
        match failed {
            0 => Ok(()),
            _ => Err(Failure::new(format!("{failed} events were not published"))),
        }
    }
}

/// An error with its wrong fields.
fn described(error: &v1::PublishError) -> String {
    if error.field_violations.is_empty() {
        return error.message.clone();
    }
    let fields = error.field_violations.iter();
    let fields: Vec<_> = fields
        .map(|wrong| format!("{}: {}", wrong.field, wrong.description))
        .collect();
    fields.join("; ")
}

/// Nobody panics while holding one of these locks, and what they guard is always whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn batches_continue_each_other_and_bad_lines_are_left_out() {
        let mut input = b"{\"object_type\":\"a\",\"action\":\"b\"}\n\nnot json\n".repeat(100);
        input.extend_from_slice(b"{\"object_type\":\"last\"}");
        let progress = Progress::new(None);
        let (sender, mut batches) = mpsc::channel(AHEAD);
        feed(&input[..], sender, &progress)
            .await
            .expect("the input is readable");
        let mut next = 0;
        let mut last = String::new();
        while let Some(batch) = batches.recv().await {
            assert_eq!(batch.sequence, next);
            next += batch.events.len() as u64;
            last = batch
                .events
                .last()
                .expect("no empty batch")
                .object_type
                .clone();
        }
        assert_eq!((next, last.as_str()), (101, "last"));
        assert_eq!(lock(&progress.tally).failed, 100);
        assert_eq!(lock(&progress.open).get(&100), Some(&301));
        progress.settle(v1::StreamEventsResponse {
            sequence: 0,
            results: vec![
                v1::PublishResult {
                    duplicate: true,
                    ..Default::default()
                };
                100
            ],
            watermark: 100,
        });
        let told = progress.explain(Failure::new("broken")).to_string();
        assert!(
            told.contains("100 events") && told.contains("line 301"),
            "{told}"
        );
    }
}
