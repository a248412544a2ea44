//! Why a statement did not run, or its answer did not arrive.

use samara_model::{Fault, format_bytes};

/// Why a statement did not run, or its answer did not arrive. Contracts translate it into their ABI's own error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// The guest named a store that no manifest entry opens for it.
    #[error("no database `{store}`; `sql = [\"{store}\"]` would grant it")]
    NoSuchStore {
        /// The name the guest used.
        store: String,
    },
    /// The guest named a statement that its grant does not declare.
    #[error("no statement `{name}`; the grant declares: {known}")]
    NoSuchStatement {
        /// The name the guest used.
        name: String,
        /// Those there are.
        known: String,
    },
    /// The workload's grant does not include this.
    #[error("denied: {what}; `{grant}` would allow it")]
    AccessDenied {
        /// What was asked for.
        what: String,
        /// The grant that would have allowed it, as a manifest writes it.
        grant: String,
    },
    /// The statement changes something and was run to read. Providers say so; a guest learns which grant would allow it.
    #[error("the statement changes something, and may only read")]
    ReadOnly,
    /// A statement that no guest may run on this database, whatever its grant.
    #[error("{0}")]
    Refused(String),
    /// A statement, its parameters or its answer is over its limit.
    #[error("the {what} is over its limit of `{}`", format_bytes(*.limit))]
    TooLarge {
        /// Which of them.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// More of something than there may be at once: rows of an answer, transactions that are open.
    #[error("more than `{limit}` {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: u64,
    },
    /// A parameter that the statement or the database cannot take.
    #[error("{0}")]
    Parameter(String),
    /// A value of the answer that cannot be told.
    #[error("{0}")]
    Conversion(String),
    /// The database did not accept the statement, or stopped it: bad syntax, a broken constraint.
    #[error("{0}")]
    Statement(Box<Rejection>),
    /// The database has no room for more.
    #[error("the database is full; its limit is `{}`", format_bytes(*.limit))]
    Full {
        /// Its size in bytes, at most.
        limit: u64,
    },
    /// A URL or a setting in the manifest is wrong.
    #[error("{0}")]
    Configuration(String),
    /// The backend failed.
    #[error("{0}")]
    Backend(String),
    /// No answer in time; what was asked may still have happened.
    #[error("no answer in time: {0}")]
    TimedOut(String),
}

/// What a database says of a statement that it does not accept.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// Its code: five characters of SQLSTATE from PostgreSQL (`23505`), SQLite's extended result code (`1555`).
    pub code: String,
    /// How bad it is: `ERROR`.
    pub severity: String,
    /// The message.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What might help.
    pub hint: Option<String>,
    /// The table, column and constraint it is about, and other words of the database, by name.
    pub about: Vec<(&'static str, String)>,
}

/// Characters of a guest's own text that an error repeats, at most.
const QUOTED_CHARACTERS: usize = 63;

/// What the guest called something, cut to the length of a name and with control characters written out: it goes to the log.
fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARACTERS).flat_map(char::escape_debug).collect()
}

impl SqlError {
    /// The error for a store that no manifest entry opens for the guest.
    pub fn no_such_store(store: &str) -> Self {
        Self::NoSuchStore { store: quoted(store) }
    }

    /// The error for a statement that the grant does not declare.
    pub(super) fn no_such_statement<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Self {
        let known: Vec<_> = known.map(|name| format!("`{name}`")).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Self::NoSuchStatement { name: quoted(name), known }
    }

    /// The fault of a call that cannot go on because of this, for contracts whose ABI has no error to answer with.
    pub fn into_fault(self, store: &str) -> Fault {
        match self {
            Self::AccessDenied { what, grant } => Fault::Denied { what, grant },
            Self::NoSuchStore { store } => {
                Fault::Denied { what: format!("database `{store}`"), grant: format!("sql = [\"{store}\"]") }
            }
            Self::NoSuchStatement { .. }
            | Self::ReadOnly
            | Self::Refused(_)
            | Self::TooLarge { .. }
            | Self::TooMany { .. }
            | Self::Parameter(_)
            | Self::Conversion(_)
            | Self::Statement(_)
            | Self::Full { .. } => Fault::Guest(format!("database `{store}`: {self}")),
            Self::Configuration(message) => Fault::Config(format!("store `{store}`: {message}")),
            Self::Backend(detail) => Fault::Backend { name: store.to_owned(), detail, slow: false },
            Self::TimedOut(detail) => Fault::Backend { name: store.to_owned(), detail, slow: true },
        }
    }
}
