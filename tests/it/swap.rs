//! Changing what is served while it runs: the admin API as an operator uses it, under load.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use serde_json::Value;

use crate::{
    guest,
    process::PATIENCE,
    samara,
    serving::{Apps, Response, Serving, eventually, receive, request, send},
};

/// A host with an operator.
pub(crate) struct Operated {
    pub(crate) serving: Serving,
    pub(crate) token: String,
    pub(crate) apps: Apps,
}

impl Operated {
    /// Serves these manifests, with options.
    pub(crate) fn start(options: &str, manifests: &[(&str, &str)]) -> Self {
        let apps = Apps::new(manifests);
        let files: Vec<_> = manifests.iter().map(|(file, _)| apps.path(file).display().to_string()).collect();
        let token_file = apps.path("admin.token");
        let line = format!("serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 {options} {}", files.join(" "));
        let serving = Serving::start(&samara(&line).arg("--token-file").arg(&token_file));
        let token = fs::read_to_string(token_file).unwrap().trim().to_owned();
        Self { serving, token, apps }
    }

    /// One request to the admin API, with the token.
    pub(crate) fn ask(&self, line: &str, body: &str) -> Response {
        let header = format!("authorization: Bearer {}", self.token);
        request(self.serving.admin, line, &[&header], body.as_bytes()).unwrap()
    }

    /// Asks, and expects this status; gives the JSON, if there is some.
    #[track_caller]
    pub(crate) fn gets(&self, line: &str, body: &str, status: u16) -> Value {
        let response = self.ask(line, body);
        assert_eq!(response.status, status, "{line}: {response:?}\n{}", self.serving.log());
        serde_json::from_str(&response.body).unwrap_or_default()
    }

    /// Asks, and expects a problem of this status that says all of these.
    #[track_caller]
    pub(crate) fn refuses(&self, line: &str, body: &str, status: u16, says: &[&str]) {
        let response = self.ask(line, body);
        assert_eq!(response.header("content-type"), Some("application/problem+json"), "{line}: {response:?}");
        let problem: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!((response.status, problem["status"].as_u64()), (status, Some(status.into())), "{line}: {problem}");
        for part in says {
            assert!(problem["detail"].as_str().unwrap().contains(part), "{line}: no `{part}` in {problem}");
        }
    }

    /// Puts a manifest, with sources as absolute paths.
    #[track_caller]
    pub(crate) fn put(&self, app: &str, query: &str, manifest: &str, status: u16) -> Value {
        let base = self.apps.folder().display();
        self.gets(&format!("PUT /v1/apps/default/{app}?base={base}{query}"), &with_guests(manifest), status)
    }

    /// The greeting of the version that answers.
    fn greeting(&self) -> String {
        let response = self.serving.request("GET /env", &[], "");
        let line = response.body.lines().find_map(|line| line.strip_prefix("GREETING=").map(str::to_owned));
        line.unwrap_or_else(|| format!("{response:?}"))
    }
}

/// `"{add}"` becomes the path of the guest `add`.
pub(crate) fn with_guests(manifest: &str) -> String {
    let apps = Apps::new(&[("app.toml", manifest)]);
    fs::read_to_string(apps.path("app.toml")).unwrap()
}

/// An app whose every path answers with its environment, which holds this greeting.
fn greeter(app: &str, greeting: &str) -> String {
    format!(
        r#"
        app = {{ name = "{app}", version = "{greeting}" }}
        workload.cgi = {{ source = "{{cgi-hello}}", grants = {{ env = {{ GREETING = "{greeting}" }} }} }}
        trigger = [{{ http = {{ path = "/*rest" }}, fn = "cgi" }}]
        "#
    )
}

