//! What takes more than Rust or more than a minute, behind the feature `external-tests`: guests that are too large to
//! commit, of toolchains that bring a language's whole runtime, schemathesis on the admin API, a browser on the console, and a
//! long run of hostile requests.
//!
//! `./test.sh` builds and installs them, and they are looked for in `$SAMARA_INTEROP_DIR`.

use std::path::PathBuf;

use crate::{
    process::Samara,
    samara,
    serving::{Serving, serve_path},
};

/// A guest that `guests/interop.sh` built.
fn interop(name: &str) -> PathBuf {
    let folder = std::env::var_os("SAMARA_INTEROP_DIR").expect("`./test.sh` sets SAMARA_INTEROP_DIR");
    let path = PathBuf::from(folder).join(name).with_extension("wasm");
    assert!(path.is_file(), "{} is not there; `guests/interop.sh DIR` builds it", path.display());
    path
}

/// `samara run` with a guest and its arguments.
fn run(options: &str, name: &str, args: &str) -> Samara {
    let run = samara(&format!("run {options}")).arg(interop(name)).arg("--");
    args.split_whitespace().fold(run, |run, arg| run.arg(arg))
}

fn serve(options: &str, name: &str) -> Serving {
    serve_path(options, &interop(name))
}

/// Requests made up from the OpenAPI document: all that it allows, and much that it does not.
#[test]
fn the_admin_api_is_what_its_document_says() {
    let tools = std::env::var_os("SAMARA_INTEROP_DIR").expect("`./test.sh` sets SAMARA_INTEROP_DIR");
    let host = crate::swap::Operated::start("", &[("shop.toml", "app.name = \"shop\"")]);
    let mut schemathesis = std::process::Command::new("python3");
    schemathesis.env("PYTHONPATH", PathBuf::from(tools).join("tools/schemathesis")).current_dir(host.apps.folder());
    schemathesis.args(["-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"]);
    schemathesis.arg(format!("http://{}/v1/openapi.json", host.serving.admin));
    schemathesis.arg("--header").arg(format!("Authorization: Bearer {}", host.token));
    schemathesis.args(["--seed", "1", "--max-examples", "60", "--phases", "coverage,fuzzing", "--warnings", "off"]);
    // No schema says that a text is a manifest, or that weights are 100 in sum.
    schemathesis.args(["--checks", "all", "--exclude-checks", "positive_data_acceptance"]);
    let ran = schemathesis.output().unwrap();
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{told}\n{}\n{}", String::from_utf8_lossy(&ran.stderr), host.serving.log());
    assert!(told.contains("No issues found"), "{told}");
}

#[test]
fn go_runs() {
    run("", "go-hello", "").prints("Hello from Go!\n");
    run("", "go-hello", "echo one two").prints("one two\n");
    run("", "go-hello", "cat").stdin("by Go").prints("by Go");
    run("", "go-hello", "sleep 10ms").prints("");
    run("", "go-hello", "exit 7").fails(7, "");
    run("--cpu 100ms", "go-hello", "spin").fails(124, "over its `cpu` limit of 100ms");
    run("", "go-hello", "panic").fails(2, "panic");
    run("", "go-hello", "ls /").fails(1, "");
}

#[test]
fn javascript_is_served() {
    let serving = serve("", "js-hello");
    serving.answers("GET /", "", 200, "Hello from JavaScript!");
    serving.answers("POST /echo", "to and fro", 200, "to and fro");
    serving.answers("GET /json?a=1", "", 200, r#""query":{"a":"1"}"#);
    serving.answers("GET /spin", "", 504, "the application ran over its cpu limit");
    assert!(serving.request("GET /throw", &[], "").status >= 500);
    serving.answers("GET /", "", 200, "Hello from JavaScript!");
}

#[test]
fn python_is_served() {
    let serving = serve("", "py-hello");
    serving.answers("GET /", "", 200, "Hello from Python!");
    serving.answers("POST /echo", "to and fro", 200, "to and fro");
    serving.answers("GET /query?a=1", "", 200, "a=1");
    serving.answers("GET /spin", "", 504, "the application ran over its cpu limit");
    assert!(serving.request("GET /raise", &[], "").status >= 500);
    serving.answers("GET /", "", 200, "Hello from Python!");
}

#[test]
fn the_console_shows_hostile_words_as_text_in_a_browser() {
    crate::console::in_a_browser();
}

#[test]
fn ten_thousand_hostile_requests_leave_no_trace() {
    crate::hostile::soak::run();
}
