//! The gateway over real sockets, in front of targets that are closures.

mod files;
mod http1;
mod http2;
mod http2_limits;
mod shapes;
mod timeouts;
mod tls;

use std::{fmt, net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::Response;
use http_body_util::BodyExt;
use samara_model::{Body, Call, Fault, HttpCall, Limits, Reply, RouteTable, Shape, Tenant, WorkloadId, full};
use samara_telemetry::Metrics;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::{Config, Destination, Gateway, Routes, Target};

/// No test waits longer for anything.
const LONG: Duration = Duration::from_secs(10);
/// A time-out that is to be seen.
const SHORT: Duration = Duration::from_millis(60);

type Answer = dyn Fn(Call) -> BoxFuture<'static, Result<Reply, Fault>> + Send + Sync;

/// A target that is a closure.
struct Fake {
    id: WorkloadId,
    shape: Shape,
    limits: Limits,
    answer: Box<Answer>,
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fake({})", self.shape)
    }
}

impl Target for Fake {
    fn id(&self) -> &WorkloadId {
        &self.id
    }

    fn shape(&self) -> Shape {
        self.shape
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn answer(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
        (self.answer)(call)
    }
}

fn fake<F>(shape: Shape, answer: impl Fn(Call) -> F + Send + Sync + 'static) -> Destination
where
    F: Future<Output = Result<Reply, Fault>> + Send + 'static,
{
    let id = WorkloadId { tenant: Tenant::default(), app: "test".into(), name: "fake".into() };
    let answer = Box::new(move |call| answer(call).boxed());
    let limits = Limits { request_body_bytes: 64, ..Limits::serve() };
    Destination::new(Arc::new(Fake { id, shape, limits, answer }))
}

/// A target for HTTP calls.
fn http<F>(answer: impl Fn(HttpCall) -> F + Send + Sync + 'static) -> Destination
where
    F: Future<Output = Result<Response<Body>, Fault>> + Send + 'static,
{
    fake(Shape::Http, move |call| {
        let Call::Http(call) = call else { panic!("{call:?}") };
        answer(call).map(|response| response.map(Reply::Http))
    })
}

/// Answers every request with its method, URI, parameters and body.
fn echo() -> Destination {
    http(|call| async move {
        let HttpCall { request, params, .. } = call;
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|error| Fault::bad_request(error.to_string()))?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let params: Vec<_> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let text = format!("{} {} {params:?} {:?} {trailers:?}", parts.method, parts.uri, body.to_bytes());
        Ok(Response::new(full(text)))
    })
}

/// A body that is sent by hand.
fn channel() -> (mpsc::Sender<Result<Bytes, Fault>>, Body) {
    let (sender, mut receiver) = mpsc::channel::<Result<Bytes, Fault>>(1);
    let frames = futures::stream::poll_fn(move |context| {
        receiver.poll_recv(context).map(|chunk| Some(chunk?.map(http_body::Frame::data).map_err(Into::into)))
    });
    (sender, http_body_util::StreamBody::new(frames).boxed_unsync())
}

/// A gateway that serves until it is dropped or drained.
struct Server {
    address: SocketAddr,
    https: Option<SocketAddr>,
    metrics: Arc<Metrics>,
    shutdown: Option<oneshot::Sender<()>>,
    served: JoinHandle<anyhow::Result<()>>,
}

impl Server {
    /// Serves these routes, `GET /path` or `/path`, as `change` has it.
    fn with(routes: &[(&str, &Destination)], change: impl FnOnce(&mut Config)) -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut config = Config::new(any);
        config.threads = NonZeroUsize::new(2);
        change(&mut config);
        let gateway = Gateway::bind(config).unwrap();
        let mut table = RouteTable::new();
        for (route, destination) in routes {
            let (method, path) = route.split_once(' ').map_or((None, *route), |(method, path)| (Some(method), path));
            let methods: Vec<http::Method> = method.iter().map(|method| method.parse().unwrap()).collect();
            table.insert(None, &methods, &path.parse().unwrap(), (*destination).clone().into()).unwrap();
        }
        let address = gateway.http_address().unwrap_or(any);
        let https = gateway.https_address();
        let (shutdown, stop) = oneshot::channel();
        let metrics = Metrics::new();
        let served = tokio::spawn(gateway.run(Routes::new(table), metrics.host().clone(), stop.map(drop)));
        Self { address, https, metrics, shutdown: Some(shutdown), served }
    }

    fn new(routes: &[(&str, &Destination)]) -> Self {
        Self::with(routes, |_| {})
    }

    /// Where it serves HTTPS.
    fn https(&self) -> SocketAddr {
        self.https.unwrap()
    }

    async fn client(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends one request on a connection of its own; answers all that came back.
    async fn ask(&self, request: &str) -> String {
        let mut client = self.client().await;
        client.send(request).await;
        client.rest().await
    }

    /// Asks for a path and closes.
    async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: x.test\r\nconnection: close\r\n\r\n")).await
    }

    /// Begins the end.
    fn stop(&mut self) {
        self.shutdown.take().unwrap().send(()).unwrap();
    }

    /// Waits for the end.
    async fn ended(self) {
        timeout(LONG, self.served).await.expect("the server ends").unwrap().unwrap();
    }
}

/// A client that sees bytes.
struct Client(TcpStream);

impl Client {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Everything until the server closes. A reset ends it too.
    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = timeout(LONG, self.0.read_to_end(&mut bytes)).await.expect("the server closes the connection");
        String::from_utf8(bytes).unwrap()
    }

    /// What comes until it ends with `end`.
    async fn until(&mut self, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            let byte = timeout(LONG, self.0.read_u8()).await.expect(end);
            match byte {
                Ok(byte) => text.push(char::from(byte)),
                Err(error) => panic!("closed ({error}) before {end:?}, after {text:?}"),
            }
        }
        text
    }
}

#[track_caller]
fn check(response: &str, status: u16, contains: &[&str]) {
    let head = format!("HTTP/1.1 {status} ");
    assert!(response.starts_with(&head), "not {status}: {response}");
    for part in contains {
        assert!(response.contains(part), "no {part:?} in {response}");
    }
}
