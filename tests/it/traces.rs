//! Traces as a collector gets them: OTLP over HTTP, decoded by the specification's own types.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;

use crate::serving::{Serving, eventually, serve};

/// A collector that keeps what it is sent.
struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let kept = Arc::clone(&spans);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream);
                    while let Some((line, body)) = read_request(&mut reader) {
                        assert_eq!(line, "POST /v1/traces HTTP/1.1");
                        let request = ExportTraceServiceRequest::decode(&*body).unwrap();
                        for resource in request.resource_spans {
                            let attributes = resource.resource.unwrap().attributes;
                            assert!(attributes.iter().any(|one| one.key == "service.name"), "{attributes:?}");
                            kept.lock().unwrap().extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
                        }
                        let answered = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                        answered.unwrap();
                    }
                });
            }
        });
        Self { address, spans }
    }

    fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    /// The spans of a trace, when the one of the request is among them: it is not the last to end.
    fn trace(&self, id: &str, count: usize) -> Vec<Span> {
        let of_trace = || self.spans().into_iter().filter(|span| hex(&span.trace_id) == id).collect::<Vec<_>>();
        assert!(eventually(|| of_trace().len() >= count), "{:#?}", self.spans());
        of_trace()
    }
}

/// The line of a request, and its body; `None` at the end of the connection.
fn read_request(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let length = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some((lines.remove(0), body))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()).and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span `{name}` in {spans:#?}"))
}

fn serve_traced(collector: &Collector, line: &str) -> Serving {
    serve(&format!("--otlp http://{} {line}", collector.address))
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

#[test]
fn a_request_is_a_trace_from_its_caller_to_what_its_guest_asked_for() {
    let collector = Collector::start();
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    let answering = thread::spawn(move || {
        let (mut stream, _) = upstream.accept().unwrap();
        let mut asked = [0; 4096];
        let count = stream.read(&mut asked).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").unwrap();
        String::from_utf8_lossy(&asked[..count]).to_ascii_lowercase()
    });
    let serving = serve_traced(
        &collector,
        &format!("--access-log json --kv notes=memory: --http http://{address} --http-private {{http-kit}}"),
    );
    let from = format!("traceparent: 00-{TRACE}-{CALLER}-01");
    let caller = [from.as_str(), "tracestate: vendor=1"];
    assert_eq!(serving.request("PUT /kv/notes/a", &caller, "value").status, 204);
    assert_eq!(serving.request(&format!("GET /fetch?url=http://{address}/x?secret=1"), &caller, "").body, "ok");

    let spans = collector.trace(TRACE, 10);
    let server =
        spans.iter().find(|span| span.kind == SpanKind::Server as i32 && span.name.starts_with("PUT")).unwrap();
    assert_eq!((server.name.as_str(), hex(&server.parent_span_id).as_str()), ("PUT /*rest", CALLER));
    for (key, value) in [
        ("http.request.method", "PUT"),
        ("http.route", "/*rest"),
        ("url.path", "/kv/notes/a"),
        ("url.scheme", "http"),
        ("http.response.status_code", "204"),
        ("http.request.body.size", "5"),
        ("samara.tenant", "default"),
        ("samara.workload", "http-kit"),
        ("samara.outcome", "ok"),
    ] {
        assert_eq!(attribute(server, key), value, "{key} of {server:#?}");
    }
    let under = |parent: &Span, name: &str| {
        let found = spans.iter().find(|span| span.name == name && span.parent_span_id == parent.span_id);
        found.unwrap_or_else(|| panic!("no `{name}` under `{}` in {spans:#?}", parent.name)).clone()
    };
    under(server, "queue");
    let guest = under(server, "guest");
    assert_eq!(
        (attribute(&guest, "samara.contract"), attribute(&guest, "samara.outcome")),
        ("wasi-http".into(), "ok".into())
    );
    under(&guest, "instantiate");
    let kv = under(&guest, "kv set");
    assert_eq!((kv.kind, attribute(&kv, "db.collection.name").as_str()), (SpanKind::Client as i32, "notes"));

    let egress = spans.iter().find(|span| span.kind == SpanKind::Client as i32 && span.name == "GET").unwrap();
    assert_eq!(attribute(egress, "server.address"), "127.0.0.1");
    assert_eq!(attribute(egress, "http.response.status_code"), "200");
    let asked = answering.join().unwrap();
    assert!(asked.contains(&format!("traceparent: 00-{TRACE}-{}-01\r\n", hex(&egress.span_id))), "{asked}");
    assert!(asked.contains("tracestate: vendor=1\r\n"), "{asked}");
    assert!(!format!("{spans:?}").contains("secret"), "queries are not told: {spans:#?}");
    assert!(eventually(|| serving.output().contains(TRACE)), "{}", serving.output());
}

#[test]
fn a_guest_sees_the_trace_it_is_in_and_a_fault_is_an_error_of_its_spans() {
    let collector = Collector::start();
    let serving = serve_traced(&collector, "{http-echo}");
    let seen = serving.request("GET /headers", &[], "").body;
    let parent =
        seen.lines().find_map(|line| line.split_once("traceparent: ").map(|(_, value)| value.trim().to_owned()));
    let parent = parent.unwrap_or_else(|| panic!("no traceparent in {seen}"));
    let [_, trace, span, "01"] = parent.split('-').collect::<Vec<_>>()[..] else { panic!("{parent}") };
    let spans = collector.trace(trace, 4);
    let server = named(&spans, "GET /*rest");
    assert_eq!((hex(&server.span_id).as_str(), server.parent_span_id.len()), (span, 0));

    serving.answers("GET /trap", "", 502, "");
    assert!(eventually(|| collector.spans().iter().any(|span| attribute(span, "samara.outcome") == "guest")));
    assert!(eventually(|| collector.spans().iter().any(|span| attribute(span, "http.response.status_code") == "502")));
    let failed: Vec<_> = collector
        .spans()
        .into_iter()
        .filter(|span| span.status.as_ref().is_some_and(|status| status.code == 2))
        .collect();
    let guest = named(&failed, "guest");
    assert!(guest.status.as_ref().unwrap().message.contains("unreachable"), "{guest:#?}");
    assert_eq!(attribute(named(&failed, "GET /*rest"), "samara.outcome"), "guest");
}

#[test]
fn whoever_calls_decides_what_is_told_and_a_share_of_the_rest_is() {
    let collector = Collector::start();
    let serving = serve_traced(&collector, "--sample 0 {http-hello}");
    let unsampled = "1".repeat(32);
    let header = format!("traceparent: 00-{unsampled}-{CALLER}-00");
    for headers in [&[][..], &[header.as_str()], &["traceparent: nonsense"]] {
        assert_eq!(serving.request("GET /", headers, "").status, 200);
    }
    assert_eq!(serving.request("GET /", &[&format!("traceparent: 00-{TRACE}-{CALLER}-01")], "").status, 200);
    // At its end it tells everything that it has.
    serving.terminate();
    assert_eq!(serving.ended(), Some(0));
    let spans = collector.spans();
    assert_eq!(spans.len(), 4, "{spans:#?}");
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:#?}");
}

#[test]
fn a_collector_that_is_not_there_holds_nobody_up() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let serving = serve(&format!("--otlp http://{port} {{http-hello}}"));
    for _ in 0..20 {
        serving.answers("GET /", "", 200, "Hello");
    }
    assert!(eventually(|| serving.metric("samara_spans_dropped_total") >= 80.0), "{}", serving.log());
    serving.logs(&["spans are lost", &format!("http://{port}/v1/traces")]);
    assert_eq!(serving.log().matches("spans are lost").count(), 1, "{}", serving.log());
}

