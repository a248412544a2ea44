//! What is wrong on a command line, in a manifest or in a module is told with the file, the place in it and the fix.

use std::{fs, net::TcpListener};

use crate::{guest, samara, serving::Apps};

/// A manifest of one workload and one trigger, and what is between them.
fn refused(workload: &str, rest: &str, message: &str) {
    let manifest = format!(
        "app.name = \"shop\"\nworkload.cart.source = \"{{http-kit}}\"\n{workload}\n[[trigger]]\nhttp.path = \"/*rest\"\nfn = \"cart\"\n{rest}"
    );
    refused_whole(&manifest, message);
}

#[track_caller]
fn refused_whole(manifest: &str, message: &str) {
    let apps = Apps::new(&[("samara.toml", manifest)]);
    // The file goes by the name it was given.
    samara("serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 samara.toml").within(apps.folder()).fails(2, message);
}

#[test]
fn a_manifest_is_refused_with_its_line_and_the_fix() {
    refused(
        "workload.cart.grant = {}",
        "",
        "samara.toml:3:15: unknown key `grant` in [workload.cart]; did you mean `grants`?",
    );
    refused(
        "workload.cart.contract = \"wasi-htp\"",
        "",
        "samara.toml:2: workload `default/shop/cart`: no contract is called `wasi-htp`; known contracts: wasi-http, ",
    );
    refused("workload.cart.contract = \"wasi-cli\"", "", "it does not fit the contract `wasi-cli`");
    refused(
        "",
        "[[trigger]]\nhttp.path = \"/*rest\"\nfn = \"cart\"",
        "samara.toml:8:1: `http` in [[trigger]]: route `/*rest` takes the same requests as `/*rest` in line 4; remove one",
    );
    refused(
        "workload.cart.grants.kv = [\"cart\"]\nstore.carts.provider = \"memory\"",
        "",
        "samara.toml:3:28: `kv` in [workload.cart.grants]: store `cart` is not declared; `[store.cart]` would declare it; did you mean `carts`?",
    );
    refused(
        "store.carts.provider = \"mem:\"",
        "",
        "samara.toml:3: store `carts`: no provider for `mem:`; known schemes: ",
    );
    refused(
        "workload.cart.grants.kv = [\"carts\"]\nstore.carts.provider = \"mem:\"",
        "",
        "samara.toml:4: store `carts`: no key-value provider for `mem:`; known schemes: memory",
    );
    refused(
        "workload.cart.grants.messaging = { store = \"bus\", publish = [\"a\"] }\nstore.bus.provider = \"mem:\"",
        "",
        "samara.toml:4: store `bus`: no messaging provider for `mem:`; known schemes: memory",
    );
    refused(
        "workload.cart.limits.memory = \"64 lightyears\"",
        "",
        "samara.toml:3:31: `memory` in [workload.cart.limits]: `64 lightyears` is not a size; write `64MiB`, `512KiB` or a number of bytes",
    );
    refused(
        "workload.cart.strict = true",
        "",
        "is strict and needs what it is not granted: `kv` (grant `kv = [\"STORE\"]`)",
    );
    refused(
        "",
        "[[trigger]]\nhttp.path = \"/\"\nfn = \"card\"",
        "no workload `card` in this app; `[workload.card]` would declare it; did you mean `cart`?",
    );
    refused(
        "",
        "[[trigger]]\nevery = \"30s\"\nfn = \"cart\"",
        "this trigger starts command; name a function with `operation`, or another workload",
    );
    refused_whole("app.name = \"shop", "samara.toml:1:");
    refused_whole("workload.w.source = \"x\"", "samara.toml:1:1: the file has no `app`; write `[app]`");
}

#[test]
fn an_artifact_that_cannot_be_used_is_named_with_the_reason() {
    let manifest = |source: &str| {
        format!(
            "app.name = \"shop\"\nworkload.cart.source = \"{source}\"\ntrigger = [{{ http.path = \"/\", fn = \"cart\" }}]"
        )
    };
    refused_whole(
        &manifest("nowhere.wasm"),
        "samara.toml:2: workload `cart`: reading `nowhere.wasm`: No such file or directory",
    );
    refused_whole(
        &manifest("samara.toml"),
        "samara.toml:2: workload `default/shop/cart`: not WebAssembly at byte 0: found `app.name`",
    );
    refused_whole(&manifest("{memory-minimum}"), "its memory starts at 4GiB, over its `memory` limit of 128MiB");
    refused_whole(&manifest("{wrong-signature}"), "incompatible import type for `wasi_snapshot_preview1::fd_write`");
    refused_whole(
        &manifest("{component-bomb}"),
        "it fits no contract of this host; `samara inspect` shows what it exports",
    );
    samara("serve nowhere.wasm")
        .fails(2, "nowhere.wasm: workload `nowhere`: reading `nowhere.wasm`: No such file or directory");
    samara("serve nowhere.toml").fails(2, "reading the manifest `nowhere.toml`: No such file or directory");
}

#[test]
fn two_apps_cannot_claim_one_route() {
    let app = |name: &str| {
        format!(
            "app.name = \"{name}\"\nworkload.w.source = \"{{http-hello}}\"\ntrigger = [{{ http.path = \"/a/:x\", fn = \"w\" }}]"
        )
    };
    let apps = Apps::new(&[("one.toml", &app("one")), ("two.toml", &app("two"))]);
    let both = samara("serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 one.toml two.toml").within(apps.folder()).run();
    assert!(
        both.code == 2
            && both.stderr.contains("two.toml:3 (app default/two): ")
            && both.stderr.contains("at one.toml:3 (app default/one)"),
        "{both}"
    );
}

