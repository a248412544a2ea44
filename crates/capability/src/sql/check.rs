//! The suite that every provider of databases passes: what a guest may rely on, whatever is behind the name.
//!
//! Only what both dialects know is used, and what differs is said with the dialect. The database is empty at first.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a suite for tests may fail fast; its callers are tests of this crate and of others"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use chrono::{NaiveDate, NaiveTime};

use super::{Access, Dialect, Done, Sql, SqlError, Statement, Terms, Transaction, Value};

/// Terms that no case below comes near.
pub fn wide() -> Terms {
    let time = Duration::from_secs(60);
    Terms { access: Access::Write, time, rows: 100_000, bytes: 64 << 20, total_bytes: 256 << 20 }
}

/// How soon a statement has to end after it was told to, on a machine that is busy.
const SOON: Duration = Duration::from_secs(60);

/// A query that never ends and never answers.
const ENDLESS: &str = "with recursive n(x) as (select 1 union all select 1 from n) select count(*) from n";

/// A query that never ends and answers all the time.
const ENDLESS_ROWS: &str = "with recursive n(x) as (select 1 union all select 1 from n) select x from n";

/// Everything a provider promises.
pub async fn check_sql(database: Arc<dyn Sql>) {
    let sql = &*database;
    values(sql).await;
    parameters(sql).await;
    outcomes(sql).await;
    rejections(sql).await;
    reading(sql).await;
    limits(sql).await;
    time(sql).await;
    whole(sql).await;
    transactions(sql).await;
    transactions_end(sql).await;
    hammer(&database).await;
}

async fn run(sql: &dyn Sql, text: &str) -> Done {
    execute(sql, text, &[]).await.unwrap_or_else(|error| panic!("{text}: {error}"))
}

async fn execute(sql: &dyn Sql, text: &str, parameters: &[Value]) -> Result<Done, SqlError> {
    sql.execute(Statement::new(text, parameters), &wide()).await
}

async fn rows(sql: &dyn Sql, text: &str, parameters: &[Value]) -> Result<Vec<Vec<Value>>, SqlError> {
    Ok(sql.query(Statement::new(text, parameters), &wide()).await?.collect().await?.0)
}

/// The one value of the one row.
async fn one(sql: &dyn Sql, text: &str) -> Value {
    let mut rows = rows(sql, text, &[]).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!((rows.len(), rows[0].len()), (1, 1), "{text}");
    rows.remove(0).remove(0)
}

async fn within(transaction: &mut dyn Transaction, text: &str) -> Result<Done, SqlError> {
    transaction.execute(Statement::new(text, []), &wide()).await
}

async fn values(sql: &dyn Sql) {
    let blob = if sql.dialect() == Dialect::Postgres { "bytea" } else { "blob" };
    run(sql, &format!("create table kinds (i bigint, f double precision, t text, b {blob}, d date, c timestamp)"))
        .await;
    let date = NaiveDate::from_ymd_opt(2024, 2, 29).unwrap();
    let at = date.and_time(NaiveTime::from_hms_micro_opt(23, 59, 59, 999_999).unwrap());
    let sets = [
        [
            Value::Integer(i64::MIN),
            Value::Float(-0.1),
            "\u{1f341} 'x' \"y\"; --".into(),
            Value::Bytes(Bytes::from_static(&[0, 1, 255])),
            Value::Date(date),
            Value::Timestamp(at),
        ],
        [
            Value::Integer(i64::MAX),
            Value::Float(1e300),
            "".into(),
            Value::Bytes(Bytes::new()),
            Value::Null,
            Value::Null,
        ],
        [Value::Null, Value::Null, Value::Null, Value::Null, Value::Null, Value::Null],
    ];
    for set in &sets {
        let done = execute(sql, "insert into kinds values ($1, $2, $3, $4, $5, $6)", set).await.unwrap();
        assert_eq!(done.affected, 1);
    }
    let answer = sql.query(Statement::new("select i, f, t, b from kinds", []), &wide()).await.unwrap();
    let names: Vec<_> = answer.columns().iter().map(|column| &*column.name).collect();
    assert_eq!(names, ["i", "f", "t", "b"]);
    let (read, _) = answer.collect().await.unwrap();
    assert_eq!(read, sets.iter().map(|set| set[..4].to_vec()).collect::<Vec<_>>());
    // A date is a date to one and its text to the other; both find it by its value.
    let found =
        rows(sql, "select i from kinds where d = $1 and c = $2", &[Value::Date(date), Value::Timestamp(at)]).await;
    assert_eq!(found, Ok(vec![vec![Value::Integer(i64::MIN)]]));
    let empty = sql.query(Statement::new("select i as number from kinds where i = 0", []), &wide()).await.unwrap();
    assert_eq!(&*empty.columns()[0].name, "number", "an answer without rows has columns");
    assert_eq!(empty.collect().await.unwrap().0, Vec::<Vec<Value>>::new());
}