#[test]
fn an_address_that_is_none_is_refused_with_one_that_is() {
    crate::samara("serve --otlp localhost:4318 {http-hello}").fails(2, "write `http://127.0.0.1:4318`");
    crate::samara("serve --otlp http://127.0.0.1:1 --sample 2 {http-hello}").fails(2, "`2` is not a share");
}

#[test]
fn spans_of_a_guests_own_are_told_under_the_span_of_its_call() {
    let collector = Collector::start();
    let serving = serve_traced(&collector, "{otel-kit}");
    let from = format!("traceparent: 00-{TRACE}-{CALLER}-01");
    let caller = [from.as_str(), "content-type: application/json"];
    let answer = serving.request("POST /work", &caller, r#"["bake"]"#);
    assert_eq!(answer.status, 200, "{answer:?}");

    let spans = collector.trace(TRACE, 4);
    let (whole, part) = (named(&spans, "bake"), named(&spans, "bake part"));
    let outer = spans.iter().find(|span| span.span_id == whole.parent_span_id).expect("a span of the host");
    assert_eq!(answer.body.trim_end(), format!("[\"{TRACE}\",\"{}\"]", hex(&outer.span_id)));
    assert_eq!(
        (hex(&whole.span_id).as_str(), hex(&part.parent_span_id).as_str()),
        ("00000000000000aa", "00000000000000aa")
    );
    assert_eq!(whole.kind, SpanKind::Client as i32);
    assert_eq!(attribute(whole, "fruit"), "apple");
    assert_eq!(whole.events[0].name, "bitten");
    assert_eq!(part.status.as_ref().unwrap().message, "cold");
    assert!(whole.start_time_unix_nano >= outer.start_time_unix_nano);

    // A trace that is not the call's is nobody's, and a call has only so many spans.
    let strange = "4bf92f3577b34da6a3ce929d0e0e4736";
    assert_eq!(serving.request("POST /stray", &caller, format!("[\"{strange}\"]")).body.trim_end(), "true");
    assert_eq!(serving.request("POST /flood", &caller, "[1000]").body.trim_end(), "1000");
    assert!(eventually(|| collector.spans().iter().filter(|span| span.name == "flood").count() >= 100));
    assert!(collector.spans().iter().filter(|span| span.name == "flood").count() <= 128);
    assert!(collector.spans().iter().all(|span| hex(&span.trace_id) != strange && span.name != "stray"));
}

#[test]
fn a_guest_that_nobody_watches_is_not_told_so() {
    let serving = serve("{otel-kit}");
    let json = ["content-type: application/json"];
    let none = format!("[\"{}\",\"{}\"]", "0".repeat(32), "0".repeat(16));
    assert_eq!(serving.request("POST /work", &json, r#"["bake"]"#).body.trim_end(), none);
    let told = serving.request("POST /tell", &json, r#"[17, "the oven is cold"]"#);
    assert_eq!((told.status, told.body.trim_end()), (200, "\"Ok(())\""), "{told:?}");
    serving.logs(&["the oven is cold"]);
}