#[test]
fn the_operators_file_is_the_ceiling() {
    let app = "app = { name = \"shop\", tenant = \"acme\" }\nworkload.w.source = \"{http-hello}\"\nworkload.w.limits.memory = \"1GiB\"\ntrigger = [{ http.path = \"/\", fn = \"w\" }]";
    let apps = Apps::new(&[
        ("samara.toml", app),
        ("strangers.toml", "[tenant.umbrella]\nmemory = \"1GiB\""),
        ("low.toml", "[tenant.acme]\nlimits.memory = \"256MiB\""),
    ]);
    let serve = |host: &str| {
        samara(&format!("serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 --host {host} samara.toml"))
            .within(apps.folder())
    };
    serve("strangers.toml").fails(2, "`acme`");
    serve("low.toml").fails(
        2,
        "samara.toml:3:28: `memory` of workload `w`: `1GiB` is over the ceiling of `256MiB` that tenant `acme` has",
    );
    serve("nowhere.toml").fails(2, "reading the host file `nowhere.toml`: No such file or directory");
}

#[test]
fn the_operator_can_switch_wasi_0_3_off() {
    let apps = Apps::new(&[("host.toml", "[engine]\nwasi03 = false\n[tenant.default]")]);
    let serve =
        |guest: &str| samara(&format!("serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 --host host.toml {{{guest}}}"));
    let message =
        "uses WASI 0.3, which is switched off here; `wasi03 = true` in [engine] of the host file would allow it";
    for guest in ["http-p3", "spin7-hello", "cli-p3"] {
        serve(guest).within(apps.folder()).fails(2, message);
    }
}

#[test]
fn a_port_in_use_is_named_with_the_option_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let message =
        format!("`{address}` is in use; stop what listens there, or choose another with `--listen 127.0.0.1:0`");
    samara(&format!("serve --listen {address} --admin 127.0.0.1:0 {{http-hello}}")).fails(2, &message);
}

#[test]
fn any_file_of_bytes_gets_an_error_that_says_where_and_what() {
    let folder = tempfile::tempdir().unwrap();
    let module = fs::read(guest("cli-p1")).unwrap();
    let mut mutated = module.clone();
    mutated[8..].chunks_mut(997).for_each(|chunk| chunk[0] ^= 0x55);
    let cases: [(&str, &[u8], &str); 6] = [
        ("empty.wasm", b"", "the file is empty; expected a WebAssembly module or component"),
        ("text.wasm", b"hello, world\n", "not WebAssembly at byte 0: found `hello, "),
        (
            "script.wasm",
            b"#!/bin/sh\n",
            "not WebAssembly at byte 0: found a script; a module or component starts with `\\0asm`",
        ),
        ("cut.wasm", &module[..module.len() / 2], "; the file is truncated, or a length in it is wrong"),
        ("section.wasm", b"\0asm\x01\0\0\0\x01\xff\xff\xff\xff\x0f", "malformed at byte "),
        ("mutated.wasm", &mutated, "malformed at byte "),
    ];
    for (name, bytes, message) in cases {
        fs::write(folder.path().join(name), bytes).unwrap();
        for command in ["inspect", "run", "validate", "print"] {
            let ran = samara(command).arg(name).within(folder.path()).run();
            // A tool that works on text or on several files says 1, a usage error 2; never 101, a panic.
            assert!((1..=2).contains(&ran.code) && ran.stderr.contains(name), "{ran}");
            assert!(command == "print" || command == "validate" || ran.stderr.contains(message), "{ran}");
        }
    }
    samara("run nowhere.wasm").fails(2, "reading `nowhere.wasm`: No such file or directory");
    samara("inspect nowhere.wasm").fails(2, "`nowhere.wasm`: No such file or directory");
    samara("run .").fails(2, "`.` is a directory, not a WebAssembly file");
}

#[test]
fn a_command_line_that_does_not_parse_says_what_would() {
    samara("run --memory lots {cli-p1}").fails(2, "`lots` is not a size; write `64MiB`, `512KiB` or a number of bytes");
    samara("run --cpu 5 {cli-p1}").fails(2, "`5` is not a duration; write `50ms`, `2s` or `1m`");
    samara("run --kv carts=mem: {cli-p1}").fails(2, "no key-value provider for `mem:`; known schemes: memory");
    samara("run --contract wasi-clu {cli-p1}").fails(2, "no contract is called `wasi-clu`; known contracts:");
    samara("run {http-hello}").fails(2, "it cannot answer command calls; it answers http calls through `wasi-http`");
    samara("run --http not-an-origin {cli-p1}").fails(2, "not-an-origin");
    samara("serv").fails(2, "a similar subcommand exists: 'serve'");
}

#[test]
fn a_module_that_traps_in_its_start_function_is_the_guests_fault() {
    samara("run {start-trap}")
        .fails(134, "error: the guest failed: wasm trap: wasm `unreachable` instruction executed");
    let serving = crate::serving::serve("{start-trap}");
    serving.answers("GET /", "", 502, "the application failed");
    serving.logs(&["the guest failed: wasm trap", "start-trap", "blame=guest"]);
}
