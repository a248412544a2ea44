//! One statement on one connection.

use std::pin::pin;

use futures::{TryStreamExt as _, future::BoxFuture};
use tokio_postgres::{RowStream, Statement as Prepared, error::SqlState};

use super::{decode, encode, pool::Session, server::Server};
use crate::sql::{
    Access, Column, Done, SqlError, Statement, Terms,
    rows::Sink,
    statement::{may_write, reads},
};

/// Begins a transaction that cannot be made to write: after its first query its kind is fixed.
pub(super) const BEGIN_READ: &str = "BEGIN READ ONLY; SELECT 1";

/// Whether a statement runs by itself or in a transaction that somebody else ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Around {
    /// It is its own transaction.
    Nothing,
    /// It is in a transaction of the guest's.
    Transaction,
}

/// Runs a statement and gives its answer to the sink. What it leaves open is rolled back by whoever cleans up the connection.
pub(super) fn run<'a>(
    server: &'a Server,
    session: &'a mut Session,
    statement: &'a Statement,
    terms: &'a Terms,
    around: Around,
    sink: &'a mut Sink,
) -> BoxFuture<'a, Result<Done, Failed>> {
    Box::pin(framed(server, session, statement, terms, around, sink))
}

async fn framed(
    server: &Server,
    session: &mut Session,
    statement: &Statement,
    terms: &Terms,
    around: Around,
    sink: &mut Sink,
) -> Result<Done, Failed> {
    if terms.access == Access::Write && may_write(&statement.text) {
        sink.stop.writes();
    }
    let reading = around == Around::Nothing && terms.access == Access::Read;
    if reading {
        server.told(session.line.client.batch_execute(BEGIN_READ).await, &session.line)?;
    }
    let known = session.known(&statement.text);
    let again = known.is_some() && around == Around::Nothing;
    let prepared = match known {
        Some(prepared) => prepared,
        None => prepare(server, session, &statement.text).await?,
    };
    // What changes and answers can be undone until its answer has been taken.
    let framed = around == Around::Nothing && !reading && !prepared.columns().is_empty() && !reads(&statement.text);
    if framed {
        server.told(session.line.client.batch_execute("BEGIN").await, &session.line)?;
    }
    let done = match stream(server, session, &prepared, statement, sink).await {
        Err(Failed::Stale(error)) => {
            // A table has changed since it was prepared. Nothing of it has happened.
            session.forget(&statement.text);
            if !again || framed || reading {
                return Err(Failed::Ended(error));
            }
            let prepared = prepare(server, session, &statement.text).await?;
            stream(server, session, &prepared, statement, sink).await
        }
        done => done,
    };
    let done = done?;
    if framed {
        server.told(session.line.client.batch_execute("COMMIT").await, &session.line)?;
    }
    Ok(done)
}

async fn prepare(server: &Server, session: &mut Session, text: &str) -> Result<Prepared, SqlError> {
    let prepared = server.told(session.line.client.prepare(text).await, &session.line)?;
    session.keep(text, &prepared);
    Ok(prepared)
}

/// Why a statement failed, and what that means for its connection.
#[derive(Debug)]
pub(super) enum Failed {
    /// What was prepared is no longer true; the guest's statement itself may be fine.
    Stale(SqlError),
    /// The server has ended it.
    Ended(SqlError),
    /// It may run on: its answer was given up here.
    Unread(SqlError),
}

impl Failed {
    pub(super) fn into_error(self) -> SqlError {
        match self {
            Self::Stale(error) | Self::Ended(error) | Self::Unread(error) => error,
        }
    }
}

impl From<SqlError> for Failed {
    fn from(error: SqlError) -> Self {
        Self::Ended(error)
    }
}

async fn stream(
    server: &Server,
    session: &Session,
    prepared: &Prepared,
    statement: &Statement,
    sink: &mut Sink,
) -> Result<Done, Failed> {
    let failed = |error: tokio_postgres::Error| {
        let code = error.code();
        // "cached plan must not change result type" has the code of everything that is not supported.
        let stale =
            code == Some(&SqlState::FEATURE_NOT_SUPPORTED) || code == Some(&SqlState::INVALID_SQL_STATEMENT_NAME);
        let error = server.tell(&error, Some(&session.line));
        if stale { Failed::Stale(error) } else { Failed::Ended(error) }
    };
    let parameters = encode::parameters(prepared.params(), &statement.parameters)?;
    let rows: RowStream = session.line.client.query_raw(prepared, &parameters).await.map_err(failed)?;
    let mut rows = pin!(rows);
    let columns: std::sync::Arc<[Column]> = prepared.columns().iter().map(decode::column).collect();
    // The first row or the end tells whether the statement was accepted.
    let mut next = rows.try_next().await.map_err(failed)?;
    sink.head(columns).await.map_err(Failed::Unread)?;
    while let Some(row) = next {
        sink.row(decode::row(&row).map_err(Failed::Unread)?).await.map_err(Failed::Unread)?;
        next = rows.try_next().await.map_err(failed)?;
    }
    Ok(Done { affected: rows.rows_affected().unwrap_or(0), last_insert_id: None })
}
