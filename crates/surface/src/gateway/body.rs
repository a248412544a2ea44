//! Bodies on their way in and out: time-outs, lengths, limits, and the sign that a request is over.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use samara_model::{Body, BodyError, Fault};
use samara_telemetry::{Watch, Watched};
use tokio::time::{Instant, Sleep};

use super::connection::InFlight;

/// A request's body as guests read it.
pub(super) fn incoming(body: Incoming, idle: Duration) -> Body {
    // Most requests have none; an empty body costs no allocation.
    if body.is_end_stream() { samara_model::empty() } else { Received { body, idle, timer: None }.boxed_unsync() }
}

/// The same body, with what is read of it noted.
pub(super) fn noted(body: Body, watch: &Watch) -> Body {
    if !watch.is_on() || body.is_end_stream() {
        return body;
    }
    let watch = watch.clone();
    let note = move |frame: Frame<Bytes>| {
        watch.received(frame.data_ref().map_or(0, Bytes::len));
        frame
    };
    body.map_frame(note).boxed_unsync()
}

/// A body from the network, which must not fall silent.
struct Received {
    body: Incoming,
    idle: Duration,
    /// Made when first waited for, which small bodies never are.
    timer: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.timer = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| BodyError::Closed(error.to_string()))));
        }
        let idle = this.idle;
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + idle)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Some(Err(BodyError::Idle { seconds: idle.as_secs() })))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A guest's body held to the length it declared and to the workload's limit. One that breaks either is reset.
pub(super) struct Measured {
    body: Body,
    /// Bytes that must still come, where the guest said how many.
    declared: Option<u64>,
    /// Bytes that may still come.
    left: u64,
    limit: u64,
}

impl Measured {
    pub(super) fn new(body: Body, declared: Option<u64>, limit: Option<u64>) -> Self {
        let limit = limit.unwrap_or(u64::MAX);
        Self { body, declared, left: limit, limit }
    }

    fn count(&mut self, length: u64) -> Result<(), BodyError> {
        self.left = self.left.checked_sub(length).ok_or(BodyError::TooLarge { limit: self.limit })?;
        if let Some(declared) = &mut self.declared {
            let more = || Fault::Guest("its body is longer than its `content-length`".into());
            *declared = declared.checked_sub(length).ok_or_else(more)?;
        }
        Ok(())
    }
}

impl http_body::Body for Measured {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
                Some(self.count(length).map(|()| frame))
            }
            None if self.declared.is_some_and(|declared| declared > 0) => {
                self.declared = None;
                Some(Err(Fault::Guest("its body is shorter than its `content-length`".into()).into()))
            }
            other => other,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.declared.is_none_or(|declared| declared == 0)
    }

    fn size_hint(&self) -> SizeHint {
        self.declared.map_or_else(|| self.body.size_hint(), SizeHint::with_exact)
    }
}

/// A response's body as hyper sends it. The request is in flight as long as this lives.
pub(super) struct Outgoing {
    body: Body,
    failed: Option<BodyError>,
    in_flight: InFlight,
    /// Whether a frame was handed on and the next one not asked for.
    handed_on: bool,
    /// Ends with the response, if somebody watches the request.
    watched: Option<Box<Watched>>,
}

impl Outgoing {
    pub(super) fn new(body: Body, mut in_flight: InFlight, watched: Option<Box<Watched>>) -> Self {
        in_flight.answered();
        Self { body, failed: None, in_flight, handed_on: false, watched }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if self.handed_on {
            self.in_flight.taken();
        }
        // hyper does not poll a body again that said it is at its end.
        if let Some(watched) = &mut self.watched
            && self.failed.is_none()
            && self.body.is_end_stream()
        {
            watched.completed();
        }
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if std::mem::take(&mut self.handed_on) {
            self.in_flight.taken();
        }
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Err(error)) => {
                // hyper forgets what it has not written yet when a body fails: let it write first, then tell it.
                self.failed = Some(error);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Ok(frame)) => {
                self.in_flight.handed_on();
                self.handed_on = true;
                if let Some(watched) = &self.watched {
                    watched.sent(frame.data_ref().map_or(0, Bytes::len));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            None => {
                if let Some(watched) = &mut self.watched {
                    watched.completed();
                }
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.failed.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;
    use samara_model::collect;

    fn chunks(chunks: &[&'static str]) -> Body {
        let frames: Vec<_> = chunks.iter().map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes())))).collect();
        StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
    }

    #[tokio::test]
    async fn bodies_are_collected_up_to_the_limit() {
        for parts in [&[][..], &["abc"], &["a", "b", "c"], &["", "abc"]] {
            let whole = collect(chunks(parts), 3).await.unwrap();
            assert_eq!(whole, parts.concat());
        }
        assert_eq!(collect(chunks(&["ab", "cd"]), 3).await.unwrap_err().status(), 413);
        assert_eq!(collect(samara_model::full("abcd"), 3).await.unwrap_err().status(), 413);
    }

    async fn measured(declared: Option<u64>, limit: Option<u64>, parts: &[&'static str]) -> Result<Bytes, String> {
        let body = Measured::new(chunks(parts), declared, limit);
        body.collect().await.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_body_must_be_as_long_as_it_says() {
        assert_eq!(measured(Some(3), None, &["a", "bc"]).await.unwrap(), "abc");
        assert!(measured(Some(3), None, &["ab"]).await.unwrap_err().contains("shorter"));
        assert!(measured(Some(3), None, &["ab", "cd"]).await.unwrap_err().contains("longer"));
        assert!(measured(None, Some(3), &["ab", "cd"]).await.unwrap_err().contains("limit of 3 bytes"));
        assert_eq!(measured(None, Some(4), &["ab", "cd"]).await.unwrap(), "abcd");
    }
}
