//! Stores as an operator meets them: what an app does with them, the least it needs, and other servers behind their names.

use std::{
    net::{SocketAddr, TcpListener},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::{
    process::Ran,
    samara,
    serving::{eventually, request},
    swap::{Operated, with_guests},
};

/// An app that counts, with these grants of its store.
fn counter(grants: &str) -> String {
    format!(
        r#"
        app.name = "shop"
        [store.visits]
        provider = "memory"
        [workload.counter]
        source = "{{http-kit}}"
        {grants}
        [[trigger]]
        http = {{ path = "/*rest" }}
        fn = "counter"
        "#
    )
}

/// Asks the host by a command of the line.
fn asked(host: &Operated, line: &str) -> Ran {
    let ran = samara(line).arg("--admin").arg(host.serving.admin.to_string()).run();
    assert_eq!(ran.code, 0, "{ran}");
    ran
}

#[test]
fn what_an_app_used_is_told_and_suffices_as_its_grants() {
    let host = Operated::start("", &[("shop.toml", &counter("grants.kv = [\"visits\"]"))]);
    let use_it = || {
        host.serving.answers("POST /kv-incr/visits/clicks?by=2", "", 200, "");
        host.serving.answers("GET /kv/visits/clicks", "", 200, "");
    };
    let ran = asked(&host, "inspect --usage shop");
    assert!(ran.stdout.contains("used      nothing"), "{ran}");
    use_it();
    use_it();
    host.serving.request("GET /fetch?url=http://example.com/", &[], "");
    host.serving.settled();

    let ran = asked(&host, "inspect --usage shop");
    for part in
        ["counter", "asks for", "visits", "get, set, delete, increment, list", "increment", "IT ASKED FOR", "http = ["]
    {
        assert!(ran.stdout.contains(part), "no {part}: {ran}");
    }
    let usage = host.gets("GET /v1/apps/default/shop/usage", "", 200);
    let used = usage[0]["used"].as_array().unwrap();
    let get = used.iter().find(|one| one["operation"] == "get").unwrap();
    assert_eq!(
        (&get["capability"], &get["store"], &get["count"], &get["failed"]),
        (&"kv".into(), &"visits".into(), &2.into(), &0.into())
    );
    let labels = "tenant=\"default\",app=\"shop\",workload=\"counter\"";
    let told = format!(
        "samara_capability_seconds_count{{{labels},capability=\"kv\",store=\"visits\",operation=\"get\",outcome=\"ok\"}}"
    );
    assert!(host.serving.metric(&told) >= 2.0, "{told}");

    let suggested = asked(&host, "grants suggest shop").stdout;
    assert!(suggested.contains("kv = [{ store = \"visits\", ops = [\"get\", \"increment\"] }]"), "{suggested}");
    let grants = suggested.lines().find(|line| line.starts_with("kv = ")).unwrap();
    host.put("shop", "", &counter(&format!("grants.{grants}")), 200);
    use_it();
    host.serving.answers("PUT /kv/visits/clicks", "1", 403, "");
    let counted = asked(&host, "inspect --usage shop --json");
    let counted: serde_json::Value = serde_json::from_str(&counted.stdout).unwrap();
    assert!(counted[0]["denied"].to_string().contains("set"), "{counted}");
}

#[test]
fn usage_of_what_is_not_there_is_refused_by_name() {
    let host = Operated::start("", &[("shop.toml", &counter(""))]);
    host.refuses("GET /v1/apps/default/other/usage", "", 404, &["`default/other`"]);
    let admin = host.serving.admin.to_string();
    samara("inspect --usage other --admin").arg(&admin).fails(1, "default/other");
    samara("grants suggest ../x --admin").arg(&admin).fails(2, "is not a name");
}

/// Has the host of a test lead its store elsewhere.
fn link(host: &Operated, provider: &str) -> Ran {
    let ran = samara("link shop visits")
        .arg(provider)
        .arg("--admin")
        .arg(host.serving.admin.to_string())
        .arg("--token-file")
        .arg(host.apps.path("admin.token"))
        .run();
    assert_eq!(ran.code, 0, "{ran}\n{}", host.serving.log());
    ran
}

#[test]
fn a_store_is_linked_elsewhere_under_load() {
    let host = Operated::start("", &[("shop.toml", &counter("grants.kv = [\"visits\"]"))]);
    let stop = AtomicBool::new(false);
    let file = host.apps.path("visits.redb");
    let counted: Vec<u64> = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut counted = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let answer = host.serving.answers("POST /kv-incr/visits/clicks", "", 200, "");
                        counted.push(answer.body.trim().parse().unwrap());
                    }
                    counted
                })
            })
            .collect();
        let _end = End(&stop);
        let grown = || used(&host, "increment") > 50;
        assert!(eventually(grown), "{}", host.serving.log());
        let ran = link(&host, &format!("redb:{}", file.display()));
        assert!(ran.stdout.contains("until the host ends"), "{ran}");
        let before = used(&host, "increment");
        assert!(eventually(|| used(&host, "increment") > before + 50), "{}", host.serving.log());
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    // The new store began from nothing: every number of each of both was answered once.
    let after: u64 = host.serving.answers("GET /kv/visits/clicks", "", 200, "").body.trim().parse().unwrap();
    let before = counted.len() as u64 - after;
    let mut expected: Vec<_> = (1..=before).chain(1..=after).collect();
    let mut counted = counted;
    counted.sort_unstable();
    expected.sort_unstable();
    assert!(before > 0 && after > 0, "{before} and {after}");
    assert_eq!(counted, expected, "{before} before the link and {after} after it");

    let store = &host.gets("GET /v1/apps/default/shop", "", 200)["versions"][0]["stores"][0];
    assert_eq!((store["declared"].as_str(), &store["capabilities"][0]), (Some("memory"), &"kv".into()), "{store}");
    // The same manifest again, with another limit: the link stays, and so does what is behind it.
    host.put("shop", "", &counter("grants.kv = [\"visits\"]\nlimits.concurrency = 8"), 200);
    assert_eq!(host.serving.answers("GET /kv/visits/clicks", "", 200, "").body.trim(), after.to_string());
}

