//! The settings of a store's table, read the same way by every provider.

#[cfg(feature = "postgres")]
use std::time::Duration;

#[cfg(feature = "postgres")]
use samara_model::parse_duration;

use super::SqlError;

/// The settings that are left to read; whoever reads one takes it.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    scheme: &'static str,
    left: toml::Table,
    known: Vec<&'a str>,
}

impl<'a> Settings<'a> {
    /// The settings of a provider.
    pub(super) fn new(scheme: &'static str, settings: &toml::Table) -> Self {
        Self { scheme, left: settings.clone(), known: Vec::new() }
    }

    /// A duration longer than nothing, or the default.
    #[cfg(feature = "postgres")]
    pub(super) fn duration(&mut self, name: &'a str, default: Duration) -> Result<Duration, SqlError> {
        let Some(value) = self.take(name) else { return Ok(default) };
        let text = value.as_str().ok_or_else(|| wrong(name, &value, "a duration such as \"5s\""))?;
        match parse_duration(text) {
            Ok(Duration::ZERO) => Err(wrong(name, &value, "a duration longer than none, such as \"5s\"")),
            Ok(duration) => Ok(duration),
            Err(error) => Err(SqlError::Configuration(format!("`{name}`: {error}"))),
        }
    }

    /// A number from 1 to `most`, or the default.
    pub(super) fn number(&mut self, name: &'a str, default: usize, most: usize) -> Result<usize, SqlError> {
        let Some(value) = self.take(name) else { return Ok(default) };
        let number = value.as_integer().and_then(|number| usize::try_from(number).ok());
        number
            .filter(|number| (1..=most).contains(number))
            .ok_or_else(|| wrong(name, &value, &format!("a number from 1 to {most}")))
    }

    /// True, false, or the default.
    #[cfg(feature = "postgres")]
    pub(super) fn flag(&mut self, name: &'a str, default: bool) -> Result<bool, SqlError> {
        let Some(value) = self.take(name) else { return Ok(default) };
        value.as_bool().ok_or_else(|| wrong(name, &value, "`true` or `false`"))
    }

    /// A credential, named by where it is: `env:NAME` or `file:PATH`.
    #[cfg(feature = "postgres")]
    pub(super) async fn secret(&mut self, name: &'a str) -> Result<Option<crate::secrets::Secret>, SqlError> {
        let named: toml::Table = self.take(name).map(|value| (name.to_owned(), value)).into_iter().collect();
        let secret = crate::secrets::setting(&named, name).await;
        secret.map_err(|error| SqlError::Configuration(error.to_string()))
    }

    /// Text, if it is there.
    #[cfg(feature = "postgres")]
    pub(super) fn text(&mut self, name: &'a str) -> Result<Option<String>, SqlError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_str().map(|text| Some(text.to_owned())).ok_or_else(|| wrong(name, &value, "text"))
    }

    /// That nothing is left which nobody has read.
    pub(super) fn end(self) -> Result<(), SqlError> {
        let Some(name) = self.left.keys().next() else { return Ok(()) };
        let known = self.known.join("`, `");
        Err(SqlError::Configuration(format!("`{}:` has no setting `{name}`; it has `{known}`", self.scheme)))
    }

    fn take(&mut self, name: &'a str) -> Option<toml::Value> {
        self.known.push(name);
        self.left.remove(name)
    }
}

fn wrong(name: &str, value: &toml::Value, example: &str) -> SqlError {
    SqlError::Configuration(format!("`{name}` is `{value}`; write {example}"))
}
