//! `env:NAME`: a secret in an environment variable of this process, or all that begin with a prefix.
//!
//! They are read once: the environment of a process does not change. It also cannot be wiped, and whoever may look into
//! `/proc` as this user reads it there: prefer a file.

use std::{env, ffi::OsString, os::unix::ffi::OsStringExt, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{Held, Provider, Secret, SecretError, Secrets};

/// The provider `env:`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Env;

#[async_trait]
impl Provider for Env {
    fn scheme(&self) -> &'static str {
        "env"
    }

    async fn open_one(&self, name: &str, variable: &str, _: Duration) -> Result<Arc<dyn Secrets>, SecretError> {
        let value = env::var_os(variable).ok_or_else(|| {
            SecretError::Backend(format!("the environment variable `{variable}` of secret `{name}` is not set"))
        })?;
        Ok(Arc::new(Held([(name.to_owned(), Secret::new(value.into_vec()))].into())))
    }

    async fn open_all(&self, prefix: &str, _: Duration) -> Result<Arc<dyn Secrets>, SecretError> {
        Ok(Arc::new(read(prefix, env::vars_os())))
    }
}

/// The variables with a prefix, among all. All the others are wiped too.
pub(super) fn read(prefix: &str, variables: impl Iterator<Item = (OsString, OsString)>) -> Held {
    let named = variables.filter_map(|(name, value)| {
        let secret = Secret::new(value.into_vec());
        let key = name.to_str()?.strip_prefix(prefix).filter(|key| !key.is_empty())?;
        Some((key.to_owned(), secret))
    });
    Held(named.collect())
}
