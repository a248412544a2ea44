//! Why configuration values cannot be had.

use samara_model::{Fault, format_bytes};

/// Why configuration values cannot be had. Contracts translate it into their ABI's own error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The workload has no `config` grant.
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
    /// A source cannot be read, or what it holds is no configuration.
    #[error("{0}")]
    Backend(String),
}

impl ConfigError {
    /// The fault of a call that cannot go on because of this, for contracts whose ABI has no error to answer with.
    pub fn into_fault(self) -> Fault {
        match self {
            Self::AccessDenied { what, grant } => Fault::Denied { what, grant },
            Self::TooLarge { .. } | Self::Configuration(_) => Fault::Config(self.to_string()),
            Self::Backend(detail) => Fault::Backend { name: "config".to_owned(), detail, slow: false },
        }
    }
}
