//! What every operation on a share goes through, so that its backend can be exchanged together with its data.
//!
//! An operation takes a [`Turn`] and gives it back when it is over. Whoever exchanges the backend waits until all turns are
//! back; those who come meanwhile wait for it, [`HOLD`] at most. While a share is copied the keys that operations write are
//! noted, however the operations end: answered, failed, or abandoned half-way.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{RwLock, RwLockReadGuard},
    time::timeout,
};

use super::{KeyValue, KvError};

/// Keys that are noted and not yet copied again, at most; more mean that a share is written to faster than it is copied.
pub const NOTED_KEYS: usize = 100_000;

/// Bytes of these keys, at most.
pub const NOTED_BYTES: usize = 16 << 20;

/// How long operations wait for whoever exchanges their backend, at most.
pub const HOLD: Duration = Duration::from_secs(5);

/// Where the operations of one share take their turns.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Operations read, whoever exchanges the backend writes. Fair: nobody can keep a writer out by reading on and on.
    turns: RwLock<()>,
    /// Whether keys are noted. Looked at by each write, so that the lock behind it is taken only then.
    noting: AtomicBool,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    keys: HashSet<String>,
    bytes: usize,
    /// There were more than [`NOTED_KEYS`] or [`NOTED_BYTES`].
    too_many: bool,
}

/// A backend, for as long as one operation takes. Whoever has one must not ask for another before it is given back: an
/// exchange that waits between the two would wait for both.
pub(super) struct Turn<'g> {
    pub(super) backend: Arc<dyn KeyValue>,
    gate: &'g Gate,
    /// What is written, if keys are noted. They are when the operation is over: what is noted before it has happened may be
    /// copied as it was before.
    writes: Vec<String>,
    /// Given back after the keys are noted.
    _turn: RwLockReadGuard<'g, ()>,
}

impl Turn<'_> {
    /// The backend, to write to these keys.
    pub(super) fn writing<'k>(&mut self, keys: impl IntoIterator<Item = &'k String>) -> &Arc<dyn KeyValue> {
        if self.gate.noting.load(Ordering::Acquire) {
            self.writes.extend(keys.into_iter().cloned());
        }
        &self.backend
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.writes.is_empty() {
            self.gate.noted.lock().note(self.writes.drain(..));
        }
    }
}

impl Noted {
    fn note(&mut self, keys: impl Iterator<Item = String>) {
        for key in keys {
            let bytes = self.bytes.saturating_add(key.len());
            if self.keys.contains(&key) {
                continue;
            }
            if self.keys.len() >= NOTED_KEYS || bytes > NOTED_BYTES {
                self.too_many = true;
                return;
            }
            self.bytes = bytes;
            self.keys.insert(key);
        }
    }
}

impl Gate {
    /// A turn with the backend that `link` gives once nobody exchanges it.
    pub(super) async fn turn(&self, link: impl FnOnce() -> Arc<dyn KeyValue>) -> Turn<'_> {
        let turn = self.turns.read().await;
        Turn { backend: link(), gate: self, writes: Vec::new(), _turn: turn }
    }

    /// Does something while no operation is under way. Those that have begun end first, those that come wait.
    ///
    /// # Errors
    /// That of the work; or all of it would take longer than [`HOLD`]: then the work is abandoned, or has not begun.
    pub(super) async fn alone<T>(&self, work: impl Future<Output = Result<T, KvError>>) -> Result<T, KvError> {
        let alone = async {
            let _turn = self.turns.write().await;
            work.await
        };
        let late = || format!("the store's operations wait for {HOLD:?} at most; try again when less is under way");
        timeout(HOLD, alone).await.unwrap_or_else(|_| Err(KvError::TimedOut(late())))
    }

    /// Notes the keys that are written from now on. Operations that began before are over when this returns.
    ///
    /// # Errors
    /// They are noted already, or the operations do not end.
    pub(super) async fn note(&self) -> Result<Noting<'_>, KvError> {
        if self.noting.swap(true, Ordering::AcqRel) {
            return Err(KvError::Configuration("the store is being moved already; wait for that to end".to_owned()));
        }
        let noting = Noting(self);
        self.alone(async { Ok(()) }).await?;
        Ok(noting)
    }
}

/// Keys are noted until this is dropped.
pub(super) struct Noting<'g>(&'g Gate);

impl Noting<'_> {
    /// The keys that were written since the last time.
    ///
    /// # Errors
    /// There were too many.
    pub(super) fn take(&self) -> Result<HashSet<String>, KvError> {
        let noted = std::mem::take(&mut *self.0.noted.lock());
        if noted.too_many {
            let why = format!(
                "more than `{NOTED_KEYS}` keys or `{NOTED_BYTES}` bytes of them were written while some were copied; \
                 move it when less is written"
            );
            return Err(KvError::Backend(why));
        }
        Ok(noted.keys)
    }
}

impl Drop for Noting<'_> {
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
    fn keys_are_noted_once_and_their_number_is_bounded() {
        let mut noted = Noted::default();
        noted.note((0..NOTED_KEYS).map(|number| number.to_string()));
        noted.note((0..NOTED_KEYS).map(|number| number.to_string()));
        assert_eq!((noted.keys.len(), noted.too_many), (NOTED_KEYS, false));
        noted.note(std::iter::once("one more".to_owned()));
        assert_eq!((noted.keys.len(), noted.too_many), (NOTED_KEYS, true));
    }

    #[test]
    fn the_bytes_of_noted_keys_are_bounded() {
        let mut noted = Noted::default();
        noted.note(["a", "b"].into_iter().map(|key| key.repeat(NOTED_BYTES / 2)));
        assert_eq!((noted.keys.len(), noted.too_many), (2, false));
        noted.note(std::iter::once("c".to_owned()));
        assert_eq!((noted.keys.len(), noted.too_many), (2, true));
    }
}
