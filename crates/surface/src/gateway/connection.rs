//! One client connection: its protocol, its patience, its end.
//!
//! Time-outs cost a request nothing: a connection notes in ticks of its thread's clock when it began to wait, and one
//! sweeper a thread looks at all of them. A timer a request would cost more than the rest of this folder.

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// What an HTTP/2 connection without TLS starts with (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How often a client that sends the preface byte by byte is looked at.
const PREFACE_POLL: Duration = Duration::from_millis(10);
/// Not waiting.
const NEVER: u32 = u32::MAX;

/// How long a client may take, in ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// The length of a tick.
    pub(super) tick: Duration,
    head: u32,
    idle: u32,
    stall: u32,
}

impl Patience {
    /// Ticks fine enough that a time-out comes at most a quarter late.
    pub(super) fn new(head: Duration, idle: Duration, stall: Duration) -> Self {
        let shortest = head.min(idle).min(stall);
        let tick = (shortest / 4).clamp(Duration::from_millis(5), Duration::from_secs(1));
        // One more, as the tick in which waiting began may be almost over: never early.
        let ticks = |time: Duration| u32::try_from(time.as_nanos().div_ceil(tick.as_nanos()) + 1).unwrap_or(NEVER - 1);
        Self { tick, head: ticks(head), idle: ticks(idle), stall: ticks(stall) }
    }
}

/// What a connection has been told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Signal {
    /// Go on.
    Serve,
    /// End after what is in flight.
    Drain,
    /// End now.
    Stop,
}

/// What is known of a connection while it lives. Written by its own thread (and by those that serve its streams).
#[derive(Debug)]
pub(super) struct Life {
    clock: Arc<AtomicU32>,
    /// Requests being served.
    in_flight: AtomicU32,
    /// Since when nothing is in flight.
    idle_since: AtomicU32,
    /// Since when the head of a request is expected: its first byte came, or the connection is new.
    head_since: AtomicU32,
    /// Since when the client has taken no byte of what waits for it.
    stalled_since: AtomicU32,
    /// HTTP/2: responses whose last frame the client has not made room for.
    held: AtomicU32,
    /// HTTP/2: when a response last went on.
    moved: AtomicU32,
    http2: AtomicBool,
    /// HTTP/2: requests that the client took back before they were answered, less those it let be answered.
    abandoned: AtomicU32,
    /// HTTP/2: how many those may be.
    most_abandoned: AtomicU32,
    signal: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Life {
    fn send(&self, signal: Signal) {
        if self.signal.fetch_max(signal as u8, Relaxed) < signal as u8
            && let Some(waker) = &*self.waker.lock()
        {
            waker.wake_by_ref();
        }
    }

    fn signalled(&self, signal: Signal) -> bool {
        self.signal.load(Relaxed) >= signal as u8
    }

    /// Whether the connection is to end after what is in flight.
    pub(super) fn is_draining(&self) -> bool {
        self.signalled(Signal::Drain)
    }

    fn now(&self) -> u32 {
        self.clock.load(Relaxed)
    }

    /// The requests being served on this connection.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// A request's head has come: it is served until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        self.head_since.store(NEVER, Relaxed);
        InFlight { life: Arc::clone(self), answered: false }
    }

    /// The connection speaks HTTP/2: heads are bounded by the idle time, as bytes that come may be anything. Requests are
    /// taken back by a frame of four bytes, so that whoever takes back `most_abandoned` more than it lets be answered has
    /// us begin calls for nothing, past the bound of streams (CVE-2023-44487): it is shown out.
    pub(super) fn speaks_http2(&self, most_abandoned: u32) {
        self.most_abandoned.store(most_abandoned, Relaxed);
        self.http2.store(true, Relaxed);
        self.head_since.store(NEVER, Relaxed);
    }

    /// A request of an HTTP/2 connection ended.
    fn settle(&self, answered: bool) {
        let count = |abandoned: u32| if answered { abandoned.checked_sub(1) } else { abandoned.checked_add(1) };
        let before = self.abandoned.fetch_update(Relaxed, Relaxed, count);
        if !answered && before.is_ok_and(|before| before >= self.most_abandoned.load(Relaxed)) {
            self.send(Signal::Stop);
        }
    }

    /// Ends the connection if its client has been waited for too long.
    fn check(&self, now: u32, patience: Patience) {
        let over = |since: &AtomicU32, limit: u32| match since.load(Relaxed) {
            NEVER => false,
            since => now.wrapping_sub(since) > limit,
        };
        let in_flight = self.in_flight();
        let busy = in_flight > 0;
        // A client that takes nothing of any of its responses, though it reads what else we send.
        let starves = busy && self.held.load(Relaxed) >= in_flight && over(&self.moved, patience.stall);
        if starves || over(&self.stalled_since, patience.stall) || (!busy && over(&self.head_since, patience.head)) {
            self.send(Signal::Stop);
        } else if !busy && over(&self.idle_since, patience.idle) {
            // HTTP/2 says goodbye first; whoever does not take leave is shown out.
            let late = over(&self.idle_since, patience.idle.saturating_add(patience.head));
            self.send(if late { Signal::Stop } else { Signal::Drain });
        }
    }
}

