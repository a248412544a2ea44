//! One request from its first byte to the last thing its guest does, for whoever asked to see requests one by one.
//!
//! An [`Observer`] is made at start if the operator asked for one. The surface tells it of each [`Request`] and keeps the
//! [`Watched`] it gets; what runs on the request's behalf finds the same call as [`Watch::current`], wherever it is, and
//! adds what it knows. When the last of them is gone the call is told as one line of the access log; spans are told to a
//! collector as they end.
//!
//! Without an observer all of this is a load of a static that says so.

mod access;
mod export;
mod guest;
mod span;

use std::{
    borrow::Cow,
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, Method, Uri, Version, header, uri::Authority};
use opentelemetry::trace::SpanKind;
use parking_lot::Mutex;
use samara_model::WorkloadId;

pub use access::{AccessFormat, AccessFormatError, AccessLog, Entry};
pub use export::{Traces, TracesTo};
pub use guest::{GuestEvent, GuestSpan, GuestSpanKind};
pub use span::{Span, client_span, span};

use span::Trace;

/// Whether there has been an observer in this process: what everybody asks first.
static ANY: AtomicBool = AtomicBool::new(false);

tokio::task_local! {
    static CURRENT: Watch;
}

/// Sees requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Observer {
    access: Option<AccessLog>,
    traces: Option<Traces>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Who sent it.
    pub peer: SocketAddr,
    /// Its method.
    pub method: Method,
    /// Its target, in whichever form it came.
    pub uri: Uri,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Whether it came by TLS.
    pub secure: bool,
    /// The protocol it came by.
    pub version: Version,
}

impl Observer {
    /// An observer that tells of requests here; `None` if nobody wants to know.
    pub fn new(access: Option<AccessLog>, traces: Option<Traces>) -> Option<Self> {
        if access.is_none() && traces.is_none() {
            return None;
        }
        ANY.store(true, Relaxed);
        Some(Self { access, traces })
    }

    /// A request has come.
    pub fn request(&self, request: Request<'_>) -> Watched {
        let Request { peer, method, uri, headers, version, secure } = request;
        let host = match uri.authority().map(Authority::as_str) {
            Some(host) => host.to_owned(),
            None => headers
                .get(header::HOST)
                .map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned())
                .unwrap_or_default(),
        };
        let traced = self.traces.as_ref().map(|traces| Trace::begin(traces, method.as_str(), headers));
        let (trace, span) = traced.map_or_else(Default::default, |(trace, span)| (Some(trace), span));
        let trace_id = trace.as_ref().map(Trace::id).or_else(|| span::named(headers));
        if span.is_on() {
            span.set_text("http.request.method", method.as_str());
            span.set_text("url.path", uri.path());
            span.set("url.scheme", if secure { "https" } else { "http" });
            span.set_text("server.address", &host);
            span.set("client.address", peer.ip().to_string());
            span.set("network.protocol.version", access::protocol(version).trim_start_matches("HTTP/"));
        }
        let entry = Entry {
            time: SystemTime::now(),
            peer,
            method,
            host,
            path: uri.path().to_owned(),
            version,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            cpu: Duration::ZERO,
            workload: None,
            outcome: None,
            trace_id,
        };
        let call = Arc::new(Call { access: self.access.clone(), entry: Mutex::new(Some(entry)) });
        Watched { watch: Watch(Some(Arc::new(Watching { call, trace }))), span, began: Instant::now(), whole: false }
    }

    /// Writes what is left, within `patience`. What is told after this is dropped.
    pub fn finish(&self, patience: Duration) {
        if let Some(access) = &self.access {
            access.finish(patience);
        }
        if let Some(traces) = &self.traces {
            traces.finish(patience);
        }
    }
}

/// A call that is watched. Told when the last one who watches it is gone.
struct Call {
    access: Option<AccessLog>,
    /// Taken once, at the end.
    entry: Mutex<Option<Entry>>,
}

impl Drop for Call {
    fn drop(&mut self) {
        if let (Some(access), Some(entry)) = (&self.access, self.entry.get_mut().take()) {
            access.tell(entry);
        }
    }
}

/// A call, and where in its trace we are.
struct Watching {
    call: Arc<Call>,
    trace: Option<Trace>,
}

/// The call that is being served, if it is watched. Cheap to clone.
#[derive(Clone, Default)]
pub struct Watch(Option<Arc<Watching>>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.0.is_some()).finish()
    }
}

