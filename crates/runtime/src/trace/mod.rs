//! Call traces: every crossing between a guest and the host, as text in the ABI's own words.
//!
//! ```text
//! --> _start()                                                         the host calls the guest
//! ==> wasi_snapshot_preview1.fd_write(fd: Fd(1), iovs: 0xfff08/1)      the guest calls the host
//! <== Ok(5)                                                            the host answers
//! <-- exit 0                                                           the guest answers
//! ```
//!
//! The engine's bindings of WASI tell each call of the guest as a `tracing` span, with an event for its arguments and one
//! for its result; contracts tell what only they know through [`to_guest`], [`from_guest`], [`to_host`] and
//! [`from_host`]. A [`CallTrace`] set on a workload listens to both, inside the polls of that workload's guests and
//! nowhere else. Without one, a crossing costs a comparison with the static in which `tracing` keeps the greatest level
//! that anybody listens to.
//!
//! An answer is the `Debug` of what the engine's Rust function returned. Where WIT has a `result` too there are two
//! `Ok`: the outer one says that the host did not trap. A call that fails ends in `<-- LABEL: why`, LABEL as in metrics.
//!
//! What no trace shows, because the engine runs it without telling anybody: the canonical built-ins of the component
//! model (moving items through 0.3 streams and futures, task management, `resource.drop`, `cabi_realloc`), and a core
//! module's imports that this host does not provide (they end the guest, and its last line names them). The bindings hide the contents of lists as `…`.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tracing::{Dispatch, dispatcher, instrument::WithSubscriber};

mod recorder;
mod text;

/// Lines of one call's trace; what comes after them is dropped, and a last line says so.
pub const MAX_TRACE_LINES: u64 = 100_000;
/// Bytes of one line of a trace; a longer one is cut and ends in `…`.
pub const MAX_TRACE_LINE_BYTES: usize = 400;

/// The target of the events by which contracts tell crossings.
const TARGET: &str = "samara::crossing";

/// Whether a trace shows values that differ from run to run: clocks, random numbers, addresses in the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// All of them.
    Shown,
    /// `_` stands for them, so that two runs give the same trace.
    Masked,
}

/// Takes the number of a call and a line.
type Sink = dyn Fn(u64, &str) + Send + Sync;

/// Where the crossings of a workload's calls are told. Cheap to clone.
#[derive(Clone)]
pub struct CallTrace {
    values: Values,
    calls: Arc<AtomicU64>,
    sink: Arc<Sink>,
}

impl fmt::Debug for CallTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallTrace").field("values", &self.values).finish_non_exhaustive()
    }
}

impl CallTrace {
    /// `sink` is given the number of the call, counted from 1, and a line: no line break in it, nothing that could
    /// harm a terminal. It runs inside the guest's poll and must not block for long.
    pub fn new(values: Values, sink: impl Fn(u64, &str) + Send + Sync + 'static) -> Self {
        Self { values, calls: Arc::default(), sink: Arc::new(sink) }
    }

    /// The same call, heard.
    pub(crate) fn follow<F: Future>(&self, call: F) -> impl Future<Output = F::Output> + use<F> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        // What is not a crossing goes on to where it would have gone.
        let outer = dispatcher::get_default(Dispatch::clone);
        call.with_subscriber(recorder::Recorder::new(self.clone(), number, outer))
    }
}

/// Whether anybody listens: for arguments that cost something to keep until they can be told.
pub fn enabled() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::TRACE)
}

/// Values as arguments: each as `text` has it, or `?`. Written only when somebody listens.
pub fn list<T>(values: &[T], text: impl Fn(&T) -> Option<String>) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        for (position, value) in values.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            write!(f, "{comma}{}", text(value).as_deref().unwrap_or("?"))?;
        }
        Ok(())
    })
}

/// Tells that the host calls the guest: an export by its full name, and the arguments.
pub fn to_guest(name: &str, arguments: fmt::Arguments<'_>) {
    tracing::trace!(target: TARGET, "--> {name}({arguments})");
}

/// Tells what the guest answered.
pub fn from_guest(result: fmt::Arguments<'_>) {
    tracing::trace!(target: TARGET, "<-- {result}");
}

/// Tells that the guest calls a host function of a contract's own, by the name it imported.
pub fn to_host(name: &str, arguments: fmt::Arguments<'_>) {
    tracing::trace!(target: TARGET, "==> {name}({arguments})");
}

/// Tells what the host function answered.
pub fn from_host(result: fmt::Arguments<'_>) {
    tracing::trace!(target: TARGET, "<== {result}");
}
