//! Blob provider kept in this process (`memory:`); what is in it ends with the process.
//!
//! Each opening is a store of its own. Its size is bounded, whatever the limits of the workloads that write to it: the one
//! setting, `max`, is in bytes and counts uploads that are not finished, and [`ENTRY_BYTES`] for every container and object
//! on top of names, attributes and content.

use std::{collections::BTreeMap, fmt, ops::Bound, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use parking_lot::RwLock;

use super::{
    Attributes, Blob, BlobError, CHUNK_BYTES, Container, Info, Listed, Object, Page, Place, Provider, Upload, Usage,
    Written, object::within, settings::Settings,
};
use crate::account::Account;

/// What one entry takes beside what it holds: map node, string and buffer headers, allocator rounding.
const ENTRY_BYTES: u64 = 512;

/// The default of `max`.
const MAX_BYTES: u64 = 1 << 30;

#[derive(Debug)]
pub(super) struct Memory;

#[async_trait]
impl Provider for Memory {
    fn scheme(&self) -> &'static str {
        "memory"
    }

    async fn open(&self, url: &str, settings: &toml::Table) -> Result<Arc<dyn Blob>, BlobError> {
        if url != "memory:" && url != "memory" {
            return Err(BlobError::Configuration(format!(
                "`{url}` names nothing more than `memory:` can open; write `memory:`"
            )));
        }
        let settings = Settings::new("memory:", settings, &["max"])?;
        let max_bytes = settings.bytes("max", MAX_BYTES)?;
        let budget = Arc::new(Budget { max_bytes, account: Account::default() });
        Ok(Arc::new(Shared { budget, containers: Arc::default() }))
    }
}

/// How much there may be, and is.
#[derive(Debug)]
struct Budget {
    max_bytes: u64,
    account: Account,
}

type Containers = RwLock<BTreeMap<String, Stored>>;

#[derive(Clone)]
struct Shared {
    budget: Arc<Budget>,
    containers: Arc<Containers>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let containers = self.containers.read().len();
        f.debug_struct("Memory").field("containers", &containers).field("budget", &self.budget).finish()
    }
}

struct Stored {
    created: SystemTime,
    objects: BTreeMap<String, Named>,
    _room: Room,
}

/// An object under its name, whose bytes go with the name.
struct Named {
    content: Arc<Content>,
    name: Room,
}

/// One version of an object. Readers keep it alive, and its bytes counted, for as long as they read.
struct Content {
    info: Info,
    /// All of [`CHUNK_BYTES`] but the last.
    chunks: Vec<Bytes>,
    _room: Room,
}

/// Bytes of the store's limit that something takes, until it is dropped.
struct Room {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Room {
    fn take(budget: &Arc<Budget>, bytes: u64) -> Result<Self, BlobError> {
        let mut room = Self { budget: budget.clone(), bytes: 0 };
        room.grow(bytes)?;
        Ok(room)
    }

    /// Takes so much instead; what more that is must be there.
    fn resize(&mut self, bytes: u64) -> Result<(), BlobError> {
        if let Some(less) = self.bytes.checked_sub(bytes) {
            self.budget.account.release(less);
            self.bytes = bytes;
            return Ok(());
        }
        self.grow(bytes - self.bytes)
    }

    fn grow(&mut self, bytes: u64) -> Result<(), BlobError> {
        if !self.budget.account.reserve(bytes, self.budget.max_bytes) {
            return Err(BlobError::TooLarge { what: "store", limit: self.budget.max_bytes });
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.budget.account.release(self.bytes);
    }
}

/// What attributes take, with the fixed part of an entry.
fn footprint(attributes: &Attributes) -> u64 {
    let length = |text: &Option<String>| text.as_ref().map_or(0, |text| text.len() as u64);
    let user: u64 = attributes.user.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum();
    ENTRY_BYTES + length(&attributes.content_type) + length(&attributes.content_encoding) + user
}

impl Stored {
    fn usage(&self) -> Usage {
        let mut usage = Usage { containers: 0, ..Usage::default() };
        for named in self.objects.values() {
            usage.count(named.content.info.bytes);
        }
        usage
    }

