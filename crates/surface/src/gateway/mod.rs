//! The HTTP gateway: HTTP/1.1 and HTTP/2, plain or over TLS, in front of workloads of every shape.
//!
//! [`Gateway::bind`] takes the ports, [`Gateway::run`] serves until it is told to stop. A request goes `server` (threads,
//! accepting) -> `connection` (protocol, time-outs) -> `site` (address, route, shape) -> [`Target`] and comes back through
//! `reply`. It knows no engine: what a route leads to is a [`Target`].
//!
//! Deliberately absent: HTTP/3, upgrades and WebSockets, compression.

mod body;
mod command;
mod connection;
mod files;
mod fixed;
mod function;
mod indoors;
pub(crate) mod listen;
mod probe;
pub(crate) mod query;
mod reply;
mod request;
mod served;
mod server;
mod site;
mod target;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    net::{SocketAddr, TcpListener},
    num::NonZeroUsize,
    sync::Arc,
    thread::available_parallelism,
    time::Duration,
};

use anyhow::Context as _;
use samara_model::{Limits, manifest::HttpSettings};
use samara_telemetry::{HostMetrics, Observer};

pub use files::Folder;
pub use fixed::Fixed;
pub use indoors::Indoors;
pub use probe::probe;
pub use served::Served;
pub use target::{Answering, Backing, Destination, Routes, Shared, Target};
pub use tls::Https;

use connection::Patience;
use server::{Bounds, Door};
use site::Site;
use tls::Tls;

/// How long requests in flight may take to finish after a shutdown began: the deadline of one, as `serve` defaults it.
pub const DRAIN: Duration = Duration::from_secs(30);

/// How long the last requests may take to be told.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Where to listen, and what connections are held to.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect, if plain HTTP is served. Port 0 picks one.
    pub listen: Option<SocketAddr>,
    /// Where clients connect over TLS, if anywhere.
    pub https: Option<Https>,
    /// Time-outs and the number of connections.
    pub http: HttpSettings,
    /// Bytes of one request's head.
    pub header_bytes: u32,
    /// Fields of one request's head.
    pub header_fields: u32,
    /// How long requests in flight may take to finish after a shutdown began.
    pub drain: Duration,
    /// Threads; `None` is one a core.
    pub threads: Option<NonZeroUsize>,
}

impl Config {
    /// The defaults, at this address.
    pub fn new(listen: SocketAddr) -> Self {
        let header_bytes = Limits::serve().header_bytes;
        let header_fields = u32::try_from(server::FREE_FIELDS).unwrap_or(u32::MAX);
        let http = HttpSettings::default();
        Self { listen: Some(listen), https: None, http, header_bytes, header_fields, drain: DRAIN, threads: None }
    }
}

/// Ports that are taken and wait to be served: connections queue from now on.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    http: Option<(Vec<TcpListener>, SocketAddr)>,
    https: Option<Secure>,
    observer: Option<Observer>,
}

/// HTTPS that waits to be served.
#[derive(Debug)]
struct Secure {
    listeners: Vec<TcpListener>,
    address: SocketAddr,
    tls: Arc<Tls>,
}

impl Gateway {
    /// Takes the ports. Call on a tokio runtime.
    ///
    /// # Errors
    /// A port is in use, an address is not ours or a certificate cannot be used: the message names it.
    pub fn bind(config: Config) -> anyhow::Result<Self> {
        let cores = || available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = config.threads.map_or_else(cores, NonZeroUsize::get);
        let shared = |wanted, option| {
            let listeners = listen::listeners(wanted, threads, option)?;
            let address = address(listeners.first())?;
            Ok::<_, anyhow::Error>((listeners, address))
        };
        let https = match &config.https {
            None => None,
            Some(https) => {
                let tls = Tls::load(https.tls.clone())?;
                let (listeners, address) = shared(https.listen, "--listen-tls")?;
                Some(Secure { listeners, address, tls: Arc::new(tls) })
            }
        };
        let http = config.listen.map(|wanted| shared(wanted, "--listen")).transpose()?;
        Ok(Self { config, http, https, observer: None })
    }

    /// Tells each request to an observer, and lets it finish when all have ended.
    #[must_use]
    pub fn observed_by(self, observer: Option<Observer>) -> Self {
        Self { observer, ..self }
    }

    /// Where clients connect, if plain HTTP is served.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|(_, address)| *address)
    }

    /// Where clients connect over TLS, if they can.
    pub fn https_address(&self) -> Option<SocketAddr> {
        self.https.as_ref().map(|https| https.address)
    }

    /// Serves these routes, and what replaces them, until `shutdown` completes; then finishes what is in flight, for [`Config::drain`] at most.
    ///
    /// # Errors
    /// Threads could not be started, or one of them failed.
    pub async fn run(
        self,
        routes: Routes,
        metrics: HostMetrics,
        shutdown: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let Config { http, header_bytes, header_fields, drain, .. } = self.config;
        let large = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let bounds = Bounds {
            patience: Patience::new(http.header_timeout, http.idle_timeout, http.body_timeout),
            header_timeout: http.header_timeout,
            header_bytes: large(header_bytes),
            header_fields: large(header_fields),
            connections: large(http.max_connections),
            http2: http.http2,
        };
        let redirect = self.https.as_ref().zip(self.config.https).and_then(|(served, asked)| {
            asked.tls.redirect.then(|| asked.tls.redirect_port.unwrap_or(served.address.port()))
        });
        let site = Arc::new(Site {
            routes,
            body_timeout: http.body_timeout,
            header_fields: large(header_fields),
            observer: self.observer.clone(),
            redirect,
        });
        let follower = self.https.as_ref().map(|https| tokio::spawn(Arc::clone(&https.tls).watch(metrics.clone())));
        let plain = self.http.map(|(listeners, _)| Door { listeners, tls: None });
        let secure = self.https.map(|https| Door { listeners: https.listeners, tls: Some(https.tls) });
        let doors = plain.into_iter().chain(secure).collect();
        let served = server::serve(doors, site, bounds, metrics, shutdown, drain).await;
        if let Some(observer) = self.observer {
            let finished = tokio::task::spawn_blocking(move || observer.finish(LAST_WORDS));
            finished.await.context("while telling the last requests")?;
        }
        if let Some(follower) = follower {
            follower.abort();
        }
        served
    }
}

fn address(listener: Option<&TcpListener>) -> anyhow::Result<SocketAddr> {
    let listener = listener.context("no listener was made")?;
    listener.local_addr().context("while reading a listener's address")
}
