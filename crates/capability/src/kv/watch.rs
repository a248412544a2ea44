//! Changes of a store, told to whoever watches: which key, and whether it is there now.
//!
//! A change carries no value. Whoever needs it asks for it, and gets the newest; so a watcher costs the same whatever is
//! written, and nobody acts on a value that is gone.
//!
//! Every watcher has a queue of [`WATCH_QUEUE`] changes. One that is slower than the writers loses the rest and is told so
//! ([`Change::Missed`]): it knows that it must look for itself, and nobody waits for it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::RwLock;
use tokio::sync::mpsc::{self, Receiver, Sender, error::TryRecvError};

use super::KvError;

/// Changes that wait for one watcher, at most.
pub const WATCH_QUEUE: usize = 1024;

/// Watchers of one open backend, at most.
pub const WATCHERS: usize = 1024;

/// Something that happened to a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key has a new value.
    Set(String),
    /// The key was removed, or its time was over.
    Removed(String),
    /// Changes were lost: by a reader that is too slow, or while the backend was out of reach. Any key may differ from what
    /// the reader knows.
    Missed,
}

/// The changes under a prefix, in the order in which they happened to each key.
///
/// It ends when the backend is closed; one that is exchanged ([`crate::Link`]) is closed when its last operation ends.
#[derive(Debug)]
pub struct Watch {
    queue: Receiver<Change>,
    missed: Arc<AtomicBool>,
    /// Leading bytes of each key that are not the reader's.
    strip: usize,
}

impl Watch {
    /// The next change; `None` once the backend is closed. Dropped half-way, it loses nothing.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            let change = match self.queue.try_recv() {
                Ok(change) => change,
                // What was lost came after all that was queued.
                Err(TryRecvError::Empty) if self.missed.swap(false, Ordering::AcqRel) => Change::Missed,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => self.queue.recv().await?,
            };
            if change == Change::Missed {
                // From here on changes are queued again; those before are what the reader is about to be told of.
                self.missed.store(false, Ordering::Release);
            }
            if let Some(change) = self.own(change) {
                return Some(change);
            }
        }
    }

    /// Takes `prefix` off the keys: they are told as their reader knows them.
    pub(super) fn without(mut self, prefix: &str) -> Self {
        self.strip += prefix.len();
        self
    }

    fn own(&self, change: Change) -> Option<Change> {
        let strip = |key: String| key.get(self.strip..).map(str::to_owned);
        Some(match change {
            Change::Set(key) => Change::Set(strip(key)?),
            Change::Removed(key) => Change::Removed(strip(key)?),
            Change::Missed => Change::Missed,
        })
    }
}

/// The watchers of one backend: a provider tells it what happens.
#[derive(Debug, Default)]
pub(super) struct Hub {
    watchers: RwLock<Vec<Watcher>>,
    /// Whether there is anybody, without the lock: most stores are never watched.
    watched: AtomicBool,
}

#[derive(Debug)]
struct Watcher {
    prefix: String,
    queue: Sender<Change>,
    missed: Arc<AtomicBool>,
}

impl Hub {
    /// A watcher of all keys that start with `prefix`.
    ///
    /// # Errors
    /// There are [`WATCHERS`] already.
    pub(super) fn watch(&self, prefix: &str) -> Result<Watch, KvError> {
        let mut watchers = self.watchers.write();
        watchers.retain(|watcher| !watcher.queue.is_closed());
        if watchers.len() >= WATCHERS {
            return Err(KvError::TooManyWatchers { limit: WATCHERS });
        }
        let (sender, queue) = mpsc::channel(WATCH_QUEUE);
        let missed = Arc::new(AtomicBool::new(false));
        watchers.push(Watcher { prefix: prefix.to_owned(), queue: sender, missed: missed.clone() });
        self.watched.store(true, Ordering::Release);
        Ok(Watch { queue, missed, strip: 0 })
    }

    /// A key has a new value.
    pub(super) fn set(&self, key: &str) {
        self.tell(key, Change::Set);
    }

    /// A key is no longer there.
    pub(super) fn removed(&self, key: &str) {
        self.tell(key, Change::Removed);
    }

    /// Nobody knows what happened in between.
    #[cfg(any(feature = "redis", feature = "nats"))]
    pub(super) fn missed(&self) {
        for watcher in &*self.watchers.read() {
            watcher.lose();
        }
    }

    /// Whether anybody watches.
    pub(super) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
    }

    fn tell(&self, key: &str, change: fn(String) -> Change) {
        if !self.is_watched() {
            return;
        }
        let mut gone = false;
        for watcher in &*self.watchers.read() {
            if !key.starts_with(&watcher.prefix) {
                continue;
            }
            // After a loss nothing is queued until the reader knows of it.
            if watcher.missed.load(Ordering::Acquire) || watcher.queue.try_send(change(key.to_owned())).is_err() {
                watcher.lose();
            }
            gone |= watcher.queue.is_closed();
        }
        if gone {
            let mut watchers = self.watchers.write();
            watchers.retain(|watcher| !watcher.queue.is_closed());
            self.watched.store(!watchers.is_empty(), Ordering::Release);
        }
    }
}

impl Watcher {
    /// Notes a loss, and wakes a reader that waits at an empty queue.
    fn lose(&self) {
        if !self.missed.swap(true, Ordering::AcqRel) {
            // A full queue has a reader that is awake, and finds the note when it has read all of it.
            let _ = self.queue.try_send(Change::Missed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_is_told_that_it_missed_something() {
        let hub = Hub::default();
        let mut watch = hub.watch("").unwrap();
        for number in 0..WATCH_QUEUE + 10 {
            hub.set(&number.to_string());
        }
        for number in 0..WATCH_QUEUE {
            assert_eq!(watch.next().await, Some(Change::Set(number.to_string())));
        }
        assert_eq!(watch.next().await, Some(Change::Missed));
        hub.removed("later");
        assert_eq!(watch.next().await, Some(Change::Removed("later".into())));
        drop(hub);
        assert_eq!(watch.next().await, None);
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken_by_a_loss() {
        let hub = Hub::default();
        let mut watch = hub.watch("p").unwrap();
        let (change, ()) = tokio::join!(watch.next(), async { hub.missed() });
        assert_eq!(change, Some(Change::Missed));
    }

    #[tokio::test]
    async fn watchers_see_their_prefix_alone_and_their_number_is_bounded() {
        let hub = Hub::default();
        let mut watch = hub.watch("a:b/").unwrap().without("a:");
        hub.set("a:x");
        hub.set("a:b/c");
        assert_eq!(watch.next().await, Some(Change::Set("b/c".into())));
        let others: Vec<_> = (1..WATCHERS).map(|_| hub.watch("").unwrap()).collect();
        assert!(hub.watch("").is_err());
        drop(others);
        assert!(hub.watch("").is_ok(), "those who left make room");
    }
}
