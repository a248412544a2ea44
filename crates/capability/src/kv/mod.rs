//! Key-value storage: the trait that contracts call, and the table of providers behind it.
//!
//! A provider sees keys and bytes and nothing else. Grants, limits and the separation of tenants are applied once, by
//! [`Store::grant`], whatever the provider.
//!
//! Numbers are decimal text (`"-17"`), so that a counter one guest increments can be read by any other.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

mod error;
mod granted;
mod memory;
mod store;
#[cfg(test)]
mod tests;

pub use error::KvError;
pub use granted::{BATCH_BYTES, BATCH_KEYS, Granted, PAGE_KEYS};
pub use store::Store;

/// Every provider. A new one is one file and one line here.
pub const PROVIDERS: &[&dyn Provider] = &[&memory::Memory];

/// A key-value store that is open: shared by all calls of all workloads it is granted to.
///
/// Every method is atomic for one key. Batches are not atomic as a whole.
/// Whoever writes learns the length of the value that was there before, which is what quotas are kept with.
#[async_trait]
pub trait KeyValue: fmt::Debug + Send + Sync {
    /// The value of a key, `None` if it is not there.
    ///
    /// # Errors
    /// The backend failed.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError>;

    /// Writes a value; answers the length of the value it replaced, `None` if there was none.
    ///
    /// # Errors
    /// The backend failed, or has no room.
    async fn set(&self, key: &str, value: Bytes) -> Result<Option<u64>, KvError>;

    /// Removes a key; answers the length of the value that was removed, `None` if there was none.
    ///
    /// # Errors
    /// The backend failed.
    async fn delete(&self, key: &str) -> Result<Option<u64>, KvError>;

    /// Whether a key is there.
    ///
    /// # Errors
    /// The backend failed.
    async fn exists(&self, key: &str) -> Result<bool, KvError> {
        Ok(self.get(key).await?.is_some())
    }

    /// Up to `limit` keys that start with `prefix`, each exactly once over all pages if nobody writes meanwhile. `cursor`
    /// is that of the page before, `None` for the first. A page may be empty and still have a cursor. A cursor that this
    /// store never gave out gives an error or any page of keys under the same prefix, never others.
    ///
    /// # Errors
    /// The backend failed, or does not know the cursor.
    async fn list_keys(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<Page, KvError>;

    /// Adds to a number, atomically; a key that is not there counts as 0.
    ///
    /// # Errors
    /// The value is not a decimal number, the sum does not fit 64 bits (nothing is changed), or the backend failed.
    async fn increment(&self, key: &str, delta: i64) -> Result<Increment, KvError>;

    /// Writes `new` if the value is still `expected` (`None`: if the key is not there), atomically.
    ///
    /// # Errors
    /// The backend failed, or has no room.
    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Bytes) -> Result<Swap, KvError>;

    /// The values of several keys, in their order.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, KvError> {
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            values.push(self.get(key).await?);
        }
        Ok(values)
    }

    /// Writes several values, in their order; answers as [`set`](Self::set) for each. One that does not fit does not stop
    /// those after it; a backend that fails does, and they get its error.
    async fn set_many(&self, entries: Vec<(String, Bytes)>) -> Vec<Result<Option<u64>, KvError>> {
        let mut outcomes = Outcomes::with_capacity(entries.len());
        for (key, value) in entries {
            outcomes.push(self.set(&key, value)).await;
        }
        outcomes.done
    }

    /// Removes several keys, in their order; answers as [`delete`](Self::delete) for each, and stops as
    /// [`set_many`](Self::set_many) does.
    async fn delete_many(&self, keys: &[String]) -> Vec<Result<Option<u64>, KvError>> {
        let mut outcomes = Outcomes::with_capacity(keys.len());
        for key in keys {
            outcomes.push(self.delete(key)).await;
        }
        outcomes.done
    }

    /// Bytes of keys (with the prefix) and values under a prefix. Called when a store is opened, never for a guest: it
    /// may read the whole store.
    ///
    /// # Errors
    /// The backend failed.
    async fn usage(&self, prefix: &str) -> Result<Usage, KvError>;
}

/// Some of a store's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The keys, with the prefix they were asked for.
    pub keys: Vec<String>,
    /// Where the next page starts; `None` after the last one. Opaque.
    pub cursor: Option<String>,
}

/// What an increment did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Increment {
    /// The sum.
    pub value: i64,
    /// The length of the text that was there before, `None` if the key was not.
    pub replaced: Option<u64>,
}

/// What a compare-and-swap did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The new value is written.
    Done,
    /// Somebody else was faster: nothing is written, and this is there now.
    Differs(Option<Bytes>),
}

/// What is stored under a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of keys.
    pub keys: u64,
    /// Bytes of keys, prefix included, and values.
    pub bytes: u64,
}

/// The answers of a batch; after the backend failed once it is not asked again.
struct Outcomes {
    done: Vec<Result<Option<u64>, KvError>>,
    failed: Option<KvError>,
}

impl Outcomes {
    fn with_capacity(entries: usize) -> Self {
        Self { done: Vec::with_capacity(entries), failed: None }
    }

    async fn push(&mut self, write: impl Future<Output = Result<Option<u64>, KvError>>) {
        let outcome = match &self.failed {
            Some(error) => Err(error.clone()),
            None => write.await,
        };
        if let Err(error @ (KvError::Backend(_) | KvError::TimedOut(_))) = &outcome {
            self.failed = Some(error.clone());
        }
        self.done.push(outcome);
    }
}

/// Opens stores of one kind.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// The word before the colon of its URLs.
    fn scheme(&self) -> &'static str;

    /// Opens the store that a URL of this scheme names. Called when an app is loaded, on a runtime that may wait.
    ///
    /// `settings` are the other keys of the store's table in the manifest; an unknown one is an error. `opener` is the
    /// way up, for a provider that is made of something else this process hosts.
    ///
    /// # Errors
    /// The URL or a setting is wrong, or the backend does not answer.
    async fn open(&self, url: &str, settings: &toml::Table, opener: &dyn Opener) -> Result<Arc<dyn KeyValue>, KvError>;
}

/// What a provider may ask the layer above for: providers know nothing of workloads, the runtime does.
#[async_trait]
pub trait Opener: Send + Sync {
    /// A workload of this process, seen as a store.
    ///
    /// # Errors
    /// There is no such workload, or it is not a store.
    async fn workload(&self, name: &str) -> Result<Arc<dyn KeyValue>, KvError>;
}

/// An opener for hosts whose workloads are no stores.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWorkloads;

#[async_trait]
impl Opener for NoWorkloads {
    async fn workload(&self, name: &str) -> Result<Arc<dyn KeyValue>, KvError> {
        Err(KvError::Configuration(format!("no workload `{name}` that is a key-value store")))
    }
}

/// Opens the store a URL names, with the provider of its scheme.
///
/// # Errors
/// No provider has the scheme (the message lists those there are), or the provider refuses.
pub async fn open(url: &str, settings: &toml::Table, opener: &dyn Opener) -> Result<Arc<dyn KeyValue>, KvError> {
    let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
    let Some(provider) = PROVIDERS.iter().find(|provider| provider.scheme() == scheme) else {
        let known = PROVIDERS.iter().map(|provider| provider.scheme()).collect::<Vec<_>>().join(", ");
        return Err(KvError::Configuration(format!("no key-value provider for `{scheme}:`; known schemes: {known}")));
    };
    provider.open(url, settings, opener).await
}
