//! How much of a store a tenant uses, kept without asking the backend: bytes are reserved before a write and corrected after
//! it, so that writes in flight together cannot pass a limit that each alone would keep.
//!
//! What others do to the same data (another process, another account, a time to live) is found by measuring now and then:
//! [`Account::measuring`] before, [`Measuring::found`] after. Writes go on meanwhile, so that what was measured is true only
//! up to the bytes that were moved in between; within that the account is left as it is. So an account comes within that
//! distance of the truth, and one that was exact stays exact, but for writes and removals on their way to the backend for as
//! long as it takes to measure: those are found the next time.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// How far below nothing an account may be. What is removed is counted out at once, what was written only when its write has
/// answered: whoever removes in between is first. Clamped at nothing the difference would be lost; without a bound, removing
/// what another process wrote would be credit for writing more than the limit.
const DEBT_BYTES: i64 = 64 << 20;

/// Bytes in one share of a store.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Below zero for moments, down to [`DEBT_BYTES`].
    bytes: AtomicI64,
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
        Self { bytes: AtomicI64::new(signed(bytes)), moved: AtomicU64::new(0) }
    }

    /// What the share holds, with what is reserved for writes in flight.
    pub(crate) fn bytes(&self) -> u64 {
        u64::try_from(self.bytes.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// Counts `bytes` in before they are written, if the sum stays within `limit`.
    pub(crate) fn reserve(&self, bytes: u64, limit: u64) -> bool {
        let grown = |used: i64| used.checked_add(signed(bytes)).filter(|sum| *sum <= signed(limit));
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
        self.measuring_while(|| ())
    }

    /// As [`measuring`](Self::measuring); something happens in the middle of it.
    fn measuring_while(&self, happens: impl FnOnce()) -> Measuring {
        // First what has moved: what is counted before the second look then counts as moved since, and not as settled.
        let moved = self.moved.load(Ordering::Acquire);
        happens();
        Measuring { bytes: self.bytes(), moved }
    }

    fn change(&self, add: u64, take: u64) {
        let changed = |used: i64| Some(used.saturating_add(signed(add)).saturating_sub(signed(take)).max(-DEBT_BYTES));
        // The closure never refuses.
        let _ = self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, changed);
    }
}

/// A number of bytes that may go below zero; no share has more than fit.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_out_before_it_is_counted_in_is_not_lost() {
        let account = Account::default();
        account.release(100);
        assert_eq!(account.bytes(), 0);
        account.add_and_take(150, 0);
        assert_eq!(account.bytes(), 50);
        account.release(u64::MAX);
        assert!(account.reserve(DEBT_BYTES as u64, 0), "no credit but for so much");
        assert!(!account.reserve(1, 0));
    }

    #[test]
    fn what_is_counted_while_measuring_begins_is_uncertain_and_not_settled() {
        let account = Account::of(1000);
        let measuring = account.measuring_while(|| assert!(account.reserve(50, 2000)));
        measuring.found(&account, 1050);
        assert_eq!(account.bytes(), 1050, "it is written, and counts once");
        let measuring = account.measuring_while(|| assert!(account.reserve(50, 2000)));
        measuring.found(&account, 1050);
        assert_eq!(account.bytes(), 1100, "it is not written yet, and counts all the same");
    }

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
