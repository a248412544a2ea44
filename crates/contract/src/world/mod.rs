//! The WASI world that every guest may import, whatever its ABI.
//!
//! SDKs import whole worlds: Rust's standard library brings the command line's interfaces into an HTTP hello, JS brings
//! the file system, Python the sockets. All of it is linked and nothing of it is granted: what a guest may not have
//! answers with that interface's own "denied".
//!
//! One file here is one package of interfaces, one folder those of one SDK: `wasi_*` for the drafts of WASI, `spin/` for
//! `fermyon:spin` and `spin:*`, `wasmcloud/` for `wasmcloud:*`. Each is a codec: grants, limits and accounting are the capability's.

use samara_inspect::Module;
use samara_runtime::{CodeKind, Guest, LinkTarget};

mod spin;
mod view;
mod wasi_blobstore;
mod wasi_config;
mod wasi_keyvalue;
mod wasi_logging;
mod wasi_otel;
mod wasmcloud;

/// Links everything of WASI that the engine's authors implement, and what of it is ours.
pub(crate) fn link(target: LinkTarget<'_>) -> wasmtime::Result<()> {
    match target {
        LinkTarget::Module(linker) => {
            wasmtime_wasi::p1::add_to_linker_async(linker, |guest: &mut Guest| &mut guest.wasi)?;
            wasmtime_wasi::p0::add_to_linker_async(linker, |guest: &mut Guest| &mut guest.wasi)
        }
        LinkTarget::Component { linker, concurrency } => {
            wasmtime_wasi::p2::add_to_linker_async(linker)?;
            wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
            wasi_keyvalue::link(linker)?;
            wasi_blobstore::link(linker)?;
            wasi_config::link(linker)?;
            wasi_logging::link(linker)?;
            wasi_otel::link(linker)?;
            spin::link(linker, concurrency)?;
            wasmcloud::link(linker, concurrency)?;
            if concurrency {
                wasmtime_wasi::p3::add_to_linker(linker)?;
                wasmtime_wasi_http::p3::add_to_linker(linker)?;
            }
            Ok(())
        }
    }
}

/// The engine a component needs: component concurrency only for those that use WASI 0.3 or its async types.
pub(crate) fn code_kind(module: &Module) -> CodeKind {
    CodeKind { concurrency: module.features.contains("component-model-async"), ..CodeKind::default() }
}
