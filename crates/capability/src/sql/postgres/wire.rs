//! The way to a server: a socket, TLS over it if it is asked for, and a bound on every message that comes in.
//!
//! PostgreSQL sends a row as one message and the client holds it whole, so that one `select repeat('x', 1000000000)` would
//! be a gigabyte here. [`Bounded`] reads the length before each message and gives up the connection instead.

use std::{
    io,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use hyper_rustls::ConfigBuilderExt as _;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_postgres::{
    Config,
    config::Host,
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::sql::SqlError;

/// A socket of any kind.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A connection to a server, as the operating system gives it.
pub(super) struct Wire(Box<dyn Socket>);

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Connects to the first of the servers that answers; tells its name for TLS.
pub(super) async fn dial(config: &Config) -> io::Result<(Wire, String)> {
    let mut last = io::Error::other("the URL names no server");
    let ports = config.get_ports();
    for (place, host) in config.get_hosts().iter().enumerate() {
        let port = ports.get(place).or(ports.first()).copied().unwrap_or(5432);
        let dialled = match host {
            Host::Tcp(name) => TcpStream::connect((name.as_str(), port)).await.and_then(|socket| {
                socket.set_nodelay(true)?;
                Ok((Wire(Box::new(socket)), name.clone()))
            }),
            Host::Unix(folder) => {
                let socket = UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await;
                socket.map(|socket| (Wire(Box::new(socket)), "localhost".to_owned()))
            }
        };
        match dialled {
            Ok(dialled) => return Ok(dialled),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// TLS that trusts public authorities, or those of a file.
pub(super) fn tls(authority: Option<&Path>) -> Result<MakeRustlsConnect, SqlError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let versions = versions.map_err(|error| SqlError::Configuration(error.to_string()))?;
    let trusting = match authority {
        None => versions.with_webpki_roots(),
        Some(path) => versions.with_root_certificates(authorities(path)?),
    };
    Ok(MakeRustlsConnect::new(trusting.with_no_client_auth()))
}

fn authorities(path: &Path) -> Result<RootCertStore, SqlError> {
    let wrong = |why: &dyn std::fmt::Display| {
        SqlError::Configuration(format!("`ca`: `{}` has no certificates in PEM: {why}", path.display()))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
        roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() { Err(wrong(&"there are none")) } else { Ok(roots) }
}

/// What becomes of messages that are too long.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    /// Bytes of one message, at most.
    pub(super) most: u64,
    /// Set when one was longer.
    pub(super) over: Arc<AtomicBool>,
}

/// A stream of messages of the PostgreSQL protocol, none longer than it may be.
pub(super) struct Bounded<S> {
    inner: S,
    bound: Bound,
    /// The kind and the length of a message, as far as they have come.
    head: [u8; 5],
    known: usize,
    /// Bytes of its body that are yet to come.
    left: u64,
}

impl<S> Bounded<S> {
    pub(super) fn new(inner: S, bound: Bound) -> Self {
        Self { inner, bound, head: [0; 5], known: 0, left: 0 }
    }

    /// Follows the messages; `false` if one is too long.
    fn follow(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= skipped as u64;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            let Some((byte, rest)) = bytes.split_first() else { break };
            bytes = rest;
            if let Some(place) = self.head.get_mut(self.known) {
                *place = *byte;
            }
            self.known += 1;
            if self.known == self.head.len() {
                let [_, length @ ..] = self.head;
                // The length counts itself.
                self.left = u64::from(u32::from_be_bytes(length)).saturating_sub(4);
                self.known = 0;
                if self.left > self.bound.most {
                    return false;
                }
            }
        }
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if self.follow(buffer.filled().get(before..).unwrap_or_default()) {
            return Poll::Ready(Ok(()));
        }
        self.bound.over.store(true, Ordering::Release);
        buffer.set_filled(before);
        Poll::Ready(Err(io::Error::other("a message is longer than it may be")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Bounded<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

type Inner = <MakeRustlsConnect as MakeTlsConnect<Wire>>::TlsConnect;

/// TLS to one server, with its messages bounded inside of it.
pub(super) struct Tls {
    inner: Inner,
    bound: Bound,
}

impl Tls {
    /// TLS to a server of this name.
    pub(super) fn new(make: &MakeRustlsConnect, host: &str, bound: Bound) -> Self {
        let Ok(inner) = MakeTlsConnect::<Wire>::make_tls_connect(&mut make.clone(), host);
        Self { inner, bound }
    }
}

impl TlsConnect<Wire> for Tls {
    type Stream = Bounded<<Inner as TlsConnect<Wire>>::Stream>;
    type Error = <Inner as TlsConnect<Wire>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: Wire) -> Self::Future {
        let connecting = self.inner.connect(stream);
        Box::pin(async move { Ok(Bounded::new(connecting.await?, self.bound)) })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    async fn check(sent: &[u8], most: u64) -> (io::Result<usize>, bool) {
        let bound = Bound { most, over: Arc::default() };
        let mut whole = Bounded::new(sent, bound.clone());
        let read = whole.read_to_end(&mut Vec::new()).await;
        // It makes no difference in which pieces the messages come.
        let mut single = Bounded::new(tokio::io::empty(), bound.clone());
        assert_eq!(sent.iter().all(|byte| single.follow(&[*byte])), read.is_ok());
        (read, bound.over.load(Ordering::Acquire))
    }

    #[tokio::test]
    async fn a_message_is_refused_by_its_length_before_it_has_come() {
        let messages = b"Z\0\0\0\x05ID\0\0\0\x0512345C\0\0\0\x04";
        assert!(matches!(check(messages, 1).await, (Ok(17), false) | (Err(_), true)));
        let short = b"Z\0\0\0\x05ID\0\0\0\x061\x02C\0\0\0\x04";
        assert!(matches!(check(short, 2).await, (Ok(18), false)));
        assert!(matches!(check(short, 1).await, (Err(_), true)));
        assert!(matches!(check(b"D\xff\xff\xff\xff", 1 << 20).await, (Err(_), true)));
        // A length that does not even count itself moves on; the client refuses it.
        assert!(matches!(check(b"D\0\0\0\0Z\0\0\0\x04", 0).await, (Ok(10), false)));
    }
}
