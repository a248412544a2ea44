//! Spans of one call: made only for traces that are told, and only so many a call.

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context, KeyValue, Value,
    propagation::TextMapPropagator,
    trace::{SpanContext, SpanKind, Status, TraceContextExt, Tracer},
};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use super::{Traces, Watch};

/// Spans of one call: a guest that asks for more things has those told in a number.
const MAX_SPANS: u32 = 128;
/// Bytes kept of a text that a stranger chose.
const MAX_TEXT_BYTES: usize = 1024;
/// The header that carries a trace.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header that carries what vendors add to it.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// One piece of a call's work, told to the collector when this is dropped. Does nothing if the call's trace is not told.
#[derive(Default)]
pub struct Span(Option<Box<Context>>);

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.0.is_some()).finish()
    }
}

impl Span {
    /// Whether it is told: for attributes that cost something to make.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Adds an attribute. Names are those of the semantic conventions, or begin with `samara.`.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(key, value));
        }
    }

    /// Adds a text that a stranger chose.
    pub fn set_text(&self, key: &'static str, text: &str) {
        if self.is_on() {
            self.set(key, cut(text));
        }
    }

    /// The work failed.
    pub fn failed(&self, why: &str) {
        if let Some(context) = &self.0 {
            context.span().set_status(Status::error(cut(why)));
        }
    }

    /// Tells the next host of the trace: `traceparent` and `tracestate`. What a guest has set itself stays if it goes on
    /// with the same trace, as it then has a span of its own in between; what names another trace is replaced, or a guest
    /// could hang its requests under the trace of somebody else.
    pub fn hand_on(&self, headers: &mut HeaderMap) {
        let Some(context) = &self.0 else { return };
        let ours = context.span().span_context().trace_id();
        if remote(headers).is_some_and(|remote| remote.trace_id() == ours) {
            return;
        }
        inject(context, headers);
    }

    pub(super) fn context(&self) -> Option<&Context> {
        self.0.as_deref()
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

/// The trace of a call, and the span under which new ones are made.
#[derive(Clone)]
pub(super) struct Trace {
    traces: Traces,
    parent: Context,
    left: Arc<AtomicU32>,
}

impl Trace {
    /// The trace of a request: the one that its headers name, or a new one. Decides whether it is told.
    pub(super) fn begin(traces: &Traces, method: &str, headers: &HeaderMap) -> (Self, Span) {
        let remote = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
        let tracer = traces.tracer();
        let span =
            tracer.span_builder(method.to_owned()).with_kind(SpanKind::Server).start_with_context(tracer, &remote);
        let parent = Context::new().with_span(span);
        let told = parent.span().span_context().is_sampled();
        let span = Span(told.then(|| Box::new(parent.clone())));
        (Self { traces: traces.clone(), parent, left: Arc::new(AtomicU32::new(MAX_SPANS)) }, span)
    }

    /// The id of the trace, in hex.
    pub(super) fn id(&self) -> String {
        self.parent.span().span_context().trace_id().to_string()
    }

    /// Renames the span that is the parent now.
    pub(super) fn rename(&self, name: String) {
        self.parent.span().update_name(name);
    }

    /// A span under the parent.
    pub(super) fn span(&self, name: Cow<'static, str>, kind: SpanKind) -> Span {
        if !self.parent.span().span_context().is_sampled() {
            return Span(None);
        }
        if !self.take_place() {
            return Span(None);
        }
        let tracer = self.traces.tracer();
        let span = tracer.span_builder(name).with_kind(kind).start_with_context(tracer, &self.parent);
        Span(Some(Box::new(Context::new().with_span(span))))
    }

    /// Takes one of the places of the call's spans.
    pub(super) fn take_place(&self) -> bool {
        let taken = self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        if !taken {
            self.parent.span().set_attribute(KeyValue::new("samara.spans_left_out", true));
        }
        taken
    }

    pub(super) fn parent(&self) -> &Context {
        &self.parent
    }

    pub(super) fn traces(&self) -> &Traces {
        &self.traces
    }

    /// The same trace, with this span as the parent.
    pub(super) fn under(&self, span: &Span) -> Self {
        let parent = span.context().unwrap_or(&self.parent).clone();
        Self { parent, ..self.clone() }
    }

    /// Names this trace in the headers that the guest sees, so that its own spans come under ours.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        inject(&self.parent, headers);
    }
}

/// The id of the trace that a request names, in hex.
pub(super) fn named(headers: &HeaderMap) -> Option<String> {
    remote(headers).map(|remote| remote.trace_id().to_string())
}

fn remote(headers: &HeaderMap) -> Option<SpanContext> {
    headers.get(TRACEPARENT)?;
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
    let remote = context.span().span_context().clone();
    remote.is_valid().then_some(remote)
}

fn inject(context: &Context, headers: &mut HeaderMap) {
    headers.remove(TRACESTATE);
    TraceContextPropagator::new().inject_context(context, &mut HeaderInjector(headers));
    if headers.get(TRACESTATE).is_some_and(HeaderValue::is_empty) {
        headers.remove(TRACESTATE);
    }
}

pub(super) fn cut(text: &str) -> String {
    let end = (0..=MAX_TEXT_BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

/// A span of the current call: what the host does on its behalf.
pub fn span(name: impl Into<Cow<'static, str>>) -> Span {
    Watch::current().span(name)
}

/// A span of the current call for work that is done by somebody else.
pub fn client_span(name: impl Into<Cow<'static, str>>) -> Span {
    Watch::current().client_span(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TracesTo;

    fn traces() -> Traces {
        let to = TracesTo { endpoint: "http://127.0.0.1:1".into(), sample: 1.0 };
        Traces::start(&to, prometheus_client::metrics::counter::Counter::default()).unwrap()
    }

    #[tokio::test]
    async fn a_call_has_only_so_many_spans() {
        let (trace, server) = Trace::begin(&traces(), "GET", &HeaderMap::new());
        let guest = trace.span("guest".into(), SpanKind::Internal);
        let inner = trace.under(&guest);
        let told = (0..1000).filter(|_| inner.span("kv get".into(), SpanKind::Client).is_on()).count();
        assert_eq!(told, 127, "one was the guest's");
        assert!(server.is_on() && !trace.span("late".into(), SpanKind::Internal).is_on());
    }

    #[tokio::test]
    async fn a_guests_own_span_of_the_same_trace_stays_and_another_trace_does_not() {
        let (trace, span) = Trace::begin(&traces(), "GET", &HeaderMap::new());
        let handed_on = |traceparent: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(traceparent) = traceparent {
                headers.insert(TRACEPARENT, traceparent.parse().unwrap());
                headers.insert(TRACESTATE, "guest=1".parse().unwrap());
            }
            span.hand_on(&mut headers);
            (headers[TRACEPARENT].to_str().unwrap().to_owned(), headers.contains_key(TRACESTATE))
        };
        let id = trace.id();
        let own = format!("00-{id}-00f067aa0ba902b7-01");
        assert_eq!(handed_on(Some(&own)), (own.clone(), true));
        for other in [None, Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), Some("nonsense")] {
            let (traceparent, state) = handed_on(other);
            assert!(traceparent.starts_with(&format!("00-{id}-")) && traceparent != own && !state, "{traceparent}");
        }
    }

    #[test]
    fn without_a_trace_nothing_is_touched() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, "mine".parse().unwrap());
        Span::default().hand_on(&mut headers);
        Watch::default().tell(&mut headers);
        assert_eq!(headers[TRACEPARENT], "mine");
        assert!(!span("kv get").is_on());
    }
}
