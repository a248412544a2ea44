//! Key-value provider in one file (`redb:./data/carts.redb`): what was answered has reached the disk.
//!
//! Reading never waits for writing: each read has its snapshot. Writes of all callers go to one thread ([`writer`]), which
//! commits those that have come meanwhile together, so that they share what it costs to reach the disk. [`tables`] is what
//! is in the file.
//!
//! The library blocks, so its reads run on blocking threads: [`READERS`] at once of single keys ([`reader`]), and as many of
//! everything else. One process has the file; the folder it is
//! in is made if it is not there. Settings: `cache` (memory for pages, by default [`CACHE_BYTES`]) and `timeout`.

use std::{
    fmt, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use redb::{Database, DatabaseError, backends::FileBackend};
use tokio::{sync::Semaphore, task::spawn_blocking, time::Instant};

use super::{
    Entry, Increment, KeyValue, KvError, Opener, Page, Provider, Swap, Usage, Watch,
    settings::{Settings, TIMEOUT},
};

mod reader;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

use reader::Reader;
use tables::{Snapshot, Tables};
use writer::Writer;

/// Reads of one store that run at once; others wait.
const READERS: usize = 16;

/// The default of `cache`.
const CACHE_BYTES: u64 = 64 << 20;

/// How long an opening waits for whoever has the file: a store that was just closed ends its last write first.
const OPEN_WAIT: Duration = Duration::from_secs(3);

/// Time between two looks whether the file is free.
const OPEN_RETRY: Duration = Duration::from_millis(20);

/// Keys that a page of a listing looks at, at most; those whose time is over are looked at and not listed.
const PAGE_SCAN: usize = 10_000;

#[derive(Debug)]
pub(super) struct Redb;

#[async_trait]
impl Provider for Redb {
    fn scheme(&self) -> &'static str {
        "redb"
    }

    async fn open(&self, url: &str, settings: &toml::Table, _: &dyn Opener) -> Result<Arc<dyn KeyValue>, KvError> {
        let settings = Settings::new("redb", settings, &["cache", "timeout"])?;
        let cache_bytes = usize::try_from(settings.bytes("cache", CACHE_BYTES)?).unwrap_or(usize::MAX);
        let timeout = settings.duration("timeout", TIMEOUT)?;
        let path = url.strip_prefix("redb:").filter(|path| !path.is_empty() && !path.starts_with("//"));
        let Some(path) = path.map(PathBuf::from) else {
            let told = crate::without_credentials(url);
            return Err(KvError::Configuration(format!("`{told}` names no file; write `redb:./data/store.redb`")));
        };
        let medium = File { path, cache_bytes };
        Ok(Arc::new(Embedded::open(Arc::new(medium), timeout).await?))
    }
}

/// What a database is opened on, more than once: after a failed write it is opened anew.
trait Medium: fmt::Debug + Send + Sync {
    /// Where it is, for people.
    fn place(&self) -> String;
    /// Opens it. Blocks.
    fn open(&self) -> Result<Database, DatabaseError>;
}

/// A file of ours.
#[derive(Debug)]
struct File {
    path: PathBuf,
    cache_bytes: usize,
}

impl Medium for File {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn open(&self) -> Result<Database, DatabaseError> {
        if let Some(folder) = self.path.parent().filter(|folder| *folder != Path::new("")) {
            std::fs::create_dir_all(folder)?;
        }
        let mut options = std::fs::File::options();
        // All tenants' data: nobody else's to read.
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a file").into());
        }
        Database::builder().set_cache_size(self.cache_bytes).create_with_backend(FileBackend::new(file)?)
    }
}

/// An open store.
#[derive(Debug)]
struct Embedded {
    writer: Writer,
    reader: Arc<Reader>,
    readers: Arc<Semaphore>,
    timeout: Duration,
}

impl Embedded {
    async fn open(medium: Arc<dyn Medium>, timeout: Duration) -> Result<Self, KvError> {
        let since = Instant::now();
        loop {
            let opening = medium.clone();
            match spawn_blocking(move || opening.open()).await {
                Ok(Ok(database)) => {
                    let started = spawn_blocking(move || Writer::start(medium, database)).await;
                    let writer = started.map_err(|error| KvError::Backend(error.to_string()))??;
                    let reader = Reader::new(writer.shared().clone());
                    return Ok(Self { writer, reader, readers: Arc::new(Semaphore::new(READERS)), timeout });
                }
                Ok(Err(DatabaseError::DatabaseAlreadyOpen)) if since.elapsed() < OPEN_WAIT => {
                    tokio::time::sleep(OPEN_RETRY).await;
                }
                Ok(Err(error)) => return Err(not_opened(&*medium, &error)),
                // A damaged file may make the library panic.
                Err(_) => {
                    let place = medium.place();
                    return Err(KvError::Backend(format!("`{place}` is damaged; put a copy of it in its place")));
                }
            }
        }
    }

