//! What a component of wasmCloud is told where it has no database of PostgreSQL. With one, `tests/it/databases.rs` asks the same
//! guest.

use std::sync::Arc;

use samara_capability::sql;
use samara_model::{Encoding, Shape, SqlGrant, Tenant};
use samara_runtime::{Definition, Workload};

use crate::testing::{function, load};

async fn kit(change: impl FnOnce(&mut Definition)) -> Arc<Workload> {
    load("function/pg-kit", Shape::Function, change).await
}

async fn call(kit: &Arc<Workload>, name: &str, arguments: &str) -> String {
    function(kit, name, arguments, Encoding::Json).await
}

#[tokio::test]
async fn what_is_not_granted_is_each_functions_own_error() {
    let bare = kit(|_| {}).await;
    let denied = "denied: database `default`; `sql = [\\\\\\\"default\\\\\\\"]` would allow it";
    let asked = call(&bare, "run", r#"[["select 1"]]"#).await;
    assert!(asked.contains("QueryError::Unexpected") && asked.contains(denied), "{asked}");
    let batch = call(&bare, "batch", r#"["select 1"]"#).await;
    assert!(batch.contains("QueryError::Unexpected") && batch.contains(denied), "{batch}");
    let prepared = call(&bare, "repeat", r#"["select $1", [1]]"#).await;
    assert!(prepared.contains("StatementPrepareError::Unexpected") && prepared.contains(denied), "{prepared}");
    for token in ["", "1", "statement-", "statement-1", "statement-99999999999999999999"] {
        let guessed = call(&bare, "guess", &format!("[\"{token}\"]")).await;
        assert!(guessed.contains("UnknownPreparedQuery"), "{token}: {guessed}");
    }
    let denials = bare.authority().denials();
    assert_eq!(denials.len(), 1);
    assert_eq!(denials[0].0.grant, "sql = [\"default\"]");
}

#[tokio::test]
async fn a_database_of_sqlite_is_not_one_of_postgres() {
    let orders = sql::Store::open("orders", &Tenant::default(), "sqlite::memory:", &Default::default()).await.unwrap();
    let kit = kit(|definition| {
        definition.stores.sql.insert("orders".into(), orders);
        definition.grants.sql.insert("orders".into(), SqlGrant::default());
    })
    .await;
    let asked = call(&kit, "run", r#"[["select 1"]]"#).await;
    assert!(asked.contains("Unexpected") && asked.contains("SQLite's, not PostgreSQL's"), "{asked}");
    let point = call(&kit, "ask", r#"["select $1", "point", ""]"#).await;
    assert!(point.contains("Unexpected"), "{point}: the store comes before the parameters");
}
