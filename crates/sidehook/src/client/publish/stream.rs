//! A file of events through a stream: one half reads batches ahead, the other takes the
//! results, and what both know is where to go on after a broken stream.

use std::{collections::BTreeMap, sync::Mutex};

use indicatif::{ProgressBar, ProgressStyle};
use sidehook_api::v1::{self, event_service_client::EventServiceClient};
use tokio::{io::AsyncBufRead, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::batch::{Batch, Line, next_line, too_large};
use crate::client::{
    Failure, Output,
    channel::Api,
    event_file,
    failure::is_ambiguous,
    render::{json_line, line, some, word},
    terminal::harmless,
};

/// Batches read ahead of the connection.
const AHEAD: usize = 8;

/// What to do where a repeat would be another event.
const LOOK: &str = "without one look into `sidehook event list` before you repeat an event";

/// What the two halves of a stream share.
struct Progress {
    bar: ProgressBar,
    /// Line of each event that has no result yet, by its position in the stream.
    open: Mutex<BTreeMap<u64, u64>>,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    /// With the duplicates.
    published: u64,
    duplicates: u64,
    failed: u64,
    /// Whether some of those that failed may have been published nevertheless.
    uncertain: bool,
    /// The least that any of them has.
    durability: Option<v1::Durability>,
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
            .await
            .map_err(Failure::of_stream)?
            .into_inner();
        while let Some(answer) = answers.message().await.map_err(Failure::of_stream)? {
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
    let (mut batch, mut line) = (Batch::default(), Vec::new());
    for number in 1.. {
        let read = next_line(&mut input, &mut line).await;
        let (kind, bytes) =
            read.map_err(|error| Failure::new(format!("reading events: {error}")))?;
        progress.bar.inc(bytes);
        let full = match kind {
            Line::End => break,
            Line::Whole if line.trim_ascii().is_empty() => continue,
            Line::Whole => take(&line, number, &mut batch, progress),
            Line::TooLong => Err(too_large(bytes)),
        };
        match full {
            Ok(None) => {}
            Ok(Some(full)) => {
                if batches.send(full).await.is_err() {
                    // The other half knows why.
                    return Ok(());
                }
            }
            Err(error) => progress.fail(number, &error),
        }
    }
    if let Some(last) = batch.close() {
        let _ = batches.send(last).await;
    }
    Ok(())
}

/// Takes the line with this number into `batch`; answers the one that was closed for it.
fn take(
    line: &[u8],
    number: u64,
    batch: &mut Batch,
    progress: &Progress,
) -> Result<Option<v1::StreamEventsRequest>, String> {
    let event = event_file::parse(line)?;
    let (position, full) = batch.push(event).map_err(too_large)?;
    lock(&progress.open).insert(position, number);
    Ok(full)
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
                Some(error) => {
                    let is_uncertain = is_ambiguous(Code::from_i32(error.code));
                    lock(&self.tally).uncertain |= is_uncertain;
                    self.fail(number, &described(&error));
                }
                None => {
                    let mut tally = lock(&self.tally);
                    tally.published += 1;
                    tally.duplicates += u64::from(result.duplicate);
                    let own = result.durability();
                    // In the API a safer one has a larger number.
                    tally.durability = Some(tally.durability.map_or(own, |least| least.min(own)));
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
        let published = counted(published, "event");
        let failure = failure.hint(format!("{published} published until then"));
        match lock(&self.open).first_key_value() {
            Some((_, number)) => failure.hint(format!(
                "line {number} is the first without a result; it and what follows may have been \
                 published. Publish from there on if the events have an `idempotency_key`; {LOOK}"
            )),
            None => failure,
        }
    }

    fn conclude(&self, output: Output) -> Result<(), Failure> {
        let tally = lock(&self.tally);
        match output {
            Output::Json => json_line(&tally.as_json())?,
            Output::Table => line(&tally.in_words())?,
        }
        match tally.failed {
            0 => Ok(()),
            failed => {
                let failure = format!("{} not published", counted(failed, "event"));
                let failure = Failure::new(failure);
                let failure = failure.hint("the lines above say which, and what is wrong");
                Err(if tally.uncertain {
                    failure.hint(format!(
                        "some may have been published nevertheless. Repeat those that have an \
                         `idempotency_key`; {LOOK}"
                    ))
                } else {
                    failure
                })
            }
        }
    }
}

impl Tally {
    fn durability(&self) -> String {
        let least = self.durability.unwrap_or_default();
        word(least.as_str_name(), "DURABILITY_")
    }

    fn as_json(&self) -> serde_json::Value {
        serde_json::json!({
            "published": self.published,
            "duplicates": self.duplicates,
            "failed": self.failed,
            "durability": some(self.durability()),
        })
    }

    fn in_words(&self) -> String {
        let mut words = format!("{} published", counted(self.published, "event"));
        if self.duplicates > 0 {
            let repeats = counted(self.duplicates, "duplicate");
            words.push_str(&format!(
                " ({repeats} of earlier ones, not delivered again)"
            ));
        }
        if self.failed > 0 {
            words.push_str(&format!(", {} refused", self.failed));
        }
        match self.durability().as_str() {
            "" => words,
            durability => format!("{words}; durability {durability}"),
        }
    }
}

/// So many things, in words.
fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
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
        assert!(
            told.contains("may have been published") && told.contains("sidehook event list"),
            "{told}"
        );
    }

    #[test]
    fn lines_that_failed_may_have_been_published() {
        for (code, may_have_been) in [(Code::Unavailable, true), (Code::InvalidArgument, false)] {
            let progress = Progress::new(None);
            let error = v1::PublishError {
                code: code.into(),
                ..Default::default()
            };
            progress.settle(v1::StreamEventsResponse {
                sequence: 0,
                results: vec![v1::PublishResult {
                    error: Some(error),
                    ..Default::default()
                }],
                watermark: 1,
            });
            let failure = progress.conclude(Output::Json).expect_err("one failed");
            let told = failure.to_string();
            assert_eq!(
                told.contains("may have been published"),
                may_have_been,
                "{told}"
            );
        }
    }

    #[test]
    fn a_tally_tells_all_in_words() {
        let mut tally = Tally {
            published: 1,
            durability: Some(v1::Durability::Relaxed),
            ..Tally::default()
        };
        assert_eq!(tally.in_words(), "1 event published; durability relaxed");
        (tally.published, tally.duplicates, tally.failed) = (5, 2, 1);
        assert_eq!(
            tally.in_words(),
            "5 events published (2 duplicates of earlier ones, not delivered again), 1 refused; \
             durability relaxed"
        );
        assert_eq!(Tally::default().in_words(), "0 events published");
    }
}