#[test]
fn a_store_is_linked_with_its_keys() {
    let host = Operated::start("", &[("shop.toml", &counter("grants.kv = [\"visits\"]"))]);
    let count = |number: &str| host.serving.answers("POST /kv-incr/visits/clicks", "", 200, number);
    let files = tempfile::tempdir().unwrap();
    let file = format!("redb:{}", files.path().join("visits.redb").display());
    let link = |provider: &str, copy: &str| {
        samara("link shop visits")
            .arg(provider)
            .arg(copy)
            .arg("--admin")
            .arg(host.serving.admin.to_string())
            .arg("--token-file")
            .arg(host.apps.path("admin.token"))
            .run()
    };
    count("1");
    let linked = link(&file, "--copy");
    assert!(linked.code == 0 && linked.stdout.contains("with what it held"), "{linked}");
    count("2");
    assert_eq!(link("memory", "--copy").code, 0);
    count("3");
    // What is there already is not overwritten unless that is said.
    let refused = link(&file, "--copy");
    assert!(refused.code == 1 && refused.stderr.contains("was not linked"), "{refused}");
    count("4");
    assert_eq!(link(&file, "--copy=replace").code, 0);
    count("5");
    assert_eq!(link("memory", "--copy=sometimes").code, 2);
}

#[test]
fn a_blob_store_is_linked_with_its_objects() {
    let manifest = r#"
        app.name = "shop"
        [store.visits]
        provider = "memory"
        [workload.kit]
        source = "{wasmcloud-kit}"
        grants.blob = ["visits"]
        [[trigger]]
        http = { path = "/*rest" }
        fn = "kit"
    "#;
    let host = Operated::start("", &[("shop.toml", manifest)]);
    host.serving.answers("PUT /container/pictures", "", 200, "");
    for number in 0..40 {
        host.serving.answers(&format!("PUT /blob/pictures/{number}"), &format!("picture {number}"), 200, "");
    }
    let link = |provider: &str, copy: &str| {
        let command =
            samara("link shop visits").arg(provider).arg(copy).arg("--admin").arg(host.serving.admin.to_string());
        command.arg("--token-file").arg(host.apps.path("admin.token")).run()
    };
    let files = tempfile::tempdir().unwrap();
    let folder = format!("fs:{}", files.path().display());
    let ran = link(&folder, "--copy");
    assert!(ran.code == 0 && ran.stdout.contains("with what it held"), "{ran}\n{}", host.serving.log());
    let stored = std::fs::read_dir(files.path()).unwrap().count();
    assert!(stored > 0, "nothing is in the folder");
    host.serving.answers("GET /blob/pictures/39", "", 200, "picture 39");
    host.serving.answers("DELETE /blob/pictures/0", "", 200, "");
    let ran = link("memory", "--copy=replace");
    assert_eq!(ran.code, 0, "{ran}\n{}", host.serving.log());
    host.serving.answers("GET /blob/pictures/0", "", 404, "");
    host.serving.answers("GET /blob/pictures/1", "", 200, "picture 1");
}

