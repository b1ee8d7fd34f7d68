//! Frames on their way to one agent.
//!
//! Whoever has a frame puts it in; the connection takes them out as fast as the agent
//! reads. Nobody waits here: the agent's credit bounds its work, and an
//! acknowledgement takes in one that has not left yet. What else an agent can cause
//! it must also read, or the session ends. An agent says itself what its credit is and
//! what is done with, so frames and their bytes are counted here as well: while a few
//! frames wait nothing more is lent to it, whatever it says that it takes, and one that
//! takes nothing for a while loses its session and what waits for it.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{Stream, task::AtomicWaker};
use parking_lot::Mutex;
use sidehook_api::agent_v1::{ConnectResponse, OutcomesAck, connect_response::Frame};
use sidehook_core::limits::FRAME_BYTES;
use sidehook_session::server_end::Ack;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Frames that may wait, beside one per delivery of the agent's capacity.
const FRAMES: usize = 1_024;
/// Bytes that wait before nothing more is lent: as many as an agent has credit for unless
/// it says otherwise, so that one which reads is never held back.
const WAITING_BYTES: usize = 16 * FRAME_BYTES;
/// Bytes that may wait beside them: of the last lease, and of what is not one.
const OVERDRAFT_BYTES: usize = 2 * FRAME_BYTES;
/// Heartbeats in which an agent may take none of the frames that wait for it.
const UNREAD_HEARTBEATS: u32 = 6;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    waker: AtomicWaker,
    gone: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    /// With their bytes.
    frames: VecDeque<(Frame, usize)>,
    bytes: usize,
    ack: Option<Ack>,
    room: usize,
    room_bytes: usize,
    /// Whether something was taken since the last heartbeat.
    taken: bool,
    /// Heartbeats since something that waits was taken.
    unread: u32,
    over: bool,
    error: Option<Status>,
}

impl State {
    fn cut_off(&mut self) {
        if !self.over {
            let text = "the agent does not read what it is sent";
            self.error = Some(Status::resource_exhausted(text));
        }
        self.over = true;
        self.frames = VecDeque::new();
        self.bytes = 0;
        self.ack = None;
    }
}

impl Outbox {
    /// Makes room for one frame per delivery that the agent takes, and for their bytes.
    pub(crate) fn expect(&self, capacity: u32, capacity_bytes: u64) {
        let mut state = self.state.lock();
        state.room = capacity as usize;
        let bytes = usize::try_from(capacity_bytes).unwrap_or(usize::MAX);
        state.room_bytes = bytes.min(WAITING_BYTES);
    }

    /// Whether so much waits that nothing more should be lent.
    pub(crate) fn is_full(&self) -> bool {
        let state = self.state.lock();
        state.bytes > 0 && state.bytes >= state.room_bytes
    }

    /// A heartbeat's time went by. `false`: the agent has taken nothing for so long that
    /// the stream is over, and what waited is dropped.
    pub(crate) fn is_read(&self) -> bool {
        let is_read = {
            let mut state = self.state.lock();
            let is_idle = state.frames.is_empty() && state.ack.is_none();
            state.unread = match is_idle || state.taken {
                true => 0,
                false => state.unread + 1,
            };
            state.taken = false;
            let is_read = state.unread < UNREAD_HEARTBEATS;
            if !is_read {
                state.cut_off();
            }
            is_read
        };
        if !is_read {
            self.waker.wake();
        }
        is_read
    }

    /// Puts a frame in.
    pub(crate) fn push(&self, frame: Frame) {
        let bytes = frame.encoded_len();
        {
            let mut state = self.state.lock();
            if state.over {
                return;
            }
            state.bytes += bytes;
            let room_bytes = OVERDRAFT_BYTES + state.room_bytes;
            if state.frames.len() >= FRAMES + state.room || state.bytes > room_bytes {
                state.cut_off();
            } else {
                state.frames.push_back((frame, bytes));
            }
        }
        self.waker.wake();
    }

    /// Says what is settled, together with what has not left yet.
    pub(crate) fn acknowledge(&self, ack: Ack) {
        self.state.lock().ack.get_or_insert_default().merge(ack);
        self.waker.wake();
    }

    /// Ends the stream after what is in it, with an error if there is one.
    pub(crate) fn finish(&self, error: Option<Status>) {
        {
            let mut state = self.state.lock();
            if !state.over {
                state.over = true;
                state.error = error;
            }
        }
        self.waker.wake();
    }

    /// Resolves when the connection is gone.
    pub(crate) async fn gone(&self) {
        self.gone.cancelled().await;
    }
}

/// What one agent is sent. Dropping it tells that the connection is gone.
#[derive(Debug)]
pub struct Outgoing(pub(crate) Arc<Outbox>);

