//! One connection to a database file, and one statement on it. All of it blocks, so it runs on threads that may.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rusqlite::{
    ErrorCode, OpenFlags,
    types::{ToSqlOutput, ValueRef},
};
use tokio::time::Instant;

use super::guard::{Gate, VALUE_BYTES, guard};
use crate::sql::{
    Access, Column, Done, Kind, Rejection, Row, SqlError, Statement, Terms, Value,
    rows::{Sink, Stop},
    statement::may_insert,
};

/// Steps of SQLite's machine between two looks at the clock: some ten microseconds.
const PROGRESS_STEPS: i32 = 1000;

/// How long another process may keep a database from being opened.
const OPENING: Duration = Duration::from_secs(5);

/// Bytes that the write-ahead log is cut to after it was copied into the database.
const LOG_BYTES: u64 = 16 << 20;

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In memory: it ends with its one connection.
    Memory,
    /// In a file.
    File(PathBuf),
}

/// A connection behind its gate.
#[derive(Debug)]
pub(super) struct Connection {
    raw: rusqlite::Connection,
    gate: Arc<Gate>,
    page_bytes: u64,
    /// What `max_page_count` was set to last.
    pages: u64,
}

impl Connection {
    /// Opens a connection; the one that writes makes the file if it is not there.
    pub(super) fn open(place: &Place, writes: bool) -> Result<Self, SqlError> {
        let gate = Arc::<Gate>::default();
        // Nobody else uses a connection at the same time, and no link leads out of the folder that was checked.
        let flags =
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let opened = match place {
            Place::Memory => rusqlite::Connection::open_in_memory_with_flags(flags),
            Place::File(path) => {
                if writes {
                    make_private(path)?;
                }
                rusqlite::Connection::open_with_flags(path, flags)
            }
        };
        let prepared = opened.and_then(|mut raw| {
            let (journal, page_bytes) = gate.ours(|| {
                guard(&mut raw, &gate)?;
                raw.busy_timeout(OPENING)?;
                let journal = prepare(&raw, place, writes)?;
                Ok::<_, rusqlite::Error>((journal, raw.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0))?))
            })?;
            let page_bytes = u64::try_from(page_bytes).unwrap_or(1).max(1);
            Ok((journal, Self { raw, gate: Arc::clone(&gate), page_bytes, pages: 0 }))
        });
        let told = match place {
            Place::File(path) => path.display().to_string(),
            Place::Memory => ":memory:".to_owned(),
        };
        let (journal, connection) =
            prepared.map_err(|error| SqlError::Backend(format!("`{told}` cannot be opened: {error}")))?;
        match journal.as_str() {
            "wal" | "memory" => Ok(connection),
            other => Err(SqlError::Configuration(format!(
                "the journal of `{told}` is `{other}` and cannot be `wal`; use a file system that is on this machine"
            ))),
        }
    }

    /// Whether no transaction is open.
    pub(super) fn is_idle(&self) -> bool {
        self.raw.is_autocommit()
    }

    /// Runs `BEGIN`, `COMMIT` or another statement of ours.
    pub(super) fn frame(&mut self, text: &str, until: Instant) -> Result<(), SqlError> {
        self.wait_until(until);
        let run = self.gate.ours(|| self.raw.execute_batch(text));
        self.gate.inside(!self.raw.is_autocommit());
        run.map_err(|error| self.tell(error, None))
    }

    /// Runs a guest's statement and gives its answer to the sink. Whatever it changed is undone if it ends in an error.
    pub(super) fn run(&mut self, statement: &Statement, terms: &Terms, sink: &mut Sink) -> Result<Done, SqlError> {
        let stop = Arc::clone(&sink.stop);
        if stop.now() {
            return Err(stop.timed_out());
        }
        // What was refused before has been told.
        drop(self.gate.why());
        let watched = Arc::clone(&stop);
        self.wait_until(stop.until);
        let mut begun = self.raw.progress_handler(PROGRESS_STEPS, Some(move || watched.now()));
        if begun.is_ok() && terms.access == Access::Write {
            begun = self.bound(terms);
        }
        let done = match begun {
            Ok(()) => self.step(statement, terms, sink),
            Err(error) => Err(Failed::Here(error)),
        };
        // It cannot fail to be taken away, and if it did it would only stop the next statement.
        let _ = self.raw.progress_handler(0, None::<fn() -> bool>);
        done.map_err(|failed| match failed {
            Failed::Here(error) => self.tell(error, Some((terms, &stop))),
            Failed::Ours(error) => error,
        })
    }

    /// Lets the database grow no further than its limit.
    fn bound(&mut self, terms: &Terms) -> rusqlite::Result<()> {
        let pages = (terms.total_bytes / self.page_bytes).clamp(1, u32::MAX.into());
        if pages != self.pages {
            self.gate.ours(|| self.raw.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())))?;
            self.pages = pages;
        }
        Ok(())
    }

    fn step(&self, statement: &Statement, terms: &Terms, sink: &mut Sink) -> Result<Done, Failed> {
        let before = self.raw.total_changes();
        let mut prepared = self.raw.prepare(&statement.text)?;
        let changes = !prepared.readonly();
        if changes && terms.access == Access::Read {
            return Err(SqlError::ReadOnly.into());
        }
        if changes {
            sink.stop.writes();
        }
        bind(&mut prepared, &statement.parameters)?;
        let columns: Arc<[Column]> = prepared.columns().map(|one| column(&one)).collect();
        // A statement that changes and answers is done when its answer is read: until then it can be undone as a whole.
        let framed = changes && !columns.is_empty();
        if framed {
            self.gate.ours(|| self.raw.execute_batch("SAVEPOINT samara_answer"))?;
        }
        let answered = stream(&mut prepared, &columns, sink);
        drop(prepared);
        if framed {
            let end = if answered.is_ok() {
                "RELEASE samara_answer"
            } else {
                "ROLLBACK TO samara_answer; RELEASE samara_answer"
            };
            let ended = self.gate.ours(|| self.raw.execute_batch(end));
            answered?;
            ended?;
        } else {
            answered?;
        }
        let affected = if self.raw.total_changes() == before { 0 } else { self.raw.changes() };
        let inserted = affected > 0 && may_insert(&statement.text);
        Ok(Done { affected, last_insert_id: inserted.then(|| self.raw.last_insert_rowid()) })
    }

    /// Another process may hold the file; our own connections wait for each other elsewhere.
    fn wait_until(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        // It fails for no time that a statement may take.
        let _ = self.raw.busy_timeout(left);
    }

    /// An error of SQLite's in our words.
    fn tell(&self, error: rusqlite::Error, statement: Option<(&Terms, &Stop)>) -> SqlError {
        let (code, message) = match error {
            rusqlite::Error::SqliteFailure(code, message) => (code, message),
            rusqlite::Error::SqlInputError { error, msg, .. } => (error, Some(msg)),
            rusqlite::Error::MultipleStatement => {
                return SqlError::Refused("only one statement runs at a time; send them one by one".to_owned());
            }
            other => return SqlError::Backend(other.to_string()),
        };
        // SQLite has more than one code for what its authorizer refuses.
        if let Some(why) = self.gate.why() {
            return SqlError::Refused(why);
        }
        let message = message.unwrap_or_else(|| code.to_string());
        match code.code {
            ErrorCode::OperationInterrupted => {
                let ours = || SqlError::TimedOut("the database was busy".to_owned());
                statement.map_or_else(ours, |(_, stop)| stop.timed_out())
            }
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                SqlError::TimedOut("another process writes to the database".to_owned())
            }
            ErrorCode::DiskFull => {
                // A commit has no terms: its pages were counted when they were written, so that it is the disk.
                let disk = || SqlError::Backend("the disk is full".to_owned());
                statement.map_or_else(disk, |(terms, _)| SqlError::Full { limit: terms.total_bytes })
            }
            ErrorCode::TooBig => {
                SqlError::TooLarge { what: "value or statement", limit: u64::try_from(VALUE_BYTES).unwrap_or(0) }
            }
            ErrorCode::ReadOnly if statement.is_some_and(|(terms, _)| terms.access == Access::Read) => {
                SqlError::ReadOnly
            }
            ErrorCode::CannotOpen
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::InternalMalfunction
            | ErrorCode::NotADatabase
            | ErrorCode::OutOfMemory
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure => SqlError::Backend(message),
            _ => SqlError::Statement(Box::new(Rejection {
                code: code.extended_code.to_string(),
                severity: "ERROR".to_owned(),
                message,
                ..Rejection::default()
            })),
        }
    }
}

