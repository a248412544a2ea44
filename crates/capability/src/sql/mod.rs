//! SQL databases: the trait that contracts call, and the table of providers behind it.
//!
//! A statement is text in the database's own dialect with ordered parameters, written `$1`, `$2` (SQLite knows `?1` and `?`
//! too): nothing is translated, and no value is ever put into the text. Rows stream ([`Rows`]), typed ([`Value`], [`Kind`]).
//!
//! Unlike keys, statements cannot be kept below a prefix. So a tenant has a database of its own, which
//! the provider opens for its [`Share`]: SQLite a file, PostgreSQL a schema with an account that can reach no other. Grants
//! and limits are applied once, by [`Store::grant`], whatever the provider.

use std::{fmt, time::Duration};

use async_trait::async_trait;

#[cfg(any(test, feature = "conformance"))]
pub mod check;
mod error;
mod granted;
#[cfg(feature = "postgres")]
mod postgres;
mod rows;
mod session;
mod settings;
mod sqlite;
mod statement;
mod store;
#[cfg(test)]
mod tests;
mod value;

pub use error::{Rejection, SqlError};
pub use granted::{Granted, TRANSACTION_TIME};
pub use rows::{Row, Rows};
pub use session::{Answer, Session};
use statement::{Frame, check_frame, frame};
pub use store::{Share, Store};
pub use value::{Column, Interval, Kind, Range, Value};

/// Every provider. A new one is one file and one line here.
pub const PROVIDERS: &[&dyn Provider] = &[
    &sqlite::Sqlite,
    #[cfg(feature = "postgres")]
    &postgres::Postgres("postgres"),
    #[cfg(feature = "postgres")]
    &postgres::Postgres("postgresql"),
];

/// The schemes whose providers are not in this build, and the cargo feature that brings each.
const LEFT_OUT: &[(&str, &str)] = &[("postgres", "postgres"), ("postgresql", "postgres")];

/// A database that is open: shared by all calls of all workloads it is granted to.
///
/// A statement outside of a transaction is one of its own: it happens as a whole or not at all. It runs on a connection
/// that is free, so that two statements of one guest may run side by side and know nothing of each other's session: settings,
/// temporary tables and locks of a session do not outlive a statement, or are refused. A reader sees no half-done writes.
///
/// A future that is dropped, and an answer that is dropped unread, stop the statement in the database; what it changed is
/// undone unless it had ended already. All methods may wait: for a connection, for a writer before them, for the
/// database, and altogether no longer than [`Terms::time`].
#[async_trait]
pub trait Sql: fmt::Debug + Send + Sync {
    /// Whose SQL it is.
    fn dialect(&self) -> Dialect;

    /// Runs one statement and answers with its rows.
    ///
    /// # Errors
    /// The statement is not accepted, changes something though the terms say it may only read, is over its limits, or the
    /// backend failed. What happens after the first row is told by [`Rows::next`].
    async fn query(&self, statement: Statement, terms: &Terms) -> Result<Rows, SqlError>;

    /// Runs one statement to its end; rows that it answers with count against the limits and are thrown away.
    ///
    /// # Errors
    /// As [`query`](Self::query), of the whole statement.
    async fn execute(&self, statement: Statement, terms: &Terms) -> Result<Done, SqlError> {
        done(self.query(statement, terms).await?).await
    }

    /// Opens a transaction that ends by itself after `time`. Of the terms it takes how it may access the database, and how
    /// long it may take to open.
    ///
    /// # Errors
    /// The backend failed, or others did not make room in time.
    async fn begin(&self, terms: &Terms, time: Duration) -> Result<Box<dyn Transaction>, SqlError>;
}

/// Statements that happen together or not at all. Dropped, it is rolled back.
///
/// Its statements run one after the other: the next one waits until the answer before it was read or dropped. After a
/// statement that failed, PostgreSQL accepts nothing but a rollback (to a savepoint, if there is one) while SQLite goes on
/// without that statement.
#[async_trait]
pub trait Transaction: fmt::Debug + Send {
    /// Runs one statement in the transaction. Savepoints are statements.
    ///
    /// # Errors
    /// As [`Sql::query`], and the transaction is over its time.
    async fn query(&mut self, statement: Statement, terms: &Terms) -> Result<Rows, SqlError>;

