//! The code cache: a directory of compiled code that survives the process and is shared by all of them.
//!
//! Compiled code runs with the host's own rights, so nothing is loaded that was not authenticated first. The directory
//! is ours alone (mode 0700), each file is made once (mode 0400) and only ever unlinked or replaced whole, and each
//! carries a MAC under a key that lies beside it. What fails any check is ignored and built again.
//!
//! Deliberately out of scope: another process of the same user. It could as well attach a debugger.

use std::{
    fs::{DirBuilder, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use rustix::{
    fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW},
    io::Errno,
};
use samara_model::{Kept, cache_directory};

use super::{
    code::{CheckedFile, CodeId, hex},
    entry::{self, Seal, TRAILER_BYTES, Trailer},
};

/// Bytes of all entries, when nothing else is said.
pub const DEFAULT_CACHE_BYTES: u64 = 2 << 30;
/// The file that holds the key of the MACs.
const KEY_NAME: &str = "key";
/// How the name of a file starts that is still being written.
pub(super) const UNFINISHED: &str = ".new-";
/// Bytes hashed at a time: small enough for a processor's cache.
const CHUNK_BYTES: usize = 128 << 10;
/// An entry's time of last use is at most this old when it is used; a start does not write to the disk each time.
const TOUCH_SECONDS: u64 = 60;

/// Compiled code on disk.
#[derive(Debug)]
pub struct CodeCache {
    pub(super) directory: OwnedFd,
    path: PathBuf,
    key: Key,
    max_bytes: u64,
}

/// The key of the MACs. It never leaves this module.
struct Key([u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Why an entry is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejected {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is not a regular file")]
    NotAFile,
    #[error("it belongs to user {0}")]
    Owner(u32),
    #[error("its mode is {0:o}, not 400")]
    Mode(u32),
    #[error("it is cut short or not an entry")]
    Format,
    #[error("it is the code of another artifact or engine")]
    Identity,
    #[error("its contents do not match its MAC")]
    Mac,
}

impl From<Errno> for Rejected {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

impl CodeCache {
    /// Opens the cache in `directory`, made if it does not exist, bounded by [`DEFAULT_CACHE_BYTES`].
    ///
    /// # Errors
    /// The directory cannot be made, is a symbolic link, is somebody else's or may be entered by others, or its key
    /// can be neither read nor made.
    pub fn open(directory: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let path = directory.into();
        let shown = path.display();
        let opened = Self::open_directory(&path).with_context(|| format!("opening the code cache `{shown}`"))?;
        let key = Self::open_key(&opened).with_context(|| format!("opening the key of the code cache `{shown}`"))?;
        Ok(Self { directory: opened, path, key, max_bytes: DEFAULT_CACHE_BYTES })
    }

    /// Opens the cache of whoever runs this program, in [`samara_model::cache_directory`].
    ///
    /// # Errors
    /// The environment names no directory, or [`CodeCache::open`] refuses it.
    pub fn open_default() -> anyhow::Result<Self> {
        let directory = cache_directory(|name| std::env::var_os(name), Kept::Code);
        Self::open(directory.context("there is no place for the code cache; set SAMARA_CACHE to a directory")?)
    }

    /// The same cache with another bound on the bytes of all entries.
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: u64) -> Self {
        Self { max_bytes, ..self }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.path
    }

    fn open_directory(path: &Path) -> anyhow::Result<OwnedFd> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match rustix::fs::open(path, flags, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) => bail!("it is a symbolic link; name the directory it points to"),
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&directory)?;
        let owner = rustix::process::geteuid().as_raw();
        if stat.st_uid != owner {
            bail!(
                "it belongs to user {}, and this is user {owner}; set SAMARA_CACHE to a directory of yours",
                stat.st_uid
            );
        }
        let mode = Mode::from_raw_mode(stat.st_mode).bits();
        if mode & 0o077 != 0 {
            bail!("others may enter it (mode {mode:o}); `chmod 700` it");
        }
        Ok(directory)
    }

    fn open_key(directory: &OwnedFd) -> anyhow::Result<Key> {
        if let Ok(Some(key)) = read_key(directory) {
            return Ok(key);
        }
        // One process makes the key, the others find it. The lock ends with the descriptor it was taken on.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = rustix::fs::openat(directory, ".", flags, Mode::empty())?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
        match read_key(directory) {
            Ok(Some(key)) => return Ok(key),
            Ok(None) => {}
            Err(why) => tracing::warn!(%why, "the key of the code cache is unusable; a new one replaces it"),
        }
        let key = Key(random()?);
        let name = format!("{UNFINISHED}key");
        ignore_missing(rustix::fs::unlinkat(directory, &name, AtFlags::empty()))?;
        let mut file = create(directory, &name)?;
        file.write_all(&key.0)?;
        // Entries may be lost with the power; a key that comes back empty would only be replaced, with all of them.
        file.sync_all()?;
        rustix::fs::renameat(directory, &name, directory, KEY_NAME)?;
        Ok(key)
    }

    /// The entry of this name, authenticated; `None` if there is none.
    pub(super) fn load(&self, id: &CodeId) -> Result<Option<CheckedFile>, Rejected> {
        let Some((mut file, stat)) = open_checked(&self.directory, &entry::file_name(id))? else { return Ok(None) };
        let trailer = read_trailer(&mut file, &stat)?.ok_or(Rejected::Format)?;
        if trailer.id != *id {
            return Err(Rejected::Identity);
        }
        let mut seal = Seal::new(&self.key.0, id, trailer.code_bytes);
        file.rewind()?;
        let mut left = (&file).take(trailer.code_bytes);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = left.read(&mut chunk)?;
            match chunk.get(..read) {
                Some([]) | None => break,
                Some(code) => seal.update(code),
            }
        }
        // This comparison takes the same time wherever the two differ.
        if left.limit() != 0 || seal.mac() != trailer.mac {
            return Err(Rejected::Mac);
        }
        touch(&file, &stat);
        Ok(Some(CheckedFile { file, code_bytes: trailer.code_bytes }))
    }

    /// A hash under the cache's key, for one use of it.
    pub(super) fn keyed(&self, purpose: &[u8; 8]) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(&self.key.0);
        hasher.update(purpose);
        hasher
    }

    /// Stores code under its name, replacing whatever has it, and keeps the cache within its bound.
    pub(super) fn store(&self, id: &CodeId, code: &[u8]) -> io::Result<()> {
        let mut seal = Seal::new(&self.key.0, id, code.len() as u64);
        seal.update(code);
        self.write(&entry::file_name(id), &[code, &seal.trailer()])
    }

    /// Writes a whole file, replacing whatever has its name, and keeps the cache within its bound.
    pub(super) fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        // Process numbers repeat in other namespaces that share this directory; random names do not.
        let unfinished = format!("{UNFINISHED}{}", hex(&random::<16>()?));
        let write = || {
            let mut file = create(&self.directory, &unfinished)?;
            parts.iter().try_for_each(|part| file.write_all(part))?;
            drop(file);
            Ok(rustix::fs::renameat(&self.directory, &unfinished, &self.directory, name)?)
        };
        let written: io::Result<()> = write();
        if written.is_err() {
            let _ = rustix::fs::unlinkat(&self.directory, &unfinished, AtFlags::empty());
        }
        written?;
        self.gc(self.max_bytes, None).map(drop)
    }
}

