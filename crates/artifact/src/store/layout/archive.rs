//! A layout that is a tar: read in place, written once.
//!
//! A tar is walked when it is opened, from header to header, without reading what is between them. A layout needs regular
//! files and folders with short, plain names and nothing else; a tar that has something else was not made for us, and is
//! refused rather than understood in one of several ways. Attributes that archivers add (times, users) are passed over.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use oci_spec::image::{Digest, ImageIndex};
use parking_lot::Mutex;
use rustix::fs::Mode;
use tar::{EntryType, Header};

use super::{
    super::{
        blob::Span,
        directory::{Directory, disk, unique},
        file_name,
    },
    INDEX_NAME, MARKER, MARKER_NAME, MAX_MARKER_BYTES, empty_index,
    folder::encode,
    read_index, read_marker,
};
use crate::{
    Error,
    bounds::{MAX_ARCHIVE_ENTRIES, MAX_ENTRY_HEADER_BYTES, MAX_MANIFEST_BYTES},
};

/// What everything in a tar begins at a multiple of.
const BLOCK_BYTES: u64 = BLOCK.len() as u64;
/// An empty one.
const BLOCK: [u8; 512] = [0; 512];
/// Where blobs are.
const BLOBS: &str = "blobs/sha256/";

pub(super) struct Archive {
    path: PathBuf,
    file: Arc<File>,
    contents: Arc<Mutex<Contents>>,
    /// The folder and name that a new tar is written under until it is finished; `None` for one that is only read.
    unfinished: Mutex<Option<(Directory, String)>>,
}

