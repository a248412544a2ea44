//! Attacks by clients: heads that are too large or can be read in two ways, bodies without end, and patience that others
//! pay for.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// What a client sends, and the status it gets; `None` is a connection that is closed without an answer.
pub(super) struct Client {
    pub(super) name: &'static str,
    head: fn() -> String,
    then: Then,
    status: Option<u16>,
}

/// What a client does after its head.
#[derive(Clone, Copy)]
enum Then {
    /// It waits for the answer, for as long as the host has patience.
    Waits,
    /// It sends chunks until the connection ends.
    NeverEnds,
}

use Then::{NeverEnds, Waits};

const fn client(name: &'static str, head: fn() -> String, then: Then, status: Option<u16>) -> Client {
    Client { name, head, then, status }
}

/// A request to a guest that would answer 200, with these fields.
fn get(fields: &str) -> String {
    format!("GET /headers HTTP/1.1\r\nhost: echo.test\r\nconnection: close\r\n{fields}\r\n")
}

fn post(fields: &str, body: &str) -> String {
    format!("POST /discard HTTP/1.1\r\nhost: echo.test\r\nconnection: close\r\n{fields}\r\n{body}")
}

fn chunked(host: &str, path: &str) -> String {
    format!("POST /{path} HTTP/1.1\r\nhost: {host}.test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n")
}

pub(super) const CLIENTS: &[Client] = &[
    client("an honest one", || get("x: y\r\n"), Waits, Some(200)),
    client("40,000 headers", || get(&"x: y\r\n".repeat(40_000)), Waits, Some(431)),
    client("101 headers", || get(&"x: y\r\n".repeat(101)), Waits, Some(431)),
    client("a header of 100 KB", || get(&format!("x: {}\r\n", "y".repeat(100_000))), Waits, Some(431)),
    client(
        "a path of 100 KB",
        || format!("GET /{} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "a".repeat(100_000)),
        Waits,
        Some(431),
    ),
    client("a carriage return in a value", || get("x: a\rb: c\r\n"), Waits, Some(400)),
    client("a zero in a value", || get("x: a\0b\r\n"), Waits, Some(400)),
    client("a folded header", || get("x: a\r\n b: c\r\n"), Waits, Some(400)),
    client("a space before the colon", || get("x : a\r\n"), Waits, Some(400)),
    client("two hosts", || get("host: cgi.test\r\n"), Waits, Some(400)),
    client(
        "a user in the host",
        || "GET / HTTP/1.1\r\nhost: user@echo.test\r\nconnection: close\r\n\r\n".into(),
        Waits,
        Some(400),
    ),
    client(
        "a user in the target",
        || "GET http://user:word@echo.test/ HTTP/1.1\r\nhost: echo.test\r\nconnection: close\r\n\r\n".into(),
        Waits,
        Some(400),
    ),
    client(
        "a target of another scheme",
        || "GET ftp://echo.test/ HTTP/1.1\r\nhost: echo.test\r\nconnection: close\r\n\r\n".into(),
        Waits,
        Some(400),
    ),
    client(
        "a target that is not the host",
        || "GET http://nobody.test/x HTTP/1.1\r\nhost: echo.test\r\nconnection: close\r\n\r\n".into(),
        Waits,
        Some(404),
    ),
    client("two lengths", || post("content-length: 5\r\ncontent-length: 6\r\n", "abcdef"), Waits, Some(400)),
    client("a list of lengths", || post("content-length: 5, 6\r\n", "abcdef"), Waits, Some(400)),
    client("a length of no number", || post("content-length: 0x5\r\n", "abcde"), Waits, Some(400)),
    client("a length past all numbers", || post("content-length: 99999999999999999999999\r\n", ""), Waits, Some(400)),
    client("an encoding that is none", || post("transfer-encoding: xchunked\r\n", "0\r\n\r\n"), Waits, Some(400)),
    client(
        "an encoding that is not the last",
        || post("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"),
        Waits,
        Some(400),
    ),
    client("a chunk of no number", || chunked("echo", "discard") + "zz\r\n\r\n", Waits, Some(502)),
    client("a chunk past all numbers", || chunked("echo", "discard") + "ffffffffffffffffff\r\n\r\n", Waits, Some(502)),
    client(
        "a chunk's extension without end",
        || chunked("echo", "discard") + "1;" + &"a".repeat(200_000) + "\r\nx\r\n0\r\n\r\n",
        Waits,
        Some(502),
    ),
    client("a head that stops", || "GET / HTTP/1.1\r\nhos".into(), Waits, None),
    client("silence", String::new, Waits, None),
    client("a body that stops", || post("content-length: 100\r\n", "x"), Waits, Some(502)),
    client("a body without end", || chunked("impatient", "discard"), NeverEnds, Some(504)),
    client("a body without end that nobody reads", || chunked("echo", "ignore"), NeverEnds, Some(200)),
    client("a body without end for a command", || chunked("cgi", "echo"), NeverEnds, Some(200)),
];

/// Longer than every time-out of the host, and than what a busy machine adds.
const PATIENCE: Duration = Duration::from_secs(30);
const CHUNK: &str = "10\r\n0123456789abcdef\r\n";

impl Client {
    /// Does it, and says what was wrong with the answer.
    pub(super) fn attack(&self, host: SocketAddr) -> Result<(), String> {
        let began = Instant::now();
        let mut stream = TcpStream::connect(host).map_err(|error| error.to_string())?;
        // The host may have answered and closed before it took everything.
        let _sent = stream.write_all((self.head)().as_bytes());
        let mut writer = stream.try_clone().map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        let endless = matches!(self.then, NeverEnds);
        let sending = std::thread::spawn(move || {
            let chunks = CHUNK.repeat(256);
            while endless && began.elapsed() < PATIENCE && writer.write_all(chunks.as_bytes()).is_ok() {}
        });
        let mut answer = Vec::new();
        let mut piece = [0; 16 << 10];
        let ended = loop {
            match stream.read(&mut piece) {
                Ok(0) => break Ok(()),
                // The head says it all: of what never ends nothing else is kept.
                Ok(count) if answer.len() < piece.len() => answer.extend_from_slice(&piece[..count]),
                Ok(_) => {}
                // A reset: the host had enough.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break Ok(()),
                Err(error) => break Err(format!("{error} after {:?}", began.elapsed())),
            }
        };
        drop(stream.shutdown(Shutdown::Both));
        drop(sending.join());
        let head = String::from_utf8_lossy(&answer);
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
        match ended {
            Ok(()) if status == self.status => Ok(()),
            other => Err(format!("{:?} instead of {:?}, {other:?}: {:.300}", status, self.status, head)),
        }
    }
}

/// Clients that ask for much, and leave at once or never read.
pub(super) fn leave(host: SocketAddr) -> Vec<TcpStream> {
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(host).unwrap();
        stream.write_all(format!("GET /{path} HTTP/1.1\r\nhost: echo.test\r\n\r\n").as_bytes()).unwrap();
        stream
    };
    for _ in 0..20 {
        drop(ask("never"));
        drop(ask("slow?ms=50&n=1000"));
        let mut reading = ask("slow?ms=1&n=100000");
        drop(reading.read(&mut [0; 512]));
    }
    (0..4).map(|_| ask("bytes?n=1000000000")).collect()
}
