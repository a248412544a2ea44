//! A `wasi:http` 0.2 proxy that turns the interface's own means against its host; the path chooses.
//!
//! | path | what it does |
//! | --- | --- |
//! | `/count` | how often this instance was called |
//! | `/forget-reply` | returns while it still holds the place of its reply |
//! | `/forget-body` | answers a head and a piece, then returns while it still holds the body |
//! | `/forget-fields?n=` | makes n handles, drops none, then answers |
//! | `/headers?n=` | puts n headers into its answer |
//! | `/crlf` | tries to put line ends into names and values, and says what was taken |
//! | `/lengths?said=&sent=` | says one length and sends another |
//! | `/two-lengths` | gives its answer two lengths, and says whether both were taken |
//! | `/fetch?how=&to=` | sends a request to the authority `to` with `how` it should not be: `absolute` (the path is a URL of another host), `long` (a path of 100 KB), `hurried` (time-outs of zero), `userinfo`; says what came of it |
//! | `/endless` | sends a body without end |
//! | `/random?n=` | asks for n random bytes at once |
//! | `/calls?n=` | makes n host calls |
//! | `/deep-calls` | recurses without end, with a host call in each frame |
//! | `/line?n=` | writes n bytes to stderr without a line end, a terminal's escapes among them |
//! | `/flood?n=` | writes n lines to stderr and stdout |

use std::hint::black_box;
use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};

use reply::{Target, start, start_with, text};
use wasip2::clocks::monotonic_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingRequest, OutgoingBody, OutgoingRequest, RequestOptions, ResponseOutparam, Scheme,
};
use wasip2::random::random;

struct Attack;

impl Guest for Attack {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        if let Err(error) = attack(&request, out) {
            eprintln!("the host did not take it: {error}");
        }
    }
}

wasip2::http::proxy::export!(Attack);

fn attack(request: &IncomingRequest, out: ResponseOutparam) -> io::Result<()> {
    let target = Target::of(request);
    let times = target.number("n", 0);
    match target.path.trim_matches('/') {
        "count" => text(out, 200, &format!("{}\n", count())),
        "forget-reply" => {
            mem::forget(out);
            Ok(())
        }
        "forget-body" => {
            let mut body = start(out, 200, &[])?;
            body.write(b"and then\n")?;
            body.flush()?;
            mem::forget(body);
            Ok(())
        }
        "forget-fields" => {
            (0..times).for_each(|_| mem::forget(Fields::new()));
            text(out, 200, &format!("forgot {times}\n"))
        }
        "headers" => headers(times, out),
        "crlf" => text(out, 200, &line_ends()),
        "lengths" => {
            let mut body = start(out, 200, &[("content-length", &target.number("said", 5).to_string())])?;
            body.write(&vec![b'.'; target.number("sent", 10) as usize])?;
            body.finish(None)
        }
        "two-lengths" => {
            let fields = Fields::new();
            let took = ["5", "6"].map(|length| fields.append("content-length", length.as_bytes()).is_ok());
            let mut body = start_with(out, 200, fields)?;
            body.write(format!("{took:?}").as_bytes())?;
            body.finish(None)
        }
        "fetch" => {
            let (how, to) = (target.get("how").unwrap_or_default(), target.get("to").unwrap_or_default());
            text(out, 200, &format!("{:?}\n", fetch(how, to)))
        }
        "endless" => {
            let mut body = start(out, 200, &[])?;
            loop {
                body.write(&[b'.'; 64 * 1024])?;
            }
        }
        "random" => text(out, 200, &format!("{} bytes\n", random::get_random_bytes(times).len())),
        "calls" => {
            let last = (0..times).map(|_| monotonic_clock::now()).last();
            text(out, 200, &format!("{last:?}\n"))
        }
        "deep-calls" => text(out, 200, &deep(0).to_string()),
        "line" => {
            let piece = b"\x1b[31mred\x1b]0;title\x07 and so on ".repeat(128);
            (0..times / piece.len() as u64 + 1).try_for_each(|_| io::stderr().write_all(&piece))?;
            text(out, 200, "written\n")
        }
        "flood" => {
            for number in 0..times {
                println!("out {number}");
                eprintln!("err {number}");
            }
            text(out, 200, "written\n")
        }
        other => text(out, 404, &format!("no `{other}` here\n")),
    }
}

fn fetch(how: &str, to: &str) -> Result<u16, ErrorCode> {
    let refused = |()| ErrorCode::HttpRequestUriInvalid;
    let request = OutgoingRequest::new(Fields::new());
    let (authority, path) = match how {
        "absolute" => (to.to_owned(), format!("http://localhost:{}/private", to.rsplit(':').next().unwrap_or_default())),
        "long" => (to.to_owned(), format!("/{}?query", "a".repeat(100_000))),
        "userinfo" => (format!("user:word@{to}"), "/".to_owned()),
        _ => (to.to_owned(), "/".to_owned()),
    };
    request.set_scheme(Some(&Scheme::Http)).map_err(refused)?;
    request.set_authority(Some(&authority)).map_err(refused)?;
    request.set_path_with_query(Some(&path)).map_err(refused)?;
    let options = RequestOptions::new();
    if how == "hurried" {
        options.set_connect_timeout(Some(0)).map_err(refused)?;
        options.set_first_byte_timeout(Some(0)).map_err(refused)?;
        options.set_between_bytes_timeout(Some(0)).map_err(refused)?;
    }
    let body = request.body().map_err(refused)?;
    let response = outgoing_handler::handle(request, Some(options))?;
    OutgoingBody::finish(body, None)?;
    response.subscribe().block();
    match response.get() {
        Some(Ok(answer)) => answer.map(|answer| answer.status()),
        _ => Err(ErrorCode::InternalError(None)),
    }
}

fn count() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    CALLS.fetch_add(1, Ordering::Relaxed) + 1
}

/// Answers with as many headers as the host takes, and says in the body how many that were.
fn headers(wanted: u64, out: ResponseOutparam) -> io::Result<()> {
    let fields = Fields::new();
    let taken = (0..wanted).take_while(|number| fields.append(&format!("x-{number}"), b"value").is_ok()).count();
    let mut body = start_with(out, 200, fields)?;
    body.write(format!("{taken} of {wanted}\n").as_bytes())?;
    body.finish(None)
}

/// The names and values with line ends that the host took, one on a line.
fn line_ends() -> String {
    const PAIRS: &[(&str, &[u8])] = &[
        ("x-value", b"a\r\nx-smuggled: yes"),
        ("x-value", b"a\nx-smuggled: yes"),
        ("x-value", b"a\rx-smuggled: yes"),
        ("x-value", b"a\0b"),
        ("x-name\r\nx-smuggled", b"yes"),
        ("x-name: yes\r\n", b"yes"),
        ("x name", b"yes"),
        ("", b"yes"),
    ];
    let fields = Fields::new();
    let taken = PAIRS.iter().filter(|(name, value)| fields.append(name, value).is_ok());
    let lines: String = taken.map(|(name, value)| format!("took {name:?} {value:?}\n")).collect();
    if lines.is_empty() { "took nothing\n".to_owned() } else { lines }
}

/// What is read after the call keeps the compiler from making it a loop.
#[allow(unconditional_recursion, reason = "this is the point")]
fn deep(depth: u64) -> u64 {
    let now = black_box(monotonic_clock::now());
    deep(depth.wrapping_add(1)).rotate_left(1) ^ now
}
