//! `wasi:logging@0.1.0-draft`: lines of the workload's own log, each with its level and context.
//!
//! Source: <https://github.com/WebAssembly/wasi-logging>. Everybody may log; the rate and the length of a line are the
//! workload's `log` limits.

use samara_bindings::logging::logging::{Host, Level, add_to_linker};
use samara_runtime::Guest;
use samara_telemetry::GuestLevel;
use wasmtime::component::Linker;

use super::view::{View, Views, view};

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    add_to_linker::<_, Views>(linker, view)
}

impl Host for View<'_> {
    fn log(&mut self, level: Level, context: String, message: String) -> wasmtime::Result<()> {
        let level = match level {
            Level::Trace => GuestLevel::Trace,
            Level::Debug => GuestLevel::Debug,
            Level::Info => GuestLevel::Info,
            Level::Warn => GuestLevel::Warn,
            Level::Error => GuestLevel::Error,
            Level::Critical => GuestLevel::Critical,
        };
        self.0.authority().log.say(level, &context, &message);
        Ok(())
    }
}
