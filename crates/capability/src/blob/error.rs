//! Why a blob operation did not happen.

use samara_model::{Fault, format_bytes};

use crate::moving::Refusal;

/// Why a blob operation did not happen. Contracts translate it into their ABI's own error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// The guest named a store that no manifest entry opens for it.
    #[error("no blob store `{store}`; `blob = [\"{store}\"]` would grant it")]
    NoSuchStore {
        /// The name the guest used.
        store: String,
    },
    /// The container is not there.
    #[error("no container `{container}`; create it first")]
    NoSuchContainer {
        /// Its name.
        container: String,
    },
    /// The object is not there.
    #[error("no object `{object}` in the container")]
    NoSuchObject {
        /// Its name.
        object: String,
    },
    /// The workload's grant does not include this.
    #[error("denied: {what}; `{grant}` would allow it")]
    AccessDenied {
        /// What was asked for.
        what: String,
        /// The grant that would have allowed it, as a manifest writes it.
        grant: String,
    },
    /// A name, an object, its attributes or what is stored altogether is over its limit.
    #[error("the {what} is over its limit of `{}`", format_bytes(*.limit))]
    TooLarge {
        /// Which of them.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// More at once than is handled at once.
    #[error("`{asked}` {what} are too many; at most {limit} go at once")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many were asked for.
        asked: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A name or an attribute that cannot be one.
    #[error("{0}")]
    Invalid(String),
    /// A cursor that this store did not give out.
    #[error("the cursor is not one of this store's; start again without one")]
    UnknownCursor,
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
const QUOTED_CHARACTERS: usize = 127;

/// A guest's own text as errors repeat it: cut, control characters written out, because it goes to
/// the log.
fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARACTERS).flat_map(char::escape_debug).collect()
}

impl BlobError {
    /// The error for a store that no manifest entry opens for the guest.
    pub fn no_such_store(store: &str) -> Self {
        Self::NoSuchStore { store: quoted(store) }
    }

    /// The error for a container that is not there.
    pub fn no_such_container(container: &str) -> Self {
        Self::NoSuchContainer { container: quoted(container) }
    }

    /// The error for an object that is not there.
    pub fn no_such_object(object: &str) -> Self {
        Self::NoSuchObject { object: quoted(object) }
    }

    /// The fault of a call that cannot go on because of this, for contracts whose ABI has no error to answer with.
    pub fn into_fault(self, store: &str) -> Fault {
        match self {
            Self::AccessDenied { what, grant } => Fault::Denied { what, grant },
            Self::NoSuchStore { store } => {
                Fault::Denied { what: format!("blob store `{store}`"), grant: format!("blob = [\"{store}\"]") }
            }
            Self::NoSuchContainer { .. }
            | Self::NoSuchObject { .. }
            | Self::TooLarge { .. }
            | Self::TooMany { .. }
            | Self::Invalid(_)
            | Self::UnknownCursor => Fault::Guest(format!("blob store `{store}`: {self}")),
            Self::Configuration(message) => Fault::Config(format!("store `{store}`: {message}")),
            Self::Backend(detail) => Fault::Backend { name: store.to_owned(), detail, slow: false },
            Self::TimedOut(detail) => Fault::Backend { name: store.to_owned(), detail, slow: true },
        }
    }
}

impl From<Refusal> for BlobError {
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
