//! The threads: each has a runtime and listeners of its own, and keeps what it accepts.
//!
//! A current-thread runtime per core costs a quarter less CPU a request than one runtime for all. The exception is a
//! connection with several HTTP/2 streams at once: those are spread, so that one client is not held to one core.

use std::{
    convert::Infallible,
    fmt, io,
    net::TcpListener as StdListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use futures::future::join_all;
use http::Request;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use samara_model::manifest::Http2Settings;
use samara_telemetry::HostMetrics;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    runtime::{self, Handle, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
};
use tokio_rustls::TlsAcceptor;

use super::{
    connection::{Life, Lives, Patience, Socket, drive, speaks_http2},
    request::LastHost,
    site::{Ends, Site},
    tls::{self, Tls},
};

/// Streams that a client reset before we came to them; more end the connection (CVE-2023-44487). Those it resets later are
/// counted by their `Life`.
const MAX_PENDING_RESETS: usize = 32;
/// Streams reset by us because of a client's mistakes; more end the connection.
const MAX_ERROR_RESETS: usize = 128;
/// Bytes of a stream that wait for the client before the guest does.
const STREAM_BUFFER_BYTES: usize = 256 << 10;
/// The least buffer that the HTTP/1 library takes.
const LEAST_BUFFER_BYTES: usize = 8 << 10;
/// Fields of a head that the HTTP/1 library parses without allocating; lower limits are the site's to count. 28 more
/// cost each request 0.2 us.
pub(super) const FREE_FIELDS: usize = 100;
/// How long a connection that has just been accepted when the host ends may take to send its first byte.
const LAST_REQUEST: Duration = Duration::from_millis(250);
/// How long accepting rests when the machine has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bytes of header names and values that a client may have us remember; the size HTTP/2 begins with.
const HEADER_TABLE_BYTES: u32 = 4 << 10;
/// Bytes of one frame; larger ones end the connection. The least that HTTP/2 allows.
const FRAME_BYTES: u32 = 16 << 10;

/// What connections are held to.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) patience: Patience,
    pub(super) header_timeout: Duration,
    pub(super) header_bytes: usize,
    pub(super) header_fields: usize,
    pub(super) connections: usize,
    pub(super) http2: Http2Settings,
}

/// A port, and what is spoken at it.
#[derive(Debug)]
pub(super) struct Door {
    /// One for each thread.
    pub(super) listeners: Vec<StdListener>,
    /// `None` for plain HTTP.
    pub(super) tls: Option<Arc<Tls>>,
}

/// One thread's share of a door.
type Entrance = (StdListener, Option<Arc<Tls>>);

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// Nothing new is accepted.
    Draining,
    /// Threads end.
    Ended,
}

/// Serves `site` at `doors`, with a thread for each listener of one, until `shutdown`; then finishes what is in flight within `drain`.
///
/// # Errors
/// A thread could not be started.
pub(super) async fn serve(
    doors: Vec<Door>,
    site: Arc<Site>,
    bounds: Bounds,
    metrics: HostMetrics,
    shutdown: impl Future<Output = ()>,
    drain: Duration,
) -> anyhow::Result<()> {
    let mut entrances: Vec<Vec<Entrance>> = Vec::new();
    for Door { listeners, tls } in doors {
        entrances.resize_with(entrances.len().max(listeners.len()), Vec::new);
        for (entrances, listener) in entrances.iter_mut().zip(listeners) {
            entrances.push((listener, tls.clone()));
        }
    }
    let runtimes: Vec<Runtime> = entrances.iter().map(|_| runtime()).collect::<Result<_, _>>()?;
    let handles: Arc<[Handle]> = runtimes.iter().map(|runtime| runtime.handle().clone()).collect();
    let slots = Arc::new(Semaphore::new(bounds.connections.clamp(1, Semaphore::MAX_PERMITS)));
    let (stage, _) = watch::channel(Stage::Serving);
    let (alive, mut ended) = mpsc::channel::<Infallible>(1);
    let mut threads = Vec::new();
    for (index, (entrances, runtime)) in entrances.into_iter().zip(runtimes).enumerate() {
        let worker = Arc::new(Worker {
            site: Arc::clone(&site),
            bounds: bounds.clone(),
            metrics: metrics.clone(),
            slots: Arc::clone(&slots),
            lives: Lives::default(),
            spread: Spread { handles: Arc::clone(&handles), next: Arc::new(AtomicUsize::new(index + 1)), life: None },
            _alive: alive.clone(),
        });
        let stages = stage.subscribe();
        let run = move || {
            let served = runtime.block_on(worker.run(entrances, stages));
            // Whatever is left is over its time.
            runtime.shutdown_background();
            served
        };
        let thread = thread::Builder::new().name(format!("http-{index}")).spawn(run);
        threads.push(thread.context("while starting a thread")?);
    }
    drop(alive);
    shutdown.await;
    let began = tokio::time::Instant::now();
    stage.send_replace(Stage::Draining);
    let in_time = tokio::time::timeout(drain, ended.recv()).await.is_ok();
    if in_time {
        tracing::debug!(seconds = began.elapsed().as_secs_f64(), "all connections have ended");
    } else {
        tracing::warn!(seconds = drain.as_secs(), "requests still in flight are given up");
    }
    stage.send_replace(Stage::Ended);
    let joined =
        tokio::task::spawn_blocking(move || threads.into_iter().map(thread::JoinHandle::join).collect::<Vec<_>>());
    for served in joined.await.context("while joining threads")? {
        served.map_err(|_| anyhow::anyhow!("an HTTP thread panicked"))??;
    }
    Ok(())
}

