//! A blob of the store: a file whose bytes were checked against its digest through the descriptor that reads them.

use std::{
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
    size: u64,
    file: Arc<File>,
    path: PathBuf,
}

impl Blob {
    /// A file whose bytes were just checked against `digest`. The shared lock on it keeps collections away, in every
    /// process, for as long as the descriptor lives.
    pub(super) fn verified(digest: Digest, size: u64, file: File, path: PathBuf) -> Self {
        // A file system without locks only means that a collection may remove the name; the descriptor stays readable.
        let _ = rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared);
        Self { digest, size, file: Arc::new(file), path }
    }

    /// SHA-256 of its bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// How many bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The same file as a descriptor with a position of its own, to be read.
    ///
    /// # Errors
    /// There is no `/proc`, or there are too many open files.
    pub fn open(&self) -> Result<File, Error> {
        File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
            .map_err(|error| disk("opening again", &self.path, error))
    }

    /// All of its bytes. Ask [`Blob::size`] first: whoever calls has the bound.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn read(&self) -> Result<Bytes, Error> {
        let blob = self.clone();
        blocking(move || blob.read_now()).await
    }

    /// [`Blob::read`] on this thread, for code that may block.
    ///
    /// # Errors
    /// The disk fails.
    pub fn read_now(&self) -> Result<Bytes, Error> {
        let size = usize::try_from(self.size).map_err(|error| disk("reading", &self.path, error))?;
        let mut bytes = BytesMut::zeroed(size);
        self.file.read_exact_at(&mut bytes, 0).map_err(|error| disk("reading", &self.path, error))?;
        Ok(bytes.freeze())
    }

    /// Its bytes from `offset` on, in pieces.
    pub fn stream(&self, offset: u64) -> BlobStream {
        let chunks = futures::stream::try_unfold((self.clone(), offset), |(blob, offset)| async move {
            let left = blob.size.saturating_sub(offset);
            if left == 0 {
                return Ok(None);
            }
            let length = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let (blob, chunk) = blocking(move || {
                let mut chunk = BytesMut::zeroed(length);
                let read = blob.file.read_exact_at(&mut chunk, offset);
                read.map_err(|error| disk("reading", &blob.path, error))?;
                Ok((blob, chunk.freeze()))
            })
            .await?;
            let next = offset.saturating_add(chunk.len() as u64);
            Ok(Some((chunk, (blob, next))))
        });
        BlobStream { offset, chunks: chunks.into_stream().boxed() }
    }
}

/// What the first `length` bytes of a file hash to, as a hash that can be continued.
pub(super) fn hash_of(file: &File, length: u64) -> io::Result<Sha256> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut offset = 0u64;
    while offset < length {
        let wanted = usize::try_from(length - offset).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let Some(part) = chunk.get_mut(..wanted) else { break };
        file.read_exact_at(part, offset)?;
        hash.update(&part);
        offset += wanted as u64;
    }
    Ok(hash)
}

/// Whether the bytes of an open file have this digest.
pub(super) fn has_digest(file: &File, size: u64, digest: &Digest) -> io::Result<bool> {
    Ok(digest_of(hash_of(file, size)?) == *digest)
}
