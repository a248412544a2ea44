//! A layout that is a folder.

use std::{
    fs::{DirBuilder, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    sync::Arc,
};

use oci_spec::image::{Digest, ImageIndex};
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, Mode};

use super::{
    super::{
        blob::Span,
        directory::{Directory, disk, size, unique},
        file_name,
    },
    INDEX_NAME, MARKER, MARKER_NAME, MAX_MARKER_BYTES, empty_index, read_index, read_marker,
};
use crate::{Error, bounds::MAX_MANIFEST_BYTES};

/// Files of a layout are for whoever may read the folder.
const READABLE: Mode = Mode::from_bits_retain(0o644);
const ENTERABLE: Mode = Mode::from_bits_retain(0o755);
/// How the name of a file starts that is being written.
const UNFINISHED: &str = ".samara-";

pub(super) struct Folder {
    root: Directory,
    blobs: Arc<Directory>,
    /// One of us changes `index.json` at a time; the lock on the folder is for other processes.
    updating: Mutex<()>,
    /// The bytes of `index.json` when it was last read, and what they say.
    last: Mutex<Option<(Vec<u8>, Arc<ImageIndex>)>>,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let root = Directory::open_shared(path)?;
        let no_layout = || {
            let shown = path.display();
            Error::NotFound(format!(
                "`{shown}` is no image layout: it has no `{MARKER_NAME}`; name the folder that has"
            ))
        };
        let marker = read(&root, MARKER_NAME, MAX_MARKER_BYTES)?.ok_or_else(no_layout)?;
        read_marker(&marker, &path.join(MARKER_NAME))?;
        let blobs = Arc::new(root.existing("blobs")?.existing("sha256")?);
        Ok(Self { root, blobs, updating: Mutex::default(), last: Mutex::default() })
    }

    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let failed = |error: io::Error| disk("making", path, error);
        DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(failed)?;
        let root = Directory::open_shared(path)?;
        if root.stat(MARKER_NAME).map_err(failed)?.is_some() {
            return Self::open(path);
        }
        if std::fs::read_dir(path).map_err(failed)?.next().is_some() {
            return Err(Error::Disk(format!(
                "`{}` is neither empty nor an image layout; name a new folder",
                path.display()
            )));
        }
        let blobs = Arc::new(root.below("blobs", ENTERABLE)?.below("sha256", ENTERABLE)?);
        let folder = Self { root, blobs, updating: Mutex::default(), last: Mutex::default() };
        folder.write(INDEX_NAME, &encode(&empty_index()))?;
        // Last: a folder without it is no layout.
        folder.write(MARKER_NAME, MARKER)?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.root.path
    }

    /// What `index.json` says; the same [`Arc`] as long as it says the same.
    pub(super) fn index(&self) -> Result<Arc<ImageIndex>, Error> {
        let name = self.root.path.join(INDEX_NAME);
        let missing = || Error::NotFound(format!("there is no `{}`", name.display()));
        let bytes = read(&self.root, INDEX_NAME, MAX_MANIFEST_BYTES)?.ok_or_else(missing)?;
        if let Some((known, index)) = &*self.last.lock()
            && *known == bytes
        {
            return Ok(Arc::clone(index));
        }
        let index = Arc::new(read_index(&bytes, &name)?);
        *self.last.lock() = Some((bytes, Arc::clone(&index)));
        Ok(index)
    }

    pub(super) fn blob(&self, digest: &Digest) -> Result<Option<Span>, Error> {
        let name = file_name(digest)?;
        let path = self.blobs.path.join(name);
        let found = self.blobs.open(name).map_err(|error| disk("reading", &path, error))?;
        Ok(found.map(|(file, stat)| Span { file: Arc::new(file), start: 0, size: size(&stat), path }))
    }

    pub(super) fn update(&self, change: impl FnOnce(ImageIndex) -> Result<ImageIndex, Error>) -> Result<(), Error> {
        let _updating = self.updating.lock();
        // A descriptor of its own, so that the lock ends with this function.
        let lock = self.root.again()?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .map_err(|error| disk("locking", &self.root.path, error))?;
        let changed = change(ImageIndex::clone(&*self.index()?))?;
        self.write(INDEX_NAME, &encode(&changed))
    }

    pub(super) fn writer(&self) -> Result<BlobWriter, Error> {
        let failed = |error| disk("writing to", &self.blobs.path, error);
        let name = unique(UNFINISHED).map_err(failed)?;
        let file = self.blobs.create(&name, READABLE).map_err(failed)?;
        Ok(BlobWriter { directory: Arc::clone(&self.blobs), name: Some(name), file })
    }

    /// Replaces a small file whole.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let write = || {
            let unfinished = unique(UNFINISHED)?;
            let mut file = self.root.create(&unfinished, READABLE)?;
            let written = file
                .write_all(bytes)
                .and_then(|()| file.sync_all())
                .and_then(|()| self.root.rename(&unfinished, &self.root, name));
            if written.is_err() {
                let _ = self.root.remove(&unfinished);
            }
            written
        };
        write().map_err(|error: io::Error| disk("writing", &self.root.path.join(name), error))
    }
}

/// A file of at most `limit` bytes; `None` if there is none.
fn read(directory: &Directory, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let path = directory.path.join(name);
    let failed = |error| disk("reading", &path, error);
    let Some((file, stat)) = directory.open(name).map_err(failed)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        let (shown, found) = (path.display(), size(&stat));
        return Err(Error::OverLimit(format!("`{shown}` is of {found} bytes, and at most {limit} are read")));
    }
    Ok(Some(bytes))
}

/// An index as it is written.
pub(super) fn encode(index: &ImageIndex) -> Vec<u8> {
    serde_json::to_vec(index).expect("an index is strings and numbers")
}

/// A blob that is being written to a folder.
pub(super) struct BlobWriter {
    directory: Arc<Directory>,
    /// Its name, until it has the one that it should have.
    name: Option<String>,
    file: File,
}

impl BlobWriter {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|error| disk("writing to", &self.directory.path, error))
    }

    pub(super) fn finish(mut self, digest: &Digest) -> Result<(), Error> {
        let name = file_name(digest)?;
        let failed = |error| disk("storing", &self.directory.path.join(name), error);
        self.file.sync_all().map_err(failed)?;
        if let Some(unfinished) = &self.name {
            self.directory.rename(unfinished, &self.directory, name).map_err(failed)?;
        }
        self.name = None;
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = self.directory.remove(name);
        }
    }
}
