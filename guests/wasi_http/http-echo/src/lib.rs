//! A `wasi:http` 0.2 proxy that streams, misbehaves and stalls on request; the path chooses.
//!
//! | path | what it does |
//! | --- | --- |
//! | `/` | says hello |
//! | `/echo` | streams the request's body back with its trailers; with `?show` also the request's head as `x-` headers |
//! | `/splice` | the same without the bytes passing through the guest |
//! | `/discard` | reads the body, then answers its length |
//! | `/ignore` | answers without reading the body |
//! | `/headers` | lists the request's headers, one on a line |
//! | `/request` | the request line: method, scheme, authority, path and query |
//! | `/status/N` | answers with status N |
//! | `/many-headers?n=` | answers with n headers |
//! | `/bytes?n=` | n bytes of body in pieces of 64 KiB |
//! | `/slow?ms=&n=` | n lines with a pause before each |
//! | `/trailers` | a body, then trailers |
//! | `/log?text=` | writes to stderr and stdout |
//! | `/env`, `/args` | what the environment and the arguments are |
//! | `/count` | how often this instance was called |
//! | `/spin`, `/grow`, `/recurse`, `/trap` | runs for ever, takes all memory, all stack, traps |
//! | `/partial` | sends the head and a piece, then traps |
//! | `/cut` | sends the head and a piece, then returns without finishing the body |
//! | `/never` | waits for ever without answering |
//! | `/silent` | returns without answering |

use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use reply::{Body, Target, read_pieces, start, start_with, text, trailers};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingBody, IncomingRequest, Method, ResponseOutparam, Scheme};

const PLAIN: &[(&str, &str)] = &[("content-type", "text/plain")];

/// Long enough for what was sent to reach the client before the guest dies.
const ON_ITS_WAY: Duration = Duration::from_millis(50);

struct Echo;

impl Guest for Echo {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        if let Err(error) = answer(&request, out) {
            eprintln!("the client went away: {error}");
        }
    }
}

wasip2::http::proxy::export!(Echo);

fn answer(request: &IncomingRequest, out: ResponseOutparam) -> io::Result<()> {
    let target = Target::of(request);
    match target.segments().as_slice() {
        [] => text(out, 200, "Hello, WASI!\n"),
        ["echo"] => echo(request, &target, out),
        ["splice"] => splice(request, out),
        ["discard"] => discard(request, out),
        ["ignore"] => text(out, 200, "not read\n"),
        ["headers"] => text(out, 200, &lines(&request.headers())),
        ["request"] => text(out, 200, &request_line(request)),
        ["status", code] => text(out, code.parse().unwrap_or(400), &format!("status {code}\n")),
        ["many-headers"] => many_headers(target.number("n", 10), out),
        ["bytes"] => bytes(target.number("n", 1 << 20), out),
        ["slow"] => slow(&target, out),
        ["trailers"] => with_trailers(out),
        ["log"] => {
            let said = target.get("text").unwrap_or("nothing");
            println!("out: {said}");
            eprintln!("err: {said}");
            text(out, 200, "logged\n")
        }
        ["env"] => {
            text(out, 200, &std::env::vars().map(|(name, value)| format!("{name}={value}\n")).collect::<String>())
        }
        ["args"] => text(out, 200, &std::env::args().map(|word| word + "\n").collect::<String>()),
        ["count"] => text(out, 200, &format!("{}\n", count())),
        ["spin"] => spin(),
        ["grow"] => grow(),
        ["recurse"] => text(out, 200, &recurse(0).to_string()),
        ["trap"] => std::process::abort(),
        ["partial"] => {
            let _unfinished = begin(out)?;
            thread::sleep(ON_ITS_WAY);
            std::process::abort()
        }
        ["cut"] => {
            let _unfinished = begin(out)?;
            thread::sleep(ON_ITS_WAY);
            Ok(())
        }
        ["never"] => loop {
            thread::sleep(Duration::from_secs(3600));
        },
        ["silent"] => Ok(()),
        _ => text(out, 404, &format!("no `{}` here\n", target.path)),
    }
}

fn consume(request: &IncomingRequest) -> io::Result<IncomingBody> {
    request.consume().map_err(|()| io::Error::other("the body was taken"))
}

