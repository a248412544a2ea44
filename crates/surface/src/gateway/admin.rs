//! The operator's address: metrics, and whether the process lives and takes requests.

use std::{
    convert::Infallible,
    net::TcpListener as StdListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use samara_telemetry::{Metrics, metrics::CONTENT_TYPE};
use tokio::{net::TcpListener, sync::Semaphore};

/// Connections at once.
const CONNECTIONS: usize = 64;
/// How long a client may take to ask.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long accepting rests after a failure.
const PAUSE: Duration = Duration::from_millis(50);

/// What the operator may ask about.
#[derive(Debug)]
pub(super) struct Admin {
    pub(super) metrics: Arc<Metrics>,
    /// False before everything is loaded and from the moment of draining.
    pub(super) ready: AtomicBool,
}

impl Admin {
    /// Answers until dropped.
    ///
    /// # Errors
    /// The listener cannot be used.
    pub(super) async fn serve(self: Arc<Self>, listener: StdListener) -> anyhow::Result<()> {
        let listener = TcpListener::from_std(listener).context("while listening for the operator")?;
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await.context("while counting connections")?;
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let admin = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(|request: Request<hyper::body::Incoming>| {
                    let response = admin.answer(request.method(), request.uri().path());
                    std::future::ready(Ok::<_, Infallible>(response))
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(PATIENCE)
                    .serve_connection(TokioIo::new(stream), service);
                if let Err(error) = connection.await {
                    tracing::debug!("an operator's connection broke: {error}");
                }
                drop(slot);
            });
        }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        const TEXT: &str = "text/plain; charset=utf-8";
        let (status, kind, text) = match path {
            "/metrics" | "/livez" | "/readyz" if !matches!(*method, Method::GET | Method::HEAD) => {
                (StatusCode::METHOD_NOT_ALLOWED, TEXT, format!("`{method}` is not allowed here; use GET, HEAD\n"))
            }
            "/metrics" => (StatusCode::OK, CONTENT_TYPE, self.metrics.encode()),
            "/livez" => (StatusCode::OK, TEXT, "ok\n".to_owned()),
            "/readyz" if self.ready.load(Ordering::Relaxed) => (StatusCode::OK, TEXT, "ok\n".to_owned()),
            "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "no requests are taken\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, TEXT, "nothing is here; try /metrics, /livez or /readyz\n".to_owned()),
        };
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_see_metrics_and_whether_requests_are_taken() {
        let admin = Admin { metrics: Metrics::new(), ready: AtomicBool::new(true) };
        let status = |method, path: &str| admin.answer(&method, path).status().as_u16();
        assert_eq!(status(Method::GET, "/metrics"), 200);
        assert_eq!(status(Method::GET, "/readyz"), 200);
        assert_eq!(status(Method::POST, "/metrics"), 405);
        assert_eq!(status(Method::GET, "/"), 404);
        admin.ready.store(false, Ordering::Relaxed);
        assert_eq!((status(Method::GET, "/readyz"), status(Method::GET, "/livez")), (503, 200));
    }
}
