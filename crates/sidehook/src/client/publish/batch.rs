//! Lines of a file as batches of a publishing stream.
//!
//! A batch is a message, and a server takes none above [`FRAME_BYTES`]: whoever sends a
//! larger one loses the stream. So a batch is closed early, by its events or by its
//! bytes, and an event that fits no message of its own is never sent. Nor is it read
//! into memory: of a line that is too long only the number is kept.

use prost::Message as _;
use sidehook_api::v1;
use sidehook_core::limits::FRAME_BYTES;
use tokio::io::{self, AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

/// Events of one batch.
const EVENTS: usize = 64;
/// Bytes from which on a batch takes no further event; one event may go beyond.
const BYTES: usize = 1024 * 1024;
/// Bytes that a message needs beside its only event: both have a key and a length.
const OVERHEAD: usize = 32;

/// Why an event is not sent.
pub(super) fn too_large(bytes: u64) -> String {
    format!("{bytes} bytes are too many: a message to the server may have {FRAME_BYTES}")
}

/// A line of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// It is in the buffer, with its end.
    Whole,
    /// It is longer than any event may be, and left out.
    TooLong,
    /// There is none any more.
    End,
}

/// Reads the next line into `line`; answers it with its bytes in the input.
///
/// # Errors
/// The input cannot be read.
pub(super) async fn next_line(
    input: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> io::Result<(Line, u64)> {
    line.clear();
    let most = FRAME_BYTES as u64;
    let mut bytes = (&mut *input).take(most).read_until(b'\n', line).await? as u64;
    if bytes == 0 {
        return Ok((Line::End, 0));
    }
    if bytes < most || line.ends_with(b"\n") {
        return Ok((Line::Whole, bytes));
    }
    line.clear();
    loop {
        let rest = input.fill_buf().await?;
        let end = rest.iter().position(|byte| *byte == b'\n');
        let skipped = end.map_or(rest.len(), |end| end + 1);
        input.consume(skipped);
        bytes += skipped as u64;
        if end.is_some() || skipped == 0 {
            return Ok((Line::TooLong, bytes));
        }
    }
}

/// The batch that is being filled.
#[derive(Default)]
pub(super) struct Batch {
    /// Position of its first event in the stream.
    sequence: u64,
    events: Vec<v1::Event>,
    bytes: usize,
}

impl Batch {
    /// Takes an event; answers its position in the stream, and the batch that had to be
    /// closed for it.
    ///
    /// # Errors
    /// The event fits no message; with its bytes.
    pub(super) fn push(
        &mut self,
        event: v1::Event,
    ) -> Result<(u64, Option<v1::StreamEventsRequest>), u64> {
        let bytes = event.encoded_len();
        if bytes + OVERHEAD > FRAME_BYTES {
            return Err(bytes as u64);
        }
        let is_full = self.events.len() == EVENTS || self.bytes + bytes > BYTES;
        let closed = if is_full { self.close() } else { None };
        let position = self.next();
        self.events.push(event);
        self.bytes += bytes;
        Ok((position, closed))
    }

    /// What has been taken, if anything.
    pub(super) fn close(&mut self) -> Option<v1::StreamEventsRequest> {
        if self.events.is_empty() {
            return None;
        }
        let (sequence, next) = (self.sequence, self.next());
        let taken = std::mem::take(self);
        self.sequence = next;
        Some(v1::StreamEventsRequest {
            sequence,
            events: taken.events,
        })
    }

    fn next(&self) -> u64 {
        self.sequence + self.events.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(bytes: usize) -> v1::Event {
        v1::Event {
            data: vec![b' '; bytes].into(),
            ..v1::Event::default()
        }
    }

    #[test]
    fn batches_are_closed_by_events_and_by_bytes_and_continue_each_other() {
        let mut batch = Batch::default();
        let mut closed = Vec::new();
        let sizes = [200_000; 40].into_iter().chain([10; 200]);
        for (index, size) in sizes.enumerate() {
            let (position, full) = batch.push(event(size)).expect("it fits");
            assert_eq!(position, index as u64);
            closed.extend(full);
        }
        closed.extend(batch.close());
        assert_eq!(batch.close(), None);
        let mut next = 0;
        for batch in &closed {
            assert_eq!(batch.sequence, next);
            assert!((1..=EVENTS).contains(&batch.events.len()));
            assert!(batch.encoded_len() <= BYTES + EVENTS * 8);
            next += batch.events.len() as u64;
        }
        assert_eq!(next, 240);
    }

    #[test]
    fn an_event_goes_alone_or_not_at_all() {
        let mut batch = Batch::default();
        batch.push(event(10)).expect("it fits");
        let (_, full) = batch.push(event(3 * BYTES)).expect("it fits alone");
        assert_eq!(full.map(|full| full.events.len()), Some(1));
        assert!(batch.push(event(FRAME_BYTES)).is_err());
        let mut largest = FRAME_BYTES;
        while batch.push(event(largest)).is_err() {
            largest -= 1;
        }
        let message = batch.close().expect("the largest");
        assert_eq!(message.events.len(), 1);
        assert!(message.encoded_len() <= FRAME_BYTES);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_passed_over() {
        let mut input = b"{}\n".to_vec();
        input.extend(vec![b'x'; 2 * FRAME_BYTES]);
        input.extend(b"\nlast");
        let (mut input, mut line) = (&input[..], Vec::new());
        let mut read = Vec::new();
        while let (line @ (Line::Whole | Line::TooLong), bytes) =
            next_line(&mut input, &mut line).await.expect("readable")
        {
            read.push((line, bytes));
        }
        let long = 2 * FRAME_BYTES as u64 + 1;
        let expected = [(Line::Whole, 3), (Line::TooLong, long), (Line::Whole, 4)];
        assert_eq!(read, expected);
    }
}
