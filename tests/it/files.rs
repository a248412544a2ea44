//! An app with a page: a folder as a workload, beside guests.

use std::fs;

use crate::{
    samara,
    serving::{Apps, serve},
};

const APP: &str = r#"
    app.name = "shop"
    [workload.page]
    files = "./public"
    headers = { x-frame-options = "DENY" }
    [workload.hello]
    source = "{http-hello}"
    [[trigger]]
    http.path = "/*rest"
    fn = "page"
    [[trigger]]
    http.path = "/hello"
    fn = "hello"
"#;

#[test]
fn a_folder_is_a_workload_beside_guests() {
    let apps = Apps::new(&[("samara.toml", APP)]);
    let public = apps.path("public");
    fs::create_dir_all(public.join("docs")).unwrap();
    fs::write(public.join("index.html"), "<h1>shop</h1>").unwrap();
    fs::write(public.join("docs/index.html"), "<h1>docs</h1>").unwrap();
    fs::write(apps.path("secret"), "secret").unwrap();
    let serving = serve(&apps.folder().display().to_string());
    let page = serving.answers("GET /", "", 200, "<h1>shop</h1>");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(
        (page.header("x-frame-options"), page.header("x-content-type-options")),
        (Some("DENY"), Some("nosniff"))
    );
    serving.answers("GET /hello", "", 200, "Hello, WASI!");
    serving.answers("GET /docs/", "", 200, "<h1>docs</h1>");
    assert_eq!(serving.answers("GET /docs", "", 308, "").header("location"), Some("./docs/"));
    assert_eq!(serving.request("GET /", &["if-none-match: *"], "").status, 304);
    assert_eq!(serving.request("GET /", &["range: bytes=0-3"], "").body, "<h1>");
    for path in ["/../secret", "/%2e%2e/secret", "/..%2fsecret", "/samara.toml", "/nothing"] {
        serving.answers(&format!("GET {path}"), "", 404, "nothing is served here");
    }
    serving.answers("POST /", "x", 405, "use GET, HEAD");
    // What is written shows at once, and counts as calls do.
    fs::write(public.join("new.txt"), "new").unwrap();
    serving.answers("GET /new.txt", "", 200, "new");
    serving.settled();
    let labels = r#"tenant="default",app="shop",workload="page""#;
    assert_eq!(serving.metric(&format!("samara_calls_total{{{labels},outcome=\"ok\"}}")), 6.0);
    assert_eq!(serving.metric(&format!("samara_calls_total{{{labels},outcome=\"caller\"}}")), 6.0);
}

#[test]
fn the_quota_of_a_tenant_counts_its_files() {
    let host = "[tenant.default]\nrate = \"1/s\"\n";
    let apps = Apps::new(&[("samara.toml", APP), ("host.toml", host)]);
    fs::create_dir(apps.path("public")).unwrap();
    fs::write(apps.path("public/index.html"), "page").unwrap();
    let serving = serve(&format!("--host {} {}", apps.path("host.toml").display(), apps.path("samara.toml").display()));
    let statuses: Vec<_> = (0..3).map(|_| serving.request("GET /", &[], "").status).collect();
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
}

#[test]
fn a_folder_that_is_not_there_is_refused_with_its_line() {
    let apps = Apps::new(&[("samara.toml", APP)]);
    samara("serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 samara.toml")
        .within(apps.folder())
        .fails(2, "samara.toml:3: workload `page`: opening the folder `./public`: No such file or directory");
}
