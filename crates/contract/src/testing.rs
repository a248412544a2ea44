//! Contracts are tested through `Runtime::call`, with the guests of `guests/`: one runtime for the whole test process,
//! and one loaded workload per guest and setting.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use samara_model::{
    Body, Call, Caller, Compile, Encoding, Fault, Function, Grants, HttpCall, Limits, Reply, Shape, Tenant, WorkloadId,
};
use samara_runtime::{Compiler, CompilerSettings, Definition, PoolSize, Runtime, Stores, Workload};
use samara_telemetry::Metrics;
use tokio::sync::Semaphore;

/// How long a call may take before a test takes it for lost.
const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) fn runtime() -> &'static Arc<Runtime> {
    static RUNTIME: OnceLock<Arc<Runtime>> = OnceLock::new();
    RUNTIME.get_or_init(|| runtime_of(32))
}

/// A runtime whose pool holds so many calls (16 at least).
pub(crate) fn runtime_of(calls: u32) -> Arc<Runtime> {
    Arc::new(bare(calls))
}

/// A runtime in which `compile = "tiered"` is baseline code for good.
pub(crate) fn baseline_runtime() -> &'static Arc<Runtime> {
    static RUNTIME: OnceLock<Arc<Runtime>> = OnceLock::new();
    RUNTIME.get_or_init(|| tiered_runtime(Arc::new(Semaphore::new(0))))
}

/// A runtime in which optimised code is made in these turns.
pub(crate) fn tiered_runtime(turns: Arc<Semaphore>) -> Arc<Runtime> {
    Arc::new(bare(32).with_improving(turns))
}

fn bare(calls: u32) -> Runtime {
    Runtime::new(crate::ALL, PoolSize::small(calls), Compiler::new(CompilerSettings::default()), Metrics::new())
}

/// A guest of the repository, or a module as text.
pub(crate) fn artifact(guest: &str) -> Bytes {
    if guest.trim_start().starts_with('(') {
        return wat::parse_str(guest).expect("the test's text is a module").into();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests");
    let name = Path::new(guest).file_name().expect("a guest has a name").to_string_lossy().into_owned();
    std::fs::read(root.join(guest).join(format!("{name}.wasm")))
        .unwrap_or_else(|error| panic!("{guest}: {error}"))
        .into()
}

/// How a guest is loaded, changed by a test before it is.
pub(crate) fn definition(guest: &str, shape: Shape) -> Definition {
    Definition {
        id: WorkloadId {
            tenant: Tenant::default(),
            app: "test".into(),
            name: guest.rsplit('/').next().unwrap_or("guest").into(),
        },
        bytes: artifact(guest),
        contract: None,
        shapes: vec![shape],
        grants: Grants::default(),
        limits: Limits::serve(),
        strict: false,
        features: Some(Vec::new()),
        reuse: 0,
        compile: Compile::Optimized,
        settings: serde_json::Value::Null,
        stores: Stores::default(),
    }
}

pub(crate) async fn load(guest: &str, shape: Shape, change: impl FnOnce(&mut Definition)) -> Arc<Workload> {
    load_into(runtime(), guest, shape, change).await
}

/// The same for a runtime of one's own, whose pool nobody else uses.
pub(crate) async fn load_into(
    runtime: &Arc<Runtime>,
    guest: &str,
    shape: Shape,
    change: impl FnOnce(&mut Definition),
) -> Arc<Workload> {
    let mut definition = definition(guest, shape);
    change(&mut definition);
    runtime.load(definition).await.unwrap_or_else(|fault| panic!("{guest}: {fault}"))
}

pub(crate) fn request(method: &str, path: &str, body: Body) -> Call {
    let request = http::Request::builder().method(method).uri(format!("http://shop.test{path}"));
    Call::Http(HttpCall {
        request: request.body(body).expect("the test's request is one"),
        caller: Caller::default(),
        route: "/*rest".into(),
        params: Vec::new(),
    })
}

pub(crate) async fn http(workload: &Arc<Workload>, call: Call) -> Result<http::Response<Body>, Fault> {
    match runtime().call(workload, call).await? {
        Reply::Http(response) => Ok(response),
        other => panic!("not an HTTP reply: {other:?}"),
    }
}

/// `GET path` to the end: the status and the body, or the label of the fault, before or in the body.
pub(crate) async fn get(workload: &Arc<Workload>, path: &str) -> String {
    get_from(runtime(), workload, path).await
}

/// The same of a runtime of one's own.
pub(crate) async fn get_from(runtime: &Arc<Runtime>, workload: &Arc<Workload>, path: &str) -> String {
    let answer = get_in_time(runtime, workload, path);
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| format!("no answer to {path} in {PATIENCE:?}"))
}

async fn get_in_time(runtime: &Arc<Runtime>, workload: &Arc<Workload>, path: &str) -> String {
    let response = match runtime.call(workload, request("GET", path, samara_model::empty())).await {
        Ok(Reply::Http(response)) => response,
        Ok(other) => panic!("not an HTTP reply: {other:?}"),
        Err(fault) => return format!("fault {}", fault.label()),
    };
    let status = response.status().as_u16();
    match response.into_body().collect().await {
        Ok(body) => format!("{status} {}", String::from_utf8_lossy(&body.to_bytes()).trim_end()),
        Err(error) => format!("{status} then {error}"),
    }
}

/// Calls a function with JSON arguments; the result, or `status: message`.
pub(crate) async fn function(workload: &Arc<Workload>, name: &str, payload: &str, encoding: Encoding) -> String {
    function_of(runtime(), workload, name, payload, encoding).await
}

/// The same of a runtime of one's own.
pub(crate) async fn function_of(
    runtime: &Arc<Runtime>,
    workload: &Arc<Workload>,
    name: &str,
    payload: &str,
    encoding: Encoding,
) -> String {
    let call = Call::Function(Function { operation: name.to_owned(), payload: payload.to_owned().into(), encoding });
    match runtime.call(workload, call).await {
        Ok(Reply::Bytes(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Ok(other) => panic!("not a function's reply: {other:?}"),
        Err(fault) => format!("{}: {fault}", fault.status()),
    }
}