    /// Runs one statement in the transaction to its end.
    ///
    /// # Errors
    /// As [`query`](Self::query), of the whole statement.
    async fn execute(&mut self, statement: Statement, terms: &Terms) -> Result<Done, SqlError> {
        done(self.query(statement, terms).await?).await
    }

    /// Makes what was done last.
    ///
    /// # Errors
    /// A constraint that is checked at the end is broken, the transaction is over its time or had failed: nothing of it
    /// happened. If the backend failed or did not answer, it may have happened.
    async fn commit(self: Box<Self>) -> Result<(), SqlError>;

    /// Undoes what was done. Dropping does the same without saying when.
    ///
    /// # Errors
    /// The backend failed; nothing of the transaction happened.
    async fn rollback(self: Box<Self>) -> Result<(), SqlError>;
}

/// Reads an answer to its end.
async fn done(mut rows: Rows) -> Result<Done, SqlError> {
    while rows.next().await?.is_some() {}
    rows.done().ok_or_else(|| SqlError::Backend("the answer ended before its end".to_owned()))
}

/// Whose SQL a database speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite's.
    Sqlite,
    /// PostgreSQL's.
    Postgres,
}

/// One statement and its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// The text: exactly one statement.
    pub text: String,
    /// The values of `$1`, `$2` and so on.
    pub parameters: Vec<Value>,
}

impl Statement {
    /// A statement of this text.
    pub fn new(text: impl Into<String>, parameters: impl Into<Vec<Value>>) -> Self {
        Self { text: text.into(), parameters: parameters.into() }
    }
}

/// Under which terms a statement runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Whether it may change anything.
    pub access: Access,
    /// How long it may take: to wait, to run and to be read.
    pub time: Duration,
    /// Rows of its answer, at most.
    pub rows: u64,
    /// Bytes of its answer, at most, counted by [`Value::size`].
    pub bytes: u64,
    /// Bytes of the whole database after it, at most, where it is a file of ours.
    pub total_bytes: u64,
}

/// Whether a statement may change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may only read: what would change the database is [`SqlError::ReadOnly`].
    Read,
    /// It may do what the database lets it.
    Write,
}

/// What a statement did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Rows it added, changed or removed; of PostgreSQL also those it answered with.
    pub affected: u64,
    /// The number of the last row it added, where the database has such numbers (SQLite's rowid).
    pub last_insert_id: Option<i64>,
}

/// Opens databases of one kind.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// The word before the colon of its URLs.
    fn scheme(&self) -> &'static str;

    /// Opens a share's database within what a URL of this scheme names, and makes it if it is not there. Called when an app
    /// is loaded, on a runtime that may wait and that lives as long as the database is used.
    ///
    /// `settings` are the other keys of the store's table in the manifest; an unknown one is an error.
    ///
    /// # Errors
    /// The URL or a setting is wrong, or the backend does not answer.
    async fn open(&self, url: &str, settings: &toml::Table, share: &Share)
    -> Result<std::sync::Arc<dyn Sql>, SqlError>;
}

/// Opens a share's database within what a URL names, with the provider of its scheme.
///
/// # Errors
/// No provider has the scheme (the message lists those there are), or the provider refuses.
pub async fn open(url: &str, settings: &toml::Table, share: &Share) -> Result<std::sync::Arc<dyn Sql>, SqlError> {
    let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
    if let Some(provider) = PROVIDERS.iter().find(|provider| provider.scheme() == scheme) {
        return provider.open(url, settings, share).await;
    }
    if let Some((_, feature)) = LEFT_OUT.iter().find(|(left_out, _)| *left_out == scheme) {
        return Err(SqlError::Configuration(format!(
            "this build has no database provider for `{scheme}:`; build it with the cargo feature `{feature}`"
        )));
    }
    let known = PROVIDERS.iter().map(|provider| provider.scheme()).collect::<Vec<_>>().join(", ");
    // What stands before the colon of something that is no URL may be anything.
    let scheme: String = scheme.chars().take(32).flat_map(char::escape_debug).collect();
    Err(SqlError::Configuration(format!("no database provider for `{scheme}:`; known schemes: {known}")))
}
