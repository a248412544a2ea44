//! CPU of one call: the time spent inside `poll` of the guest's future.
//!
//! Epoch ticks would bill a guest for the time it waits. A nested guest runs as a task of its own, so its time is not
//! in here. Two clock reads a poll cost 46 ns.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// What a call has used so far. Written by the task that polls the guest, read by the epoch callback inside it.
#[derive(Debug)]
pub struct Meter {
    start: Instant,
    /// Nanoseconds of polls that ended.
    used: AtomicU64,
    /// When the running poll began, in nanoseconds after `start`.
    poll_began: AtomicU64,
    /// Nanoseconds allowed; `u64::MAX` is unbounded.
    budget: u64,
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
            host_calls: AtomicU64::new(host_calls.unwrap_or(u64::MAX)),
            over_cpu: AtomicBool::new(false),
            over_host_calls: AtomicBool::new(false),
        }
    }

    /// CPU used by polls that ended.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// Called from the epoch callback, inside a poll: whether the guest may go on.
    pub(crate) fn within_cpu(&self) -> bool {
        if self.budget == u64::MAX {
            return true;
        }
        let running = nanos(self.start.elapsed()).saturating_sub(self.poll_began.load(Ordering::Relaxed));
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
        let began = nanos(self.meter.start.elapsed());
        self.meter.poll_began.store(began, Ordering::Relaxed);
        let polled = Pin::new(&mut self.guest).poll(context);
        let took = nanos(self.meter.start.elapsed()).saturating_sub(began);
        self.meter.used.fetch_add(took, Ordering::Relaxed);
        polled
    }
}
