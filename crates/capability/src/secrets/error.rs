//! Why a secret cannot be had. No message holds any part of one.

use samara_model::{Fault, format_bytes};

use crate::disk::Unreadable;

/// Why a secret cannot be had. Contracts translate it into their ABI's own error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The workload's grant does not include this secret.
    #[error("denied: {what}; `{grant}` would allow it")]
    AccessDenied {
        /// What was asked for.
        what: String,
        /// The grant that would have allowed it, as a manifest writes it.
        grant: String,
    },
    /// A source is over one of its limits.
    #[error("{place}: the {what} is over its limit of `{}`", format_bytes(*.limit))]
    TooLarge {
        /// The source.
        place: String,
        /// Which of its parts.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// A source in the manifest is wrong.
    #[error("{0}")]
    Configuration(String),
    /// A source cannot be read.
    #[error("{0}")]
    Backend(String),
}

impl SecretError {
    /// The fault of a call that cannot go on because of this, for contracts whose ABI has no error to answer with.
    pub fn into_fault(self) -> Fault {
        match self {
            Self::AccessDenied { what, grant } => Fault::Denied { what, grant },
            Self::TooLarge { .. } | Self::Configuration(_) => Fault::Config(self.to_string()),
            Self::Backend(detail) => Fault::Backend { name: "secrets".to_owned(), detail, slow: false },
        }
    }
}

impl From<Unreadable> for SecretError {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::TooLarge { place, what, limit } => Self::TooLarge { place, what, limit },
            Unreadable::TooMany { .. } | Unreadable::Failed(_) => Self::Backend(unreadable.to_string()),
        }
    }
}
