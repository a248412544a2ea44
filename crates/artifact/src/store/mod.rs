//! The content store: every blob that was fetched, once, under its digest, shared by all processes of a user.
//!
//! ```text
//! blobs/sha256/<hex>     whole and checked, mode 0400; only ever renamed into place or unlinked
//! partial/sha256-<hex>   on its way, locked by whoever downloads it; kept when that fails, and resumed
//! partial/new-<random>   being written by somebody who has all the bytes already
//! records/<hex>.json     a reference that was pulled and the blobs that belong to it
//! lock                   shared by who adds a record, exclusive to who collects
//! ```
//!
//! A process may be killed at any moment: what has a digest for a name was complete before it got it, a lock ends with the
//! process that held it, and what a dead writer left is resumed by the next one or swept. A blob is hashed again each time it
//! is opened, through the descriptor that is then read: a disk that lost something means another download, no more.
//!
//! Records are small files and no database: what must be atomic is one rename, two versions of this program can share them,
//! and a store that lost some of them is still sound: its blobs are known by their names.

mod blob;
mod copy;
mod directory;
mod fetch;
pub mod layout;
mod partial;
mod record;
mod remembered;
mod sweep;

use std::{
    collections::HashMap,
    fs::File,
    io::Write as _,
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use oci_spec::image::{Digest, DigestAlgorithm};
use parking_lot::Mutex;
use rustix::fs::{Mode, Stat};
use samara_model::{Kept, cache_directory};

pub use self::{
    blob::Blob,
    copy::{Children, Copied, CopyOptions, copy},
    record::Record,
    remembered::Remembered,
    sweep::{Entry, Removed},
};
use self::{
    directory::{Directory, PRIVATE, disk, same_file, size, touch, try_lock, unique},
    fetch::{Flight, PATIENCE, Wanted},
};
use crate::{
    Error,
    repository::{digest_of, sha256},
};

/// Bytes of all artifacts, when nothing else is said.
pub const DEFAULT_STORE_BYTES: u64 = 4 << 30;
/// How the name of a file starts that somebody writes who has all the bytes.
const UNFINISHED: &str = "new-";

/// Blobs on disk. Cheap to clone; all clones are one store.
#[derive(Clone, Debug)]
pub struct Store(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    root: Directory,
    blobs: Directory,
    partial: Directory,
    records: Directory,
    /// What is kept when a record is added.
    max_bytes: u64,
    /// How long somebody else's download is waited for.
    patience: Duration,
    /// Downloads of this process that others may wait for.
    flights: Mutex<HashMap<Wanted, Weak<Flight>>>,
}

/// How a store is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Bytes of all artifacts, which holds whenever one is added: [`DEFAULT_STORE_BYTES`].
    pub max_bytes: u64,
    /// How long a download waits for one of the same blob by another process or from another repository, before it goes its
    /// own way: two minutes. A slow registry costs those of other registries no more.
    pub patience: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { max_bytes: DEFAULT_STORE_BYTES, patience: PATIENCE }
    }
}

