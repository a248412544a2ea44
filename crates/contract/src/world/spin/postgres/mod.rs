//! Spin's `postgres`, in its four revisions, over the databases of the workload's `sql` grant that are PostgreSQL's.
//!
//! Differs from the spec: what a guest opens is the name of a granted store, not the address of a server. The manifest has the
//! address and the password, and a guest learns neither; whoever moves a Spin app here sets the variable that held the address
//! to the store's name (`samara convert` does).
//!
//! A guest's connection is the store: each statement may run on another of its connections and is a transaction of its own.

use samara_capability::{
    Denial,
    sql::{Dialect, Done, Granted, Kind, Row, Rows, Sql, SqlError, Statement, Value},
};
use samara_runtime::Guest;
use wasmtime::component::Linker;

use crate::world::view::{NAME_BYTES, View};

mod moment;
mod release1;
mod release3;
mod release4;

pub(super) fn link(linker: &mut Linker<Guest>, concurrency: bool) -> wasmtime::Result<()> {
    release1::link(linker)?;
    release3::link(linker)?;
    release4::link(linker, concurrency)
}

/// Our side of a guest's connection.
struct Connection(Granted);

/// The database a guest names.
fn database(guest: &Guest, address: &str) -> Result<Granted, String> {
    let authority = guest.authority();
    let shown: String = address.chars().take(NAME_BYTES).flat_map(char::escape_debug).collect();
    if address.len() > NAME_BYTES || address.contains("://") {
        // An address may hold a password: it is not repeated.
        return Err(
            "a guest opens a store by the name its manifest gives it, `sql = [\"NAME\"]`; the manifest has the \
                    address and the password"
                .to_owned(),
        );
    }
    let database = match authority.sql(address) {
        Ok(database) => database.clone(),
        Err(Denial { what, grant, .. }) => return Err(format!("denied: {what}; `{grant}` would allow it")),
    };
    match database.dialect() {
        Dialect::Postgres => Ok(database),
        Dialect::Sqlite => Err(format!("store `{shown}` is SQLite's, not PostgreSQL's")),
    }
}

impl View<'_> {
    fn open_postgres(&mut self, address: &str) -> Result<u32, String> {
        let database = database(self.0, address)?;
        self.keep(Connection(database)).map_err(|full| full.to_string())
    }

    fn postgres(&mut self, connection: u32) -> wasmtime::Result<Granted> {
        Ok(self.find::<Connection>(connection)?.0.clone())
    }
}

async fn rows(database: &Granted, text: String, parameters: Vec<Value>) -> Result<Rows, SqlError> {
    database.query(Statement { text, parameters }, database.terms()).await
}

async fn whole(
    database: &Granted,
    text: String,
    parameters: Vec<Value>,
) -> Result<(Vec<(String, Kind)>, Vec<Row>), SqlError> {
    let rows = rows(database, text, parameters).await?;
    let columns = rows.columns().iter().map(|column| (column.name.to_string(), column.kind.clone())).collect();
    let (rows, Done { .. }) = rows.collect().await?;
    Ok((columns, rows))
}

async fn execute(database: &Granted, text: String, parameters: Vec<Value>) -> Result<u64, SqlError> {
    Ok(database.execute(Statement { text, parameters }, database.terms()).await?.affected)
}

/// The four kinds of error that the first revisions have.
enum Failure {
    Connection(String),
    Parameter(String),
    Query(String),
    Conversion(String),
    Other(String),
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        let said = error.to_string();
        match error {
            SqlError::Parameter(_) => Self::Parameter(said),
            SqlError::Conversion(_) => Self::Conversion(said),
            SqlError::Statement(_) | SqlError::Refused(_) | SqlError::ReadOnly => Self::Query(said),
            SqlError::Backend(_) | SqlError::TimedOut(_) | SqlError::Configuration(_) => Self::Connection(said),
            _ => Self::Other(said),
        }
    }
}

/// A failure as a revision's `error`, all of whose cases are text.
macro_rules! textual_error {
    ($name:ident, $error:path) => {
        fn $name(failure: impl Into<super::Failure>) -> $error {
            use $error as Error;
            match failure.into() {
                super::Failure::Connection(said) => Error::ConnectionFailed(said),
                super::Failure::Parameter(said) => Error::BadParameter(said),
                super::Failure::Query(said) => Error::QueryFailed(said),
                super::Failure::Conversion(said) => Error::ValueConversionFailed(said),
                super::Failure::Other(said) => Error::Other(said),
            }
        }
    };
}
use textual_error;

/// A whole number in the width of its column: what does not fit is told as unsupported rather than cut.
fn narrow<T: TryFrom<i64>>(number: i64) -> Option<T> {
    T::try_from(number).ok()
}

/// A number of 32 bits that the database widened.
#[expect(clippy::cast_possible_truncation, reason = "the column has 32 bits: nothing is lost")]
fn narrow_float(number: f64) -> f32 {
    number as f32
}
