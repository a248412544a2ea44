//! Directories that are ours alone, by descriptor: everything the store does to a disk goes through here.
//!
//! A name is always one segment below an open directory, and no link is followed: what was checked is what is read.

use std::{
    fmt::Display,
    fs::{DirBuilder, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::DirBuilderExt as _,
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, UTIME_NOW},
    io::Errno,
};

use crate::Error;

/// An open directory, and its path for messages.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
}

/// What only its owner may read and write.
pub(super) const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// An error of this machine's disk, while doing something to a path.
pub(super) fn disk(doing: &str, path: &Path, error: impl Display) -> Error {
    Error::Disk(format!("{doing} `{}`: {error}", path.display()))
}

impl Directory {
    /// Opens a directory that nobody else may enter, made if it does not exist.
    pub(super) fn open_private(path: &Path) -> Result<Self, Error> {
        let failed = |error: &dyn Display| disk("opening the artifact store", path, error);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| failed(&error))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::open(path, flags, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(failed(&"it is a symbolic link; name the directory it points to"));
            }
            opened => opened.map_err(|error| failed(&error))?,
        };
        let stat = rustix::fs::fstat(&fd).map_err(|error| failed(&error))?;
        let user = rustix::process::geteuid().as_raw();
        if stat.st_uid != user {
            let owner = stat.st_uid;
            return Err(failed(&format!(
                "it belongs to user {owner}, and this is user {user}; set SAMARA_CACHE to a directory of yours"
            )));
        }
        let mode = Mode::from_raw_mode(stat.st_mode).bits();
        if mode & 0o077 != 0 {
            return Err(failed(&format!("others may enter it (mode {mode:o}); `chmod 700` it")));
        }
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens a directory that somebody named, where others may be too.
    pub(super) fn open_shared(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path: path.to_owned() }),
            Err(Errno::NOENT) => Err(Error::NotFound(format!("there is no directory `{}`", path.display()))),
            Err(error) => Err(disk("opening", path, error)),
        }
    }

    /// A directory below this one, made if it does not exist.
    pub(super) fn below(&self, name: &str, mode: Mode) -> Result<Self, Error> {
        match rustix::fs::mkdirat(&self.fd, name, mode) {
            Ok(()) | Err(Errno::EXIST) => self.existing(name),
            Err(error) => Err(disk("making", &self.path.join(name), error)),
        }
    }

    /// A directory below this one, and no link to one.
    pub(super) fn existing(&self, name: &str) -> Result<Self, Error> {
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(disk("opening", &path, "it is no directory, or a link to one")),
            Err(error) => Err(disk("opening", &path, error)),
        }
    }

    /// The same directory as another open file, which has locks of its own.
    pub(super) fn again(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, ".", flags, Mode::empty()).map_err(|error| disk("opening", &self.path, error))
    }

    /// Opens a regular file to be read; `None` if there is none.
    pub(super) fn open(&self, name: &str) -> io::Result<Option<(File, Stat)>> {
        // `NONBLOCK`: a FIFO in a file's place must not hold us up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NXIO) => return Err(io::Error::other("it is not a regular file")),
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(Some((File::from(file), stat)))
    }

    /// Opens a file that only this user may touch, to be read and written; made if it does not exist.
    pub(super) fn open_or_create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(rustix::fs::openat(&self.fd, name, flags, PRIVATE)?.into())
    }

    /// Makes a file that was not there, to be read and written.
    pub(super) fn create(&self, name: &str, mode: Mode) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.fd, name, flags, mode)?.into())
    }

    /// Gives a file another name, replacing whatever has it: whoever looks sees the one or the other.
    pub(super) fn rename(&self, name: &str, to: &Self, new_name: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, name, &to.fd, new_name)?)
    }

    /// Gives a file another name, unless something has it already.
    pub(super) fn rename_new(&self, name: &str, to: &Self, new_name: &str) -> io::Result<bool> {
        match rustix::fs::renameat_with(&self.fd, name, &to.fd, new_name, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => Ok(false),
            // File systems that cannot. To replace a blob with its equal is nearly as good.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.rename(name, to, new_name).map(|()| true),
            other => other.map(|()| true).map_err(Into::into),
        }
    }

    /// Removes a file; what is gone already need not be removed.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => Ok(other?),
        }
    }

    /// What a name stands for, without following a link; `None` if nothing.
    pub(super) fn stat(&self, name: &str) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            other => Ok(Some(other?)),
        }
    }

    /// Everything in it that is no directory and whose name is text.
    pub(super) fn files(&self) -> io::Result<Vec<(String, Stat)>> {
        let mut files = Vec::new();
        for item in Dir::read_from(&self.fd)? {
            let item = item?;
            let Ok(name) = item.file_name().to_str() else { continue };
            let Some(stat) = self.stat(name)? else { continue };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                files.push((name.to_owned(), stat));
            }
        }
        Ok(files)
    }
}

/// Whether two descriptors or names are of the same file.
pub(super) fn same_file(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// The bytes of a file.
pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

/// Takes the lock on a file at once, or says that somebody else has it. It ends with the descriptor, and so with the process.
pub(super) fn try_lock(file: impl AsFd) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        other => other.map(|()| true).map_err(Into::into),
    }
}

/// Notes that a file was used, in its modification time: access times are often not kept.
pub(super) fn touch(file: impl AsFd) {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    // Only the order of removal depends on it.
    let _ = rustix::fs::futimens(file, &Timestamps { last_access: now, last_modification: now });
}

/// When a file was last used.
#[allow(clippy::useless_conversion, reason = "the fields' types differ between platforms")]
pub(super) fn last_used(stat: &Stat) -> SystemTime {
    let seconds = u64::try_from(i64::from(stat.st_mtime)).unwrap_or_default();
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or_default().min(999_999_999);
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds)).unwrap_or(UNIX_EPOCH)
}

/// A name nobody else has: process numbers repeat in other namespaces that share a directory, random names do not.
pub(super) fn unique(prefix: &str) -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("{prefix}{}", data_encoding::HEXLOWER.encode(&bytes)))
}