/// What is in the tar.
struct Contents {
    index: Arc<ImageIndex>,
    /// Where blobs are: the first byte, and how many.
    blobs: BTreeMap<String, (u64, u64)>,
    /// Where the next entry begins, in one that is written.
    end: u64,
    /// Whether a blob is being written at the end.
    writing: bool,
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let opened = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NotFound(format!("there is no file `{}`", path.display())),
            _ => disk("opening", path, error),
        })?;
        let failed = |error| disk("reading", path, error);
        if !opened.metadata().map_err(failed)?.is_file() {
            return Err(Error::Invalid(format!("`{}` is no file; `oci:` names a folder", path.display())));
        }
        let mut found = walk(&opened, path)?;
        let mut small = |name: &str, limit: u64| -> Result<Option<Vec<u8>>, Error> {
            let Some((start, size)) = found.remove(name) else { return Ok(None) };
            if size > limit {
                return Err(Error::OverLimit(format!(
                    "`{name}` in `{}` is of {size} bytes, and at most {limit} are read",
                    path.display()
                )));
            }
            let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
            opened.read_exact_at(&mut bytes, start).map_err(failed)?;
            Ok(Some(bytes))
        };
        let no_layout = |name: &str| {
            let shown = path.display();
            Error::NotFound(format!(
                "`{shown}` is no image layout: it has no `{name}`; `skopeo copy docker-archive:{shown} oci-archive:NEW` makes \
                 one of what `docker save` wrote before version 25"
            ))
        };
        let marker = small(MARKER_NAME, MAX_MARKER_BYTES)?.ok_or_else(|| no_layout(MARKER_NAME))?;
        read_marker(&marker, &path.join(MARKER_NAME))?;
        let index = small(INDEX_NAME, MAX_MANIFEST_BYTES)?.ok_or_else(|| no_layout(INDEX_NAME))?;
        let index = read_index(&index, &path.join(INDEX_NAME))?;
        let blobs = found.into_iter().filter_map(|(name, at)| Some((name.strip_prefix(BLOBS)?.to_owned(), at)));
        let contents = Contents { index: Arc::new(index), blobs: blobs.collect(), end: 0, writing: false };
        Ok(Self {
            path: path.to_owned(),
            file: Arc::new(opened),
            contents: Arc::new(Mutex::new(contents)),
            unfinished: Mutex::new(None),
        })
    }

    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if path.file_name().is_none() || path.is_dir() {
            return Err(Error::Disk(format!("`{}` is no name for a file; `oci:` names a folder", path.display())));
        }
        let parent = Directory::open_shared(parent)?;
        let make = || {
            let name = unique(".samara-")?;
            Ok((parent.create(&name, Mode::from_bits_retain(0o644))?, name))
        };
        let (file, name) = make().map_err(|error: io::Error| disk("writing to", &parent.path, error))?;
        let contents = Contents { index: Arc::new(empty_index()), blobs: BTreeMap::new(), end: 0, writing: false };
        let archive = Self {
            path: path.to_owned(),
            file: Arc::new(file),
            contents: Arc::new(Mutex::new(contents)),
            unfinished: Mutex::new(Some((parent, name))),
        };
        archive.append(MARKER_NAME, MARKER)?;
        Ok(archive)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn index(&self) -> Arc<ImageIndex> {
        Arc::clone(&self.contents.lock().index)
    }

    pub(super) fn blob(&self, digest: &Digest) -> Result<Option<Span>, Error> {
        let found = self.contents.lock().blobs.get(file_name(digest)?).copied();
        Ok(found.map(|(start, size)| Span { file: Arc::clone(&self.file), start, size, path: self.path.clone() }))
    }

    pub(super) fn update(&self, change: impl FnOnce(ImageIndex) -> Result<ImageIndex, Error>) -> Result<(), Error> {
        self.must_be_new()?;
        let mut contents = self.contents.lock();
        contents.index = Arc::new(change(ImageIndex::clone(&contents.index))?);
        Ok(())
    }

    pub(super) fn writer(&self, size: u64) -> Result<BlobWriter, Error> {
        self.must_be_new()?;
        let mut contents = self.contents.lock();
        if contents.writing {
            return Err(Error::Disk(format!("`{}` is written one blob at a time", self.path.display())));
        }
        contents.writing = true;
        let start = contents.end.saturating_add(BLOCK_BYTES);
        drop(contents);
        Ok(BlobWriter {
            path: self.path.clone(),
            file: Arc::clone(&self.file),
            contents: Arc::clone(&self.contents),
            start,
            size,
            written: 0,
        })
    }

    /// Writes what makes it a layout, and gives it its name.
    pub(super) fn finish(&self) -> Result<(), Error> {
        self.must_be_new()?;
        let index = encode(&self.index());
        self.append(INDEX_NAME, &index)?;
        let mut unfinished = self.unfinished.lock();
        let end = self.contents.lock().end;
        let finish = || {
            // Two empty blocks are the end. The file may hold more: what a blob left that was not finished.
            self.file.set_len(end)?;
            self.file.set_len(end.saturating_add(2 * BLOCK_BYTES))?;
            self.file.sync_all()?;
            let name = self.path.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| io::Error::other("its name is no text"))?;
            unfinished.as_ref().map_or(Ok(()), |(parent, unfinished)| parent.rename(unfinished, parent, name))
        };
        finish().map_err(|error| disk("writing", &self.path, error))?;
        *unfinished = None;
        Ok(())
    }

    fn must_be_new(&self) -> Result<(), Error> {
        match *self.unfinished.lock() {
            Some(_) => Ok(()),
            None => Err(Error::Disk(format!(
                "`{}` is a tar that is whole, which is not changed; write another, or a folder",
                self.path.display()
            ))),
        }
    }

    /// A small entry at the end.
    fn append(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut contents = self.contents.lock();
        let start = contents.end.saturating_add(BLOCK_BYTES);
        let write = || {
            self.file.write_all_at(header(name, bytes.len() as u64)?.as_bytes(), contents.end)?;
            self.file.write_all_at(bytes, start)?;
            pad(&self.file, start, bytes.len() as u64)
        };
        contents.end = write().map_err(|error| disk("writing", &self.path, error))?;
        Ok(())
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if let Some((parent, name)) = self.unfinished.get_mut() {
            let _ = parent.remove(name);
        }
    }
}

/// A header that is the same whoever writes it and when.
fn header(name: &str, size: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    Ok(header)
}

/// Fills up the last block; returns where the next entry begins.
fn pad(file: &File, start: u64, size: u64) -> io::Result<u64> {
    let end = start.saturating_add(size);
    let next = end.next_multiple_of(BLOCK_BYTES);
    let missing = usize::try_from(next - end).unwrap_or_default();
    file.write_all_at(BLOCK.get(..missing).unwrap_or_default(), end)?;
    Ok(next)
}

/// A blob that is being written at the end of a tar. Its header comes last: without it there is nothing.
pub(super) struct BlobWriter {
    path: PathBuf,
    file: Arc<File>,
    contents: Arc<Mutex<Contents>>,
    start: u64,
    size: u64,
    written: u64,
}

