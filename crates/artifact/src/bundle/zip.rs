//! Zip, read by its directory, one entry at a time. Facts: PKWARE's APPNOTE 6.3.10.
//!
//! Bombs are told by the directory before anything is unpacked: entries whose bytes overlap (one small piece that counts as
//! thousands), more entries than the directory has room for, a local header that says something else than the directory.

use std::{
    cell::Cell,
    io::{self, Read, Seek, SeekFrom},
    rc::Rc,
};

use bytes::Bytes;
use zip::{
    CompressionMethod,
    read::{ArchiveOffset, Config, ZipFileEntry, ZipReadOptions},
    result::ZipError,
    unstable::read::ZipIterable,
};

use super::{Budget, Format, Kind, Listing, Member, Source, budget::Counted, head, names, rewind, to_memory};
use crate::{Error, bounds::MAX_ZIP_DIRECTORY_BYTES};

/// A local header without its name, by the specification.
const LOCAL_HEADER_BYTES: u64 = 30;

/// By the first bytes: an entry, or the end of an empty one.
pub(super) fn is_one(source: &mut dyn Source) -> Result<bool, Error> {
    rewind(source)?;
    let head = head(source)?;
    rewind(source)?;
    Ok(head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06"))
}

/// What the archive holds.
pub(super) fn members(source: &mut dyn Source, budget: &Budget) -> Result<Listing, Error> {
    let entries = directory(source, budget)?;
    let mut members = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let size = entry.size();
        let kind = if is_locked(&entry) {
            Kind::Locked
        } else if entry.is_symlink() {
            Kind::Link("what its contents say".to_owned())
        } else {
            Kind::of(&opened(source, entry, budget, head)?)
        };
        members.push(Member { name, size, kind });
    }
    Ok(Listing { format: Format::of(&members, true), members })
}

/// The file of that name, of which there is one.
pub(super) fn read(source: &mut dyn Source, name: &str, budget: &Budget) -> Result<Bytes, Error> {
    let (_, entry) = directory(source, budget)?
        .into_iter()
        .find(|(found, _)| found == name)
        .ok_or_else(|| Error::NotFound(format!("it has no member `{name}`")))?;
    let size = entry.size();
    opened(source, entry, budget, |data| to_memory(name, data, size, &budget.bounds))
}

/// The files of the archive, in order, checked against each other.
fn directory(source: &mut dyn Source, budget: &Budget) -> Result<Vec<(String, ZipFileEntry<'static>)>, Error> {
    let read = Rc::new(Cell::new(0));
    let metered = Metered { source, read };
    // The archive begins where the file does: a reader that looks for another beginning finds other members.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipIterable::try_new(metered, config).map_err(not_read)?.enforce_header_consistency(true);
    budget.entry(archive.len())?;
    let (mut entries, mut taken) = (Vec::with_capacity(archive.len()), Vec::with_capacity(archive.len()));
    for entry in archive.files().map_err(not_read)? {
        let entry = entry.map_err(not_read)?;
        let raw = entry.name_raw();
        if raw.first() == Some(&b'/') || raw.contains(&b'\\') || raw.get(1) == Some(&b':') {
            return Err(Error::Invalid(format!(
                "the entry `{}` has a path of a machine; the archive is refused",
                String::from_utf8_lossy(raw).escape_debug()
            )));
        }
        let name = names::clean(raw)?;
        budget.name(&name)?;
        let start = entry.header_start();
        let end = start
            .saturating_add(LOCAL_HEADER_BYTES)
            .saturating_add(raw.len() as u64)
            .saturating_add(entry.compressed_size());
        taken.push((start, end));
        if !entry.is_dir() {
            entries.push((name, entry));
        }
    }
    taken.sort_unstable();
    if taken.windows(2).any(|pair| matches!(pair, [(_, end), (start, _)] if end > start)) {
        return Err(Error::Invalid("entries of the zip overlap, as nothing but a bomb's do".to_owned()));
    }
    Ok(entries)
}

fn is_locked(entry: &ZipFileEntry<'_>) -> bool {
    entry.encrypted() || !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated)
}

/// Gives `then` the unpacked bytes of an entry, counted against the budget. The ratio is to what was read for this entry.
fn opened<T>(
    source: &mut dyn Source,
    entry: ZipFileEntry<'static>,
    budget: &Budget,
    then: impl FnOnce(&mut dyn Read) -> Result<T, Error>,
) -> Result<T, Error> {
    let came = Rc::new(Cell::new(0));
    let mut counted = Counted { inner: source, count: Rc::clone(&came) };
    let file = entry.with_reader(&mut counted, ZipReadOptions::new()).map_err(not_read)?;
    then(&mut budget.metered(file, came))
}

fn not_read(error: ZipError) -> Error {
    match error {
        ZipError::Io(error) => super::not_read(error),
        other => Error::Invalid(format!("the zip is not read: {other}")),
    }
}

/// Bounds what is read before the members are known.
struct Metered<'s> {
    source: &'s mut dyn Source,
    read: Rc<Cell<u64>>,
}

impl Read for Metered<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(into)?;
        self.read.set(self.read.get().saturating_add(count as u64));
        if self.read.get() > MAX_ZIP_DIRECTORY_BYTES {
            return Err(io::Error::other(Error::OverLimit(format!(
                "the directory of the zip is of more than {MAX_ZIP_DIRECTORY_BYTES} bytes, the most that are read"
            ))));
        }
        Ok(count)
    }
}

impl Seek for Counted<&mut dyn Source> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

impl Seek for Metered<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.source.seek(to)
    }
}