    fn put(&mut self, object: String, named: Named) -> Written {
        let bytes = named.content.info.bytes;
        let replaced = self.objects.insert(object, named).map(|old| old.content.info.bytes);
        Written { bytes, replaced }
    }
}

impl Shared {
    /// The version of an object that is there now.
    fn content(&self, container: &str, object: &str) -> Result<Option<Arc<Content>>, BlobError> {
        let containers = self.containers.read();
        let stored = containers.get(container).ok_or_else(|| BlobError::no_such_container(container))?;
        Ok(stored.objects.get(object).map(|named| named.content.clone()))
    }
}

/// Up to `limit` of a map's entries under a prefix, after a cursor. The cursor is the last name of the page before, without
/// the prefix: it cannot lead out of it.
fn page<V, T>(
    map: &BTreeMap<String, V>,
    prefix: &str,
    cursor: Option<&str>,
    limit: usize,
    entry: impl Fn(&String, &V) -> T,
) -> Page<T> {
    let start = cursor.map(|cursor| format!("{prefix}{cursor}"));
    let start = start.as_deref().map_or(Bound::Included(prefix), Bound::Excluded);
    let mut under = map.range::<str, _>((start, Bound::Unbounded)).take_while(|(name, _)| name.starts_with(prefix));
    let some: Vec<_> = under.by_ref().take(limit.max(1)).collect();
    let more = under.next().is_some();
    let last = some.last().filter(|_| more).and_then(|(name, _)| name.strip_prefix(prefix));
    Page {
        cursor: last.map(str::to_owned),
        entries: some.into_iter().map(|(name, value)| entry(name, value)).collect(),
    }
}

#[async_trait]
impl Blob for Shared {
    async fn create_container(&self, container: &str) -> Result<bool, BlobError> {
        let mut containers = self.containers.write();
        if containers.contains_key(container) {
            return Ok(false);
        }
        let room = Room::take(&self.budget, footprint(&Attributes::default()) + container.len() as u64)?;
        let stored = Stored { created: SystemTime::now(), objects: BTreeMap::new(), _room: room };
        containers.insert(container.to_owned(), stored);
        Ok(true)
    }

    async fn container(&self, container: &str) -> Result<Option<Container>, BlobError> {
        Ok(self.containers.read().get(container).map(|stored| Container { created: stored.created }))
    }

