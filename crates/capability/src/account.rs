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
    /// Bytes that are counted in and that the backend does not have, nor will have before somebody tells it: uploads.
    waiting: AtomicU64,
}

/// An account when its share began to be measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measuring {
    /// Without those that wait.
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
        Self { bytes: AtomicI64::new(signed(bytes)), ..Self::default() }
    }

    /// What the share holds, with what is reserved for writes in flight.
    pub(crate) fn bytes(&self) -> u64 {
        u64::try_from(self.bytes.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// Counts `bytes` in before they are written, if the sum stays within `limit`.
    pub(crate) fn reserve(&self, bytes: u64, limit: u64) -> bool {
        let grown = |used: i64| used.checked_add(signed(bytes)).filter(|sum| *sum <= signed(limit));
        let there_is_room = self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, grown).is_ok();
        if there_is_room {
            self.has_moved(bytes);
        }
        there_is_room
    }

    /// As [`reserve`](Self::reserve), for what the backend is told of later, if at all: until it is [`sent`](Self::sent)
    /// nobody expects to find it there.
    pub(crate) fn hold(&self, bytes: u64, limit: u64) -> bool {
        let there_is_room = self.reserve(bytes, limit);
        if there_is_room {
            self.waiting.fetch_add(bytes, Ordering::AcqRel);
            self.has_moved(bytes);
        }
        there_is_room
    }

    /// What was held is on its way to the backend from now on, or was given up and is about to be released.
    pub(crate) fn sent(&self, bytes: u64) {
        self.waiting.fetch_sub(bytes, Ordering::AcqRel);
        self.has_moved(bytes);
    }

    /// Counts bytes out again.
    pub(crate) fn release(&self, bytes: u64) {
        self.add_and_take(0, bytes);
    }

    /// Counts some in and some out, in one step.
    pub(crate) fn add_and_take(&self, add: u64, take: u64) {
        self.change(add, take);
        self.has_moved(add.saturating_add(take));
    }

    /// Notes that bytes were counted in or out. Last of all: a measurement that began before takes them for uncertain, one that
    /// begins later has seen them.
    fn has_moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::AcqRel);
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
        Measuring { bytes: self.bytes().saturating_sub(self.waiting.load(Ordering::Acquire)), moved }
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
    fn what_waits_for_its_upload_to_end_is_neither_missed_nor_found_too_much() {
        let account = Account::of(1000);
        assert!(account.hold(300, 2000));
        account.measuring().found(&account, 1000);
        assert_eq!(account.bytes(), 1300, "the backend does not have it yet");
        account.measuring().found(&account, 400);
        assert_eq!(account.bytes(), 700, "somebody else has removed 600");
        let measuring = account.measuring();
        account.sent(300);
        measuring.found(&account, 700);
        assert_eq!(account.bytes(), 700, "it was written while somebody looked");
        account.measuring().found(&account, 700);
        assert_eq!(account.bytes(), 700, "and is there");
        assert!(!account.hold(1400, 2000));
        account.measuring().found(&account, 700);
        assert_eq!(account.bytes(), 700, "what was refused waits for nothing");
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
