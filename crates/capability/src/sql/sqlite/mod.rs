//! SQL provider in this process (`sqlite:PATH`, `sqlite::memory:`): SQLite, with a write-ahead log.
//!
//! One connection writes and a few read, each used by one statement at a time on a thread that may block; readers neither
//! wait for the writer nor see what it has not committed. A write is on the disk when it is acknowledged.
//!
//! **Shares.** The default share's database is the file that the URL names. Every other share has a file of its own in a
//! folder beside it: `PATH.tenants/SHARE.db`. A URL that leads into a folder of that ending is refused, links followed, so
//! that no share can name another's file. A guest's statements open no files at all (`guard.rs`). A database in memory is
//! new with each opening and nobody else's.
//!
//! **Bounds.** The size of a database is the limit of the workload that writes (`sql_total`). What a statement sorts beyond
//! its cache goes to unnamed files in the system's folder for temporary ones: only its time bounds that.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{runtime::Handle, time::Instant};

use self::{
    connection::{Connection, Place},
    lane::{Held, Lane},
    transaction::Open,
};
use super::{
    Access, Dialect, Provider, Rows, Share, Sql, SqlError, Statement, Terms, Transaction,
    rows::{Sink, answer},
    settings::Settings,
    statement::{check, reads},
};

mod connection;
mod guard;
mod lane;
#[cfg(test)]
mod tests;
mod transaction;

/// How the folder ends in which the files of shares are.
const SHARES: &str = ".tenants";

/// The default of `readers`: statements that read one database at once.
const READERS: usize = 4;

/// The most that `readers` may be.
const MOST_READERS: usize = 64;

#[derive(Debug)]
pub(super) struct Sqlite;

#[async_trait]
impl Provider for Sqlite {
    fn scheme(&self) -> &'static str {
        "sqlite"
    }

    async fn open(&self, url: &str, settings: &toml::Table, share: &Share) -> Result<Arc<dyn Sql>, SqlError> {
        let mut settings = Settings::new("sqlite", settings);
        let readers = settings.number("readers", READERS, MOST_READERS)?;
        settings.end()?;
        let path = url.strip_prefix("sqlite:").unwrap_or_default();
        if path.is_empty() || path.contains('\0') {
            let why = "write `sqlite:./data/app.db`, or `sqlite::memory:` for one that ends with the process";
            return Err(SqlError::Configuration(format!("`{}` names no database; {why}", url.escape_debug())));
        }
        let (path, share) = (PathBuf::from(path), share.clone());
        let runtime = Handle::current();
        let opened = runtime.spawn_blocking(move || {
            let place =
                if path == Path::new(":memory:") { Place::Memory } else { Place::File(file_of(&path, &share)?) };
            let connection = Connection::open(&place, true)?;
            Ok((place, connection))
        });
        let (place, connection) = opened.await.map_err(|_| SqlError::Backend("no thread to open it".to_owned()))??;
        let readers = (place != Place::Memory).then(|| Lane::readers(place.clone(), readers));
        Ok(Arc::new(Database { readers, writer: Lane::writer(place, connection), runtime }))
    }
}

/// The file of a share.
fn file_of(named: &Path, share: &Share) -> Result<PathBuf, SqlError> {
    let wrong = |why: &str| SqlError::Configuration(format!("`sqlite:{}` {why}", named.display()));
    let name = named.file_name().ok_or_else(|| wrong("names no file; write `sqlite:./data/app.db`"))?;
    let folder = match named.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let real = |folder: &Path| {
        std::fs::create_dir_all(folder)
            .and_then(|()| folder.canonicalize())
            .map_err(|error| SqlError::Backend(format!("`{}` cannot be used: {error}", folder.display())))
    };
    let of_shares =
        |path: &Path| path.components().any(|part| part.as_os_str().as_encoded_bytes().ends_with(SHARES.as_bytes()));
    // Checked as written before anything is made, and as it really is.
    if of_shares(named) {
        return Err(wrong("is in the folder of the shares of another database; name a file elsewhere"));
    }
    let folder = real(folder)?;
    if of_shares(&folder) {
        return Err(wrong("leads to the shares of another database; name a file elsewhere"));
    }
    if share.is_default() {
        return Ok(folder.join(name));
    }
    let mut shares = name.to_owned();
    shares.push(SHARES);
    let shares = folder.join(shares);
    if real(&shares)? != shares {
        return Err(wrong("has a link where the folder of its shares should be; remove it"));
    }
    Ok(shares.join(format!("{}.db", share.as_str())))
}

/// An open database.
#[derive(Debug)]
struct Database {
    /// `None` of a database in memory, which has but one connection.
    readers: Option<Arc<Lane>>,
    writer: Arc<Lane>,
    runtime: Handle,
}

impl Database {
    /// Runs a statement on a lane's next free connection.
    async fn run(
        &self,
        lane: &Arc<Lane>,
        statement: &Arc<Statement>,
        terms: &Terms,
        until: Instant,
    ) -> Result<Rows, SqlError> {
        let (rows, sink) = answer(terms, until);
        let held = lane.take(until).await?;
        let (statement, terms) = (Arc::clone(statement), terms.clone());
        self.runtime.spawn_blocking(move || run(held, &statement, &terms, sink));
        rows.begun().await
    }
}

/// Runs a statement on a thread, and lets the next one have the connection before the end of the answer is read.
fn run(mut held: Held, statement: &Statement, terms: &Terms, mut sink: Sink) {
    let done = held.connection().and_then(|connection| connection.run(statement, terms, &mut sink));
    drop(held);
    sink.finish_blocking(done);
}

#[async_trait]
impl Sql for Database {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    async fn query(&self, statement: Statement, terms: &Terms) -> Result<Rows, SqlError> {
        check(&statement.text)?;
        let until = Instant::now() + terms.time;
        let statement = Arc::new(statement);
        // Only SQLite knows whether a statement writes; the first word saves most of them the way to the wrong lane.
        if let Some(readers) = self.readers.as_ref().filter(|_| terms.access == Access::Read || reads(&statement.text))
        {
            let reading = Terms { access: Access::Read, ..terms.clone() };
            match self.run(readers, &statement, &reading, until).await {
                Err(SqlError::ReadOnly) if terms.access == Access::Write => {}
                answered => return answered,
            }
        }
        self.run(&self.writer, &statement, terms, until).await
    }

    async fn begin(&self, terms: &Terms, time: Duration) -> Result<Box<dyn Transaction>, SqlError> {
        let (lane, begin) = match (terms.access, &self.readers) {
            (Access::Read, Some(readers)) => (readers, "BEGIN"),
            // At once, or two of them could wait for each other.
            (Access::Read, None) | (Access::Write, _) => (&self.writer, "BEGIN IMMEDIATE"),
        };
        let until = Instant::now() + terms.time;
        let mut held = lane.take(until).await?;
        let begun = self.runtime.spawn_blocking(move || {
            held.connection()?.frame(begin, until)?;
            Ok(held)
        });
        let held = begun.await.map_err(|_| SqlError::Backend("no thread to begin on".to_owned()))??;
        Ok(Box::new(Open::new(held, terms.access, time, self.runtime.clone())))
    }
}
