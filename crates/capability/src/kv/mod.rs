//! Key-value storage: the trait that contracts call, and the table of providers behind it.
//!
//! A provider sees keys and bytes and nothing else. Grants, limits and the separation of tenants are applied once, by
//! [`Store::grant`], whatever the provider.
//!
//! Numbers are decimal text (`"-17"`), so that a counter one guest increments can be read by any other.
//!
//! What stands before the first colon of a key is its *namespace*. Providers may treat keys by it (keep sums, filter at the
//! server), and a tenant's share is one; apart from that a colon is a character like any other.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use crate::Amount;

#[cfg(any(test, feature = "conformance"))]
mod check;
mod copy;
mod error;
mod granted;
mod measure;
mod memory;
mod moving;
#[cfg(feature = "nats")]
mod nats;
mod number;
mod redb;
#[cfg(feature = "redis")]
mod redis;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod watch;
mod workload;

pub use crate::Present;
#[cfg(any(test, feature = "conformance"))]
pub use check::check_kv;
pub use copy::copy;
pub use error::KvError;
pub use granted::{BATCH_BYTES, BATCH_KEYS, Granted, PAGE_KEYS};
pub use moving::{MoveError, Progress};
pub use store::{Store, share};
pub use watch::{Change, WATCH_QUEUE, WATCHERS, Watch};

/// The longest time to live; a longer one is cut to it. No clock that a backend counts with ends earlier.
pub const TTL_MAX: Duration = Duration::from_hours(100 * 365 * 24);

/// Every provider. A new one is one file, its `mod`, and one line here.
pub const PROVIDERS: &[&dyn Provider] = &[
    &memory::Memory,
    &redb::Redb,
    #[cfg(feature = "redis")]
    &redis::Redis("redis"),
    #[cfg(feature = "redis")]
    &redis::Redis("rediss"),
    #[cfg(feature = "nats")]
    &nats::Nats,
    &workload::Workload,
];

/// Schemes whose client may be left out of the binary, and the cargo feature that has it.
const FEATURES: &[(&str, &str)] = &[("redis", "redis"), ("rediss", "redis"), ("nats", "nats")];

/// A key-value store that is open: shared by all calls of all workloads it is granted to.
///
/// **Atomicity.** Every method is atomic for one key. Batches are not atomic as a whole.
///
/// **Ordering.** Whoever begins an operation after another one was answered sees what that one did. Of operations under way
/// at once on one key, one comes after the other. Between keys nothing is promised.
///
/// **Durability.** An answered write outlives this process, and with `redb:` the machine's power; what a server promises
/// beyond that is between it and whoever runs it. `memory:` keeps nothing.
///
/// **Waiting.** No method blocks a thread. A backend that is out of reach is an error within the store's `timeout`
/// ([`KvError::TimedOut`]: what was asked may have happened), and comes back by itself when it is in reach again.
///
/// **Time to live.** A key that was set with one is not there any more once it is over: `get`, `exists`, `list_keys`, `swap`,
/// `increment` and `usage` do not see it, and a write replaces nothing. [`set`](Self::set) without one makes the key stay.
/// [`increment`](Self::increment) and [`swap`](Self::swap) keep the time the key has; a key they make stays. Times are exact
/// to some milliseconds, and those of servers run by their clocks.
///
/// Whoever writes learns the length of the value that was there before, which is what quotas are kept with.
#[async_trait]
pub trait KeyValue: fmt::Debug + Send + Sync {
    /// The value of a key, `None` if it is not there.
    ///
    /// # Errors
    /// The backend failed.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError>;

    /// The value of a key and how long it still lives, `None` if it is not there. Called when stores are copied, never for a
    /// guest.
    ///
    /// # Errors
    /// The backend failed.
    async fn entry(&self, key: &str) -> Result<Option<Entry>, KvError>;

    /// Writes a value that stays; answers the length of the value it replaced, `None` if there was none.
    ///
    /// # Errors
    /// The backend failed, or has no room.
    async fn set(&self, key: &str, value: Bytes) -> Result<Option<u64>, KvError> {
        self.set_expiring(key, value, None).await
    }

    /// Writes a value that stays for `ttl`, at least a millisecond and at most [`TTL_MAX`]; `None` is for good. Answers as
    /// [`set`](Self::set).
    ///
    /// # Errors
    /// The backend failed, or has no room.
    async fn set_expiring(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<Option<u64>, KvError>;

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
    /// The value is not a decimal number in its shortest form, the sum does not fit 64 bits (nothing is changed), or the
    /// backend failed.
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

    /// What changes under a prefix from now on: writes by anybody, removals, and ends of times to live (told when the
    /// backend notices, within seconds). Of several writes to a key the last one is always told, or [`Change::Missed`].
    /// The store may be [`Unsupported`](KvError::Unsupported) for it.
    ///
    /// # Errors
    /// The backend failed, or is watched by [`WATCHERS`] already.
    async fn watch(&self, prefix: &str) -> Result<Watch, KvError>;

    /// Bytes of keys (with the prefix) and values under a prefix. Called when a store is opened and now and then afterwards,
    /// never for a guest: it may read the whole store. Most often the prefix is a namespace with its colon.
    ///
    /// # Errors
    /// The backend failed.
    async fn usage(&self, prefix: &str) -> Result<Usage, KvError>;
}

/// A value with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// How long it still lives; `None`: until it is removed.
    pub ttl: Option<Duration>,
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

impl Amount for Usage {
    const ENTRIES: &'static str = "keys";

    fn entries(&self) -> u64 {
        self.keys
    }
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

/// A time to live in the milliseconds that every backend counts: what is shorter lives for one.
fn milliseconds(ttl: Duration) -> u64 {
    u64::try_from(ttl.min(TTL_MAX).as_millis()).unwrap_or(u64::MAX).max(1)
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
        // What is not a scheme may be a password, or worse.
        let scheme = crate::without_credentials(scheme);
        if let Some((_, feature)) = FEATURES.iter().find(|(known, _)| *known == scheme) {
            return Err(KvError::Configuration(format!(
                "`{scheme}:` is left out of this binary; build it with the cargo feature `{feature}`"
            )));
        }
        let known = PROVIDERS.iter().map(|provider| provider.scheme()).collect::<Vec<_>>().join(", ");
        return Err(KvError::Configuration(format!("no key-value provider for `{scheme}:`; known schemes: {known}")));
    };
    provider.open(url, settings, opener).await
}
