//! A module of Spin 0.x as a component of Spin 1, and what its host tells it.

use std::sync::Arc;

use http_body_util::BodyExt;
use samara_capability::kv;
use samara_inspect::Module;
use samara_model::{Call, Caller, Fault, HttpCall, KvGrant, Reply, Shape, Tenant, full};
use samara_runtime::{Contract as _, Workload};

use super::SpinHttp;
use crate::testing::{load, runtime};

const GUEST: &str = "spin_http/spin0-kit";

/// A request on the route `/*rest`; what it is answered with.
async fn ask(workload: &Arc<Workload>, method: &str, uri: &str, body: &str) -> Result<(u16, String), Fault> {
    let request = http::Request::builder()
        .method(method)
        .uri(format!("http://shop.test{uri}"))
        .header("x-theirs", "one")
        .header("spin-path-info", "/forged")
        .body(full(body.to_owned()))
        .unwrap();
    let rest = uri.split('?').next().unwrap().trim_start_matches('/').to_owned();
    let caller = Caller { peer: Some("192.0.2.1:4000".parse().unwrap()), ..Caller::default() };
    let call = HttpCall { request, caller, route: "/*rest".into(), params: vec![("rest".into(), rest)] };
    match runtime().call(workload, Call::Http(call)).await? {
        Reply::Http(response) => {
            assert_eq!(response.headers()["x-made-by"], "spin0-kit");
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.map_err(|error| Fault::Host(error.to_string()))?.to_bytes();
            Ok((status, String::from_utf8_lossy(&body).into_owned()))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_module_of_spin_0_is_told_everything_of_a_request() {
    let workload = load(GUEST, Shape::Http, |definition| definition.limits.request_body_bytes = 10).await;
    assert_eq!(workload.contract.name(), "spin-http");
    let (status, told) = ask(&workload, "POST", "/echo/a?b=c%20d&e", "hello").await.unwrap();
    assert_eq!(status, 200, "{told}");
    for line in ["method 1", "uri /echo/a?b=c%20d&e", "params b=c d e=", "body hello"] {
        assert!(told.lines().any(|told| told == line), "no `{line}` in:\n{told}");
    }
    for header in [
        "x-theirs=one",
        "spin-full-url=http://shop.test/echo/a?b=c%20d&e",
        "spin-path-info=/echo/a",
        "spin-matched-route=/*rest",
        "spin-client-addr=192.0.2.1:4000",
    ] {
        assert!(told.contains(header), "no `{header}` in:\n{told}");
    }
    assert!(!told.contains("/forged"), "{told}");
    let (_, told) = ask(&workload, "GET", "/echo", "").await.unwrap();
    assert!(told.contains("method 0") && told.contains("no body"), "{told}");

    for (method, uri, body, status) in
        [("TRACE", "/echo", "", 405), ("PUT", "/echo", "eleven byte", 413), ("GET", "/nothing", "", 502)]
    {
        let fault = ask(&workload, method, uri, body).await.unwrap_err();
        assert_eq!(fault.status(), status, "{method} {uri}: {fault:?}");
    }
}

#[tokio::test]
async fn a_module_of_spin_0_uses_what_it_is_granted_under_the_names_of_then() {
    let backend = kv::open("memory:", &Default::default(), &kv::NoWorkloads).await.unwrap();
    let counters = kv::Store::new("counters", &Tenant::default(), backend).await.unwrap();
    let workload = load(GUEST, Shape::Http, |definition| {
        definition.stores.kv.insert("counters".into(), counters.clone());
        definition.grants.kv.insert("counters".into(), KvGrant::default());
        definition.grants.config.insert("greeting".into(), "hello".into());
    })
    .await;
    for count in ["1", "2"] {
        assert_eq!(ask(&workload, "POST", "/count/visits", "").await.unwrap(), (200, count.to_owned()));
    }
    assert_eq!(ask(&workload, "GET", "/variable/greeting", "").await.unwrap(), (200, "hello".to_owned()));
    let (status, why) = ask(&workload, "GET", "/variable/other", "").await.unwrap();
    assert!(status == 500 && why.contains("other"), "{why}");
    // The destination is not allowed.
    assert_eq!(ask(&workload, "POST", "/fetch", "http://shop.test/").await.unwrap(), (500, "error 1".to_owned()));
    assert_eq!(ask(&workload, "POST", "/fetch", "no url").await.unwrap(), (500, "error 2".to_owned()));

    let none = load(GUEST, Shape::Http, |_| {}).await;
    let (status, why) = ask(&none, "POST", "/count/visits", "").await.unwrap();
    assert!(status == 500 && why.starts_with("open: error"), "{why}");
}

#[test]
fn a_component_is_known_by_what_it_exports() {
    let fit = |export: &str| {
        let text = format!(
            "(component (component $c (core module $m (func (export \"h\"))) (core instance $i (instantiate $m)) \
             (func (export \"handle-request\") (canon lift (core func $i \"h\")))) (instance $i (instantiate $c)) \
             (export \"{export}\" (instance $i)))"
        );
        let module = Module::read(&wat::parse_str(text).unwrap()).unwrap();
        SpinHttp.fit(&module).into_iter().map(|fit| fit.why).collect::<Vec<_>>()
    };
    assert_eq!(fit("fermyon:spin/inbound-http"), ["exports `fermyon:spin/inbound-http`"]);
    assert!(fit("fermyon:spin/inbound-redis").is_empty());
}
