//! The body of a response on its way to a guest: ends with an error when the server stays silent for too long.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use samara_model::BodyError;
use tokio::time::{Instant, Sleep, sleep_until};

/// A response's body. The clock runs only while somebody waits for the next frame: a guest that reads slowly is not the
/// server's fault.
#[derive(Debug)]
pub(super) struct Timed {
    incoming: Incoming,
    between: Duration,
    /// Armed while a frame is waited for.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    pub(super) fn new(incoming: Incoming, between: Duration) -> Self {
        Self { incoming, between, alarm: None }
    }
}

impl Body for Timed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(context) {
            this.alarm = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| BodyError::Closed(error.to_string()))));
        }
        let between = this.between;
        let alarm = this.alarm.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + between)));
        match alarm.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(BodyError::Idle { seconds: between.as_secs() }))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
