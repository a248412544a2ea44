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

use super::{
    pool::Held,
    run::{Around, Failed, run},
    server::Stopped,
};
use crate::sql::{Rejection, Rows, SqlError, Statement, Terms, Transaction, rows::answer, statement::check};

/// The connection; empty once the transaction has ended.
type Slot = Arc<Mutex<Option<Held>>>;

/// A transaction that has begun.
#[derive(Debug)]
pub(super) struct Open {
    slot: Slot,
    until: Instant,
    time: Duration,
    runtime: Handle,
    /// Ends it when its time is over, whatever its owner does.
    watch: JoinHandle<()>,
}

impl Open {
    /// A transaction on a connection where it has begun.
    pub(super) fn new(held: Held, time: Duration) -> Self {
        let runtime = held.pool.server.runtime.clone();
        let slot: Slot = Arc::new(Mutex::new(Some(held)));
        let until = Instant::now() + time;
        let watched = Arc::clone(&slot);
        let watch = runtime.spawn(async move {
            sleep_until(until).await;
            roll_back(watched).await;
        });
        Self { slot, until, time, runtime, watch }
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

    /// Ends it, within its time.
    async fn end(&self, how: &'static str) -> Result<(), SqlError> {
        let held = self.turn(self.until).await?.take().ok_or_else(|| self.over())?;
        let line = &held.session.line;
        let ended = timeout_at(self.until, line.client.batch_execute(how)).await;
        let ended = match ended {
            Ok(ended) => held.pool.server.told(ended, line),
            // Dropped, the connection is closed: whether it was committed nobody knows.
            Err(_) => return Err(SqlError::TimedOut("the server did not say how the transaction ended".to_owned())),
        };
        held.give_back();
        ended.map_err(|error| match error {
            SqlError::Statement(why) if why.code == "25P02" => rolled_back(),
            other => other,
        })
    }
}

fn rolled_back() -> SqlError {
    let message = "the transaction was rolled back because one of its statements had failed".to_owned();
    let code = "25P02".to_owned();
    SqlError::Statement(Box::new(Rejection { code, severity: "ERROR".to_owned(), message, ..Rejection::default() }))
}

/// Gives the connection back; what was done on it is undone on the way.
async fn roll_back(slot: Slot) {
    if let Some(held) = slot.lock().await.take() {
        held.give_back();
    }
}

#[async_trait]
impl Transaction for Open {
    async fn query(&mut self, statement: Statement, terms: &Terms) -> Result<Rows, SqlError> {
        check(&statement.text)?;
        let until = (Instant::now() + terms.time).min(self.until);
        let (rows, mut sink) = answer(terms, until);
        let mut guard = self.turn(until).await?;
        let terms = terms.clone();
        self.runtime.spawn(async move {
            let unwanted = sink.unwanted();
            let Some(held) = guard.as_mut() else { return };
            let server = held.pool.server.clone();
            let done = tokio::select! {
                biased;
                done = run(&server, &mut held.session, &statement, &terms, Around::Transaction, &mut sink) => done,
                () = unwanted => Err(Failed::Unread(sink.stop.timed_out())),
            };
            // The next statement waits until this one has stopped.
            if matches!(done, Err(Failed::Unread(_))) && server.stop(&held.session.line).await == Stopped::Never {
                *guard = None;
            }
            drop(guard);
            sink.finish(done.map_err(Failed::into_error)).await;
        });
        rows.begun().await
    }

    async fn commit(self: Box<Self>) -> Result<(), SqlError> {
        // A failed transaction would answer `COMMIT` with a rollback that looks like success; it refuses the query.
        self.end("SELECT 1; COMMIT").await
    }

    async fn rollback(self: Box<Self>) -> Result<(), SqlError> {
        self.end("ROLLBACK").await
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.watch.abort();
        let slot = Arc::clone(&self.slot);
        // The last statement may still run; it is stopped by whoever dropped its answer.
        self.runtime.spawn(roll_back(slot));
    }
}
