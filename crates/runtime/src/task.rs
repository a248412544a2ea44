//! The task that drives one guest: where its call came in, and in the lane once it has run for long.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use samara_model::{Limit, format_duration};
use tokio::task::{JoinError, JoinHandle};

use crate::{
    account::{CallState, Ended},
    error::limit,
    lane,
};

/// How long after its deadline a call in the lane is answered for, if the lane has not come to it: a machine that short
/// calls keep busy gives the lane little time.
const LANE_GRACE: Duration = Duration::from_millis(5);

/// A guest's task, which ends with whoever waits for it.
#[derive(Debug)]
pub(crate) struct Task(Option<JoinHandle<()>>);

impl Task {
    /// Starts a guest. It is polled on this runtime until its call is a long one.
    pub(crate) fn start(run: impl Future<Output = ()> + Send + 'static, state: &Arc<CallState>) -> Self {
        Self(Some(match state.workload.lane {
            None => tokio::spawn(run),
            Some(_) => tokio::spawn(drive(Box::pin(run), Arc::clone(state))),
        }))
    }

    /// Lets the task go on by itself: dropping a handle does not abort.
    pub(crate) fn detach(mut self) {
        drop(self.0.take());
    }

    /// Ready when the task has ended; only once with its error.
    pub(crate) fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<Result<(), JoinError>> {
        let Some(handle) = &mut self.0 else { return Poll::Ready(Ok(())) };
        let ended = ready!(Pin::new(handle).poll(context));
        self.0 = None;
        Poll::Ready(ended)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}

/// Polls a guest here while its call is short, and moves it to the lane when it is not.
async fn drive<F>(mut run: Pin<Box<F>>, state: Arc<CallState>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut here = lane::is_lane();
    loop {
        let ended = poll_fn(|context| match run.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending if !here && state.meter.is_long() => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        });
        if ended.await {
            return;
        }
        let Some(lane) = &state.workload.lane else { return };
        match lane.spawn(run) {
            Ok(handle) => {
                state.metrics().went_long();
                return in_lane(Task(Some(handle)), &state).await;
            }
            Err(back) => (run, here) = (back, true),
        }
    }
}

/// Waits for a guest in the lane, and answers for it if it has not noticed its deadline. Dropped, it ends the guest.
async fn in_lane(mut task: Task, state: &CallState) {
    let ended = poll_fn(|context| task.poll_ended(context));
    let Some(deadline) = state.workload.limits().deadline else {
        // A panic there has been booked there.
        drop(ended.await);
        return;
    };
    let left = deadline.saturating_add(LANE_GRACE).saturating_sub(state.meter.began().elapsed());
    if tokio::time::timeout(left, ended).await.is_err() {
        let fault = limit(Limit::Deadline, format_duration(deadline));
        state.end(Ended { result: Err(fault), memory_bytes: 0, backtrace: None });
    }
}
