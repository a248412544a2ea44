//! `wasi:config/store`: the values of the workload's `config` grant.
//!
//! Source: <https://github.com/WebAssembly/wasi-config>.
//!
//! A key that is not granted is a key that is not there: guests fall back to their defaults, and a guest with no `config`
//! grant at all leaves a denial in the record.

use samara_bindings::config::store::Error;
use samara_model::{Capability, Grants};
use samara_runtime::Guest;
use wasmtime::{StoreContextMut, component::Linker};

/// The versions under which the same text is published.
const VERSIONS: &[&str] = &["0.2.0-rc.1", "0.2.0-draft", "0.2.0-draft-2024-09-27"];

pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    for version in VERSIONS {
        let mut store = linker.instance(&format!("wasi:config/store@{version}"))?;
        store.func_wrap("get", |context: StoreContextMut<'_, Guest>, (key,): (String,)| {
            Ok((get(context.data(), &key),))
        })?;
        store.func_wrap("get-all", |context: StoreContextMut<'_, Guest>, (): ()| Ok((get_all(context.data()),)))?;
    }
    Ok(())
}

fn get(guest: &Guest, key: &str) -> Result<Option<String>, Error> {
    note_absence(guest);
    Ok(guest.authority().grants.config.get(key).cloned())
}

#[expect(clippy::unnecessary_wraps, reason = "the interface's own signature")]
fn get_all(guest: &Guest) -> Result<Vec<(String, String)>, Error> {
    note_absence(guest);
    Ok(guest.authority().grants.config.clone().into_iter().collect())
}

/// One denial for all keys: which one a guest asks for is its own text, and it may ask for very many.
fn note_absence(guest: &Guest) {
    let authority = guest.authority();
    if !authority.grants.has(Capability::Config) {
        let grant = Grants::example(Capability::Config).to_owned();
        authority.deny(Capability::Config, "configuration values".to_owned(), grant);
    }
}
