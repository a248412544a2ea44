//! A `wasi:http` 0.3 service: the handler is async, bodies are streams, and work goes on after the response was returned.
//!
//! | path | what it does |
//! | --- | --- |
//! | `/` | says hello |
//! | `/echo` | hands the request's stream to the response: the host moves the bytes |
//! | `/copy` | the same through the guest, piece by piece, with trailers |
//! | `/headers` | lists the request's headers, one on a line |
//! | `/status/N` | answers with status N |
//! | `/slow?N` | five lines, N milliseconds before each |
//! | `/trailers` | a body, then trailers |
//! | `/fail` | returns an error instead of a response |
//! | `/spin`, `/grow`, `/recurse`, `/trap` | runs for ever, takes all memory, all stack, traps |
//! | `/partial` | sends the head and a piece, then traps |
//! | `/never` | waits for ever |

use std::future::IntoFuture;
use std::hint::black_box;

use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Trailers};
use wasip3::wit_bindgen::{StreamResult, StreamWriter};
use wasip3::{spawn, wit_future, wit_stream};

struct Service;

impl Guest for Service {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let whole = request.get_path_with_query().unwrap_or_default();
        let (path, query) = whole.split_once('?').unwrap_or((&whole, ""));
        match path.trim_matches('/') {
            "" => text(200, "Hello, WASI 0.3!\n".to_owned()),
            "echo" => echo(request),
            "copy" => copy(request),
            "headers" => text(200, lines(&request.get_headers())),
            "slow" => slow(query.parse().unwrap_or(100)),
            "trailers" => trailers(),
            "fail" => Err(ErrorCode::InternalError(Some("asked to fail".to_owned()))),
            "spin" => spin(),
            "grow" => grow(),
            "recurse" => text(200, recurse(0).to_string()),
            "trap" => std::process::abort(),
            "partial" => partial(),
            "never" => loop {
                wait_for(3_600_000_000_000).await;
            },
            other => match other.strip_prefix("status/").and_then(|code| code.parse().ok()) {
                Some(code) => text(code, format!("status {code}\n")),
                None => text(404, format!("no `{path}` here\n")),
            },
        }
    }
}

wasip3::http::service::export!(Service);

/// A response whose body `write` produces after the response was returned, and the trailers it ends with.
fn stream<W, F>(status: u16, write: W) -> Result<Response, ErrorCode>
where
    W: FnOnce(StreamWriter<u8>) -> F,
    F: Future<Output = Result<Option<Trailers>, ErrorCode>> + 'static,
{
    let headers = Fields::from_list(&[("content-type".to_owned(), b"text/plain".to_vec())])
        .map_err(|error| ErrorCode::InternalError(Some(error.to_string())))?;
    let (writer, reader) = wit_stream::new();
    let (end, ended) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(headers, Some(reader), ended);
    response.set_status_code(status).map_err(|()| ErrorCode::InternalError(Some(format!("bad status {status}"))))?;
    let work = write(writer);
    spawn(async move {
        // Nobody waits for the trailers if the client went away.
        let _ = end.write(work.await).await;
    });
    Ok(response)
}

fn text(status: u16, text: String) -> Result<Response, ErrorCode> {
    stream(status, |mut writer| async move {
        writer.write_all(text.into_bytes()).await;
        Ok(None)
    })
}

fn echo(request: Request) -> Result<Response, ErrorCode> {
    let headers = content_type(&request);
    let (result, processed) = wit_future::new(|| Ok(()));
    let (body, trailers) = Request::consume_body(request, processed);
    drop(result);
    let (response, _sent) = Response::new(headers, Some(body), trailers);
    Ok(response)
}

fn copy(request: Request) -> Result<Response, ErrorCode> {
    let (result, processed) = wit_future::new(|| Ok(()));
    let (mut body, trailers) = Request::consume_body(request, processed);
    drop(result);
    stream(200, |mut writer| async move {
        loop {
            let (result, piece) = body.read(Vec::with_capacity(64 * 1024)).await;
            let left = writer.write_all(piece).await;
            if !left.is_empty() || !matches!(result, StreamResult::Complete(_)) {
                break;
            }
        }
        drop(writer);
        let given = trailers.into_future().await?;
        // What came in belongs to the request; the response needs fields of its own.
        Ok(given.and_then(|fields| Fields::from_list(&fields.copy_all()).ok()))
    })
}

fn content_type(request: &Request) -> Fields {
    let headers = Fields::new();
    for value in request.get_headers().get("content-type") {
        // The host accepted this value once.
        let _ = headers.append("content-type", &value);
    }
    headers
}

fn lines(headers: &Fields) -> String {
    headers.copy_all().iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value))).collect()
}

fn slow(millis: u64) -> Result<Response, ErrorCode> {
    stream(200, move |mut writer| async move {
        for number in 1..=5 {
            wait_for(millis.saturating_mul(1_000_000)).await;
            if !writer.write_all(format!("line {number}\n").into_bytes()).await.is_empty() {
                break;
            }
        }
        Ok(None)
    })
}

fn trailers() -> Result<Response, ErrorCode> {
    stream(200, |mut writer| async move {
        writer.write_all(b"the sum follows\n".to_vec()).await;
        drop(writer);
        Ok(Fields::from_list(&[("x-sum".to_owned(), b"42".to_vec())]).ok())
    })
}

fn partial() -> Result<Response, ErrorCode> {
    stream(200, |mut writer| async move {
        writer.write_all(b"and then\n".to_vec()).await;
        // Long enough for what was sent to reach the client.
        wait_for(50_000_000).await;
        std::process::abort()
    })
}

fn spin() -> ! {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn grow() -> ! {
    loop {
        black_box(Box::leak(vec![1u8; 1 << 20].into_boxed_slice()));
    }
}

/// Rotating keeps the compiler from making it a loop.
#[allow(unconditional_recursion, reason = "this is the point")]
fn recurse(depth: u64) -> u64 {
    recurse(depth.wrapping_add(1)).rotate_left(1) ^ depth
}
