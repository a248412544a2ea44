//! Spans on their way to a collector: OTLP as protobuf over HTTP.
//!
//! A span that ends goes into a bounded queue or is dropped and counted: neither a guest nor a slow collector can hold a
//! request up, and memory is bounded. One task sends what waits, in batches.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/>. The exporter reads the standard variables too
//! (`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_RESOURCE_ATTRIBUTES`).

use std::{
    fmt,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use http::Uri;
use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry::{Context, KeyValue, trace::TracerProvider};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor},
};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::{sync::mpsc, time::timeout};

/// Spans that wait to be sent; more are dropped and counted.
const WAITING_SPANS: usize = 4096;
/// Spans sent at once.
const BATCH_SPANS: usize = 512;
/// How long a span may wait for company.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// How long a collector may take to answer.
const COLLECTOR_PATIENCE: Duration = Duration::from_secs(5);
/// Where collectors take traces, when an address has no path.
const TRACES_PATH: &str = "/v1/traces";

/// Where spans go, and how many of them.
#[derive(Clone, Debug, PartialEq)]
pub struct TracesTo {
    /// The collector: `http://127.0.0.1:4318`.
    pub endpoint: String,
    /// The share of traces that are told, 0 to 1, where whoever called us has not decided.
    pub sample: f64,
}

/// Tells spans to a collector.
#[derive(Clone)]
pub struct Traces(Arc<Shared>);

struct Shared {
    tracer: SdkTracer,
    queue: Queue,
    stop: Mutex<Option<mpsc::Sender<()>>>,
    ended: Mutex<Receiver<()>>,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").finish_non_exhaustive()
    }
}

impl Traces {
    /// Starts the task that sends; what is lost on the way is counted in `dropped`. Call on the tokio runtime that it is to
    /// run on. That the collector can be reached is not checked: it may come later.
    ///
    /// # Errors
    /// The address or the share cannot be used.
    pub fn start(to: &TracesTo, dropped: Counter) -> anyhow::Result<Self> {
        let TracesTo { endpoint, sample } = to;
        if !(0.0..=1.0).contains(sample) {
            bail!("`{sample}` is not a share of traces; write a number from 0 to 1");
        }
        let endpoint = traces_endpoint(endpoint)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(provider)
            .context("setting up TLS")?
            .https_or_http()
            .enable_http1()
            .build();
        let resource = Resource::builder()
            .with_service_name(env!("CARGO_PKG_NAME").strip_suffix("-telemetry").unwrap_or("samara"))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(HyperClient::new(connector, COLLECTOR_PATIENCE, None))
            .with_endpoint(endpoint.as_str())
            .with_timeout(COLLECTOR_PATIENCE)
            .build()
            .with_context(|| format!("setting up traces to `{endpoint}`"))?;
        exporter.set_resource(&resource);

        let (sender, spans) = mpsc::channel(WAITING_SPANS);
        let (stop, stopped) = mpsc::channel(1);
        let (finished, ended) = sync_channel(1);
        tokio::spawn(send(Sending { exporter, endpoint, spans, stopped, dropped: dropped.clone(), finished }));
        let queue = Queue { sender, dropped };
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(*sample))))
            .with_resource(resource)
            .with_span_processor(queue.clone())
            .build();
        let tracer = provider.tracer("samara");
        Ok(Self(Arc::new(Shared { tracer, queue, stop: Mutex::new(Some(stop)), ended: Mutex::new(ended) })))
    }

    pub(super) fn tracer(&self) -> &SdkTracer {
        &self.0.tracer
    }

    /// Tells a span that was not made here.
    pub(super) fn pass(&self, span: SpanData) {
        self.0.queue.on_end(span);
    }

    /// Sends what waits, within `patience`. Not for a thread of the runtime.
    pub(super) fn finish(&self, patience: Duration) {
        drop(self.0.stop.lock().take());
        if let Err(RecvTimeoutError::Timeout) = self.0.ended.lock().recv_timeout(patience) {
            tracing::warn!("the collector of traces does not answer: the last spans are lost");
        }
    }
}

/// The full address that spans are sent to.
fn traces_endpoint(text: &str) -> anyhow::Result<String> {
    let uri: Option<Uri> = text.parse().ok();
    let Some(uri) = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()) else {
        bail!("`{text}` is not the address of a collector; write `http://127.0.0.1:4318`");
    };
    match uri.path() {
        "" | "/" => Ok(format!("{}{TRACES_PATH}", text.trim_end_matches('/'))),
        _ => Ok(text.to_owned()),
    }
}

/// Takes spans that ended.
#[derive(Clone, Debug)]
struct Queue {
    sender: mpsc::Sender<SpanData>,
    dropped: Counter,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.sender.try_send(span).is_err() {
            self.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

struct Sending {
    exporter: SpanExporter,
    endpoint: String,
    spans: mpsc::Receiver<SpanData>,
    stopped: mpsc::Receiver<()>,
    dropped: Counter,
    finished: SyncSender<()>,
}

/// Sends batches until it is stopped and nothing waits any more.
async fn send(sending: Sending) {
    let Sending { exporter, endpoint, mut spans, mut stopped, dropped, finished } = sending;
    let mut failing = false;
    let mut stopping = false;
    let mut batch = Vec::with_capacity(BATCH_SPANS);
    loop {
        let count = if stopping {
            spans.recv_many(&mut batch, BATCH_SPANS).await
        } else {
            tokio::select! {
                count = spans.recv_many(&mut batch, BATCH_SPANS) => count,
                _ = stopped.recv() => {
                    stopping = true;
                    // Gives what it has, and then nothing.
                    spans.close();
                    continue;
                }
            }
        };
        if count == 0 {
            break;
        }
        if !stopping && count < BATCH_SPANS {
            tokio::select! {
                _ = timeout(BATCH_DELAY, fill(&mut spans, &mut batch)) => {}
                _ = stopped.recv() => stopping = true,
            }
            if stopping {
                spans.close();
            }
        }
        let count = batch.len() as u64;
        let sent = exporter.export(std::mem::replace(&mut batch, Vec::with_capacity(BATCH_SPANS))).await;
        if let Err(error) = sent {
            dropped.inc_by(count);
            if !std::mem::replace(&mut failing, true) {
                tracing::warn!(endpoint, "spans are lost, the collector does not take them: {error}");
            }
        } else if std::mem::take(&mut failing) {
            tracing::info!(endpoint, "the collector takes spans again");
        }
    }
    // Nobody may be waiting.
    finished.send(()).ok();
}

async fn fill(spans: &mut mpsc::Receiver<SpanData>, batch: &mut Vec<SpanData>) {
    while batch.len() < BATCH_SPANS {
        let room = BATCH_SPANS - batch.len();
        if spans.recv_many(batch, room).await == 0 {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_is_that_of_traces() {
        let path = |text: &str| traces_endpoint(text).map_err(|error| error.to_string());
        assert_eq!(path("http://127.0.0.1:4318").unwrap(), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(path("https://a.test/").unwrap(), "https://a.test/v1/traces");
        assert_eq!(path("http://a.test/own").unwrap(), "http://a.test/own");
        for wrong in ["127.0.0.1:4318", "grpc://a.test", "", "http://"] {
            assert!(path(wrong).unwrap_err().contains("write `http://127.0.0.1:4318`"), "{wrong}");
        }
    }
}
