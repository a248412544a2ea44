//! Load at a rate that is offered, whatever the server does: an open loop.
//!
//! Requests fall due at even distances and a latency counts from the moment a request was due, not from when it could be
//! sent, so that a server that stalls is charged for everybody who waited. The client never sleeps: it needs a core of
//! its own, and a timer would be coarser than what is measured.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

/// How long a request may go unanswered before the run fails.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer read at once, and at most in all.
const READ_BYTES: usize = 16 << 10;

/// What is asked, how often, over how many connections.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// The core of this client.
    pub(crate) core: usize,
    pub(crate) connections: u32,
    pub(crate) per_second: f64,
    pub(crate) seconds: u64,
}

/// What clients saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) requests: u64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) worst: Duration,
}

impl Offer {
    /// Asks `path` at the offered rate. An answer that is not 200 is an error.
    pub(crate) fn run(&self, address: SocketAddr, path: &str) -> anyhow::Result<Latency> {
        let offer = self.clone();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        let asking = thread::Builder::new().name("offered".into()).spawn(move || {
            let mut cores = rustix::thread::CpuSet::new();
            cores.set(offer.core);
            rustix::thread::sched_setaffinity(None, &cores).context("choosing the client's core")?;
            offer.ask(address, request.as_bytes())
        })?;
        asking.join().map_err(|_| anyhow::anyhow!("the client panicked"))?
    }

    fn ask(&self, address: SocketAddr, request: &[u8]) -> anyhow::Result<Latency> {
        let mut connections: Vec<Connection> =
            (0..self.connections).map(|_| Connection::open(address)).collect::<anyhow::Result<_>>()?;
        let gap = Duration::from_secs_f64(1.0 / self.per_second);
        let total = (self.per_second * self.seconds as f64) as u32;
        let mut latencies = Vec::with_capacity(total as usize);
        let (start, mut sent) = (Instant::now(), 0u32);
        while latencies.len() < total as usize {
            for connection in &mut connections {
                if let Some(due) = connection.waiting {
                    if connection.answered()? {
                        latencies.push(due.elapsed());
                        connection.waiting = None;
                    } else {
                        ensure!(due.elapsed() < PATIENCE, "no answer within {} s", PATIENCE.as_secs());
                        continue;
                    }
                }
                let due = start + gap * sent;
                if sent < total && due <= Instant::now() {
                    connection.stream.write_all(request).context("asking")?;
                    connection.waiting = Some(due);
                    sent += 1;
                }
            }
        }
        latencies.sort_unstable();
        let at = |share: f64| latencies.get((latencies.len() as f64 * share) as usize).copied().unwrap_or_default();
        Ok(Latency {
            requests: latencies.len() as u64,
            p50: at(0.5),
            p99: at(0.99),
            worst: latencies.last().copied().unwrap_or_default(),
        })
    }
}

/// One connection, with at most one request on its way.
struct Connection {
    stream: TcpStream,
    /// When the request on its way was due.
    waiting: Option<Instant>,
    read: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).context("connecting")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, waiting: None, read: Vec::new() })
    }

    /// Whether the whole answer is here.
    fn answered(&mut self) -> anyhow::Result<bool> {
        let mut buffer = [0; READ_BYTES];
        match self.stream.read(&mut buffer) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(count) => self.read.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("reading an answer"),
        }
        let whole = whole(&self.read)?;
        if whole {
            self.read.clear();
        }
        ensure!(self.read.len() <= READ_BYTES, "an answer is over {READ_BYTES} bytes");
        Ok(whole)
    }
}

/// Whether these bytes are a whole answer; an error if it is not 200.
pub(crate) fn whole(bytes: &[u8]) -> anyhow::Result<bool> {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(false) };
    ensure!(head.starts_with("HTTP/1.1 2"), "it answered `{}`", head.lines().next().unwrap_or_default());
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    Ok(match length {
        Some(length) => body.len() >= length,
        None => body.ends_with("0\r\n\r\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_by_length_or_by_its_last_chunk() {
        assert!(whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").expect("a 200"));
        assert!(!whole(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi").expect("a 200"));
        assert!(whole(b"HTTP/1.1 200 OK\r\n\r\n2\r\nhi\r\n0\r\n\r\n").expect("a 200"));
        assert!(!whole(b"HTTP/1.1 200 OK\r\n").expect("a 200"));
        assert!(whole(b"HTTP/1.1 503 Busy\r\n\r\n").is_err());
    }
}
