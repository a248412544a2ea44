//! `samara serve`: every kind of guest behind a route, many apps in one process, and how it starts and stops.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use crate::{
    process::ROOT,
    samara,
    serving::{Apps, Serving, eventually, receive, send, serve, serve_app},
};

#[test]
fn a_module_is_served_at_once() {
    let check = |guest: &str, line: &str, body: &str, status: u16, contains: &str| {
        serve(&format!("{{{guest}}}")).answers(line, body, status, contains);
    };
    check("http-hello", "GET /", "", 200, "Hello, WASI!");
    check("http-hello", "GET /any/path", "", 200, "Hello, WASI!");
    check("wstd-hello", "GET /", "", 200, "Hello");
    check("http-p3", "GET /", "", 200, "Hello, WASI 0.3!");
    check("spin7-hello", "GET /", "", 200, "Hello");
    check("cgi-hello", "GET /somewhere", "", 200, "Hello, CGI! GET /somewhere");
    check("add", "GET /add?a=1&b=2", "", 200, "3");
    check("shapes", "POST /greet", r#"["you"]"#, 200, r#""Hello, you!""#);
}

#[test]
fn what_serves_is_announced_line_by_line() {
    let serving = serve_app(
        r#"
        app.name = "shop"
        app.tenant = "acme"
        [workload.hello]
        source = "{http-hello}"
        [[trigger]]
        http = { host = "shop.test", methods = ["GET", "POST"], path = "/hello/:name" }
        fn = "hello"
        "#,
    );
    let port = serving.http.port();
    let words: Vec<_> = serving.announced[0].split_whitespace().collect();
    let url = format!("http://shop.test:{port}/hello/:name");
    assert_eq!(words, ["GET,POST", &url, "acme/shop/hello", "(http)"]);
    assert_eq!(serving.announced.len(), 3, "{:?}", serving.announced);
}

#[test]
fn the_example_of_the_readme_works() {
    let serving = serve(&format!("{ROOT}/examples/hello"));
    serving.answers("GET /", "", 200, "<html");
    serving.answers("GET /hello", "", 200, "Hello, WASI!");
    serving.answers("GET /add?a=1&b=2", "", 200, "3");
    serving.answers("POST /greet", r#"["world"]"#, 200, r#""Hello, world!""#);
    serving.answers("GET /slow?1", "", 200, "line 5");
    serving.answers("POST /echo", "to and fro", 200, "to and fro");
    serving.answers("GET /cgi/env", "", 200, "GREETING=hello from the manifest");
    serving.answers("GET /fetch?url=http://example.com/", "", 502, "");
    serving.answers("GET /spin", "", 504, "the application ran over its cpu limit");
    serving.answers("GET /grow", "", 507, "the application ran over its memory limit");
    serving.answers("GET /recurse", "", 502, "the application failed");
    serving.answers("GET /trap", "", 502, "the application failed");
}

#[test]
fn the_most_specific_route_wins() {
    let serving = serve_app(
        r#"
        app.name = "routes"
        workload.cgi.source = "{cgi-hello}"
        workload.named.source = "{http-hello}"
        workload.host.source = "{cgi-hello}"
        workload.host.grants.env.WHO = "host"
        workload.rest.source = "{cgi-hello}"
        [[trigger]]
        http = { methods = ["GET"], path = "/a/*rest" }
        fn = "rest"
        [[trigger]]
        http = { path = "/a/:name" }
        fn = "named"
        [[trigger]]
        http = { path = "/a/fixed" }
        fn = "cgi"
        [[trigger]]
        http = { host = "shop.test", path = "/a/*rest" }
        fn = "host"
        "#,
    );
    let who = |line: &str, host: &str| {
        let environment = serving.request(line, &[&format!("host: {host}")], "").body;
        environment.lines().find_map(|line| line.strip_prefix("WHO=").map(str::to_owned))
    };
    assert_eq!(who("GET /a/env", "shop.test").as_deref(), Some("host"));
    serving.answers("GET /a/anything", "", 200, "Hello, WASI!");
    serving.answers("GET /a/fixed", "", 200, "Hello, CGI! GET");
    serving.answers("GET /a/b/c", "", 200, "Hello, CGI! GET /b/c");
    serving.answers("POST /a/b/c", "", 405, "`POST` is not allowed here; use GET, HEAD");
    serving.answers("GET /elsewhere", "", 404, "nothing is served here");
}

#[test]
fn plain_functions_take_json_queries_and_forms() {
    let serving = serve_app(
        r#"
        app.name = "math"
        workload.add.source = "{add}"
        workload.shapes.source = "{shapes}"
        [[trigger]]
        http = { path = "/sum/:a/:b" }
        fn = "add"
        operation = "add"
        [[trigger]]
        http = { path = "/add/:operation" }
        fn = "add"
        [[trigger]]
        http = { path = "/shapes/:operation" }
        fn = "shapes"
        "#,
    );
    let answers = |line: &str, body: &str, status: u16, contains: &str| {
        serving.answers(line, body, status, contains);
    };
    answers("POST /add/add", "[1, 2]", 200, "3");
    answers("GET /add/add?a=1&b=2", "", 200, "3");
    answers("GET /sum/40/2", "", 200, "42");
    answers("GET /add/hypotenuse?3&4", "", 200, "5");
    answers("POST /shapes/move", r#"{"p": {"x": 1, "y": 2}, "dx": 3}"#, 200, r#"{"x":4,"y":2}"#);
    answers("GET /shapes/greet?name=you%20two", "", 200, r#""Hello, you two!""#);
    answers("POST /add/add", "[1]", 400, "1 arguments for 2 parameters; the function is `add(i32, i32) -> i32`");
    answers(
        "POST /add/add",
        r#"[1, "x"]"#,
        400,
        "`x` is not a value of type i32; the function is `add(i32, i32) -> i32`",
    );
    answers("POST /shapes/greet", r#"{"nam": "x"}"#, 400, "no argument `name`; the function is `greet(name: string)");
    answers("POST /add/add", "[1, 2", 400, "not JSON");
    answers("GET /add/nothing", "", 200, "");
    answers("GET /add/no-such", "", 404, "there is no function `no-such`; this module has: add(i32, i32) -> i32");
    answers("DELETE /add/add", "", 405, "a function takes `GET` or `POST`");
}

#[test]
fn a_command_answers_by_cgi() {
    let serving = serve("{cgi-hello}");
    let environment =
        serving.request("POST /env?a=1&b=2", &["content-type: text/x-test", "x-custom: value"], "abc").body;
    for line in [
        "REQUEST_METHOD=POST",
        "QUERY_STRING=a=1&b=2",
        "CONTENT_LENGTH=3",
        "CONTENT_TYPE=text/x-test",
        "HTTP_X_CUSTOM=value",
        "GATEWAY_INTERFACE=CGI/1.1",
        "PATH_INFO=/env",
    ] {
        assert!(environment.lines().any(|has| has == line), "`{line}` is missing\n{environment}");
    }
    serving.answers("POST /echo", "the body", 200, "the body");
    serving.answers("GET /status", "", 404, "nothing here");
    assert_eq!(serving.answers("GET /redirect", "", 302, "").header("location"), Some("http://elsewhere.test/"));
    serving.answers("GET /crlf", "", 200, "both line ends are allowed");
    serving.answers("GET /no-header", "", 502, "the application failed");
    serving.answers("GET /nothing", "", 502, "the application failed");
    serving.answers("GET /trap", "", 502, "the application failed");
    let partial = serving.request("GET /partial", &[], "");
    assert!(partial.status == 200 && !partial.complete, "{partial:?}");
}

#[test]
fn bodies_stream_both_ways() {
    let serving = serve("{http-echo}");
    let large = "0123456789abcdef".repeat(1 << 18);
    for path in ["/echo", "/splice"] {
        let response = serving.request(&format!("POST {path}"), &[], &large);
        assert!(response.complete && response.body == large, "{path}: {} bytes came back", response.body.len());
    }
    serving.answers("POST /discard", &large, 200, &large.len().to_string());
    let response = serving.request("GET /bytes?n=20000000", &[], "");
    assert!(response.complete && response.body.len() == 20_000_000);
    // The first line must not wait for the last.
    let mut stream = send(serving.http, "GET /slow?ms=200&n=10", &[], b"").unwrap();
    let began = Instant::now();
    let (mut got, mut piece) = (Vec::new(), [0; 1024]);
    while !String::from_utf8_lossy(&got).contains("\r\n\r\n") || !got.ends_with(b"\n") {
        let count = stream.read(&mut piece).unwrap();
        got.extend_from_slice(&piece[..count]);
    }
    assert!(began.elapsed() < Duration::from_millis(1500), "the first line took {:?}", began.elapsed());
    let partial = serving.request("GET /partial", &[], "");
    assert!(partial.status == 200 && !partial.complete, "a body that broke off must not look whole: {partial:?}");
    let head = serving.request("HEAD /bytes?n=1000", &[], "");
    assert!(head.status == 200 && head.body.is_empty(), "{head:?}");
}

#[test]
fn each_call_has_an_instance_of_its_own_unless_reuse_is_asked_for() {
    let serving = serve("{http-echo}");
    for _ in 0..3 {
        serving.answers("GET /count", "", 200, "1");
    }
    let serving = serve("--reuse 3 {http-echo}");
    let kept = r#"samara_instances_kept{tenant="default",app="http-echo",workload="http-echo"}"#;
    for (count, left) in [("1", 1.0), ("2", 1.0), ("3", 0.0), ("1", 1.0)] {
        assert_eq!(serving.request("GET /count", &[], "").body.trim(), count);
        serving.settled();
        assert!(eventually(|| serving.metric(kept) == left), "an instance waits for its next call");
    }
}

#[test]
fn what_is_not_granted_is_refused_and_logged_with_its_grant() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    let fetch = format!("GET /fetch?url=http://{address}/");
    let serving = serve("{http-kit}");
    assert_eq!(serving.request(&fetch, &[], "").status, 502);
    serving.logs(&["denied", &format!("`http = [\"http://{address}\"]` would allow it"), "default/"]);
    // The origin alone is not enough for a loopback address.
    let serving = serve(&format!("--http http://{address} {{http-kit}}"));
    assert_eq!(serving.request(&fetch, &[], "").status, 502);
    serving.logs(&["denied", "private"]);
    let serving = serve(&format!("--http http://{address} --http-private {{http-kit}}"));
    let answering = thread::spawn(move || {
        let (mut stream, _) = upstream.accept().unwrap();
        let mut asked = [0; 4096];
        let count = stream.read(&mut asked).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\nconnection: close\r\n\r\nfrom upstream").unwrap();
        String::from_utf8_lossy(&asked[..count]).into_owned()
    });
    serving.answers(&fetch, "", 200, "from upstream");
    assert!(answering.join().unwrap().starts_with("GET / HTTP/1.1\r\n"));
}

#[test]
fn apps_of_several_tenants_share_a_process_and_nothing_else() {
    let manifest = |app: &str, tenant: &str, greeting: &str| {
        format!(
            r#"
            app = {{ name = "{app}", tenant = "{tenant}" }}
            workload.cgi = {{ source = "{{cgi-hello}}", grants = {{ env = {{ GREETING = "{greeting}" }} }} }}
            trigger = [{{ http = {{ host = "{app}.test", path = "/*rest" }}, fn = "cgi" }}]
            "#
        )
    };
    let apps = Apps::new(&[
        ("one.toml", &manifest("one", "acme", "from one")),
        ("two.toml", &manifest("two", "umbrella", "from two")),
    ]);
    let serving = serve(&format!("{} {}", apps.path("one.toml").display(), apps.path("two.toml").display()));
    for (app, tenant, other) in [("one", "acme", "two"), ("two", "umbrella", "one")] {
        let host = format!("host: {app}.test");
        let environment = serving.request("GET /env", &[&host], "").body;
        assert!(
            environment.contains(&format!("GREETING=from {app}")) && !environment.contains(&format!("from {other}"))
        );
        let label = format!(r#"samara_calls_total{{tenant="{tenant}",app="{app}",workload="cgi",outcome="ok"}}"#);
        assert!(eventually(|| serving.metric(&label) == 1.0), "{label}");
    }
    assert_eq!(serving.request("GET /env", &["host: three.test"], "").status, 404);
}

/// A quota that each app had for itself would be as large as a tenant has apps.
#[test]
fn the_apps_of_a_tenant_share_one_quota() {
    let app = |name: &str| {
        format!(
            r#"
            app = {{ name = "{name}", tenant = "acme" }}
            workload.hello.source = "{{http-hello}}"
            trigger = [{{ http = {{ host = "{name}.test", path = "/" }}, fn = "hello" }}]
            "#
        )
    };
    let apps = Apps::new(&[
        ("host.toml", "[tenant.acme]\nrate = \"20/s\""),
        ("one.toml", &app("one")),
        ("two.toml", &app("two")),
    ]);
    let [host, one, two] = ["host.toml", "one.toml", "two.toml"].map(|file| apps.path(file).display().to_string());
    let serving = serve(&format!("--host {host} {one} {two}"));
    let began = Instant::now();
    let mut admitted = 0u32;
    for host in ["host: one.test", "host: two.test"].repeat(40) {
        let response = serving.request("GET /", &[host], "");
        assert!(matches!(response.status, 200 | 429), "{response:?}");
        admitted += u32::from(response.status == 200);
    }
    // A second's worth at once, and what came back in the meantime.
    let most = 20.0 + 20.0 * began.elapsed().as_secs_f64();
    assert!(admitted >= 20 && f64::from(admitted) <= most, "{admitted} admitted, at most {most}");
}

#[test]
fn a_guests_output_is_log_lines_that_cannot_harm_a_terminal() {
    let serving = serve("{http-echo}");
    serving.answers("GET /log?text=%1B%5B31mred", "", 200, "");
    serving.logs(&["[31mred", "http-echo"]);
    assert!(!serving.log().contains('\u{1b}'), "{:?}", serving.log());
    let serving = Serving::start(&samara("--log json serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 {http-echo}"));
    serving.answers("GET /log?text=hello", "", 200, "");
    serving.logs(&["hello"]);
    for line in serving.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(line.is_object());
    }
}

#[test]
fn long_calls_go_on_while_short_ones_are_answered() {
    const LOOPS: usize = 4;
    let apps = Apps::new(&[("loop.wat", "(module (func (export \"spin\") (loop br 0)))")]).with(
        "samara.toml",
        r#"
        app.name = "mixed"
        workload.hello.source = "{http-hello}"
        [workload.spin]
        source = "loop.wat"
        limits = { cpu = "20s", deadline = "1s" }
        [workload.wait]
        source = "loop.wat"
        limits = { cpu = "20s", deadline = "20s" }
        [[trigger]]
        http.path = "/"
        fn = "hello"
        [[trigger]]
        http.path = "/loop"
        fn = "spin"
        operation = "spin"
        [[trigger]]
        http.path = "/wait"
        fn = "wait"
        operation = "spin"
        "#,
    );
    let serving = serve(&apps.folder().display().to_string());
    let of = |metric: &str, workload: &str| {
        serving.metric(&format!(r#"{metric}{{tenant="default",app="mixed",workload="{workload}"}}"#))
    };
    thread::scope(|scope| {
        let loops: Vec<_> = (0..LOOPS).map(|_| scope.spawn(|| serving.request("GET /loop", &[], "").status)).collect();
        while loops.iter().any(|one| !one.is_finished()) {
            serving.answers("GET /", "", 200, "Hello");
        }
        loops.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), 504));
    });
    assert_eq!(of("samara_long_calls_total", "spin"), LOOPS as f64);
    assert!(of("samara_guest_cpu_seconds_total", "spin") > 0.0);
    // A long call's client leaves.
    let waiting = send(serving.http, "GET /wait", &[], b"").unwrap();
    assert!(eventually(|| of("samara_long_calls_total", "wait") == 1.0), "{}", serving.log());
    drop(waiting);
    let cancelled = r#"samara_calls_total{tenant="default",app="mixed",workload="wait",outcome="cancelled"}"#;
    assert!(eventually(|| serving.metric(cancelled) == 1.0), "{}", serving.log());
    assert!(eventually(|| serving.metric("samara_pool_calls_in_use") == 0.0));
}

#[test]
fn when_it_is_full_it_says_when_to_try_again() {
    let serving = serve_app(
        r#"
        app.name = "small"
        [workload.echo]
        source = "{http-echo}"
        limits = { concurrency = 1, queue = 0, deadline = "20s" }
        [[trigger]]
        http.path = "/*rest"
        fn = "echo"
        "#,
    );
    let mut waiting = send(serving.http, "GET /slow?ms=100&n=150", &[], b"").unwrap();
    waiting.read_exact(&mut [0]).unwrap();
    let refused = || {
        let response = serving.request("GET /", &[], "");
        response.status == 503 && response.header("retry-after").is_some()
    };
    assert!(eventually(refused), "{}", serving.log());
    // The client goes away, its guest is cancelled and the next one is served.
    drop(waiting);
    assert!(eventually(|| serving.request("GET /", &[], "").status == 200), "{}", serving.log());
    let cancelled = r#"samara_calls_total{tenant="default",app="small",workload="echo",outcome="cancelled"}"#;
    assert!(eventually(|| serving.metric(cancelled) == 1.0));
}

#[test]
fn a_signal_drains_and_ends_with_success() {
    let serving = serve("{http-echo}");
    let mut slow = send(serving.http, "GET /slow?ms=100&n=5", &[], b"").unwrap();
    let mut first = [0; 1];
    slow.read_exact(&mut first).unwrap();
    serving.terminate();
    assert!(eventually(|| std::net::TcpStream::connect(serving.http).is_err()), "it still takes connections");
    let mut rest = String::new();
    slow.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "what was in flight was cut: {rest}");
    assert_eq!(serving.ended(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let serving = serve("{http-echo}");
    let mut slow = send(serving.http, "GET /slow?ms=100&n=200", &[], b"").unwrap();
    slow.read_exact(&mut [0]).unwrap();
    serving.terminate();
    serving.logs(&["draining; a second signal ends at once"]);
    serving.terminate();
    let began = Instant::now();
    assert_eq!(serving.ended(), Some(130));
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}

#[test]
fn operators_see_metrics_and_health_at_their_own_address() {
    let serving = serve("{http-hello}");
    serving.answers("GET /", "", 200, "Hello");
    assert_eq!(receive(send(serving.admin, "GET /readyz", &[], b"").unwrap(), false).unwrap().status, 200);
    let page = receive(send(serving.admin, "GET /metrics", &[], b"").unwrap(), false).unwrap().body;
    for name in ["samara_calls_total", "samara_call_seconds_bucket", "samara_build_info", "samara_pool_calls_capacity"]
    {
        assert!(page.contains(name), "{name} is missing");
    }
}
