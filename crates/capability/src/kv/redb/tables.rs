//! What is in the file: the entries, which of them end when, and how much each namespace holds. All three change in one
//! transaction.
//!
//! A key whose time is over is taken for absent by everything here, until a sweep takes it out.

use std::{
    collections::HashMap,
    ops::Bound,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};

use super::{
    super::{milliseconds, number},
    Entry, Increment, KvError, Page, Swap, Usage,
};

/// A time in milliseconds since 1970.
type Moment = u64;

/// The moment at which a key that stays ends.
const NEVER: Moment = 0;

/// Keys to when they end, and their values.
const ENTRIES: TableDefinition<'_, &str, (Moment, &[u8])> = TableDefinition::new("entries");

/// The keys that end, by when.
const ENDS: TableDefinition<'_, (Moment, &str), ()> = TableDefinition::new("ends");

/// Keys and bytes (of keys and values) by namespace, written with its colon; those without one are not summed.
const SUMS: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("sums");

/// The clock that ends keys; it is the machine's, because the file outlives the process.
pub(super) fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn over(ends: Moment, now: Moment) -> bool {
    ends != NEVER && ends <= now
}

/// The part of a key up to its first colon and with it.
fn namespace(key: &str) -> Option<&str> {
    key.find(':').and_then(|colon| key.get(..=colon))
}

/// All tables, to be written in one transaction.
pub(super) struct Tables<'t> {
    entries: Table<'t, &'static str, (Moment, &'static [u8])>,
    ends: Table<'t, (Moment, &'static str), ()>,
    sums: Table<'t, &'static str, (u64, u64)>,
    now: Moment,
    /// What the namespaces gain or lose: keys and bytes.
    moved: HashMap<String, (i64, i64)>,
    /// The keys that changed, and whether they are there now; kept if anybody wants to know.
    pub(super) changes: Option<Vec<(String, bool)>>,
}

impl<'t> Tables<'t> {
    /// The tables of a transaction, made if they are not there.
    pub(super) fn new(transaction: &'t WriteTransaction, changes: bool) -> Result<Self, redb::Error> {
        Ok(Self {
            entries: transaction.open_table(ENTRIES)?,
            ends: transaction.open_table(ENDS)?,
            sums: transaction.open_table(SUMS)?,
            now: now(),
            moved: HashMap::new(),
            changes: changes.then(Vec::new),
        })
    }

    /// When something with a time to live ends that is written now.
    pub(super) fn ends(&self, ttl: Option<Duration>) -> Option<Moment> {
        ttl.map(|ttl| self.now.saturating_add(milliseconds(ttl)))
    }

    /// Writes an entry; the length of what it replaced.
    pub(super) fn put(&mut self, key: &str, value: &[u8], ends: Option<Moment>) -> Result<Option<u64>, redb::Error> {
        let ends = ends.unwrap_or(NEVER);
        let old = self.entries.insert(key, (ends, value))?.map(|old| {
            let (ends, value) = old.value();
            (ends, value.len() as u64)
        });
        if ends != NEVER {
            self.ends.insert((ends, key), ())?;
        }
        if let Some((before, length)) = old {
            if before != NEVER && before != ends {
                self.ends.remove((before, key))?;
            }
            self.moves(key, -1, length);
        }
        self.moves(key, 1, value.len() as u64);
        self.changed(key, true);
        Ok(old.filter(|(ends, _)| !over(*ends, self.now)).map(|(_, length)| length))
    }

    /// Removes an entry; the length of its value.
    pub(super) fn remove(&mut self, key: &str) -> Result<Option<u64>, redb::Error> {
        let old = self.entries.remove(key)?.map(|old| {
            let (ends, value) = old.value();
            (ends, value.len() as u64)
        });
        let Some((ends, length)) = old else { return Ok(None) };
        if ends != NEVER {
            self.ends.remove((ends, key))?;
        }
        self.moves(key, -1, length);
        self.changed(key, false);
        Ok((!over(ends, self.now)).then_some(length))
    }

