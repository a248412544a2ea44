//! Secrets: values that are never printed, wiped when they are dropped.
//!
//! A manifest says where a secret is and never what it is. Sources are read when an app is loaded, and again when they have
//! changed (at most a [`FRESH`](crate::FRESH) later), so that a secret can be rotated while the app serves; while a source cannot
//! be read its secrets of before stay. Errors, logs and `Debug` name places. What a guest was handed is the guest's.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use samara_model::{SecretsGrant, ValueSource};

#[cfg(test)]
mod check;
mod dir;
mod dump;
mod env;
mod error;
mod file;
mod granted;
mod secret;
mod setting;
#[cfg(test)]
mod tests;

pub use error::SecretError;
pub use granted::Granted;
pub use secret::Secret;
pub use setting::setting;

use crate::watched::{Place, Watched};

/// Every provider. A new one is one file and one line here.
pub const PROVIDERS: &[&dyn Provider] = &[&env::Env, &file::File, &dir::Dir];

/// A source of secrets that is open, or several together.
#[async_trait]
pub trait Secrets: fmt::Debug + Send + Sync {
    /// A secret by its name, `None` if it is not there. Called for guests and for each request with a secret header;
    /// answers from memory, but for a look at the disk now and then that does not block the thread.
    ///
    /// # Errors
    /// The workload has no grant of it. An open source has no error: it gives what it last knew.
    async fn get(&self, name: &str) -> Result<Option<Secret>, SecretError>;

    /// The names of the secrets there are, sorted.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    async fn names(&self) -> Result<Vec<String>, SecretError>;
}

/// Opens sources of one kind. Both methods are called when an app is loaded; paths are absolute or of the process's working
/// directory; what is given later is at most `fresh` old.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// The word before the colon of its sources.
    fn scheme(&self) -> &'static str;

    /// One secret, under the name that guests ask for: `API_KEY = "env:CART_API_KEY"`.
    ///
    /// # Errors
    /// It is not there, cannot be read, or is over a limit.
    async fn open_one(&self, name: &str, place: &str, fresh: Duration) -> Result<Arc<dyn Secrets>, SecretError>;

    /// All that a place has, under the names they have there: `"dir:/run/secrets"`.
    ///
    /// # Errors
    /// The place is wrong, cannot be read, or is over a limit.
    async fn open_all(&self, place: &str, fresh: Duration) -> Result<Arc<dyn Secrets>, SecretError>;
}

/// The provider of a place, and the place as it knows it.
fn provider(source: &ValueSource) -> Result<(&'static dyn Provider, String), SecretError> {
    let text = source.to_string();
    let (scheme, place) = text.split_once(':').unwrap_or((&text, ""));
    match PROVIDERS.iter().find(|provider| provider.scheme() == scheme) {
        Some(provider) => Ok((*provider, place.to_owned())),
        None => {
            let known = PROVIDERS.iter().map(|provider| provider.scheme()).collect::<Vec<_>>().join(", ");
            Err(SecretError::Configuration(format!("no source of secrets for `{scheme}:`; known schemes: {known}")))
        }
    }
}

/// Opens one secret.
///
/// # Errors
/// It is not there, cannot be read, or is over a limit.
pub async fn open_one(name: &str, source: &ValueSource, fresh: Duration) -> Result<Arc<dyn Secrets>, SecretError> {
    let (provider, place) = provider(source)?;
    provider.open_one(name, &place, fresh).await
}

/// What a `secrets` grant lists: single secrets, and whole sources of which the later one wins.
#[derive(Debug)]
pub struct Sources {
    singles: BTreeMap<String, Arc<dyn Secrets>>,
    sources: Vec<Arc<dyn Secrets>>,
}

impl Sources {
    /// Opens what a grant lists.
    ///
    /// # Errors
    /// A source cannot be opened.
    pub async fn open(grant: &SecretsGrant, fresh: Duration) -> Result<Self, SecretError> {
        let mut singles = BTreeMap::new();
        for (name, source) in &grant.values {
            singles.insert(name.clone(), open_one(name, source, fresh).await?);
        }
        let mut sources = Vec::with_capacity(grant.sources.len());
        for source in &grant.sources {
            let (provider, place) = provider(source)?;
            sources.push(provider.open_all(&place, fresh).await?);
        }
        Ok(Self { singles, sources })
    }
}

#[async_trait]
impl Secrets for Sources {
    async fn get(&self, name: &str) -> Result<Option<Secret>, SecretError> {
        if let Some(single) = self.singles.get(name) {
            return single.get(name).await;
        }
        for source in self.sources.iter().rev() {
            if let Some(secret) = source.get(name).await? {
                return Ok(Some(secret));
            }
        }
        Ok(None)
    }

    async fn names(&self) -> Result<Vec<String>, SecretError> {
        let mut names: Vec<_> = self.singles.keys().cloned().collect();
        for source in &self.sources {
            names.extend(source.names().await?);
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

/// Secrets by their names.
#[derive(Debug, Default)]
struct Held(BTreeMap<String, Secret>);

#[async_trait]
impl Secrets for Held {
    async fn get(&self, name: &str) -> Result<Option<Secret>, SecretError> {
        Ok(self.0.get(name).cloned())
    }

    async fn names(&self) -> Result<Vec<String>, SecretError> {
        Ok(self.0.keys().cloned().collect())
    }
}

#[async_trait]
impl<P: Place<Content = Held>> Secrets for Watched<P> {
    async fn get(&self, name: &str) -> Result<Option<Secret>, SecretError> {
        self.now().await.get(name).await
    }

    async fn names(&self) -> Result<Vec<String>, SecretError> {
        self.now().await.names().await
    }
}
