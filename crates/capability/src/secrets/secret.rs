//! One secret value, which is never printed and is wiped when the last copy of it is dropped.
//!
//! It has no `Display`, no `Serialize` and no comparison, its `Debug` says nothing of it, and the only way to its bytes is
//! called [`expose`](Secret::expose), so that a search finds every place that does. The first secret of a process also keeps
//! its memory out of core dumps (`dump.rs`).

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

use super::dump;

/// A secret. Clones share one copy in memory.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

/// What stands for a secret in texts.
const HIDDEN: &str = "***";

impl Secret {
    /// Takes a value without copying it. Whoever made the bytes takes care of copies that were made on the way.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        dump::keep_out();
        Self(Arc::new(Zeroizing::new(value.into())))
    }

    /// The value, for whoever hands it to a guest or to a server. It must not be kept.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The value as text, `None` if it is not UTF-8.
    pub fn expose_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// A text of somebody else (an error of a client, say) in which the value, should it be there, is replaced by `***`.
    pub fn hide_in(&self, text: &str) -> String {
        match self.expose_text() {
            Some(value) if !value.is_empty() => text.replace(value, HIDDEN),
            _ => text.to_owned(),
        }
    }

    /// Whether two are the same copy: a source that has not changed gives the same.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl From<Zeroizing<Vec<u8>>> for Secret {
    fn from(mut bytes: Zeroizing<Vec<u8>>) -> Self {
        Self::new(std::mem::take(&mut *bytes))
    }
}
