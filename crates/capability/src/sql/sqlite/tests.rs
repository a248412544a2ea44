//! What a guest's statement cannot reach, and whose file is whose.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use samara_model::Tenant;

use super::super::{Share, Sql, SqlError, Statement, Terms, Value, check::wide, open};

async fn opened(path: &Path, tenant: &str) -> Result<Arc<dyn Sql>, SqlError> {
    let share = Share::of(&Tenant::new(tenant).unwrap());
    open(&format!("sqlite:{}", path.display()), &toml::Table::new(), &share).await
}

async fn rows(sql: &Arc<dyn Sql>, text: &str) -> Result<Vec<Vec<Value>>, SqlError> {
    Ok(sql.query(Statement::new(text, []), &wide()).await?.collect().await?.0)
}

async fn run(sql: &Arc<dyn Sql>, text: &str) {
    sql.execute(Statement::new(text, []), &wide()).await.unwrap_or_else(|error| panic!("{text}: {error}"));
}

/// Why a statement is refused whatever the grant, alone and in a transaction.
async fn refused(sql: &Arc<dyn Sql>, text: &str) -> String {
    let mut transaction = sql.begin(&wide(), wide().time).await.unwrap();
    let within = transaction.execute(Statement::new(text, []), &wide()).await;
    drop(transaction);
    let alone = sql.execute(Statement::new(text, []), &wide()).await;
    assert!(matches!(within, Err(SqlError::Refused(_) | SqlError::Statement(_))), "{text}: {within:?}");
    match alone {
        Err(SqlError::Refused(why)) => why,
        other => panic!("{text}: {other:?}"),
    }
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn no_statement_opens_a_file_or_changes_a_connection() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.db");
    let elsewhere = other.display();
    run(&opened(&other, "default").await.unwrap(), "create table secret (t text)").await;
    let before = files(folder.path());
    let kept = tempfile::tempdir().unwrap();
    for path in [kept.path().join("app.db"), ":memory:".into()] {
        let sql = opened(&path, "default").await.unwrap();
        run(&sql, "create table t (n integer)").await;
        let own = "a guest has no other database than its own";
        for text in [
            format!("attach '{elsewhere}' as other"),
            format!("attach 'file:{elsewhere}?mode=ro' as other"),
            "attach ':memory:' as other".to_owned(),
            "attach '' as other".to_owned(),
            "detach main".to_owned(),
        ] {
            assert_eq!(refused(&sql, &text).await, own, "{text}");
        }
        for (text, why) in [
            ("select load_extension('/tmp/x.so')", "may not call `load_extension`"),
            ("select fts3_tokenizer('simple')", "may not call `fts3_tokenizer`"),
            ("create temporary table s (n)", "nothing on them can be temporary"),
            ("create temp view s as select 1", "nothing on them can be temporary"),
            ("pragma temp_store_directory = '/'", "may not set `pragma temp_store_directory`"),
            ("pragma writable_schema = on", "may not set `pragma writable_schema`"),
            ("pragma journal_mode = delete", "may not set `pragma journal_mode`"),
            ("pragma synchronous = off", "may not set `pragma synchronous`"),
            ("pragma foreign_keys = off", "may not set `pragma foreign_keys`"),
            ("pragma max_page_count = 99999999", "may not set `pragma max_page_count`"),
            ("pragma hard_heap_limit = 1", "may not set `pragma hard_heap_limit`"),
            ("pragma locking_mode", "may not use `pragma locking_mode`"),
            ("pragma database_list", "may not use `pragma database_list`"),
            ("select * from pragma_database_list", "may not use `pragma database_list`"),
            ("create virtual table v using fts3(a)", "not of `fts3`"),
            ("create virtual table v using csv(filename='/etc/passwd')", "not of `csv`"),
        ] {
            let told = refused(&sql, text).await;
            assert!(told.contains(why), "{text}: {told}");
        }
        for text in ["vacuum", &format!("vacuum into '{elsewhere}.copy'")] {
            let done = sql.execute(Statement::new(text, []), &wide()).await;
            assert!(matches!(done, Err(SqlError::Refused(_) | SqlError::Statement(_))), "{text}: {done:?}");
        }
        assert!(sql.execute(Statement::new("savepoint s", []), &wide()).await.is_err());
        for text in ["update sqlite_master set sql = ''", "insert into sqlite_schema values (1, 2, 3, 4, 5)"] {
            assert!(sql.execute(Statement::new(text, []), &wide()).await.is_err(), "{text}");
        }
        assert_eq!(rows(&sql, "select count(*) from t").await, Ok(vec![vec![0.into()]]), "it serves on");
    }
    assert_eq!(files(folder.path()), before, "nothing was made");
}

#[tokio::test]
async fn what_guests_often_do_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let sql = opened(&folder.path().join("app.db"), "default").await.unwrap();
    for text in [
        "create table parent (id integer primary key, j text)",
        "create table child (id integer references parent(id) on delete cascade)",
        "create index by_j on parent (json_extract(j, '$.a'))",
        "create view v as select * from parent",
        "create trigger log after insert on parent begin insert into child values (new.id); end",
        "create virtual table words using fts5(t)",
        "create virtual table boxes using rtree(id, x0, x1)",
        "insert into words values ('a seed with a wing')",
        "insert into parent values (1, '{\"a\": 1}')",
        "alter table parent add column more text",
        "alter table parent rename to elder",
        "pragma foreign_keys = ON",
        "pragma journal_mode = WAL",
        "pragma user_version = 7",
        "pragma table_info(child)",
        "analyze",
        "reindex",
        "drop view v",
        "explain query plan select * from elder",
        "values (1), (2)",
    ] {
        run(&sql, text).await;
    }
    let one = async |text: &str| rows(&sql, text).await.unwrap().remove(0).remove(0);
    assert_eq!(one("select count(*) from words where words match 'wing'").await, 1.into());
    assert_eq!(one("select count(*) from child").await, 1.into());
    assert_eq!(one("select user_version from pragma_user_version").await, 7.into());
    assert_eq!(one("select value from json_each('[5]')").await, 5.into());
    run(&sql, "delete from elder").await;
    assert_eq!(one("select count(*) from child").await, 0.into(), "references are kept");
    drop(sql);
    let again = opened(&folder.path().join("app.db"), "default").await.unwrap();
    assert_eq!(rows(&again, "select count(*) from words").await, Ok(vec![vec![1.into()]]), "it is in the file");
}

