//! What operators see: single requests as the access log, workloads as `samara top` and metrics.

use serde_json::Value;

use crate::{
    samara,
    serving::{Apps, eventually, serve, serve_app},
};

const APP: &str = r#"
    app = { name = "shop" }
    [workload.hello]
    source = "{http-hello}"
    [workload.echo]
    source = "{http-echo}"
    [workload.lines]
    source = "{lines}"
    [workload.cgi]
    source = "{cgi-hello}"
    [[trigger]]
    http = { path = "/" }
    fn = "hello"
    [[trigger]]
    http = { path = "/echo" }
    fn = "echo"
    [[trigger]]
    http = { path = "/fall" }
    fn = "lines"
    operation = "fall"
    [[trigger]]
    http = { path = "/cgi/*rest" }
    fn = "cgi"
"#;

#[test]
fn each_request_is_a_line_of_the_access_log_when_asked_for() {
    let apps = Apps::new(&[("samara.toml", APP), ("host.toml", "telemetry.access_log = 'json'\n[tenant.default]")]);
    let (host, app) = (apps.path("host.toml"), apps.path("samara.toml"));
    let serving = serve(&format!("--host {} {}", host.display(), app.display()));
    serving.answers("GET /?secret=1", "", 200, "Hello");
    serving.answers("POST /echo", "12345", 200, "12345");
    serving.answers("GET /fall?depth=0", "", 502, "failed");
    serving.answers("GET /cgi/x", "", 200, "");
    serving.answers("GET /no/where", "", 404, "nothing");
    assert!(eventually(|| serving.output().lines().count() == 5), "{}\n{}", serving.output(), serving.log());
    let lines: Vec<Value> = serving
        .output()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let line =
        |path: &str| lines.iter().find(|line| line["path"] == path).unwrap_or_else(|| panic!("{path}: {lines:?}"));
    let short = |path: &str| {
        let line = line(path);
        [&line["method"], &line["status"], &line["outcome"], &line["workload"], &line["bytes_in"]]
            .map(Value::to_string)
            .join(" ")
    };
    assert_eq!(short("/"), r#""GET" 200 "ok" "hello" 0"#);
    assert_eq!(short("/echo"), r#""POST" 200 "ok" "echo" 5"#);
    assert_eq!(short("/fall"), r#""GET" 502 "guest" "lines" 0"#);
    assert_eq!(short("/cgi/x"), r#""GET" 200 "ok" "cgi" 0"#);
    assert_eq!(short("/no/where"), r#""GET" 404 "caller" null 0"#);
    assert_eq!(line("/echo")["bytes_out"], 5);
    assert_eq!(line("/")["host"], serving.http.to_string());
    let seconds = |key: &str| line("/")[key].as_f64().unwrap();
    assert!(seconds("cpu_seconds") > 0.0 && seconds("cpu_seconds") <= seconds("seconds") * 1.5, "{lines:?}");
    assert!(!serving.output().contains("secret"), "queries are not told: {}", serving.output());
}

#[test]
fn a_client_cannot_forge_lines_of_the_access_log() {
    let serving = serve("--access-log text {http-hello}");
    serving.request("GET /%0aforged%1b[2J\"x", &["host: a.test"], "");
    serving.request("GET /", &["host: b\u{202e}.test"], "");
    assert!(eventually(|| serving.output().lines().count() == 2), "{}", serving.output());
    let output = serving.output();
    assert!(!output.contains(['\u{1b}', '\u{202e}']), "{output}");
    assert!(output.contains("\"GET a.test/%0aforged%1b[2J%22x HTTP/1.1\" 200 in=0 out="), "{output}");
    assert!(output.lines().all(|line| line.matches('"').count() == 2), "{output}");
}

#[test]
fn without_being_asked_for_there_is_no_access_log() {
    let serving = serve_app(APP);
    serving.answers("GET /", "", 200, "Hello");
    serving.terminate();
    let output = serving.output();
    assert_eq!((serving.ended(), output.as_str()), (Some(0), ""));
}

#[test]
fn the_workloads_of_a_running_host_are_shown_live() {
    let serving = serve_app(APP);
    serving.answers("GET /", "", 200, "Hello");
    serving.answers("POST /echo", "12345", 200, "12345");
    serving.answers("GET /fall?depth=0", "", 502, "failed");
    serving.settled();
    let admin = serving.admin;
    let top = |options: &str| samara(&format!("top --admin {admin} --interval 100ms {options}")).run();

    let table = top("--once");
    let rows: Vec<Vec<_>> = table.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..4], ["WORKLOAD", "CALLS", "CALLS/S", "ERRORS/S"], "{table}");
    let row = |name: &str| rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("no {name}: {table}"));
    assert_eq!(row("default/shop/hello")[1], "1");
    assert!(row("default/shop/hello")[4].ends_with('s'), "it has a median: {table}");
    assert_eq!(row("default/shop/cgi")[4], "-");

    let ran = top("--once --json");
    let workloads: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"));
    let echo = workloads.iter().find(|workload| workload["workload"] == "echo").unwrap();
    assert_eq!((&echo["calls"], &echo["in_flight"]), (&Value::from(1.0), &Value::from(0.0)), "{ran}");
    assert!(echo["p99_seconds"].as_f64().unwrap() > 0.0 && echo["memory_bytes_max"].as_f64().unwrap() > 0.0, "{ran}");

    drop(serving);
    samara(&format!("top --admin {admin} --once")).fails(1, &format!("no host answers at `{admin}`; start one with"));
    samara("top --once --admin").arg("no address").fails(1, "`no address` is not an address");
}

#[test]
fn bytes_and_kept_instances_are_counted_per_workload() {
    let serving = serve("--reuse 5 {http-echo}");
    serving.answers("POST /echo", "12345", 200, "12345");
    serving.settled();
    let labels = r#"{tenant="default",app="http-echo",workload="http-echo"}"#;
    let metric = |name: &str| serving.metric(&format!("{name}{labels}"));
    assert_eq!((metric("samara_call_bytes_in_total"), metric("samara_call_bytes_out_total")), (5.0, 5.0));
    assert!(eventually(|| metric("samara_instances_kept") == 1.0), "the instance waits for its next call");
}

/// The functions that a profile's file names, and the number of its samples.
fn profiled(file: &[u8]) -> (String, usize) {
    let profile: Value = serde_json::from_slice(file).unwrap();
    let samples = profile["samples"].as_array().unwrap().len();
    assert_eq!(samples, profile["timeDeltas"].as_array().unwrap().len());
    (profile["nodes"].to_string(), samples)
}

#[test]
fn a_command_is_profiled_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.cpuprofile");
    let ran = samara("profile {cli-p1} --cpu 500ms --output").arg(&file).arg("--").arg("spin").run();
    // It runs over its limit, as it never ends: what it did until then is written.
    assert_eq!(ran.code, 124, "{ran}");
    assert!(ran.stderr.contains("profiler.firefox.com opens it") && ran.stderr.contains("SELF"), "{ran}");
    let (names, samples) = profiled(&std::fs::read(file).unwrap());
    assert!(samples > 20 && names.contains("function "), "{samples} samples: {names}");
}

#[test]
fn a_running_workload_is_profiled_and_one_that_is_not_there_is_told() {
    let serving = serve_app(
        r#"
        app = { name = "shop" }
        workload.lines = { source = "{lines}", limits = { cpu = "10s", deadline = "10s" } }
        trigger = [{ http = { path = "/spin" }, fn = "lines", operation = "spin" }]
        "#,
    );
    let (admin, http) = (serving.admin, serving.http);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.cpuprofile");
    let profile = |of: &str| samara(&format!("profile {of} --seconds 1 --admin {admin} --output")).arg(&file);
    let ran = profile("shop/lines").run();
    assert!(ran.code == 0 && ran.stderr.contains("nothing of default/shop/lines ran in these 1 s;"), "{ran}");
    assert_eq!(profiled(&std::fs::read(&file).unwrap()).1, 0);
    let busy = std::thread::spawn(move || crate::serving::send(http, "GET /spin?rounds=0", &[], b""));
    let ran = profile("shop/lines").run();
    assert!(ran.code == 0 && !ran.stderr.contains("nothing of"), "{ran}");
    let (names, samples) = profiled(&std::fs::read(&file).unwrap());
    assert!(names.contains("lines::work") && names.contains("\"url\":\"lines.wasm\""), "{names}");
    assert!(samples > 20 && samples <= 1200, "about one a millisecond: {samples}");
    profile("shop/no").fails(1, "no workload `no` of `default/shop` serves here");
    profile("nothing").fails(2, "neither a file nor a workload; write APP/WORKLOAD");
    drop(busy.join());
}
