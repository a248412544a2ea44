//! Guests of each SDK that asks PostgreSQL, on a server of its own: what they wrote one another reads, transactions are the
//! server's, and its errors are told in the words of each interface.

use crate::serving::{Serving, serve_app};

/// The harness of the capability's own tests.
#[path = "../../crates/capability/tests/it/servers.rs"]
#[allow(dead_code, reason = "weather that only the capabilities are tested in")]
mod servers;

use servers::{PASSWORD, Server};

fn app(server: &Server) -> Serving {
    serve_app(&format!(
        r#"
        app.name = "shop"
        [store.orders]
        provider = "{}"
        [workload.spin3]
        source = "{{spin3-kit}}"
        grants.sql = ["orders"]
        [workload.spin7]
        source = "{{spin7-kit}}"
        grants.sql = ["orders"]
        [workload.cloud]
        source = "{{pg-kit}}"
        grants.sql = ["orders"]
        [[trigger]]
        http = {{ host = "spin3.test", path = "/*rest" }}
        fn = "spin3"
        [[trigger]]
        http = {{ host = "spin7.test", path = "/*rest" }}
        fn = "spin7"
        [[trigger]]
        http = {{ host = "cloud.test", path = "/:op" }}
        fn = "cloud"
        "#,
        server.url_in_full()
    ))
}

/// What a guest says to a request, whose path begins with its host.
fn ask(serving: &Serving, path: &str, body: &str) -> String {
    let (host, path) = path.split_once('/').unwrap();
    let answer = serving.request(&format!("POST /{path}"), &[&format!("host: {host}.test")], body);
    format!("{} {}", answer.status, answer.body.trim_end())
}

#[test]
fn every_sdk_asks_one_database_of_postgres() {
    let server = Server::postgres();
    let serving = app(&server);
    let made = ask(&serving, "cloud/run", r#"[["create table t (n int4 primary key, word text, at timestamptz)"]]"#);
    assert_eq!(made, "200 []");

    // Each writes a row in a transaction, undoes another, and reads what there is.
    for (row, path) in ["spin3/pg2?orders", "spin3/pg?orders", "spin7/pg?orders"].into_iter().enumerate() {
        let lines = format!(
            "begin\ninsert into t values ({row}, 'apple', '2024-02-29 12:00:00+00')\ncommit\nbegin\ndelete from t\nrollback\n\
             select count(*) as n from t\ninsert into t values ({row})"
        );
        let answer = ask(&serving, path, &lines);
        assert!(answer.starts_with("200 ") && answer.contains(&format!("Int64({})", row + 1)), "{path}: {answer}");
        assert!(answer.contains("duplicate key") || answer.contains("23505"), "{path}: {answer}");
        let left = ask(&serving, path, "begin\ndelete from t");
        assert!(left.starts_with("200 "), "{path}: {left}");
        let typed =
            ask(&serving, path, "select n, word, null::int2 as none, 1.5::float4 as f from t order by n limit 1");
        assert!(typed.contains("Int32(0)") && typed.contains("Str(\"apple\")"), "{path}: {typed}");
        assert!(typed.contains("DbNull") && typed.contains("Floating32(1.5)"), "{path}: {typed}");
    }

    // What the others wrote, wasmCloud's component reads.
    let read = ask(&serving, "cloud/run", r#"[["select n, word, at from t order by n"]]"#);
    assert_eq!(read.matches("Text(\\\"apple\\\")").count(), 3, "{read}");
    assert!(read.contains("Ymd((2024, 2, 29))"), "{read}");
    for (kind, value, said) in [
        ("int2", "-7", "Int2(-7)"),
        ("int4", "-7", "Int4(-7)"),
        ("int8", "9007199254740993", "Int8(9007199254740993)"),
        ("bool", "true", "Bool(true)"),
        ("float8", "", "Float8((6755399441055744, -52, 1))"),
        ("numeric", "12.50", "Numeric(\\\"12.50\\\")"),
        ("varchar", "apple", "Varchar((None, [97, 112, 112, 108, 101]))"),
        ("bytea", "apple", "Bytea([97, 112, 112, 108, 101])"),
        ("uuid", "00000000-0000-0000-0000-000000000001", "Uuid(\\\"00000000-0000-0000-0000-000000000001\\\")"),
        ("date", "", "Ymd((2024, 2, 29))"),
        ("timestamp", "", "Time { hour: 12, min: 0, sec: 0, micro: 7 }"),
        ("timestamp-tz", "", "Time { hour: 11, min: 0, sec: 0, micro: 7 }"),
        ("int4-array", "1,2", "Int4Array([1, 2])"),
        ("text-array", "a,b", "TextArray([\\\"a\\\", \\\"b\\\"])"),
        ("null", "", "Null"),
    ] {
        let cast = match kind {
            "timestamp-tz" => "timestamptz",
            "int4-array" => "int4[]",
            "text-array" => "text[]",
            "null" => "int4",
            other => other,
        };
        let asked = ask(&serving, "cloud/ask", &format!(r#"["select $1::{cast} as v", "{kind}", "{value}"]"#));
        assert!(asked.contains(said), "{kind}: {asked}");
    }
    let refused = ask(&serving, "cloud/ask", r#"["select $1::text", "point", ""]"#);
    assert!(refused.contains("InvalidParams") && refused.contains("`point` has no form here"), "{refused}");
    let wrong = ask(&serving, "cloud/run", r#"[["select * from nowhere"]]"#);
    assert!(wrong.contains("InvalidQuery") && wrong.contains("nowhere"), "{wrong}");
    let formless = ask(&serving, "cloud/run", r#"[["select '(1,2)'::point as p"]]"#);
    assert!(formless.contains("column `p` has no form here"), "{formless}");

    // Prepared once, run often; a batch is one statement.
    let repeated = ask(&serving, "cloud/repeat", r#"["insert into t (n) values ($1)", [10, 11, 10]]"#);
    assert!(repeated.contains("Ok(1)\",\"Ok(1)") && repeated.contains("duplicate key"), "{repeated}");
    assert!(ask(&serving, "cloud/guess", r#"["statement-0"]"#).contains("UnknownPreparedQuery"));
    assert_eq!(ask(&serving, "cloud/batch", r#"["delete from t"]"#), "200 \"Ok(())\"");
    let batch = ask(&serving, "cloud/batch", r#"["select 1; select 2"]"#);
    assert!(batch.contains("InvalidQuery"), "{batch}");
    assert!(!serving.log().contains(PASSWORD));
}

#[test]
fn a_database_that_goes_away_is_each_interfaces_own_error() {
    let server = Server::postgres();
    let serving = app(&server);
    assert!(ask(&serving, "spin3/pg?orders", "select 1 as n").contains("Int32(1)"));
    server.stop();
    for (path, body) in [
        ("spin3/pg2?orders", "select 1 as n"),
        ("spin3/pg?orders", "select 1 as n"),
        ("spin7/pg?orders", "select 1 as n"),
        ("cloud/run", r#"[["select 1 as n"]]"#),
    ] {
        let answer = ask(&serving, path, body);
        assert!(answer.starts_with("200 ") && !answer.contains(PASSWORD), "{path}: {answer}");
        assert!(answer.contains("ConnectionFailed") || answer.contains("Unexpected"), "{path}: {answer}");
    }
    server.start();
    for path in ["spin3/pg2?orders", "spin3/pg?orders", "spin7/pg?orders"] {
        let back = || ask(&serving, path, "select 1 as n").contains("Int32(1)");
        assert!(crate::serving::eventually(back), "{path}");
    }
}
