//! Why a key-value operation did not happen.

use samara_model::{Fault, format_bytes};

use crate::moving::Refusal;

/// Why a key-value operation did not happen. Contracts translate it into their ABI's own error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// The guest named a store that no manifest entry opens for it.
    #[error("no key-value store `{store}`; `kv = [\"{store}\"]` would grant it")]
    NoSuchStore {
        /// The name the guest used.
        store: String,
    },
    /// The workload's grant does not include this.
    #[error("denied: {what}; `{grant}` would allow it")]
    AccessDenied {
        /// What was asked for.
        what: String,
        /// The grant that would have allowed it, as a manifest writes it.
        grant: String,
    },
    /// A key, a value, a batch or what is stored altogether is over its limit.
    #[error("the {what} is over its limit of `{}`", format_bytes(*.limit))]
    TooLarge {
        /// Which of them.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// More keys in one batch than are handled at once.
    #[error("a batch of `{keys}` keys is too long; at most {limit} go in one")]
    TooMany {
        /// How many were asked for.
        keys: usize,
        /// How many there may be.
        limit: usize,
    },
    /// An increment of something that is not decimal text of a 64-bit number.
    #[error("the value is not a number; an increment needs decimal text such as `17`")]
    NotANumber,
    /// An increment past the ends of a signed 64-bit number; the value is unchanged.
    #[error("the sum does not fit a signed 64-bit number")]
    Overflow,
    /// A cursor that this store did not give out.
    #[error("the cursor is not one of this store's; start again without one")]
    UnknownCursor,
    /// More watchers than a store tells of its changes.
    #[error("the store is watched by `{limit}` already; end a watch before the next one")]
    TooManyWatchers {
        /// How many there may be.
        limit: usize,
    },
    /// What this kind of store cannot do.
    #[error("`{scheme}:` has no {what}; use a store of another provider for it")]
    Unsupported {
        /// The scheme of the store's provider.
        scheme: &'static str,
        /// What was asked for.
        what: &'static str,
    },
    /// A URL or a setting in the manifest is wrong.
    #[error("{0}")]
    Configuration(String),
    /// The backend failed.
    #[error("{0}")]
    Backend(String),
    /// The backend did not answer in time; what was asked may still happen.
    #[error("no answer in time: {0}")]
    TimedOut(String),
}

/// Characters of a guest's own text that an error repeats, at most.
const QUOTED_CHARACTERS: usize = 63;

impl KvError {
    /// The error for a store that no manifest entry opens for the guest. What the guest called it is cut to the length of a
    /// name, and control characters are written out, because it goes to the log.
    pub fn no_such_store(store: &str) -> Self {
        Self::NoSuchStore { store: store.chars().take(QUOTED_CHARACTERS).flat_map(char::escape_debug).collect() }
    }

    /// The fault of a call that cannot go on because of this, for contracts whose ABI has no error to answer with.
    pub fn into_fault(self, store: &str) -> Fault {
        match self {
            Self::AccessDenied { what, grant } => Fault::Denied { what, grant },
            Self::NoSuchStore { store } => {
                Fault::Denied { what: format!("key-value store `{store}`"), grant: format!("kv = [\"{store}\"]") }
            }
            Self::TooLarge { .. } | Self::TooMany { .. } | Self::NotANumber | Self::Overflow | Self::UnknownCursor => {
                Fault::Guest(format!("key-value store `{store}`: {self}"))
            }
            Self::TooManyWatchers { .. } | Self::Unsupported { .. } => {
                Fault::Config(format!("store `{store}`: {self}"))
            }
            Self::Configuration(message) => Fault::Config(format!("store `{store}`: {message}")),
            Self::Backend(detail) => Fault::Backend { name: store.to_owned(), detail, slow: false },
            Self::TimedOut(detail) => Fault::Backend { name: store.to_owned(), detail, slow: true },
        }
    }
}

impl From<Refusal> for KvError {
    fn from(refusal: Refusal) -> Self {
        let why = refusal.to_string();
        match refusal {
            Refusal::Late => Self::TimedOut(why),
            Refusal::TooManyChanges | Refusal::TooFast(_) | Refusal::NoRandom(_) => Self::Backend(why),
            Refusal::Moving | Refusal::OnePlace | Refusal::Present(_) | Refusal::LinkedElsewhere => {
                Self::Configuration(why)
            }
        }
    }
}