impl Watch {
    /// The call on whose behalf this runs.
    pub fn current() -> Self {
        if !ANY.load(Relaxed) {
            return Self(None);
        }
        CURRENT.try_with(Self::clone).unwrap_or_default()
    }

    /// Whether anybody watches.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The same work, on this call's behalf.
    pub fn over<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(self.clone(), work)
    }

    /// A piece of the call's work.
    pub fn span(&self, name: impl Into<Cow<'static, str>>) -> Span {
        self.trace().map(|trace| trace.span(name.into(), SpanKind::Internal)).unwrap_or_default()
    }

    /// A piece of the call's work that somebody else does.
    pub fn client_span(&self, name: impl Into<Cow<'static, str>>) -> Span {
        self.trace().map(|trace| trace.span(name.into(), SpanKind::Client)).unwrap_or_default()
    }

    /// The same call, with new spans under this one.
    #[must_use]
    pub fn under(&self, span: &Span) -> Self {
        match (&self.0, self.trace()) {
            (Some(watching), Some(trace)) if span.is_on() => {
                Self(Some(Arc::new(Watching { call: Arc::clone(&watching.call), trace: Some(trace.under(span)) })))
            }
            _ => self.clone(),
        }
    }

    /// Names the call's trace in the headers that its guest is given.
    pub fn tell(&self, headers: &mut HeaderMap) {
        if let Some(trace) = self.trace() {
            trace.tell(headers);
        }
    }

    fn trace(&self) -> Option<&Trace> {
        self.0.as_ref().and_then(|watching| watching.trace.as_ref())
    }

    /// Bytes of the request's body were read.
    pub fn received(&self, bytes: usize) {
        self.note(|entry| entry.bytes_in = entry.bytes_in.saturating_add(bytes as u64));
    }

    /// The workload that answers it.
    pub fn answered_by(&self, workload: &WorkloadId) {
        self.note(|entry| entry.workload = Some(workload.clone()));
    }

    /// The guest has ended: how (`"ok"`, `Fault::label()`, `"cancelled"`), and the time it ran.
    pub fn ended(&self, outcome: &'static str, cpu: Duration) {
        self.note(|entry| {
            entry.cpu = cpu;
            entry.outcome.get_or_insert(outcome);
        });
    }

    fn note(&self, note: impl FnOnce(&mut Entry)) {
        if let Some(watching) = &self.0
            && let Some(entry) = &mut *watching.call.entry.lock()
        {
            note(entry);
        }
    }
}

/// The surface's end of a watched call: it ends when this is dropped.
#[derive(Debug)]
pub struct Watched {
    watch: Watch,
    span: Span,
    began: Instant,
    whole: bool,
}

impl Watched {
    /// The call.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The route that takes it, by its pattern.
    pub fn routed(&self, method: &Method, pattern: &str) {
        if self.span.is_on()
            && let Some(trace) = self.watch.trace()
        {
            self.span.set_text("http.route", pattern);
            trace.rename(format!("{method} {pattern}"));
        }
    }

    /// The response's head: its status, and whose fault it is if it is not the workload's own.
    pub fn replied(&self, status: u16, fault: Option<&'static str>) {
        self.watch.note(|entry| {
            entry.status = status;
            // What the surface found comes after what the guest's end said.
            entry.outcome = fault.or(entry.outcome);
        });
        self.span.set("http.response.status_code", i64::from(status));
        if status >= 500 {
            self.span.set("error.type", status.to_string());
            self.span.failed("");
        }
    }

    /// Bytes of the response's body were handed on.
    pub fn sent(&self, bytes: usize) {
        self.watch.note(|entry| entry.bytes_out = entry.bytes_out.saturating_add(bytes as u64));
    }

    /// The response was handed on to its end.
    pub fn completed(&mut self) {
        self.whole = true;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let (duration, whole) = (self.began.elapsed(), self.whole);
        self.watch.note(|entry| {
            entry.duration = duration;
            if !whole {
                entry.outcome.get_or_insert("cancelled");
            }
            if self.span.is_on() {
                if let Some(WorkloadId { tenant, app, name }) = &entry.workload {
                    self.span.set("samara.tenant", tenant.as_str().to_owned());
                    self.span.set("samara.app", app.to_string());
                    self.span.set("samara.workload", name.to_string());
                }
                self.span.set("samara.outcome", entry.outcome.unwrap_or("ok"));
                self.span.set("http.request.body.size", i64::try_from(entry.bytes_in).unwrap_or(i64::MAX));
                self.span.set("http.response.body.size", i64::try_from(entry.bytes_out).unwrap_or(i64::MAX));
            }
        });
    }
}
