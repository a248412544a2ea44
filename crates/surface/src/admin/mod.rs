//! The operator's address: metrics, health, the API that shows and changes what is served, and the console, its page.
//!
//! Reading is open to whoever reaches the address, which is loopback unless the operator says otherwise; nothing shown
//! holds a secret (values of `env` and `config` grants stay inside). Changing takes the token, whoever asks. `guard.rs`
//! keeps web pages from reaching in through an operator's browser.
//!
//! A path is one line in `PATHS`, and its handler's `utoipa::path` is its place in the OpenAPI document.

mod apps;
mod console;
mod document;
mod guard;
mod health;
mod host;
mod problem;
mod profile;
mod request;
mod stores;
mod token;
mod view;
mod workloads;

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener as StdListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use headers::HeaderMapExt as _;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use samara_model::{Miss, RouteTable};
use samara_telemetry::Metrics;
use tokio::{net::TcpListener, sync::Semaphore};

pub use guard::Names;
pub use token::{Token, default_file};

use crate::deploy::Deployment;
use problem::Problem;
use request::Asked;

/// Connections at once.
const CONNECTIONS: usize = 64;
/// How long a client may take to ask, head and body each.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 << 10;
/// How long accepting rests after a failure.
const PAUSE: Duration = Duration::from_millis(50);

type Response = http::Response<Full<Bytes>>;
type Handler = fn(Asked) -> BoxFuture<'static, Result<Response, Problem>>;

type Path = (Method, &'static str, Handler);

/// Every path of the address but the console's. `document.rs` has a test that this and the OpenAPI document list the same.
const PATHS: &[Path] = &[
    (Method::GET, "/metrics", |asked| health::metrics(asked).boxed()),
    (Method::GET, "/livez", |asked| health::livez(asked).boxed()),
    (Method::GET, "/readyz", |asked| health::readyz(asked).boxed()),
    (Method::GET, "/livez/:tenant/:app", |asked| health::app_livez(asked).boxed()),
    (Method::GET, "/readyz/:tenant/:app", |asked| health::app_readyz(asked).boxed()),
    (Method::GET, "/v1/openapi.json", |asked| document::openapi(asked).boxed()),
    (Method::GET, "/v1/host", |asked| host::show(asked).boxed()),
    (Method::GET, "/v1/apps", |asked| apps::list(asked).boxed()),
    (Method::GET, "/v1/apps/:tenant/:app", |asked| apps::show(asked).boxed()),
    (Method::PUT, "/v1/apps/:tenant/:app", |asked| apps::put(asked).boxed()),
    (Method::DELETE, "/v1/apps/:tenant/:app", |asked| apps::remove(asked).boxed()),
    (Method::POST, "/v1/apps/:tenant/:app/rollback", |asked| apps::roll_back(asked).boxed()),
    (Method::PUT, "/v1/apps/:tenant/:app/traffic", |asked| apps::set_traffic(asked).boxed()),
    (Method::GET, "/v1/apps/:tenant/:app/usage", |asked| stores::usage(asked).boxed()),
    (Method::PUT, "/v1/apps/:tenant/:app/stores/:store", |asked| stores::link(asked).boxed()),
    (Method::GET, "/v1/workloads", |asked| workloads::list(asked).boxed()),
    (Method::GET, "/v1/workloads/:tenant/:app/:workload/profile", |asked| profile::take(asked).boxed()),
    (Method::GET, "/v1/routes", |asked| workloads::routes(asked).boxed()),
];

/// What the operator's address answers from.
#[derive(Debug)]
pub struct Admin {
    metrics: Arc<Metrics>,
    deployment: Arc<Deployment>,
    /// Whoever has it may change what is served; `None` lets nobody.
    token: Option<Token>,
    /// The names this address may be asked by.
    names: Names,
    paths: RouteTable<Handler>,
    /// When it came to be.
    started: SystemTime,
    /// False before everything is loaded and from the moment of draining.
    ready: AtomicBool,
}

/// The operator's port, taken: connections queue until it is served.
#[derive(Debug)]
pub struct Bound {
    listener: StdListener,
    address: SocketAddr,
}

impl Bound {
    /// Takes the port. Call on a tokio runtime.
    ///
    /// # Errors
    /// The port is in use or the address is not ours: the message names the option that chooses another.
    pub fn bind(wanted: SocketAddr) -> anyhow::Result<Self> {
        let listener =
            crate::gateway::listen::listeners(wanted, 1, "--admin")?.pop().context("no listener was made")?;
        let address = listener.local_addr().context("while reading a listener's address")?;
        Ok(Self { listener, address })
    }

    /// Where operators connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Admin {
    /// Answers for this deployment.
    ///
    /// # Errors
    /// None of two paths may be the same, which a test has checked.
    pub fn new(deployment: Arc<Deployment>, token: Option<Token>, names: Names) -> anyhow::Result<Arc<Self>> {
        let metrics = Arc::clone(deployment.runtime().metrics());
        let mut paths = RouteTable::new();
        for (method, path, handler) in PATHS.iter().chain(console::PATHS) {
            let added = paths.insert(None, std::slice::from_ref(method), &path.parse()?, *handler);
            added.map_err(|conflict| anyhow::anyhow!("{conflict}"))?;
        }
        let (started, ready) = (SystemTime::now(), AtomicBool::new(false));
        Ok(Arc::new(Self { metrics, deployment, token, names, paths, started, ready }))
    }

    /// Says whether requests are taken.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Answers until dropped.
    ///
    /// # Errors
    /// The listener cannot be used.
    pub async fn serve(self: Arc<Self>, bound: Bound) -> anyhow::Result<()> {
        let listener = TcpListener::from_std(bound.listener).context("while listening for the operator")?;
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await.context("while counting connections")?;
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let admin = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let answer = Arc::clone(&admin).answer(request);
                    async { Ok::<_, Infallible>(answer.await) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(PATIENCE)
                    .max_buf_size(HEAD_BYTES)
                    .serve_connection(TokioIo::new(stream), service);
                if let Err(error) = connection.await {
                    tracing::debug!("an operator's connection broke: {error}");
                }
                drop(slot);
            });
        }
    }

    async fn answer(self: Arc<Self>, request: http::Request<Incoming>) -> Response {
        let (parts, body) = request.into_parts();
        let found = match guard::check(&self, &parts) {
            Ok(()) => self.paths.find("", &parts.method, parts.uri.path()),
            Err(problem) => return problem.response(),
        };
        let path = parts.uri.path();
        let problem = match found {
            Ok(found) => {
                let (handler, params) = (*found.value, found.params);
                let accept = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
                let (query, accept) = (parts.uri.query().map(str::to_owned), accept.unwrap_or_default().to_owned());
                let if_none_match = parts.headers.typed_get();
                let asked = Asked { params, query, accept, if_none_match, body, admin: self };
                return handler(asked).await.unwrap_or_else(Problem::response);
            }
            Err(Miss::Method(allowed)) => {
                let allowed = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
                let detail = format!("`{}` is not allowed at `{path}`; use {allowed}", parts.method);
                let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).response();
                if let Ok(allowed) = HeaderValue::try_from(allowed) {
                    response.headers_mut().insert(header::ALLOW, allowed);
                }
                return response;
            }
            Err(Miss::NotFound) => Problem::new(
                StatusCode::NOT_FOUND,
                format!(
                    "nothing is at `{path}`; try / with a browser, /metrics, /livez, /readyz, /v1/apps or /v1/openapi.json"
                ),
            ),
            Err(Miss::BadPath | Miss::TooLong) => Problem::bad_request("the path is not one that could be here"),
        };
        problem.response()
    }
}
