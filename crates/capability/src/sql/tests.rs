//! The suite on every provider that needs no server, and the promises of the wrapper around all of them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use samara_model::{Capability, Fault, Limits, SqlGrant, SqlOperation, Tenant};

use super::{
    Access, Granted, PROVIDERS, Session, Share, Sql, SqlError, Statement, Store, Terms,
    check::{check_sql, wide},
    open,
};
use crate::{Denial, Recorder, Unrecorded};

fn share(name: &str) -> Share {
    Share::of(&Tenant::new(name).unwrap())
}

async fn memory() -> Arc<dyn Sql> {
    open("sqlite::memory:", &toml::Table::new(), &share("default")).await.unwrap()
}

#[test]
fn schemes_are_unique_words() {
    let schemes: std::collections::BTreeSet<_> = PROVIDERS.iter().map(|provider| provider.scheme()).collect();
    assert_eq!(schemes.len(), PROVIDERS.len());
    assert!(schemes.iter().all(|scheme| !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_lowercase())));
}

#[tokio::test]
async fn a_database_in_memory_passes_the_suite() {
    check_sql(memory().await).await;
}

#[tokio::test]
async fn a_database_in_a_file_passes_the_suite() {
    let folder = tempfile::tempdir().unwrap();
    for tenant in ["default", "acme"] {
        let url = format!("sqlite:{}/deep/app.db", folder.path().display());
        check_sql(open(&url, &toml::Table::new(), &share(tenant)).await.unwrap()).await;
    }
}

