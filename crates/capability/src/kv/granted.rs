//! A store as a workload sees it: only what its grant allows, only within its limits, only its tenant's keys.
//!
//! The total is kept without asking the backend, because every write says what it replaced: bytes are reserved before a
//! write and corrected after it. A write that is abandoned half-way (its guest ran out of time) stays counted until the
//! store is measured again, or a guest could write for nothing by dying in time.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use samara_model::{Capability, KvGrant, KvOperation, Limits};
use samara_telemetry::Span;

use super::{Entry, Increment, KeyValue, KvError, Outcomes, Page, Store, Swap, Usage, Watch, number::NUMBER_BYTES};
use crate::{Lent, Operation, Recorder};

/// Keys in one batch, at most.
pub const BATCH_KEYS: usize = 1000;

/// Bytes of values in the answer to one batch, at most, unless one value alone may be larger.
pub const BATCH_BYTES: u64 = 64 << 20;

/// Keys in one page of a listing, at most.
pub const PAGE_KEYS: usize = 1000;

/// Values asked of the backend at once, so that a batch over [`BATCH_BYTES`] is noticed before all of it is in memory.
const CHUNK_KEYS: usize = 16;

/// A store lent to one workload. Cheap to clone: contracts do it for each operation of a guest.
#[derive(Clone, Debug)]
pub struct Granted(Arc<Bounded>);

/// A store and what one workload may do with it.
#[derive(Debug)]
struct Bounded {
    store: Store,
    grant: KvGrant,
    key_bytes: u64,
    value_bytes: u64,
    total_bytes: u64,
    lent: Lent,
}

impl Granted {
    pub(super) fn new(store: Store, grant: KvGrant, limits: &Limits, recorder: Arc<dyn Recorder>) -> Self {
        let lent = Lent::new(Capability::Kv, store.name.clone(), recorder);
        Self(Arc::new(Bounded {
            store,
            grant,
            key_bytes: limits.kv_key_bytes.into(),
            value_bytes: limits.kv_value_bytes,
            total_bytes: limits.kv_total_bytes,
            lent,
        }))
    }

    /// The store that is lent.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Checks an operation against the grant without doing it, for ABIs that ask before they act.
    ///
    /// # Errors
    /// The grant does not include the operation; the denial is recorded.
    pub fn check(&self, operation: KvOperation) -> Result<(), KvError> {
        if self.0.grant.operations.contains(&operation) {
            self.0.lent.used(named(operation));
            return Ok(());
        }
        let name = self.0.lent.store();
        let wanted = KvOperation::ALL.iter().filter(|one| **one == operation || self.0.grant.operations.contains(one));
        let wanted = wanted.map(|one| format!("\"{}\"", one.as_str())).collect::<Vec<_>>().join(", ");
        let what = format!("`{}` on key-value store `{name}`", operation.as_str());
        let denial = self.0.lent.refused(what, format!("kv = [{{ store = \"{name}\", ops = [{wanted}] }}]"));
        Err(KvError::AccessDenied { what: denial.what, grant: denial.grant })
    }

    /// Checks an operation and does it, as a span of the call.
    async fn told<T>(
        &self,
        operation: KvOperation,
        work: impl Future<Output = Result<T, KvError>> + Send,
    ) -> Result<T, KvError> {
        self.0.lent.told(named(operation), self.check(operation), work).await
    }

    fn span(&self, operation: KvOperation) -> Span {
        self.0.lent.span(named(operation))
    }

    /// The key as the backend knows it.
    fn full(&self, key: &str) -> Result<String, KvError> {
        bound("key", key.len() as u64, self.0.key_bytes)?;
        let prefix = &*self.0.store.prefix;
        let mut full = String::with_capacity(prefix.len() + key.len());
        full.push_str(prefix);
        full.push_str(key);
        Ok(full)
    }

    fn full_all(&self, keys: &[String]) -> Result<Vec<String>, KvError> {
        bound_batch(keys.len())?;
        keys.iter().map(|key| self.full(key)).collect()
    }

