//! Work that nobody asks for: times and changes, and what is refused of them.

use crate::{
    process::PATIENCE,
    samara,
    serving::{eventually, serve_app},
    swap::Operated,
};

/// An app whose store is watched by a function, and that calls another by the clock.
const SHOP: &str = r#"
    app.name = "shop"
    store.visits.provider = "memory"
    workload.counter = { source = "{http-kit}", grants = { kv = ["visits"] } }
    workload.ticker.source = "{shapes}"
    workload.command.source = "{cli-p1}"
    workload.watcher.source = "{kv-draft2}"
    trigger = [
        { http = { path = "/*rest" }, fn = "counter" },
        { every = "100ms", fn = "ticker", operation = "nothing" },
        { cron = "* * * * * *", time_zone = "Europe/Berlin", fn = "command" },
        { watch = { store = "visits", prefix = "cli" }, fn = "watcher", operation = "race" },
    ]
"#;

/// How many calls of a workload ended well.
fn calls(workload: &str) -> String {
    format!("samara_calls_total{{tenant=\"default\",app=\"shop\",workload=\"{workload}\",outcome=\"ok\"}}")
}

#[test]
fn times_and_changes_call_workloads() {
    let serving = serve_app(SHOP);
    for workload in ["ticker", "command"] {
        let called = || serving.metric(&calls(workload)) >= 2.0;
        assert!(eventually(called), "{workload} is not called within {PATIENCE:?}\n{}", serving.log());
    }
    // The watch may not be there yet when the first change is made.
    let changed = || {
        serving.answers("POST /kv-incr/visits/clicks", "", 200, "");
        serving.metric(&calls("watcher")) >= 1.0
    };
    assert!(eventually(changed), "{}", serving.log());
    // It was told the kind of change and the key, which this function takes for a store and a key.
    serving.logs(&["denied", "shop/watcher", "key-value store `set`"]);
}

/// A component of wasmCloud publishes, one of Spin's handles, and what that one fails is taken by wasmCloud's again.
const POST: &str = r#"
    app.name = "post"
    store.bus.provider = "memory"
    store.kept.provider = "memory"
    workload.front = { source = "{wasmcloud-kit}", grants = { messaging = { store = "bus", publish = ["orders.*"] }, kv = ["kept"] } }
    workload.mailer = { source = "{spin7-redis}", grants = { kv = ["kept"] } }
    workload.undertaker = { source = "{wasmcloud-kit}", grants = { kv = ["kept"] } }
    trigger = [
        { http = { path = "/*rest" }, fn = "front" },
        { subject = "orders.*", store = "bus", group = "mailers", acknowledge = true, tries = 2, dead_letter = "lost.orders", fn = "mailer" },
        { subject = "lost.*", store = "bus", fn = "undertaker" },
    ]
"#;

#[test]
fn messages_call_workloads_and_what_fails_goes_to_its_dead_letter() {
    let serving = serve_app(POST);
    let kept = |key: &str| serving.request(&format!("GET /kv/kept/{key}"), &[], "").body;
    // The subscription may not be there yet when the first message is sent.
    let handled = || {
        serving.answers("POST /publish/orders.new", "apple", 200, "");
        kept("last") == "apple"
    };
    assert!(eventually(handled), "{}", serving.log());
    serving.answers("POST /publish/orders.new", "fail", 200, "");
    assert!(eventually(|| kept("lost.orders") == "fail"), "{}", serving.log());
    serving.answers("POST /publish/elsewhere", "x", 502, "would allow it");
}

#[test]
fn triggers_end_with_the_version_that_has_them() {
    let host = Operated::start("", &[("shop.toml", SHOP)]);
    assert!(eventually(|| host.serving.metric(&calls("ticker")) >= 1.0), "{}", host.serving.log());
    let lines = SHOP.lines().filter(|line| !line.contains("every =") && !line.contains("cron ="));
    host.put("shop", "", &lines.collect::<Vec<_>>().join("\n"), 200);
    // What was begun may end.
    let still = || {
        let before = host.serving.metric(&calls("ticker"));
        std::thread::park_timeout(std::time::Duration::from_millis(500));
        (host.serving.metric(&calls("ticker")) - before).abs() < 0.5
    };
    assert!(eventually(still), "{}", host.serving.log());
    host.gets("POST /v1/apps/default/shop/rollback", "", 200);
    let before = host.serving.metric(&calls("ticker"));
    assert!(eventually(|| host.serving.metric(&calls("ticker")) > before), "{}", host.serving.log());
}

#[test]
fn triggers_that_cannot_be_are_refused_with_their_line() {
    let refused = |trigger: &str, says: &str| {
        let app = crate::serving::Apps::new(&[(
            "samara.toml",
            &format!(
                "app.name = \"shop\"\nworkload.w.source = \"{{http-hello}}\"\n[[trigger]]\n{trigger}\nfn = \"w\"\n"
            ),
        )]);
        samara("serve --listen 127.0.0.1:0 --admin 127.0.0.1:0").arg(app.path("samara.toml")).fails(2, says);
    };
    refused("every = \"1ms\"\noperation = \"x\"", "cannot answer function calls");
    refused("every = \"1s\"", "it cannot answer command calls");
    refused("subject = \"a.*\"\ndead_letter = \"a b\"", "not a subject");
    let function = |trigger: &str, says: &str| {
        let app = crate::serving::Apps::new(&[(
            "samara.toml",
            &format!(
                "app.name = \"shop\"\nworkload.w.source = \"{{shapes}}\"\n[[trigger]]\n{trigger}\nfn = \"w\"\noperation = \"count\"\n"
            ),
        )]);
        samara("serve --listen 127.0.0.1:0 --admin 127.0.0.1:0").arg(app.path("samara.toml")).fails(2, says);
    };
    function("every = \"1ms\"", "every `1ms` cannot be");
    function("cron = \"whenever\"", "`whenever` is no cron expression");
    function("cron = \"0 3 * * *\"\ntime_zone = \"Mars/Olympus\"", "Mars/Olympus");
    function("subject = \"a.*\"\nacknowledge = true", "messages are acknowledged by a group");
    function("subject = \"a.*\"\ndead_letter = \"a.dead\"", "would come back for ever");
}
