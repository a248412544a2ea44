//! A database as a workload sees it: only the statements its grant allows, only within its limits.
//!
//! Statements that a grant names are given by [`Granted::named`]; where a grant is `named_only`, every statement is compared
//! with their texts, so that all ways to run one keep the rule.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use samara_model::{Capability, Limits, SqlGrant, SqlOperation};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{Access, Dialect, Done, Rows, Sql, SqlError, Statement, Store, Terms, Transaction, Value};
use crate::{Lent, Operation, Recorder};

/// How long a transaction may be open, however busy it is: writers of SQLite wait for one another.
pub const TRANSACTION_TIME: Duration = Duration::from_secs(30);

/// Parameters of one statement, at most: SQLite's own bound, and half of PostgreSQL's.
const PARAMETERS: usize = 32_766;

const QUERY: Operation = Operation { name: "query", span: "sql query" };
const EXECUTE: Operation = Operation { name: "execute", span: "sql execute" };

/// A database lent to one workload. Cheap to clone; clones share the places for open answers.
#[derive(Clone, Debug)]
pub struct Granted {
    store: Store,
    grant: Arc<SqlGrant>,
    terms: Terms,
    statement_bytes: u64,
    parameter_bytes: u64,
    open: u64,
    places: Arc<Semaphore>,
    lent: Lent,
}

impl Granted {
    pub(super) fn new(store: Store, grant: SqlGrant, limits: &Limits, recorder: Arc<dyn Recorder>) -> Self {
        let access = if grant.operations.contains(&SqlOperation::Execute) { Access::Write } else { Access::Read };
        let terms = Terms {
            access,
            time: limits.sql_time,
            rows: limits.sql_rows,
            bytes: limits.sql_result_bytes,
            total_bytes: limits.sql_total_bytes,
        };
        let places = usize::try_from(limits.sql_open).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        Self {
            lent: Lent::new(Capability::Sql, Arc::clone(&store.name), recorder),
            store,
            grant: Arc::new(grant),
            terms,
            statement_bytes: limits.sql_statement_bytes.into(),
            parameter_bytes: limits.sql_parameter_bytes,
            open: limits.sql_open.into(),
            places: Arc::new(Semaphore::new(places)),
        }
    }

    /// The store that is lent.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The widest terms this workload has; what it asks for beyond them is cut to them.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// A statement that the grant declares, by its name, with the guest's parameters.
    ///
    /// # Errors
    /// The grant declares no such statement.
    pub fn named(&self, name: &str, parameters: Vec<Value>) -> Result<Statement, SqlError> {
        let text = self.grant.statements.get(name);
        let text = text.ok_or_else(|| SqlError::no_such_statement(name, self.grant.statements.keys()))?;
        Ok(Statement { text: text.clone(), parameters })
    }

    /// Checks an operation against the grant without doing it, for ABIs that ask before they act.
    ///
    /// # Errors
    /// The grant does not include the operation; the denial is recorded.
    pub fn check(&self, operation: SqlOperation) -> Result<(), SqlError> {
        if !self.grant.operations.contains(&operation) {
            return Err(self.refused(operation));
        }
        self.lent.used(match operation {
            SqlOperation::Query => QUERY,
            SqlOperation::Execute => EXECUTE,
        });
        Ok(())
    }

    /// The denial of an operation, recorded.
    fn refused(&self, operation: SqlOperation) -> SqlError {
        let name = self.lent.store();
        let wanted = SqlOperation::ALL.iter().filter(|one| **one == operation || self.grant.operations.contains(one));
        let wanted = wanted.map(|one| format!("\"{one}\"")).collect::<Vec<_>>().join(", ");
        self.denied(format!("`{operation}` on database `{name}`"), &format!("ops = [{wanted}]"))
    }

    fn denied(&self, what: String, key: &str) -> SqlError {
        let grant = format!("sql = [{{ store = \"{}\", {key} }}]", self.lent.store());
        let denial = self.lent.refused(what, grant);
        SqlError::AccessDenied { what: denial.what, grant: denial.grant }
    }

    /// Checks a statement against grant and limits.
    fn check_statement(&self, operation: SqlOperation, statement: &Statement) -> Result<(), SqlError> {
        self.check(operation)?;
        if self.grant.named_only && !self.grant.statements.values().any(|text| *text == statement.text) {
            let what = format!("a statement of its own on database `{}`", self.lent.store());
            return Err(self.denied(what, "named_only = false"));
        }
        if statement.text.len() as u64 > self.statement_bytes {
            return Err(SqlError::TooLarge { what: "statement", limit: self.statement_bytes });
        }
        if statement.parameters.len() > PARAMETERS {
            return Err(SqlError::TooMany { what: "parameters", limit: PARAMETERS as u64 });
        }
        let bytes = statement.parameters.iter().fold(0_u64, |sum, value| sum.saturating_add(value.size()));
        if bytes > self.parameter_bytes {
            return Err(SqlError::TooLarge { what: "total of parameters", limit: self.parameter_bytes });
        }
        Ok(())
    }

