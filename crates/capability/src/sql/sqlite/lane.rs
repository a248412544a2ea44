//! Connections of one kind to one database: who takes one has it alone until it is dropped.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::connection::{Connection, Place};
use crate::sql::SqlError;

/// Statements that wait for a connection of one lane, at most.
const WAITING: usize = 1024;

/// The connection that writes, or those that read.
#[derive(Debug)]
pub(super) struct Lane {
    place: Place,
    writes: bool,
    idle: Mutex<Vec<Connection>>,
    free: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Lane {
    /// Up to `most` connections that read, opened when they are needed.
    pub(super) fn readers(place: Place, most: usize) -> Arc<Self> {
        Self::new(place, false, Vec::new(), most)
    }

    /// The one connection that writes.
    pub(super) fn writer(place: Place, connection: Connection) -> Arc<Self> {
        Self::new(place, true, vec![connection], 1)
    }

    fn new(place: Place, writes: bool, idle: Vec<Connection>, most: usize) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(most));
        Arc::new(Self { place, writes, idle: Mutex::new(idle), free, waiting: Semaphore::new(WAITING) })
    }

    /// Waits for a connection; those that wait get theirs in turn.
    pub(super) async fn take(self: &Arc<Self>, until: Instant) -> Result<Held, SqlError> {
        let full = |_| SqlError::TimedOut(format!("`{WAITING}` statements wait for this database already"));
        let _waits = self.waiting.try_acquire().map_err(full)?;
        let free = timeout_at(until, Arc::clone(&self.free).acquire_owned()).await;
        let busy = || SqlError::TimedOut("other statements kept the database busy".to_owned());
        let permit = free.map_err(|_| busy())?.map_err(|_| busy())?;
        let connection = self.idle.lock().pop();
        Ok(Held { connection, lane: Arc::clone(self), _permit: permit })
    }
}

/// A connection that somebody has. Dropping it rolls back what is open, which blocks.
#[derive(Debug)]
pub(super) struct Held {
    connection: Option<Connection>,
    lane: Arc<Lane>,
    /// Dropped after the connection was given back, so that the next one finds it.
    _permit: OwnedSemaphorePermit,
}

impl Held {
    /// The connection, opened if it is not yet. Blocks.
    pub(super) fn connection(&mut self) -> Result<&mut Connection, SqlError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None if self.lane.place == Place::Memory => {
                return Err(SqlError::Backend("the database in memory was lost".to_owned()));
            }
            None => Connection::open(&self.lane.place, self.lane.writes)?,
        };
        Ok(self.connection.insert(connection))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if !connection.is_idle() && connection.frame("ROLLBACK", Instant::now()).is_err() {
            // Closing it rolls back too; the next one opens another.
            return;
        }
        self.lane.idle.lock().push(connection);
    }
}
