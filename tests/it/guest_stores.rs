//! Stores that are workloads: another guest is behind the name, and the one that asks does not know.

use std::thread;

use crate::{
    samara,
    serving::{Apps, serve},
    swap::Operated,
};

/// An app whose store is a guest, with these settings of that guest's workload and of the one that asks.
fn app(checked: &str, kit: &str) -> String {
    format!(
        r#"
        app.name = "shop"
        [store.carts]
        provider = "workload:checked"
        [store.back]
        provider = "memory"
        [store.default]
        provider = "memory"
        [store.spare]
        provider = "workload:folded"
        [workload.kit]
        source = "{{http-kit}}"
        grants.kv = ["carts"]
        {kit}
        [workload.checked]
        source = "{{kv-checked}}"
        grants.kv = ["back"]
        settings.bucket = "back"
        {checked}
        [workload.folded]
        source = "{{kv-folded}}"
        contract = "function"
        grants.kv = ["default"]
        [[trigger]]
        http = {{ path = "/*rest" }}
        fn = "kit"
        "#
    )
}

#[test]
fn a_guest_is_a_store_to_another() {
    let host = Operated::start("", &[("shop.toml", &app("reuse = 10", ""))]);
    let asks = |line: &str, body: &str, answer: &str| {
        let status = if answer.is_empty() { 204 } else { 200 };
        let told = host.serving.answers(line, body, status, "").body;
        assert_eq!(told.split_whitespace().collect::<Vec<_>>().join(" "), answer, "{line}");
    };
    for sum in ["2", "4", "6"] {
        asks("POST /kv-incr/carts/n?by=2", "", sum);
    }
    asks("PUT /kv/carts/a", "apple", "");
    asks("GET /kv/carts/a", "", "apple");
    asks("GET /kv-many/carts?keys=a,x,n", "", "a=apple n=6");
    asks("GET /kv/carts", "", "a n");
    asks("DELETE /kv/carts/a", "", "");
    asks("GET /kv/carts", "", "n");
    host.serving.answers("GET /kv/carts/a", "", 404, "");
    // What the guest does wrong is the operation's failure, told with its name, and nobody else's.
    for (key, why) in [
        ("trap", "workload `checked`: the guest failed"),
        ("spin", "workload `checked`: the guest is over its `cpu` limit"),
        ("locked", "denies access"),
    ] {
        host.serving.answers(&format!("PUT /kv/carts/{key}"), "x", 502, why);
        asks("GET /kv/carts/n", "", "6");
    }
    // What the guest keeps is in its own store, which nobody else is granted.
    host.serving.answers("GET /kv/back/n", "", 403, "");
}

#[test]
fn a_store_moves_to_a_guest_and_back() {
    let host = Operated::start("", &[("shop.toml", &app("", ""))]);
    let link = |provider: &str, copy: &str| {
        let mut command = samara("link shop carts").arg(provider).arg("--admin").arg(host.serving.admin.to_string());
        command = command.arg("--token-file").arg(host.apps.path("admin.token"));
        if copy.is_empty() { command.run() } else { command.arg(copy).run() }
    };
    let count = |number: &str| host.serving.answers("POST /kv-incr/carts/N", "", 200, number);
    count("1");
    for provider in ["memory", "workload:folded"] {
        let ran = link(provider, "--copy");
        assert_eq!(ran.code, 0, "{ran}\n{}", host.serving.log());
    }
    // What is kept there is in small letters; the functions have pages of three.
    count("2");
    for key in ["a", "B", "c", "D", "e", "F", "g"] {
        host.serving.answers(&format!("PUT /kv/carts/{key}"), key, 204, "");
    }
    let keys = host.serving.answers("GET /kv/carts", "", 200, "").body;
    assert_eq!(keys.split_whitespace().collect::<Vec<_>>(), ["a", "b", "c", "d", "e", "f", "g", "n"]);
    let ran = link("workload:checked", "--copy=replace");
    assert_eq!(ran.code, 0, "{ran}\n{}", host.serving.log());
    assert_eq!(host.serving.answers("GET /kv/carts/d", "", 200, "").body, "D");
    for (provider, why) in [
        ("workload:kit", "answers http calls, which no store does; `checked`, `folded` may be one"),
        ("workload:nobody", "no workload `nobody`"),
        ("workload:", "write the name of a workload"),
    ] {
        let ran = link(provider, "");
        assert!(ran.code != 0 && ran.stderr.contains(why), "{ran}");
    }
    // A new version of the guest is asked from the moment it serves.
    host.put("shop", "", &app("limits.cpu = \"50ms\"", ""), 200);
    host.serving.answers("GET /kv/carts/spin", "", 502, "limit of 50ms");
    host.serving.answers("GET /kv/carts/d", "", 200, "D");
}

#[test]
fn a_full_pool_leaves_room_for_the_stores_of_those_who_fill_it() {
    let slow = "limits.deadline = \"20s\"\nlimits.queue = 1000";
    let host = "[tenant.default]\n[engine]\ninstances = 16\n";
    let apps = Apps::new(&[("samara.toml", &app(slow, slow)), ("host.toml", host)]);
    let serving = serve(&format!("--host {} {}", apps.path("host.toml").display(), apps.path("samara.toml").display()));
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| serving.answers("POST /kv-incr/carts/n", "", 200, ""));
        }
    });
    serving.answers("GET /kv/carts/n", "", 200, "64");
}

#[test]
fn calls_are_nested_only_so_deep() {
    let deeper = |depth: u32| {
        let manifest = app(&format!("limits.depth = {depth}"), "");
        manifest.replace(
            "[store.back]\n        provider = \"memory\"",
            "[store.back]\n        provider = \"workload:folded\"",
        )
    };
    let host = Operated::start("", &[("shop.toml", &deeper(2))]);
    host.serving.answers("PUT /kv/carts/Apple", "red", 204, "");
    host.serving.answers("GET /kv/carts/aPPLE", "", 200, "red");
    host.put("shop", "", &deeper(1), 200);
    let why = "over its `depth` limit of 1 nested calls: `default/shop/folded` is called by `default/shop/kit`, `default/shop/checked`";
    host.serving.answers("GET /kv/carts/aPPLE", "", 502, why);
}