#[test]
fn a_version_replaces_another_and_can_be_taken_back() {
    let host = Operated::start("", &[("shop.toml", &greeter("shop", "one"))]);
    assert_eq!(host.greeting(), "one");
    let app = host.put("shop", "", &greeter("shop", "two"), 200);
    assert_eq!((app["version"].as_str(), app["state"].as_str()), (Some("two"), Some("serving")), "{app}");
    assert_eq!(host.greeting(), "two");
    let app = host.put("shop", "", &greeter("shop", "two"), 200);
    assert_eq!(app["revision"], 2, "what is the same makes no new version: {app}");
    let app = host.gets("POST /v1/apps/default/shop/rollback", "", 200);
    assert_eq!((app["revision"].as_u64(), host.greeting().as_str()), (Some(1), "one"), "{app}");
    host.gets("POST /v1/apps/default/shop/rollback", r#"{"revision": 2}"#, 200);
    assert_eq!(host.greeting(), "two");
    host.refuses("POST /v1/apps/default/shop/rollback", r#"{"revision": 9}"#, 404, &["keeps no revision 9", "1, 2"]);
    // No more versions are kept than there is room for, and those that serve are among them.
    for version in 3..10 {
        host.put("shop", "", &greeter("shop", &version.to_string()), 200);
    }
    let app = host.gets("GET /v1/apps/default/shop", "", 200);
    let kept: Vec<_> = app["versions"].as_array().unwrap().iter().map(|version| version["revision"].as_u64()).collect();
    assert_eq!(kept, [Some(9), Some(8), Some(7), Some(6), Some(5)], "{app}");
    assert_eq!(host.greeting(), "9");
}

#[test]
fn apps_come_and_go_beside_others() {
    let host = Operated::start("", &[("shop.toml", &greeter("shop", "shop"))]);
    let other = r#"
        app = { name = "math" }
        workload.add.source = "{add}"
        trigger = [{ http = { path = "/math/:operation" }, fn = "add" }]
    "#;
    host.put("math", "", other, 201);
    host.serving.answers("POST /math/add", "[40, 2]", 200, "42");
    assert_eq!(host.greeting(), "shop");
    let names = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&host.gets("GET /v1/apps", "", 200)), ["math", "shop"]);
    host.serving.settled();
    let workloads = host.gets("GET /v1/workloads", "", 200);
    let add = &workloads[0];
    assert_eq!((add["app"].as_str(), add["contract"].as_str()), (Some("math"), Some("function")), "{workloads}");
    assert_eq!(add["counters"]["calls"]["ok"], 1, "{workloads}");
    assert!(workloads[1]["grants"]["env"] == serde_json::json!(["GREETING"]), "names, and no values: {workloads}");
    let routes = host.gets("GET /v1/routes", "", 200);
    assert_eq!(routes[0]["path"], "/math/:operation", "{routes}");
    host.gets("DELETE /v1/apps/default/math", "", 204);
    host.gets("DELETE /v1/apps/default/math", "", 404);
    host.serving.answers("POST /math/add", "[40, 2]", 200, "Hello, CGI! POST /math/add");
    let page = host.ask("GET /metrics", "").body;
    assert!(!page.contains(r#"app="math""#), "its series end with it");
}

#[test]
fn a_host_may_begin_with_nothing() {
    let host = Operated::start("", &[]);
    assert!(host.serving.announced[0].contains("serves nothing yet; `samara apps put` adds an app"));
    assert_eq!(host.gets("GET /v1/apps", "", 200), serde_json::json!([]));
    assert_eq!(host.serving.request("GET /", &[], "").status, 404);
    host.put("shop", "", &greeter("shop", "first"), 201);
    assert_eq!(host.greeting(), "first");
}

#[test]
fn a_bad_version_is_refused_and_the_old_one_serves() {
    let host = Operated::start("", &[("shop.toml", &greeter("shop", "good"))]);
    let base = host.apps.folder().display().to_string();
    let put = format!("PUT /v1/apps/default/shop?base={base}");
    let check = |manifest: &str, status: u16, says: &[&str]| {
        host.refuses(&put, &with_guests(manifest), status, says);
        assert_eq!(host.greeting(), "good");
    };
    check("app.name = \"shop\"\nworkload = 3", 422, &["2:12", "this is a whole number; write a table"]);
    check("app.name = \"shoe\"", 422, &["the manifest is of `default/shoe`, the address of `default/shop`"]);
    check("app.name = \"shop\"\nworkload.a.source = \"./gone.wasm\"", 422, &["workload `a`", "gone.wasm"]);
    fs::write(host.apps.path("junk.wasm"), "\0asm junk").unwrap();
    check(
        "app.name = \"shop\"\nworkload.a.source = \"./junk.wasm\"",
        422,
        &["workload `default/shop/a`: not WebAssembly"],
    );
    // It compiles, and cannot start.
    fs::write(
        host.apps.path("trap.wat"),
        r#"(module (func $f unreachable) (start $f) (func (export "f") (param i32) (result i32) local.get 0))"#,
    )
    .unwrap();
    check(
        "app.name = \"shop\"\nworkload.a.source = \"./trap.wat\"",
        422,
        &["`default/shop/a` does not start", "unreachable"],
    );
    // It starts, and its canary fails.
    let canary = |path: &str| {
        format!(
            r#"
            app = {{ name = "shop", canary = "{path}" }}
            workload.echo.source = "{{http-echo}}"
            trigger = [{{ http = {{ path = "/:path" }}, fn = "echo" }}]
            "#
        )
    };
    check(&canary("/trap"), 422, &["its canary `GET /trap` failed: guest:"]);
    check(&canary("/a/b"), 422, &["no route of the app takes its canary `GET /a/b`"]);
    let app = host.gets("GET /v1/apps/default/shop", "", 200);
    assert!(app["refused"]["reason"].as_str().unwrap().contains("takes its canary"), "{app}");
    assert_eq!((app["revision"].as_u64(), app["state"].as_str()), (Some(1), Some("serving")));
    let ready = host.ask("GET /readyz/default/shop", "");
    assert!(ready.status == 200 && ready.body.contains("a newer version was refused"), "{ready:?}");
    host.put("shop", "", &canary("/count"), 200);
    host.serving.answers("GET /count", "", 200, "1");
    let app = host.gets("GET /v1/apps/default/shop", "", 200);
    assert!(app.get("refused").is_none(), "{app}");
}

#[test]
fn two_apps_cannot_have_one_route() {
    let host = Operated::start("", &[("shop.toml", &greeter("shop", "shop"))]);
    let thief = greeter("thief", "thief");
    let put = format!("PUT /v1/apps/default/thief?base={}", host.apps.folder().display());
    let says =
        ["route `/*rest` takes the same requests as `/*rest`", "default/thief", "shop.toml:4 (app default/shop)"];
    host.refuses(&put, &with_guests(&thief), 409, &says);
    assert_eq!(host.greeting(), "shop");
    let state = &host.gets("GET /v1/apps/default/thief", "", 200)["state"];
    assert_eq!(state, "failed");
}

#[test]
fn whoever_changes_needs_the_token_and_no_page_of_another_name_reads() {
    let host = Operated::start("", &[("shop.toml", &greeter("shop", "one"))]);
    let without = |line: &str, headers: &[&str], status: u16, says: &str| {
        let response = request(host.serving.admin, line, headers, b"").unwrap();
        assert_eq!(response.status, status, "{line}: {response:?}");
        assert!(response.body.contains(says), "{line}: {response:?}");
        response
    };
    for line in ["PUT /v1/apps/default/shop", "DELETE /v1/apps/default/shop", "POST /v1/apps/default/shop/rollback"] {
        let response = without(line, &[], 401, "admin.token");
        assert_eq!(response.header("www-authenticate"), Some("Bearer"));
        without(line, &["authorization: Bearer 00112233445566778899aabbccddeeff"], 401, "this is not the token");
        without(line, &[&format!("authorization: Basic {}", host.token)], 401, "this is not the token");
    }
    without("GET /v1/apps", &[], 200, "shop");
    without("GET /v1/apps", &["host: rebound.example"], 403, "`rebound.example`");
    without("GET /metrics", &["host: rebound.example"], 403, "`hosts` of [admin]");
    let header = format!("authorization: Bearer {}", host.token);
    without("GET /v1/apps", &["host: rebound.example", &header], 200, "shop");
    without("GET /readyz", &["host: whoever.example"], 200, "ok");
    without("OPTIONS /v1/apps", &["origin: http://elsewhere.example"], 401, "");
    without("GET /v1/elsewhere", &[], 404, "nothing is at");
    assert!(!host.serving.log().contains(&host.token));
    assert_eq!(host.greeting(), "one");
    let large = "#".repeat((1 << 20) + 1);
    host.refuses("PUT /v1/apps/default/shop", &large, 413, &["over 1048576 bytes"]);
    host.refuses("PUT /v1/apps/default/shop?base=relative", "", 400, &["not an absolute path"]);
    host.refuses("PUT /v1/apps/default/shop?wait=1", "", 400, &["unknown field `wait`"]);
    host.refuses("PUT /v1/apps/default/..%2Fshop", "", 400, &["is not a name"]);
    host.refuses(
        "POST /v1/apps/default/shop/rollback",
        "{\"revision\": -1}",
        400,
        &["the body is not what is expected"],
    );
}

#[test]
fn versions_share_requests_by_weight() {
    let host = Operated::start("", &[("shop.toml", &greeter("shop", "old"))]);
    let app = host.put("shop", "&weight=25", &greeter("shop", "new"), 200);
    assert_eq!(app["state"], "sharing", "{app}");
    let count = |wanted: &str| (0..40).filter(|_| host.greeting() == wanted).count();
    let new = count("new");
    assert!((9..=11).contains(&new), "{new} of 40 requests went to the version with a quarter of them");
    let traffic = r#"{"traffic": [{"revision": 1, "weight": 50}, {"revision": 2, "weight": 50}]}"#;
    host.gets("PUT /v1/apps/default/shop/traffic", traffic, 200);
    let old = count("old");
    assert!((19..=21).contains(&old), "{old} of 40 requests went to the version with half of them");
    host.refuses(
        "PUT /v1/apps/default/shop/traffic",
        r#"{"traffic": [{"revision": 1, "weight": 50}]}"#,
        400,
        &["not 100 in sum"],
    );
    host.gets("POST /v1/apps/default/shop/rollback", "", 200);
    assert_eq!(count("new"), 0);
}

/// A version on trial: what every path leads to, and the terms.
fn on_trial(guest: &str, terms: &str) -> String {
    format!(
        r#"
        app = {{ name = "shop", version = "new" }}
        rollout = {{ {terms} }}
        workload.web.source = "{{{guest}}}"
        trigger = [{{ http = {{ path = "/*rest" }}, fn = "web" }}]
        "#
    )
}

#[test]
fn a_version_that_fails_on_trial_is_taken_back() {
    let check = |guest: &str, terms: &str, request: &str, why: &str| {
        let host = Operated::start("", &[("shop.toml", &greeter("shop", "old"))]);
        let app = host.put("shop", "", &on_trial(guest, terms), 200);
        assert_eq!((app["state"].as_str(), app["rollout"]["revision"].as_u64()), (Some("on-trial"), Some(2)), "{app}");
        let taken_back = || {
            host.serving.request(request, &[], "");
            host.gets("GET /v1/apps/default/shop", "", 200)["state"] == "serving"
        };
        assert!(eventually(taken_back), "{}", host.gets("GET /v1/apps/default/shop", "", 200));
        let app = host.gets("GET /v1/apps/default/shop", "", 200);
        assert_eq!(app["revision"], 1, "{app}");
        let told = app["refused"]["reason"].as_str().unwrap();
        assert!(told.contains("revision 2 was rolled back") && told.contains(why), "{told}");
        host.serving.logs(&["rolled back", "default/shop", why]);
        assert!((0..10).all(|_| host.greeting() == "old"));
    };
    let terms = r#"weight = 50, window = "60s", calls = 4, errors = "10%""#;
    check("http-echo", terms, "GET /status/500", "calls failed, and 10% are allowed");
    check("http-echo", terms, "GET /trap", "calls failed, and 10% are allowed");
    let terms = r#"weight = 100, window = "60s", denials = 0"#;
    check("http-kit", terms, "GET /kv/default/key", "times for what it is not granted, and 0 are allowed");
}

#[test]
fn a_version_that_passes_its_trial_gets_all_requests() {
    let host = Operated::start("", &[("shop.toml", &greeter("shop", "old"))]);
    let terms = r#"weight = 20, window = "100ms", calls = 5, errors = "0%""#;
    let manifest = on_trial("http-hello", terms);
    host.put("shop", "", &manifest, 200);
    let passed = || {
        host.serving.request("GET /", &[], "");
        host.gets("GET /v1/apps/default/shop", "", 200)["state"] == "serving"
    };
    assert!(eventually(passed), "{}", host.gets("GET /v1/apps/default/shop", "", 200));
    let app = host.gets("GET /v1/apps/default/shop", "", 200);
    assert_eq!((app["revision"].as_u64(), app.get("refused")), (Some(2), None), "{app}");
    assert!((0..10).all(|_| host.serving.request("GET /", &[], "").body.contains("Hello, WASI!")));
    // Whoever puts the same again, as controllers do, begins nothing anew.
    assert_eq!(host.put("shop", "", &manifest, 200)["revision"], 2);
    let app = host.gets("POST /v1/apps/default/shop/rollback", "", 200);
    assert_eq!((app["revision"].as_u64(), host.greeting().as_str()), (Some(1), "old"), "{app}");
}

#[test]
fn what_a_store_holds_outlives_the_version() {
    let manifest = |greeting: &str| {
        format!(
            r#"
            app = {{ name = "kit", version = "{greeting}" }}
            workload.kit = {{ source = "{{http-kit}}", grants = {{ kv = ["default"] }} }}
            store.default.provider = "memory"
            trigger = [{{ http = {{ path = "/*rest" }}, fn = "kit" }}]
            "#
        )
    };
    let host = Operated::start("", &[("kit.toml", &manifest("one"))]);
    assert_eq!(host.serving.request("PUT /kv/default/key", &[], "kept").status, 204);
    host.put("kit", "", &manifest("two"), 200);
    host.serving.answers("GET /kv/default/key", "", 200, "kept");
}

#[test]
fn what_has_begun_ends_with_the_version_it_began_with() {
    let echo = r#"
        app = { name = "shop" }
        workload.echo.source = "{http-echo}"
        trigger = [{ http = { path = "/*rest" }, fn = "echo" }]
    "#;
    let host = Operated::start("", &[("shop.toml", echo)]);
    let mut slow = send(host.serving.http, "GET /slow?ms=50&n=6", &[], b"").unwrap();
    slow.read_exact(&mut [0; 1]).unwrap();
    host.gets("DELETE /v1/apps/default/shop", "", 204);
    assert_eq!(host.serving.request("GET /", &[], "").status, 404);
    let mut rest = String::new();
    slow.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("line 6") && rest.ends_with("0\r\n\r\n"), "what was in flight was cut: {rest}");
}

#[test]
fn an_app_that_does_not_load_is_told_and_the_others_serve() {
    let broken = "app.name = \"broken\"\nworkload.a.source = \"./gone.wasm\"";
    let host = Operated::start("--keep-going", &[("broken.toml", broken), ("shop.toml", &greeter("shop", "one"))]);
    assert_eq!(host.greeting(), "one");
    let ready = |app: &str| host.ask(&format!("GET /readyz/default/{app}"), "");
    assert_eq!((ready("shop").status, ready("nobody").status), (200, 404));
    let broken = ready("broken");
    assert!(broken.status == 503 && broken.body.contains("gone.wasm"), "{broken:?}");
    assert_eq!(host.ask("GET /livez/default/broken", "").status, 200);
    fs::copy(guest("add"), host.apps.path("gone.wasm")).unwrap();
    host.put("broken", "", "app.name = \"broken\"\nworkload.a.source = \"./gone.wasm\"", 201);
    assert_eq!(ready("broken").status, 200);
}

/// Connections that ask again and again, and count.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<u64, String>>>,
}

