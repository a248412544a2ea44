//! The HTTP gateway: HTTP/1.1, and HTTP/2 by prior knowledge, in front of workloads of every shape.
//!
//! [`Gateway::bind`] takes the ports, [`Gateway::run`] serves until it is told to stop. A request goes `server` (threads,
//! accepting) -> `connection` (protocol, time-outs) -> `site` (address, route, shape) -> [`Target`] and comes back through
//! `reply`. It knows no engine: what a route leads to is a [`Target`].
//!
//! Deliberately absent: TLS, HTTP/3, upgrades and WebSockets, compression.

mod admin;
mod body;
mod command;
mod connection;
mod function;
mod listen;
mod query;
mod reply;
mod request;
mod served;
mod server;
mod site;
mod target;
#[cfg(test)]
mod tests;

use std::{
    net::{SocketAddr, TcpListener},
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::available_parallelism,
    time::Duration,
};

use anyhow::Context as _;
use samara_model::{Limits, RouteTable, manifest::HttpSettings};
use samara_telemetry::{Metrics, Observer};

pub use served::Served;
pub use target::{Destination, Target};

use admin::Admin;
use connection::Patience;
use server::Bounds;
use site::Site;

/// How long requests in flight may take to finish after a shutdown began: the deadline of one, as `serve` defaults it.
pub const DRAIN: Duration = Duration::from_secs(30);

/// How long the last requests may take to be told.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Where to listen, and what connections are held to.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect. Port 0 picks one.
    pub listen: SocketAddr,
    /// Where operators connect, if anywhere. Port 0 picks one.
    pub admin: Option<SocketAddr>,
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
    /// The defaults, at these addresses.
    pub fn new(listen: SocketAddr, admin: Option<SocketAddr>) -> Self {
        let header_bytes = Limits::serve().header_bytes;
        let header_fields = u32::try_from(server::FREE_FIELDS).unwrap_or(u32::MAX);
        let http = HttpSettings::default();
        Self { listen, admin, http, header_bytes, header_fields, drain: DRAIN, threads: None }
    }
}

/// Ports that are taken and wait to be served: connections queue from now on.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    http: Vec<TcpListener>,
    http_address: SocketAddr,
    admin: Option<(TcpListener, SocketAddr)>,
    observer: Option<Observer>,
}

impl Gateway {
    /// Takes the ports. Call on a tokio runtime.
    ///
    /// # Errors
    /// A port is in use or an address is not ours: the message names it and the option that chooses another.
    pub fn bind(config: Config) -> anyhow::Result<Self> {
        let cores = || available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = config.threads.map_or_else(cores, NonZeroUsize::get);
        let http = listen::listeners(config.listen, threads, "--listen")?;
        let http_address = address(http.first())?;
        let admin = match config.admin {
            None => None,
            Some(wanted) => {
                let listener = listen::listeners(wanted, 1, "--admin")?.pop();
                let address = address(listener.as_ref())?;
                listener.map(|listener| (listener, address))
            }
        };
        Ok(Self { config, http, http_address, admin, observer: None })
    }

    /// Tells each request to an observer, and lets it finish when all have ended.
    #[must_use]
    pub fn observed_by(self, observer: Option<Observer>) -> Self {
        Self { observer, ..self }
    }

    /// Where clients connect.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where operators connect.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(_, address)| *address)
    }

    /// Serves until `shutdown` completes, then finishes what is in flight, for [`Config::drain`] at most.
    ///
    /// # Errors
    /// Threads could not be started, or one of them failed.
    pub async fn run(
        self,
        routes: RouteTable<Destination>,
        metrics: Arc<Metrics>,
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
        };
        let site = Arc::new(Site {
            routes,
            body_timeout: http.body_timeout,
            header_fields: large(header_fields),
            observer: self.observer.clone(),
        });
        let host = metrics.host().clone();
        let admin = Arc::new(Admin { metrics, ready: AtomicBool::new(true) });
        let operators = self.admin.map(|(listener, _)| tokio::spawn(Arc::clone(&admin).serve(listener)));
        let shutdown = async {
            shutdown.await;
            admin.ready.store(false, Ordering::Relaxed);
        };
        let served = server::serve(self.http, site, bounds, host, shutdown, drain).await;
        if let Some(operators) = operators {
            operators.abort();
        }
        if let Some(observer) = self.observer {
            let finished = tokio::task::spawn_blocking(move || observer.finish(LAST_WORDS));
            finished.await.context("while telling the last requests")?;
        }
        served
    }
}

fn address(listener: Option<&TcpListener>) -> anyhow::Result<SocketAddr> {
    let listener = listener.context("no listener was made")?;
    listener.local_addr().context("while reading a listener's address")
}
