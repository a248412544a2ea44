//! `--trace-calls`: every crossing between a guest and the host, on standard error, as `strace` does it.

use std::io::{IsTerminal, Write};

use samara_runtime::{CallTrace, Workload, trace::Values};

/// Whether calls are told.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct TraceArgs {
    /// Tell every call between the guest and the host on standard error
    #[arg(long)]
    pub trace_calls: bool,
}

impl TraceArgs {
    /// Tells the calls of the only workload of a process.
    pub(crate) fn follow(self, workload: &Workload) {
        if self.trace_calls {
            workload.trace_calls(told("", false));
        }
    }

    /// Tells the calls of one workload of many: each line begins with its name and the call's number.
    pub(crate) fn follow_served(self, workload: &Workload) {
        if self.trace_calls {
            workload.trace_calls(told(&format!("{} ", workload.id), true));
        }
    }
}

fn told(prefix: &str, numbered: bool) -> CallTrace {
    let dimmed = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (dim, plain) = if dimmed { ("\u{1b}[2m", "\u{1b}[0m") } else { ("", "") };
    let prefix = prefix.to_owned();
    CallTrace::new(Values::Shown, move |call, line| {
        let mut stderr = std::io::stderr().lock();
        // Whoever read the trace may be gone; the guest's work is not.
        drop(if numbered {
            writeln!(stderr, "{dim}{prefix}{call} {line}{plain}")
        } else {
            writeln!(stderr, "{dim}{line}{plain}")
        });
    })
}