/// A request being served.
#[derive(Debug)]
pub(super) struct InFlight {
    life: Arc<Life>,
    answered: bool,
}

impl InFlight {
    /// There is a response: what the client leaves of it from now on is its loss.
    pub(super) fn answered(&mut self) {
        self.answered = true;
    }

    /// A frame of the response was handed on. HTTP/2 asks for the next one when the client has room for it; in HTTP/1
    /// the socket shows whether it has.
    pub(super) fn handed_on(&self) {
        if self.life.http2.load(Relaxed) {
            // The time first: the sweeper looks at it once a frame is held.
            self.life.moved.store(self.life.now(), Relaxed);
            self.life.held.fetch_add(1, Relaxed);
        }
    }

    /// The next frame was asked for, or never will be.
    pub(super) fn taken(&self) {
        if self.life.http2.load(Relaxed) {
            self.life.moved.store(self.life.now(), Relaxed);
            self.life.held.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // The time first: the sweeper looks at it once nothing is in flight.
        let life = &self.life;
        life.idle_since.store(life.now(), Relaxed);
        life.in_flight.fetch_sub(1, Relaxed);
        if life.http2.load(Relaxed) {
            life.settle(self.answered);
        }
    }
}

/// The connections of one thread, and its clock.
#[derive(Clone, Debug, Default)]
pub(super) struct Lives {
    clock: Arc<AtomicU32>,
    lives: Arc<Mutex<Vec<Weak<Life>>>>,
}

impl Lives {
    /// A new connection: the head of its first request is expected from now on.
    pub(super) fn begin(&self) -> Arc<Life> {
        let now = self.clock.load(Relaxed);
        let life = Arc::new(Life {
            clock: Arc::clone(&self.clock),
            in_flight: AtomicU32::new(0),
            idle_since: AtomicU32::new(now),
            head_since: AtomicU32::new(now),
            stalled_since: AtomicU32::new(NEVER),
            held: AtomicU32::new(0),
            moved: AtomicU32::new(now),
            http2: AtomicBool::new(false),
            abandoned: AtomicU32::new(0),
            most_abandoned: AtomicU32::new(0),
            signal: AtomicU8::new(Signal::Serve as u8),
            waker: Mutex::new(None),
        });
        self.lives.lock().push(Arc::downgrade(&life));
        life
    }

    /// Moves the clock and looks at every connection, for ever.
    pub(super) async fn sweep(&self, patience: Patience) {
        let mut ticks = tokio::time::interval(patience.tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = self.clock.fetch_add(1, Relaxed).wrapping_add(1);
            self.each(|life| life.check(now, patience));
        }
    }

    /// Tells every connection to end after what is in flight.
    pub(super) fn drain(&self) {
        self.each(|life| life.send(Signal::Drain));
    }

    /// Visits the connections that are left and forgets the others.
    fn each(&self, visit: impl Fn(&Life)) {
        self.lives.lock().retain(|life| life.upgrade().inspect(|life| visit(life)).is_some());
    }
}

/// Runs a connection until it ends or is told to. `drain` asks it to end after what is in flight and says whether it
/// can. `None` when it was ended from outside.
pub(super) async fn drive<C: Future>(
    life: &Life,
    connection: C,
    drain: impl Fn(Pin<&mut C>) -> bool,
) -> Option<C::Output> {
    let mut connection = pin!(connection);
    let mut known = false;
    let mut draining = false;
    std::future::poll_fn(|context| {
        if !known {
            known = true;
            *life.waker.lock() = Some(context.waker().clone());
        }
        if life.signalled(Signal::Drain) {
            if life.signalled(Signal::Stop) {
                return Poll::Ready(None);
            }
            if !draining {
                draining = true;
                // What has arrived is read first: a request that came before the end is answered. Not where one is being
                // answered already, whose response is to say that it is the last.
                if life.in_flight() == 0
                    && let Poll::Ready(ended) = connection.as_mut().poll(context)
                {
                    return Poll::Ready(Some(ended));
                }
                if !drain(connection.as_mut()) {
                    return Poll::Ready(None);
                }
            }
        }
        connection.as_mut().poll(context).map(Some)
    })
    .await
}

/// Whether the client starts with the HTTP/2 preface. Looks without taking, so that HTTP/1 pays one call a connection.
pub(super) async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut start = [0; PREFACE.len()];
    loop {
        let length = stream.peek(&mut start).await?;
        let came = start.get(..length).unwrap_or_default();
        if came.is_empty() || !PREFACE.starts_with(came) {
            return Ok(false);
        }
        // No method is called `PRI`: the rest is the library's to check.
        if came.starts_with(b"PRI ") {
            return Ok(true);
        }
        tokio::time::sleep(PREFACE_POLL).await;
    }
}

