//! What a store's name leads to, which may be changed while guests use it.
//!
//! An operation takes the backend once, when it begins: those in flight finish on the backend they began with, those that
//! begin later see the new one. The old one is closed when the last of them has ended.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;

/// A backend that can be exchanged. `T` is a capability's trait: `Link<dyn KeyValue>`.
pub struct Link<T: ?Sized>(ArcSwap<Arc<T>>);

impl<T: ?Sized> Link<T> {
    /// A link that leads to a backend.
    pub fn new(backend: Arc<T>) -> Self {
        Self(ArcSwap::from_pointee(backend))
    }

    /// The backend as it is now.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.load())
    }

    /// Leads to another backend from now on; gives back the one before.
    pub fn set(&self, backend: Arc<T>) -> Arc<T> {
        Arc::clone(&self.0.swap(Arc::new(backend)))
    }

    /// Leads to another backend, if it still leads to this one; answers whether it did.
    pub fn replace(&self, was: &Arc<T>, backend: Arc<T>) -> bool {
        let now = self.0.load();
        if !Arc::ptr_eq(&**now, was) {
            return false;
        }
        let before = self.0.compare_and_swap(&*now, Arc::new(backend));
        Arc::ptr_eq(&*before, &*now)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Link<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.get()).finish()
    }
}
