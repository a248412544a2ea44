//! A blob on its way: a file that grows, the hash of what it holds, and the lock that says whose it is.
//!
//! The lock is on the file itself. Whoever has it must still ask whether the name is of that file: the one before may have
//! finished and renamed it, or thrown it away.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use bytes::Bytes;
use oci_spec::image::Digest;
use sha2::{Digest as _, Sha256};

use super::{
    Blob, Store, UNFINISHED, blob,
    directory::{PRIVATE, disk, same_file, size, try_lock, unique},
    file_name,
};
use crate::{Error, repository::digest_of};

/// A file of `partial` that is locked by us.
#[derive(Debug)]
pub(super) struct Partial {
    store: Store,
    name: String,
    file: File,
    length: u64,
    hash: Sha256,
}

/// What there is to do about a blob that is not in the store.
#[derive(Debug)]
pub(super) enum Claim {
    /// Ours to download.
    Ours(Partial),
    /// Somebody downloads it.
    Busy,
    /// Somebody has finished it.
    Landed,
}

impl Partial {
    /// Takes the lock on what there is of a blob, which is resumed if it is no longer than `expected`.
    pub(super) fn claim(store: &Store, digest: &Digest, expected: u64) -> Result<Claim, Error> {
        let name = format!("sha256-{}", file_name(digest)?);
        let path = store.0.partial.path.join(&name);
        let claim = || {
            let file = store.0.partial.open_or_create(&name)?;
            let held = rustix::fs::fstat(&file)?;
            if !try_lock(&file)? {
                return Ok(Claim::Busy);
            }
            if !store.0.partial.stat(&name)?.is_some_and(|named| same_file(&named, &held)) {
                // The one before finished or gave up between our opening and our locking.
                return Ok(Claim::Busy);
            }
            if store.0.blobs.stat(file_name(digest).unwrap_or_default())?.is_some() {
                store.0.partial.remove(&name)?;
                return Ok(Claim::Landed);
            }
            let mut length = size(&rustix::fs::fstat(&file)?);
            if length > expected {
                file.set_len(0)?;
                length = 0;
            }
            let hash = blob::hash_of(&file, 0, length)?;
            Ok(Claim::Ours(Self { store: store.clone(), name: name.clone(), file, length, hash }))
        };
        claim().map_err(|error: io::Error| disk("claiming", &path, error))
    }

    /// A file that is shared with nobody, for when who has the lock takes too long.
    pub(super) fn alone(store: &Store) -> Result<Self, Error> {
        let make = || {
            let name = unique(UNFINISHED)?;
            let file = store.0.partial.create(&name, PRIVATE)?;
            try_lock(&file)?;
            Ok(Self { store: store.clone(), name, file, length: 0, hash: Sha256::new() })
        };
        make().map_err(|error: io::Error| disk("writing to", &store.0.partial.path, error))
    }

    /// How many bytes there are.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Adds what came. After an error the file is of no more use but to be [discarded](Self::discard).
    pub(super) fn append(&mut self, chunks: &[Bytes]) -> Result<(), Error> {
        for chunk in chunks {
            let written = self.file.write_all_at(chunk, self.length);
            written.map_err(|error| disk("writing to", &self.store.0.partial.path, error))?;
            self.hash.update(chunk);
            self.length = self.length.saturating_add(chunk.len() as u64);
        }
        Ok(())
    }

    /// Begins again with nothing.
    pub(super) fn restart(&mut self) -> Result<(), Error> {
        self.file.set_len(0).map_err(|error| disk("emptying", &self.store.0.partial.path, error))?;
        self.length = 0;
        self.hash = Sha256::new();
        Ok(())
    }

    /// What the bytes so far hash to.
    pub(super) fn digest(&self) -> Digest {
        digest_of(self.hash.clone())
    }

    /// Makes it a blob. The caller has compared the digest.
    pub(super) fn finish(&mut self, digest: &Digest) -> Result<Blob, Error> {
        let file = self.file.try_clone().map_err(|error| disk("storing", &self.store.0.partial.path, error))?;
        self.store.adopt(file, &self.name, digest, self.length)
    }

    /// Removes it, so that nobody resumes it.
    pub(super) fn discard(&self) {
        let _ = self.store.0.partial.remove(&self.name);
    }
}
