//! Why a messaging operation did not happen.

use samara_model::{Fault, format_bytes};

/// Why a messaging operation did not happen. Contracts translate it into their ABI's own error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessagingError {
    /// The guest named a bus that no manifest entry opens for it.
    #[error("no bus `{store}`; `messaging = {{ store = \"{store}\", publish = [\"SUBJECT\"] }}` would grant it")]
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
    /// A message, its headers or what the bus keeps altogether is over its limit.
    #[error("the {what} is over its limit of `{}`", format_bytes(*.limit))]
    TooLarge {
        /// Which of them.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// More of something at once than there may be.
    #[error("too many {what}; at most {limit} at once")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// A subject, a pattern, a group or a header that cannot be one.
    #[error("{0}")]
    Malformed(String),
    /// The bus cannot do this.
    #[error("`{scheme}:` has no {what}; {instead}")]
    Unsupported {
        /// The provider's scheme.
        scheme: &'static str,
        /// What was asked for.
        what: &'static str,
        /// What would work.
        instead: &'static str,
    },
    /// Nobody listens to a request's subject.
    #[error("nobody answers requests on this subject")]
    NoResponders,
    /// A URL or a setting in the manifest is wrong.
    #[error("{0}")]
    Configuration(String),
    /// The backend failed.
    #[error("{0}")]
    Backend(String),
    /// The backend, or whoever was asked, did not answer in time; what was asked may still happen.
    #[error("no answer in time: {0}")]
    TimedOut(String),
}

/// Characters of a guest's own text that an error repeats, at most.
const QUOTED_CHARACTERS: usize = 63;

impl MessagingError {
    /// The error for a bus that no manifest entry opens for the guest. What the guest called it is cut to the length of a
    /// name, and control characters are written out, because it goes to the log.
    pub fn no_such_store(store: &str) -> Self {
        Self::NoSuchStore { store: store.chars().take(QUOTED_CHARACTERS).flat_map(char::escape_debug).collect() }
    }

    /// The fault of a call that cannot go on because of this, for contracts whose ABI has no error to answer with.
    pub fn into_fault(self, store: &str) -> Fault {
        match self {
            Self::AccessDenied { what, grant } => Fault::Denied { what, grant },
            Self::NoSuchStore { ref store } => {
                let grant = format!("messaging = {{ store = \"{store}\", publish = [\"SUBJECT\"] }}");
                Fault::Denied { what: format!("bus `{store}`"), grant }
            }
            Self::TooLarge { .. } | Self::TooMany { .. } | Self::Malformed(_) | Self::Unsupported { .. } => {
                Fault::Guest(format!("bus `{store}`: {self}"))
            }
            Self::Configuration(message) => Fault::Config(format!("store `{store}`: {message}")),
            Self::Backend(detail) => Fault::Backend { name: store.to_owned(), detail, slow: false },
            Self::NoResponders => Fault::Backend { name: store.to_owned(), detail: self.to_string(), slow: false },
            Self::TimedOut(detail) => Fault::Backend { name: store.to_owned(), detail, slow: true },
        }
    }
}
