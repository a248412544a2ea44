//! Key-value provider kept in this process (`memory:`); what is in it ends with the process.
//!
//! Each opening is a store of its own. Its size is bounded, whatever the limits of the workloads that write to it:
//! the one setting, `max`, is in bytes and counts [`ENTRY_BYTES`] for every key on top of keys and values, because an
//! empty value under a short key takes memory too.
//!
//! Keys whose time is over are not seen from that moment on; a sweep once a second, which begins with the first such key,
//! takes them out and tells whoever watches. A write that finds no room sweeps first.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Bound,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use tokio::time::Instant;

use super::{
    Entry, Increment, KeyValue, KvError, Opener, Page, Provider, Swap, Usage, Watch, milliseconds, number,
    settings::Settings, watch::Hub,
};

/// What one entry takes beside its key and value: map node, string and buffer headers, allocator rounding.
const ENTRY_BYTES: u64 = 128;

/// The default of `max`.
const MAX_BYTES: u64 = 1 << 30;

/// How often keys whose time is over are taken out.
const SWEEP: Duration = Duration::from_secs(1);

/// Keys that one sweep takes out before others may write again.
const SWEEP_KEYS: usize = 1000;

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
                "`{}` names nothing more than `memory:` can open; write `memory:`",
                crate::without_credentials(url)
            )));
        }
        let max_bytes = Settings::new("memory", settings, &["max"])?.bytes("max", MAX_BYTES)?;
        Ok(Arc::new_cyclic(|this| Shared {
            max_bytes,
            map: RwLock::default(),
            hub: Hub::default(),
            sweeping: AtomicBool::new(false),
            this: this.clone(),
        }))
    }
}

#[derive(Debug)]
struct Shared {
    max_bytes: u64,
    map: RwLock<Map>,
    hub: Hub,
    /// Whether the sweep has begun.
    sweeping: AtomicBool,
    this: Weak<Self>,
}

#[derive(Default)]
struct Map {
    entries: BTreeMap<Arc<str>, Kept>,
    /// The keys that end, by when.
    ends: BTreeSet<(Instant, Arc<str>)>,
    /// Sum of [`footprint`] over all entries.
    bytes: u64,
}

#[derive(Clone)]
struct Kept {
    value: Bytes,
    ends: Option<Instant>,
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("entries", &self.entries.len()).field("bytes", &self.bytes).finish()
    }
}

fn footprint(key: &str, kept: &Kept) -> u64 {
    // A key that ends is noted once more, with when.
    let noted = if kept.ends.is_some() { ENTRY_BYTES } else { 0 };
    ENTRY_BYTES + noted + key.len() as u64 + kept.value.len() as u64
}

impl Kept {
    fn lives(&self) -> bool {
        self.ends.is_none_or(|ends| ends > Instant::now())
    }
}

impl Map {
    /// What is under a key and not over.
    fn live(&self, key: &str) -> Option<&Kept> {
        self.entries.get(key).filter(|kept| kept.lives())
    }

    /// Writes a copy of `value`: what the guest's buffer keeps alive is none of ours.
    fn put(&mut self, key: &str, value: &[u8], ends: Option<Instant>, store: &Shared) -> Result<Option<u64>, KvError> {
        let new = Kept { value: Bytes::copy_from_slice(value), ends };
        let after = |map: &Self| {
            let before = map.entries.get(key).map_or(0, |old| footprint(key, old));
            map.bytes - before + footprint(key, &new)
        };
        if after(self) > store.max_bytes {
            while self.sweep(&store.hub) {}
            if after(self) > store.max_bytes {
                return Err(KvError::TooLarge { what: "store", limit: store.max_bytes });
            }
        }
        self.bytes = after(self);
        let (name, old) = match self.entries.get_key_value(key) {
            Some((name, old)) => (name.clone(), Some(old.clone())),
            None => (Arc::from(key), None),
        };
        if let Some(ends) = old.as_ref().and_then(|old| old.ends) {
            self.ends.remove(&(ends, name.clone()));
        }
        if let Some(ends) = ends {
            self.ends.insert((ends, name.clone()));
        }
        self.entries.insert(name, new);
        store.hub.set(key);
        Ok(old.filter(Kept::lives).map(|old| old.value.len() as u64))
    }

    fn remove(&mut self, key: &str) -> Option<Kept> {
        let (name, old) = self.entries.remove_entry(key)?;
        self.bytes -= footprint(key, &old);
        if let Some(ends) = old.ends {
            self.ends.remove(&(ends, name));
        }
        Some(old)
    }

