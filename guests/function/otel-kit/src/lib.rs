//! Functions that tell of themselves over `wasi:otel@0.2.0-rc.2`, as an OpenTelemetry SDK for components would: no published one
//! does yet. What they do is written in `wit/kit.wit`.

use wasi::clocks::wall_clock::now;
use wasi::otel::logs::{LogRecord, on_emit};
use wasi::otel::metrics::{ResourceMetrics, export};
use wasi::otel::tracing::{Event, SpanContext, SpanData, SpanKind, Status, on_end, on_start, outer_span_context};
use wasi::otel::types::{InstrumentationScope, KeyValue, Resource};

wit_bindgen::generate!({ world: "otel-kit", path: "wit", generate_all });

struct Kit;

export!(Kit);

impl Guest for Kit {
    fn work(name: String) -> Vec<String> {
        let outer = outer_span_context();
        let whole = within(&outer, "00000000000000aa");
        on_start(&whole);
        let part = within(&outer, "00000000000000bb");
        on_start(&part);
        on_end(&ended(part, "00000000000000aa", &format!("{name} part"), Status::Error("cold".to_owned())));
        on_end(&ended(whole, &outer.span_id, &name, Status::Ok));
        vec![outer.trace_id, outer.span_id]
    }

    fn stray(trace: String) -> bool {
        let mut context = outer_span_context();
        context.trace_id = trace;
        on_end(&ended(context, "", "stray", Status::Unset));
        true
    }

    fn flood(count: u32) -> u32 {
        let outer = outer_span_context();
        for number in 1..=count {
            on_end(&ended(within(&outer, &format!("{number:016x}")), &outer.span_id, "flood", Status::Unset));
        }
        count
    }

    fn tell(severity: u8, body: String) -> String {
        on_emit(&LogRecord {
            timestamp: Some(now()),
            observed_timestamp: None,
            severity_text: None,
            severity_number: Some(severity),
            body: Some(body),
            attributes: None,
            event_name: None,
            resource: None,
            instrumentation_scope: Some(scope()),
            trace_id: None,
            span_id: None,
            trace_flags: None,
        });
        let nothing = ResourceMetrics {
            resource: Resource { attributes: Vec::new(), schema_url: None },
            scope_metrics: Vec::new(),
        };
        format!("{:?}", export(&nothing))
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "otel-kit".to_owned(), version: None, schema_url: None, attributes: Vec::new() }
}

fn within(outer: &SpanContext, id: &str) -> SpanContext {
    SpanContext { span_id: id.to_owned(), is_remote: false, ..outer.clone() }
}

fn ended(span_context: SpanContext, parent: &str, name: &str, status: Status) -> SpanData {
    let pair = || KeyValue { key: "fruit".to_owned(), value: "apple".to_owned() };
    SpanData {
        span_context,
        parent_span_id: parent.to_owned(),
        span_kind: SpanKind::Client,
        name: name.to_owned(),
        start_time: now(),
        end_time: now(),
        attributes: vec![pair()],
        events: vec![Event { name: "bitten".to_owned(), time: now(), attributes: vec![pair()] }],
        links: Vec::new(),
        status,
        instrumentation_scope: scope(),
        dropped_attributes: 0,
        dropped_events: 0,
        dropped_links: 0,
    }
}
