//! How whoever waits for an artifact is told how far it is.

use std::{fmt, sync::Arc};

/// What is told while an artifact is fetched. Called from the tasks that fetch, often; must not block.
pub trait Watch: Send + Sync {
    /// So many more bytes are to come; told once for each blob that is not here already.
    fn total(&self, bytes: u64);
    /// So many more bytes have come, or were found to be here from an earlier try.
    fn received(&self, bytes: u64);
    /// What is being done now: `resolving`, `verifying`.
    fn step(&self, text: &str);
}

/// A handle to a [`Watch`], cheap to clone; tells nobody by default.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn Watch>>);

impl Progress {
    /// Tells `watch`.
    pub fn new(watch: Arc<dyn Watch>) -> Self {
        Self(Some(watch))
    }

    /// See [`Watch::total`].
    pub fn total(&self, bytes: u64) {
        self.0.iter().for_each(|watch| watch.total(bytes));
    }

    /// See [`Watch::received`].
    pub fn received(&self, bytes: u64) {
        self.0.iter().for_each(|watch| watch.received(bytes));
    }

    /// See [`Watch::step`].
    pub fn step(&self, text: &str) {
        self.0.iter().for_each(|watch| watch.step(text));
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Progress").field(&self.0.as_ref().map(|_| "..")).finish()
    }
}