/// Bytes that nobody can guess.
fn random<const BYTES: usize>() -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

/// Makes a file that only its owner may read, and that nobody may write but through this descriptor.
fn create(directory: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::RUSR)?;
    // The process's mask may have taken the owner's right too.
    rustix::fs::fchmod(&file, Mode::RUSR)?;
    Ok(File::from(file))
}

/// Opens a file of the cache and checks, on the descriptor, that it is one that [`create`] made.
pub(super) fn open_checked(directory: &OwnedFd, name: &str) -> Result<Option<(File, Stat)>, Rejected> {
    // `NONBLOCK`: a FIFO in a file's place must not hold us up.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP | Errno::NXIO) => return Err(Rejected::NotAFile),
        opened => opened?,
    };
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Rejected::NotAFile);
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Rejected::Owner(stat.st_uid));
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode != Mode::RUSR {
        return Err(Rejected::Mode(mode.bits()));
    }
    Ok(Some((File::from(file), stat)))
}

/// The trailer of an open entry; `None` if it has none or it does not fit the file.
pub(super) fn read_trailer(file: &mut File, stat: &Stat) -> io::Result<Option<Trailer>> {
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    let Some(code_bytes) = size.checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
    let mut bytes = [0; TRAILER_BYTES];
    file.seek(SeekFrom::Start(code_bytes))?;
    file.read_exact(&mut bytes)?;
    Ok(Trailer::parse(&bytes).filter(|trailer| trailer.code_bytes == code_bytes))
}

fn read_key(directory: &OwnedFd) -> Result<Option<Key>, Rejected> {
    let Some((mut file, stat)) = open_checked(directory, KEY_NAME)? else { return Ok(None) };
    let mut key = Key([0; 32]);
    if stat.st_size != 32 {
        return Err(Rejected::Format);
    }
    file.read_exact(&mut key.0)?;
    Ok(Some(key))
}

/// Notes that an entry was used, in its modification time: access times are often not kept.
pub(super) fn touch(file: impl AsFd, stat: &Stat) {
    let age = SystemTime::now().duration_since(last_used(stat)).unwrap_or_default();
    if age.as_secs() >= TOUCH_SECONDS {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        // Only the order of removal depends on it.
        let _ = rustix::fs::futimens(file, &Timestamps { last_access: now, last_modification: now });
    }
}

/// When an entry was last used, to [`TOUCH_SECONDS`].
#[allow(clippy::useless_conversion, reason = "the fields' types differ between platforms")]
pub(super) fn last_used(stat: &Stat) -> SystemTime {
    let seconds = u64::try_from(i64::from(stat.st_mtime)).unwrap_or_default();
    UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

/// What is gone already need not be removed.
pub(super) fn ignore_missing(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => Ok(other?),
    }
}
