//! The PostgreSQL provider against a real server: the suite, tenants that stay apart, guests that leave nothing behind, and
//! bad weather.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use chrono::{NaiveDate, NaiveTime};
use parking_lot::Mutex;
use samara_capability::{
    Denial, Recorder,
    sql::{
        Access, Interval, Kind, Range, Share, Sql, SqlError, Statement, Store, Terms, Value,
        check::{check_sql, wide},
        open,
    },
};
use samara_model::{Capability, Limits, SqlGrant, Tenant};

use crate::servers::{PASSWORD, Server, USER};

/// How long anything may take that is no time-out itself, on a machine that is busy.
const SOON: Duration = Duration::from_secs(60);

/// For what is not about time-outs.
const PATIENT: &str = "timeout = \"60s\"";

/// A time-out that a server meets on a busy machine, unless it hangs.
const SHORT: &str = "timeout = \"5s\"";

async fn try_open(url: &str, settings: &str, tenant: &str) -> Result<Arc<dyn Sql>, SqlError> {
    open(url, &settings.parse().unwrap(), &Share::of(&Tenant::new(tenant).unwrap())).await
}

async fn tenant(server: &Server, name: &str) -> Arc<dyn Sql> {
    try_open(&server.url_in_full(), PATIENT, name).await.unwrap()
}

/// The superuser, as no guest ever is.
async fn superuser(server: &Server) -> Arc<dyn Sql> {
    try_open(&server.url_in_full(), &format!("separate = false\n{PATIENT}"), "default").await.unwrap()
}

async fn rows(sql: &Arc<dyn Sql>, text: &str) -> Result<Vec<Vec<Value>>, SqlError> {
    Ok(sql.query(Statement::new(text, []), &wide()).await?.collect().await?.0)
}

