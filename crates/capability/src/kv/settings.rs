//! The settings of a store's table in a manifest, read so that every mistake is named.

use std::time::Duration;

use samara_model::{format_bytes, format_duration, parse_bytes, parse_duration};

use super::KvError;

/// How long a server or a disk may take to answer, unless a store's `timeout` says otherwise.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// The table of one store, and the scheme whose settings are expected in it.
pub(super) struct Settings<'a> {
    scheme: &'static str,
    table: &'a toml::Table,
}

impl<'a> Settings<'a> {
    /// The settings of a scheme, which has these and no others.
    ///
    /// # Errors
    /// There is another one.
    pub(super) fn new(scheme: &'static str, table: &'a toml::Table, known: &[&str]) -> Result<Self, KvError> {
        match table.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(KvError::Configuration(format!(
                "`{scheme}:` has no setting `{name}`; it has `{}`",
                known.join("`, `")
            ))),
            None => Ok(Self { scheme, table }),
        }
    }

    /// A number of bytes.
    pub(super) fn bytes(&self, name: &str, default: u64) -> Result<u64, KvError> {
        self.text(name, &format!("a size such as \"{}\"", format_bytes(default)))?
            .map_or(Ok(default), |text| parse_bytes(text).map_err(|error| self.wrong(name, &error)))
    }

    /// A length of time, which is not nothing.
    pub(super) fn duration(&self, name: &str, default: Duration) -> Result<Duration, KvError> {
        let example = format!("a duration such as \"{}\"", format_duration(default));
        let Some(text) = self.text(name, &example)? else { return Ok(default) };
        let duration = parse_duration(text).map_err(|error| self.wrong(name, &error))?;
        if duration.is_zero() {
            return Err(KvError::Configuration(format!("`{name}` is `{text}`; write {example}")));
        }
        Ok(duration)
    }

    /// A whole number from 1 to `most`.
    #[cfg(feature = "nats")]
    pub(super) fn count(&self, name: &str, default: usize, most: usize) -> Result<usize, KvError> {
        match self.table.get(name) {
            None => Ok(default),
            Some(value) => {
                let count = value.as_integer().and_then(|count| usize::try_from(count).ok());
                count.filter(|count| (1..=most).contains(count)).ok_or_else(|| {
                    KvError::Configuration(format!("`{name}` is `{value}`; write a number from 1 to {most}"))
                })
            }
        }
    }

    /// Text, if it is there.
    pub(super) fn text(&self, name: &str, example: &str) -> Result<Option<&'a str>, KvError> {
        match self.table.get(name) {
            None => Ok(None),
            Some(toml::Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(KvError::Configuration(format!("`{name}` is `{other}`; write {example}"))),
        }
    }

    fn wrong(&self, name: &str, error: &impl std::fmt::Display) -> KvError {
        KvError::Configuration(format!("`{name}` of `{}:`: {error}", self.scheme))
    }
}
