//! Which capabilities imports ask for.

use samara_inspect::{Module, needs, unrecognised};

use crate::{COMPONENT, MODULE, wasm};

#[track_caller]
fn check(text: &str, expected: &[(&str, &[&str])]) {
    let module = Module::read(&wasm(text)).unwrap();
    let needs = needs(&module);
    let found: Vec<(&str, Vec<&str>)> = needs
        .iter()
        .map(|need| (need.capability.as_str(), need.imports.iter().map(String::as_str).collect()))
        .collect();
    let expected: Vec<(&str, Vec<&str>)> = expected.iter().map(|(name, imports)| (*name, imports.to_vec())).collect();
    assert_eq!(found, expected);
}

/// A module that imports functions of no type from the given names.
fn imports(names: &[&str]) -> String {
    let lines: String = names
        .iter()
        .map(|name| {
            let (module, name) = name.split_once('.').unwrap();
            format!("(import \"{module}\" \"{name}\" (func))")
        })
        .collect();
    format!("(module {lines})")
}

/// A component that imports empty interfaces of the given names.
fn interfaces(names: &[&str]) -> String {
    let lines: String = names.iter().map(|name| format!("(import \"{name}\" (instance))")).collect();
    format!("(component {lines})")
}

#[test]
fn preview_1_functions_are_grouped() {
    check(MODULE, &[("log", &["wasi_snapshot_preview1.fd_write"]), ("random", &["wasi_snapshot_preview1.random_get"])]);
    let asked = [
        "wasi_snapshot_preview1.path_open",
        "wasi_snapshot_preview1.fd_readdir",
        "wasi_snapshot_preview1.fd_prestat_get",
        "wasi_snapshot_preview1.environ_get",
        "wasi_snapshot_preview1.sock_accept",
        "wasi_unstable.clock_time_get",
        "wasi_snapshot_preview1.proc_exit",
    ];
    check(
        &imports(&asked),
        &[
            ("clock", &["wasi_unstable.clock_time_get"]),
            ("fs", &["wasi_snapshot_preview1.path_open", "wasi_snapshot_preview1.fd_readdir"]),
            ("env", &["wasi_snapshot_preview1.environ_get"]),
            ("net", &["wasi_snapshot_preview1.sock_accept"]),
        ],
    );
}

#[test]
fn interfaces_are_grouped_whatever_their_version() {
    check(COMPONENT, &[("clock", &["wasi:clocks/monotonic-clock@0.2.0"])]);
    let asked = [
        "wasi:keyvalue/store@0.2.0-draft2",
        "fermyon:spin/key-value@2.0.0",
        "spin:key-value/key-value@3.0.0",
        "wasi:http/outgoing-handler@0.2.0",
        "wasi:config/store@0.2.0-rc.1",
        "wasmcloud:secrets/store@0.1.0-draft",
        "wasi:sockets/tcp@0.3.0",
        "wasi:io/streams@0.2.9",
        "fermyon:spin/sqlite",
    ];
    check(
        &interfaces(&asked),
        &[
            ("kv", &[asked[0], asked[1], asked[2]]),
            ("sql", &["fermyon:spin/sqlite"]),
            ("config", &["wasi:config/store@0.2.0-rc.1"]),
            ("secrets", &["wasmcloud:secrets/store@0.1.0-draft"]),
            ("http", &["wasi:http/outgoing-handler@0.2.0"]),
            ("net", &["wasi:sockets/tcp@0.3.0"]),
        ],
    );
}

#[test]
fn other_abis_ask_for_the_same_capabilities() {
    let asked = ["env.proxy_get_shared_data", "env.proxy_http_call", "env.proxy_log", "env.proxy_get_buffer_bytes"];
    check(&imports(&asked), &[("kv", &asked[..1]), ("http", &asked[1..2]), ("log", &asked[2..3])]);
    let asked = ["fastly_kv_store.lookup", "fastly_http_req.send_async", "fastly_http_resp.new", "fastly_log.write"];
    check(&imports(&asked), &[("kv", &asked[..1]), ("http", &asked[1..2]), ("log", &asked[3..])]);
    let asked = ["env.cache_get", "env.fetch_url_swift", "env.log_msg", "env.get_ffi_result"];
    check(&imports(&asked), &[("kv", &asked[..1]), ("http", &asked[1..2]), ("log", &asked[2..3])]);
}

#[test]
fn a_wapc_actor_asks_by_the_names_in_its_data() {
    check(
        r#"(module (import "wapc" "__host_call" (func)) (memory 1)
             (data (i32.const 0) "xwasmcloud:keyvalueKeyValue.Getwasmcloud:builtin:loggingwasmcloud:"))"#,
        &[("kv", &["wasmcloud:keyvalue"]), ("log", &["wasmcloud:builtin:logging"])],
    );
    check(r#"(module (memory 1) (data (i32.const 0) "wasmcloud:keyvalue"))"#, &[]);
}

#[test]
fn what_no_table_knows_is_listed() {
    let module = Module::read(&wasm(&imports(&["env.mystery", "wasi_snapshot_preview1.fd_read"]))).unwrap();
    assert_eq!(unrecognised(&module), ["env.mystery"]);
    let component = r#"(component (import "acme:thing/types" (instance))
        (import "acme:thing/api@1.0.0" (instance (export "call" (func)))))"#;
    let module = Module::read(&wasm(component)).unwrap();
    assert_eq!(unrecognised(&module), ["acme:thing/api@1.0.0"], "an interface of types is not a call");
}

#[test]
fn a_core_module_made_for_a_component_asks_by_interface() {
    let text = r#"(module (import "wasi:http/outgoing-handler@0.2.0" "handle" (func))
        (import "wasi:keyvalue/store@0.2.0-draft" "open" (func))
        (import "wasi:keyvalue/store@0.2.0-draft" "[method]bucket.get" (func)))"#;
    check(text, &[("kv", &["wasi:keyvalue/store@0.2.0-draft"]), ("http", &["wasi:http/outgoing-handler@0.2.0"])]);
}