impl Load {
    /// Each connection is kept and asks until it is told to stop; an answer that is not a whole 200 ends it.
    fn kept(to: SocketAddr, connections: usize) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..connections)
            .map(|_| {
                let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
                thread::spawn(move || {
                    let stream = TcpStream::connect(to).map_err(|error| error.to_string())?;
                    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
                    let mut reader = BufReader::new(stream);
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        reader
                            .get_mut()
                            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                            .map_err(|error| format!("request {count}: {error}"))?;
                        answer(&mut reader).map_err(|why| format!("request {count}: {why}"))?;
                        count += 1;
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(count)
                })
            })
            .collect();
        Self { stop, answered, threads }
    }

    /// Waits until so many more requests were answered.
    #[track_caller]
    fn goes_on(&self, more: u64) {
        let until = self.answered.load(Ordering::Relaxed) + more;
        assert!(eventually(
            || self.answered.load(Ordering::Relaxed) >= until || self.threads.iter().any(JoinHandle::is_finished)
        ));
    }

    /// Ends it; gives the number of requests, all of which were answered.
    #[track_caller]
    fn ends(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap().unwrap_or_else(|why| panic!("{why}"))).sum()
    }
}

/// Reads one answer to its end: a 200 with a length or in chunks.
fn answer(reader: &mut BufReader<TcpStream>) -> Result<(), String> {
    let mut line = String::new();
    let mut next = |reader: &mut BufReader<TcpStream>| -> Result<String, String> {
        line.clear();
        let count = reader.read_line(&mut line).map_err(|error| error.to_string())?;
        if count == 0 { Err("the connection was closed".to_owned()) } else { Ok(line.trim_end().to_owned()) }
    };
    let status = next(reader)?;
    if !status.starts_with("HTTP/1.1 200 ") {
        return Err(status);
    }
    let (mut length, mut chunked) = (None, false);
    loop {
        let header = next(reader)?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.parse::<usize>().ok();
        }
        chunked |= header == "transfer-encoding: chunked";
    }
    let take = |reader: &mut BufReader<TcpStream>, count: usize| {
        let mut bytes = vec![0; count];
        reader.read_exact(&mut bytes).map_err(|error| error.to_string())
    };
    match length {
        Some(length) => take(reader, length),
        None if chunked => loop {
            let size = next(reader)?;
            let size = usize::from_str_radix(&size, 16).map_err(|error| format!("`{size}`: {error}"))?;
            take(reader, size + 2)?;
            if size == 0 {
                return Ok(());
            }
        },
        None => Err("neither a length nor chunks".to_owned()),
    }
}

