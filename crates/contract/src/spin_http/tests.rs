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

/// A module as linkers made them of libraries: before and after each export the language is set up and taken down, which asks
/// the host. Its handler answers 200 if that was done before.
const WRAPPED: &str = r#"(module
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
  (memory (export "memory") 16)
  (global $up (mut i32) (i32.const 0))
  (global $top (mut i32) (i32.const 65536))
  (func $constructors
    (drop (call $environ (i32.const 16) (i32.const 20)))
    (global.set $up (i32.add (global.get $up) (i32.const 1))))
  (func $destructors)
  (func $realloc (param i32 i32 i32 i32) (result i32)
    (global.get $top)
    (global.set $top (i32.and (i32.add (i32.add (global.get $top) (local.get 3)) (i32.const 7)) (i32.const -8))))
  (func $handle (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (i32.store16 (i32.const 32) (i32.add (i32.const 199) (global.get $up)))
    (i32.const 32))
  (func (export "canonical_abi_realloc") (param i32 i32 i32 i32) (result i32)
    (call $constructors)
    (call $realloc (local.get 0) (local.get 1) (local.get 2) (local.get 3))
    (call $destructors))
  (func (export "handle-http-request") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $constructors)
    (call $handle (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)
      (local.get 5) (local.get 6) (local.get 7) (local.get 8) (local.get 9))
    (call $destructors)))"#;

#[tokio::test]
async fn a_module_that_sets_itself_up_with_each_call_does_so_once() {
    let workload = load(WRAPPED, Shape::Http, |_| {}).await;
    let request = http::Request::builder().uri("http://shop.test/").body(full("x")).unwrap();
    let call = HttpCall { request, caller: Caller::default(), route: "/*rest".into(), params: Vec::new() };
    let reply = runtime().call(&workload, Call::Http(call)).await.unwrap();
    assert!(matches!(&reply, Reply::Http(response) if response.status() == 200), "{reply:?}");
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
