//! Builds the WASI context of one call from the workload's grants and the call's streams.
//!
//! An ungranted context costs a few allocations: no environment, no folders, every socket refused, output as log lines.

use std::{
    hash::{BuildHasher as _, RandomState},
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, ready},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use bytes::Bytes;
use http_body::Body as _;
use parking_lot::Mutex;
use samara_model::{Body, Sink, Stdio};
use samara_telemetry::{LineWriter, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime_wasi::{
    FsPerms, HostMonotonicClock, HostWallClock, WasiCtxBuilder,
    cli::{AsyncStdinStream, IsTerminal, StdoutStream},
    p1::WasiP1Ctx,
    p2::{OutputStream, Pollable, StreamError, StreamResult},
};

use crate::authority::Authority;

/// Bytes of standard output that a piped guest hands over at once.
const PIPE_WRITE_BYTES: usize = 64 << 10;
/// Bytes of log output taken at once.
const LOG_WRITE_BYTES: usize = 4 << 10;
/// Bytes of log output after which a guest yields.
const LOG_YIELD_BYTES: usize = 64 << 10;
/// Bytes of random numbers given at once, so that one host call stays short.
const MAX_RANDOM_BYTES: u64 = 1 << 20;

/// The context of one call.
pub(crate) fn context(
    authority: &Arc<Authority>,
    args: &[String],
    env: &[(String, String)],
    stdio: Stdio,
) -> anyhow::Result<WasiP1Ctx> {
    let grants = &authority.grants;
    let mut builder = WasiCtxBuilder::new();
    if !args.is_empty() {
        builder.args(args);
    }
    for (key, value) in &grants.env {
        builder.env(key, value);
    }
    if !env.is_empty() {
        builder.envs(env);
    }
    match stdio {
        Stdio::Log => {
            builder.stdout(LogStream::new(authority, Stream::Stdout)).stderr(LogStream::new(authority, Stream::Stderr));
        }
        Stdio::Inherit => {
            // One guest on its owner's machine: blocking it blocks nobody else. Under a limit of time it must not block:
            // a preview 1 guest would sleep in the thread, where no deadline reaches it and the wait counts as its CPU.
            let unbounded = authority.limits.deadline.is_none() && authority.limits.cpu.is_none();
            builder.inherit_stdio().allow_blocking_current_thread(unbounded);
        }
        Stdio::Piped { stdin, stdout } => {
            builder
                .stdin(AsyncStdinStream::new(BodyReader { body: Mutex::new(stdin), rest: Bytes::new() }))
                .stdout(Pipe(Arc::new(Mutex::new(stdout))))
                .stderr(LogStream::new(authority, Stream::Stderr));
        }
    }
    for folder in &grants.fs {
        let permissions = if folder.write { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        builder
            .preopened_dir(&folder.host, &folder.guest, permissions)
            .map_err(crate::to_anyhow)
            .with_context(|| format!("opening the granted folder `{}`", folder.host.display()))?;
    }
    let net = &grants.net;
    if net.any || !net.connect.is_empty() || !net.listen.is_empty() {
        let by_name = net.any || net.connect.iter().chain(&net.listen).any(|rule| rule.address().is_none());
        builder.allow_ip_name_lookup(by_name).allow_tcp(true).allow_udp(true);
        let authority = Arc::clone(authority);
        builder.socket_addr_check(move |address, usage| {
            let checked = Arc::clone(&authority).socket_allowed(address, usage);
            // The engine wants a `Sync` future, and a join handle is one.
            let checked = tokio::spawn(checked);
            Box::pin(async move { checked.await.unwrap_or(false) })
        });
    } else {
        builder.allow_ip_name_lookup(false).allow_tcp(false).allow_udp(false);
    }
    if let Some(resolution) = grants.clock {
        let coarse = Coarse { resolution, jitter: grants.clock_jitter.min(resolution) };
        builder.wall_clock(CoarseWall(coarse)).monotonic_clock(CoarseMonotonic { start: Instant::now(), coarse });
    }
    builder.max_random_size(MAX_RANDOM_BYTES);
    Ok(builder.build_p1())
}

/// Ticks that are told no finer than this, and each perhaps late, so that a guest cannot time its neighbours.
#[derive(Clone, Copy)]
struct Coarse {
    resolution: Duration,
    /// How late a tick may be, at most; no more than the resolution, or ticks would be out of order.
    jitter: Duration,
}

impl Coarse {
    /// A time as it is told. How late a tick is depends on the tick alone: whoever asks again learns nothing.
    fn told(self, time: Duration) -> Duration {
        static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let (time, step) = (time.as_nanos(), self.resolution.as_nanos().max(1));
        let mut tick = time - time % step;
        let late = self.jitter.as_nanos();
        if late > 0 && time - tick < u128::from(SEED.hash_one(tick)) % (late + 1) {
            tick = tick.saturating_sub(step);
        }
        Duration::from_nanos(u64::try_from(tick).unwrap_or(u64::MAX))
    }
}

/// A wall clock of such ticks.
struct CoarseWall(Coarse);

impl HostWallClock for CoarseWall {
    fn resolution(&self) -> Duration {
        self.0.resolution
    }

    fn now(&self) -> Duration {
        self.0.told(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

struct CoarseMonotonic {
    start: Instant,
    coarse: Coarse,
}

impl HostMonotonicClock for CoarseMonotonic {
    fn resolution(&self) -> u64 {
        u64::try_from(self.coarse.resolution.as_nanos()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.coarse.told(self.start.elapsed()).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Output that becomes log lines: it never blocks, because what is over the rate is dropped and counted.
struct LogStream {
    authority: Arc<Authority>,
    stream: Stream,
}

impl LogStream {
    fn new(authority: &Arc<Authority>, stream: Stream) -> Self {
        Self { authority: Arc::clone(authority), stream }
    }

    fn writer(&self) -> LogWriter {
        LogWriter(self.authority.log.line_writer(self.stream), 0)
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.writer())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.writer())
    }
}

/// The writer, and the bytes written since it last yielded.
struct LogWriter(LineWriter, usize);

impl OutputStream for LogWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > LOG_WRITE_BYTES {
            return Err(StreamError::trap("it wrote more than it was permitted to"));
        }
        self.0.write(&bytes);
        self.1 = self.1.saturating_add(bytes.len());
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LOG_WRITE_BYTES)
    }
}

#[async_trait::async_trait]
impl Pollable for LogWriter {
    /// Splitting lines is our own work, which no epoch interrupts: a guest that writes without end is made to yield, and
    /// its budget is looked at in between.
    async fn ready(&mut self) {
        if self.1 >= LOG_YIELD_BYTES {
            self.1 = 0;
            tokio::task::yield_now().await;
        }
    }
}

impl AsyncWrite for LogWriter {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let chunk = bytes.get(..LOG_WRITE_BYTES).unwrap_or(bytes);
        self.0.write(chunk);
        Poll::Ready(Ok(chunk.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Reads a body's data frames. The mutex is never contended: it makes a `Send` body `Sync`, as the engine demands.
struct BodyReader {
    body: Mutex<Body>,
    rest: Bytes,
}

impl AsyncRead for BodyReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(self.body.get_mut()).poll_frame(context)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(std::io::Error::other(error))),
                // Trailers have no place in a byte stream.
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
            }
        }
        let take = self.rest.len().min(buffer.remaining());
        let chunk = self.rest.split_to(take);
        buffer.put_slice(&chunk);
        Poll::Ready(Ok(()))
    }
}

/// Standard output of a piped guest: straight into whatever receives it, so that nothing is lost in a buffer when the
/// guest ends. The receiver's own bound is the guest's back-pressure.
#[derive(Clone)]
struct Pipe(Arc<Mutex<Box<dyn Sink>>>);

impl IsTerminal for Pipe {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Pipe {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Pipe {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > PIPE_WRITE_BYTES {
            return Err(StreamError::trap("it wrote more than it was permitted to"));
        }
        self.0.lock().send(bytes).map_err(|_| StreamError::Closed)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        // Nobody is woken by this look: `ready` is what a guest waits on.
        let mut context = Context::from_waker(std::task::Waker::noop());
        match self.0.lock().poll_ready(&mut context) {
            Poll::Ready(Ok(())) => Ok(PIPE_WRITE_BYTES),
            Poll::Ready(Err(_)) => Err(StreamError::Closed),
            Poll::Pending => Ok(0),
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Pipe {
    async fn ready(&mut self) {
        // Closed is ready too: the next write says so.
        let _closed_or_not = std::future::poll_fn(|context| self.0.lock().poll_ready(context)).await;
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let mut sink = self.0.lock();
        ready!(sink.poll_ready(context)).map_err(gone)?;
        let chunk = bytes.get(..PIPE_WRITE_BYTES).unwrap_or(bytes);
        sink.send(Bytes::copy_from_slice(chunk)).map_err(gone)?;
        Poll::Ready(Ok(chunk.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coarse_clock_rounds_down() {
        let told = |resolution| Coarse { resolution, jitter: Duration::ZERO }.told(Duration::from_micros(2_999));
        assert_eq!(told(Duration::from_millis(1)), Duration::from_millis(2));
        assert_eq!(told(Duration::ZERO), Duration::from_micros(2_999));
    }

    #[test]
    fn jitter_tells_ticks_late_and_never_backwards() {
        let step = Duration::from_millis(1);
        let clock = Coarse { resolution: step, jitter: step };
        let (mut before, mut late) = (Duration::ZERO, 0);
        for micros in (0..1_000_000).step_by(7) {
            let time = Duration::from_micros(micros);
            let told = clock.told(time);
            assert!(told >= before && told <= time && time - told < step * 2, "{time:?} is told as {told:?}");
            assert_eq!(told, clock.told(time), "asking again tells nothing");
            late += u32::from(time - told >= step);
            before = told;
        }
        assert!(late > 1_000, "some ticks are told late: {late}");
    }
}
