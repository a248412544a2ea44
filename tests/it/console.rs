//! The console: how its files are served, and with `external-tests` what a browser makes of them.

use std::collections::BTreeSet;

use crate::serving::{Response, Serving, request, serve_app};

const APP: &str = r#"
    app = { name = "shop", version = "1.2.3" }
    [workload.hello]
    source = "{http-hello}"
    [[trigger]]
    http = { path = "/" }
    fn = "hello"
"#;

fn get(serving: &Serving, path: &str, headers: &[&str]) -> Response {
    request(serving.admin, &format!("GET {path}"), headers, b"").unwrap()
}

/// What a file of the console asks for: links, scripts, pictures and modules.
fn asked_for(text: &str) -> Vec<String> {
    let after = |mark: &str| {
        let rest = text.split(mark).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
        rest.map(|file| format!("/console/{file}")).collect::<Vec<_>>()
    };
    [after("href=\"/console/"), after("src=\"/console/"), after("from \"./")].concat()
}

#[test]
fn every_file_of_the_console_is_served_under_its_policy() {
    let serving = serve_app(APP);
    let (mut todo, mut seen) = (vec!["/".to_owned()], BTreeSet::new());
    while let Some(path) = todo.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let response = get(&serving, &path, &[]);
        let kind = match path.rsplit('.').next().unwrap() {
            "/" => "text/html; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("a file of the kind {other}"),
        };
        assert_eq!((response.status, response.header("content-type")), (200, Some(kind)), "{path}: {response:?}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        let policy = response.header("content-security-policy").unwrap();
        for rule in ["default-src 'none'; ", "script-src 'self'; ", "style-src 'self'; ", "connect-src 'self'; "] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        for rule in ["frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'", "trusted-types 'none'"] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        // Kept, asked about every time, and not sent again.
        assert_eq!(response.header("cache-control"), Some("no-cache"));
        let known = format!("if-none-match: {}", response.header("etag").unwrap());
        let again = get(&serving, &path, &[&known]);
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}: {again:?}");
        assert_eq!(again.header("etag"), response.header("etag"));
        assert_eq!(get(&serving, &path, &["if-none-match: \"other\""]).status, 200);
        todo.extend(asked_for(&response.body));
    }
    assert!(seen.len() > 8, "{seen:?}");
    assert_eq!(get(&serving, "/console/none.js", &[]).status, 404);
    assert_eq!(get(&serving, "/console/%2e%2e/mod.rs", &[]).status, 404);
    assert_eq!(get(&serving, "/", &["host: evil.example"]).status, 403, "a rebound name is shown nothing");
}

#[test]
fn the_api_says_what_the_console_shows() {
    let serving = serve_app(APP);
    serving.answers("GET /", "", 200, "Hello");
    serving.settled();
    let json = |path: &str| -> serde_json::Value {
        let response = get(&serving, path, &[]);
        serde_json::from_str(&response.body).unwrap_or_else(|error| panic!("{path}: {error}: {response:?}"))
    };
    let host = json("/v1/host");
    assert_eq!((&host["version"], &host["ready"]), (&env!("CARGO_PKG_VERSION").into(), &true.into()), "{host}");
    let age = host["now"].as_u64().unwrap() - host["started"].as_u64().unwrap();
    assert!(age < 600, "{host}");
    let counters = &json("/v1/workloads")[0]["counters"];
    let buckets = counters["latency_buckets"].as_array().unwrap();
    let calls: u64 = buckets.iter().map(|bucket| bucket["calls"].as_u64().unwrap()).sum();
    assert_eq!(calls, 1, "{counters}");
    let bounds: Vec<_> = buckets.iter().map(|bucket| bucket["at_most_seconds"].as_f64()).collect();
    assert!(bounds.windows(2).all(|pair| pair[1].is_none() || pair[0] < pair[1]), "{bounds:?}");
    assert_eq!(bounds.last(), Some(&None), "{bounds:?}");
    assert!(counters["bytes_out"].as_u64() > Some(0), "{counters}");
}

/// A workload, a denial, and a guest whose functions have names made for browsers.
#[cfg(feature = "external-tests")]
pub(crate) fn in_a_browser() {
    use std::process::Command;

    use crate::serving::{Apps, serve};

    const HOSTILE: &str = "<script>document.title='broken'</script><img src=x onerror=alert(1)>";
    let manifest = r#"
        app = { name = "shop", version = "<b>1</b>" }
        [workload.boom]
        source = "./boom.wat"
        [[trigger]]
        http = { path = "/boom" }
        fn = "boom"
        operation = "boom"
        [workload.kit]
        source = "{http-kit}"
        [[trigger]]
        http = { path = "/fetch" }
        fn = "kit"
    "#;
    let guest = format!("(module (func $\"{HOSTILE}\" (export \"boom\") unreachable))");
    let apps = Apps::new(&[("samara.toml", manifest), ("boom.wat", &guest)]);
    let serving = serve(&apps.path("samara.toml").display().to_string());
    assert_eq!(serving.request("GET /boom", &[], "").status, 502);
    serving.request("GET /fetch?url=http://denied.example/", &[], "");

    let profile = tempfile::tempdir().unwrap();
    let dom = |hash: &str| {
        let ran = Command::new("timeout")
            .args(["120", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("http://{}/{hash}", serving.admin))
            .output()
            .expect("`./test.sh` installs chromium");
        let (dom, log) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{hash}: {:?}\n{log}", ran.status);
        // A script that failed, or what the policy refused, would be told.
        assert!(!log.contains("CONSOLE"), "{hash}: {log}");
        assert!(dom.contains("<title>Samara</title>"), "{hash}: {dom}");
        for made in ["<script>document", "<img src=\"x\"", "<b>1"] {
            assert!(!dom.contains(made), "{hash}: {made} became markup: {dom}");
        }
        dom.into_owned()
    };
    let shows = |hash: &str, parts: &[&str]| {
        let dom = dom(hash);
        parts.iter().for_each(|part| assert!(dom.contains(part), "{hash}: no {part}: {dom}"));
    };
    let escaped = HOSTILE.replace('<', "&lt;").replace('>', "&gt;");
    shows("", &["default/shop", ">boom</a>", ">kit</a>", "&lt;b&gt;1&lt;/b&gt;", ">guest</span>"]);
    shows(
        "#/problems",
        &["default/shop/boom", &escaped, "Backtrace of 1 function", "default/shop/kit", "http://denied.example"],
    );
    shows("#/workload/default/shop/kit", &["The grant that would allow it", "<code>http = "]);
    shows("#/routes", &["<code>/fetch</code>"]);
    shows("#/apps", &["default/shop", "100 %"]);
}
