//! The one place where the engine's errors become ours.
//!
//! wasmtime 48's `Error` is not a `std::error::Error`, so it is converted here and nowhere else.

use std::time::Duration;

use samara_model::{Fault, Limit, Limits, format_bytes, format_duration};
use wasmtime::Trap;

use crate::{Backtrace, Failure, limiter::Limiter, meter::Meter};

/// An engine error with its whole chain, for `anyhow`.
pub fn to_anyhow(error: wasmtime::Error) -> anyhow::Error {
    anyhow::Error::from(error)
}

/// Why the epoch callback or the call hook stopped a guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    #[error("cpu limit")]
    Cpu,
    #[error("host call limit")]
    HostCalls,
}

/// Whose fault it is that `serve` failed.
pub(crate) fn fault_of(failure: Failure, limits: &Limits, meter: &Meter, limiter: &Limiter) -> Fault {
    let error = match failure {
        Failure::Fault(fault) => return fault,
        Failure::Engine(error) => error,
    };
    if meter.over_cpu() {
        return limit(Limit::Cpu, format_duration(limits.cpu.unwrap_or(Duration::MAX)));
    }
    if meter.over_host_calls() {
        return limit(Limit::HostCalls, format!("{} calls", limits.host_calls.unwrap_or(u64::MAX)));
    }
    if let Some(fault) = error.downcast_ref::<DeniedByHost>() {
        return Fault::Denied { what: fault.what.clone(), grant: fault.grant.clone() };
    }
    // Only the innermost message is the engine's own: outer ones have names that the guest chose.
    let cause = error.root_cause().to_string();
    if cause.contains("fuel allocated for hostcalls has been exhausted") {
        return limit(Limit::HostCalls, format_bytes(limits.host_call_bytes.unwrap_or(u64::MAX)));
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return Fault::Host(format!("a call was let in without a slot of the pool: {cause}"));
    }
    // A trap after a refused growth is how most languages say "out of memory".
    if limiter.memory_refused() {
        return limit(Limit::Memory, format_bytes(limits.memory_bytes));
    }
    Fault::Guest(describe(&error))
}

/// A host function's way to end a guest that cannot survive a denial.
#[derive(Clone, Debug, thiserror::Error)]
#[error("denied: {what}; `{grant}` would allow it")]
pub struct DeniedByHost {
    /// What was asked for.
    pub what: String,
    /// The grant that would allow it.
    pub grant: String,
}

pub(crate) fn limit(limit: Limit, allowed: String) -> Fault {
    Fault::Limit { limit, allowed }
}

/// A trap as people read it: what happened, then where, innermost first.
fn describe(error: &wasmtime::Error) -> String {
    let what = match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => "its stack overflowed: the recursion is too deep".to_owned(),
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    match Backtrace::of(error) {
        Some(backtrace) => format!("{what} at {}", backtrace.line()),
        None => what,
    }
}

/// Where the guest was when it failed.
pub(crate) fn backtrace(failure: &Failure) -> Option<Backtrace> {
    match failure {
        Failure::Engine(error) => Backtrace::of(error),
        Failure::Fault(_) => None,
    }
}