fn runtime() -> anyhow::Result<Runtime> {
    runtime::Builder::new_current_thread().enable_all().build().context("while starting a runtime")
}

/// One thread's share of the server.
struct Worker {
    site: Arc<Site>,
    bounds: Bounds,
    metrics: HostMetrics,
    slots: Arc<Semaphore>,
    lives: Lives,
    spread: Spread,
    /// Held by every connection through this: when all are gone, all have ended.
    _alive: mpsc::Sender<Infallible>,
}

impl Worker {
    async fn run(self: Arc<Self>, entrances: Vec<Entrance>, mut stages: watch::Receiver<Stage>) -> anyhow::Result<()> {
        let mut accepting = Vec::new();
        for (listener, tls) in entrances {
            let listener = TcpListener::from_std(listener).context("while listening")?;
            accepting.push(Arc::clone(&self).accept(listener, tls));
        }
        let lives = self.lives.clone();
        let patience = self.bounds.patience;
        // From here on only those that accept and connections keep this worker: it is how its end is known.
        drop(self);
        let sweeper = tokio::spawn({
            let lives = lives.clone();
            async move { lives.sweep(patience).await }
        });
        let mut accepting = Box::pin(join_all(accepting));
        tokio::select! {
            _ = &mut accepting => {}
            _ = stages.wait_for(|stage| *stage >= Stage::Draining) => {}
        }
        // Whoever the kernel has let in is let in, once the runtime has asked it who came; then the listeners close.
        tokio::task::yield_now().await;
        let _ = futures::poll!(&mut accepting);
        drop(accepting);
        lives.drain();
        // The sweeper goes on: a client that does not take its response has no more time than before. An error means
        // that `serve` was dropped, and with it everybody who waits.
        let _ = stages.wait_for(|stage| *stage >= Stage::Ended).await;
        sweeper.abort();
        Ok(())
    }

    /// Accepts for ever; dropped, it closes the listener.
    async fn accept(self: Arc<Self>, listener: TcpListener, tls: Option<Arc<Tls>>) {
        let mut failing = false;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    failing = false;
                    // Whoever finds all slots taken waits, and those behind wait with the kernel.
                    let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
                    let ends = Ends { peer, local: stream.local_addr().ok(), secure: tls.is_some(), certificate: None };
                    let connection =
                        Connection { _open: Open::new(&self.metrics), worker: Arc::clone(&self), _slot: slot };
                    // Two futures: a plain connection is not to take the space of a handshake.
                    match &tls {
                        None => drop(tokio::spawn(connection.serve(stream, ends))),
                        Some(tls) => drop(tokio::spawn(connection.serve_secure(stream, ends, tls.acceptor()))),
                    }
                }
                Err(error) => {
                    // Most are of a client that left before it was accepted; others, such as no descriptors, pass.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!("no connection is accepted: {error}");
                    }
                    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }
}

/// Counts a connection as open while it lives.
struct Open(HostMetrics);

impl Open {
    fn new(metrics: &HostMetrics) -> Self {
        metrics.http_connections.inc();
        Self(metrics.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.http_connections.dec();
    }
}

/// A socket, or TLS over one: each is compiled for itself, so that the plain one pays nothing for the other.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// One accepted connection.
struct Connection {
    worker: Arc<Worker>,
    _slot: OwnedSemaphorePermit,
    _open: Open,
}

impl Connection {
    async fn serve(self, stream: TcpStream, ends: Ends) {
        // A reply is written whole; waiting for more only delays it.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let life = self.worker.lives.begin();
        let speaks = |time| tokio::time::timeout(time, speaks_http2(&stream));
        let http2 = match drive(&life, speaks(self.worker.bounds.header_timeout), |_| false).await {
            Some(spoken) => spoken,
            // The host is ending, and this client connected before it could know.
            None => speaks(LAST_REQUEST).await,
        };
        let Ok(Ok(http2)) = http2 else { return };
        let peer = ends.peer;
        let socket = Socket { stream, life: Arc::clone(&life), heads: !http2 };
        let ended = if http2 { self.http2(socket, ends, &life).await } else { self.http1(socket, ends, &life).await };
        if let Some(Err(error)) = ended {
            tracing::debug!(%peer, "a connection broke: {error}");
        }
    }

