//! Spans that a guest made itself, told to the host's collector among those of the call.
//!
//! A guest knows the trace it is in and chooses ids and times. What it tells is taken only for the trace of the call that it
//! answers, only if that trace is told at all, and counts among the spans of the call; texts and lists are cut.

use std::time::SystemTime;

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::{
    Watch,
    span::{Trace, cut},
};

/// Attributes of a span or of an event that are kept.
const MAX_ATTRIBUTES: usize = 32;
/// Events of a span that are kept.
const MAX_EVENTS: usize = 32;

/// Whose side of a conversation a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestSpanKind {
    /// It asked somebody.
    Client,
    /// It answered.
    Server,
    /// It sent a message.
    Producer,
    /// It took one.
    Consumer,
    /// Neither.
    Internal,
}

/// Something that happened at one moment of a span.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestEvent {
    /// What.
    pub name: String,
    /// When.
    pub time: SystemTime,
    /// More about it.
    pub attributes: Vec<(String, String)>,
}

/// A span as a guest tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestSpan {
    /// Its trace, 32 hexadecimal digits.
    pub trace: String,
    /// Its own id, 16 hexadecimal digits.
    pub id: String,
    /// The id of the span it is part of; what is none is the host's span of the call.
    pub parent: String,
    /// What it is called.
    pub name: String,
    /// Its side.
    pub kind: GuestSpanKind,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// More about it.
    pub attributes: Vec<(String, String)>,
    /// What happened in it.
    pub events: Vec<GuestEvent>,
    /// Whether it went well: nothing is said, it did, or why it did not.
    pub outcome: Option<Result<(), String>>,
    /// The library that made it.
    pub scope: String,
}

impl Watch {
    /// Tells a span of the guest that answers this call; whether it was taken.
    pub fn guest_span(&self, span: GuestSpan) -> bool {
        self.trace().is_some_and(|trace| trace.adopt(span))
    }

    /// The `traceparent` under which a guest is to make its spans, if its call is watched.
    pub fn traceparent(&self) -> Option<String> {
        let mut headers = http::HeaderMap::new();
        self.tell(&mut headers);
        headers.get("traceparent")?.to_str().ok().map(str::to_owned)
    }
}

impl Trace {
    fn adopt(&self, told: GuestSpan) -> bool {
        let outer = self.parent().span().span_context().clone();
        let (Ok(trace), Ok(id)) = (TraceId::from_hex(&told.trace), SpanId::from_hex(&told.id)) else { return false };
        let ours = trace == outer.trace_id() && outer.is_sampled() && id != SpanId::INVALID;
        if !ours || !self.take_place() {
            return false;
        }
        let parent = SpanId::from_hex(&told.parent).ok().filter(|parent| *parent != SpanId::INVALID);
        let mut events = SpanEvents::default();
        events.dropped_count = left_out(told.events.len(), MAX_EVENTS);
        events.events = told.events.into_iter().take(MAX_EVENTS).map(event).collect();
        self.traces().pass(SpanData {
            span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: parent.unwrap_or_else(|| outer.span_id()),
            parent_span_is_remote: false,
            span_kind: match told.kind {
                GuestSpanKind::Client => SpanKind::Client,
                GuestSpanKind::Server => SpanKind::Server,
                GuestSpanKind::Producer => SpanKind::Producer,
                GuestSpanKind::Consumer => SpanKind::Consumer,
                GuestSpanKind::Internal => SpanKind::Internal,
            },
            name: cut(&told.name).into(),
            start_time: told.start,
            end_time: told.end.max(told.start),
            dropped_attributes_count: left_out(told.attributes.len(), MAX_ATTRIBUTES),
            attributes: attributes(told.attributes),
            events,
            links: SpanLinks::default(),
            status: match told.outcome {
                None => Status::Unset,
                Some(Ok(())) => Status::Ok,
                Some(Err(why)) => Status::error(cut(&why)),
            },
            instrumentation_scope: InstrumentationScope::builder(cut(&told.scope)).build(),
        });
        true
    }
}

fn left_out(there: usize, kept: usize) -> u32 {
    u32::try_from(there.saturating_sub(kept)).unwrap_or(u32::MAX)
}

fn attributes(told: Vec<(String, String)>) -> Vec<KeyValue> {
    told.into_iter().take(MAX_ATTRIBUTES).map(|(key, value)| KeyValue::new(cut(&key), cut(&value))).collect()
}

fn event(told: GuestEvent) -> Event {
    let dropped = left_out(told.attributes.len(), MAX_ATTRIBUTES);
    Event::new(cut(&told.name), told.time, attributes(told.attributes), dropped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Traces, TracesTo};

    fn told(trace: &str, id: &str) -> GuestSpan {
        GuestSpan {
            trace: trace.to_owned(),
            id: id.to_owned(),
            parent: String::new(),
            name: "x".repeat(5000),
            kind: GuestSpanKind::Internal,
            start: SystemTime::UNIX_EPOCH,
            end: SystemTime::UNIX_EPOCH,
            attributes: vec![("k".to_owned(), "v".to_owned()); 100],
            events: Vec::new(),
            outcome: None,
            scope: String::new(),
        }
    }

    #[tokio::test]
    async fn only_spans_of_the_calls_own_trace_are_taken_and_only_so_many() {
        let to = TracesTo { endpoint: "http://127.0.0.1:1".into(), sample: 1.0 };
        let traces = Traces::start(&to, Default::default()).unwrap();
        let (trace, _server) = Trace::begin(&traces, "GET", &http::HeaderMap::new());
        let ours = trace.id();
        for (strange, id) in [
            ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"),
            (ours.as_str(), "0000000000000000"),
            (ours.as_str(), "none"),
            ("", ""),
        ] {
            assert!(!trace.adopt(told(strange, id)), "{strange} {id}");
        }
        let taken = (1..1000).filter(|id| trace.adopt(told(&ours, &format!("{id:016x}")))).count();
        assert_eq!(taken, 128);
    }

    #[test]
    fn without_a_watched_call_nothing_is_taken() {
        assert!(!Watch::default().guest_span(told("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")));
        assert_eq!(Watch::default().traceparent(), None);
    }
}
