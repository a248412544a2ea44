//! Changes of a store, told to whoever watches: which key, and whether it is there now.
//!
//! A change carries no value. Whoever needs it asks for it, and gets the newest; so a watcher costs the same whatever is
//! written, and nobody acts on a value that is gone.
//!
//! Every watcher has a queue of [`WATCH_QUEUE`] changes. One that is slower than the writers loses the rest and is told so
//! ([`Change::Missed`]): it knows that it must look for itself, and nobody waits for it.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::RwLock;
use tokio::sync::{
    mpsc::{self, Receiver, Sender, error::TryRecvError},
    watch,
};

use super::{KeyValue, KvError};
use crate::Link;

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
/// It ends when the backend is closed. One of a store that is lent goes on where the store's name leads: after
/// [`Change::Missed`] come the changes of the new place. It ends if that cannot be watched.
#[derive(Debug)]
pub struct Watch {
    queue: Receiver<Change>,
    missed: Arc<AtomicBool>,
    /// Leading bytes of each key that are not the reader's.
    strip: usize,
    following: Option<Following>,
}

/// A link that a watch goes along with.
struct Following {
    link: Weak<Link<dyn KeyValue>>,
    exchanges: watch::Receiver<()>,
    /// It was exchanged, and the new place is not watched yet.
    behind: bool,
    /// What is watched, as the backend knows it.
    prefix: String,
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").field("prefix", &self.prefix).field("behind", &self.behind).finish_non_exhaustive()
    }
}

impl Watch {
    /// The next change; `None` once the backend is closed. Dropped half-way, it loses nothing.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            let Some(following) = &mut self.following else {
                return Self::queued(&mut self.queue, &self.missed, self.strip).await;
            };
            if following.behind {
                return self.catch_up().await;
            }
            tokio::select! {
                biased;
                exchanged = following.exchanges.changed() => match exchanged {
                    Ok(()) => following.behind = true,
                    // Nobody has the store any more; its backend may have others.
                    Err(_) => self.following = None,
                },
                change = Self::queued(&mut self.queue, &self.missed, self.strip) => {
                    // Closed because it was exchanged, and nobody had told yet.
                    if change.is_some() || !following.exchanges.has_changed().unwrap_or(false) {
                        return change;
                    }
                }
            }
        }
    }

    /// Watches what the link leads to now. What happened before is for the reader to look at.
    async fn catch_up(&mut self) -> Option<Change> {
        let following = self.following.as_mut()?;
        let backend = following.link.upgrade()?.get();
        match backend.watch(&following.prefix).await {
            Ok(Self { queue, missed, .. }) => {
                (self.queue, self.missed) = (queue, missed);
                following.behind = false;
                Some(Change::Missed)
            }
            Err(error) => {
                tracing::warn!(%error, "a watch ends: the store was linked to what it cannot watch");
                None
            }
        }
    }

    /// The next change of the backend that is watched.
    async fn queued(queue: &mut Receiver<Change>, missed: &AtomicBool, strip: usize) -> Option<Change> {
        loop {
            let change = match queue.try_recv() {
                Ok(change) => change,
                // What was lost came after all that was queued.
                Err(TryRecvError::Empty) if missed.swap(false, Ordering::AcqRel) => Change::Missed,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => queue.recv().await?,
            };
            if change == Change::Missed {
                // From here on changes are queued again; those before are what the reader is about to be told of.
                missed.store(false, Ordering::Release);
            }
            if let Some(change) = own(change, strip) {
                return Some(change);
            }
        }
    }

    /// Takes `prefix` off the keys: they are told as their reader knows them.
    pub(super) fn without(mut self, prefix: &str) -> Self {
        self.strip += prefix.len();
        self
    }

    /// Goes along with a link, whose exchanges were heard of since before it gave the backend that is watched.
    pub(super) fn following(
        mut self,
        link: &Arc<Link<dyn KeyValue>>,
        exchanges: watch::Receiver<()>,
        prefix: String,
    ) -> Self {
        self.following = Some(Following { link: Arc::downgrade(link), exchanges, behind: false, prefix });
        self
    }
}