    /// Checks a batch to write: its entries as the backend knows them, and the lengths of their keys and values.
    fn batch(&self, entries: &[(String, Bytes)], sizes: &mut Vec<(u64, u64)>) -> Result<Vec<(String, Bytes)>, KvError> {
        self.check(KvOperation::Set)?;
        bound_batch(entries.len())?;
        let mut full = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            self.value(value)?;
            sizes.push((key.len() as u64, value.len() as u64));
            full.push((self.full(key)?, value.clone()));
        }
        Ok(full)
    }

    fn value(&self, value: &[u8]) -> Result<(), KvError> {
        bound("value", value.len() as u64, self.0.value_bytes)
    }

    /// Counts a write in before it happens: the whole entry if there is room, else what it adds to the one it replaces.
    async fn reserve(&self, key: &str, full: &str, value_bytes: u64) -> Result<u64, KvError> {
        let entry = key.len() as u64 + value_bytes;
        if self.0.store.account.reserve(entry, self.0.total_bytes) {
            return Ok(entry);
        }
        let old =
            self.0.store.turn().await.backend.get(full).await?.map_or(0, |old| key.len() as u64 + old.len() as u64);
        let growth = entry.saturating_sub(old);
        // What does not grow always fits: a full store can still be made smaller.
        if growth == 0 || self.0.store.account.reserve(growth, self.0.total_bytes) {
            return Ok(growth);
        }
        // Keys whose time is over, or that another process has removed, still count: until it is measured again.
        self.0.store.hurry.notify_one();
        Err(KvError::TooLarge { what: "total of keys and values", limit: self.0.total_bytes })
    }

    /// Corrects the account after a write that reserved `reserved` bytes.
    fn settle(&self, reserved: u64, key: &str, written: u64, replaced: Option<u64>) {
        let key_bytes = key.len() as u64;
        let out = replaced.map_or(0, |old| key_bytes + old);
        self.0.store.account.add_and_take(key_bytes + written, out.saturating_add(reserved));
    }
}

/// The names of an operation.
fn named(operation: KvOperation) -> Operation {
    let span = match operation {
        KvOperation::Get => "kv get",
        KvOperation::Set => "kv set",
        KvOperation::Delete => "kv delete",
        KvOperation::Increment => "kv increment",
        KvOperation::List => "kv list",
        KvOperation::Watch => "kv watch",
    };
    Operation { name: operation.as_str(), span }
}

fn bound(what: &'static str, bytes: u64, limit: u64) -> Result<(), KvError> {
    if bytes > limit { Err(KvError::TooLarge { what, limit }) } else { Ok(()) }
}

fn bound_batch(keys: usize) -> Result<(), KvError> {
    if keys > BATCH_KEYS { Err(KvError::TooMany { keys, limit: BATCH_KEYS }) } else { Ok(()) }
}

#[async_trait]
impl KeyValue for Granted {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError> {
        self.told(KvOperation::Get, async {
            let value = self.0.store.turn().await.backend.get(&self.full(key)?).await?;
            // Somebody else may have written more than this workload may hold.
            value.as_deref().map_or(Ok(()), |value| self.value(value))?;
            Ok(value)
        })
        .await
    }

    async fn entry(&self, key: &str) -> Result<Option<Entry>, KvError> {
        self.told(KvOperation::Get, async {
            let entry = self.0.store.turn().await.backend.entry(&self.full(key)?).await?;
            entry.as_ref().map_or(Ok(()), |entry| self.value(&entry.value))?;
            Ok(entry)
        })
        .await
    }

