//! What a store's name leads to, which may be changed while guests use it.
//!
//! An operation takes the backend once, when it begins: those in flight finish on the backend they began with, those that
//! begin later see the new one. The old one is closed when the last of them has ended.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::watch;

/// A backend that can be exchanged. `T` is a capability's trait: `Link<dyn KeyValue>`.
pub struct Link<T: ?Sized> {
    backend: ArcSwap<Arc<T>>,
    /// Tells whoever stays with a backend beyond an operation that it was exchanged.
    exchanged: watch::Sender<()>,
}

impl<T: ?Sized> Link<T> {
    /// A link that leads to a backend.
    pub fn new(backend: Arc<T>) -> Self {
        Self { backend: ArcSwap::from_pointee(backend), exchanged: watch::Sender::new(()) }
    }

    /// The backend as it is now.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.backend.load())
    }

    /// Leads to another backend from now on; gives back the one before.
    pub fn set(&self, backend: Arc<T>) -> Arc<T> {
        let before = self.backend.swap(Arc::new(backend));
        self.exchanged.send_replace(());
        Arc::clone(&before)
    }

    /// Leads to another backend, if it still leads to this one; answers whether it did.
    pub fn replace(&self, was: &Arc<T>, backend: Arc<T>) -> bool {
        let now = self.backend.load();
        if !Arc::ptr_eq(&**now, was) {
            return false;
        }
        let before = self.backend.compare_and_swap(&*now, Arc::new(backend));
        let replaced = Arc::ptr_eq(&*before, &*now);
        if replaced {
            self.exchanged.send_replace(());
        }
        replaced
    }

    /// Hears of each exchange from now on, for as long as the link is there.
    pub(crate) fn exchanges(&self) -> watch::Receiver<()> {
        self.exchanged.subscribe()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Link<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.get()).finish()
    }
}