fn echo(request: &IncomingRequest, target: &Target, out: ResponseOutparam) -> io::Result<()> {
    let head = Fields::new();
    let append = |name: &str, value: &[u8]| head.append(name, value).map_err(io::Error::other);
    for value in request.headers().get("content-type") {
        append("content-type", &value)?;
    }
    if target.get("show").is_some() {
        append("x-method", method(&request.method()).as_bytes())?;
        append(
            "x-path",
            request.path_with_query().unwrap_or_default().split('?').next().unwrap_or_default().as_bytes(),
        )?;
        let query = request.path_with_query().and_then(|whole| Some(whole.split_once('?')?.1.to_owned()));
        append("x-query", query.unwrap_or_default().as_bytes())?;
        for (name, value) in request.headers().entries() {
            append(&format!("x-echo-{name}"), &value)?;
        }
    }
    let mut body = start_with(out, 200, head)?;
    let end = read_pieces(consume(request)?, |piece| {
        body.write(piece)?;
        body.flush()
    })?;
    // What came in belongs to the request; the response needs fields of its own.
    let copy = end.and_then(|fields| Fields::from_list(&fields.entries()).ok());
    body.finish(copy)
}

fn splice(request: &IncomingRequest, out: ResponseOutparam) -> io::Result<()> {
    let mut body = start(out, 200, &[])?;
    let incoming = consume(request)?;
    let stream = incoming.stream().map_err(|()| io::Error::other("the stream was taken"))?;
    while body.splice(&stream)? {}
    drop(stream);
    trailers(incoming)?;
    body.finish(None)
}

fn discard(request: &IncomingRequest, out: ResponseOutparam) -> io::Result<()> {
    let mut length = 0;
    read_pieces(consume(request)?, |piece| {
        length += piece.len();
        Ok(())
    })?;
    text(out, 200, &format!("{length}\n"))
}

fn lines(headers: &Fields) -> String {
    headers.entries().iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value))).collect()
}

fn request_line(request: &IncomingRequest) -> String {
    let scheme = match request.scheme() {
        Some(Scheme::Http) => "http".to_owned(),
        Some(Scheme::Https) => "https".to_owned(),
        Some(Scheme::Other(other)) => other,
        None => "-".to_owned(),
    };
    let authority = request.authority().unwrap_or_else(|| "-".to_owned());
    let path = request.path_with_query().unwrap_or_else(|| "-".to_owned());
    format!("{} {scheme} {authority} {path}\n", method(&request.method()))
}

fn method(method: &Method) -> &str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(other) => other,
    }
}

fn many_headers(count: u64, out: ResponseOutparam) -> io::Result<()> {
    let head = Fields::new();
    for number in 0..count {
        head.append(&format!("x-number-{number}"), number.to_string().as_bytes()).map_err(io::Error::other)?;
    }
    start_with(out, 200, head)?.finish(None)
}

fn bytes(count: u64, out: ResponseOutparam) -> io::Result<()> {
    let piece = [b'.'; 64 * 1024];
    let mut body = start(out, 200, &[("content-type", "application/octet-stream")])?;
    let mut left = count;
    while left > 0 {
        let size = left.min(piece.len() as u64);
        body.write(&piece[..size as usize])?;
        left -= size;
    }
    body.finish(None)
}

fn slow(target: &Target, out: ResponseOutparam) -> io::Result<()> {
    let pause = Duration::from_millis(target.number("ms", 100));
    let mut body = start(out, 200, PLAIN)?;
    for number in 1..=target.number("n", 5) {
        thread::sleep(pause);
        body.write(format!("line {number}\n").as_bytes())?;
        body.flush()?;
    }
    body.finish(None)
}

fn with_trailers(out: ResponseOutparam) -> io::Result<()> {
    let mut body = start(out, 200, &[("content-type", "text/plain"), ("trailer", "x-sum")])?;
    body.write(b"the sum follows\n")?;
    let fields = Fields::new();
    fields.append("x-sum", b"42").map_err(io::Error::other)?;
    body.finish(Some(fields))
}

fn begin(out: ResponseOutparam) -> io::Result<Body> {
    let mut body = start(out, 200, PLAIN)?;
    body.write(b"and then\n")?;
    body.flush()?;
    Ok(body)
}

/// Stays at 1 where every call gets a fresh instance.
fn count() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    CALLS.fetch_add(1, Ordering::Relaxed) + 1
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
