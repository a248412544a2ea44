//! Tar as a stream of entries, whatever is around it. Facts: POSIX `pax` (the long names), GNU tar's manual (types `L`, `K`,
//! `S`), and the archives that tools write.
//!
//! The `tar` crate finds the headers; what describes the next entry (long names, extended attributes) is read here, because
//! the crate keeps it in memory whatever its size. What readers understand differently is refused: a size in two places, a
//! link with contents, two names for one entry.

use std::io::Read;

use bytes::Bytes;
use tar::{Archive, EntryType, Header};

use super::{Budget, Format, Kind, Listing, Member, Source, head, names, not_read, to_memory, unpacked};
use crate::{
    Error,
    bounds::{MAX_ENTRY_HEADER_BYTES, MAX_NAME_BYTES},
};

/// One entry on its way.
pub(crate) struct Entry<'e> {
    /// As `names::clean` has it.
    pub(crate) name: String,
    pub(crate) what: What,
    /// As the header says.
    pub(crate) size: u64,
    pub(crate) data: &'e mut dyn Read,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    File,
    Folder,
    Link(String),
    /// A device, a pipe, a sparse file.
    Special,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Next,
    Stop,
}

/// What the archive holds.
pub(super) fn members(source: &mut dyn Source, budget: &Budget) -> Result<Listing, Error> {
    let mut members = Vec::new();
    walk(source, budget, &mut |entry| {
        let kind = match entry.what {
            What::Folder => return Ok(Step::Next),
            What::File => Kind::of(&head(entry.data)?),
            What::Link(to) => Kind::Link(to),
            What::Special => Kind::Special,
        };
        budget.name(&entry.name)?;
        members.push(Member { name: entry.name, size: entry.size, kind });
        Ok(Step::Next)
    })?;
    Ok(Listing { format: Format::of(&members, false), members })
}

/// The file of that name, of which there is one.
pub(super) fn read(source: &mut dyn Source, name: &str, budget: &Budget) -> Result<Bytes, Error> {
    let mut found = None;
    walk(source, budget, &mut |entry| {
        if entry.name != name || entry.what != What::File {
            return Ok(Step::Next);
        }
        found = Some(to_memory(name, entry.data, entry.size, &budget.bounds)?);
        Ok(Step::Stop)
    })?;
    found.ok_or_else(|| Error::NotFound(format!("it has no member `{name}`")))
}

