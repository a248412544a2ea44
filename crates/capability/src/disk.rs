//! Values in files: one file whole, or a folder with one file a value, as Kubernetes mounts config maps and secrets.
//!
//! A kubelet writes a folder anew beside the old one and then turns the link `..data` to it; what stands in the folder are
//! links through it. Where there is such a link, all values are read below what it leads to, so that they are all of one
//! version. Links are followed within the folder and never out of it. What is read is wiped when it is dropped: it may be secret.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use cap_std::{
    ambient_authority,
    fs::{Dir, MetadataExt, OpenOptions, OpenOptionsExt},
};
use rustix::fs::OFlags;
use samara_model::format_bytes;
use zeroize::Zeroizing;

use crate::watched::Mark;

/// Bytes of one file, at most.
pub const FILE_BYTES: u64 = 1 << 20;

/// Values of one source, at most.
pub const SOURCE_VALUES: usize = 1000;

/// Bytes of names and values of one source, at most.
pub const SOURCE_BYTES: u64 = 8 << 20;

/// Versions of a folder that are begun before it is given up as changing too fast.
const VERSIONS: usize = 4;

/// The link that a kubelet turns.
const DATA: &str = "..data";

/// Why a file or a folder has not been read. It names places and never what is in them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// Something is over its limit.
    #[error("{place}: the {what} is over its limit of `{}`", format_bytes(*.limit))]
    TooLarge { place: String, what: &'static str, limit: u64 },
    /// There is more of something than is read.
    #[error("{place} has more than {limit} values; divide it")]
    TooMany { place: String, limit: usize },
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl Unreadable {
    pub(crate) fn failed(place: &Path, error: &io::Error) -> Self {
        Self::Failed(format!("`{}` cannot be read: {error}", place.display()))
    }
}

/// What a file holds.
pub(crate) fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    let failed = |error: io::Error| Unreadable::failed(path, &error);
    // A pipe would keep the thread that opens it until somebody writes.
    let mut options = File::options();
    let options = std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true), nonblocking());
    let file = options.open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    read_open(path, file, metadata.is_file(), metadata.len())
}

fn nonblocking() -> i32 {
    (OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed()
}

fn read_open(path: &Path, mut file: impl Read, is_file: bool, length: u64) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    if !is_file {
        return Err(Unreadable::Failed(format!("`{}` is not a file", path.display())));
    }
    let too_large = || Unreadable::TooLarge { place: format!("`{}`", path.display()), what: "file", limit: FILE_BYTES };
    if length > FILE_BYTES {
        return Err(too_large());
    }
    // Room for all of it and one byte more from the start, and filled in place: a buffer that moves, and the probes of
    // `read_to_end`, would leave what they held behind.
    let room = usize::try_from(length).map_err(|_| too_large())?.saturating_add(1);
    let mut bytes = Zeroizing::new(vec![0; room]);
    let mut filled = 0;
    while let Some(free) = bytes.get_mut(filled..).filter(|free| !free.is_empty()) {
        match file.read(free) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Unreadable::failed(path, &error)),
        }
    }
    bytes.truncate(filled);
    if bytes.len() >= room {
        return Err(Unreadable::Failed(format!("`{}` grew while it was read", path.display())));
    }
    Ok(bytes)
}

/// Values by the names of their files.
pub(crate) type Named = Vec<(String, Zeroizing<Vec<u8>>)>;

/// A folder with one file a value.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
}

impl Folder {
    /// What it looks like from outside.
    pub(crate) fn mark(&self) -> io::Result<Mark> {
        let dir = self.open()?;
        let mut mark = Mark::default();
        mark.add(&dir.dir_metadata()?);
        for name in names(&dir)? {
            mark.add(&dir.metadata(name)?);
        }
        Ok(mark)
    }

    /// Its values by the names of their files.
    pub(crate) fn read(&self) -> Result<Named, Unreadable> {
        let failed = |error: io::Error| Unreadable::failed(&self.path, &error);
        for _ in 0..VERSIONS {
            let dir = self.open().map_err(failed)?;
            let values = names(&dir).map_err(failed).and_then(|names| self.values(&dir, names));
            // Once the link leads elsewhere the version that was read may be on its way out, file by file. This one is held
            // open, so that no other has its number.
            let identity = |dir: &Dir| dir.dir_metadata().map(|metadata| (metadata.dev(), metadata.ino()));
            let now = self.open().map_err(failed)?;
            if identity(&dir).map_err(failed)? == identity(&now).map_err(failed)? {
                return values;
            }
        }
        Err(Unreadable::Failed(format!("{} changes faster than it can be read", self.place())))
    }

    fn values(&self, dir: &Dir, names: Vec<String>) -> Result<Named, Unreadable> {
        if names.len() > SOURCE_VALUES {
            return Err(Unreadable::TooMany { place: self.place(), limit: SOURCE_VALUES });
        }
        let mut values = Vec::with_capacity(names.len());
        let mut bytes = 0_u64;
        for name in names {
            let path = self.path.join(&name);
            let failed = |error: io::Error| Unreadable::failed(&path, &error);
            let mut options = OpenOptions::new();
            let file = dir.open_with(&name, options.read(true).custom_flags(nonblocking())).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            if !metadata.is_file() {
                continue;
            }
            let value = read_open(&path, file, true, metadata.len())?;
            bytes = bytes.saturating_add((name.len() + value.len()) as u64);
            if bytes > SOURCE_BYTES {
                return Err(Unreadable::TooLarge { place: self.place(), what: "folder", limit: SOURCE_BYTES });
            }
            values.push((name, value));
        }
        Ok(values)
    }

    fn place(&self) -> String {
        format!("`{}`", self.path.display())
    }

    /// The folder in which the values are.
    fn open(&self) -> io::Result<Dir> {
        // Anew each time: the folder itself may have been replaced.
        let dir = Dir::open_ambient_dir(&self.path, ambient_authority())?;
        match dir.open_dir(DATA) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(dir),
            data => data,
        }
    }
}

/// The names of what is in a folder, sorted; one more than is read, at most.
fn names(dir: &Dir) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in dir.entries()? {
        // What has no name in text cannot be asked for; what begins with two dots is the kubelet's.
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if !name.starts_with("..") {
            names.push(name);
        }
        if names.len() > SOURCE_VALUES {
            break;
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// What a file holds, without the line's end that editors and `echo` put behind it.
pub(crate) fn one_line_less(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}
