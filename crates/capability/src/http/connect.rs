//! From an origin to a connected socket: resolve, judge each address, connect to exactly what was judged.
//!
//! A name is resolved once per connection and never again by anything below: what is connected to is a socket address,
//! not a name, so that a name server cannot answer the check with one address and the connection with another.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use samara_model::{Capability, not_public};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};
use tower_service::Service;

use super::{EgressError, request::Origin};
use crate::{Denial, Recorder};

/// Addresses of one name that are tried, at most.
const ADDRESSES: usize = 8;

/// Look-ups at once in this process; each holds a thread of the system's resolver.
const LOOKUPS: usize = 64;

/// Turns names into addresses.
#[async_trait]
pub trait Resolver: fmt::Debug + Send + Sync {
    /// The addresses of a name, best first. Called once per new connection, never for a host that is an address.
    ///
    /// # Errors
    /// The look-up failed. A name without addresses may be an error or an empty list.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver: hosts file, name servers, whatever the machine is set up with.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        static RUNNING: std::sync::LazyLock<Arc<Semaphore>> =
            std::sync::LazyLock::new(|| Arc::new(Semaphore::new(LOOKUPS)));
        let permit = Arc::clone(&RUNNING).acquire_owned().await.map_err(io::Error::other)?;
        let host = host.to_owned();
        // A look-up that nobody waits for any more still holds its thread, so it is the task that holds the permit.
        let lookup = tokio::spawn(async move {
            let _permit = permit;
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            io::Result::Ok(found.take(ADDRESSES * 4).map(|address| address.ip()).collect())
        });
        lookup.await.map_err(io::Error::other)?
    }
}

/// What connecting needs to know of the policy.
#[derive(Debug)]
pub(super) struct Connecting {
    /// Whether addresses that are not of the public Internet are granted.
    pub(super) private: bool,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) recorder: Arc<dyn Recorder>,
    /// One permit per connection that is open or being opened.
    pub(super) connections: Arc<Semaphore>,
    pub(super) max_connections: usize,
    /// Time for one look-up.
    pub(super) lookup: Duration,
    /// Time for everything up to the connected socket.
    pub(super) connect: Duration,
}

impl Connecting {
    /// The error for having waited too long for a connection: whether it is the server's doing or ours.
    pub(super) fn timed_out(&self) -> EgressError {
        match self.connections.available_permits() {
            0 => EgressError::ConnectionLimit(self.max_connections),
            _ => EgressError::ConnectionTimeout,
        }
    }

    async fn connect(self: Arc<Self>, uri: Uri) -> Result<Socket, EgressError> {
        let deadline = Instant::now() + self.connect;
        let origin = Origin::of(&uri)?;
        let permit = timeout_at(deadline, Arc::clone(&self.connections).acquire_owned()).await;
        let permit = permit.map_err(|_| self.timed_out())?;
        let permit = permit.map_err(|error| EgressError::Internal(error.to_string()))?;
        let addresses = self.judge(&origin, self.addresses(&origin).await?)?;

        let mut last = EgressError::NotFound(origin.host.clone());
        let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        for address in addresses {
            // An address that swallows packets must not eat the time of those after it.
            let share = deadline.saturating_duration_since(Instant::now()) / left.max(1);
            left = left.saturating_sub(1);
            match timeout(share, TcpStream::connect(SocketAddr::new(address, origin.port))).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true).map_err(|error| EgressError::socket(&error))?;
                    return Ok(Socket { stream: TokioIo::new(stream), _permit: permit });
                }
                Ok(Err(error)) => last = EgressError::socket(&error),
                Err(_) => last = EgressError::ConnectionTimeout,
            }
        }
        Err(last)
    }

    async fn addresses(&self, origin: &Origin) -> Result<Vec<IpAddr>, EgressError> {
        let host = &origin.host;
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let answer = timeout(self.lookup, self.resolver.resolve(host)).await;
        let answer = answer.map_err(|_| EgressError::DnsTimeout(host.clone()))?;
        answer.map_err(|error| EgressError::Dns { host: host.clone(), detail: error.to_string() })
    }

    /// Keeps what may be connected to, at most [`ADDRESSES`] of it.
    fn judge(&self, origin: &Origin, mut addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, EgressError> {
        if addresses.is_empty() {
            return Err(EgressError::NotFound(origin.host.clone()));
        }
        if !self.private {
            let first = addresses.first().copied();
            addresses.retain(|address| not_public(*address).is_none());
            if let (true, Some(address)) = (addresses.is_empty(), first) {
                let kind = not_public(address).unwrap_or("not public");
                return Err(self.prohibited(origin, address, kind));
            }
        }
        addresses.truncate(ADDRESSES);
        Ok(addresses)
    }

    fn prohibited(&self, origin: &Origin, address: IpAddr, kind: &str) -> EgressError {
        let what = if origin.host.parse() == Ok(address) {
            format!("request to `{origin}`, an address that is {kind}")
        } else {
            format!("request to `{origin}`, which leads to `{address}`, an address that is {kind}")
        };
        let grant = format!("http = {{ allow = [\"{origin}\"], private = true }}");
        self.recorder.denied(&Denial { capability: Capability::Http, what: what.clone(), grant: grant.clone() });
        EgressError::AddressProhibited { what, grant }
    }
}

/// The connector under the client's pool: asked only when no idle connection to the origin is left.
#[derive(Clone, Debug)]
pub(super) struct Connector(pub(super) Arc<Connecting>);

impl Service<Uri> for Connector {
    type Response = Socket;
    type Error = EgressError;
    type Future = Pin<Box<dyn Future<Output = Result<Socket, EgressError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EgressError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(Arc::clone(&self.0).connect(uri))
    }
}

/// A connected socket that counts as one of the workload's connections for as long as it is open.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TokioIo<TcpStream>,
    _permit: OwnedSemaphorePermit,
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Unrecorded;

    fn judged(private: bool, addresses: &[&str]) -> Result<Vec<String>, EgressError> {
        let connecting = Connecting {
            private,
            resolver: Arc::new(SystemResolver),
            recorder: Arc::new(Unrecorded),
            connections: Arc::new(Semaphore::new(1)),
            max_connections: 1,
            lookup: Duration::ZERO,
            connect: Duration::ZERO,
        };
        let origin = Origin::of(&Uri::from_static("http://mixed.test")).unwrap();
        let judged = connecting.judge(&origin, addresses.iter().map(|address| address.parse().unwrap()).collect())?;
        Ok(judged.iter().map(IpAddr::to_string).collect())
    }

    #[test]
    fn of_a_mixed_answer_only_the_public_addresses_are_left() {
        let mixed = ["10.0.0.1", "1.1.1.1", "::1", "2606:4700::1111", "::ffff:10.0.0.1"];
        assert_eq!(judged(false, &mixed).unwrap(), ["1.1.1.1", "2606:4700::1111"]);
        assert_eq!(judged(true, &mixed).unwrap(), mixed);
        assert_eq!(judged(false, &["10.0.0.1"]).unwrap_err().code(), "destination-IP-prohibited");
        assert_eq!(judged(true, &[]).unwrap_err().code(), "destination-not-found");
    }

    #[test]
    fn a_name_with_very_many_addresses_costs_a_few_attempts() {
        assert_eq!(judged(false, &["1.1.1.1"; 1000]).unwrap().len(), ADDRESSES);
    }
}