/// A change as its reader knows it; `None` if it is none of the reader's.
fn own(change: Change, strip: usize) -> Option<Change> {
    let strip = |key: String| key.get(strip..).map(str::to_owned);
    Some(match change {
        Change::Set(key) => Change::Set(strip(key)?),
        Change::Removed(key) => Change::Removed(strip(key)?),
        Change::Missed => Change::Missed,
    })
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
        Ok(Watch { queue, missed, strip: 0, following: None })
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
    #[cfg(any(test, feature = "redis", feature = "nats"))]
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
    use samara_model::{KvGrant, Limits, Tenant};

    use super::*;
    use crate::{
        Unrecorded,
        kv::{NoWorkloads, Present, Store, open},
    };

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

    async fn memory() -> Arc<dyn KeyValue> {
        open("memory:", &toml::Table::new(), &NoWorkloads).await.unwrap()
    }

    #[tokio::test]
    async fn a_watch_goes_along_when_its_store_is_linked_or_moved_elsewhere() {
        let (first, second, third) = (memory().await, memory().await, memory().await);
        let store = Store::new("carts", &Tenant::new("t").unwrap(), first.clone()).await.unwrap();
        let lent = store.grant(KvGrant::default(), &Limits::serve(), Arc::new(Unrecorded));
        let mut watch = lent.watch("k").await.unwrap();
        lent.set("k1", "v".into()).await.unwrap();
        assert_eq!(watch.next().await, Some(Change::Set("k1".into())));
        // The old place is somebody else's too, and stays open.
        store.link().set(second.clone());
        first.set("t:k-old", "v".into()).await.unwrap();
        assert_eq!(watch.next().await, Some(Change::Missed));
        lent.set("k2", "v".into()).await.unwrap();
        lent.set("other", "v".into()).await.unwrap();
        assert_eq!(watch.next().await, Some(Change::Set("k2".into())));
        // One that waits is woken, and what is written before it looks is not told twice.
        let moving = async {
            store.move_to(third.clone(), Present::Refused, &|_| ()).await.unwrap();
            second.set("t:k-old", "v".into()).await.unwrap();
        };
        let (change, ()) = tokio::join!(watch.next(), moving);
        assert_eq!(change, Some(Change::Missed));
        lent.delete("k2").await.unwrap();
        assert_eq!(watch.next().await, Some(Change::Removed("k2".into())));
        store.link().set(first.clone());
        assert_eq!(watch.next().await, Some(Change::Missed));
        drop((store, lent));
        first.set("t:k3", "v".into()).await.unwrap();
        assert_eq!(watch.next().await, Some(Change::Set("k3".into())), "the backend is there without the store");
        drop(first);
        assert_eq!(watch.next().await, None);
    }

    #[tokio::test]
    async fn a_watch_of_an_old_place_that_is_closed_goes_on_too() {
        let second = memory().await;
        let store = Store::new("carts", &Tenant::new("t").unwrap(), memory().await).await.unwrap();
        let lent = store.grant(KvGrant::default(), &Limits::serve(), Arc::new(Unrecorded));
        let mut watch = lent.watch("").await.unwrap();
        drop(store.link().set(second.clone()));
        assert_eq!(watch.next().await, Some(Change::Missed));
        lent.set("k", "v".into()).await.unwrap();
        assert_eq!(watch.next().await, Some(Change::Set("k".into())));
    }

    #[tokio::test]
    async fn a_watch_ends_where_the_new_place_cannot_be_watched() {
        let second = memory().await;
        let store = Store::new("carts", &Tenant::new("t").unwrap(), memory().await).await.unwrap();
        let lent = store.grant(KvGrant::default(), &Limits::serve(), Arc::new(Unrecorded));
        let mut watch = lent.watch("").await.unwrap();
        let mut others = Vec::new();
        while let Ok(other) = second.watch("").await {
            others.push(other);
        }
        store.link().set(second.clone());
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
