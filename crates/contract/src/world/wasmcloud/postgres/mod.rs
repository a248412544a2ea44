//! `wasmcloud:postgres` 0.1.0-draft and 0.1.1-draft, `query` and `prepared`, over the PostgreSQL database of the workload's
//! `sql` grant: the only granted one, or the one named `default`, because the interface names none.
//!
//! Source: <https://github.com/wasmCloud/wasmCloud>, `wit/`. Its values are a variant of ninety cases, most of them other names
//! of one thing. They are taken by these names ([`value`]) rather than by a generated type, so that both drafts, and guests
//! whose WIT has fewer cases, meet the same code. What a guest's own types do not fit is an error of that guest.
//!
//! Differs from the spec: preparing does not ask the database, so that a statement it does not accept fails when it is run; and
//! a batch is one statement, because several would be several transactions.

use std::sync::Arc;

use samara_capability::{
    Denial,
    sql::{Dialect, Granted, Sql as _, SqlError, Statement, Value},
};
use samara_runtime::{Authority, Guest};
use wasmtime::{
    StoreContextMut,
    component::{Linker, Val},
};

use crate::world::view::View;

#[cfg(test)]
mod tests;
mod value;

/// The versions that guests were built with; the later one has `query-batch`.
const VERSIONS: &[&str] = &["0.1.0-draft", "0.1.1-draft"];

/// What a token of a prepared statement begins with.
const TOKEN: &str = "statement-";

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    for version in VERSIONS {
        let mut query = linker.instance(&format!("wasmcloud:postgres/query@{version}"))?;
        query.func_new_async("query", |context, _, arguments, results| {
            let (authority, call) = (authority(&context), statement(arguments));
            Box::new(async move {
                let rows = rows(&authority, call?).await;
                answer(results, rows.map(Some).map_err(query_error))
            })
        })?;
        query.func_new_async("query-batch", |context, _, arguments, results| {
            let (authority, call) = (authority(&context), batch(arguments));
            Box::new(async move {
                let done = execute(&authority, call?).await;
                answer(results, done.map(|_| None).map_err(query_error))
            })
        })?;
        let mut prepared = linker.instance(&format!("wasmcloud:postgres/prepared@{version}"))?;
        prepared.func_new_async("prepare", |mut context, _, arguments, results| {
            Box::new(async move {
                let token = prepare(context.data_mut(), batch(arguments)?.0);
                answer(results, token.map(|token| Some(Val::String(token))).map_err(unexpected))
            })
        })?;
        prepared.func_new_async("exec", |mut context, _, arguments, results| {
            let authority = authority(&context);
            let call = statement(arguments).map(|call| recalled(context.data_mut(), call));
            Box::new(async move {
                let done = match call? {
                    Some(call) => execute(&authority, call).await.map_err(execution_error),
                    None => Err(case("unknown-prepared-query", None)),
                };
                answer(results, done.map(|affected| Some(Val::U64(affected))))
            })
        })?;
    }
    Ok(())
}

fn authority(context: &StoreContextMut<'_, Guest>) -> Arc<Authority> {
    Arc::clone(context.data().authority())
}

/// A text and the parameters with it.
type Call = (String, Result<Vec<Value>, SqlError>);

/// The statement, or the token of one, and its parameters.
fn statement(arguments: &[Val]) -> wasmtime::Result<Call> {
    match arguments {
        [Val::String(text), Val::List(parameters)] => {
            Ok((text.clone(), parameters.iter().map(value::parameter).collect()))
        }
        _ => Err(foreign()),
    }
}

/// Text without parameters.
fn batch(arguments: &[Val]) -> wasmtime::Result<Call> {
    match arguments {
        [Val::String(text)] => Ok((text.clone(), Ok(Vec::new()))),
        _ => Err(foreign()),
    }
}

fn foreign() -> wasmtime::Error {
    wasmtime::format_err!("it imports a `wasmcloud:postgres` of other types than 0.1.0-draft and 0.1.1-draft have")
}

/// Answers with a `result`.
fn answer(results: &mut [Val], answer: Result<Option<Val>, Val>) -> wasmtime::Result<()> {
    let [result] = results else { return Err(foreign()) };
    *result = Val::Result(answer.map(|value| value.map(Box::new)).map_err(|error| Some(Box::new(error))));
    Ok(())
}

/// A statement that a guest prepared.
struct Prepared(String);

/// Keeps a statement, within the workload's limit of handles.
fn prepare(guest: &mut Guest, text: String) -> Result<String, SqlError> {
    database(guest.authority())?;
    let kept = View(guest).keep(Prepared(text)).map_err(|full| SqlError::Backend(full.to_string()))?;
    Ok(format!("{TOKEN}{kept}"))
}

/// The statement of a token, with the parameters that came with it.
fn recalled(guest: &mut Guest, (token, parameters): Call) -> Option<Call> {
    let index = token.strip_prefix(TOKEN)?.parse().ok()?;
    let mut view = View(guest);
    let Prepared(text) = view.find(index).ok()?;
    Some((text.clone(), parameters))
}

/// The database that is meant where none is named.
fn database(authority: &Authority) -> Result<Granted, SqlError> {
    let database = match authority.only_sql() {
        Some(database) => database.clone(),
        None => match authority.sql("default") {
            Ok(database) => database.clone(),
            Err(Denial { what, grant, .. }) => return Err(SqlError::AccessDenied { what, grant }),
        },
    };
    match database.dialect() {
        Dialect::Postgres => Ok(database),
        Dialect::Sqlite => Err(SqlError::Configuration("the granted store is SQLite's, not PostgreSQL's".to_owned())),
    }
}

async fn rows(authority: &Authority, (text, parameters): Call) -> Result<Val, SqlError> {
    let (database, parameters) = (database(authority)?, parameters?);
    let rows = database.query(Statement { text, parameters }, database.terms()).await?;
    let columns = rows.columns().to_vec();
    let (rows, _) = rows.collect().await?;
    let mut told = Vec::with_capacity(rows.len());
    for row in rows {
        let cells: Result<Vec<Val>, SqlError> =
            row.into_iter().zip(&columns).map(|(value, column)| value::cell(value, column)).collect();
        told.push(Val::List(cells?));
    }
    Ok(Val::List(told))
}

async fn execute(authority: &Authority, (text, parameters): Call) -> Result<u64, SqlError> {
    let (database, parameters) = (database(authority)?, parameters?);
    Ok(database.execute(Statement { text, parameters }, database.terms()).await?.affected)
}

fn case(name: &str, payload: Option<Val>) -> Val {
    Val::Variant(name.to_owned(), payload.map(Box::new))
}

/// `statement-prepare-error`, which has this case only.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` takes")]
fn unexpected(error: SqlError) -> Val {
    case("unexpected", Some(Val::String(error.to_string())))
}

/// `query-error`.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` takes")]
fn query_error(error: SqlError) -> Val {
    let said = Val::String(error.to_string());
    match error {
        SqlError::Parameter(_) => case("invalid-params", Some(said)),
        SqlError::Statement(_) | SqlError::Refused(_) | SqlError::ReadOnly => case("invalid-query", Some(said)),
        _ => case("unexpected", Some(said)),
    }
}

/// `prepared-statement-exec-error`.
fn execution_error(error: SqlError) -> Val {
    case("query-error", Some(query_error(error)))
}