/// Why a statement failed, before it is told.
enum Failed {
    Here(rusqlite::Error),
    Ours(SqlError),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Here(error)
    }
}

impl From<SqlError> for Failed {
    fn from(error: SqlError) -> Self {
        Self::Ours(error)
    }
}

/// Makes the file so that nobody but us reads it: SQLite would go by the umask.
fn make_private(path: &Path) -> Result<(), SqlError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(SqlError::Backend(format!("`{}` cannot be made: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Sets what lasts as long as the connection; tells the kind of journal.
fn prepare(raw: &rusqlite::Connection, place: &Place, writes: bool) -> rusqlite::Result<String> {
    let journal = raw.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if *place != Place::Memory && writes {
        raw.pragma_update(None, "synchronous", "full")?;
        raw.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES.to_string(), |_| Ok(()))?;
    }
    raw.pragma_update(None, "cell_size_check", "on")?;
    if !writes {
        raw.pragma_update(None, "query_only", "on")?;
    }
    Ok(journal)
}

fn column(column: &rusqlite::Column<'_>) -> Column {
    Column { name: column.name().into(), kind: Kind::Any, declared: column.decl_type().unwrap_or_default().into() }
}

/// Runs a statement whose parameters are bound.
fn stream(prepared: &mut rusqlite::Statement<'_>, columns: &Arc<[Column]>, sink: &mut Sink) -> Result<(), Failed> {
    let mut rows = prepared.raw_query();
    let mut begun = false;
    while let Some(row) = rows.next()? {
        if !std::mem::replace(&mut begun, true) {
            sink.head_blocking(Arc::clone(columns))?;
        }
        sink.row_blocking(read(row, columns)?)?;
    }
    if !begun {
        sink.head_blocking(Arc::clone(columns))?;
    }
    Ok(())
}

fn read(row: &rusqlite::Row<'_>, columns: &[Column]) -> Result<Row, Failed> {
    let mut values = Vec::with_capacity(columns.len());
    for (place, column) in columns.iter().enumerate() {
        values.push(match row.get_ref(place)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(value) => Value::Integer(value),
            ValueRef::Real(value) => Value::Float(value),
            ValueRef::Blob(bytes) => Value::Bytes(Bytes::copy_from_slice(bytes)),
            ValueRef::Text(text) => {
                let not_text =
                    || SqlError::Conversion(format!("column `{}` holds text that is not UTF-8", column.name));
                Value::Text(std::str::from_utf8(text).map_err(|_| not_text())?.to_owned())
            }
        });
    }
    Ok(values)
}

/// Gives the parameters their values. `$2` is the second one wherever it stands, as in PostgreSQL; to SQLite it is only a
/// name.
fn bind(prepared: &mut rusqlite::Statement<'_>, parameters: &[Value]) -> Result<(), Failed> {
    let mut used = 0;
    for index in 1..=prepared.parameter_count() {
        let number = prepared.parameter_name(index).and_then(|name| name.strip_prefix('$')?.parse().ok());
        let number: usize = number.unwrap_or(index);
        let value = number.checked_sub(1).and_then(|place| parameters.get(place)).ok_or_else(|| {
            SqlError::Parameter(format!(
                "the statement has a parameter `${number}`, and there are {}",
                parameters.len()
            ))
        })?;
        used = used.max(number);
        prepared.raw_bind_parameter(index, to_sql(number, value)?)?;
    }
    if used < parameters.len() {
        let given = parameters.len();
        return Err(SqlError::Parameter(format!("the statement has {used} parameters, and there are {given}")).into());
    }
    Ok(())
}

fn to_sql(number: usize, value: &Value) -> Result<ToSqlOutput<'_>, SqlError> {
    Ok(ToSqlOutput::Borrowed(match value {
        Value::Null => ValueRef::Null,
        Value::Bool(value) => ValueRef::Integer((*value).into()),
        Value::Integer(value) => ValueRef::Integer(*value),
        Value::Float(value) => ValueRef::Real(*value),
        Value::Decimal(text) | Value::Text(text) | Value::Json(text) => ValueRef::Text(text.as_bytes()),
        Value::Bytes(bytes) => ValueRef::Blob(bytes),
        Value::Date(_) | Value::Time(_) | Value::Timestamp(_) | Value::Instant(_) | Value::Uuid(_) => {
            let text = value.to_text().unwrap_or_default().into_owned();
            return Ok(ToSqlOutput::Owned(text.into()));
        }
        Value::Interval(_) | Value::Range(_) | Value::Array(_) | Value::Other(_) => {
            let what = value.what();
            return Err(SqlError::Parameter(format!(
                "parameter {number} is {what}, which SQLite has not; give it as text"
            )));
        }
    }))
}
