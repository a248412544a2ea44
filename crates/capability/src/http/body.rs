//! The body of a response on its way to a guest: ends with an error when the server stays silent for too long, or all of it
//! takes longer than its grant allows.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use samara_model::{BodyError, Fault, format_duration};
use tokio::time::{Instant, Sleep, sleep_until};

/// A response's body. The clock runs only while somebody waits for the next frame: a guest that reads slowly is not the
/// server's fault. The end of all its time comes whoever is slow.
#[derive(Debug)]
pub(super) struct Timed {
    incoming: Incoming,
    between: Duration,
    end: Option<End>,
    /// Armed while a frame is waited for.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    pub(super) fn new(incoming: Incoming, between: Duration, end: Option<End>) -> Self {
        Self { incoming, between, end, alarm: None }
    }
}

impl Body for Timed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(end) = this.end.as_ref().filter(|end| Instant::now() >= end.at)
            && !this.incoming.is_end_stream()
        {
            this.alarm = None;
            return Poll::Ready(Some(Err(end.over())));
        }
        if let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(context) {
            this.alarm = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| BodyError::Closed(error.to_string()))));
        }
        let between = this.between;
        let end = this.end.as_ref();
        let alarm = this.alarm.get_or_insert_with(|| {
            let idle = Instant::now() + between;
            Box::pin(sleep_until(end.map_or(idle, |end| end.at.min(idle))))
        });
        match alarm.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(match end {
                Some(end) if Instant::now() >= end.at => end.over(),
                _ => BodyError::Idle { seconds: between.as_secs() },
            }))),
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

/// When all of a response must have come, whatever it does.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// When.
    pub(super) at: Instant,
    /// How long that was from the request.
    pub(super) total: Duration,
    /// Who did not make it.
    pub(super) origin: String,
}

impl End {
    fn over(&self) -> BodyError {
        let detail = format!("the response was not complete within `{}`", format_duration(self.total));
        BodyError::Fault(Fault::Backend { name: self.origin.clone(), detail, slow: true })
    }
}
