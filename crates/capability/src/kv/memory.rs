//! Key-value provider kept in this process (`memory:`); what is in it ends with the process.
//!
//! Each opening is a store of its own. Its size is bounded, whatever the limits of the workloads that write to it:
//! the one setting, `max`, is in bytes and counts [`ENTRY_BYTES`] for every key on top of keys and values, because an
//! empty value under a short key takes memory too.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use samara_model::{format_bytes, parse_bytes};

use super::{Increment, KeyValue, KvError, Opener, Page, Provider, Swap, Usage};

/// What one entry takes beside its key and value: map node, string and buffer headers, allocator rounding.
const ENTRY_BYTES: u64 = 128;

/// The default of `max`.
const MAX_BYTES: u64 = 1 << 30;

#[derive(Debug)]
pub(super) struct Memory;

#[async_trait]
impl Provider for Memory {
    fn scheme(&self) -> &'static str {
        "memory"
    }

    async fn open(&self, url: &str, settings: &toml::Table, _: &dyn Opener) -> Result<Arc<dyn KeyValue>, KvError> {
        if url != "memory:" && url != "memory" {
            return Err(KvError::Configuration(format!(
                "`{url}` names nothing more than `memory:` can open; write `memory:`"
            )));
        }
        let mut max_bytes = MAX_BYTES;
        for (name, value) in settings {
            max_bytes = match (name.as_str(), value) {
                ("max", toml::Value::String(text)) => {
                    parse_bytes(text).map_err(|error| KvError::Configuration(format!("`max`: {error}")))?
                }
                ("max", other) => {
                    return Err(KvError::Configuration(format!(
                        "`max` is `{other}`; write a size such as \"{}\"",
                        format_bytes(MAX_BYTES)
                    )));
                }
                _ => return Err(KvError::Configuration(format!("`memory:` has no setting `{name}`; it has `max`"))),
            };
        }
        Ok(Arc::new(Shared { max_bytes, map: RwLock::default() }))
    }
}

#[derive(Debug)]
struct Shared {
    max_bytes: u64,
    map: RwLock<Map>,
}

#[derive(Default)]
struct Map {
    entries: BTreeMap<String, Bytes>,
    /// Sum of [`footprint`] over all entries.
    bytes: u64,
}

impl std::fmt::Debug for Map {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Map").field("entries", &self.entries.len()).field("bytes", &self.bytes).finish()
    }
}

fn footprint(key: &str, value: &[u8]) -> u64 {
    ENTRY_BYTES + key.len() as u64 + value.len() as u64
}

impl Map {
    /// Writes a copy of `value`: what the guest's buffer keeps alive is none of ours.
    fn put(&mut self, key: &str, value: &[u8], max_bytes: u64) -> Result<Option<u64>, KvError> {
        let before = self.entries.get(key).map_or(0, |old| footprint(key, old));
        let after = self.bytes - before + footprint(key, value);
        if after > max_bytes {
            return Err(KvError::TooLarge { what: "store", limit: max_bytes });
        }
        let value = Bytes::copy_from_slice(value);
        let old = match self.entries.get_mut(key) {
            Some(slot) => Some(std::mem::replace(slot, value)),
            None => self.entries.insert(key.to_owned(), value),
        };
        self.bytes = after;
        Ok(old.map(|old| old.len() as u64))
    }
}

#[async_trait]
impl KeyValue for Shared {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError> {
        Ok(self.map.read().entries.get(key).cloned())
    }

    async fn set(&self, key: &str, value: Bytes) -> Result<Option<u64>, KvError> {
        self.map.write().put(key, &value, self.max_bytes)
    }

    async fn delete(&self, key: &str) -> Result<Option<u64>, KvError> {
        let mut map = self.map.write();
        let Some(old) = map.entries.remove(key) else { return Ok(None) };
        map.bytes -= footprint(key, &old);
        Ok(Some(old.len() as u64))
    }

    async fn exists(&self, key: &str) -> Result<bool, KvError> {
        Ok(self.map.read().entries.contains_key(key))
    }

    /// The cursor is the last key of the page before, without the prefix: it cannot lead out of it.
    async fn list_keys(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<Page, KvError> {
        let start = cursor.map(|cursor| format!("{prefix}{cursor}"));
        let start = start.as_deref().map_or(Bound::Included(prefix), Bound::Excluded);
        let map = self.map.read();
        let mut under = map
            .entries
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(prefix));
        let keys: Vec<String> = under.by_ref().take(limit.max(1)).cloned().collect();
        let more = under.next().is_some();
        let last = keys.last().filter(|_| more).and_then(|key| key.strip_prefix(prefix));
        Ok(Page { cursor: last.map(str::to_owned), keys })
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<Increment, KvError> {
        let mut map = self.map.write();
        let before = match map.entries.get(key) {
            None => 0,
            Some(text) => {
                std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok()).ok_or(KvError::NotANumber)?
            }
        };
        let value = before.checked_add(delta).ok_or(KvError::Overflow)?;
        let replaced = map.put(key, value.to_string().as_bytes(), self.max_bytes)?;
        Ok(Increment { value, replaced })
    }

    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Bytes) -> Result<Swap, KvError> {
        let mut map = self.map.write();
        let current = map.entries.get(key);
        if current.map(Bytes::as_ref) != expected {
            return Ok(Swap::Differs(current.cloned()));
        }
        map.put(key, &new, self.max_bytes)?;
        Ok(Swap::Done)
    }

    async fn set_many(&self, entries: Vec<(String, Bytes)>) -> Vec<Result<Option<u64>, KvError>> {
        let mut map = self.map.write();
        entries.iter().map(|(key, value)| map.put(key, value, self.max_bytes)).collect()
    }

    async fn usage(&self, prefix: &str) -> Result<Usage, KvError> {
        let map = self.map.read();
        let under = map.entries.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let mut usage = Usage::default();
        for (key, value) in under.take_while(|(key, _)| key.starts_with(prefix)) {
            usage.keys += 1;
            usage.bytes += key.len() as u64 + value.len() as u64;
        }
        Ok(usage)
    }
}
