//! The body of a request: two shared pieces sent as one, with a known length.
//!
//! One frame of two chained slices, and the end known with it: hyper then writes head and body in one system call,
//! without copying.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::buf::Chain;
use bytes::{Buf as _, Bytes};
use hyper::body::{Body, Frame, SizeHint};

/// What belongs to the event, and what to the subscription.
#[derive(Debug)]
pub(crate) struct Pieces(Option<Chain<Bytes, Bytes>>);

impl Pieces {
    pub(crate) fn new(head: Bytes, tail: Bytes) -> Self {
        Self(Some(head.chain(tail)))
    }
}

impl Body for Pieces {
    type Data = Chain<Bytes, Bytes>;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Poll::Ready(
            self.get_mut()
                .0
                .take()
                .map(|pieces| Ok(Frame::data(pieces))),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.0.as_ref().map_or(0, Chain::remaining);
        SizeHint::with_exact(left as u64)
    }
}