#[tokio::test]
async fn a_tenant_has_a_file_that_no_other_can_name() {
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("app.db");
    for tenant in ["default", "acme", "globex", "a.tenants"] {
        let sql = opened(&named, tenant).await.unwrap();
        run(&sql, "create table t (whose text)").await;
        run(&sql, &format!("insert into t values ('{tenant}')")).await;
    }
    for tenant in ["default", "acme", "globex", "a.tenants"] {
        let sql = opened(&named, tenant).await.unwrap();
        assert_eq!(rows(&sql, "select whose from t").await, Ok(vec![vec![tenant.into()]]));
    }
    let shares = folder.path().join("app.db.tenants");
    assert!(files(&shares).contains(&"acme.db".to_owned()));
    assert_eq!(fs::metadata(shares.join("acme.db")).unwrap().permissions().mode() & 0o077, 0, "nobody else reads it");

    // By name, by a folder on the way, by links to folders and to files.
    let links = tempfile::tempdir().unwrap();
    let link = |name: &str, to: &Path| {
        let path = links.path().join(name);
        std::os::unix::fs::symlink(to, &path).unwrap();
        path
    };
    let up = shares.join("..").join("app.db.tenants");
    for path in [
        shares.join("acme.db"),
        shares.join("deeper/app.db"),
        shares.clone(),
        up.join("acme.db"),
        link("folder", &shares).join("acme.db"),
    ] {
        let error = opened(&path, "default").await.unwrap_err();
        assert!(
            matches!(&error, SqlError::Configuration(why) if why.contains("shares of another database")),
            "{error}"
        );
        assert!(opened(&path, "globex").await.is_err(), "{}", path.display());
    }
    let file = link("acme.db", &shares.join("acme.db"));
    assert!(matches!(opened(&file, "default").await, Err(SqlError::Backend(_))), "a link is not followed");
    link("app.db.tenants", &shares);
    let error = opened(&links.path().join("app.db"), "acme").await.unwrap_err();
    assert!(matches!(&error, SqlError::Configuration(why) if why.contains("has a link")), "{error}");
}

#[tokio::test]
async fn another_process_that_writes_is_waited_for_and_then_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let sql = opened(&path, "default").await.unwrap();
    run(&sql, "create table t (n integer)").await;
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("begin immediate; insert into t values (1)").unwrap();
    let short = Terms { time: Duration::from_millis(200), ..wide() };
    let insert = || Statement::new("insert into t values (2)", []);
    let error = sql.execute(insert(), &short).await.unwrap_err();
    assert!(matches!(error, SqlError::TimedOut(_)), "{error:?}");
    assert_eq!(rows(&sql, "select count(*) from t").await, Ok(vec![vec![0.into()]]), "readers do not wait");
    other.execute_batch("commit").unwrap();
    assert_eq!(sql.execute(insert(), &wide()).await.unwrap().affected, 1);
}

#[tokio::test]
async fn a_broken_file_is_told_and_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let sql = opened(&path, "default").await.unwrap();
    run(&sql, "create table t (a text)").await;
    for _ in 0..10 {
        run(&sql, "insert into t select hex(randomblob(2000)) from (values (1), (2), (3), (4))").await;
    }
    drop(sql);
    // Closing copies the log into the file; then pages in its middle are overwritten.
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch("pragma wal_checkpoint(truncate)").unwrap();
    drop(raw);
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[8192..length - 8192].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let sql = opened(&path, "default").await.unwrap();
    let error = rows(&sql, "select sum(length(a)) from t").await.unwrap_err();
    assert!(matches!(&error, SqlError::Backend(why) if why.contains("malformed")), "{error:?}");
    assert_eq!(rows(&sql, "select 1").await, Ok(vec![vec![1.into()]]));
}

#[tokio::test]
async fn readers_neither_wait_for_a_writer_nor_see_what_it_has_not_committed() {
    let folder = tempfile::tempdir().unwrap();
    let sql = opened(&folder.path().join("app.db"), "default").await.unwrap();
    run(&sql, "create table t (n integer)").await;
    let mut transaction = sql.begin(&wide(), wide().time).await.unwrap();
    transaction.execute(Statement::new("insert into t values (1)", []), &wide()).await.unwrap();
    assert_eq!(rows(&sql, "select count(*) from t").await, Ok(vec![vec![0.into()]]));
    assert_eq!(rows(&sql, "with a as (select 1) select count(*) from t, a").await, Ok(vec![vec![0.into()]]));
    let short = Terms { time: Duration::from_millis(100), ..wide() };
    let error = sql.execute(Statement::new("insert into t values (2)", []), &short).await.unwrap_err();
    assert!(matches!(&error, SqlError::TimedOut(why) if why.contains("other statements")), "{error:?}");
    transaction.commit().await.unwrap();
    assert_eq!(rows(&sql, "select count(*) from t").await, Ok(vec![vec![1.into()]]));
}