impl BlobWriter {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all_at(bytes, self.start.saturating_add(self.written));
        written.map_err(|error| disk("writing", &self.path, error))?;
        self.written = self.written.saturating_add(bytes.len() as u64);
        Ok(())
    }

    pub(super) fn finish(self, digest: &Digest) -> Result<(), Error> {
        let name = file_name(digest)?;
        let write = || {
            let end = pad(&self.file, self.start, self.size)?;
            let at = self.start.saturating_sub(BLOCK_BYTES);
            self.file.write_all_at(header(&format!("{BLOBS}{name}"), self.size)?.as_bytes(), at)?;
            Ok(end)
        };
        let end = write().map_err(|error: io::Error| disk("writing", &self.path, error))?;
        let mut contents = self.contents.lock();
        contents.blobs.insert(name.to_owned(), (self.start, self.size));
        contents.end = end;
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        self.contents.lock().writing = false;
    }
}

/// Where the files of a tar are that a layout has; refuses what no layout has.
fn walk(file: &File, path: &Path) -> Result<BTreeMap<String, (u64, u64)>, Error> {
    let shown = path.display();
    let length = file.metadata().map_err(|error| disk("reading", path, error))?.len();
    let unread = |error: io::Error| {
        Error::Invalid(format!("`{shown}` is not read as a tar: {error}; if it is compressed, unpack it first"))
    };
    let mut archive = tar::Archive::new(file);
    let mut found = BTreeMap::new();
    let mut seen = HashSet::new();
    // Raw: the library would read a long name whole, however long it says that it is.
    for (count, entry) in archive.entries_with_seek().map_err(unread)?.raw(true).enumerate() {
        let mut entry = entry.map_err(unread)?;
        if count >= MAX_ARCHIVE_ENTRIES {
            return Err(Error::OverLimit(format!(
                "`{shown}` has more than {MAX_ARCHIVE_ENTRIES} entries, which no image layout has"
            )));
        }
        let (start, size) = (entry.raw_file_position(), entry.header().entry_size().map_err(unread)?);
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let refused = |why: &str| Error::Invalid(format!("`{shown}` has an entry `{}` that is {why}", short(&name)));
        if start.checked_add(size).is_none_or(|end| end > length) {
            return Err(refused("larger than the file that it is in"));
        }
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let plain = plain(&name).ok_or_else(|| refused("a path which leads out of the layout"))?;
                if !seen.insert(plain.to_owned()) {
                    return Err(refused("there twice"));
                }
                if plain == MARKER_NAME || plain == INDEX_NAME || plain.starts_with(BLOBS) {
                    found.insert(plain.to_owned(), (start, size));
                }
            }
            EntryType::Directory => {
                plain(name.trim_end_matches('/')).ok_or_else(|| refused("a path which leads out of the layout"))?;
            }
            EntryType::XHeader | EntryType::XGlobalHeader => {
                if size > MAX_ENTRY_HEADER_BYTES {
                    return Err(refused("a description of more bytes than are read"));
                }
                let mut text = Vec::new();
                entry.by_ref().take(size).read_to_end(&mut text).map_err(unread)?;
                if let Some(key) = tar::PaxExtensions::new(&text).find_map(|record| changes_what_follows(record.ok())) {
                    return Err(refused(&format!("a description with `{key}`, which no image layout needs")));
                }
            }
            EntryType::Symlink | EntryType::Link => return Err(refused("a link, which is not followed")),
            EntryType::GNULongName | EntryType::GNULongLink => {
                return Err(refused("a name longer than any in an image layout"));
            }
            EntryType::GNUSparse => return Err(refused("sparse, which no image layout needs")),
            _ => return Err(refused("neither a file nor a folder")),
        }
    }
    Ok(found)
}

/// The key of a record that gives the next entry another name, size or target; the others are times, users, attributes.
fn changes_what_follows(record: Option<tar::PaxExtension<'_>>) -> Option<String> {
    let Some(record) = record else { return Some("?".to_owned()) };
    let key = String::from_utf8_lossy(record.key_bytes()).into_owned();
    (matches!(key.as_str(), "path" | "linkpath" | "size") || key.starts_with("GNU.sparse")).then_some(key)
}

/// A path without `./` before it; `None` if a part of it leads elsewhere.
fn plain(name: &str) -> Option<&str> {
    let plain = name.strip_prefix("./").unwrap_or(name);
    // The folder that everything is in, as some archivers list it.
    if plain == "." {
        return Some(plain);
    }
    let safe = |part: &str| !part.is_empty() && part != "." && part != "..";
    let whole = !name.starts_with('/') && !plain.contains(['\\', '\0']) && plain.split('/').all(safe);
    whole.then_some(plain)
}

/// A name for a message.
fn short(name: &str) -> String {
    name.chars().take(80).collect()
}