    pub(super) fn increment(&mut self, key: &str, delta: i64) -> Result<Result<Increment, KvError>, redb::Error> {
        let before = self.live(key)?;
        let sum = match number::add(before.as_ref().map(|(_, value)| value.as_slice()), delta) {
            Ok(sum) => sum,
            Err(error) => return Ok(Err(error)),
        };
        let ends = before.map_or(NEVER, |(ends, _)| ends);
        let replaced = self.put(key, sum.to_string().as_bytes(), Some(ends))?;
        Ok(Ok(Increment { value: sum, replaced }))
    }

    pub(super) fn swap(&mut self, key: &str, expected: Option<&[u8]>, new: &[u8]) -> Result<Swap, redb::Error> {
        let current = self.live(key)?;
        if current.as_ref().map(|(_, value)| value.as_slice()) != expected {
            return Ok(Swap::Differs(current.map(|(_, value)| value.into())));
        }
        let ends = current.map_or(NEVER, |(ends, _)| ends);
        self.put(key, new, Some(ends))?;
        Ok(Swap::Done)
    }

    /// Takes out up to `limit` keys whose time is over; how many.
    pub(super) fn sweep(&mut self, limit: usize) -> Result<usize, redb::Error> {
        let mut over = Vec::new();
        for end in self.ends.iter()?.take(limit) {
            let end = end?.0;
            let (end, key) = end.value();
            if end > self.now {
                break;
            }
            over.push(key.to_owned());
        }
        for key in &over {
            self.remove(key)?;
        }
        Ok(over.len())
    }

    /// When the next key ends.
    pub(super) fn first_end(&self) -> Result<Option<Moment>, redb::Error> {
        Ok(self.ends.first()?.map(|(end, _)| end.value().0))
    }

    /// Writes the sums: once for all that happened.
    pub(super) fn finish(&mut self) -> Result<(), redb::Error> {
        for (namespace, (keys, bytes)) in self.moved.drain() {
            let (old_keys, old_bytes) = self.sums.get(namespace.as_str())?.map_or((0, 0), |sum| sum.value());
            let (keys, bytes) = (old_keys.saturating_add_signed(keys), old_bytes.saturating_add_signed(bytes));
            if keys == 0 {
                self.sums.remove(namespace.as_str())?;
            } else {
                self.sums.insert(namespace.as_str(), (keys, bytes))?;
            }
        }
        Ok(())
    }

    fn live(&self, key: &str) -> Result<Option<(Moment, Vec<u8>)>, redb::Error> {
        let Some(entry) = self.entries.get(key)? else { return Ok(None) };
        let (ends, value) = entry.value();
        Ok((!over(ends, self.now)).then(|| (ends, value.to_vec())))
    }

    fn moves(&mut self, key: &str, keys: i64, value_bytes: u64) {
        let Some(namespace) = namespace(key) else { return };
        let bytes = keys.saturating_mul(i64::try_from(key.len() as u64 + value_bytes).unwrap_or(i64::MAX));
        let moved = match self.moved.get_mut(namespace) {
            Some(moved) => moved,
            None => self.moved.entry(namespace.to_owned()).or_default(),
        };
        moved.0 += keys;
        moved.1 += bytes;
    }

    fn changed(&mut self, key: &str, there: bool) {
        if let Some(changes) = &mut self.changes {
            changes.push((key.to_owned(), there));
        }
    }
}

/// All tables as they were at one moment.
pub(super) struct Snapshot {
    entries: Option<ReadOnlyTable<&'static str, (Moment, &'static [u8])>>,
    ends: Option<ReadOnlyTable<(Moment, &'static str), ()>>,
    sums: Option<ReadOnlyTable<&'static str, (u64, u64)>>,
    now: Moment,
}

