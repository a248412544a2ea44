//! A database as ABIs with connections have it (`spin:sqlite`, `spin:postgres`): one statement after the other, `BEGIN` and
//! `COMMIT` as statements among them, and what the last one did.
//!
//! There is no connection behind it until a transaction begins: a guest that opens a hundred of these holds nothing.

use super::{
    Column, Done, Frame, Granted, Rejection, Row, Rows, Sql as _, SqlError, Statement, TRANSACTION_TIME, Transaction,
    check_frame, frame,
};

/// What a guest takes for its connection. Dropped, it rolls back what was not committed.
#[derive(Debug)]
pub struct Session {
    granted: Granted,
    transaction: Option<Box<dyn Transaction>>,
    last: Done,
    last_insert_id: i64,
}

/// The whole answer to a statement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// What the rows consist of.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: Vec<Row>,
    /// What the statement did.
    pub done: Done,
}

impl Session {
    /// A session that has done nothing yet.
    pub fn new(granted: Granted) -> Self {
        Self { granted, transaction: None, last: Done::default(), last_insert_id: 0 }
    }

    /// The database it is a session of.
    pub fn granted(&self) -> &Granted {
        &self.granted
    }

    /// Rows that the last statement added, changed or removed.
    pub fn changes(&self) -> u64 {
        self.last.affected
    }

    /// The number of the row that was added last, 0 if there was none.
    pub fn last_insert_id(&self) -> i64 {
        self.last_insert_id
    }

    /// Runs a statement, reads its answer to the end and remembers what it did.
    ///
    /// # Errors
    /// As [`Sql::query`](super::Sql::query).
    pub async fn run(&mut self, statement: Statement) -> Result<Answer, SqlError> {
        match frame(&statement.text) {
            Some(frame) => {
                check_frame(&statement.text)?;
                self.turn(frame).await?;
                Ok(Answer::default())
            }
            None => {
                let rows = self.query(statement).await?;
                let columns = rows.columns().to_vec();
                let (rows, done) = rows.collect().await?;
                self.remember(done);
                Ok(Answer { columns, rows, done })
            }
        }
    }

    /// Runs a statement to its end; its rows are thrown away.
    ///
    /// # Errors
    /// As [`Sql::execute`](super::Sql::execute).
    pub async fn execute(&mut self, statement: Statement) -> Result<Done, SqlError> {
        if let Some(frame) = frame(&statement.text) {
            check_frame(&statement.text)?;
            self.turn(frame).await?;
            return Ok(Done::default());
        }
        let terms = self.granted.terms().clone();
        let done = match &mut self.transaction {
            Some(transaction) => transaction.execute(statement, &terms).await?,
            None => self.granted.execute(statement, &terms).await?,
        };
        self.remember(done);
        Ok(done)
    }

    /// Runs a statement whose rows stream. What it did is remembered by whoever reads them to the end, through
    /// [`remember`](Self::remember).
    ///
    /// # Errors
    /// As [`Sql::query`](super::Sql::query); `BEGIN` and its like have no rows and are refused.
    pub async fn query(&mut self, statement: Statement) -> Result<Rows, SqlError> {
        let terms = self.granted.terms().clone();
        match &mut self.transaction {
            Some(transaction) => transaction.query(statement, &terms).await,
            None => self.granted.query(statement, &terms).await,
        }
    }

    /// Notes what a statement did.
    pub fn remember(&mut self, done: Done) {
        self.last = done;
        if let Some(id) = done.last_insert_id {
            self.last_insert_id = id;
        }
    }

    /// Begins or ends the transaction.
    async fn turn(&mut self, frame: Frame) -> Result<(), SqlError> {
        match (frame, self.transaction.take()) {
            (Frame::Begin, None) => {
                let terms = self.granted.terms().clone();
                self.transaction = Some(self.granted.begin(&terms, TRANSACTION_TIME).await?);
                Ok(())
            }
            (Frame::Begin, open @ Some(_)) => {
                self.transaction = open;
                Err(rejection("there is a transaction already; `savepoint` begins one within it"))
            }
            (Frame::Commit, Some(transaction)) => transaction.commit().await,
            (Frame::Rollback, Some(transaction)) => transaction.rollback().await,
            (Frame::Commit | Frame::Rollback, None) => Err(rejection("there is no transaction")),
        }
    }
}

fn rejection(message: &str) -> SqlError {
    let severity = "ERROR".to_owned();
    SqlError::Statement(Box::new(Rejection { severity, message: message.to_owned(), ..Rejection::default() }))
}
