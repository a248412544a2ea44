//! CPU of one call: the time spent inside `poll` of the guest's future.
//!
//! Epoch ticks would bill a guest for the time it waits. A nested guest runs as a task of its own, so its time is not
//! in here. Two clock reads a poll cost 46 ns.
//!
//! A thread of the lane is stopped in the middle of a poll whenever others have work. There the thread's own CPU time is
//! read instead, which is a system call.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::lane;

/// What a call has used so far. Written by the task that polls the guest, read by the epoch callback inside it.
#[derive(Debug)]
pub struct Meter {
    start: Instant,
    /// Nanoseconds of polls that ended.
    used: AtomicU64,
    /// When the running poll began, by the clock of the thread that it runs on.
    poll_began: AtomicU64,
    /// Nanoseconds allowed; `u64::MAX` is unbounded.
    budget: u64,
    /// Times the guest was interrupted to let others run.
    turns: AtomicU64,
    /// Host calls left.
    host_calls: AtomicU64,
    /// Set when the guest was stopped for its CPU use.
    over_cpu: AtomicBool,
    /// Set when the guest was stopped for the number of its host calls.
    over_host_calls: AtomicBool,
}

impl Meter {
    pub(crate) fn new(cpu: Option<Duration>, host_calls: Option<u64>) -> Self {
        Self {
            start: Instant::now(),
            used: AtomicU64::new(0),
            poll_began: AtomicU64::new(0),
            budget: cpu.map_or(u64::MAX, nanos),
            turns: AtomicU64::new(0),
            host_calls: AtomicU64::new(host_calls.unwrap_or(u64::MAX)),
            over_cpu: AtomicBool::new(false),
            over_host_calls: AtomicBool::new(false),
        }
    }

    /// When the call began.
    pub(crate) fn began(&self) -> Instant {
        self.start
    }

    /// Nanoseconds on the clock by which polls on this thread are billed.
    fn now(&self) -> u64 {
        if lane::is_lane() {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            return Duration::try_from(time).map_or(0, nanos);
        }
        nanos(self.start.elapsed())
    }

    /// CPU used by polls that ended.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// Whether this is a call that others should not wait for. Time alone does not tell: a thread that the kernel stopped in
    /// the middle of a short call has passed it too, but was not interrupted tick after tick.
    pub(crate) fn is_long(&self) -> bool {
        self.turns.load(Ordering::Relaxed) >= lane::LONG_TURNS && self.cpu() >= lane::LONG_CALL
    }

    /// Called from the epoch callback, inside a poll: whether the guest may go on.
    pub(crate) fn within_cpu(&self) -> bool {
        self.turns.fetch_add(1, Ordering::Relaxed);
        if self.budget == u64::MAX {
            return true;
        }
        let running = self.now().saturating_sub(self.poll_began.load(Ordering::Relaxed));
        let within = self.used.load(Ordering::Relaxed).saturating_add(running) <= self.budget;
        if !within {
            self.over_cpu.store(true, Ordering::Relaxed);
        }
        within
    }

    /// Called at each host call: whether one more is allowed.
    pub(crate) fn count_host_call(&self) -> bool {
        let left = self.host_calls.load(Ordering::Relaxed);
        if left == 0 {
            self.over_host_calls.store(true, Ordering::Relaxed);
            return false;
        }
        self.host_calls.store(left - 1, Ordering::Relaxed);
        true
    }

    pub(crate) fn over_cpu(&self) -> bool {
        self.over_cpu.load(Ordering::Relaxed)
    }

    pub(crate) fn over_host_calls(&self) -> bool {
        self.over_host_calls.load(Ordering::Relaxed)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A guest's future with its polls timed.
#[derive(Debug)]
pub(crate) struct Metered<F> {
    pub(crate) meter: Arc<Meter>,
    pub(crate) guest: F,
}

impl<F: Future + Unpin> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let began = self.meter.now();
        self.meter.poll_began.store(began, Ordering::Relaxed);
        let polled = Pin::new(&mut self.guest).poll(context);
        let took = self.meter.now().saturating_sub(began);
        self.meter.used.fetch_add(took, Ordering::Relaxed);
        polled
    }
}
