//! The settings of a store's table in a manifest, beside its `provider`.

#[cfg(feature = "s3")]
use std::time::Duration;

use samara_model::{format_bytes, parse_bytes};
#[cfg(feature = "s3")]
use samara_model::{format_duration, parse_duration};

use super::BlobError;

/// How long a backend may take to answer, unless the setting `timeout` says otherwise.
#[cfg(feature = "s3")]
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// The settings of one store, all of them known.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    table: &'a toml::Table,
}

impl<'a> Settings<'a> {
    /// # Errors
    /// One of them is none of `known`.
    pub(super) fn new(scheme: &str, table: &'a toml::Table, known: &[&str]) -> Result<Self, BlobError> {
        match table.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(Self { table }),
            Some(name) if known.is_empty() => {
                Err(BlobError::Configuration(format!("`{scheme}` has no setting `{name}`; it has none")))
            }
            Some(name) => Err(BlobError::Configuration(format!(
                "`{scheme}` has no setting `{name}`; it has `{}`",
                known.join("`, `")
            ))),
        }
    }

    /// A text.
    pub(super) fn text(&self, name: &str, example: &str) -> Result<Option<&'a str>, BlobError> {
        match self.table.get(name) {
            None => Ok(None),
            Some(toml::Value::String(text)) => Ok(Some(text)),
            // Not repeated: it may be what should be secret.
            Some(other) => Err(BlobError::Configuration(format!(
                "`{name}` is a {}; write a text such as \"{example}\"",
                other.type_str()
            ))),
        }
    }

    /// A number of bytes.
    pub(super) fn bytes(&self, name: &str, default: u64) -> Result<u64, BlobError> {
        let Some(text) = self.text(name, &format_bytes(default))? else { return Ok(default) };
        parse_bytes(text).map_err(|error| BlobError::Configuration(format!("`{name}`: {error}")))
    }

    /// A length of time that is not nothing.
    #[cfg(feature = "s3")]
    pub(super) fn duration(&self, name: &str, default: Duration) -> Result<Duration, BlobError> {
        let Some(text) = self.text(name, &format_duration(default))? else { return Ok(default) };
        match parse_duration(text) {
            Ok(Duration::ZERO) => {
                Err(BlobError::Configuration(format!("`{name}` is `{text}`; nothing answers that fast")))
            }
            Ok(duration) => Ok(duration),
            Err(error) => Err(BlobError::Configuration(format!("`{name}`: {error}"))),
        }
    }

    /// Yes or no; no if it is not said.
    #[cfg(feature = "s3")]
    pub(super) fn flag(&self, name: &str) -> Result<bool, BlobError> {
        match self.table.get(name) {
            None => Ok(false),
            Some(toml::Value::Boolean(flag)) => Ok(*flag),
            Some(other) => {
                Err(BlobError::Configuration(format!("`{name}` is a {}; write `true` or `false`", other.type_str())))
            }
        }
    }
}
