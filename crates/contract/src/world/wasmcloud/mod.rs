//! What components of wasmCloud import beside the drafts of WASI.
//!
//! Source: <https://github.com/wasmCloud/wasmCloud>, `wit/`. wasmCloud 1.x links components to providers by name at run time;
//! here a manifest does, and a name is a store's.

use samara_runtime::Guest;
use wasmtime::component::Linker;

mod bus;
mod messaging;
mod postgres;
mod secrets;

/// Links them; those with async functions only where the engine can run these.
pub(super) fn link(linker: &mut Linker<Guest>, concurrency: bool) -> wasmtime::Result<()> {
    bus::link(linker)?;
    messaging::link(linker, concurrency)?;
    postgres::link(linker)?;
    secrets::link(linker, concurrency)
}
