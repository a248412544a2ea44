//! Spin's `postgres`, in its four revisions, over the databases of the workload's `sql` grant that are PostgreSQL's.
//!
//! Differs from the spec: what a guest opens is the name of a granted store, and an address stands for a name ([`server`]). The
//! manifest has the address and the password, and a guest needs to know neither.
//!
//! A guest's connection is a [`Session`] of the store: each statement may run on another of the store's connections and is a
//! transaction of its own, but for those between `BEGIN` and `COMMIT`. One that is dropped in a transaction rolls it back.

use std::sync::Arc;

use samara_capability::{
    Denial,
    sql::{Answer, Dialect, Granted, Kind, Row, Session, Sql, SqlError, Statement, Value},
};
use samara_model::Capability;
use samara_runtime::Guest;
use tokio::sync::Mutex;
use wasmtime::component::Linker;

use super::server;
use crate::world::view::View;

mod moment;
mod release1;
mod release3;
mod release4;

pub(super) fn link(linker: &mut Linker<Guest>, concurrency: bool) -> wasmtime::Result<()> {
    release1::link(linker)?;
    release3::link(linker)?;
    release4::link(linker, concurrency)
}

/// Our side of a guest's connection; whoever runs a statement holds it.
type Connection = Arc<Mutex<Session>>;

/// The database a guest names.
fn database(guest: &Guest, address: &str) -> Result<Granted, String> {
    let authority = guest.authority();
    let refused = || server::refused(authority, Capability::Sql, "PostgreSQL");
    let name = server::store_name(address).ok_or_else(refused)?;
    if address.contains("://") && !authority.grants.sql.contains_key(&name) {
        return Err(refused());
    }
    let database = match authority.sql(&name) {
        Ok(database) => database.clone(),
        Err(Denial { what, grant, .. }) => return Err(format!("denied: {what}; `{grant}` would allow it")),
    };
    match database.dialect() {
        Dialect::Postgres => Ok(database),
        Dialect::Sqlite => Err(format!("store `{name}` is SQLite's, not PostgreSQL's")),
    }
}

/// A session of the database a guest names.
fn session(guest: &Guest, address: &str) -> Result<Connection, String> {
    Ok(Arc::new(Mutex::new(Session::new(database(guest, address)?))))
}

impl View<'_> {
    fn open_postgres(&mut self, address: &str) -> Result<u32, String> {
        let connection = session(self.0, address)?;
        self.keep(connection).map_err(|full| full.to_string())
    }

    fn postgres(&mut self, connection: u32) -> wasmtime::Result<Connection> {
        Ok(Arc::clone(self.find::<Connection>(connection)?))
    }
}

async fn whole(
    connection: &Connection,
    text: String,
    parameters: Vec<Value>,
) -> Result<(Vec<(String, Kind)>, Vec<Row>), SqlError> {
    let Answer { columns, rows, .. } = connection.lock().await.run(Statement { text, parameters }).await?;
    Ok((columns.into_iter().map(|column| (column.name.to_string(), column.kind)).collect(), rows))
}

async fn execute(connection: &Connection, text: String, parameters: Vec<Value>) -> Result<u64, SqlError> {
    Ok(connection.lock().await.execute(Statement { text, parameters }).await?.affected)
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
