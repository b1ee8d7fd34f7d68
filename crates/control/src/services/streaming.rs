//! The publishing stream: batches in, results and a watermark out.
//!
//! Batches are published beside each other, as many as fit [`BATCHES`] and [`BYTES`];
//! beyond that the stream is not read, which the client's flow control feels. Each
//! batch is answered as soon as it has its results, in whatever order that is. The
//! watermark rises when the oldest unanswered batch is answered.
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
use crate::{auth::Standing, errors::OperationError};

/// Batches of one stream under way.
const BATCHES: usize = 64;
/// Bytes of one stream's batches under way; one batch may go beyond it.
const BYTES: usize = 8 * 1024 * 1024;

/// One publishing stream.
pub(super) struct PublishStream {
    tenant: TenantId,
    publishing: Publishing,
    standing: Standing,
    drain: Drain,
    answers: mpsc::Sender<Result<v1::StreamEventsResponse, Status>>,
}

/// Results of a batch: its first position, its bytes, and one result per event.
struct Answered {
    sequence: u64,
    bytes: usize,
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
}

impl PublishStream {
    pub(super) const fn new(
        tenant: TenantId,
        publishing: Publishing,
        standing: Standing,
        drain: Drain,
        answers: mpsc::Sender<Result<v1::StreamEventsResponse, Status>>,
    ) -> Self {
        Self {
            tenant,
            publishing,
            standing,
            drain,
            answers,
        }
    }

    /// Serves the stream to its end.
    pub(super) async fn run(self, mut batches: Streaming<v1::StreamEventsRequest>) {
        let mut under_way: FuturesUnordered<BoxFuture<'_, Answered>> = FuturesUnordered::new();
        let (mut next, mut bytes, mut watermark) = (0_u64, 0_usize, Watermark::default());
        let mut end: Option<Result<(), Status>> = None;
        let mut lost = core::pin::pin!(self.standing.lost());
        loop {
            let reading = end.is_none() && under_way.len() < BATCHES && bytes < BYTES;
            if end.is_some() && under_way.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                Some(answered) = under_way.next() => {
                    bytes -= answered.bytes;
                    if !self.answer(&mut watermark, answered).await {
                        return;
                    }
                }
                () = self.drain.draining(), if end.is_none() => {
                    end = Some(Err(OperationError::draining().into()));
                }
                error = &mut lost, if end.is_none() => end = Some(Err(error.into())),
                () = self.answers.closed() => return,
                batch = batches.message(), if reading => match self.take(batch, &mut next) {
                    Ok(Some((sequence, events, size))) => {
                        bytes += size;
                        under_way.push(Box::pin(self.publish(sequence, events, size)));
                    }
                    Ok(None) => end = Some(Ok(())),
                    Err(status) => end = Some(Err(status)),
                },
            }
        }
        if let Some(Err(status)) = end {
            // If the client is gone there is nobody to tell.
            let _ = self.answers.send(Err(status)).await;
        }
    }

    /// The next batch with its place and size; `None` at the end.
    fn take(
        &self,
        batch: Result<Option<v1::StreamEventsRequest>, Status>,
        next: &mut u64,
    ) -> Result<Option<(u64, Vec<v1::Event>, usize)>, Status> {
        let Some(batch) = batch? else {
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

    async fn publish(&self, sequence: u64, events: Vec<v1::Event>, bytes: usize) -> Answered {
        let results = self.publishing.publish(self.tenant, events).await;
        Answered {
            sequence,
            bytes,
            results: results.into_iter().map(in_batch).collect(),
        }
    }

    /// Whether the client still listens.
    async fn answer(&self, watermark: &mut Watermark, answered: Answered) -> bool {
        let Answered {
            sequence, results, ..
        } = answered;
        let watermark = watermark.answered(sequence, sequence + results.len() as u64);
        let answer = v1::StreamEventsResponse {
            watermark,
            sequence,
            results,
        };
        self.answers.send(Ok(answer)).await.is_ok()
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
