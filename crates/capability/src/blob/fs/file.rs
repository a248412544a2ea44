//! One object as a file: a head of fixed form, then its bytes.
//!
//! The head is eight bytes that say what this is, the length of what follows as four bytes (little endian), and that many
//! bytes of JSON: the attributes, and the object's name if its file could not be named after it.

use std::{
    fmt,
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::blob::{Attributes, BlobError, Info};

/// How every object's file begins.
const MAGIC: &[u8; 8] = b"samblob\x01";

/// Bytes of a head's JSON, at most.
const HEAD_BYTES: u32 = 64 << 10;

/// What the head says.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Head {
    /// The name, if the file's is a hash of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub(super) attributes: Attributes,
}

/// An object's file, open for reading: the version that it was when it was opened.
pub(super) struct Stored {
    file: File,
    pub(super) name: Option<String>,
    pub(super) info: Info,
    head_bytes: u64,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("info", &self.info).finish_non_exhaustive()
    }
}

/// What a disk said, in words that name no path.
pub(super) fn refused(error: &io::Error) -> BlobError {
    BlobError::Backend(match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk of the store is full; make room, or remove objects".to_owned()
        }
        _ => format!("the disk of the store refuses: {error}"),
    })
}

/// Whether something is somebody else's: no object of ours, a link, or a socket.
pub(super) fn is_foreign(error: &io::Error) -> bool {
    let linked = [Errno::LOOP, Errno::NXIO].map(Errno::raw_os_error);
    error.kind() == io::ErrorKind::InvalidData || error.raw_os_error().is_some_and(|code| linked.contains(&code))
}

/// `None` instead of the error that something is not there.
pub(super) fn absent<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a file or a folder beneath another without following a link.
pub(super) fn open(dir: &Dir, name: &str, options: &mut OpenOptions) -> io::Result<File> {
    // A pipe that somebody put there would wait for a writer.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    dir.open_with(name, options.custom_flags(flags.bits().cast_signed()))
}

impl Stored {
    /// Reads an object's head.
    ///
    /// # Errors
    /// Those of the disk; what is no object of ours is [`io::ErrorKind::InvalidData`].
    pub(super) fn open(dir: &Dir, name: &str) -> io::Result<Self> {
        let mut file = open(dir, name, OpenOptions::new().read(true))?;
        let metadata = file.metadata()?;
        let foreign =
            || io::Error::new(io::ErrorKind::InvalidData, "a file that is no object of the store lies in its folder");
        if !metadata.is_file() {
            return Err(foreign());
        }
        let mut start = [0; 12];
        file.read_exact(&mut start).map_err(|_| foreign())?;
        let [magic @ .., a, b, c, d] = start;
        let length = u32::from_le_bytes([a, b, c, d]);
        if magic != *MAGIC || length > HEAD_BYTES {
            return Err(foreign());
        }
        let mut json = Vec::new();
        (&mut file).take(length.into()).read_to_end(&mut json)?;
        let Head { name, attributes } = serde_json::from_slice(&json).map_err(|_| foreign())?;
        let head_bytes = start.len() as u64 + u64::from(length);
        let bytes = metadata.len().checked_sub(head_bytes).ok_or_else(foreign)?;
        let info = Info { bytes, written: metadata.modified()?.into_std(), attributes };
        Ok(Self { file, name, info, head_bytes })
    }

    /// Some of its bytes, which it has.
    pub(super) fn part(&self, range: Range<u64>) -> Result<Part, BlobError> {
        let mut file = self.file.try_clone().map_err(|error| refused(&error))?;
        let start = self.head_bytes.saturating_add(range.start);
        file.seek(SeekFrom::Start(start)).map_err(|error| refused(&error))?;
        Ok(Part { file, left: range.end.saturating_sub(range.start) })
    }
}

/// Bytes of a file that are read one after another.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    pub(super) left: u64,
}

impl Part {
    /// The next bytes, `most` of them at most.
    pub(super) fn read(&mut self, most: usize) -> Result<Bytes, BlobError> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(most);
        let mut chunk = vec![0; length];
        self.file.read_exact(&mut chunk).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                BlobError::Backend("the object's file was cut while it was read".to_owned())
            }
            _ => refused(&error),
        })?;
        self.left -= length as u64;
        Ok(chunk.into())
    }
}

/// A file that is being written, under a name nobody looks for. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Incoming {
    file: File,
    pub(super) name: Arc<IncomingName>,
    pub(super) bytes: u64,
}

/// Something in the folder of unfinished things.
#[derive(Debug)]
pub(super) struct IncomingName {
    pub(super) dir: Arc<Dir>,
    pub(super) name: String,
}

impl Drop for IncomingName {
    fn drop(&mut self) {
        // Gone already if it was finished. What cannot be removed now is when the store is opened a day later.
        let _ = self.dir.remove_file(&self.name);
    }
}

impl Incoming {
    /// Begins a file with its head.
    pub(super) fn new(name: IncomingName, head: &Head) -> Result<Self, BlobError> {
        let json = serde_json::to_vec(head).map_err(|error| BlobError::Invalid(error.to_string()))?;
        let length = u32::try_from(json.len()).ok().filter(|length| *length <= HEAD_BYTES);
        let too_large = BlobError::TooLarge { what: "name of the object", limit: HEAD_BYTES.into() };
        let length = length.ok_or(too_large)?;
        let mut options = OpenOptions::new();
        let file = open(&name.dir, &name.name, options.write(true).create_new(true).mode(0o600));
        let mut incoming = Self { file: file.map_err(|error| refused(&error))?, name: Arc::new(name), bytes: 0 };
        let start = [MAGIC.as_slice(), &length.to_le_bytes(), &json].concat();
        incoming.file.write_all(&start).map_err(|error| refused(&error))?;
        Ok(incoming)
    }

    /// Adds bytes at its end.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.file.write_all(bytes).map_err(|error| refused(&error))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Adds all of an object's bytes at its end.
    pub(super) fn write_all_of(&mut self, source: &Stored) -> Result<(), BlobError> {
        let mut part = source.part(0..source.info.bytes)?;
        // The kernel copies between files where it can.
        let mut source_file = part.file.try_clone().map_err(|error| refused(&error))?.into_std().take(part.left);
        let mut target = self.file.try_clone().map_err(|error| refused(&error))?.into_std();
        let copied = io::copy(&mut source_file, &mut target).map_err(|error| refused(&error))?;
        part.left = part.left.saturating_sub(copied);
        if part.left > 0 {
            return Err(BlobError::Backend("the object's file was cut while it was copied".to_owned()));
        }
        self.bytes += copied;
        Ok(())
    }

    /// Sees to it that what was written is on the disk.
    pub(super) fn sync(&self) -> Result<(), BlobError> {
        self.file.sync_all().map_err(|error| refused(&error))
    }
}