    async fn set_expiring(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<Option<u64>, KvError> {
        self.told(KvOperation::Set, async {
            let full = self.full(key)?;
            self.value(&value)?;
            let written = value.len() as u64;
            let reserved = self.reserve(key, &full, written).await?;
            match self.0.store.turn().await.changing(|| [full.clone()]).set_expiring(&full, value, ttl).await {
                Ok(replaced) => {
                    self.settle(reserved, key, written, replaced);
                    Ok(replaced)
                }
                Err(error) => {
                    self.0.store.account.release(reserved);
                    Err(error)
                }
            }
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<Option<u64>, KvError> {
        self.told(KvOperation::Delete, async {
            let full = self.full(key)?;
            let removed = self.0.store.turn().await.changing(|| [full.clone()]).delete(&full).await?;
            if let Some(bytes) = removed {
                self.0.store.account.release(key.len() as u64 + bytes);
            }
            Ok(removed)
        })
        .await
    }

    async fn exists(&self, key: &str) -> Result<bool, KvError> {
        self.told(KvOperation::Get, async { self.0.store.turn().await.backend.exists(&self.full(key)?).await }).await
    }

    async fn list_keys(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<Page, KvError> {
        self.told(KvOperation::List, async {
            let prefix = self.full(prefix)?;
            // No provider's cursor is longer than a key and a few words.
            bound("cursor", cursor.map_or(0, str::len) as u64, self.0.key_bytes.saturating_add(256))?;
            let page = self.0.store.turn().await.backend.list_keys(&prefix, cursor, limit.clamp(1, PAGE_KEYS)).await?;
            let own = |key: String| key.strip_prefix(&*self.0.store.prefix).map(str::to_owned);
            Ok(Page { keys: page.keys.into_iter().filter_map(own).collect(), cursor: page.cursor })
        })
        .await
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<Increment, KvError> {
        self.told(KvOperation::Increment, async {
            let full = self.full(key)?;
            let reserved = self.reserve(key, &full, NUMBER_BYTES).await?;
            match self.0.store.turn().await.changing(|| [full.clone()]).increment(&full, delta).await {
                Ok(done) => {
                    self.settle(reserved, key, done.value.to_string().len() as u64, done.replaced);
                    Ok(done)
                }
                Err(error) => {
                    self.0.store.account.release(reserved);
                    Err(error)
                }
            }
        })
        .await
    }

    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Bytes) -> Result<Swap, KvError> {
        self.told(KvOperation::Increment, async {
            let full = self.full(key)?;
            self.value(&new)?;
            let written = new.len() as u64;
            let reserved = self.reserve(key, &full, written).await?;
            match self.0.store.turn().await.changing(|| [full.clone()]).swap(&full, expected, new).await {
                Ok(Swap::Done) => {
                    self.settle(reserved, key, written, expected.map(|old| old.len() as u64));
                    Ok(Swap::Done)
                }
                Ok(Swap::Differs(current)) => {
                    self.0.store.account.release(reserved);
                    current.as_deref().map_or(Ok(()), |value| self.value(value))?;
                    Ok(Swap::Differs(current))
                }
                Err(error) => {
                    self.0.store.account.release(reserved);
                    Err(error)
                }
            }
        })
        .await
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, KvError> {
        self.told(KvOperation::Get, async {
            let full = self.full_all(keys)?;
            let limit = BATCH_BYTES.max(self.0.value_bytes);
            let mut values = Vec::with_capacity(keys.len());
            let mut bytes = 0_u64;
            for chunk in full.chunks(CHUNK_KEYS) {
                for value in self.0.store.turn().await.backend.get_many(chunk).await? {
                    let length = value.as_ref().map_or(0, Bytes::len) as u64;
                    bound("value", length, self.0.value_bytes)?;
                    bytes = bytes.saturating_add(length);
                    values.push(value);
                }
                bound("batch", bytes, limit)?;
            }
            Ok(values)
        })
        .await
    }

    /// Refused as a whole if any key or value is over its limit.
    async fn set_many(&self, entries: Vec<(String, Bytes)>) -> Vec<Result<Option<u64>, KvError>> {
        let _span = self.span(KvOperation::Set);
        let mut sizes = Vec::with_capacity(entries.len());
        let full = match self.batch(&entries, &mut sizes) {
            Ok(full) => full,
            Err(error) => return vec![Err(error); entries.len()],
        };
        let reserved = sizes.iter().fold(0_u64, |sum, (key, value)| sum.saturating_add(key + value));
        if !self.0.store.account.reserve(reserved, self.0.total_bytes) {
            // Near the limit each entry is weighed against the one it replaces.
            let mut outcomes = Outcomes::with_capacity(entries.len());
            for (key, value) in entries {
                outcomes.push(self.set(&key, value)).await;
            }
            return outcomes.done;
        }
        let mut turn = self.0.store.turn().await;
        let backend = turn.changing(|| full.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>());
        let outcomes = backend.set_many(full).await;
        drop(turn);
        for ((key, value), outcome) in sizes.iter().zip(&outcomes) {
            let out = match outcome {
                Ok(replaced) => replaced.map_or(0, |old| key + old),
                Err(_) => key + value,
            };
            self.0.store.account.release(out);
        }
        outcomes
    }

    async fn delete_many(&self, keys: &[String]) -> Vec<Result<Option<u64>, KvError>> {
        let _span = self.span(KvOperation::Delete);
        let full = match self.check(KvOperation::Delete).and_then(|()| self.full_all(keys)) {
            Ok(full) => full,
            Err(error) => return vec![Err(error); keys.len()],
        };
        let outcomes = self.0.store.turn().await.changing(|| full.clone()).delete_many(&full).await;
        for (key, outcome) in keys.iter().zip(&outcomes) {
            if let Ok(Some(old)) = outcome {
                self.0.store.account.release(key.len() as u64 + old);
            }
        }
        outcomes
    }

    async fn watch(&self, prefix: &str) -> Result<Watch, KvError> {
        self.told(KvOperation::Watch, async {
            let full = self.full(prefix)?;
            let exchanges = self.0.store.backend.exchanges();
            let watch = self.0.store.turn().await.backend.watch(&full).await?;
            Ok(watch.without(&self.0.store.prefix).following(&self.0.store.backend, exchanges, full))
        })
        .await
    }

    /// What this share holds under a prefix. For the host: it needs no grant.
    async fn usage(&self, prefix: &str) -> Result<Usage, KvError> {
        let usage = self.0.store.turn().await.backend.usage(&format!("{}{prefix}", self.0.store.prefix)).await?;
        let ours = usage.keys.saturating_mul(self.0.store.prefix.len() as u64);
        Ok(Usage { bytes: usage.bytes.saturating_sub(ours), ..usage })
    }
}
