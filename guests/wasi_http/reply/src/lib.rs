//! What the hand-written `wasi:http` 0.2 guests share: sending a response in pieces and reading a request's target.
//!
//! Errors while sending mean that the client went away; they end the guest's work, so they are `io::Error`s to be passed up with `?`.

use std::io::{self, Write};

use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam, Trailers,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

/// A response whose head was sent and whose body is being written.
pub struct Body {
    // Declared first: the stream is a child of the body and must be dropped before it.
    stream: OutputStream,
    body: OutgoingBody,
}

/// Sends the head, with `headers` as they are given.
pub fn start(out: ResponseOutparam, status: u16, headers: &[(&str, &str)]) -> io::Result<Body> {
    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(name, value.as_bytes()).map_err(io::Error::other)?;
    }
    start_with(out, status, fields)
}

/// Sends the head with fields that were already made.
pub fn start_with(out: ResponseOutparam, status: u16, fields: Fields) -> io::Result<Body> {
    let response = OutgoingResponse::new(fields);
    response.set_status_code(status).map_err(|()| io::Error::other(format!("bad status {status}")))?;
    let body = response.body().map_err(|()| io::Error::other("the body was taken"))?;
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().map_err(|()| io::Error::other("the stream was taken"))?;
    Ok(Body { stream, body })
}

/// A whole response of plain text.
pub fn text(out: ResponseOutparam, status: u16, text: &str) -> io::Result<()> {
    let mut body = start(out, status, &[("content-type", "text/plain; charset=utf-8")])?;
    body.write(text.as_bytes())?;
    body.finish(None)
}

impl Body {
    /// Waits until the host has taken all of `bytes`.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Waits until what was written has left the guest's side of the host.
    pub fn flush(&mut self) -> io::Result<()> {
        Write::flush(&mut self.stream)
    }

    /// Lets the host move bytes without a copy through this guest; `false` at the end.
    pub fn splice(&mut self, from: &InputStream) -> io::Result<bool> {
        match self.stream.blocking_splice(from, 64 * 1024) {
            Ok(_) => Ok(true),
            Err(StreamError::Closed) => Ok(false),
            Err(StreamError::LastOperationFailed(error)) => Err(io::Error::other(error.to_debug_string())),
        }
    }

    /// Ends the body; without this call the host must treat it as cut off.
    pub fn finish(mut self, trailers: Option<Trailers>) -> io::Result<()> {
        Write::flush(&mut self.stream)?;
        let Self { stream, body } = self;
        drop(stream);
        OutgoingBody::finish(body, trailers).map_err(io::Error::other)
    }
}

/// Calls `take` for each piece of a body as it comes, and returns the trailers.
pub fn read_pieces(body: IncomingBody, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<Option<Trailers>> {
    let stream = body.stream().map_err(|()| io::Error::other("the stream was taken"))?;
    loop {
        match stream.blocking_read(64 * 1024) {
            Ok(piece) => take(&piece)?,
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => return Err(io::Error::other(error.to_debug_string())),
        }
    }
    drop(stream);
    trailers(body)
}

/// Waits for what follows a body that was read to its end.
pub fn trailers(body: IncomingBody) -> io::Result<Option<Trailers>> {
    let future = IncomingBody::finish(body);
    future.subscribe().block();
    match future.get() {
        Some(Ok(result)) => result.map_err(io::Error::other),
        _ => Err(io::Error::other("the trailers were taken")),
    }
}

/// A request's path and query, percent-decoded.
pub struct Target {
    pub path: String,
    pub query: Vec<(String, String)>,
}

impl Target {
    pub fn of(request: &IncomingRequest) -> Self {
        let whole = request.path_with_query().unwrap_or_default();
        let (path, query) = whole.split_once('?').unwrap_or((&whole, ""));
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        };
        Self { path: decode(path), query: query.split('&').filter(|part| !part.is_empty()).map(pair).collect() }
    }

    /// The first value of a query parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The same as a number, or `default`.
    pub fn number(&self, name: &str, default: u64) -> u64 {
        self.get(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    /// The path between its slashes.
    pub fn segments(&self) -> Vec<&str> {
        self.path.split('/').filter(|part| !part.is_empty()).collect()
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            (other, _) => {
                bytes.push(*other);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
