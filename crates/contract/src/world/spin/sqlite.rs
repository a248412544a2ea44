//! Spin's `sqlite`, in its three generations, over the databases of the workload's `sql` grant that are SQLite's.
//!
//! A guest's connection is a [`Session`] of the granted store: statements outside of a transaction may run on several of ours,
//! each a transaction of its own, and those between `BEGIN` and `COMMIT` on one. A connection that is dropped, or a guest that
//! ends, in a transaction rolls back; how many are open, and for how long, the store bounds. Statements of one connection run
//! one after the other. What the third generation asks of the last row number and of the changes is the session's.

use std::sync::Arc;

use samara_bindings::{spin1, spin2, spin3};
use samara_capability::{
    Denial,
    sql::{Answer, Dialect, Session, Sql, SqlError, Statement, Value},
};
use samara_runtime::Guest;
use tokio::sync::Mutex;
use wasmtime::component::{Accessor, FutureReader, Linker, Resource, StreamReader};

use crate::world::view::{NAME_BYTES, View, Views, view};

pub(super) fn link(linker: &mut Linker<Guest>, concurrency: bool) -> wasmtime::Result<()> {
    if concurrency {
        spin3::sqlite::add_to_linker::<_, Views>(linker, view)?;
    }
    spin1::sqlite::add_to_linker::<_, Views>(linker, view)?;
    spin2::sqlite::add_to_linker::<_, Views>(linker, view)
}

/// Our side of a guest's connection; whoever runs a statement holds it.
type Connection = Arc<Mutex<Session>>;

/// Why a connection is not opened.
enum Refused {
    NoSuchDatabase,
    AccessDenied,
    Failed(String),
}

impl View<'_> {
    fn open_database(&mut self, name: &str) -> Result<u32, Refused> {
        if name.len() > NAME_BYTES {
            return Err(Refused::NoSuchDatabase);
        }
        let authority = self.0.authority();
        let unnamed = matches!(name, "" | "default") && !authority.grants.sql.contains_key(name);
        let database = match authority.only_sql().filter(|_| unnamed) {
            Some(database) => database.clone(),
            None => match authority.sql(name) {
                Ok(database) => database.clone(),
                Err(Denial { .. }) => return Err(Refused::AccessDenied),
            },
        };
        if database.dialect() != Dialect::Sqlite {
            return Err(Refused::Failed(format!(
                "database `{name}` is not SQLite's; its store names another provider"
            )));
        }
        let connection = Connection::new(Mutex::new(Session::new(database)));
        self.keep(connection).map_err(|full| Refused::Failed(full.to_string()))
    }

    fn session(&mut self, connection: u32) -> wasmtime::Result<Connection> {
        Ok(Arc::clone(self.find::<Connection>(connection)?))
    }
}

async fn run(session: &Connection, text: String, parameters: Vec<Value>) -> Result<Answer, SqlError> {
    session.lock().await.run(Statement { text, parameters }).await
}

fn names(answer: &Answer) -> Vec<String> {
    answer.columns.iter().map(|column| column.name.to_string()).collect()
}

/// The generations differ in the path of their types only.
macro_rules! codec {
    ($release:ident, $error:ident, $opened:ident, $to_us:ident, $row:ident) => {
        fn $error(error: SqlError) -> $release::sqlite::Error {
            use $release::sqlite::Error;
            match error {
                SqlError::NoSuchStore { .. } => Error::NoSuchDatabase,
                SqlError::AccessDenied { .. } => Error::AccessDenied,
                SqlError::Full { .. } => Error::DatabaseFull,
                other => Error::Io(other.to_string()),
            }
        }

        fn $opened(refused: Refused) -> $release::sqlite::Error {
            use $release::sqlite::Error;
            match refused {
                Refused::NoSuchDatabase => Error::NoSuchDatabase,
                Refused::AccessDenied => Error::AccessDenied,
                Refused::Failed(why) => Error::Io(why),
            }
        }

        fn $to_us(values: Vec<$release::sqlite::Value>) -> Vec<Value> {
            use $release::sqlite::Value as Theirs;
            let value = |value| match value {
                Theirs::Integer(number) => Value::Integer(number),
                Theirs::Real(number) => Value::Float(number),
                Theirs::Text(text) => Value::Text(text),
                Theirs::Blob(bytes) => Value::Bytes(bytes.into()),
                Theirs::Null => Value::Null,
            };
            values.into_iter().map(value).collect()
        }

        fn $row(row: Vec<Value>) -> $release::sqlite::RowResult {
            use $release::sqlite::Value as Theirs;
            let value = |value: Value| match value {
                Value::Null => Theirs::Null,
                Value::Integer(number) => Theirs::Integer(number),
                Value::Float(number) => Theirs::Real(number),
                Value::Bool(truth) => Theirs::Integer(truth.into()),
                Value::Bytes(bytes) | Value::Other(bytes) => Theirs::Blob(bytes.into()),
                // SQLite has no other kinds; what a provider made of a declared type has a text.
                other => other.to_text().map_or(Theirs::Null, |text| Theirs::Text(text.into_owned())),
            };
            $release::sqlite::RowResult { values: row.into_iter().map(value).collect() }
        }
    };
}

codec!(spin1, error1, opened1, to_us1, row1);
codec!(spin2, error2, opened2, to_us2, row2);
codec!(spin3, error3, opened3, to_us3, row3);

