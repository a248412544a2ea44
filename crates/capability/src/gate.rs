//! What every operation on a share goes through, so that its backend can be exchanged together with its data.
//!
//! An operation takes a [`Turn`] and gives it back when it is over. Whoever exchanges the backend waits until all turns are
//! back; those who come meanwhile wait for it, [`HOLD`] at most. While a share is copied the changes that operations make are
//! noted, however the operations end: answered, failed, or abandoned half-way.

use std::{
    collections::HashSet,
    fmt,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::timeout;

use self::turns::{Taken, Turns};
use crate::moving::Refusal;

mod turns;

/// Changes that are noted and not yet copied again, at most; more mean that a share is written to faster than it is copied.
pub const NOTED_CHANGES: usize = 100_000;

/// Bytes of the names in these changes, at most.
pub const NOTED_BYTES: usize = 16 << 20;

/// How long operations wait for whoever exchanges their backend, at most.
pub const HOLD: Duration = Duration::from_secs(5);

/// What of a share may differ after an operation: a key, an object, a container.
pub(crate) trait Change: Clone + Eq + Hash + Send + fmt::Debug {
    /// The bytes of its names.
    fn bytes(&self) -> usize;
}

/// Where the operations of one share take their turns.
#[derive(Debug)]
pub(crate) struct Gate<C> {
    turns: Turns,
    /// How often the share was moved. Changes only while there are no turns.
    moves: AtomicU64,
    /// Whether changes are noted. Looked at by each write, so that the lock behind it is taken only then.
    noting: AtomicBool,
    noted: Mutex<Noted<C>>,
}

impl<C> Default for Gate<C> {
    fn default() -> Self {
        Self {
            turns: Turns::default(),
            moves: AtomicU64::new(0),
            noting: AtomicBool::new(false),
            noted: Mutex::default(),
        }
    }
}

#[derive(Debug)]
struct Noted<C> {
    changes: HashSet<C>,
    bytes: usize,
    /// There were more than [`NOTED_CHANGES`] or [`NOTED_BYTES`].
    too_many: bool,
}

impl<C> Default for Noted<C> {
    fn default() -> Self {
        Self { changes: HashSet::new(), bytes: 0, too_many: false }
    }
}

/// A backend, for as long as one operation takes. Whoever has one must not ask for another before it is given back: an
/// exchange that waits between the two would wait for both.
pub(crate) struct Turn<'g, T: ?Sized, C: Change> {
    pub(crate) backend: Arc<T>,
    gate: &'g Gate<C>,
    /// What is changed, if that is noted. It is when the operation is over: what is noted before it has happened may be
    /// copied as it was before.
    changes: Vec<C>,
    /// Given back after the changes are noted.
    _turn: Taken<'g>,
}

impl<T: ?Sized, C: Change> Turn<'_, T, C> {
    /// The backend, to change something in it. What that is is asked only if it is noted.
    pub(crate) fn changing<I: IntoIterator<Item = C>>(&mut self, changes: impl FnOnce() -> I) -> &Arc<T> {
        if self.gate.noting.load(Ordering::Acquire) {
            self.changes.extend(changes());
        }
        &self.backend
    }

    /// How often the share was moved before this turn.
    pub(crate) fn moves(&self) -> u64 {
        self.gate.moves.load(Ordering::Acquire)
    }
}

impl<T: ?Sized, C: Change> Drop for Turn<'_, T, C> {
    fn drop(&mut self) {
        if !self.changes.is_empty() {
            self.gate.noted.lock().note(self.changes.drain(..));
        }
    }
}

impl<C: Change> Noted<C> {
    fn note(&mut self, changes: impl Iterator<Item = C>) {
        for change in changes {
            let bytes = self.bytes.saturating_add(change.bytes());
            if self.changes.contains(&change) {
                continue;
            }
            if self.changes.len() >= NOTED_CHANGES || bytes > NOTED_BYTES {
                self.too_many = true;
                return;
            }
            self.bytes = bytes;
            self.changes.insert(change);
        }
    }
}

impl<C: Change> Gate<C> {
    /// A turn with the backend that `link` gives once nobody exchanges it.
    pub(crate) async fn turn<T: ?Sized>(&self, link: impl FnOnce() -> Arc<T>) -> Turn<'_, T, C> {
        let turn = self.turns.take().await;
        Turn { backend: link(), gate: self, changes: Vec::new(), _turn: turn }
    }

    /// Does something while no operation is under way. Those that have begun end first, those that come wait.
    ///
    /// # Errors
    /// That of the work; or all of it would take longer than [`HOLD`]: then the work is abandoned, or has not begun.
    pub(crate) async fn alone<T, E: From<Refusal>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let alone = async {
            let _alone = self.turns.alone().await;
            work.await
        };
        timeout(HOLD, alone).await.unwrap_or_else(|_| Err(Refusal::Late.into()))
    }

    /// Counts a move. While no operation is under way.
    pub(crate) fn moved(&self) {
        self.moves.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes what is changed from now on. Operations that began before are over when this returns.
    ///
    /// # Errors
    /// It is noted already, or the operations do not end.
    pub(crate) async fn note(&self) -> Result<Noting<'_, C>, Refusal> {
        if self.noting.swap(true, Ordering::AcqRel) {
            return Err(Refusal::Moving);
        }
        let noting = Noting(self);
        self.alone(async { Ok::<_, Refusal>(()) }).await?;
        Ok(noting)
    }
}

/// Changes are noted until this is dropped.
pub(crate) struct Noting<'g, C>(&'g Gate<C>);

impl<C: Change> Noting<'_, C> {
    /// What was changed since the last time.
    ///
    /// # Errors
    /// It was too much.
    pub(crate) fn take(&self) -> Result<HashSet<C>, Refusal> {
        let noted = std::mem::take(&mut *self.0.noted.lock());
        if noted.too_many { Err(Refusal::TooManyChanges) } else { Ok(noted.changes) }
    }
}

impl<C> Drop for Noting<'_, C> {
    fn drop(&mut self) {
        let mut noted = self.0.noted.lock();
        self.0.noting.store(false, Ordering::Release);
        *noted = Noted::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_noted_once_and_their_number_is_bounded() {
        let mut noted = Noted::<String>::default();
        noted.note((0..NOTED_CHANGES).map(|number| number.to_string()));
        noted.note((0..NOTED_CHANGES).map(|number| number.to_string()));
        assert_eq!((noted.changes.len(), noted.too_many), (NOTED_CHANGES, false));
        noted.note(std::iter::once("one more".to_owned()));
        assert_eq!((noted.changes.len(), noted.too_many), (NOTED_CHANGES, true));
    }

    #[test]
    fn the_bytes_of_what_is_noted_are_bounded() {
        let mut noted = Noted::<String>::default();
        noted.note(["a", "b"].into_iter().map(|key| key.repeat(NOTED_BYTES / 2)));
        assert_eq!((noted.changes.len(), noted.too_many), (2, false));
        noted.note(std::iter::once("c".to_owned()));
        assert_eq!((noted.changes.len(), noted.too_many), (2, true));
    }
}
