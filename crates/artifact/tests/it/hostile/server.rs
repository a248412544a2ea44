//! A server on plain sockets that answers whatever a test wants, as wrongly as it wants, and remembers what it was asked.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

/// The method of what is no request but the beginning of TLS, to which servers of plain HTTP answer 400.
const TLS: &str = "TLS";
/// Bytes written at once by what has no end.
const PIECE: usize = 64 << 10;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// The head's lines, the first left out.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Whether it is a request like `GET /v2/a/tags/list`.
    pub(crate) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.target.split('?').next() == Some(path)
    }
}

/// What is answered. `{self}` and `{other}` in a header are the addresses of the two servers of a test.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Sent,
}

/// How a body is sent.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    /// With its length.
    Whole(Vec<u8>),
    /// The length is announced, and then fewer bytes come before the connection ends.
    Cut { announced: u64, bytes: Vec<u8> },
    /// The length is announced, and then fewer bytes come and nothing more.
    Stalled { announced: u64, bytes: Vec<u8> },
    /// Announced or in chunks, as fast as they are taken.
    Endless { announced: Option<u64> },
    /// One byte at a time, for ever.
    Drip { announced: u64, every: Duration },
    /// Instead of an answer: these bytes, then these again and again.
    Raw { once: Vec<u8>, forever: Vec<u8>, every: Duration },
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: Sent::Whole(body.into()) }
    }

    pub(crate) fn sending(body: Sent) -> Self {
        Self { status: 200, headers: Vec::new(), body }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn to(location: &str) -> Self {
        Self::new(307, "").with("Location", location)
    }
}

pub(crate) type Answers = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// A server that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    sent: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Plain HTTP on a port of its own. `other` stands for `{other}`.
    pub(crate) async fn start(other: Option<SocketAddr>, answers: Answers) -> Self {
        Self::start_with(other, None, answers).await
    }

    /// With TLS, if a configuration is given.
    pub(crate) async fn start_with(
        other: Option<SocketAddr>,
        tls: Option<tokio_rustls::TlsAcceptor>,
        answers: Answers,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, sent) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
        let (log, count) = (Arc::clone(&asked), Arc::clone(&sent));
        let task = tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                let talk = Talk {
                    address,
                    other: other.unwrap_or(address),
                    answers: Arc::clone(&answers),
                    asked: Arc::clone(&log),
                    sent: Arc::clone(&count),
                };
                let tls = tls.clone();
                tokio::spawn(async move {
                    // A client that has heard enough hangs up: that is what the tests are about.
                    match tls {
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                drop(talk.serve(socket).await);
                            }
                        }
                        None => drop(talk.serve(socket).await),
                    }
                });
            }
        });
        Self { address, asked, sent, task }
    }

    /// What it was asked, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    /// Bytes of bodies that were taken off its hands. What comes before a body is read and dropped, so it is not counted: how
    /// much of it is kept shows in the memory.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

struct Talk {
    address: SocketAddr,
    other: SocketAddr,
    answers: Answers,
    asked: Arc<Mutex<Vec<Asked>>>,
    sent: Arc<AtomicU64>,
}

impl Talk {
    async fn serve(&self, mut socket: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut read = Vec::new();
        while let Some(asked) = request(&mut socket, &mut read).await? {
            if asked.method == TLS {
                return self.write(&mut socket, b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
            }
            let reply = (self.answers)(&asked);
            let head_only = asked.method == "HEAD";
            self.asked.lock().push(asked);
            if !self.reply(&mut socket, &reply, head_only).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether the connection goes on.
    async fn reply(
        &self,
        socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
        reply: &Reply,
        head_only: bool,
    ) -> std::io::Result<bool> {
        let mut head = format!("HTTP/1.1 {} Said\r\n", reply.status);
        for (name, value) in &reply.headers {
            let value = value.replace("{self}", &self.address.to_string());
            head += &format!("{name}: {}\r\n", value.replace("{other}", &self.other.to_string()));
        }
        let announced = match &reply.body {
            Sent::Whole(bytes) => Some(bytes.len() as u64),
            Sent::Cut { announced, .. } | Sent::Stalled { announced, .. } | Sent::Drip { announced, .. } => {
                Some(*announced)
            }
            Sent::Endless { announced } => *announced,
            Sent::Raw { once, forever, every } => {
                socket.write_all(once).await?;
                loop {
                    socket.write_all(forever).await?;
                    socket.flush().await?;
                    if !every.is_zero() {
                        tokio::time::sleep(*every).await;
                    }
                    if forever.is_empty() {
                        return Ok(false);
                    }
                }
            }
        };
        match announced {
            // A test that sets the length of a HEAD itself means it.
            Some(_) if reply.headers.iter().any(|(name, _)| name == "Content-Length") => {}
            Some(length) => head += &format!("Content-Length: {length}\r\n"),
            None => head += "Transfer-Encoding: chunked\r\n",
        }
        head += "\r\n";
        socket.write_all(head.as_bytes()).await?;
        if head_only {
            return Ok(true);
        }
        match &reply.body {
            Sent::Whole(bytes) => self.write(socket, bytes).await?,
            Sent::Cut { bytes, .. } => {
                self.write(socket, bytes).await?;
                return Ok(false);
            }
            Sent::Stalled { bytes, .. } => {
                self.write(socket, bytes).await?;
                std::future::pending::<()>().await;
            }
            Sent::Endless { announced } => loop {
                if announced.is_none() {
                    socket.write_all(format!("{PIECE:x}\r\n").as_bytes()).await?;
                }
                self.write(socket, &[b' '; PIECE]).await?;
                if announced.is_none() {
                    socket.write_all(b"\r\n").await?;
                }
            },
            Sent::Drip { every, .. } => loop {
                self.write(socket, b" ").await?;
                tokio::time::sleep(*every).await;
            },
            Sent::Raw { .. } => {}
        }
        Ok(true)
    }

    async fn write(&self, socket: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
        socket.write_all(bytes).await?;
        socket.flush().await?;
        self.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// Reads one request; `None` when the client has hung up.
async fn request(socket: &mut (impl AsyncRead + Unpin), read: &mut Vec<u8>) -> std::io::Result<Option<Asked>> {
    let end = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if read.first() == Some(&0x16) {
            let nothing = String::new;
            let method = TLS.to_owned();
            return Ok(Some(Asked { method, target: nothing(), head: nothing(), body: Vec::new() }));
        }
        if socket.read_buf(read).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    read.drain(..end);
    let (first, rest) = head.split_once("\r\n").unwrap();
    let mut words = first.split(' ');
    let mut asked = Asked {
        method: words.next().unwrap().to_owned(),
        target: words.next().unwrap().to_owned(),
        head: rest.to_owned(),
        body: Vec::new(),
    };
    let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
    while read.len() < length {
        if socket.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
    asked.body = read.drain(..length).collect();
    Ok(Some(asked))
}