    async fn serve_secure(self, stream: TcpStream, mut ends: Ends, acceptor: TlsAcceptor) {
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let peer = ends.peer;
        let life = self.worker.lives.begin();
        // Below TLS, so that it sees what the client takes; the sweeper gives the handshake the time of a head.
        let socket = Socket { stream, life: Arc::clone(&life), heads: true };
        // Whoever has connected when the host ends still gets an answer, as without TLS.
        let shaken = drive(&life, acceptor.accept(socket), |_| true).await;
        let failed = |why: &dyn fmt::Display| {
            self.worker.metrics.tls_handshake_failures.inc();
            tracing::debug!(%peer, "no TLS handshake: {why}");
        };
        let mut stream = match shaken {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => return failed(&error),
            None => return failed(&"it took too long"),
        };
        let (socket, session) = stream.get_mut();
        let http2 = session.alpn_protocol() == Some(tls::HTTP2);
        socket.heads = !http2;
        if life.is_draining() {
            // Time that passes without a byte is told by what is read next.
            let _ = tokio::time::timeout(LAST_REQUEST, socket.stream.readable()).await;
        }
        match session.peer_certificates().and_then(<[_]>::first).map(tls::client_certificate).transpose() {
            Ok(certificate) => ends.certificate = certificate.map(Arc::new),
            Err(error) => return failed(&error),
        }
        let ended = if http2 { self.http2(stream, ends, &life).await } else { self.http1(stream, ends, &life).await };
        if let Some(Err(error)) = ended {
            tracing::debug!(%peer, "a connection broke: {error}");
        }
    }

    async fn http1<S: Stream>(&self, stream: S, ends: Ends, life: &Arc<Life>) -> Option<hyper::Result<()>> {
        let bounds = &self.worker.bounds;
        let site = &self.worker.site;
        let last = LastHost::default();
        let service = service_fn(|request: Request<Incoming>| {
            let answer = site.answer(request, &ends, &last, life.begin());
            async { Ok::<_, Infallible>(answer.await) }
        });
        let mut http1 = http1::Builder::new();
        http1
            // The sweeper's business.
            .header_read_timeout(None)
            .max_header_size(bounds.header_bytes)
            .max_buf_size(bounds.header_bytes.max(LEAST_BUFFER_BYTES));
        if bounds.header_fields > FREE_FIELDS {
            http1.max_headers(bounds.header_fields);
        }
        drive(life, http1.serve_connection(TokioIo::new(stream), service), |connection| {
            connection.graceful_shutdown();
            true
        })
        .await
    }

    async fn http2<S: Stream>(&self, stream: S, ends: Ends, life: &Arc<Life>) -> Option<hyper::Result<()>> {
        let bounds = &self.worker.bounds;
        let http2 = &bounds.http2;
        life.speaks_http2(http2.abandoned);
        let site = Arc::clone(&self.worker.site);
        let lives = Arc::clone(life);
        let last = LastHost::default();
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = site.answer(request, &ends, &last, lives.begin());
            async { Ok::<_, Infallible>(answer.await) }
        });
        let spread = Spread { life: Some(Arc::clone(life)), ..self.worker.spread.clone() };
        let connection = http2::Builder::new(spread)
            .timer(TokioTimer::new())
            .max_concurrent_streams(http2.streams)
            .initial_stream_window_size(http2.stream_window)
            .initial_connection_window_size(http2.connection_window)
            .keep_alive_interval(http2.ping_interval)
            .keep_alive_timeout(http2.ping_timeout)
            .max_frame_size(FRAME_BYTES)
            .header_table_size(HEADER_TABLE_BYTES)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(MAX_ERROR_RESETS)
            .max_header_list_size(u32::try_from(bounds.header_bytes).unwrap_or(u32::MAX))
            .max_send_buf_size(STREAM_BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        drive(life, connection, |connection| {
            connection.graceful_shutdown();
            true
        })
        .await
    }
}

/// Runs the streams of HTTP/2 connections: one at a time where the connection is, several at once on all threads.
#[derive(Clone)]
struct Spread {
    handles: Arc<[Handle]>,
    next: Arc<AtomicUsize>,
    life: Option<Arc<Life>>,
}

impl<F> hyper::rt::Executor<F> for Spread
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let alone = self.life.as_ref().is_none_or(|life| life.in_flight() <= 1);
        let turn = || self.next.fetch_add(1, Relaxed).checked_rem(self.handles.len()).unwrap_or(0);
        match self.handles.get(if alone { usize::MAX } else { turn() }) {
            Some(handle) => drop(handle.spawn(stream)),
            None => drop(tokio::spawn(stream)),
        }
    }
}
