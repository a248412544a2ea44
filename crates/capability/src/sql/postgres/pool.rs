//! Connections of one account: who takes one has it alone, and leaves nothing of its session behind.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};
use tokio_postgres::{SimpleQueryMessage, Statement};

use super::{
    server::{Line, Server, Stopped, TIDY},
    share::enter,
};
use crate::sql::{Share, SqlError};

/// Statements that wait for a connection, at most.
const WAITING: usize = 1024;

/// Prepared statements that one connection keeps, at most.
const PREPARED: usize = 32;

/// Bytes of a statement that is kept prepared, at most.
const PREPARED_BYTES: usize = 4 << 10;

/// Undoes what a session leaves behind. The statements that a guest prepared in SQL are counted, and with any the connection
/// is closed: `DEALLOCATE ALL` would take ours too.
const RESET: &str = "ROLLBACK; RESET SESSION AUTHORIZATION; RESET ALL; CLOSE ALL; UNLISTEN *; DISCARD TEMP; \
    DISCARD SEQUENCES; SELECT pg_advisory_unlock_all(); SELECT count(*) FROM pg_prepared_statements WHERE from_sql";

/// The connections of one account.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) server: Server,
    /// The account of the URL and the share, if the pool's account is the share's own.
    home: Option<(Server, Share)>,
    idle: Mutex<Vec<Session>>,
    free: Arc<Semaphore>,
    waiting: Semaphore,
}

/// One connection with what it has prepared, the newest last.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) line: Line,
    prepared: Vec<(String, Statement)>,
}

impl Pool {
    /// Up to `most` connections, of which one is open.
    pub(super) fn new(server: Server, home: Option<(Server, Share)>, first: Line, most: usize) -> Arc<Self> {
        let idle = Mutex::new(vec![Session { line: first, prepared: Vec::new() }]);
        let free = Arc::new(Semaphore::new(most));
        Arc::new(Self { server, home, idle, free, waiting: Semaphore::new(WAITING) })
    }

    /// Opens one more. A guest can change the password of its share's account, and has then only made work for us.
    async fn connect(&self, until: Instant) -> Result<Line, SqlError> {
        match (self.server.connect(until).await, &self.home) {
            (Err(error), Some((server, share))) if error.is_refused_account() => {
                enter(server, share, until).await?;
                self.server.connect(until).await
            }
            (connected, _) => connected,
        }
    }

    /// Waits for a connection; those that wait get theirs in turn.
    pub(super) async fn take(self: &Arc<Self>, until: Instant) -> Result<Held, SqlError> {
        let full = |_| SqlError::TimedOut(format!("`{WAITING}` statements wait for this database already"));
        let waits = self.waiting.try_acquire().map_err(full)?;
        let free = timeout_at(until, Arc::clone(&self.free).acquire_owned()).await;
        drop(waits);
        let busy = || SqlError::TimedOut("other statements kept all connections busy".to_owned());
        let permit = free.map_err(|_| busy())?.map_err(|_| busy())?;
        loop {
            let idle = self.idle.lock().pop();
            let session = match idle {
                // The server went away, and perhaps came back.
                Some(session) if session.line.client.is_closed() => continue,
                Some(session) => session,
                None => Session { line: self.connect(until).await?, prepared: Vec::new() },
            };
            return Ok(Held { session, pool: Arc::clone(self), _permit: permit });
        }
    }
}

/// A connection that somebody has. Dropping it closes it; [`give_back`](Self::give_back) keeps it for the next one.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) session: Session,
    pub(super) pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Held {
    /// Cleans the connection up for whoever is next, in the background and with its place still taken.
    pub(super) fn give_back(self) {
        let runtime = self.pool.server.runtime.clone();
        runtime.spawn(async move {
            let Self { session, pool, _permit } = self;
            if let Ok(Ok(true)) = timeout(TIDY, session.reset()).await {
                pool.idle.lock().push(session);
            }
        });
    }

    /// Stops what runs on the connection, and waits until it has stopped.
    pub(super) async fn stop(self) {
        if self.pool.server.stop(&self.session.line).await == Stopped::ByItself {
            self.give_back();
        }
    }
}

impl Session {
    /// Whether the connection is as good as new.
    async fn reset(&self) -> Result<bool, tokio_postgres::Error> {
        let said = self.line.client.simple_query(RESET).await?;
        let counts = said.iter().rev().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0) == Some("0")),
            _ => None,
        });
        Ok(counts == Some(true))
    }

    /// A statement that was prepared before.
    pub(super) fn known(&mut self, text: &str) -> Option<Statement> {
        let place = self.prepared.iter().position(|(known, _)| known == text)?;
        let found = self.prepared.remove(place);
        let statement = found.1.clone();
        self.prepared.push(found);
        Some(statement)
    }

    /// Keeps a statement prepared in place of the one that was not used for longest.
    pub(super) fn keep(&mut self, text: &str, statement: &Statement) {
        if text.len() > PREPARED_BYTES {
            return;
        }
        if self.prepared.len() >= PREPARED {
            self.prepared.remove(0);
        }
        self.prepared.push((text.to_owned(), statement.clone()));
    }

    /// Forgets a statement that the server no longer knows, or that means something else by now.
    pub(super) fn forget(&mut self, text: &str) {
        self.prepared.retain(|(known, _)| known != text);
    }
}
