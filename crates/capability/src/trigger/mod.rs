//! What starts work by itself: times, subjects of a bus, changes of a key-value store.
//!
//! It is here and not among the surfaces because it needs buses, stores and a clock, and nothing of whoever does the work:
//! that is a [`Handler`]. So its tests need no engine and take seconds.
//!
//! A handler that always fails is never asked in a hot loop: a message is tried a number of times with a growing pause
//! ([`Retry`]) and then goes to the dead letter, a change is tried as often and given up, a run by the clock waits for its
//! next time. Every queue here is bounded, and what is lost or left out is counted ([`Counts`]).

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::{kv::Change, messaging::Message};

mod changes;
mod clock;
mod retry;
mod schedule;
mod subject;
#[cfg(test)]
mod tests;

pub use changes::Changes;
pub use clock::{Clock, MAX_WAITING, Overlap};
pub use retry::{MAX_TRIES, Retry};
pub use schedule::{MIN_EVERY, Schedule};
pub use subject::{MAX_DEATHS, SLACK, Subject, Subjects};

/// Events of one trigger that are handled at once, at most.
pub const MAX_CONCURRENCY: u32 = 1024;

/// A trigger that cannot be, and what could.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TriggerError(pub String);

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is time.
    Tick(Tick),
    /// Somebody has published a message.
    Message {
        /// The message.
        message: Message,
        /// How often it has been tried, this time included.
        attempt: u32,
    },
    /// A key-value store has changed.
    Change(Change),
}

/// One time of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// When it was due.
    pub due: DateTime<Utc>,
    /// Times before it that were let go, because the machine slept or the run before took that long.
    pub missed: u64,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is handled. If whoever published the message waits for a reply, this is it.
    Done(Option<Bytes>),
    /// It failed, and may succeed another time.
    Failed(String),
    /// It failed and always will: nobody tries again.
    Refused(String),
    /// Nobody had time for it. It is offered again, after a pause, and this was no try.
    Busy,
}

/// Handles what triggers tell of.
#[async_trait]
pub trait Handler: fmt::Debug + Send + Sync {
    /// Handles one event. Called as often at once as the trigger's concurrency says; must not block its thread. It is dropped
    /// half-way when the trigger is stopped and its grace is over.
    async fn handle(&self, event: Event) -> Outcome;
}

/// What a trigger has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that were handled well.
    pub done: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Messages that were published to the dead letter.
    pub dead: u64,
    /// Events that nobody will handle: given up without a dead letter, or lost by a queue that was full.
    pub lost: u64,
    /// Times of a schedule that were left out, because of the overlap policy or because they were missed.
    pub skipped: u64,
}

/// [`Counts`] while they are counted, and whether the trigger listens.
#[derive(Debug, Default)]
struct Tally {
    done: AtomicU64,
    failed: AtomicU64,
    dead: AtomicU64,
    lost: AtomicU64,
    skipped: AtomicU64,
    ready: AtomicBool,
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// A trigger that was started. It stops at once when it is dropped.
#[derive(Debug)]
pub struct Running {
    tally: Arc<Tally>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    /// Starts a trigger's task.
    fn start<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(Arc<Tally>, Stop) -> F) -> Self {
        let tally = Arc::<Tally>::default();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(Arc::clone(&tally), Stop(stopped)));
        Self { tally, stop, task }
    }

    /// What it has done.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Tally { done, failed, dead, lost, skipped, ready: _ } = &*self.tally;
        Counts { done: read(done), failed: read(failed), dead: read(dead), lost: read(lost), skipped: read(skipped) }
    }

    /// Whether it hears what it is to react to: a subscription is made, a store is watched. A schedule always does.
    pub fn is_ready(&self) -> bool {
        self.tally.ready.load(Ordering::Relaxed)
    }

    /// Stops it: nothing new is begun, and what is being handled has `grace` to end. Answers whether it did.
    pub async fn stop(mut self, grace: Duration) -> bool {
        // It may have ended by itself.
        let _ = self.stop.send(true);
        timeout(grace, &mut self.task).await.is_ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tells a trigger's task that it is to end.
#[derive(Clone, Debug)]
struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits until then.
    async fn told(&mut self) {
        // An error is that nobody holds the trigger any more.
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    /// Waits for a time; answers whether it went by without being told to stop.
    async fn sleep(&mut self, time: Duration) -> bool {
        timeout(time, self.told()).await.is_err()
    }
}