#[tokio::test]
async fn what_cannot_be_opened_says_what_can() {
    let refused = async |url: &str, settings: &str| {
        open(url, &settings.parse().unwrap(), &share("default")).await.unwrap_err().to_string()
    };
    assert!(refused("foo:bar", "").await.starts_with("no database provider for `foo:`; known schemes: sqlite"));
    assert!(refused("sqlite:", "").await.contains("write `sqlite:./data/app.db`"));
    assert!(refused("sqlite:/", "").await.contains("names no file"));
    assert!(refused("sqlite:a\0b", "").await.contains("names no database"));
    assert!(refused("sqlite::memory:", "size = 3").await.contains("has no setting `size`; it has `readers`"));
    assert!(refused("sqlite::memory:", "readers = 0").await.contains("write a number from 1 to 64"));
    assert!(refused("sqlite::memory:", "readers = \"many\"").await.contains("write a number from 1 to 64"));
    assert!(refused("sqlite:/dev/null/app.db", "").await.contains("`/dev/null` cannot be used"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text.db");
    std::fs::write(&file, "this is no database, however long it is; it is a file of text".repeat(20)).unwrap();
    assert!(refused(&format!("sqlite:{}", file.display()), "").await.contains("cannot be opened"));
}

#[cfg(not(feature = "postgres"))]
#[tokio::test]
async fn a_provider_that_was_left_out_says_how_to_get_it() {
    let refused = open("postgres://db", &toml::Table::new(), &share("default")).await.unwrap_err().to_string();
    assert!(refused.contains("cargo feature `postgres`"), "{refused}");
}

async fn granted(grant: SqlGrant, limits: &Limits) -> Granted {
    let store = Store::open("orders", &Tenant::default(), "sqlite::memory:", &toml::Table::new()).await.unwrap();
    let all = store.grant(SqlGrant::default(), &Limits::serve(), Arc::new(Unrecorded));
    all.execute(Statement::new("create table t (n integer)", []), &wide()).await.unwrap();
    store.grant(grant, limits, Arc::new(Unrecorded))
}

fn only(operations: &[SqlOperation]) -> SqlGrant {
    SqlGrant { operations: operations.to_vec(), ..SqlGrant::default() }
}

async fn query(granted: &Granted, text: &str) -> Result<Vec<Vec<super::Value>>, SqlError> {
    Ok(granted.query(Statement::new(text, []), &wide()).await?.collect().await?.0)
}

async fn execute(granted: &Granted, text: &str) -> Result<u64, SqlError> {
    Ok(granted.execute(Statement::new(text, []), &wide()).await?.affected)
}

fn denied(what: &str, grant: &str) -> SqlError {
    SqlError::AccessDenied { what: what.to_owned(), grant: grant.to_owned() }
}

#[tokio::test]
async fn who_may_only_query_changes_nothing_by_any_way() {
    let granted = granted(only(&[SqlOperation::Query]), &Limits::serve()).await;
    let refused =
        || denied("`execute` on database `orders`", "sql = [{ store = \"orders\", ops = [\"query\", \"execute\"] }]");
    assert_eq!(query(&granted, "select count(*) from t").await, Ok(vec![vec![0.into()]]));
    assert_eq!(execute(&granted, "select 1").await, Err(refused()));
    assert_eq!(query(&granted, "insert into t values (1) returning n").await, Err(refused()));
    let mut transaction = granted.begin(&wide(), wide().time).await.unwrap();
    let insert = || Statement::new("insert into t values (1)", []);
    assert_eq!(transaction.execute(insert(), &wide()).await, Err(refused()));
    assert_eq!(transaction.query(insert(), &wide()).await.unwrap_err(), refused());
    transaction.commit().await.unwrap();
    let mut session = Session::new(granted.clone());
    assert_eq!(session.run(insert()).await, Err(refused()));
    assert_eq!(query(&granted, "select count(*) from t").await, Ok(vec![vec![0.into()]]));
}

#[tokio::test]
async fn who_may_only_execute_reads_nothing() {
    let granted = granted(only(&[SqlOperation::Execute]), &Limits::serve()).await;
    let refused =
        denied("`query` on database `orders`", "sql = [{ store = \"orders\", ops = [\"query\", \"execute\"] }]");
    assert_eq!(execute(&granted, "insert into t values (1)").await, Ok(1));
    assert_eq!(query(&granted, "select n from t").await, Err(refused));
}

#[tokio::test]
async fn named_statements_are_all_there_is_where_the_grant_says_so() {
    let add = "insert into t values ($1)";
    let statements = BTreeMap::from([("add".to_owned(), add.to_owned())]);
    let granted = granted(SqlGrant { statements, named_only: true, ..SqlGrant::default() }, &Limits::serve()).await;
    let named = granted.named("add", vec![7.into()]).unwrap();
    assert_eq!(granted.execute(named.clone(), &wide()).await.unwrap().affected, 1);
    let mut transaction = granted.begin(&wide(), wide().time).await.unwrap();
    assert_eq!(transaction.execute(named, &wide()).await.unwrap().affected, 1);
    let own =
        denied("a statement of its own on database `orders`", "sql = [{ store = \"orders\", named_only = false }]");
    assert_eq!(transaction.execute(Statement::new("delete from t", []), &wide()).await, Err(own.clone()));
    assert_eq!(transaction.query(Statement::new("select n from t", []), &wide()).await.unwrap_err(), own);
    drop(transaction);
    assert_eq!(execute(&granted, "delete from t").await, Err(own.clone()));
    assert_eq!(query(&granted, "select n from t").await, Err(own));
    let unknown = granted.named("ad\nd", Vec::new()).unwrap_err().to_string();
    assert_eq!(unknown, "no statement `ad\\nd`; the grant declares: `add`");
}

#[tokio::test]
async fn statements_and_parameters_are_bounded_before_the_database_sees_them() {
    let limits = Limits { sql_statement_bytes: 30, sql_parameter_bytes: 40, ..Limits::serve() };
    let granted = granted(SqlGrant::default(), &limits).await;
    let long = format!("select 1 -- {}", "x".repeat(30));
    assert_eq!(query(&granted, &long).await, Err(SqlError::TooLarge { what: "statement", limit: 30 }));
    let large = Statement::new("select $1", ["x".repeat(30).as_str().into()]);
    let refused = granted.execute(large, &wide()).await;
    assert_eq!(refused, Err(SqlError::TooLarge { what: "total of parameters", limit: 40 }));
    let many = Statement::new("select $1", vec![super::Value::Null; 40_000]);
    let refused = granted.execute(many, &wide()).await;
    assert_eq!(refused, Err(SqlError::TooMany { what: "parameters", limit: 32_766 }));
}

#[tokio::test]
async fn a_workload_gets_its_own_limits_whatever_it_asks_for() {
    let limits = Limits { sql_rows: 2, sql_time: Duration::from_millis(100), ..Limits::serve() };
    let granted = granted(SqlGrant::default(), &limits).await;
    let three = "select 1 union all select 2 union all select 3";
    assert_eq!(query(&granted, three).await, Err(SqlError::TooMany { what: "rows in an answer", limit: 2 }));
    let endless = "with recursive n(x) as (select 1 union all select 1 from n) select count(*) from n";
    assert!(matches!(query(&granted, endless).await, Err(SqlError::TimedOut(why)) if why.contains("100ms")));
}

#[tokio::test]
async fn transactions_and_unread_answers_of_a_workload_are_counted() {
    let limits = Limits { sql_open: 1, ..Limits::serve() };
    let granted = granted(SqlGrant::default(), &limits).await;
    let impatient = Terms { time: Duration::from_millis(20), access: Access::Read, ..wide() };
    let full = SqlError::TooMany { what: "transactions and unread answers of one workload", limit: 1 };
    let one = || Statement::new("select 1", []);
    let transaction = granted.begin(&wide(), wide().time).await.unwrap();
    assert_eq!(granted.clone().query(one(), &impatient).await.unwrap_err(), full);
    assert_eq!(granted.begin(&impatient, wide().time).await.unwrap_err(), full);
    drop(transaction);
    let answer = granted.query(one(), &wide()).await.unwrap();
    assert_eq!(granted.execute(one(), &impatient).await, Err(full));
    assert_eq!(answer.collect().await.unwrap().0, [[super::Value::Integer(1)]]);
    assert_eq!(query(&granted, "select 1").await, Ok(vec![vec![1.into()]]));
}

#[tokio::test]
async fn unread_answers_of_a_transaction_are_counted_as_all_others() {
    let limits = Limits { sql_open: 2, ..Limits::serve() };
    let granted = granted(SqlGrant::default(), &limits).await;
    let impatient = Terms { time: Duration::from_millis(20), ..wide() };
    let full = SqlError::TooMany { what: "transactions and unread answers of one workload", limit: 2 };
    let one = || Statement::new("select 1", []);
    let mut transaction = granted.begin(&wide(), wide().time).await.unwrap();
    // The first has the transaction's own place, and keeps it when the transaction has ended.
    let first = transaction.query(one(), &wide()).await.unwrap();
    let second = transaction.query(one(), &wide()).await.unwrap();
    assert_eq!(transaction.query(one(), &impatient).await.unwrap_err(), full);
    drop(second);
    drop(transaction.query(one(), &wide()).await.unwrap());
    transaction.commit().await.unwrap();
    let another = granted.begin(&wide(), wide().time).await.unwrap();
    assert_eq!(granted.begin(&impatient, wide().time).await.unwrap_err(), full);
    assert_eq!(first.collect().await.unwrap().0, [[super::Value::Integer(1)]]);
    drop(granted.begin(&wide(), wide().time).await);
    drop(another);

    let alone = self::granted(SqlGrant::default(), &Limits { sql_open: 1, ..limits }).await;
    let mut transaction = alone.begin(&wide(), wide().time).await.unwrap();
    for _ in 0..3 {
        let answer = transaction.query(one(), &wide()).await.unwrap();
        assert_eq!(answer.collect().await.unwrap().0, [[super::Value::Integer(1)]], "one place is enough for both");
    }
    assert_eq!(transaction.execute(one(), &wide()).await.unwrap().affected, 0);
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn a_database_grows_no_further_than_its_limit() {
    let limits = Limits { sql_total_bytes: 64 << 10, ..Limits::serve() };
    let granted = granted(SqlGrant::default(), &limits).await;
    let fill = "insert into t select zeroblob(1000) from (values (1), (2), (3), (4), (5), (6), (7), (8), (9), (10))";
    let full = loop {
        if let Err(error) = execute(&granted, fill).await {
            break error;
        }
    };
    assert_eq!(full, SqlError::Full { limit: 64 << 10 });
    assert!(execute(&granted, "delete from t").await.unwrap() > 10, "a full database can be emptied");
    assert_eq!(execute(&granted, fill).await, Ok(10));
}

#[derive(Debug, Default)]
struct Notes(Mutex<Vec<String>>);

impl Recorder for Notes {
    fn used(&self, capability: Capability, name: &str, operation: &'static str) {
        self.0.lock().push(format!("used {capability} {name} {operation}"));
    }

    fn finished(&self, _: Capability, name: &str, operation: &'static str, _: Duration, failed: bool) {
        self.0.lock().push(format!("finished {name} {operation} {failed}"));
    }

    fn denied(&self, denial: &Denial) {
        self.0.lock().push(format!("denied {}", denial.grant));
    }
}

#[tokio::test]
async fn what_is_done_and_what_is_refused_is_recorded() {
    let store = Store::open("orders", &Tenant::default(), "sqlite::memory:", &toml::Table::new()).await.unwrap();
    let notes = Arc::new(Notes::default());
    let granted = store.grant(only(&[SqlOperation::Query]), &Limits::serve(), notes.clone());
    query(&granted, "select 1").await.unwrap();
    query(&granted, "selec 1").await.unwrap_err();
    execute(&granted, "select 1").await.unwrap_err();
    let expected = [
        "used sql orders query",
        "finished orders query false",
        "used sql orders query",
        "finished orders query true",
        "denied sql = [{ store = \"orders\", ops = [\"query\", \"execute\"] }]",
    ];
    assert_eq!(*notes.0.lock(), expected);
}

/// The operations that a guest's way to a statement is told as.
async fn told(folder: &std::path::Path, work: impl AsyncFnOnce(&Granted)) -> Vec<String> {
    let url = format!("sqlite:{}/app.db", folder.display());
    let store = Store::open("orders", &Tenant::default(), &url, &toml::Table::new()).await.unwrap();
    let all = store.grant(SqlGrant::default(), &Limits::serve(), Arc::new(Unrecorded));
    execute(&all, "create table if not exists t (n integer)").await.unwrap();
    let notes = Arc::new(Notes::default());
    work(&store.grant(SqlGrant::default(), &Limits::serve(), notes.clone())).await;
    notes.0.lock().iter().filter_map(|note| note.strip_prefix("used sql orders ").map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_query_that_writes_is_told_as_both() {
    let folder = tempfile::tempdir().unwrap();
    let told = async |text: &str| {
        let ways = [
            told(folder.path(), async |granted| drop(query(granted, text).await.unwrap())).await,
            told(folder.path(), async |granted| {
                drop(Session::new(granted.clone()).run(Statement::new(text, [])).await.unwrap());
            })
            .await,
            told(folder.path(), async |granted| {
                let mut transaction = granted.begin(&wide(), wide().time).await.unwrap();
                drop(transaction.query(Statement::new(text, []), &wide()).await.unwrap());
            })
            .await,
        ];
        let [plain, session, transaction] = ways;
        assert_eq!(plain, session, "{text}");
        assert_eq!(transaction, [&["execute".to_owned()][..], &plain].concat(), "{text}: a transaction may write");
        plain
    };
    for text in ["select 1", "with a as (select 1) select * from a", "pragma user_version", "explain select 1"] {
        assert_eq!(told(text).await, ["query"], "{text}");
    }
    for text in [
        "insert into t values (1) returning n",
        "insert into t values (1)",
        "with a as (select 1) delete from t",
        "pragma user_version = 7",
        "create table if not exists u (n integer)",
    ] {
        assert_eq!(told(text).await, ["query", "execute"], "{text}");
    }
    let text = "insert into t values (1)";
    let executed = self::told(folder.path(), async |granted| assert_eq!(execute(granted, text).await, Ok(1))).await;
    assert_eq!(executed, ["execute"]);
}

#[tokio::test]
async fn a_session_keeps_its_transaction_between_statements() {
    let granted = granted(SqlGrant::default(), &Limits::serve()).await;
    let mut session = Session::new(granted.clone());
    let mut run = async |text: &str| session.run(Statement::new(text, [])).await;
    run("begin immediate").await.unwrap();
    assert_eq!(run("insert into t values (1), (2)").await.unwrap().done.affected, 2);
    assert!(run("begin").await.unwrap_err().to_string().contains("there is a transaction already"));
    let answer = run("select n from t order by n").await.unwrap();
    assert_eq!(answer.rows, [[super::Value::Integer(1)], [super::Value::Integer(2)]]);
    run("rollback").await.unwrap();
    assert!(run("commit").await.unwrap_err().to_string().contains("there is no transaction"));
    for more in ["begin; delete from t", "begin isolation level serializable", "begin 1", "commit and chain"] {
        assert!(run(more).await.unwrap_err().to_string().contains("says nothing else"), "{more}");
    }
    run("begin").await.unwrap();
    run("insert into t values (9)").await.unwrap();
    run("end").await.unwrap();
    assert_eq!((session.changes(), session.last_insert_id()), (1, 1), "the frame changes nothing");
    session.execute(Statement::new("begin", [])).await.unwrap();
    session.execute(Statement::new("delete from t", [])).await.unwrap();
    assert_eq!(session.changes(), 1);
    drop(session);
    assert_eq!(query(&granted, "select n from t").await, Ok(vec![vec![9.into()]]), "what was not committed is undone");
}

#[tokio::test]
async fn a_name_can_be_led_to_another_database() {
    let store = Store::open("orders", &Tenant::default(), "sqlite::memory:", &toml::Table::new()).await.unwrap();
    let granted = store.grant(SqlGrant::default(), &Limits::serve(), Arc::new(Unrecorded));
    execute(&granted, "create table one (n integer)").await.unwrap();
    let mut before = granted.begin(&wide(), wide().time).await.unwrap();
    assert!(store.relink("sqlite:", &toml::Table::new()).await.is_err());
    execute(&granted, "insert into one values (1)").await.unwrap_err();
    store.relink("sqlite::memory:", &toml::Table::new()).await.unwrap();
    assert!(query(&granted, "select * from one").await.unwrap_err().to_string().contains("no such table"));
    let inserted = before.execute(Statement::new("insert into one values (1)", []), &wide()).await;
    assert_eq!(inserted.unwrap().affected, 1, "what has begun ends where it began");
    before.commit().await.unwrap();
}

#[test]
fn an_error_says_whose_fault_it_is() {
    let fault = |error: SqlError| error.into_fault("orders");
    assert!(matches!(fault(SqlError::no_such_store("x")), Fault::Denied { grant, .. } if grant == "sql = [\"x\"]"));
    assert!(matches!(fault(SqlError::ReadOnly), Fault::Guest(_)));
    assert!(matches!(fault(SqlError::Configuration("x".into())), Fault::Config(_)));
    assert!(matches!(fault(SqlError::Backend("x".into())), Fault::Backend { slow: false, .. }));
    assert!(matches!(fault(SqlError::TimedOut("x".into())), Fault::Backend { slow: true, .. }));
}
