//! The settings of a bus in its manifest, read one by one; what is left over is refused by name.

use std::time::Duration;

use samara_model::{parse_bytes, parse_duration};

use super::MessagingError;
#[cfg(any(feature = "nats", feature = "redis"))]
use crate::secrets::Secret;

/// The default of `timeout`.
#[cfg(any(feature = "nats", feature = "redis"))]
const TIMEOUT: Duration = Duration::from_secs(5);

/// A store's table without its provider.
#[derive(Debug)]
pub(super) struct Settings<'t> {
    scheme: &'static str,
    table: &'t toml::Table,
    known: Vec<&'static str>,
}

impl<'t> Settings<'t> {
    pub(super) fn new(scheme: &'static str, table: &'t toml::Table) -> Self {
        Self { scheme, table, known: Vec::new() }
    }

    fn get(&mut self, name: &'static str) -> Option<&'t toml::Value> {
        self.known.push(name);
        self.table.get(name)
    }

    pub(super) fn text(&mut self, name: &'static str, example: &str) -> Result<Option<&'t str>, MessagingError> {
        match self.get(name) {
            None => Ok(None),
            Some(toml::Value::String(text)) => Ok(Some(text)),
            // The value is not repeated: it may be a password.
            Some(_) => Err(MessagingError::Configuration(format!("`{name}` is not text; write {example}"))),
        }
    }

    pub(super) fn bytes(&mut self, name: &'static str, default: u64) -> Result<u64, MessagingError> {
        let Some(text) = self.text(name, "a size such as \"64MiB\"")? else { return Ok(default) };
        parse_bytes(text).map_err(|error| MessagingError::Configuration(format!("`{name}`: {error}")))
    }

    pub(super) fn duration(&mut self, name: &'static str, default: Duration) -> Result<Duration, MessagingError> {
        let Some(text) = self.text(name, "a time such as \"10s\"")? else { return Ok(default) };
        parse_duration(text).map_err(|error| MessagingError::Configuration(format!("`{name}`: {error}")))
    }

    /// How long one operation may wait for a server.
    #[cfg(any(feature = "nats", feature = "redis"))]
    pub(super) fn timeout(&mut self) -> Result<Duration, MessagingError> {
        let timeout = self.duration("timeout", TIMEOUT)?;
        if timeout.is_zero() {
            return Err(MessagingError::Configuration("a `timeout` of 0 lets nothing happen; write \"5s\"".to_owned()));
        }
        Ok(timeout)
    }

    /// A credential, named by where it is: `env:NAME` or `file:PATH`.
    #[cfg(any(feature = "nats", feature = "redis"))]
    pub(super) async fn secret(&mut self, name: &'static str) -> Result<Option<Secret>, MessagingError> {
        self.known.push(name);
        let secret = crate::secrets::setting(self.table, name).await;
        secret.map_err(|error| MessagingError::Configuration(error.to_string()))
    }

    #[cfg(any(feature = "nats", feature = "redis"))]
    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, MessagingError> {
        match self.get(name) {
            None => Ok(false),
            Some(toml::Value::Boolean(flag)) => Ok(*flag),
            Some(_) => Err(MessagingError::Configuration(format!("`{name}` is neither true nor false"))),
        }
    }

    /// Refuses settings that nobody asked for.
    pub(super) fn finish(self) -> Result<(), MessagingError> {
        let Self { scheme, table, known } = self;
        let Some(unknown) = table.keys().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
        let known = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        Err(MessagingError::Configuration(format!("`{scheme}:` has no setting `{unknown}`; it has {known}")))
    }
}