    /// Reads from a snapshot, on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Snapshot) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, KvError> {
        let reading = async {
            // The semaphore is never closed.
            let permit = self.readers.clone().acquire_owned().await;
            let snapshot = self.writer.shared().snapshot()?;
            let done = spawn_blocking(move || {
                let _permit = permit;
                work(&Snapshot::new(&snapshot)?)
            });
            match done.await {
                Ok(done) => done.map_err(|error| failed(&error)),
                Err(error) => Err(KvError::Backend(format!("the store could not be read: {error}"))),
            }
        };
        self.in_time(reading).await
    }

    /// Writes together with others; answers when it is on the disk.
    async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&mut Tables<'_>) -> Result<Result<T, KvError>, redb::Error> + Send + 'static,
    ) -> Result<T, KvError> {
        self.in_time(self.writer.write(bytes, work)).await
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, KvError>>) -> Result<T, KvError> {
        let late = |_| KvError::TimedOut(format!("the disk has not answered within {:?}", self.timeout));
        tokio::time::timeout(self.timeout, work).await.map_err(late)?
    }
}

/// What to do about a file that does not open.
fn not_opened(medium: &dyn Medium, error: &DatabaseError) -> KvError {
    let place = medium.place();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => KvError::Configuration(format!(
            "`{place}` is in use by another process or under another name; end that one, or give this store a file of its own"
        )),
        DatabaseError::UpgradeRequired(_) => {
            KvError::Configuration(format!("`{place}` is of an older format; write `redb:` with a new file"))
        }
        error => KvError::Backend(format!("`{place}` does not open: {error}")),
    }
}

/// A failure of the library, for whoever asked.
fn failed(error: &redb::Error) -> KvError {
    match error {
        redb::Error::DatabaseClosed | redb::Error::PreviousIo => {
            KvError::Backend("the store is being opened anew after a failure; try again".to_owned())
        }
        error => KvError::Backend(error.to_string()),
    }
}

#[async_trait]
impl KeyValue for Embedded {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError> {
        Ok(self.entry(key).await?.map(|entry| entry.value))
    }

    async fn entry(&self, key: &str) -> Result<Option<Entry>, KvError> {
        self.in_time(self.reader.entry(key)).await
    }

    async fn set_expiring(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<Option<u64>, KvError> {
        let key = key.to_owned();
        self.write(key.len() + value.len(), move |tables| {
            let ends = tables.ends(ttl);
            Ok(Ok(tables.put(&key, &value, ends)?))
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<Option<u64>, KvError> {
        let key = key.to_owned();
        self.write(key.len(), move |tables| Ok(Ok(tables.remove(&key)?))).await
    }

    async fn exists(&self, key: &str) -> Result<bool, KvError> {
        let key = key.to_owned();
        self.read(move |snapshot| snapshot.exists(&key)).await
    }

    /// The cursor is the last key that was looked at, without the prefix: it cannot lead out of it.
    async fn list_keys(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<Page, KvError> {
        let (prefix, cursor) = (prefix.to_owned(), cursor.map(str::to_owned));
        self.read(move |snapshot| snapshot.page(&prefix, cursor.as_deref(), limit.max(1), PAGE_SCAN)).await
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<Increment, KvError> {
        let key = key.to_owned();
        self.write(key.len(), move |tables| tables.increment(&key, delta)).await
    }

    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Bytes) -> Result<Swap, KvError> {
        let (key, expected) = (key.to_owned(), expected.map(<[u8]>::to_vec));
        let bytes = key.len() + new.len() + expected.as_ref().map_or(0, Vec::len);
        self.write(bytes, move |tables| Ok(Ok(tables.swap(&key, expected.as_deref(), &new)?))).await
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, KvError> {
        let keys = keys.to_vec();
        self.read(move |snapshot| keys.iter().map(|key| Ok(snapshot.get(key)?.map(|entry| entry.value))).collect())
            .await
    }

    /// All of it is one commit, and so all or nothing when the power goes.
    async fn set_many(&self, entries: Vec<(String, Bytes)>) -> Vec<Result<Option<u64>, KvError>> {
        let count = entries.len();
        let bytes = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
        let done = self.write(bytes, move |tables| {
            let put = |(key, value): &(String, Bytes)| tables.put(key, value, None);
            Ok(Ok(entries.iter().map(put).collect::<Result<Vec<_>, _>>()?))
        });
        each(done.await, count)
    }

    /// As [`set_many`](KeyValue::set_many).
    async fn delete_many(&self, keys: &[String]) -> Vec<Result<Option<u64>, KvError>> {
        let keys = keys.to_vec();
        let (count, bytes) = (keys.len(), keys.iter().map(String::len).sum());
        let done = self.write(bytes, move |tables| {
            Ok(Ok(keys.iter().map(|key| tables.remove(key)).collect::<Result<Vec<_>, _>>()?))
        });
        each(done.await, count)
    }

    async fn watch(&self, prefix: &str) -> Result<Watch, KvError> {
        self.writer.hub().watch(prefix)
    }

    /// The sum of a namespace is kept; any other prefix is read through.
    async fn usage(&self, prefix: &str) -> Result<Usage, KvError> {
        let prefix = prefix.to_owned();
        self.read(move |snapshot| snapshot.usage(&prefix)).await
    }
}

/// The outcome of a batch that happened or failed as a whole, for each entry.
fn each(done: Result<Vec<Option<u64>>, KvError>, count: usize) -> Vec<Result<Option<u64>, KvError>> {
    match done {
        Ok(done) => done.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error); count],
    }
}