#[test]
fn a_hundred_swaps_under_load_drop_no_request() {
    let manifest = |guest: &str, version: u32| {
        format!(
            r#"
            app = {{ name = "shop", version = "{version}" }}
            workload.web.source = "{{{guest}}}"
            trigger = [{{ http = {{ path = "/*rest" }}, fn = "web" }}]
            "#
        )
    };
    let host = Operated::start("", &[("shop.toml", &manifest("http-hello", 0))]);
    let load = Load::kept(host.serving.http, 8);
    for version in 1..=100 {
        let guest = if version % 2 == 0 { "http-hello" } else { "http-echo" };
        let app = host.put("shop", "", &manifest(guest, version), 200);
        assert_eq!(app["version"], version.to_string());
        // Each version serves some requests before the next comes.
        load.goes_on(8);
    }
    let requests = load.ends();
    assert!(requests >= 800, "{requests} requests");
    let label = |outcome: &str| {
        host.serving
            .metric(&format!(r#"samara_calls_total{{tenant="default",app="shop",workload="web",outcome="{outcome}"}}"#))
    };
    assert!(eventually(|| label("ok") >= requests as f64), "{} of {requests}", label("ok"));
    // Whatever was replaced is gone, but for what is kept to go back to.
    let left = || host.gets("GET /v1/apps/default/shop", "", 200)["leaving"].as_array().unwrap().len();
    assert!(eventually(|| left() == 0));
}

#[test]
fn a_signal_under_load_drops_no_request_that_came_before_it() {
    let host = Operated::start("", &[("shop.toml", &greeter("shop", "one"))]);
    let to = host.serving.http;
    let signalled = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    // A connection each, so that all of accepting, reading and answering is under way when the signal comes.
    let client = || {
        let (signalled, answered) = (Arc::clone(&signalled), Arc::clone(&answered));
        thread::spawn(move || -> Result<(), String> {
            loop {
                let Ok(stream) = send(to, "GET /", &[], b"") else { break };
                let came_before = !signalled.load(Ordering::SeqCst);
                match receive(stream, false) {
                    Ok(response) if response.status == 200 && response.complete => {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) if came_before => return Err(format!("not answered: {error}")),
                    // The host was told to end before this request was sent: it may be too late.
                    Err(_) => break,
                    Ok(response) => return Err(format!("half an answer: {response:?}")),
                }
            }
            Ok(())
        })
    };
    let clients: Vec<_> = (0..8).map(|_| client()).collect();
    assert!(eventually(|| answered.load(Ordering::Relaxed) >= 50));
    signalled.store(true, Ordering::SeqCst);
    host.serving.terminate();
    for client in clients {
        client.join().unwrap().unwrap_or_else(|why| panic!("{why}\n{}", host.serving.log()));
    }
    assert_eq!(host.serving.ended(), Some(0));
}

#[test]
fn the_command_line_changes_a_running_host() {
    let host = Operated::start("", &[("shop.toml", &greeter("shop", "one"))]);
    let apps = |line: &str| {
        let mut line = samara(&format!("apps --admin {} {line}", host.serving.admin));
        line = line.arg("--token-file").arg(host.apps.path("admin.token"));
        line.within(host.apps.folder())
    };
    fs::create_dir(host.apps.path("next one")).unwrap();
    let manifest = with_guests(&greeter("shop", "two").replace("{cgi-hello}", "../cgi.wasm"));
    fs::write(host.apps.path("next one/samara.toml"), manifest).unwrap();
    fs::copy(guest("cgi-hello"), host.apps.path("cgi.wasm")).unwrap();
    apps("put").arg("next one").prints("default/shop: revision 2 (version two) serves\n");
    assert_eq!(host.greeting(), "two");
    apps("rollback shop").prints("default/shop: revision 1 (version one) serves\n");
    assert_eq!(host.greeting(), "one");
    apps("traffic shop 1=50 2=50").prints("default/shop: its requests are divided: 1: 50%, 2: 50%\n");
    let listed = apps("list").run();
    for part in ["APP", "default/shop", "sharing", "1: 50%, 2: 50%", "2, 1"] {
        assert!(listed.stdout.contains(part), "no `{part}`: {listed}");
    }
    let listed: Value = serde_json::from_str(&apps("list --json").run().stdout).unwrap();
    assert_eq!(listed[0]["traffic"][0]["weight"], 50, "{listed}");
    apps("traffic shop 1=50").fails(1, "the weights are not 100 in sum");
    apps("rollback cart").fails(1, "there is no app `default/cart`");
    fs::write(host.apps.path("bad.toml"), "app.name = \"shop\"\nworkload.a.source = \"./gone.wasm\"").unwrap();
    apps("put bad.toml").fails(1, "gone.wasm");
    apps("remove shop").prints("default/shop: removed\n");
    assert_eq!(host.serving.request("GET /", &[], "").status, 404);
    apps("list").prints("no apps\n");
    samara("apps --admin 127.0.0.1:1 list").fails(1, "no host answers at `127.0.0.1:1`; start one with `samara serve`");
    let line = format!("apps --admin {} --token-file gone remove shop", host.serving.admin);
    samara(&line).within(host.apps.folder()).fails(2, "takes the host's token");
}

#[test]
fn a_change_of_a_watched_file_is_served_and_a_bad_one_is_told() {
    let host = Operated::start("--watch", &[("shop.toml", &greeter("shop", "one"))]);
    let file = host.apps.path("shop.toml");
    let write = |text: &str| {
        // As editors do: a new file takes the name of the old one.
        let scratch = host.apps.path("shop.toml.new");
        fs::write(&scratch, text).unwrap();
        fs::rename(&scratch, &file).unwrap();
    };
    assert_eq!(host.greeting(), "one");
    write(&with_guests(&greeter("shop", "two")));
    assert!(eventually(|| host.greeting() == "two"), "{}", host.serving.log());
    write("app.name = \"shop\"\nworkload = 3");
    host.serving.logs(&["not loaded anew", "this is a whole number; write a table", "default/shop"]);
    assert_eq!(host.greeting(), "two");
    // A module, too: written in place, and half-way first.
    let module = host.apps.path("cgi.wasm");
    fs::copy(guest("cgi-hello"), &module).unwrap();
    let manifest = with_guests(&greeter("shop", "three").replace("{cgi-hello}", "./cgi.wasm"));
    write(&manifest);
    assert!(eventually(|| host.greeting() == "three"), "{}", host.serving.log());
    fs::write(&module, "\0asm junk").unwrap();
    host.serving.logs(&["not loaded anew", "not WebAssembly"]);
    assert_eq!(host.greeting(), "three");
    fs::copy(guest("http-hello"), &module).unwrap();
    assert!(eventually(|| host.serving.request("GET /", &[], "").body.contains("WASI")), "{}", host.serving.log());
}
