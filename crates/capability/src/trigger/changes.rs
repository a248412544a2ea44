//! Changes of a key-value store that are handed to a handler, one after the other.
//!
//! A change is known to this process alone and has no acknowledgement: it is tried as often as [`Retry`] says, while those
//! after it wait in the watcher's queue, and then given up. What a queue that was full or a connection that was lost has cost
//! is told as [`Change::Missed`](crate::kv::Change::Missed), once.

use std::sync::{Arc, atomic::Ordering};

use super::{
    Event, Handler, Outcome, Retry, Running, Stop, Tally, TriggerError, count,
    retry::{away, busy},
};
use crate::kv::{Change, KeyValue, Watch};

/// A trigger by changes of a store.
#[derive(Debug)]
pub struct Changes {
    store: Arc<dyn KeyValue>,
    prefix: String,
    retry: Retry,
    handler: Arc<dyn Handler>,
}

impl Changes {
    /// A trigger that tells a handler of every change of a key below a prefix. Give it a workload's or a tenant's view of the
    /// store.
    ///
    /// # Errors
    /// The number of tries cannot be.
    pub fn new(
        store: Arc<dyn KeyValue>,
        prefix: &str,
        retry: Retry,
        handler: Arc<dyn Handler>,
    ) -> Result<Self, TriggerError> {
        retry.check()?;
        Ok(Self { store, prefix: prefix.to_owned(), retry, handler })
    }

    /// Starts it. A store that is out of reach is asked again with a growing pause; [`Running::is_ready`] tells.
    pub fn start(self) -> Running {
        Running::start(|tally, stop| self.run(tally, stop))
    }

    async fn run(self, tally: Arc<Tally>, mut stop: Stop) {
        let mut failures = 0_u32;
        // Whoever subscribes anew does not know what happened meanwhile.
        let mut again = false;
        loop {
            let watched = tokio::select! {
                () = stop.told() => return,
                watched = self.store.watch(&self.prefix) => watched,
            };
            match watched {
                Ok(watch) => {
                    failures = 0;
                    tally.ready.store(true, Ordering::Relaxed);
                    let going = self.watch(watch, again, &tally, &mut stop).await;
                    tally.ready.store(false, Ordering::Relaxed);
                    if !going {
                        return;
                    }
                    again = true;
                }
                Err(error) => {
                    let prefix = &self.prefix;
                    tracing::warn!(%prefix, %error, "a trigger sees no changes; trying again");
                }
            }
            // A store that closes its watchers as soon as they come is no reason for a hot loop.
            failures = failures.saturating_add(1);
            if !stop.sleep(away(failures)).await {
                return;
            }
        }
    }

    /// Handles changes until the store is closed; answers whether the trigger goes on.
    async fn watch(&self, mut watch: Watch, again: bool, tally: &Tally, stop: &mut Stop) -> bool {
        if again && !self.handle(Change::Missed, tally, stop).await {
            return false;
        }
        loop {
            let change = tokio::select! {
                () = stop.told() => return false,
                change = watch.next() => change,
            };
            let Some(change) = change else { return true };
            if !self.handle(change, tally, stop).await {
                return false;
            }
        }
    }

    /// Handles one change to its end; answers whether the trigger goes on.
    async fn handle(&self, change: Change, tally: &Tally, stop: &mut Stop) -> bool {
        let (mut attempt, mut busy_times) = (1, 0_u32);
        loop {
            let (why, is_last) = match self.handler.handle(Event::Change(change.clone())).await {
                Outcome::Done(_) => {
                    count(&tally.done, 1);
                    return true;
                }
                Outcome::Busy => {
                    busy_times = busy_times.saturating_add(1);
                    if !stop.sleep(busy(busy_times)).await {
                        return false;
                    }
                    continue;
                }
                Outcome::Refused(why) => (why, true),
                Outcome::Failed(why) => (why, attempt >= self.retry.tries),
            };
            count(&tally.failed, 1);
            if is_last {
                tracing::warn!(?change, attempt, %why, "a change is given up");
                count(&tally.lost, 1);
                return true;
            }
            if !stop.sleep(self.retry.pause(attempt)).await {
                return false;
            }
            attempt += 1;
        }
    }
}