/// The connection's socket, which notes when the client keeps us waiting.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    pub(super) life: Arc<Life>,
    /// Whether bytes that come while nothing is in flight begin a head (HTTP/1; in HTTP/2 they may be anything).
    pub(super) heads: bool,
}

impl Socket {
    fn wrote<T>(&self, polled: Poll<T>) -> Poll<T> {
        let since = &self.life.stalled_since;
        match (polled.is_pending(), since.load(Relaxed) == NEVER) {
            (true, true) => since.store(self.life.now(), Relaxed),
            (false, false) => since.store(NEVER, Relaxed),
            _ => {}
        }
        polled
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        let life = &self.life;
        if self.heads
            && buffer.filled().len() > before
            && life.in_flight() == 0
            && life.head_since.load(Relaxed) == NEVER
        {
            life.head_since.store(life.now(), Relaxed);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn life(lives: &Lives) -> Arc<Life> {
        lives.begin()
    }

    #[test]
    fn ticks_are_never_early_and_at_most_a_quarter_late() {
        let patience = Patience::new(SECOND * 10, SECOND * 75, SECOND * 30);
        assert_eq!((patience.tick, patience.head, patience.idle), (SECOND, 11, 76));
        assert_eq!(Patience::new(SECOND, SECOND * 2, SECOND).tick, SECOND / 4);
    }

    #[test]
    fn who_sends_no_head_is_stopped_and_who_idles_is_asked_to_leave_first() {
        let patience = Patience::new(SECOND * 10, SECOND * 75, SECOND * 30);
        let lives = Lives::default();
        let new = life(&lives);
        new.check(11, patience);
        assert!(!new.signalled(Signal::Drain));
        new.check(12, patience);
        assert!(new.signalled(Signal::Stop));

        let kept = life(&lives);
        drop(kept.begin());
        kept.check(76, patience);
        assert!(!kept.signalled(Signal::Drain));
        kept.check(77, patience);
        assert!(kept.signalled(Signal::Drain) && !kept.signalled(Signal::Stop));
        kept.check(88, patience);
        assert!(kept.signalled(Signal::Stop));
    }

    #[test]
    fn a_request_in_flight_may_take_its_time() {
        let patience = Patience::new(SECOND, SECOND, SECOND);
        let lives = Lives::default();
        let busy = life(&lives);
        let request = busy.begin();
        busy.check(1_000_000, patience);
        assert!(!busy.signalled(Signal::Drain));
        drop(request);
        busy.check(1_000_000, patience);
        assert!(busy.signalled(Signal::Drain));
    }

    #[test]
    fn an_http2_client_has_its_time_for_each_frame() {
        let patience = Patience::new(SECOND, SECOND, SECOND);
        let lives = Lives::default();
        let life = life(&lives);
        life.speaks_http2(1);
        let request = life.begin();
        lives.clock.store(1_000, Relaxed);
        request.handed_on();
        life.check(1_000, patience);
        request.taken();
        life.check(1_000_000, patience);
        assert!(!life.signalled(Signal::Drain));
        request.handed_on();
        life.check(1_000_000, patience);
        assert!(life.signalled(Signal::Stop));
    }

    #[test]
    fn who_takes_back_more_than_it_lets_be_answered_is_stopped() {
        let lives = Lives::default();
        let life = life(&lives);
        life.speaks_http2(2);
        let answer = || life.begin().answered();
        let abandon = || drop(life.begin());
        // Each answer makes up for one, and none is saved for later.
        (0..10).for_each(|_| answer());
        abandon();
        abandon();
        answer();
        abandon();
        assert!(!life.signalled(Signal::Drain));
        abandon();
        assert!(life.signalled(Signal::Stop));
        // In HTTP/1 who leaves takes its connection along.
        let plain = lives.begin();
        (0..10).for_each(|_| drop(plain.begin()));
        assert!(!plain.signalled(Signal::Drain));
    }

    #[test]
    fn ended_connections_are_forgotten() {
        let lives = Lives::default();
        let kept = life(&lives);
        drop(life(&lives));
        lives.drain();
        assert_eq!(lives.lives.lock().len(), 1);
        assert!(kept.signalled(Signal::Drain));
    }
}
