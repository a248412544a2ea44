//! `env:CART_`: the environment variables of this process that begin with a prefix; the key is the rest of the name.
//!
//! They are read once: the environment of a process does not change.

use std::{env, ffi::OsString, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{Config, ConfigError, Layers, Provider, Values};

/// The provider `env:`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Env;

#[async_trait]
impl Provider for Env {
    fn scheme(&self) -> &'static str {
        "env"
    }

    async fn open(&self, prefix: &str, _: Duration) -> Result<Arc<dyn Config>, ConfigError> {
        if prefix.is_empty() {
            let message = "`env:` names no prefix, and the whole environment is not given away; write `env:CART_`";
            return Err(ConfigError::Configuration(message.to_owned()));
        }
        Ok(Arc::new(Layers::constant(read(prefix, env::vars_os())?)))
    }
}

/// The variables with a prefix, among all.
pub(super) fn read(prefix: &str, variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Values, ConfigError> {
    let mut values = Vec::new();
    for (name, value) in variables {
        let Some(key) = name.to_str().and_then(|name| name.strip_prefix(prefix)).filter(|key| !key.is_empty()) else {
            continue;
        };
        let text = value
            .into_string()
            .map_err(|_| ConfigError::Backend(format!("the environment variable `{prefix}{key}` is not UTF-8")))?;
        values.push((key.to_owned(), text));
    }
    Ok(Values::from_place(&format!("env:{prefix}").into(), values))
}
