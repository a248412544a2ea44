//! Credentials in the settings of a store: `password = "env:REDIS_PASSWORD"`, read when the store is opened.
//!
//! A manifest is printed, shown and kept in version control, so a password that stands in it is refused, without repeating it.

use std::time::Duration;

use samara_model::ValueSource;

use super::{Secret, SecretError, open_one};

/// The secret that a store's setting names as `env:NAME`, `file:PATH` or `dir:PATH` (then the file is called as the setting is);
/// `None` if there is no such setting. Providers call it when they open a store, and may call it again when a server
/// refuses what was right before.
///
/// # Errors
/// The setting is no such text, or what it names cannot be read.
pub async fn setting(settings: &toml::Table, key: &str) -> Result<Option<Secret>, SecretError> {
    let Some(value) = settings.get(key) else { return Ok(None) };
    let wrong = |why: &dyn std::fmt::Display| SecretError::Configuration(format!("`{key}`: {why}"));
    let text = value.as_str().ok_or_else(|| wrong(&"this is no text; write `env:NAME` or `file:./path`"))?;
    let source = text.parse::<ValueSource>().map_err(|error| wrong(&error))?;
    // What is opened is asked once and dropped, so that it is never looked at again.
    open_one(key, &source, Duration::MAX).await?.get(key).await
}
