//! A transaction: a connection that is kept from one statement to the next, for as long as it may be.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use samara_model::format_duration;
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout_at},
};

use super::lane::Held;
use crate::sql::{Access, Rejection, Rows, SqlError, Statement, Terms, Transaction, rows::answer, statement::check};

/// The connection; empty once the transaction has ended.
type Slot = Arc<Mutex<Option<Held>>>;

/// A transaction that has begun.
#[derive(Debug)]
pub(super) struct Open {
    slot: Slot,
    access: Access,
    until: Instant,
    time: Duration,
    runtime: Handle,
    /// Ends it when its time is over, whatever its owner does.
    watch: JoinHandle<()>,
}

impl Open {
    /// A transaction on a connection where it has begun.
    pub(super) fn new(held: Held, access: Access, time: Duration, runtime: Handle) -> Self {
        let slot: Slot = Arc::new(Mutex::new(Some(held)));
        let until = Instant::now() + time;
        let (watched, blocking) = (Arc::clone(&slot), runtime.clone());
        let watch = runtime.spawn(async move {
            sleep_until(until).await;
            roll_back(watched, &blocking).await;
        });
        Self { slot, access, until, time, runtime, watch }
    }

    /// The connection, when the statement before has ended.
    async fn turn(&self, until: Instant) -> Result<OwnedMutexGuard<Option<Held>>, SqlError> {
        let before = || SqlError::TimedOut("the answer to the statement before is still being read".to_owned());
        let guard = timeout_at(until, Arc::clone(&self.slot).lock_owned()).await.map_err(|_| before())?;
        if guard.is_some() { Ok(guard) } else { Err(self.over()) }
    }

    fn over(&self) -> SqlError {
        let time = format_duration(self.time);
        SqlError::TimedOut(format!("the transaction is over its time of `{time}` and was rolled back"))
    }

    /// Ends it with a statement of ours.
    async fn end(&self, how: &'static str) -> Result<(), SqlError> {
        let mut guard = self.turn(self.until).await?;
        let until = self.until;
        let ended = self.runtime.spawn_blocking(move || {
            // Whatever comes of it, the connection goes back, and with it what could not be committed.
            let mut held = guard.take().ok_or_else(rolled_back)?;
            let connection = held.connection()?;
            if connection.is_idle() { Err(rolled_back()) } else { connection.frame(how, until) }
        });
        ended.await.map_err(|_| SqlError::Backend("no thread to end the transaction on".to_owned()))?
    }
}

fn rolled_back() -> SqlError {
    let message = "the transaction was rolled back when one of its statements failed".to_owned();
    SqlError::Statement(Box::new(Rejection { severity: "ERROR".to_owned(), message, ..Rejection::default() }))
}

/// Gives the connection back; what was done on it is undone on the way.
async fn roll_back(slot: Slot, runtime: &Handle) {
    let held = slot.lock().await.take();
    // Undoing reads and writes the disk.
    runtime.spawn_blocking(move || drop(held));
}

#[async_trait]
impl Transaction for Open {
    async fn query(&mut self, statement: Statement, terms: &Terms) -> Result<Rows, SqlError> {
        check(&statement.text)?;
        let access = if self.access == Access::Write { terms.access } else { Access::Read };
        let terms = Terms { access, ..terms.clone() };
        let until = (Instant::now() + terms.time).min(self.until);
        let (rows, mut sink) = answer(&terms, until);
        let mut guard = self.turn(until).await?;
        self.runtime.spawn_blocking(move || {
            let done = guard.as_mut().ok_or_else(rolled_back).and_then(Held::connection).and_then(|connection| {
                // A full disk ends a transaction without asking; what follows must not be on its own.
                if connection.is_idle() { Err(rolled_back()) } else { connection.run(&statement, &terms, &mut sink) }
            });
            drop(guard);
            sink.finish_blocking(done);
        });
        rows.begun().await
    }

    async fn commit(self: Box<Self>) -> Result<(), SqlError> {
        self.end("COMMIT").await
    }

    async fn rollback(self: Box<Self>) -> Result<(), SqlError> {
        self.end("ROLLBACK").await
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.watch.abort();
        let (slot, runtime) = (Arc::clone(&self.slot), self.runtime.clone());
        // The last statement may still run; it is stopped by whoever dropped its answer.
        self.runtime.spawn(async move { roll_back(slot, &runtime).await });
    }
}