/// Every entry in order, until `visit` has enough.
pub(crate) fn walk(
    source: &mut dyn Source,
    budget: &Budget,
    visit: &mut dyn FnMut(Entry<'_>) -> Result<Step, Error>,
) -> Result<(), Error> {
    let before = budget.spent();
    let mut archive = Archive::new(unpacked(source, budget)?);
    let mut about = About::default();
    let mut any = false;
    for (number, entry) in archive.entries().map_err(not_read)?.raw(true).enumerate() {
        let mut entry = entry.map_err(|error| if any { not_read(error) } else { no_archive(error) })?;
        any = true;
        budget.entry(number.saturating_add(1))?;
        let header = entry.header().clone();
        let (kind, size) = (header.entry_type(), header.entry_size().map_err(not_read)?);
        if about.take(kind, size, &mut entry)? {
            continue;
        }
        let described = std::mem::take(&mut about);
        let (name, what) = described.applied(&header, size)?;
        if visit(Entry { name, what, size, data: &mut entry })? == Step::Stop {
            return Ok(());
        }
    }
    // Blocks of zeros are an archive without entries, as empty layers are; nothing at all is none.
    if !any && budget.spent() == before {
        return Err(Error::Invalid("it is no archive: a zip, or a tar as it is, with gzip or with zstd".to_owned()));
    }
    Ok(())
}

/// The first header is not one.
fn no_archive(error: std::io::Error) -> Error {
    match not_read(error) {
        over @ Error::OverLimit(_) => over,
        Error::Invalid(why) => Error::Invalid(format!("it is no archive that is read here: {why}")),
        other => other,
    }
}

/// What entries before an entry say of it.
#[derive(Debug, Default)]
struct About {
    gnu_name: Option<Vec<u8>>,
    gnu_link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

/// The records of a pax header that matter here.
#[derive(Debug, Default)]
struct Pax {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<Vec<u8>>,
    sparse: bool,
}

impl About {
    /// Whether the entry was of this kind, and is taken.
    fn take(&mut self, kind: EntryType, size: u64, data: &mut dyn Read) -> Result<bool, Error> {
        // A terminating zero may follow the name.
        let most = if kind.is_gnu_longname() || kind.is_gnu_longlink() {
            MAX_NAME_BYTES as u64 + 1
        } else if kind.is_pax_local_extensions() || kind.is_pax_global_extensions() {
            MAX_ENTRY_HEADER_BYTES
        } else {
            return Ok(false);
        };
        if size > most {
            return Err(Error::OverLimit(format!(
                "what describes an entry of the archive is of {size} bytes, and at most {most} are read"
            )));
        }
        let mut bytes = Vec::new();
        data.take(size).read_to_end(&mut bytes).map_err(not_read)?;
        let twice = if kind.is_pax_global_extensions() {
            let global = Pax::read(&bytes)?;
            if global.path.is_some() || global.link.is_some() || global.size.is_some() || global.sparse {
                return Err(Error::Invalid(
                    "the archive gives one name or size to all its entries, which two readers read differently"
                        .to_owned(),
                ));
            }
            false
        } else if kind.is_pax_local_extensions() {
            self.pax.replace(Pax::read(&bytes)?).is_some()
        } else {
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            bytes.truncate(end);
            let place = if kind.is_gnu_longname() { &mut self.gnu_name } else { &mut self.gnu_link };
            place.replace(bytes).is_some()
        };
        if twice {
            return Err(Error::Invalid(
                "an entry of the archive has two names, which two readers read differently".to_owned(),
            ));
        }
        Ok(true)
    }

    /// The name and kind of the entry that all this was about.
    fn applied(self, header: &Header, size: u64) -> Result<(String, What), Error> {
        let pax = self.pax.unwrap_or_default();
        let raw = pax.path.or(self.gnu_name).unwrap_or_else(|| header.path_bytes().into_owned());
        let name = names::clean(&raw)?;
        if let Some(says) = pax.size
            && std::str::from_utf8(&says).ok().and_then(|says| says.parse().ok()) != Some(size)
        {
            return Err(Error::Invalid(format!(
                "the entry `{name}` has two sizes, which two readers read differently"
            )));
        }
        let kind = header.entry_type();
        let what = match kind {
            _ if pax.sparse => What::Special,
            EntryType::Regular | EntryType::Continuous if raw.last() == Some(&b'/') => What::Folder,
            EntryType::Regular | EntryType::Continuous => What::File,
            EntryType::Directory => What::Folder,
            EntryType::Link | EntryType::Symlink => {
                let to = pax.link.or(self.gnu_link).or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
                let to: String = String::from_utf8_lossy(&to.unwrap_or_default()).chars().take(256).collect();
                What::Link(to.escape_debug().to_string())
            }
            EntryType::GNUSparse if header.as_gnu().is_some_and(|gnu| gnu.is_extended()) => {
                return Err(Error::Invalid(format!(
                    "the entry `{name}` is a sparse file in many pieces, which is not read; pack it without `--sparse`"
                )));
            }
            _ => What::Special,
        };
        if size > 0 && matches!(what, What::Folder | What::Link(_)) {
            return Err(Error::Invalid(format!(
                "the entry `{name}` is a folder or a link with contents, which two readers read differently"
            )));
        }
        Ok((name, what))
    }
}

impl Pax {
    /// Records are `LENGTH KEY=VALUE\n`; a value may hold newlines, so only the length ends it.
    fn read(mut bytes: &[u8]) -> Result<Self, Error> {
        let mut pax = Self::default();
        while !bytes.is_empty() {
            let (key, value, rest) = record(bytes)
                .ok_or_else(|| Error::Invalid("an extended header of the archive is malformed".to_owned()))?;
            let place = match key {
                b"path" => Some(&mut pax.path),
                b"linkpath" => Some(&mut pax.link),
                b"size" => Some(&mut pax.size),
                key => {
                    pax.sparse |= key.starts_with(b"GNU.sparse.");
                    None
                }
            };
            if place.is_some_and(|place| place.replace(value.to_vec()).is_some()) {
                return Err(Error::Invalid(
                    "an extended header of the archive says one thing twice, which two readers read differently"
                        .to_owned(),
                ));
            }
            bytes = rest;
        }
        Ok(pax)
    }
}

/// One record, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(8).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(bytes.get(..space)?).ok()?.parse().ok()?;
    let (line, rest) = bytes.split_at_checked(length)?;
    let pair = line.get(space.checked_add(1)?..)?.strip_suffix(b"\n")?;
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    Some((pair.get(..equals)?, pair.get(equals.checked_add(1)?..)?, rest))
}