impl Stream for Outgoing {
    type Item = Result<ConnectResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.waker.register(context.waker());
        let mut state = self.0.state.lock();
        // Welcome comes first: nothing can be acknowledged before it is in.
        let ack = state.ack.take().map(|ack| {
            Frame::OutcomesAck(OutcomesAck {
                watermark: ack.watermark,
                above: ack.above,
            })
        });
        let next = ack.or_else(|| {
            let (frame, bytes) = state.frames.pop_front()?;
            state.bytes -= bytes;
            Some(frame)
        });
        if let Some(frame) = next {
            state.taken = true;
            return Poll::Ready(Some(Ok(ConnectResponse { frame: Some(frame) })));
        }
        if !state.over {
            return Poll::Pending;
        }
        Poll::Ready(state.error.take().map(Err))
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.0.gone.cancel();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::StreamExt as _;
    use sidehook_api::agent_v1::{Assign, Heartbeat};

    use super::*;

    fn beat(number: u64) -> Frame {
        Frame::Heartbeat(Heartbeat {
            number,
            in_flight: 0,
        })
    }

    #[tokio::test]
    async fn frames_keep_their_order_and_acks_only_the_newest() {
        let outbox = Arc::new(Outbox::default());
        let mut stream = Outgoing(Arc::clone(&outbox));
        outbox.push(beat(1));
        for watermark in 1..=3 {
            outbox.acknowledge(Ack {
                watermark,
                above: vec![],
            });
        }
        outbox.push(beat(2));
        outbox.finish(None);
        outbox.push(beat(3));
        let mut seen = Vec::new();
        while let Some(Ok(response)) = stream.next().await {
            seen.push(match response.frame {
                Some(Frame::OutcomesAck(ack)) => 100 + ack.watermark,
                Some(Frame::Heartbeat(beat)) => beat.number,
                other => panic!("not sent: {other:?}"),
            });
        }
        assert_eq!(seen, [103, 1, 2]);
        drop(stream);
        outbox.gone().await;
    }

    #[tokio::test]
    async fn an_agent_that_does_not_read_is_cut_off() {
        let outbox = Arc::new(Outbox::default());
        outbox.expect(10, 0);
        for number in 0..=(FRAMES as u64 + 10) {
            outbox.push(beat(number));
        }
        let first = Outgoing(outbox).next().await.expect("an error");
        let code = first.expect_err("cut off").code();
        assert_eq!(code, tonic::Code::ResourceExhausted);
    }

    #[tokio::test]
    async fn an_agent_that_takes_nothing_for_some_heartbeats_is_cut_off() {
        let outbox = Arc::new(Outbox::default());
        let mut stream = Outgoing(Arc::clone(&outbox));
        for _ in 0..3 * UNREAD_HEARTBEATS {
            assert!(outbox.is_read(), "nothing waits");
        }
        for number in 0..10 {
            outbox.push(beat(number));
        }
        for _ in 0..5 {
            for _ in 1..UNREAD_HEARTBEATS {
                assert!(outbox.is_read());
            }
            stream.next().await.expect("open").expect("a frame");
        }
        for _ in 0..UNREAD_HEARTBEATS {
            assert!(outbox.is_read());
        }
        assert!(!outbox.is_read());
        outbox.push(beat(10));
        let end = stream.next().await.expect("an error");
        let code = end.expect_err("what waited is gone").code();
        assert_eq!(code, tonic::Code::ResourceExhausted);
    }

    #[test]
    fn nothing_more_is_lent_while_a_few_frames_wait_whatever_the_agent_says() {
        let outbox = Outbox::default();
        outbox.expect(u32::MAX, u64::MAX);
        let large = Frame::Assign(Assign {
            events: vec![Bytes::from(vec![0; FRAME_BYTES / 2])],
            ..Assign::default()
        });
        let mut lent = 0;
        while !outbox.is_full() {
            outbox.push(large.clone());
            lent += 1;
            assert!(lent < 40, "without end");
        }
        assert_eq!(lent, 32);
        assert!(!outbox.state.lock().over);
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_given_back_when_they_leave() {
        let outbox = Arc::new(Outbox::default());
        let mut stream = Outgoing(Arc::clone(&outbox));
        let event = Bytes::from(vec![0; FRAME_BYTES / 2]);
        let large = || {
            Frame::Assign(Assign {
                events: vec![event.clone()],
                ..Assign::default()
            })
        };
        let room = large().encoded_len() as u64 * 3;
        outbox.expect(1_000, room);
        let most = (OVERDRAFT_BYTES + room as usize) / large().encoded_len();
        for _ in 0..most {
            outbox.push(large());
        }
        for _ in 0..5 {
            stream.next().await.expect("open").expect("it fits");
            outbox.push(large());
        }
        outbox.push(large());
        let end = stream.next().await.expect("an error");
        let code = end.expect_err("cut off").code();
        assert_eq!(code, tonic::Code::ResourceExhausted);
    }
}