impl Store {
    /// Opens the store in `directory`, made if it does not exist, bounded by [`DEFAULT_STORE_BYTES`].
    ///
    /// # Errors
    /// The directory cannot be made, is a symbolic link, is somebody else's or may be entered by others.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(directory, StoreOptions::default())
    }

    /// [`Store::open`] with another bound on the bytes of all artifacts, which holds whenever one is added.
    ///
    /// # Errors
    /// As for [`Store::open`].
    pub fn open_bounded(directory: impl AsRef<Path>, max_bytes: u64) -> Result<Self, Error> {
        Self::open_with(directory, StoreOptions { max_bytes, ..StoreOptions::default() })
    }

    /// [`Store::open`] with options.
    ///
    /// # Errors
    /// As for [`Store::open`].
    pub fn open_with(directory: impl AsRef<Path>, options: StoreOptions) -> Result<Self, Error> {
        let StoreOptions { max_bytes, patience } = options;
        let root = Directory::open_private(directory.as_ref())?;
        let blobs = root.below("blobs", Mode::RWXU)?.below("sha256", Mode::RWXU)?;
        let partial = root.below("partial", Mode::RWXU)?;
        let records = root.below("records", Mode::RWXU)?;
        Ok(Self(Arc::new(Shared { root, blobs, partial, records, max_bytes, patience, flights: Mutex::default() })))
    }

    /// Opens the store of whoever runs this program, in [`samara_model::cache_directory`].
    ///
    /// # Errors
    /// The environment names no directory, or [`Store::open`] refuses it.
    pub fn open_default() -> Result<Self, Error> {
        let directory = cache_directory(|name| std::env::var_os(name), Kept::Artifacts);
        Self::open(directory.ok_or_else(|| {
            Error::Disk("there is no place for artifacts; set SAMARA_CACHE to a directory".to_owned())
        })?)
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.0.root.path
    }

    /// The blob of this digest, checked again; `None` if it is not here. Counts as a use of it.
    ///
    /// # Errors
    /// The disk fails, or the digest is not of sha256.
    pub async fn get(&self, digest: &Digest) -> Result<Option<Blob>, Error> {
        let (store, digest) = (self.clone(), digest.clone());
        blocking(move || store.get_now(&digest)).await
    }

    /// Stores bytes that are all here. Nothing is written if they are in the store already.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn put(&self, bytes: Bytes) -> Result<Blob, Error> {
        let store = self.clone();
        blocking(move || store.put_now(&bytes)).await
    }

    /// [`Store::get`] on this thread, for code that may block.
    ///
    /// # Errors
    /// The disk fails, or the digest is not of sha256.
    pub fn get_now(&self, digest: &Digest) -> Result<Option<Blob>, Error> {
        let name = file_name(digest)?;
        let path = self.0.blobs.path.join(name);
        let failed = |error| disk("reading", &path, error);
        let lock = self.lock(false)?;
        let Some((file, stat)) = self.0.blobs.open(name).map_err(failed)? else { return Ok(None) };
        blob::hold(&file);
        drop(lock);
        let found = blob::hash_of(&file, 0, size(&stat)).map_err(failed)?;
        if digest_of(found) != *digest {
            tracing::warn!(path = %path.display(), "a blob is not what its name says; it is removed and fetched again");
            self.remove_wrong(name, &stat)?;
            return Ok(None);
        }
        touch(&file);
        Ok(Some(Blob::verified(digest.clone(), size(&stat), file, path)))
    }

    /// Removes a blob that was found to be wrong, unless another one has its name by now: who found the same may have
    /// fetched it again.
    fn remove_wrong(&self, name: &str, wrong: &Stat) -> Result<(), Error> {
        let failed = |error| disk("removing", &self.0.blobs.path.join(name), error);
        // No blob gets its name while this is held.
        let _lock = self.lock(true)?;
        if self.0.blobs.stat(name).map_err(failed)?.is_some_and(|named| same_file(&named, wrong)) {
            self.0.blobs.remove(name).map_err(failed)?;
        }
        Ok(())
    }

    /// [`Store::put`] on this thread, for code that may block.
    ///
    /// # Errors
    /// The disk fails.
    pub fn put_now(&self, bytes: &[u8]) -> Result<Blob, Error> {
        let digest = sha256(bytes);
        if let Some(blob) = self.get_now(&digest)? {
            return Ok(blob);
        }
        let failed = |error| disk("writing to", &self.0.partial.path, error);
        let name = unique(UNFINISHED).map_err(failed)?;
        let mut file = self.0.partial.create(&name, PRIVATE).map_err(failed)?;
        let written = try_lock(&file).and_then(|_| file.write_all(bytes)).map_err(failed);
        let stored = written.and_then(|()| self.adopt(file, &name, &digest, bytes.len() as u64));
        if stored.is_err() {
            let _ = self.0.partial.remove(&name);
        }
        stored
    }

    /// Gives a finished file of `partial` the name of its digest, which the caller has checked.
    fn adopt(&self, file: File, name: &str, digest: &Digest, size: u64) -> Result<Blob, Error> {
        let path = self.0.blobs.path.join(file_name(digest)?);
        let finish = || {
            rustix::fs::fchmod(&file, Mode::RUSR)?;
            // Before it has the name, or a power cut could leave the name without the bytes.
            file.sync_all()
        };
        let failed = |error| disk("storing", &path, error);
        finish().map_err(failed)?;
        loop {
            let lock = self.lock(false)?;
            // Not in the place of one that somebody holds, who would then hold a file without a name.
            if self.0.partial.rename_new(name, &self.0.blobs, file_name(digest)?).map_err(failed)? {
                blob::hold(&file);
                return Ok(Blob::verified(digest.clone(), size, file, path));
            }
            drop(lock);
            if let Some(blob) = self.get_now(digest)? {
                self.0.partial.remove(name).map_err(failed)?;
                return Ok(blob);
            }
        }
    }
}

/// The name of a blob's file: the hexadecimal digits, which are no path.
fn file_name(digest: &Digest) -> Result<&str, Error> {
    match digest.algorithm() {
        DigestAlgorithm::Sha256 => Ok(digest.digest()),
        _ => Err(Error::Invalid(format!("`{digest}` is not of sha256, the only kind that is checked here"))),
    }
}

/// The one place where this crate's work on disks and archives leaves the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let stopped = |error| Err(Error::Disk(format!("the work on the disk was not finished: {error}")));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(stopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_that_was_fetched_again_is_not_removed_for_the_wrong_one() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("artifacts")).unwrap();
        let digest = sha256(b"right");
        let path = store.directory().join("blobs/sha256").join(digest.digest());
        std::fs::write(&path, "wrong").unwrap();
        // Two find the wrong one; the first has put the right one in its place when the second comes to remove it.
        let (_held, wrong) = store.0.blobs.open(digest.digest()).unwrap().unwrap();
        store.put_now(b"right").unwrap();
        store.remove_wrong(digest.digest(), &wrong).unwrap();
        assert_eq!(store.get_now(&digest).unwrap().unwrap().read_now().unwrap(), "right");
        let (_held, right) = store.0.blobs.open(digest.digest()).unwrap().unwrap();
        store.remove_wrong(digest.digest(), &right).unwrap();
        assert!(!path.exists());
    }
}
