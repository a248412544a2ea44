//! How much of a store a tenant uses, kept without asking the backend: bytes are reserved before a write and corrected after
//! it, so that writes in flight together cannot pass a limit that each alone would keep.
//!
//! What others do to the same data (another process, another account, a time to live) is found by measuring now and then:
//! [`Account::measuring`] before, [`Measuring::found`] after. Writes go on meanwhile, so that what was measured is true only
//! up to the bytes that were moved in between; within that the account is left as it is. So an account that was exact stays
//! exact, and any other comes within that distance of the truth.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes in one share of a store.
#[derive(Debug, Default)]
pub(crate) struct Account {
    bytes: AtomicU64,
    /// Sum of all that was ever counted in or out.
    moved: AtomicU64,
}

/// An account when its share began to be measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measuring {
    bytes: u64,
    moved: u64,
}

impl Measuring {
    /// Corrects the account by what was found.
    pub(crate) fn found(self, account: &Account, bytes: u64) {
        let moved = account.moved.load(Ordering::Acquire).wrapping_sub(self.moved);
        if bytes.abs_diff(self.bytes) > moved {
            account.change(bytes.saturating_sub(self.bytes), self.bytes.saturating_sub(bytes));
        }
    }
}

impl Account {
    /// An account of a share that holds `bytes` already.
    pub(crate) fn of(bytes: u64) -> Self {
        Self { bytes: AtomicU64::new(bytes), moved: AtomicU64::new(0) }
    }

    /// What the share holds, with what is reserved for writes in flight.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Counts `bytes` in before they are written, if the sum stays within `limit`.
    pub(crate) fn reserve(&self, bytes: u64, limit: u64) -> bool {
        let grown = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        // First what moves, then what is there: a measurement in between takes it for uncertain, never for settled.
        self.moved.fetch_add(bytes, Ordering::AcqRel);
        self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, grown).is_ok()
    }

    /// Counts bytes out again.
    pub(crate) fn release(&self, bytes: u64) {
        self.add_and_take(0, bytes);
    }

    /// Counts some in and some out, in one step.
    pub(crate) fn add_and_take(&self, add: u64, take: u64) {
        self.moved.fetch_add(add.saturating_add(take), Ordering::AcqRel);
        self.change(add, take);
    }

    /// What is known before the share is measured.
    pub(crate) fn measuring(&self) -> Measuring {
        Measuring { bytes: self.bytes(), moved: self.moved.load(Ordering::Acquire) }
    }

    fn change(&self, add: u64, take: u64) {
        let changed = |used: u64| Some(used.saturating_add(add).saturating_sub(take));
        // The closure never refuses.
        let _ = self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, changed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measuring_corrects_what_others_did_and_nothing_else() {
        let account = Account::of(1000);
        account.measuring().found(&account, 400);
        assert_eq!(account.bytes(), 400, "somebody else has removed 600");
        account.measuring().found(&account, 900);
        assert_eq!(account.bytes(), 900);

        let measuring = account.measuring();
        assert!(account.reserve(50, 2000));
        measuring.found(&account, 950);
        assert_eq!(account.bytes(), 950, "the write was measured already, and counts once");
        let measuring = account.measuring();
        assert!(account.reserve(50, 2000));
        measuring.found(&account, 100);
        assert_eq!(account.bytes(), 150, "far from it, it is corrected, and the write still counts");
    }
}
