//! A reply's body on its way from the guest to its reader.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use samara_model::{Body, BodyError};

use crate::{account::CallState, task::Task};

/// A reply's body as its reader sees it: a guest that dies resets it, a reader that leaves ends the guest.
pub(crate) struct GuestBody {
    body: Body,
    task: Option<Task>,
    state: Arc<CallState>,
}

impl GuestBody {
    pub(crate) fn new(body: Body, task: Task, state: Arc<CallState>) -> Self {
        Self { body, task: Some(task), state }
    }
}

impl http_body::Body for GuestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let ended = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.state.metrics().sent(frame.data_ref().map_or(0, Bytes::len));
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(Some(Err(error))) => Some(Err(error)),
            Poll::Ready(None) => None,
            // A guest in the lane may have been answered for, and not have come to close its stream.
            Poll::Pending => match self.task.as_mut().map(|task| task.poll_ended(context)) {
                Some(Poll::Ready(_)) if self.state.failed.load(Ordering::Acquire) => None,
                _ => return Poll::Pending,
            },
        };
        if self.state.failed.load(Ordering::Acquire) {
            // The guest died and its stream just ended: without this the client would take the part for the whole.
            if let Some(fault) = self.state.fault.lock().take() {
                return Poll::Ready(Some(Err(fault.into())));
            }
        }
        if ended.is_none() {
            // Read to its end: the guest may finish what it does after the reply.
            if let Some(task) = self.task.take() {
                task.detach();
            }
        }
        Poll::Ready(ended)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for GuestBody {
    fn drop(&mut self) {
        // hyper does not poll a body again that said it is at its end.
        if self.body.is_end_stream()
            && let Some(task) = self.task.take()
        {
            task.detach();
        }
    }
}
