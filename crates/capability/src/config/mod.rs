//! Configuration values: from the manifest, from files that are watched, from the environment, from directories of files.
//!
//! A workload's `config` grant lists sources. [`Layers`] puts them together: of two sources with the same key the later one
//! wins, and what stands in the manifest itself wins over all of them. Each value knows where it came from. Values are held in
//! memory; asking costs no I/O but the look, at most once a [`FRESH`](crate::FRESH), whether a file has changed. While a
//! source cannot be read its values of before stay, and the log says so once.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

#[cfg(test)]
mod check;
mod dir;
mod env;
mod error;
mod file;
mod format;
mod granted;
mod layers;
#[cfg(test)]
mod tests;

pub use error::ConfigError;

pub use granted::Granted;
pub use layers::Layers;

pub(crate) use format::Format;

/// Every provider. A new one is one file and one line here.
pub const PROVIDERS: &[&dyn Provider] = &[&file::File, &env::Env, &dir::Dir];

/// A source of values that is open, or several together.
#[async_trait]
pub trait Config: fmt::Debug + Send + Sync {
    /// All values as they are now, of one moment: whoever needs two that fit each other takes both from one answer. Called
    /// once or more in each call of a guest; answers from memory, but for a look at the disk now and then that does not
    /// block the thread.
    ///
    /// # Errors
    /// The workload has no grant. An open source has no error: it tells what it last knew.
    async fn values(&self) -> Result<Arc<Values>, ConfigError>;

    /// One value, `None` if no source has the key.
    ///
    /// # Errors
    /// As [`values`](Self::values).
    async fn get(&self, key: &str) -> Result<Option<Arc<str>>, ConfigError> {
        Ok(self.values().await?.get(key).map(|value| Arc::clone(&value.text)))
    }
}

/// Values by their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<Arc<str>, Value>);

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The value; a guest is told it as it is.
    pub text: Arc<str>,
    /// Its source as the manifest writes it, `manifest` for what stands there itself.
    pub origin: Arc<str>,
}

impl Values {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// All of them, in the order of their keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Value)> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Values that all come from one place; of two with the same key the later one.
    pub(crate) fn from_place<K: Into<Arc<str>>, V: Into<Arc<str>>>(
        origin: &Arc<str>,
        values: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let value = |text: V| Value { text: text.into(), origin: Arc::clone(origin) };
        Self(values.into_iter().map(|(key, text)| (key.into(), value(text))).collect())
    }

    /// Puts other values over these.
    fn overlay(&mut self, over: &Self) {
        self.0.extend(over.0.iter().map(|(key, value)| (Arc::clone(key), value.clone())));
    }
}

/// Opens sources of one kind.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// The word before the colon of its sources.
    fn scheme(&self) -> &'static str;

    /// Reads a source for the first time: `place` is what stands behind the colon, paths are absolute or of the process's
    /// working directory. What it tells later is at most `fresh` old. Called when an app is loaded.
    ///
    /// # Errors
    /// The place is wrong, cannot be read, or is over a limit.
    async fn open(&self, place: &str, fresh: Duration) -> Result<Arc<dyn Config>, ConfigError>;
}

/// Opens the source that a manifest names, with the provider of its scheme.
///
/// # Errors
/// No provider has the scheme (the message lists those there are), or the provider refuses.
pub async fn open(source: &str, fresh: Duration) -> Result<Arc<dyn Config>, ConfigError> {
    let (scheme, place) = source.split_once(':').unwrap_or((source, ""));
    let Some(provider) = PROVIDERS.iter().find(|provider| provider.scheme() == scheme) else {
        let known = PROVIDERS.iter().map(|provider| provider.scheme()).collect::<Vec<_>>().join(", ");
        let message = format!("no source of configuration values for `{scheme}:`; known schemes: {known}");
        return Err(ConfigError::Configuration(message));
    };
    provider.open(place, fresh).await
}
