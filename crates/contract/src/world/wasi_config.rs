//! `wasi:config/store`: the values of the workload's `config` grant.
//!
//! Source: <https://github.com/WebAssembly/wasi-config>.
//!
//! A key that is not granted is a key that is not there: guests fall back to their defaults, and a guest with no `config`
//! grant at all leaves a denial in the record.

use std::sync::Arc;

use samara_bindings::config::store::Error;
use samara_capability::config::{Config, ConfigError};
use samara_runtime::{Authority, Guest};
use wasmtime::{StoreContextMut, component::Linker};

/// The versions under which the same text is published.
const VERSIONS: &[&str] = &["0.2.0-rc.1", "0.2.0-draft", "0.2.0-draft-2024-09-27"];

pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    for version in VERSIONS {
        let mut store = linker.instance(&format!("wasi:config/store@{version}"))?;
        store.func_wrap_async("get", |context: StoreContextMut<'_, Guest>, (key,): (String,)| {
            let authority = Arc::clone(context.data().authority());
            Box::new(async move { Ok((get(&authority, &key).await,)) })
        })?;
        store.func_wrap_async("get-all", |context: StoreContextMut<'_, Guest>, (): ()| {
            let authority = Arc::clone(context.data().authority());
            Box::new(async move { Ok((get_all(&authority).await,)) })
        })?;
    }
    Ok(())
}

async fn get(authority: &Authority, key: &str) -> Result<Option<String>, Error> {
    match authority.config().get(key).await {
        Ok(value) => Ok(value.map(|text| text.to_string())),
        Err(error) => refused(error).map(|()| None),
    }
}

async fn get_all(authority: &Authority) -> Result<Vec<(String, String)>, Error> {
    match authority.config().values().await {
        Ok(values) => Ok(values.iter().map(|(key, value)| (key.to_string(), value.text.to_string())).collect()),
        Err(error) => refused(error).map(|()| Vec::new()),
    }
}

/// Who has no grant has no values; the denial is recorded.
fn refused(error: ConfigError) -> Result<(), Error> {
    match error {
        ConfigError::AccessDenied { .. } => Ok(()),
        error => Err(Error::Upstream(error.to_string())),
    }
}
