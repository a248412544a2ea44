//! The lane: threads of low priority on which calls go on that have run for long.
//!
//! Guests are interrupted every [`EPOCH_TICK`](crate::EPOCH_TICK), but a thread that takes turns among eight of them still
//! answers nobody else for eight ticks. So a call that has used [`LONG_CALL`] of CPU moves, future and all, to threads of
//! its own kind. Whenever a thread that serves short calls has work, the kernel takes the processor from a lane's thread at once.
//!
//! What a future has registered with the runtime it began on (timers, sockets) stays registered there.

use std::{cell::Cell, fmt, num::NonZeroUsize, sync::OnceLock, time::Duration};

use tokio::{runtime, task::JoinHandle};

/// CPU after which a call is a long one. Those that end sooner never see the lane.
pub(crate) const LONG_CALL: Duration = Duration::from_millis(2);
/// Times that it was interrupted by then, at least.
pub(crate) const LONG_TURNS: u64 = 3;
/// How much nicer a lane's threads are than others. The kernel then gives a processor to whoever else wakes up on it at once,
/// and still a tenth of it to the lane when others want all: at 19, as nice as can be, a long call would get a fiftieth,
/// and its neighbours would be none the better for it (measured).
const NICER: i32 = 10;
/// Tasks of the lane that are polled before timers and sockets are looked at: a turn there is a whole tick.
const TURNS_BETWEEN_EVENTS: u32 = 1;

thread_local! {
    static IS_LANE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is one of a lane's: it may be stopped by the kernel at any moment, for any time.
pub(crate) fn is_lane() -> bool {
    IS_LANE.get()
}

/// A lane's threads, started when the first call needs them.
pub(crate) struct Lane {
    threads: NonZeroUsize,
    runtime: OnceLock<Option<runtime::Runtime>>,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl Lane {
    pub(crate) fn new(threads: NonZeroUsize) -> Self {
        Self { threads, runtime: OnceLock::new() }
    }

    /// Goes on with a call in the lane. The call comes back if the lane's threads could not be started.
    pub(crate) fn spawn<F>(&self, call: F) -> Result<JoinHandle<()>, F>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match self.runtime.get_or_init(|| self.start()) {
            Some(runtime) => Ok(runtime.spawn(call)),
            None => Err(call),
        }
    }

    fn start(&self) -> Option<runtime::Runtime> {
        runtime::Builder::new_multi_thread()
            .worker_threads(self.threads.get())
            .thread_name("lane")
            .event_interval(TURNS_BETWEEN_EVENTS)
            .on_thread_start(|| {
                IS_LANE.set(true);
                step_back();
            })
            .enable_all()
            .build()
            .inspect_err(|error| tracing::warn!("long calls stay among the short ones: no threads for them: {error}"))
            .ok()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Not waiting: this may be one of its own threads.
        if let Some(runtime) = self.runtime.take().flatten() {
            runtime.shutdown_background();
        }
    }
}

/// Makes this thread give way to others. The kernel lets everybody be nicer.
fn step_back() {
    if let Err(error) = rustix::process::nice(NICER) {
        tracing::warn!("long calls compete with short ones: {error}");
    }
}