#[test]
fn a_link_that_does_not_open_changes_nothing() {
    let host = Operated::start("", &[("shop.toml", &counter("grants.kv = [\"visits\"]"))]);
    host.serving.answers("POST /kv-incr/visits/clicks", "", 200, "1");
    let closed = format!("redis://user:hunter2@{}", closed_address());
    for (provider, says) in [
        ("mem:", "no key-value provider for `mem:`"),
        ("redb:./relative.redb", "relative path"),
        ("redb:/dev/null/visits.redb", "was not linked"),
        (closed.as_str(), "was not linked"),
    ] {
        let body = serde_json::json!({ "provider": provider }).to_string();
        host.refuses("PUT /v1/apps/default/shop/stores/visits", &body, 422, &[says]);
    }
    let body = r#"{"provider": "redis://127.0.0.1:1", "settings": {"password": "file:./password"}}"#;
    host.refuses("PUT /v1/apps/default/shop/stores/visits", body, 422, &["`./password` is a relative path"]);
    let elsewhere = counter("grants.kv = [\"visits\"]").replace("\"memory\"", "\"redb:./visits.redb\"");
    let elsewhere = with_guests(&elsewhere.replace("\"shop\"", "\"other\""));
    host.refuses(
        "PUT /v1/apps/default/other",
        &elsewhere,
        422,
        &["`./visits.redb` is a relative path", "?base=/folder"],
    );
    host.refuses(
        "PUT /v1/apps/default/shop/stores/other",
        r#"{"provider": "memory"}"#,
        404,
        &["`other`", "it has `visits`"],
    );
    host.refuses("PUT /v1/apps/default/shop/stores/visits", "", 400, &["the body is empty"]);
    host.serving.answers("POST /kv-incr/visits/clicks", "", 200, "2");
    assert!(!host.serving.log().contains("hunter2"), "{}", host.serving.log());
}

#[test]
fn who_needs_a_server_that_is_down_waits_and_the_others_serve() {
    let closed = closed_address();
    let manifest = format!(
        r#"
        app.name = "shop"
        store.visits.provider = "redis://user:hunter2@{closed}"
        workload.counter = {{ source = "{{http-kit}}", grants = {{ kv = ["visits"] }} }}
        workload.hello.source = "{{http-hello}}"
        [[trigger]]
        http = {{ path = "/hello" }}
        fn = "hello"
        [[trigger]]
        http = {{ path = "/*rest" }}
        fn = "counter"
        "#
    );
    let host = Operated::start("", &[("shop.toml", &manifest)]);
    host.serving.answers("GET /hello", "", 200, "");
    let refused = host.serving.answers("GET /kv/visits/clicks", "", 503, "");
    assert_eq!(refused.header("retry-after"), Some("1"), "{refused:?}");
    let ready = request(host.serving.admin, "GET /readyz/default/shop", &[], b"").unwrap();
    assert_eq!(ready.status, 503, "{ready:?}");
    assert!(ready.body.contains("workload `counter` waits for its store `visits`"), "{ready:?}");
    let app = host.gets("GET /v1/apps/default/shop", "", 200);
    assert_eq!(
        (app["state"].as_str(), &app["versions"][0]["waiting"][0]["workload"]),
        (Some("waiting"), &"counter".into())
    );
    // A version that would wait does not replace one that serves.
    let other = manifest.replace("\"shop\"", "\"other\"").replace("path = \"/", "path = \"/other/");
    let serving = other.replace(&format!("redis://user:hunter2@{closed}"), "memory");
    host.put("other", "", &serving, 201);
    let base = host.apps.folder().display();
    let line = format!("PUT /v1/apps/default/other?base={base}");
    host.refuses(&line, &with_guests(&other), 422, &["would wait for its store `visits`"]);
    host.serving.answers("GET /other/hello", "", 200, "");

    link(&host, "memory");
    host.serving.answers("POST /kv-incr/visits/clicks", "", 200, "1");
    host.serving.answers("GET /hello", "", 200, "");
    let shown = host.gets("GET /v1/apps", "", 200).to_string() + &host.serving.log();
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[cfg(feature = "external-tests")]
#[test]
fn who_waits_for_a_server_serves_when_it_is_there() {
    let address = closed_address();
    let manifest = counter("grants.kv = [\"visits\"]").replace("\"memory\"", &format!("\"redis://{address}\""));
    let host = Operated::start("", &[("shop.toml", &manifest)]);
    host.serving.answers("GET /kv/visits/clicks", "", 503, "");
    let data = tempfile::tempdir().unwrap();
    let mut server = std::process::Command::new("redis-server")
        .args(["--save", "", "--bind", &address.ip().to_string(), "--port", &address.port().to_string(), "--dir"])
        .arg(data.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("redis-server is there; `apt-get install redis-server`");
    let serves = eventually(|| host.serving.request("POST /kv-incr/visits/clicks", &[], "").status == 200);
    let log = host.serving.log();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(serves && log.contains("the stores it waited for are there"), "{log}");
}

/// How often the app did an operation.
fn used(host: &Operated, operation: &str) -> u64 {
    let usage = host.gets("GET /v1/apps/default/shop/usage", "", 200);
    let used = usage[0]["used"].as_array().unwrap().iter().find(|one| one["operation"] == operation);
    used.map_or(0, |one| one["count"].as_u64().unwrap())
}

/// An address where nobody listens.
fn closed_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Ends the load of a test that fails, so that it is told.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