    /// Takes out some keys whose time is over; whether there may be more.
    fn sweep(&mut self, hub: &Hub) -> bool {
        let now = Instant::now();
        let over = |(ends, _): &&(Instant, Arc<str>)| *ends <= now;
        let over: Vec<_> = self.ends.iter().take_while(over).take(SWEEP_KEYS).map(|(_, key)| key.clone()).collect();
        for key in &over {
            self.remove(key);
            hub.removed(key);
        }
        over.len() == SWEEP_KEYS
    }

    fn under<'a>(&'a self, prefix: &'a str, after: Bound<&str>) -> impl Iterator<Item = (&'a Arc<str>, &'a Kept)> {
        let range = self.entries.range::<str, _>((after, Bound::Unbounded));
        range.take_while(move |(key, _)| key.starts_with(prefix)).filter(|(_, kept)| kept.lives())
    }
}

impl Shared {
    fn ends(&self, ttl: Option<Duration>) -> Option<Instant> {
        let ends = Instant::now() + Duration::from_millis(milliseconds(ttl?));
        if !self.sweeping.swap(true, Ordering::Relaxed) {
            let store = self.this.clone();
            tokio::spawn(async move {
                let mut tick = tokio::time::interval(SWEEP);
                loop {
                    tick.tick().await;
                    let Some(store) = store.upgrade() else { return };
                    while store.map.write().sweep(&store.hub) {
                        tokio::task::yield_now().await;
                    }
                }
            });
        }
        Some(ends)
    }
}

#[async_trait]
impl KeyValue for Shared {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError> {
        Ok(self.map.read().live(key).map(|kept| kept.value.clone()))
    }

    async fn entry(&self, key: &str) -> Result<Option<Entry>, KvError> {
        let ttl = |ends: Instant| ends.saturating_duration_since(Instant::now());
        let entry = |kept: &Kept| Entry { value: kept.value.clone(), ttl: kept.ends.map(ttl) };
        Ok(self.map.read().live(key).map(entry))
    }

    async fn set_expiring(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<Option<u64>, KvError> {
        let ends = self.ends(ttl);
        self.map.write().put(key, &value, ends, self)
    }

    async fn delete(&self, key: &str) -> Result<Option<u64>, KvError> {
        let mut map = self.map.write();
        let Some(old) = map.remove(key) else { return Ok(None) };
        self.hub.removed(key);
        Ok(old.lives().then_some(old.value.len() as u64))
    }

    async fn exists(&self, key: &str) -> Result<bool, KvError> {
        Ok(self.map.read().live(key).is_some())
    }

    /// The cursor is the last key of the page before, without the prefix: it cannot lead out of it.
    async fn list_keys(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<Page, KvError> {
        let start = cursor.map(|cursor| format!("{prefix}{cursor}"));
        let start = start.as_deref().map_or(Bound::Included(prefix), Bound::Excluded);
        let map = self.map.read();
        let mut under = map.under(prefix, start).map(|(key, _)| key);
        let keys: Vec<String> = under.by_ref().take(limit.max(1)).map(|key| key.to_string()).collect();
        let more = under.next().is_some();
        let last = keys.last().filter(|_| more).and_then(|key| key.strip_prefix(prefix));
        Ok(Page { cursor: last.map(str::to_owned), keys })
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<Increment, KvError> {
        let mut map = self.map.write();
        let before = map.live(key);
        let value = number::add(before.map(|kept| &*kept.value), delta)?;
        let ends = before.and_then(|kept| kept.ends);
        let replaced = map.put(key, value.to_string().as_bytes(), ends, self)?;
        Ok(Increment { value, replaced })
    }

    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Bytes) -> Result<Swap, KvError> {
        let mut map = self.map.write();
        let current = map.live(key);
        if current.map(|kept| &*kept.value) != expected {
            return Ok(Swap::Differs(current.map(|kept| kept.value.clone())));
        }
        let ends = current.and_then(|kept| kept.ends);
        map.put(key, &new, ends, self)?;
        Ok(Swap::Done)
    }

    async fn set_many(&self, entries: Vec<(String, Bytes)>) -> Vec<Result<Option<u64>, KvError>> {
        let mut map = self.map.write();
        entries.iter().map(|(key, value)| map.put(key, value, None, self)).collect()
    }

    async fn watch(&self, prefix: &str) -> Result<Watch, KvError> {
        self.hub.watch(prefix)
    }

    async fn usage(&self, prefix: &str) -> Result<Usage, KvError> {
        let map = self.map.read();
        let mut usage = Usage::default();
        for (key, kept) in map.under(prefix, Bound::Included(prefix)) {
            usage.keys += 1;
            usage.bytes += key.len() as u64 + kept.value.len() as u64;
        }
        Ok(usage)
    }
}