    /// The terms that were asked for, no wider than ours.
    fn narrowed(&self, asked: &Terms) -> Terms {
        Terms {
            access: if self.terms.access == Access::Write { asked.access } else { Access::Read },
            time: asked.time.min(self.terms.time),
            rows: asked.rows.min(self.terms.rows),
            bytes: asked.bytes.min(self.terms.bytes),
            total_bytes: asked.total_bytes.min(self.terms.total_bytes),
        }
    }

    /// Takes a place among the open transactions and answers; waits for one.
    async fn place(&self, time: Duration) -> Result<OwnedSemaphorePermit, SqlError> {
        let place = timeout(time, Arc::clone(&self.places).acquire_owned()).await;
        let full = SqlError::TooMany { what: "transactions and unread answers of one workload", limit: self.open };
        place.ok().and_then(Result::ok).ok_or(full)
    }

    /// Notes what an answer means for the grant and where it is counted.
    fn answered(&self, mut rows: Rows, place: Arc<OwnedSemaphorePermit>) -> Rows {
        if rows.writes() {
            self.lent.used(EXECUTE);
        }
        rows.place = Some(place);
        rows
    }

    /// Says which grant would have let a statement change something, if that is why it failed.
    fn explain<T>(&self, result: Result<T, SqlError>) -> Result<T, SqlError> {
        result.map_err(|error| match error {
            SqlError::ReadOnly if self.terms.access == Access::Read => self.refused(SqlOperation::Execute),
            other => other,
        })
    }
}

#[async_trait]
impl Sql for Granted {
    fn dialect(&self) -> Dialect {
        self.store.backend.get().dialect()
    }

    /// What answers with rows and also changes something (`insert ... returning`) needs both operations, and is told as both.
    async fn query(&self, statement: Statement, terms: &Terms) -> Result<Rows, SqlError> {
        let checked = self.check_statement(SqlOperation::Query, &statement);
        let work = async {
            let terms = self.narrowed(terms);
            let place = self.place(terms.time).await?;
            let rows = self.explain(self.store.backend.get().query(statement, &terms).await)?;
            Ok(self.answered(rows, Arc::new(place)))
        };
        self.lent.told(QUERY, checked, work).await
    }

    async fn execute(&self, statement: Statement, terms: &Terms) -> Result<Done, SqlError> {
        let checked = self.check_statement(SqlOperation::Execute, &statement);
        let work = async {
            let terms = self.narrowed(terms);
            let _place = self.place(terms.time).await?;
            self.explain(self.store.backend.get().execute(statement, &terms).await)
        };
        self.lent.told(EXECUTE, checked, work).await
    }

    /// Whoever may only query gets a transaction that may only read. No transaction is longer than [`TRANSACTION_TIME`].
    async fn begin(&self, terms: &Terms, time: Duration) -> Result<Box<dyn Transaction>, SqlError> {
        let terms = self.narrowed(terms);
        let (operation, told) = match terms.access {
            Access::Read => (SqlOperation::Query, Operation { name: "query", span: "sql begin" }),
            Access::Write => (SqlOperation::Execute, Operation { name: "execute", span: "sql begin" }),
        };
        let checked = self.check(operation);
        let work = async {
            let place = self.place(terms.time).await?;
            let inner = self.store.backend.get().begin(&terms, time.min(TRANSACTION_TIME)).await?;
            let transaction = GrantedTransaction { granted: self.clone(), inner, place: Arc::new(place) };
            Ok(Box::new(transaction) as Box<dyn Transaction>)
        };
        self.lent.told(told, checked, work).await
    }
}

/// A transaction of a workload: each statement is checked as one outside of it.
#[derive(Debug)]
struct GrantedTransaction {
    granted: Granted,
    inner: Box<dyn Transaction>,
    /// Shared with one unread answer; any more of them take places of their own.
    place: Arc<OwnedSemaphorePermit>,
}

#[async_trait]
impl Transaction for GrantedTransaction {
    async fn query(&mut self, statement: Statement, terms: &Terms) -> Result<Rows, SqlError> {
        let Self { granted, inner, place } = self;
        let checked = granted.check_statement(SqlOperation::Query, &statement);
        let terms = granted.narrowed(terms);
        let work = async {
            let place = match Arc::strong_count(place) {
                1 => Arc::clone(place),
                _ => Arc::new(granted.place(terms.time).await?),
            };
            Ok(granted.answered(granted.explain(inner.query(statement, &terms).await)?, place))
        };
        granted.lent.told(QUERY, checked, work).await
    }

    async fn execute(&mut self, statement: Statement, terms: &Terms) -> Result<Done, SqlError> {
        let Self { granted, inner, .. } = self;
        let checked = granted.check_statement(SqlOperation::Execute, &statement);
        let terms = granted.narrowed(terms);
        let work = async { granted.explain(inner.execute(statement, &terms).await) };
        granted.lent.told(EXECUTE, checked, work).await
    }

    async fn commit(self: Box<Self>) -> Result<(), SqlError> {
        self.inner.commit().await
    }

    async fn rollback(self: Box<Self>) -> Result<(), SqlError> {
        self.inner.rollback().await
    }
}