async fn parameters(sql: &dyn Sql) {
    run(sql, "create table pairs (a integer, b text)").await;
    execute(sql, "insert into pairs (b, a) values ($2, $1)", &[1.into(), "one".into()]).await.unwrap();
    let read =
        rows(sql, "select a, b from pairs where a = $1 or (a = $1 and b = $2)", &[1.into(), "none".into()]).await;
    assert_eq!(read, Ok(vec![vec![1.into(), "one".into()]]), "`$2` is the second wherever it stands");
    let injected = "'; drop table pairs; --";
    assert_eq!(rows(sql, "select a from pairs where b = $1", &[injected.into()]).await, Ok(Vec::new()));
    assert_eq!(one(sql, "select count(*) from pairs").await, 1.into(), "a value is no text of the statement");

    for given in [&[][..], &[1.into()], &[1.into(), "x".into(), 3.into()]] {
        let refused = execute(sql, "insert into pairs values ($1, $2)", given).await;
        assert!(matches!(refused, Err(SqlError::Parameter(_))), "{given:?}: {refused:?}");
    }
    let other = Value::Other(Bytes::from_static(b"?"));
    let refused = execute(sql, "insert into pairs values ($1, $2)", &[1.into(), other]).await;
    assert!(matches!(refused, Err(SqlError::Parameter(_))), "{refused:?}");
    assert_eq!(one(sql, "select count(*) from pairs").await, 1.into());
}

async fn outcomes(sql: &dyn Sql) {
    run(sql, "create table counted (n integer primary key)").await;
    let inserted = run(sql, "insert into counted values (1), (2), (3)").await;
    let numbered = (sql.dialect() == Dialect::Sqlite).then_some(3);
    assert_eq!(inserted, Done { affected: 3, last_insert_id: numbered });
    let updated = run(sql, "update counted set n = n + 10 where n > 1").await;
    assert_eq!(updated, Done { affected: 2, last_insert_id: None });
    assert_eq!(run(sql, "delete from counted where n > 100").await.affected, 0);
    assert_eq!(
        run(sql, "create table after_counted (n integer)").await,
        Done::default(),
        "what was before is forgotten"
    );
    let mut returned = sql.query(Statement::new("delete from counted returning n", []), &wide()).await.unwrap();
    let mut gone = 0;
    while let Some(row) = returned.next().await.unwrap() {
        assert_eq!(row.len(), 1);
        gone += 1;
    }
    assert_eq!((gone, returned.done().map(|done| done.affected)), (3, Some(3)));
    assert_eq!(returned.next().await, Ok(None), "the end stays the end");
}

