//! A blob of the store: a file whose bytes were checked against its digest through the descriptor that reads them.

use std::{
    fmt::Display,
    fs::File,
    io,
    os::{fd::AsRawFd as _, unix::fs::FileExt as _},
    path::PathBuf,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};
use oci_spec::image::Digest;
use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};

use super::{blocking, directory::disk};
use crate::{BlobStream, Error, repository::digest_of};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// A verified, immutable file of the store. While one is held, no collection removes it.
#[derive(Clone, Debug)]
pub struct Blob {
    digest: Digest,
    bytes: Span,
}

/// Bytes of a file: all of it, or one entry of an archive.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) file: Arc<File>,
    pub(super) start: u64,
    pub(super) size: u64,
    /// For messages.
    pub(super) path: PathBuf,
}

impl Blob {
    /// A file that is [held](hold), and whose bytes were just checked against `digest`.
    pub(super) fn verified(digest: Digest, size: u64, file: File, path: PathBuf) -> Self {
        Self { digest, bytes: Span { file: Arc::new(file), start: 0, size, path } }
    }

    /// SHA-256 of its bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// How many bytes.
    pub fn size(&self) -> u64 {
        self.bytes.size
    }

    /// The same file as a descriptor with a position of its own, to be read.
    ///
    /// # Errors
    /// There is no `/proc`, or there are too many open files.
    pub fn open(&self) -> Result<File, Error> {
        File::open(format!("/proc/self/fd/{}", self.bytes.file.as_raw_fd()))
            .map_err(|error| disk("opening again", &self.bytes.path, error))
    }

    /// All of its bytes. Ask [`Blob::size`] first: whoever calls has the bound.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn read(&self) -> Result<Bytes, Error> {
        let bytes = self.bytes.clone();
        blocking(move || bytes.read()).await
    }

    /// [`Blob::read`] on this thread, for code that may block.
    ///
    /// # Errors
    /// The disk fails.
    pub fn read_now(&self) -> Result<Bytes, Error> {
        self.bytes.read()
    }

    /// Its bytes from `offset` on, in pieces.
    pub fn stream(&self, offset: u64) -> BlobStream {
        self.bytes.stream(offset)
    }
}

impl Span {
    /// All of it, on this thread.
    pub(super) fn read(&self) -> Result<Bytes, Error> {
        let failed = |error: &dyn Display| disk("reading", &self.path, error);
        let size = usize::try_from(self.size).map_err(|error| failed(&error))?;
        let mut bytes = BytesMut::zeroed(size);
        self.file.read_exact_at(&mut bytes, self.start).map_err(|error| failed(&error))?;
        Ok(bytes.freeze())
    }

    /// From `offset` on, in pieces.
    pub(super) fn stream(&self, offset: u64) -> BlobStream {
        let chunks = futures::stream::try_unfold((self.clone(), offset), |(span, offset)| async move {
            let left = span.size.saturating_sub(offset);
            if left == 0 {
                return Ok(None);
            }
            let length = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let (span, chunk) = blocking(move || {
                let mut chunk = BytesMut::zeroed(length);
                let read = span.file.read_exact_at(&mut chunk, span.start.saturating_add(offset));
                read.map_err(|error| disk("reading", &span.path, error))?;
                Ok((span, chunk.freeze()))
            })
            .await?;
            let next = offset.saturating_add(chunk.len() as u64);
            Ok(Some((chunk, (span, next))))
        });
        BlobStream::new(offset, chunks.into_stream().boxed())
    }

    /// Whether its bytes have this digest.
    pub(super) fn has_digest(&self, digest: &Digest) -> Result<bool, Error> {
        let hash = hash_of(&self.file, self.start, self.size);
        Ok(digest_of(hash.map_err(|error| disk("reading", &self.path, error))?) == *digest)
    }
}

/// Keeps collections away from a file, in every process, for as long as its descriptor lives. While this is done the store
/// itself is locked, so that none comes between opening a file and holding it.
pub(super) fn hold(file: &File) {
    // A file system without locks only means that a collection may remove the name; the descriptor stays readable.
    let _ = rustix::fs::flock(file, FlockOperation::NonBlockingLockShared);
}

/// What `length` bytes of a file hash to, as a hash that can be continued.
pub(super) fn hash_of(file: &File, start: u64, length: u64) -> io::Result<Sha256> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut done = 0u64;
    while done < length {
        let wanted = usize::try_from(length - done).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let Some(part) = chunk.get_mut(..wanted) else { break };
        file.read_exact_at(part, start.saturating_add(done))?;
        hash.update(&part);
        done += wanted as u64;
    }
    Ok(hash)
}
