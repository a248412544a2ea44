//! Guests that ask other workloads of their app by HTTP: by `NAME.workload.internal`, and by `NAME.spin.internal` as Spin's do.

use std::fs;

use crate::serving::{Apps, serve};

const APP: &str = r#"
    app.name = "shop"
    [workload.front]
    source = "{http-kit}"
    grants.http = ["http://back.workload.internal", "http://script.spin.internal", "http://page.workload.internal", "http://nobody.workload.internal", "http://front.workload.internal"]
    limits.depth = 2
    [workload.other]
    source = "{http-kit}"
    grants.http = ["http://*", "http://*:*"]
    [workload.back]
    source = "{http-echo}"
    [workload.script]
    source = "{cgi-hello}"
    [workload.page]
    files = "./public"
    [[trigger]]
    http.path = "/*rest"
    fn = "front"
    [[trigger]]
    http = { host = "other.test", path = "/*rest" }
    fn = "other"
"#;

#[test]
fn a_guest_asks_another_of_its_app_and_nobody_else_can() {
    let apps = Apps::new(&[("samara.toml", APP)]);
    fs::create_dir(apps.path("public")).unwrap();
    fs::write(apps.path("public/index.html"), "<h1>shop</h1>").unwrap();
    let serving = serve(&apps.path("samara.toml").display().to_string());
    // A component, a command by CGI, a folder: whatever the gateway has words for.
    serving.answers("POST /fetch?url=http://back.workload.internal/echo", "pear", 200, "pear");
    serving.answers("GET /fetch?url=http://BACK.spin.internal/echo", "", 502, "HttpRequestDenied");
    serving.answers("GET /fetch?url=http://script.spin.internal/", "", 200, "");
    serving.answers("GET /fetch?url=http://page.workload.internal/", "", 200, "<h1>shop</h1>");
    // What is granted and not there, there and not granted, or outside.
    serving.answers("GET /fetch?url=http://nobody.workload.internal/", "", 502, "DestinationNotFound");
    serving.answers("GET /fetch?url=http://other.workload.internal/", "", 502, "HttpRequestDenied");
    assert!(serving.log().contains("http = [\"http://other.workload.internal\"]"), "{}", serving.log());
    let other = serving.request("GET /fetch?url=http://back.workload.internal/echo", &["host: other.test"], "");
    assert!(other.body.contains("HttpRequestDenied"), "every host is not every workload: {other:?}");
    // From outside the names lead nowhere.
    let outside = serving.request("GET /", &["host: back.workload.internal"], "");
    assert!(!outside.body.contains("<h1>"), "{outside:?}");
    // Twice round is as far as it goes.
    let inner = "http://front.workload.internal/fetch?url=http://front.workload.internal/fetch?url=http://back.workload.internal/";
    serving.answers(
        "GET /fetch?url=http://front.workload.internal/fetch?url=http://back.workload.internal/",
        "",
        200,
        "",
    );
    serving.answers(&format!("GET /fetch?url={inner}"), "", 508, "");
}

#[test]
fn an_app_of_spin_chains_its_components() {
    let spin = r#"
        spin_manifest_version = 2
        [application]
        name = "chain"
        [[trigger.http]]
        route = "/..."
        component = "front"
        [[trigger.http]]
        route = { private = true }
        component = "back"
        [[trigger.http]]
        route = "/old"
        static_response = { status_code = 301, headers = { location = "/echo" }, body = "moved" }
        [component.front]
        source = "{spin0-kit}"
        allowed_outbound_hosts = ["http://back.spin.internal"]
        [component.back]
        source = "{spin3-kit}"
        key_value_stores = ["default"]
    "#;
    let apps = Apps::new(&[("spin.toml", spin)]);
    let serving = serve(&apps.path("spin.toml").display().to_string());
    assert!(!serving.log().contains("lost"), "{}", serving.log());
    serving.answers("POST /fetch", "http://back.spin.internal/kv/default/k", 200, "nothing there");
    let moved = serving.answers("GET /old", "", 301, "moved");
    assert!(moved.headers.iter().any(|header| header == "location: /echo"), "{moved:?}");
    // The private one has no route.
    serving.answers("GET /kv/default/k", "", 500, "no such path: /kv/default/k");
}