async fn one(sql: &Arc<dyn Sql>, text: &str) -> Value {
    let mut rows = rows(sql, text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!((rows.len(), rows[0].len()), (1, 1), "{text}");
    rows.remove(0).remove(0)
}

async fn run(sql: &Arc<dyn Sql>, text: &str) {
    sql.execute(Statement::new(text, []), &wide()).await.unwrap_or_else(|error| panic!("{text}: {error}"));
}

/// The code of the server's refusal.
async fn refused(sql: &Arc<dyn Sql>, text: &str) -> String {
    match sql.execute(Statement::new(text, []), &wide()).await {
        Err(SqlError::Statement(why)) => why.code,
        other => panic!("{text}: {other:?}"),
    }
}

#[tokio::test]
async fn a_tenants_database_passes_the_suite() {
    let server = Server::postgres();
    check_sql(tenant(&server, "acme").await).await;
    // A second host of the same tenant, and another tenant beside it.
    check_sql(tenant(&server, "Other.tenant-2").await).await;
    assert_eq!(one(&tenant(&server, "acme").await, "select count(*) from kept").await, 3.into());
}

#[tokio::test]
async fn the_account_of_the_url_passes_the_suite() {
    check_sql(superuser(&Server::postgres()).await).await;
}

#[tokio::test]
async fn a_tenant_reaches_no_other_by_any_statement() {
    const DENIED: &str = "42501";
    let server = Server::postgres();
    let (ours, theirs) = (tenant(&server, "ours").await, tenant(&server, "theirs").await);
    run(&ours, "create table secret (t text)").await;
    run(&ours, "insert into secret values ('ours')").await;
    run(&theirs, "create table secret (t text)").await;
    run(&theirs, "insert into secret values ('theirs')").await;
    assert_eq!(one(&ours, "select t from secret").await, "ours".into());
    assert_eq!(one(&theirs, "select t from secret").await, "theirs".into());
    for text in [
        "select t from samara_theirs.secret",
        "insert into samara_theirs.secret values ('x')",
        "create table samara_theirs.more (n integer)",
        "drop schema samara_theirs cascade",
        "set role samara_theirs",
        "set session authorization samara_theirs",
        "set role samara",
        "alter role samara_theirs password 'x'",
        "create role another login",
        "create schema another",
        "create database another",
        "create extension postgres_fdw",
        "select pg_read_file('/etc/passwd')",
        "copy secret to '/tmp/out'",
        "copy secret from program 'id'",
        "select lo_import('/etc/passwd')",
        "alter system set ssl = off",
    ] {
        assert_eq!(refused(&ours, text).await, DENIED, "{text}");
    }
    // It is no error, only a warning, to grant what one may not grant.
    run(&ours, "grant usage on schema samara_ours to samara_theirs, public").await;
    run(&ours, "grant select on secret to samara_theirs, public").await;
    assert_eq!(
        refused(&theirs, "select t from samara_ours.secret").await,
        DENIED,
        "nobody can open the door from inside"
    );
    // What a session would keep is gone with the statement, and would not help.
    for text in ["reset role", "reset session authorization", "set search_path = samara_theirs", "set role none"] {
        run(&ours, text).await;
        assert_eq!(one(&ours, "select t from secret").await, "ours".into(), "{text}");
    }
    let mut transaction = ours.begin(&wide(), wide().time).await.unwrap();
    let mut within = async |text: &str| transaction.execute(Statement::new(text, []), &wide()).await;
    within("reset role").await.unwrap();
    within("reset session authorization").await.unwrap();
    within("set search_path = samara_theirs").await.unwrap();
    let error = within("select t from secret").await.unwrap_err();
    assert!(matches!(&error, SqlError::Statement(why) if why.code == "42P01"), "{error:?}");
    drop(transaction);
    // A function runs as who made it, and nobody of another tenant can call it.
    run(&theirs, "create function leak() returns text language sql security definer return (select t from secret)")
        .await;
    assert_eq!(refused(&ours, "select samara_theirs.leak()").await, DENIED);
}

#[tokio::test]
async fn what_may_only_read_cannot_talk_its_way_out() {
    let server = Server::postgres();
    let sql = tenant(&server, "acme").await;
    run(&sql, "create table t (n integer)").await;
    run(
        &sql,
        "create function add() returns integer language sql begin atomic insert into t values (1) returning n; end",
    )
    .await;
    let read = Terms { access: Access::Read, ..wide() };
    let insert = "insert into t values (1)";
    for first in [
        "set transaction read write",
        "select set_config('transaction_read_only', 'off', false)",
        "set session characteristics as transaction read write",
        "set default_transaction_read_only = off",
        "commit and chain read write",
        "select add()",
        "do $$ begin commit; insert into t values (1); end $$",
    ] {
        let mut transaction = sql.begin(&read, wide().time).await.unwrap();
        let _ = transaction.execute(Statement::new(first, []), &read).await;
        let second = transaction.execute(Statement::new(insert, []), &read).await;
        assert!(second.is_err(), "{first}: {second:?}");
        let _ = transaction.commit().await;
        let _ = sql.execute(Statement::new(first, []), &read).await;
        assert_eq!(sql.execute(Statement::new(insert, []), &read).await, Err(SqlError::ReadOnly), "{first}");
    }
    assert_eq!(one(&sql, "select count(*) from t").await, 0.into());
}

#[derive(Debug, Default)]
struct Used(Mutex<Vec<&'static str>>);

impl Recorder for Used {
    fn used(&self, _: Capability, _: &str, operation: &'static str) {
        self.0.lock().push(operation);
    }
    fn denied(&self, denial: &Denial) {
        panic!("{denial:?}");
    }
}

#[tokio::test]
async fn what_the_server_takes_for_writing_is_told_as_both() {
    let server = Server::postgres();
    let settings = PATIENT.parse().unwrap();
    let store = Store::open("orders", &Tenant::new("acme").unwrap(), &server.url_in_full(), &settings).await.unwrap();
    let sql = tenant(&server, "acme").await;
    run(&sql, "create table t (n integer)").await;
    run(&sql, "create sequence s").await;
    let read = Terms { access: Access::Read, ..wide() };
    for text in [
        "select count(*) from t",
        "(select 1) union values (2)",
        "with a as (select n from t) select count(*) from a",
        "explain select 1",
        "show search_path",
        "insert into t values (1)",
        "insert into t values (1) returning n",
        "with added as (insert into t values (1) returning n) select n from added",
        "select nextval('s')",
        "select n from t for update",
        "select n into u from t",
        "explain analyze delete from t",
        "truncate t",
        "drop table u",
    ] {
        let writes = match sql.execute(Statement::new(text, []), &read).await {
            Err(SqlError::ReadOnly) => true,
            done => done.map(|_| false).unwrap_or_else(|error| panic!("{text}: {error}")),
        };
        let used = Arc::new(Used::default());
        let granted = store.grant(SqlGrant::default(), &Limits::serve(), used.clone());
        granted.query(Statement::new(text, []), &wide()).await.unwrap().collect().await.unwrap();
        let expected: &[_] = if writes { &["query", "execute"] } else { &["query"] };
        assert_eq!(*used.0.lock(), expected, "{text}");
    }
}

#[tokio::test]
async fn a_guest_leaves_nothing_on_a_connection() {
    let server = Server::postgres();
    let sql = try_open(&server.url_in_full(), &format!("connections = 1\n{PATIENT}"), "acme").await.unwrap();
    let path = "select current_setting('search_path')";
    assert_eq!(one(&sql, path).await, "\"samara_acme\"".into());
    for text in [
        "set search_path = pg_catalog",
        "select set_config('search_path', 'pg_catalog', false)",
        "create temporary table pg_scratch (n integer)",
        "select pg_advisory_lock(7)",
        "listen somewhere",
        "prepare mine as select 1",
        "declare mine cursor with hold for select 1",
        "set statement_timeout = 1",
    ] {
        run(&sql, text).await;
        assert_eq!(one(&sql, path).await, "\"samara_acme\"".into(), "{text}");
        assert_eq!(one(&sql, "select count(*) from pg_class where relname = 'pg_scratch'").await, 0.into(), "{text}");
        assert_eq!(one(&sql, "select count(*) from pg_locks where locktype = 'advisory'").await, 0.into(), "{text}");
        assert_eq!(one(&sql, "select count(*) from pg_listening_channels()").await, 0.into(), "{text}");
        let prepared = "select count(*) from pg_prepared_statements where from_sql";
        assert_eq!(one(&sql, prepared).await, 0.into(), "{text}");
        assert_eq!(one(&sql, "select count(*) from pg_cursors where name = 'mine'").await, 0.into(), "{text}");
        assert_eq!(one(&sql, "select current_setting('statement_timeout')").await, "1h".into(), "{text}");
    }
}

#[tokio::test]
async fn what_was_prepared_is_prepared_again_when_a_table_changes() {
    let server = Server::postgres();
    let sql = try_open(&server.url_in_full(), &format!("connections = 1\n{PATIENT}"), "acme").await.unwrap();
    run(&sql, "create table t (n integer)").await;
    run(&sql, "insert into t values (1)").await;
    for _ in 0..3 {
        assert_eq!(rows(&sql, "select * from t").await, Ok(vec![vec![1.into()]]));
    }
    run(&sql, "alter table t add column s text default 'new'").await;
    assert_eq!(rows(&sql, "select * from t").await, Ok(vec![vec![1.into(), "new".into()]]));
    run(&sql, "deallocate all").await;
    assert_eq!(rows(&sql, "select * from t").await, Ok(vec![vec![1.into(), "new".into()]]));
    // More statements than one connection keeps.
    for n in 0..100 {
        assert_eq!(one(&sql, &format!("select {n}")).await, n.into());
    }
    let kept = one(&sql, "select count(*) from pg_prepared_statements").await;
    assert!(matches!(kept, Value::Integer(kept) if kept <= 33), "{kept:?}");
}

#[tokio::test]
async fn every_kind_of_value_goes_in_and_comes_out() {
    let server = Server::postgres();
    let sql = tenant(&server, "acme").await;
    let date = NaiveDate::from_ymd_opt(2024, 2, 29).unwrap();
    let time = NaiveTime::from_hms_micro_opt(1, 2, 3, 456_789).unwrap();
    let at = date.and_time(time);
    let list = |items: &[&str]| Value::Array(items.iter().map(|item| Value::from(*item)).collect());
    let between = |lower: i64, upper: i64| Range::Between {
        lower: std::ops::Bound::Included(lower.into()),
        upper: std::ops::Bound::Excluded(upper.into()),
    };
    let cases = [
        ("boolean", Kind::Bool, Value::Bool(true)),
        ("smallint", Kind::Int16, Value::Integer(-32768)),
        ("integer", Kind::Int32, Value::Integer(i32::MAX.into())),
        ("bigint", Kind::Int64, Value::Integer(i64::MIN)),
        ("oid", Kind::Int64, Value::Integer(u32::MAX.into())),
        ("real", Kind::Float32, Value::Float(0.5)),
        ("double precision", Kind::Float64, Value::Float(f64::NEG_INFINITY)),
        ("numeric", Kind::Decimal, Value::Decimal("-12345678901234567890.000012300".into())),
        ("numeric", Kind::Decimal, Value::Decimal("NaN".into())),
        ("text", Kind::Text, "\u{1f341}\\'\"{},".into()),
        ("varchar(3)", Kind::Text, "abc".into()),
        ("mood", Kind::Text, "happy".into()),
        ("short", Kind::Text, "dom".into()),
        ("bytea", Kind::Bytes, Value::Bytes(Bytes::from_static(b"\\x00\0\xff"))),
        ("date", Kind::Date, Value::Date(date)),
        ("date", Kind::Date, Value::Date(NaiveDate::from_ymd_opt(-43, 3, 15).unwrap())),
        ("time", Kind::Time, Value::Time(time)),
        ("timestamp", Kind::Timestamp, Value::Timestamp(at)),
        ("timestamptz", Kind::Instant, Value::Instant(at.and_utc())),
        ("uuid", Kind::Uuid, Value::Uuid(uuid::Uuid::from_u128(7))),
        ("json", Kind::Json, Value::Json("{\"b\" : 1,  \"a\":2}".into())),
        ("jsonb", Kind::Json, Value::Json("{\"a\": [1, null]}".into())),
        ("interval", Kind::Interval, Value::Interval(Interval { months: 14, days: -3, microseconds: 5 })),
        ("int4range", Kind::Range(Box::new(Kind::Int32)), Value::Range(Box::new(between(1, 9)))),
        ("int8range", Kind::Range(Box::new(Kind::Int64)), Value::Range(Box::new(Range::Empty))),
        ("text[]", Kind::Array(Box::new(Kind::Text)), list(&["a,b", "\"}\\", "", "NULL"])),
        ("integer[]", Kind::Array(Box::new(Kind::Int32)), Value::Array(vec![1.into(), Value::Null])),
        ("integer[]", Kind::Array(Box::new(Kind::Int32)), Value::Array(Vec::new())),
        ("mood[]", Kind::Array(Box::new(Kind::Text)), list(&["happy"])),
        (
            "integer[]",
            Kind::Array(Box::new(Kind::Int32)),
            Value::Array(vec![Value::Array(vec![1.into(), 2.into()]), Value::Array(vec![3.into(), 4.into()])]),
        ),
    ];
    run(&sql, "create type mood as enum ('happy', 'sad')").await;
    run(&sql, "create domain short as text check (length(value) < 9)").await;
    for (kind, expected, value) in cases {
        let asked = Statement::new(format!("select $1::{kind} as v, null::{kind}"), [value.clone()]);
        let answer = sql.query(asked, &wide()).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(answer.columns()[0].kind, expected, "{kind}");
        assert_eq!(answer.collect().await.unwrap().0, [[value, Value::Null]], "{kind}");
    }
    // Text is read as whatever is wanted, and a type without a name here comes as its bytes.
    let asked = Statement::new("select $1::uuid = $2, $3::inet", ["x".into(), Value::Null, "10.0.0.1".into()]);
    let error = sql.execute(asked, &wide()).await.unwrap_err();
    assert!(matches!(&error, SqlError::Statement(why) if why.code == "22P02"), "{error:?}");
    let other = rows(&sql, "select '10.0.0.1'::inet as a").await.unwrap().remove(0).remove(0);
    assert_eq!(other, Value::Other(Bytes::from_static(&[2, 32, 0, 4, 10, 0, 0, 1])));
    let error = rows(&sql, "select 'infinity'::date as d").await.unwrap_err();
    assert!(matches!(&error, SqlError::Conversion(why) if why.contains("`d`")), "{error:?}");
}

#[tokio::test]
async fn a_row_that_is_too_large_is_not_taken_in() {
    let server = Server::postgres();
    let sql = try_open(&server.url_in_full(), &format!("connections = 1\n{PATIENT}"), "acme").await.unwrap();
    for _ in 0..3 {
        let error = rows(&sql, "select repeat('x', 200000000) as t").await.unwrap_err();
        assert_eq!(error, SqlError::TooLarge { what: "row", limit: 64 << 20 });
        assert_eq!(one(&sql, "select 1").await, 1.into());
    }
    // Copying in and out is another protocol; whoever tries is refused and harms nobody.
    run(&sql, "create table t (n integer)").await;
    for text in ["copy t to stdout", "copy t from stdin"] {
        sql.execute(Statement::new(text, []), &wide()).await.unwrap_err();
        assert_eq!(one(&sql, "select 1").await, 1.into(), "{text}");
    }
}

#[tokio::test]
async fn a_statement_that_nobody_wants_ends_on_the_server() {
    let server = Server::postgres();
    let (sql, watcher) = (tenant(&server, "acme").await, superuser(&server).await);
    let terms = wide();
    let sleeping = sql.query(Statement::new("select pg_sleep(3600)", []), &terms);
    tokio::time::timeout(Duration::from_millis(300), sleeping).await.unwrap_err();
    let short = Terms { time: Duration::from_millis(300), ..wide() };
    let error = sql.execute(Statement::new("select pg_sleep(3600)", []), &short).await.unwrap_err();
    assert!(matches!(error, SqlError::TimedOut(_)), "{error:?}");
    // Dropped at any moment, also before the server has heard of it.
    for micros in (0..3000).step_by(100) {
        let started = sql.query(Statement::new("select pg_sleep(3600)", []), &terms);
        let _ = tokio::time::timeout(Duration::from_micros(micros), started).await;
    }
    let until = Instant::now() + SOON;
    let running = "select count(*) from pg_stat_activity where query like '%pg_sleep(3600)%' and state = 'active' \
        and pid <> pg_backend_pid()";
    while one(&watcher, running).await != 0.into() {
        assert!(Instant::now() < until, "it still runs");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn no_answer_names_a_password() {
    let server = Server::postgres();
    let place = server.address();
    for (user, password) in [(USER, "wrong-word"), ("nobody", PASSWORD)] {
        for settings in ["", "separate = false"] {
            let error = try_open(&server.url_as(user, password), settings, "acme").await.unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(told.contains(&format!("`postgres://{place}/samara` refuses the account")), "{told}");
            assert!(!told.contains(password) && !told.contains("nobody"), "{told}");
        }
    }
    let open = tenant(&server, "acme").await;
    assert!(!format!("{open:?}").contains(PASSWORD), "{open:?}");
    let log = fs::read_to_string(server.folder().join("log")).unwrap();
    assert!(!log.contains(PASSWORD));
    for url in [
        "postgres://a:sesame@",
        "postgres:sesame",
        "postgres://u:sesame@h:port/db",
        "postgres:///sesame?password=sesame",
    ] {
        let error = try_open(url, "", "acme").await.unwrap_err();
        assert!(matches!(error, SqlError::Configuration(_)), "{url}: {error:?}");
        assert!(!error.to_string().contains("u:sesame") && !error.to_string().contains("password=sesame"), "{error}");
    }
}

#[tokio::test]
async fn an_account_that_may_not_make_others_is_told_what_it_lacks() {
    let server = Server::postgres();
    let admin = superuser(&server).await;
    run(&admin, "create role plain login password 'plain'").await;
    let url = server.url_as("plain", "plain");
    let error = try_open(&url, "", "acme").await.unwrap_err().to_string();
    assert!(error.contains("CREATEROLE") && error.contains("`separate = false`"), "{error}");
    assert_eq!(
        one(&try_open(&url, "separate = false", "acme").await.unwrap(), "select current_user::text").await,
        "plain".into()
    );
    // With these two rights it is enough, and the account itself gains nothing by it.
    run(&admin, "alter role plain createrole").await;
    run(&admin, "grant create on database samara to plain").await;
    let sql = try_open(&url, "", "acme").await.unwrap();
    run(&sql, "create table t (n integer)").await;
    assert_eq!(one(&sql, "select session_user::text").await, "samara_acme".into());
}

#[tokio::test]
async fn a_password_that_a_guest_changed_is_set_again() {
    let server = Server::postgres();
    let sql = try_open(&server.url_in_full(), &format!("connections = 1\n{PATIENT}"), "acme").await.unwrap();
    run(&sql, "create table t (n integer)").await;
    run(&sql, "alter role current_user password 'mine'").await;
    sql.execute(Statement::new("select pg_terminate_backend(pg_backend_pid())", []), &wide()).await.unwrap_err();
    assert_eq!(one(&sql, "select count(*) from t").await, 0.into(), "by whoever serves on");
    run(&sql, "alter role current_user password 'mine'").await;
    let again = tenant(&server, "acme").await;
    assert_eq!(one(&again, "select count(*) from t").await, 0.into(), "and by whoever comes");
    let theirs = try_open(&server.url_as("samara_acme", "mine"), "separate = false", "acme").await.unwrap_err();
    assert!(theirs.to_string().contains("refuses the account"), "{theirs}");
}

#[tokio::test]
async fn a_server_that_is_away_is_told_soon_and_used_again_when_it_is_back() {
    let server = Server::postgres();
    let sql = try_open(&server.url_in_full(), SHORT, "acme").await.unwrap();
    run(&sql, "create table t (n integer)").await;
    let terms = Terms { time: Duration::from_secs(10), ..wide() };
    let quick = async |text: &str| {
        let since = Instant::now();
        let done = sql.execute(Statement::new(text, []), &terms).await;
        assert!(since.elapsed() < SOON, "{text}: {:?}", since.elapsed());
        done
    };

    let mut transaction = sql.begin(&wide(), wide().time).await.unwrap();
    server.kill();
    let error = transaction.execute(Statement::new("insert into t values (1)", []), &terms).await.unwrap_err();
    assert!(matches!(error, SqlError::Backend(_)), "{error:?}");
    assert!(transaction.commit().await.is_err());
    for _ in 0..3 {
        let error = quick("insert into t values (1)").await.unwrap_err();
        assert!(matches!(&error, SqlError::Backend(why) if why.contains("postgres://127.0.0.1")), "{error:?}");
    }
    let since = Instant::now();
    let error = try_open(&server.url_in_full(), SHORT, "acme").await.unwrap_err();
    assert!(matches!(&error, SqlError::Backend(why) if why.contains("cannot be reached")), "{error:?}");
    assert!(since.elapsed() < SOON / 2);
    server.start();
    assert_eq!(quick("insert into t values (1)").await.unwrap().affected, 1);

    server.freeze();
    // New connections wait for the frozen server's own process; the open ones go on.
    let since = Instant::now();
    let error = try_open(&server.url_in_full(), SHORT, "acme").await.unwrap_err();
    assert!(matches!(error, SqlError::TimedOut(_)), "{error:?}");
    assert!(since.elapsed() < SOON / 2);
    server.thaw();
    assert_eq!(quick("insert into t values (2)").await.unwrap().affected, 1);
    assert_eq!(one(&sql, "select count(*) from t").await, 2.into());
}

#[tokio::test]
async fn tls_is_used_when_it_is_asked_for_and_trusts_whom_it_is_told_to() {
    let server = Server::postgres();
    let admin = superuser(&server).await;
    let data = server.folder().join("data");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let owner = fs::metadata(&data).unwrap();
    for (name, text) in [("server.crt", made.cert.pem()), ("server.key", made.signing_key.serialize_pem())] {
        let path = data.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    run(&admin, "alter system set ssl = on").await;
    server.stop();
    server.start();
    let authority = server.folder().join("ca.pem");
    fs::write(&authority, made.cert.pem()).unwrap();
    let url = format!("{}?sslmode=require", server.url_in_full());
    let trusting = format!("connections = 1\n{PATIENT}\nca = {:?}", authority.display().to_string());
    let sql = try_open(&url, &trusting, "acme").await.unwrap();
    let encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(one(&sql, encrypted).await, Value::Bool(true));
    assert_eq!(one(&tenant(&server, "acme").await, encrypted).await, Value::Bool(false));
    let error = rows(&sql, "select repeat('x', 200000000) as t").await.unwrap_err();
    assert_eq!(error, SqlError::TooLarge { what: "row", limit: 64 << 20 }, "messages are bounded inside of it too");
    let short = Terms { time: Duration::from_millis(200), ..wide() };
    let error = sql.execute(Statement::new("select pg_sleep(3600)", []), &short).await.unwrap_err();
    assert!(matches!(error, SqlError::TimedOut(_)), "{error:?}");
    assert_eq!(one(&sql, "select 1").await, 1.into());
    let error = try_open(&url, "", "acme").await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "a stranger's certificate is refused: {error}");
    let error = try_open(&url, "ca = \"/dev/null\"", "acme").await.unwrap_err();
    assert!(matches!(&error, SqlError::Configuration(why) if why.contains("no certificates")), "{error}");
}
