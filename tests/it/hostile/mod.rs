//! Hostile guests and hostile clients: each attack has a verdict, and its neighbours go on.
//!
//! `table` has the attacks that a guest's own code makes, which `shapes` turns into every kind of guest; `asked` has those
//! of whole programs, `clients` those from outside. `suite` serves all of them in one host and asks a neighbour in it all
//! the while. `bombs` are modules that are dear to compile. Here are the guests of `guests/hostile/`, run one by
//! one by `samara run`.

mod asked;
mod bombs;
mod clients;
mod shapes;
#[cfg(feature = "external-tests")]
pub(crate) mod soak;
mod suite;
mod table;

use crate::{guests, samara, serving::serve_app};

/// Guest, exit code of `samara run`, part of what it says. The limits are small, so that reaching them is quick.
const TABLE: &[(&str, i32, &str)] = &[
    ("component-bomb", 2, "it fits no contract of this host"),
    ("deep-recursion", 134, "its stack overflowed: the recursion is too deep"),
    ("divide-by-zero", 134, "integer divide by zero"),
    ("exit-code", 134, "exit with invalid exit status"),
    ("host-calls", 124, "over its `cpu` limit of 200ms"),
    // The guest exits with the error that it got; 48 is preview 1's `nomem`.
    ("iovec-count", 48, ""),
    ("iovec-length", 0, ""),
    ("log-flood", 124, "over its `cpu` limit of 200ms"),
    ("memory-bomb", 137, "over its `memory` limit of 64MiB"),
    ("memory-minimum", 2, "its memory starts at 4GiB, over its `memory` limit of 64MiB"),
    ("memory-sum", 137, "over its `memory` limit of 64MiB"),
    ("no-memory", 134, "missing required memory export"),
    ("out-of-bounds", 134, "requested len 2147483647 exceeds limit"),
    ("poll-flood", 134, "resource table has no free keys"),
    ("random-bomb", 134, "requested len 67108864 exceeds limit 1048576"),
    ("run-loop", 124, "over its `cpu` limit of 200ms"),
    ("sleep-for-ever", 124, "over its `deadline` limit of 3s"),
    ("start-loop", 124, "over its `cpu` limit of 200ms"),
    ("start-trap", 134, "wasm `unreachable` instruction executed"),
    ("table-bomb", 134, "wasm `unreachable` instruction executed"),
    ("table-minimum", 134, "table minimum size of 4294967295 elements exceeds table limits"),
    ("unknown-import", 0, ""),
    ("unknown-import-called", 134, "unknown import: `nobody::knows-this`"),
    ("wide-frames", 134, "its stack overflowed: the recursion is too deep"),
    ("wrong-signature", 2, "incompatible import type for `wasi_snapshot_preview1::fd_write`"),
];

#[test]
fn each_attack_ends_in_its_fault() {
    for (name, code, message) in TABLE {
        samara(&format!("run --cpu 200ms --memory 64MiB --deadline 3s {{{name}}}")).fails(*code, message);
    }
}

#[test]
fn output_without_end_or_line_end_streams_through() {
    let ran = samara("run --memory 64MiB {long-line}").run();
    assert_eq!((ran.code, ran.stdout.len()), (0, 64 << 20), "{ran}");
}

#[test]
fn no_attack_is_without_a_test() {
    for path in guests().iter().filter(|path| path.parent().is_some_and(|folder| folder.ends_with("hostile"))) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(name == "long-line" || TABLE.iter().any(|(known, ..)| *known == name), "`{name}` is in no table");
    }
}

/// The operator's file of every suite here: clients that do nothing are given up soon.
const HOST: &str = r#"
    http = { header_timeout = "1s", body_timeout = "1s" }
    [tenant.default]
"#;

/// What stops an endless wait is the deadline, what stops a flood is the size of what it pretends to be.
#[test]
fn waits_and_floods_are_bounded_too() {
    let serving = serve_app(
        r#"
        app.name = "patience"
        workload.echo = { source = "{http-echo}", limits = { deadline = "200ms" } }
        workload.flood = { source = "{log-flood}", limits = { cpu = "5s" } }
        trigger = [{ http.path = "/never", fn = "echo" }, { http.path = "/flood", fn = "flood" }]
        "#,
    );
    serving.answers("GET /never", "", 504, "the application ran over its deadline limit");
    serving.answers("GET /flood", "", 502, "the application failed");
    serving.logs(&["its CGI head is over 64KiB", "default/patience/flood", "blame=guest"]);
    serving.logs(&["over its `deadline` limit of 200ms", "default/patience/echo", "blame=limit"]);
}