impl Snapshot {
    /// The tables of a transaction; one that nobody has written to is empty.
    pub(super) fn new(transaction: &ReadTransaction) -> Result<Self, redb::Error> {
        fn there<T>(table: Result<T, TableError>) -> Result<Option<T>, redb::Error> {
            match table {
                Ok(table) => Ok(Some(table)),
                Err(TableError::TableDoesNotExist(_)) => Ok(None),
                Err(error) => Err(error.into()),
            }
        }
        Ok(Self {
            entries: there(transaction.open_table(ENTRIES))?,
            ends: there(transaction.open_table(ENDS))?,
            sums: there(transaction.open_table(SUMS))?,
            now: now(),
        })
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Entry>, redb::Error> {
        let Some(entries) = &self.entries else { return Ok(None) };
        let Some(entry) = entries.get(key)? else { return Ok(None) };
        let (ends, value) = entry.value();
        let ttl = (ends != NEVER).then(|| Duration::from_millis(ends.saturating_sub(self.now)));
        Ok((!over(ends, self.now)).then(|| Entry { value: Bytes::copy_from_slice(value), ttl }))
    }

    pub(super) fn exists(&self, key: &str) -> Result<bool, redb::Error> {
        let Some(entries) = &self.entries else { return Ok(false) };
        Ok(entries.get(key)?.is_some_and(|entry| !over(entry.value().0, self.now)))
    }

    /// Up to `limit` keys under a prefix after a cursor, of at most `scan` that are looked at.
    pub(super) fn page(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
        scan: usize,
    ) -> Result<Page, redb::Error> {
        let Some(entries) = &self.entries else { return Ok(Page::default()) };
        let start = cursor.map(|cursor| format!("{prefix}{cursor}"));
        let start = start.as_deref().map_or(Bound::Included(prefix), Bound::Excluded);
        let mut page = Page::default();
        let mut last = None;
        for (seen, entry) in entries.range::<&str>((start, Bound::Unbounded))?.enumerate() {
            let (key, entry) = entry?;
            let Some(rest) = key.value().strip_prefix(prefix) else { break };
            if page.keys.len() >= limit || seen >= scan {
                page.cursor = last;
                break;
            }
            if !over(entry.value().0, self.now) {
                page.keys.push(key.value().to_owned());
            }
            last = Some(rest.to_owned());
        }
        Ok(page)
    }

    pub(super) fn usage(&self, prefix: &str) -> Result<Usage, redb::Error> {
        let mut usage = Usage::default();
        if namespace(prefix) == Some(prefix) {
            let sum = self.sums.as_ref().map(|sums| sums.get(prefix)).transpose()?.flatten();
            let (keys, bytes) = sum.map_or((0, 0), |sum| sum.value());
            let (over_keys, over_bytes) = self.over(prefix)?;
            usage.keys = keys.saturating_sub(over_keys);
            usage.bytes = bytes.saturating_sub(over_bytes);
            return Ok(usage);
        }
        let Some(entries) = &self.entries else { return Ok(usage) };
        for entry in entries.range::<&str>((Bound::Included(prefix), Bound::Unbounded))? {
            let (key, entry) = entry?;
            let (ends, value) = entry.value();
            if !key.value().starts_with(prefix) {
                break;
            }
            if !over(ends, self.now) {
                usage.keys += 1;
                usage.bytes += (key.value().len() + value.len()) as u64;
            }
        }
        Ok(usage)
    }

    /// Keys and bytes under a prefix that are over and not swept yet.
    fn over(&self, prefix: &str) -> Result<(u64, u64), redb::Error> {
        let mut sum = (0, 0);
        let (Some(ends), Some(entries)) = (&self.ends, &self.entries) else { return Ok(sum) };
        for end in ends.iter()? {
            let end = end?.0;
            let (end, key) = end.value();
            if end > self.now {
                break;
            }
            if let Some(entry) = entries.get(key)?.filter(|_| key.starts_with(prefix)) {
                sum.0 += 1;
                sum.1 += (key.len() + entry.value().1.len()) as u64;
            }
        }
        Ok(sum)
    }
}