impl spin1::sqlite::Host for View<'_> {
    async fn open(&mut self, database: String) -> wasmtime::Result<Result<u32, spin1::sqlite::Error>> {
        Ok(self.open_database(&database).map_err(opened1))
    }

    async fn execute(
        &mut self,
        connection: u32,
        statement: String,
        parameters: Vec<spin1::sqlite::Value>,
    ) -> wasmtime::Result<Result<spin1::sqlite::QueryResult, spin1::sqlite::Error>> {
        // The first generation has no resources, so that a guest can name any number.
        let Ok(session) = self.session(connection) else { return Ok(Err(spin1::sqlite::Error::InvalidConnection)) };
        let answer = run(&session, statement, to_us1(parameters)).await;
        let told = |answer: Answer| spin1::sqlite::QueryResult {
            columns: names(&answer),
            rows: answer.rows.into_iter().map(row1).collect(),
        };
        Ok(answer.map(told).map_err(error1))
    }

    async fn close(&mut self, connection: u32) -> wasmtime::Result<()> {
        // Closing what is not open is nothing.
        let _ = self.forget::<Connection>(connection);
        Ok(())
    }
}

impl spin2::sqlite::Host for View<'_> {}

impl spin2::sqlite::HostConnection for View<'_> {
    async fn open(
        &mut self,
        database: String,
    ) -> wasmtime::Result<Result<Resource<spin2::sqlite::Connection>, spin2::sqlite::Error>> {
        Ok(self.open_database(&database).map(Resource::new_own).map_err(opened2))
    }

    async fn execute(
        &mut self,
        connection: Resource<spin2::sqlite::Connection>,
        statement: String,
        parameters: Vec<spin2::sqlite::Value>,
    ) -> wasmtime::Result<Result<spin2::sqlite::QueryResult, spin2::sqlite::Error>> {
        let session = self.session(connection.rep())?;
        let answer = run(&session, statement, to_us2(parameters)).await;
        let told = |answer: Answer| spin2::sqlite::QueryResult {
            columns: names(&answer),
            rows: answer.rows.into_iter().map(row2).collect(),
        };
        Ok(answer.map(told).map_err(error2))
    }

    async fn drop(&mut self, connection: Resource<spin2::sqlite::Connection>) -> wasmtime::Result<()> {
        self.forget::<Connection>(connection.rep()).map(drop)
    }
}

impl spin3::sqlite::Host for View<'_> {}

impl spin3::sqlite::HostConnection for View<'_> {
    async fn open(
        &mut self,
        database: String,
    ) -> wasmtime::Result<Result<Resource<spin3::sqlite::Connection>, spin3::sqlite::Error>> {
        Ok(self.open_database(&database).map(Resource::new_own).map_err(opened3))
    }

    async fn execute(
        &mut self,
        connection: Resource<spin3::sqlite::Connection>,
        statement: String,
        parameters: Vec<spin3::sqlite::Value>,
    ) -> wasmtime::Result<Result<spin3::sqlite::QueryResult, spin3::sqlite::Error>> {
        let session = self.session(connection.rep())?;
        let answer = run(&session, statement, to_us3(parameters)).await;
        let told = |answer: Answer| spin3::sqlite::QueryResult {
            columns: names(&answer),
            rows: answer.rows.into_iter().map(row3).collect(),
        };
        Ok(answer.map(told).map_err(error3))
    }

    async fn last_insert_rowid(&mut self, connection: Resource<spin3::sqlite::Connection>) -> wasmtime::Result<i64> {
        Ok(self.session(connection.rep())?.lock().await.last_insert_id())
    }

    async fn changes(&mut self, connection: Resource<spin3::sqlite::Connection>) -> wasmtime::Result<u64> {
        Ok(self.session(connection.rep())?.lock().await.changes())
    }

    async fn drop(&mut self, connection: Resource<spin3::sqlite::Connection>) -> wasmtime::Result<()> {
        self.forget::<Connection>(connection.rep()).map(drop)
    }
}

impl<U> spin3::sqlite::HostConnectionWithStore<U> for Views {
    async fn open_async(
        accessor: &Accessor<U, Self>,
        database: String,
    ) -> wasmtime::Result<Result<Resource<spin3::sqlite::Connection>, spin3::sqlite::Error>> {
        let opened = accessor.with(|mut access| access.get().open_database(&database));
        Ok(opened.map(Resource::new_own).map_err(opened3))
    }

    async fn execute_async(
        accessor: &Accessor<U, Self>,
        connection: Resource<spin3::sqlite::Connection>,
        statement: String,
        parameters: Vec<spin3::sqlite::Value>,
    ) -> wasmtime::Result<
        Result<
            (Vec<String>, StreamReader<spin3::sqlite::RowResult>, FutureReader<Result<(), spin3::sqlite::Error>>),
            spin3::sqlite::Error,
        >,
    > {
        let session = accessor.with(|mut access| access.get().session(connection.rep()))?;
        let answer = match run(&session, statement, to_us3(parameters)).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error3(error))),
        };
        accessor.with(|mut access| {
            let columns = names(&answer);
            let rows: Vec<_> = answer.rows.into_iter().map(row3).collect();
            let rows = StreamReader::new(&mut access, rows)?;
            let end = FutureReader::new(&mut access, async { wasmtime::error::Ok(Ok(())) })?;
            Ok(Ok((columns, rows, end)))
        })
    }

    async fn last_insert_rowid_async(
        accessor: &Accessor<U, Self>,
        connection: Resource<spin3::sqlite::Connection>,
    ) -> wasmtime::Result<i64> {
        let session = accessor.with(|mut access| access.get().session(connection.rep()))?;
        Ok(session.lock().await.last_insert_id())
    }

    async fn changes_async(
        accessor: &Accessor<U, Self>,
        connection: Resource<spin3::sqlite::Connection>,
    ) -> wasmtime::Result<u64> {
        let session = accessor.with(|mut access| access.get().session(connection.rep()))?;
        Ok(session.lock().await.changes())
    }
}