    async fn list_containers(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<String>, BlobError> {
        Ok(page(&self.containers.read(), prefix, cursor, limit, |name, _| name.clone()))
    }

    async fn delete_container(&self, container: &str) -> Result<Option<Usage>, BlobError> {
        let removed = self.containers.write().remove(container);
        let Some(stored) = removed else { return Ok(None) };
        Ok(Some(Usage { containers: 1, ..stored.usage() }))
    }

    async fn clear(&self, container: &str) -> Result<Usage, BlobError> {
        let mut containers = self.containers.write();
        let stored = containers.get_mut(container).ok_or_else(|| BlobError::no_such_container(container))?;
        let usage = stored.usage();
        stored.objects.clear();
        Ok(usage)
    }

    async fn info(&self, container: &str, object: &str) -> Result<Option<Info>, BlobError> {
        Ok(self.content(container, object)?.map(|content| content.info.clone()))
    }

    async fn get(&self, container: &str, object: &str, range: std::ops::Range<u64>) -> Result<Object, BlobError> {
        let content = self.content(container, object)?.ok_or_else(|| BlobError::no_such_object(object))?;
        let info = content.info.clone();
        let range = within(&range, info.bytes);
        let parts = stream::unfold((content, range.clone()), async |(content, rest)| {
            let chunk = content.piece(&rest)?;
            let rest = rest.start + chunk.len() as u64..rest.end;
            Some((Ok(chunk), (content, rest)))
        });
        Ok(Object { info, range, body: parts.boxed() })
    }

    async fn put(&self, container: &str, object: &str, attributes: Attributes) -> Result<Box<dyn Upload>, BlobError> {
        attributes.check()?;
        if !self.containers.read().contains_key(container) {
            return Err(BlobError::no_such_container(container));
        }
        Ok(Box::new(Writing {
            room: Room::take(&self.budget, footprint(&attributes))?,
            name: Room::take(&self.budget, object.len() as u64)?,
            containers: self.containers.clone(),
            container: container.to_owned(),
            object: object.to_owned(),
            attributes,
            bytes: 0,
            chunks: Vec::new(),
            last: BytesMut::new(),
        }))
    }

    async fn delete(&self, container: &str, object: &str) -> Result<Option<u64>, BlobError> {
        let mut containers = self.containers.write();
        let stored = containers.get_mut(container).ok_or_else(|| BlobError::no_such_container(container))?;
        Ok(stored.objects.remove(object).map(|named| named.content.info.bytes))
    }

    async fn list(
        &self,
        container: &str,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Listed>, BlobError> {
        let containers = self.containers.read();
        let stored = containers.get(container).ok_or_else(|| BlobError::no_such_container(container))?;
        Ok(page(&stored.objects, prefix, cursor, limit, |name, named| Listed {
            name: name.clone(),
            bytes: named.content.info.bytes,
            written: named.content.info.written,
        }))
    }

    async fn copy(&self, from: Place<'_>, to: Place<'_>) -> Result<Written, BlobError> {
        let mut containers = self.containers.write();
        let source = containers.get(from.container).ok_or_else(|| BlobError::no_such_container(from.container))?;
        let source = source.objects.get(from.object).ok_or_else(|| BlobError::no_such_object(from.object))?;
        let source = source.content.clone();
        let target = containers.get_mut(to.container).ok_or_else(|| BlobError::no_such_container(to.container))?;
        if from == to {
            return Ok(Written { bytes: source.info.bytes, replaced: Some(source.info.bytes) });
        }
        // The copy counts in full although it shares its bytes: the original may go first.
        let room = Room::take(&self.budget, footprint(&source.info.attributes) + source.info.bytes)?;
        let name = Room::take(&self.budget, to.object.len() as u64)?;
        let info = Info { written: SystemTime::now(), ..source.info.clone() };
        let content = Content { info, chunks: source.chunks.clone(), _room: room };
        Ok(target.put(to.object.to_owned(), Named { content: Arc::new(content), name }))
    }

    /// In one step, so that nothing is counted twice or lost by whoever writes or removes either name meanwhile.
    async fn rename(&self, from: Place<'_>, to: Place<'_>) -> Result<Written, BlobError> {
        let mut containers = self.containers.write();
        if !containers.contains_key(to.container) {
            return Err(BlobError::no_such_container(to.container));
        }
        let source = containers.get_mut(from.container).ok_or_else(|| BlobError::no_such_container(from.container))?;
        let there = source.objects.get_mut(from.object).ok_or_else(|| BlobError::no_such_object(from.object))?;
        if from == to {
            let bytes = there.content.info.bytes;
            return Ok(Written { bytes, replaced: Some(bytes) });
        }
        there.name.resize(to.object.len() as u64)?;
        let named = source.objects.remove(from.object).ok_or_else(|| BlobError::no_such_object(from.object))?;
        let target = containers.get_mut(to.container).ok_or_else(|| BlobError::no_such_container(to.container))?;
        Ok(target.put(to.object.to_owned(), named))
    }

    fn renames_in_one(&self, _: Place<'_>, _: Place<'_>) -> bool {
        true
    }

    async fn usage(&self, prefix: &str) -> Result<Usage, BlobError> {
        let containers = self.containers.read();
        let under = containers.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let mut usage = Usage::default();
        for (_, stored) in under.take_while(|(name, _)| name.starts_with(prefix)) {
            let more = stored.usage();
            usage.containers += 1;
            usage.objects += more.objects;
            usage.bytes += more.bytes;
        }
        Ok(usage)
    }
}

impl Content {
    /// The first bytes of a part of it, up to the end of their chunk; `None` at the end.
    fn piece(&self, rest: &std::ops::Range<u64>) -> Option<Bytes> {
        if rest.is_empty() {
            return None;
        }
        let chunk_bytes = CHUNK_BYTES as u64;
        let chunk = self.chunks.get(usize::try_from(rest.start / chunk_bytes).ok()?)?;
        let start = usize::try_from(rest.start % chunk_bytes).ok()?;
        let length = usize::try_from(rest.end - rest.start).unwrap_or(usize::MAX);
        let end = start.saturating_add(length).min(chunk.len());
        (start < end).then(|| chunk.slice(start..end))
    }
}

/// An upload: its bytes are copied, because what a guest's buffer keeps alive is none of ours.
struct Writing {
    room: Room,
    name: Room,
    containers: Arc<Containers>,
    container: String,
    object: String,
    attributes: Attributes,
    bytes: u64,
    chunks: Vec<Bytes>,
    last: BytesMut,
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").field("object", &self.object).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[async_trait]
impl Upload for Writing {
    async fn write(&mut self, mut chunk: Bytes) -> Result<(), BlobError> {
        self.room.grow(chunk.len() as u64)?;
        self.bytes += chunk.len() as u64;
        while !chunk.is_empty() {
            let some = chunk.split_to(chunk.len().min(CHUNK_BYTES - self.last.len()));
            self.last.extend_from_slice(&some);
            if self.last.len() == CHUNK_BYTES {
                self.chunks.push(std::mem::take(&mut self.last).freeze());
            }
        }
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Written, BlobError> {
        let Self { room, name, containers, container, object, attributes, bytes, mut chunks, last } = *self;
        if !last.is_empty() {
            // Without the spare room a growing buffer has.
            chunks.push(Bytes::copy_from_slice(&last));
        }
        let info = Info { bytes, written: SystemTime::now(), attributes };
        let content = Arc::new(Content { info, chunks, _room: room });
        let mut containers = containers.write();
        let stored = containers.get_mut(&container).ok_or_else(|| BlobError::no_such_container(&container))?;
        Ok(stored.put(object, Named { content, name }))
    }
}
