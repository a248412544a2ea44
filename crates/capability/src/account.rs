//! How much of a store a tenant uses, kept without asking the backend: bytes are reserved before a write and corrected after
//! it, so that writes in flight together cannot pass a limit that each alone would keep.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes in one share of a store.
#[derive(Debug, Default)]
pub(crate) struct Account {
    bytes: AtomicU64,
}

impl Account {
    /// An account of a share that holds `bytes` already.
    pub(crate) fn of(bytes: u64) -> Self {
        Self { bytes: AtomicU64::new(bytes) }
    }

    /// What the share holds, with what is reserved for writes in flight.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Counts `bytes` in before they are written, if the sum stays within `limit`.
    pub(crate) fn reserve(&self, bytes: u64, limit: u64) -> bool {
        let grown = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
    }

    /// Counts bytes out again.
    pub(crate) fn release(&self, bytes: u64) {
        self.add_and_take(0, bytes);
    }

    /// Counts some in and some out, in one step.
    pub(crate) fn add_and_take(&self, add: u64, take: u64) {
        let changed = |used: u64| Some(used.saturating_add(add).saturating_sub(take));
        // The closure never refuses.
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }
}
