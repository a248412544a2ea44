//! What components built with a Spin SDK import, of every generation, over Samara's capabilities.
//!
//! Source: <https://github.com/spinframework/spin>, `wit/`. `fermyon:spin` without a version is Spin SDK 1,
//! `fermyon:spin@2.0.0` the SDKs 2 to 5, `spin:*` the later ones, whose functions are async.
//!
//! A store is found by its label, `default` being the only granted one; a variable is a `config` value or a secret of that
//! name. An SDK imports whole worlds whether the guest uses them or not: what is not granted answers with the interface's own
//! error. `redis` is a granted store or bus by its name; `mysql`, `mqtt` and `llm` have nothing behind them and say so.

use samara_runtime::Guest;
use wasmtime::component::Linker;

mod http;
mod key_value;
mod postgres;
mod redis;
mod refused;
mod server;
mod sqlite;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transaction_tests;
mod variables;

/// Links them; those with async functions only where the engine can run these.
pub(super) fn link(linker: &mut Linker<Guest>, concurrency: bool) -> wasmtime::Result<()> {
    http::link(linker)?;
    key_value::link(linker, concurrency)?;
    postgres::link(linker, concurrency)?;
    redis::link(linker, concurrency)?;
    refused::link(linker, concurrency)?;
    sqlite::link(linker, concurrency)?;
    variables::link(linker, concurrency)
}
