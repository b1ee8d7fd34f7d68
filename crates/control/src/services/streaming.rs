//! The publishing stream: batches in, results and a watermark out.
//!
//! Batches are published beside each other, as many as fit [`BATCHES`] and [`BYTES`];
//! beyond that the stream is not read, which the client's flow control feels. Each
//! batch is answered as soon as it has its results, in whatever order that is. The
//! watermark rises when the oldest unanswered batch is answered.
//!
//! A batch is read only once there is room for its answer, and the stream's end has its
//! room from the beginning: so a client that takes no answers sends nothing more, and
//! keeps nothing waiting.
//!
//! Whatever ends the stream (the client's end, a drain, a revoked key, a batch that
//! breaks the rules), what was taken is published and answered first.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use prost::Message as _;
use sidehook_api::v1;
use sidehook_core::id::TenantId;
use sidehook_runtime::drain::Drain;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::publishing::{Publishing, check_batch, in_batch};
use crate::{
    auth::Standing,
    errors::{OperationError, behind},
};

/// Batches of one stream under way, and answers that its client has not taken yet.
const BATCHES: usize = 64;
/// Bytes of one stream's batches under way; one batch may go beyond it.
const BYTES: usize = 8 * 1024 * 1024;

type Answer = Result<v1::StreamEventsResponse, Status>;

/// One publishing stream.
pub(super) struct PublishStream {
    tenant: TenantId,
    publishing: Publishing,
    standing: Standing,
    drain: Drain,
    answers: mpsc::Sender<Answer>,
}

/// Results of a batch: its first position, its bytes, the room for its answer, and one
/// result per event.
struct Answered<'a> {
    sequence: u64,
    bytes: usize,
    room: mpsc::Permit<'a, Answer>,
    results: Vec<v1::PublishResult>,
}

/// Which positions have been answered.
#[derive(Debug, Default, PartialEq, Eq)]
struct Watermark {
    below: u64,
    /// Ends of answered batches above, by their starts.
    above: BTreeMap<u64, u64>,
}

impl Watermark {
    /// Notes that the positions from `start` below `end` are answered.
    fn answered(&mut self, start: u64, end: u64) -> u64 {
        self.above.insert(start, end);
        while let Some(end) = self.above.remove(&self.below) {
            self.below = end;
        }
        self.below
    }

    fn answer(&mut self, answered: Answered<'_>) {
        let Answered {
            sequence,
            room,
            results,
            ..
        } = answered;
        let watermark = self.answered(sequence, sequence + results.len() as u64);
        room.send(Ok(v1::StreamEventsResponse {
            watermark,
            sequence,
            results,
        }));
    }
}

impl PublishStream {
    /// A stream that is to run, and its answers.
    pub(super) fn new(
        tenant: TenantId,
        publishing: Publishing,
        standing: Standing,
        drain: Drain,
    ) -> (Self, mpsc::Receiver<Answer>) {
        let (answers, stream) = mpsc::channel(BATCHES + 1);
        let this = Self {
            tenant,
            publishing,
            standing,
            drain,
            answers,
        };
        (this, stream)
    }

    /// Serves the stream to its end.
    pub(super) async fn run(self, mut batches: Streaming<v1::StreamEventsRequest>) {
        // Fails only if the client is gone already.
        let Ok(last) = self.answers.try_reserve() else {
            return;
        };
        let mut under_way: FuturesUnordered<BoxFuture<'_, Answered<'_>>> = FuturesUnordered::new();
        let (mut next, mut bytes, mut watermark) = (0_u64, 0_usize, Watermark::default());
        let mut room = None;
        let mut lost = core::pin::pin!(self.standing.lost());
        let mut end: Option<Result<(), Status>> = None;
        while end.is_none() || !under_way.is_empty() {
            let reading = end.is_none() && bytes < BYTES;
            tokio::select! {
                biased;
                Some(answered) = under_way.next() => {
                    bytes -= answered.bytes;
                    watermark.answer(answered);
                }
                () = self.drain.draining(), if end.is_none() => {
                    end = Some(Err(OperationError::draining().into()));
                }
                error = &mut lost, if end.is_none() => end = Some(Err(error.into())),
                () = self.answers.closed() => return,
                Ok(free) = self.answers.reserve(), if reading && room.is_none() => {
                    room = Some(free);
                }
                batch = batches.message(), if reading && room.is_some() => {
                    match (self.take(batch, &mut next), room.take()) {
                        (Ok(Some((sequence, events, size))), Some(room)) => {
                            bytes += size;
                            under_way.push(Box::pin(self.publish(sequence, events, size, room)));
                        }
                        (Ok(_), _) => end = Some(Ok(())),
                        (Err(status), _) => end = Some(Err(status)),
                    }
                }
            }
        }
        if let Some(Err(status)) = end {
            last.send(Err(status));
        }
    }

    /// The next batch with its place and size; `None` at the end.
    fn take(
        &self,
        batch: Result<Option<v1::StreamEventsRequest>, Status>,
        next: &mut u64,
    ) -> Result<Option<(u64, Vec<v1::Event>, usize)>, Status> {
        let refused = |status: Status| behind(&status).map_or(status, Status::from);
        let Some(batch) = batch.map_err(refused)? else {
            return Ok(None);
        };
        check_batch(&batch.events)?;
        if batch.sequence != *next {
            let description = format!(
                "must be {next}: each batch continues where the one before ended, from 0 on"
            );
            return Err(OperationError::field("sequence", description).into());
        }
        let size = batch.encoded_len();
        *next += batch.events.len() as u64;
        Ok(Some((batch.sequence, batch.events, size)))
    }

    async fn publish<'a>(
        &self,
        sequence: u64,
        events: Vec<v1::Event>,
        bytes: usize,
        room: mpsc::Permit<'a, Answer>,
    ) -> Answered<'a> {
        let results = self.publishing.publish(self.tenant, events).await;
        Answered {
            sequence,
            bytes,
            room,
            results: results.into_iter().map(in_batch).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watermark_waits_for_the_oldest() {
        let mut watermark = Watermark::default();
        assert_eq!(watermark.answered(10, 20), 0);
        assert_eq!(watermark.answered(25, 30), 0);
        assert_eq!(watermark.answered(0, 10), 20);
        assert_eq!(watermark.answered(20, 25), 30);
        assert_eq!(watermark.above.len(), 0);
    }
}