async fn rejections(sql: &dyn Sql) {
    run(sql, "create table strict (n integer primary key, t text not null)").await;
    run(sql, "insert into strict values (1, 'one')").await;
    for text in [
        "selec 1",
        "select * from nowhere",
        "insert into strict values (1, 'again')",
        "insert into strict values (2, null)",
    ] {
        match execute(sql, text, &[]).await {
            Err(SqlError::Statement(why)) => assert!(!why.code.is_empty() && !why.message.is_empty(), "{why:?}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    for text in ["", ";", "-- nothing", "select '\0'", "begin", " /* x */ COMMIT", "rollback", "end"] {
        let refused = execute(sql, text, &[]).await;
        assert!(matches!(refused, Err(SqlError::Refused(_))), "{text:?}: {refused:?}");
    }
    for text in ["select 1; select 2", "insert into strict values (3, 'x'); delete from strict"] {
        let refused = execute(sql, text, &[]).await;
        assert!(matches!(refused, Err(SqlError::Refused(_) | SqlError::Statement(_))), "{text}: {refused:?}");
    }
    assert_eq!(run(sql, "update strict set t = 'still' ; -- a comment behind").await.affected, 1);
    assert_eq!(one(sql, "select count(*) from strict").await, 1.into());
}

async fn reading(sql: &dyn Sql) {
    run(sql, "create table fixed (n integer)").await;
    let read = Terms { access: Access::Read, ..wide() };
    for text in [
        "insert into fixed values (1)",
        "insert into fixed values (1) returning n",
        "create table more (n integer)",
        "drop table fixed",
        "update fixed set n = 1",
    ] {
        assert_eq!(sql.execute(Statement::new(text, []), &read).await, Err(SqlError::ReadOnly), "{text}");
    }
    let counted = sql.query(Statement::new("select count(*) from fixed", []), &read).await.unwrap();
    assert_eq!(counted.collect().await.unwrap().0, [[Value::Integer(0)]]);

    let mut transaction = sql.begin(&read, wide().time).await.unwrap();
    let refused = within(&mut *transaction, "insert into fixed values (1)").await;
    assert_eq!(refused, Err(SqlError::ReadOnly), "a transaction that reads cannot be asked to write");
    transaction.rollback().await.unwrap();
}

async fn limits(sql: &dyn Sql) {
    let three = "select 'abc' as t union all select 'def' union all select 'ghi'";
    let narrow = Terms { rows: 2, ..wide() };
    let refused = sql.execute(Statement::new(three, []), &narrow).await;
    assert_eq!(refused, Err(SqlError::TooMany { what: "rows in an answer", limit: 2 }));
    let narrow = Terms { bytes: 30, ..wide() };
    let refused = sql.execute(Statement::new(three, []), &narrow).await;
    assert_eq!(refused, Err(SqlError::TooLarge { what: "answer", limit: 30 }));
    let large = "select replace('xxxxxxxxxxxxxxxx', 'x', $1) as t";
    let parameter = Value::Text("y".repeat(1 << 20));
    let narrow = Terms { bytes: 1 << 20, ..wide() };
    let refused = sql.execute(Statement::new(large, [parameter]), &narrow).await;
    assert_eq!(refused, Err(SqlError::TooLarge { what: "answer", limit: 1 << 20 }));
    assert_eq!(rows(sql, three, &[]).await.unwrap().len(), 3);
}

async fn time(sql: &dyn Sql) {
    let since = Instant::now();
    let mut short = Terms { time: Duration::from_millis(200), access: Access::Read, ..wide() };
    let refused = sql.execute(Statement::new(ENDLESS, []), &short).await;
    assert!(matches!(&refused, Err(SqlError::TimedOut(_))), "{refused:?}");
    // An answer that is not read holds nobody up, and says so. A busy machine may take longer than that to begin one.
    let mut answer = loop {
        match sql.query(Statement::new(ENDLESS_ROWS, []), &short).await {
            Err(SqlError::TimedOut(_)) if since.elapsed() < SOON => short.time *= 2,
            begun => break begun.unwrap(),
        }
    };
    tokio::time::sleep(short.time + Duration::from_millis(50)).await;
    let refused = loop {
        match answer.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("an endless answer has ended"),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, SqlError::TimedOut(_)), "{refused:?}");
    assert!(since.elapsed() < SOON + short.time * 3, "{:?}", since.elapsed());

    // Nobody waits for them: as many as there may be connections, and then more, are stopped by being dropped.
    for _ in 0..40 {
        let mut answer = sql.query(Statement::new(ENDLESS_ROWS, []), &wide()).await.unwrap();
        assert!(answer.next().await.unwrap().is_some());
        drop(answer);
        let terms = wide();
        let unread = sql.query(Statement::new(ENDLESS, []), &terms);
        let _ = tokio::time::timeout(Duration::from_millis(5), unread).await;
    }
    run(sql, "create table after_all (n integer)").await;
}

async fn whole(sql: &dyn Sql) {
    run(sql, "create table steps (n integer primary key check (n < 100))").await;
    let refused = execute(sql, "insert into steps values (1), (2), (100)", &[]).await;
    assert!(matches!(refused, Err(SqlError::Statement(_))), "{refused:?}");
    assert_eq!(one(sql, "select count(*) from steps").await, 0.into(), "a statement happens as a whole");
    let narrow = Terms { rows: 2, ..wide() };
    let refused = sql.execute(Statement::new("insert into steps values (1), (2), (3) returning n", []), &narrow).await;
    assert!(matches!(refused, Err(SqlError::TooMany { .. })), "{refused:?}");
    assert_eq!(one(sql, "select count(*) from steps").await, 0.into(), "or not at all, if its answer is too long");
}

async fn transactions(sql: &dyn Sql) {
    run(sql, "create table kept (n integer primary key)").await;
    let count = "select count(*) from kept";

    let mut transaction = sql.begin(&wide(), wide().time).await.unwrap();
    assert_eq!(within(&mut *transaction, "insert into kept values (1)").await.unwrap().affected, 1);
    assert_eq!(one_within(&mut *transaction, count).await, 1.into());
    transaction.commit().await.unwrap();
    assert_eq!(one(sql, count).await, 1.into());

    let mut transaction = sql.begin(&wide(), wide().time).await.unwrap();
    within(&mut *transaction, "insert into kept values (2)").await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(one(sql, count).await, 1.into());

    let mut transaction = sql.begin(&wide(), wide().time).await.unwrap();
    within(&mut *transaction, "insert into kept values (2)").await.unwrap();
    drop(transaction);
    // The next writer begins only after it.
    run(sql, "insert into kept values (2)").await;
    assert_eq!(one(sql, count).await, 2.into(), "dropped is rolled back");

    let mut transaction = sql.begin(&wide(), wide().time).await.unwrap();
    within(&mut *transaction, "savepoint here").await.unwrap();
    within(&mut *transaction, "insert into kept values (3)").await.unwrap();
    assert!(within(&mut *transaction, "insert into kept values (3)").await.is_err());
    within(&mut *transaction, "rollback to savepoint here").await.unwrap();
    within(&mut *transaction, "insert into kept values (4)").await.unwrap();
    for text in ["commit", "begin", "rollback"] {
        assert!(matches!(within(&mut *transaction, text).await, Err(SqlError::Refused(_))), "{text}");
    }
    transaction.commit().await.unwrap();
    assert_eq!(
        rows(sql, "select n from kept order by n", &[]).await,
        Ok(vec![vec![1.into()], vec![2.into()], vec![4.into()]])
    );

    // What streams in a transaction must be read before the next statement, or dropped.
    let mut transaction = sql.begin(&wide(), wide().time).await.unwrap();
    let mut answer = transaction.query(Statement::new(ENDLESS_ROWS, []), &wide()).await.unwrap();
    assert!(answer.next().await.unwrap().is_some());
    drop(answer);
    let after = within(&mut *transaction, "select 1").await;
    // PostgreSQL's transaction failed with the statement that was stopped.
    assert!(after.is_ok() || sql.dialect() == Dialect::Postgres, "{after:?}");
    transaction.rollback().await.unwrap();
}

async fn one_within(transaction: &mut dyn Transaction, text: &str) -> Value {
    let answer = transaction.query(Statement::new(text, []), &wide()).await.unwrap();
    answer.collect().await.unwrap().0.remove(0).remove(0)
}

async fn transactions_end(sql: &dyn Sql) {
    run(sql, "create table late (n integer primary key)").await;
    let mut time = Duration::from_millis(300);
    let (since, mut transaction) = loop {
        let since = Instant::now();
        let mut transaction = sql.begin(&wide(), time).await.unwrap();
        match within(&mut *transaction, "insert into late values (1)").await {
            // On a busy machine its time may be over before anything is done in it.
            Err(SqlError::TimedOut(_)) if time < SOON => time *= 2,
            done => break done.map(|_| (since, transaction)).unwrap(),
        }
    };
    // Whoever waits for the same row gets it when the time of the first is over.
    run(sql, "insert into late values (1)").await;
    assert!(since.elapsed() >= time * 9 / 10 && since.elapsed() < SOON + time, "{:?}", since.elapsed());
    let refused = within(&mut *transaction, "insert into late values (2)").await;
    let told = format!("its time of `{}`", samara_model::format_duration(time));
    assert!(matches!(&refused, Err(SqlError::TimedOut(why)) if why.contains(&told)), "{refused:?}");
    let refused = transaction.commit().await;
    assert!(matches!(refused, Err(SqlError::TimedOut(_))), "{refused:?}");
    assert_eq!(one(sql, "select count(*) from late").await, 1.into());
}

async fn hammer(database: &Arc<dyn Sql>) {
    const TASKS: i64 = 12;
    const ROUNDS: i64 = 10;
    run(&**database, "create table sums (id integer primary key, n integer)").await;
    run(&**database, "insert into sums values (1, 0), (2, 0)").await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let database = Arc::clone(database);
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let mut transaction = database.begin(&wide(), wide().time).await.unwrap();
                    within(&mut *transaction, "update sums set n = n + 1 where id = 1").await.unwrap();
                    within(&mut *transaction, "update sums set n = n + 1 where id = 2").await.unwrap();
                    match (task + round) % 3 {
                        0 => drop(transaction),
                        1 => transaction.rollback().await.unwrap(),
                        _ => transaction.commit().await.unwrap(),
                    }
                    let seen = rows(&*database, "select n from sums order by id", &[]).await.unwrap();
                    assert_eq!(seen[0], seen[1], "nobody sees half a transaction");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let committed =
        (0..TASKS).flat_map(|task| (0..ROUNDS).map(move |round| task + round)).filter(|sum| sum % 3 == 2).count();
    let committed = i64::try_from(committed).unwrap();
    assert_eq!(one(&**database, "select n from sums where id = 1").await, committed.into());
}
