//! Functions and commands behind HTTP.

use super::*;
use samara_model::{Command, Function, Sink, Stdio};

/// A function that answers what it was called with, as a JSON string.
fn function() -> Destination {
    fake(Shape::Function, |call| async move {
        let Call::Function(Function { operation, payload, encoding }) = call else { panic!("{call:?}") };
        if operation == "nothing" {
            return Ok(Reply::Bytes(Bytes::new()));
        }
        let payload = String::from_utf8_lossy(&payload).into_owned();
        Ok(Reply::Bytes(format!("{operation}|{payload}|{encoding:?}").into()))
    })
}

async fn post(server: &Server, path: &str, kind: &str, body: &str) -> String {
    let (kind, length) =
        (if kind.is_empty() { String::new() } else { format!("content-type: {kind}\r\n") }, body.len());
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{kind}content-length: {length}\r\n\r\n");
    server.ask(&format!("{head}{body}")).await
}

#[tokio::test]
async fn functions_are_named_by_the_path_and_take_json_queries_and_forms() {
    let mut named = function();
    named.operation = Some("fixed".into());
    let server = Server::new(&[("/*rest", &function()), ("/fixed/:a", &named), ("/v/:a/plus", &function())]);
    check(&post(&server, "/add", "application/json", "[1,2]").await, 200, &["add|[1,2]|Json", "application/json"]);
    check(&post(&server, "/a/b%2Fc", "", "{\"a\":1}").await, 200, &["a/b/c|{\"a\":1}|Json"]);
    check(
        &post(&server, "/add", "application/x-www-form-urlencoded", "a=1&b=x+y").await,
        200,
        &[r#"add|[["a","1"],["b","x y"]]|Text"#],
    );
    check(&post(&server, "/add", "application/octet-stream", "raw").await, 200, &["add|raw|Bytes", "octet-stream"]);
    check(&server.get("/add?a=1&2").await, 200, &[r#"add|[["a","1"],["","2"]]|Text"#]);
    check(&server.get("/fixed/7?b=8").await, 200, &[r#"fixed|[["a","7"],["b","8"]]|Text"#]);
    check(&server.get("/v/7/plus").await, 200, &[r#"plus|[["a","7"]]|Text"#]);
    check(&server.get("/nothing").await, 204, &[]);
}

#[tokio::test]
async fn functions_refuse_what_they_cannot_take() {
    let server = Server::new(&[("/*rest", &function())]);
    check(&post(&server, "/add", "application/json", &"1".repeat(65)).await, 413, &["64B"]);
    check(&server.get("/add?a=%ff").await, 400, &["percent-encoded"]);
    let delete = "DELETE /add HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    check(&server.ask(delete).await, 405, &[]);
    let chunked = format!("1\r\n[\r\n40\r\n{}\r\n0\r\n\r\n", "1".repeat(64));
    let head = "POST /add HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    check(&server.ask(&format!("{head}{chunked}")).await, 413, &[]);
}

/// A command that writes `output`, chunk by chunk, and ends as `end` says.
fn script(output: &'static [&'static str], end: fn() -> Result<Reply, Fault>) -> Destination {
    fake(Shape::Command, move |call| async move {
        let Call::Command(Command { args, env, stdio }) = call else { panic!("{call:?}") };
        let Stdio::Piped { stdin, mut stdout } = stdio else { panic!("no pipes") };
        let stdin = stdin.collect().await.map_err(|error| Fault::bad_request(error.to_string()))?.to_bytes();
        for chunk in output {
            let chunk = match *chunk {
                "{stdin}" => stdin.clone(),
                "{args}" => Bytes::from(args.join(" ")),
                "{env}" => Bytes::from(format!("{env:?}")),
                text => Bytes::from_static(text.as_bytes()),
            };
            write(&mut stdout, chunk).await?;
        }
        end()
    })
}

async fn write(stdout: &mut Box<dyn Sink>, chunk: Bytes) -> Result<(), Fault> {
    let closed = |_| Fault::Guest("its output is closed".into());
    std::future::poll_fn(|context| stdout.poll_ready(context)).await.map_err(closed)?;
    stdout.send(chunk).map_err(closed)
}

const WELL: fn() -> Result<Reply, Fault> = || Ok(Reply::Exit(0));

#[tokio::test]
async fn a_script_answers_with_a_head_and_a_body() {
    let mut listed = script(&["Content-Type: text/plain\n\n", "{args}"], WELL);
    listed.args = Arc::new(["--first".to_owned()]);
    let server = Server::new(&[
        ("/echo", &script(&["Content-Ty", "pe: text/plain\nSta", "tus: 201 Made\r\n\r", "\nbody:", "{stdin}"], WELL)),
        ("/env/*rest", &script(&["Content-Type: text/plain\n\n", "{env}"], WELL)),
        ("/args", &listed),
    ]);
    check(
        &post(&server, "/echo", "text/plain", "hello").await,
        201,
        &["content-type: text/plain\r\n", "body:", "hello"],
    );
    check(
        &server.get("/env/a%20b?q").await,
        200,
        &[
            r#"("PATH_INFO", "/a b")"#,
            r#"("SCRIPT_NAME", "/env")"#,
            r#"("QUERY_STRING", "q")"#,
            r#"("REMOTE_ADDR", "127.0.0.1")"#,
        ],
    );
    check(&server.get("/args?a=1&b=2").await, 200, &["/args --first a=1 b=2"]);
}

#[tokio::test]
async fn a_script_that_writes_more_than_waits_is_held_back_and_finishes() {
    const HEAD: &str = "Content-Type: text/plain\n\n";
    let many: &'static [&'static str] = &[HEAD, "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];
    let response = Server::new(&[("/", &script(many, WELL))]).get("/").await;
    check(&response, 200, &["1\r\n9\r\n", "2\r\n12\r\n", "0\r\n\r\n"]);
}

#[tokio::test]
async fn a_script_redirects_the_client_or_the_server() {
    let server = Server::new(&[
        ("/out", &script(&["Location: http://elsewhere.test/\n\n"], WELL)),
        ("/in", &script(&["Location: /echo?a=1\n\n"], WELL)),
        ("/loop", &script(&["Location: /loop\n\n"], WELL)),
        ("/echo", &echo()),
    ]);
    check(&server.get("/out").await, 302, &["location: http://elsewhere.test/\r\n"]);
    check(&post(&server, "/in", "text/plain", "abc").await, 200, &["GET http://x/echo?a=1", "b\"\""]);
    check(&server.get("/loop").await, 502, &[]);
}

#[tokio::test]
async fn a_script_that_does_not_speak_cgi_is_the_guests_fault() {
    static LONG_HEAD: &[&str] = &["Content-Type: text/plain\n", "X: ", LINE, LINE, LINE, LINE, LINE];
    const LINE: &str = line();
    for output in [&["not a head\n\n"][..], &[], &["Content-Type: text/plain\n"], &["X-A: b\n\n"], LONG_HEAD] {
        check(&Server::new(&[("/", &script(output, WELL))]).get("/").await, 502, &["the application failed"]);
    }
    check(&Server::new(&[("/", &script(&[], || Ok(Reply::Exit(3))))]).get("/").await, 502, &[]);
    let denied = || Err(Fault::Denied { what: "fs".into(), grant: "fs = [..]".into() });
    check(&Server::new(&[("/", &script(&[], denied))]).get("/").await, 403, &[]);
}

/// 16 KiB of `x`.
const fn line() -> &'static str {
    const BYTES: [u8; 16 << 10] = [b'x'; 16 << 10];
    match str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => panic!("x is ASCII"),
    }
}

#[tokio::test]
async fn a_script_that_dies_after_its_head_breaks_the_stream() {
    const OUTPUT: &[&str] = &["Content-Type: text/plain\n\nand then"];
    let dies = Server::new(&[("/", &script(OUTPUT, || Err(Fault::Guest("trap".into()))))]).get("/").await;
    check(&dies, 200, &["and then"]);
    assert!(!dies.contains("0\r\n\r\n"), "{dies}");
    // An exit code after the response is for the log.
    let exits = Server::new(&[("/", &script(OUTPUT, || Ok(Reply::Exit(3))))]).get("/").await;
    check(&exits, 200, &["and then", "0\r\n\r\n"]);
}
