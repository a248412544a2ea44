//! What belongs together: one small file per reference that was pulled, replaced whole, last used when it was last written.
//!
//! A record is what keeps blobs: a collection removes whole artifacts by their records, and a record is only written while
//! everything in it is there. It also remembers what was asked on the way, so that the same pull can be answered without
//! a network: which manifest a tag was, what referred to a manifest. Of a descriptor it has what finds the content again and
//! not what strangers wrote beside it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read as _, Write as _},
    time::SystemTime,
};

use oci_spec::image::{Descriptor, Digest};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::{
    Store, UNFINISHED,
    directory::{PRIVATE, disk, last_used, touch, unique},
};
use crate::{Error, bounds::MAX_RECORD_BLOBS, repository::sha256};

/// The file whose lock keeps records and collections apart.
const LOCK_NAME: &str = "lock";
/// How the name of a record's file ends.
pub(super) const SUFFIX: &str = ".json";
/// Bytes of one record, which are read of it and written: [`MAX_RECORD_BLOBS`] need two thirds of them.
const MAX_RECORD_BYTES: usize = 2 << 20;
/// Digits of a repository's digest that begin the names of its records.
const REPOSITORY_DIGITS: usize = 16;

/// An artifact that was pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The reference it was pulled by.
    pub name: String,
    /// The repository it is of, as [`crate::Repository::name`] says.
    pub repository: String,
    /// What the reference resolved to.
    pub root: Descriptor,
    /// What it is, in a word: `module`, `component`, `bundle`.
    pub kind: String,
    /// Tags of the repository that were asked for, and what they were.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, Descriptor>,
    /// Tags that were asked for and were not there: of signatures, mostly.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub absent: BTreeSet<String>,
    /// What referred to manifests, by their digests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub referrers: BTreeMap<String, Vec<Descriptor>>,
    /// All blobs that belong to it, and their bytes.
    pub blobs: BTreeMap<String, u64>,
}

impl Record {
    /// Bytes of all its blobs.
    pub fn bytes(&self) -> u64 {
        self.blobs.values().copied().fold(0, u64::saturating_add)
    }

    /// Its blobs' digests; those that are none are left out.
    pub(super) fn digests(&self) -> impl Iterator<Item = Digest> {
        self.blobs.keys().filter_map(|digest| digest.parse().ok())
    }

    fn file_name(&self) -> String {
        let name = sha256(self.name.as_bytes());
        format!("{}-{}{SUFFIX}", prefix(&self.repository), name.digest())
    }
}

/// What finds the content again: digest, size, what it is. Annotations are as long as who wrote them liked.
fn plain(descriptor: &Descriptor) -> Descriptor {
    let mut plain = Descriptor::new(descriptor.media_type().clone(), descriptor.size(), descriptor.digest().clone());
    plain.set_artifact_type(descriptor.artifact_type().clone());
    plain
}

/// How the names of a repository's records begin.
fn prefix(repository: &str) -> String {
    sha256(repository.as_bytes()).digest().chars().take(REPOSITORY_DIGITS).collect()
}

/// A record's file.
#[derive(Debug)]
pub(super) struct Filed {
    pub(super) record: Record,
    pub(super) last_used: SystemTime,
}

impl Store {
    /// Waits until no collection is under way and keeps the next one waiting; or, if `exclusive`, everybody. Not for long.
    pub(super) fn lock(&self, exclusive: bool) -> Result<File, Error> {
        let failed = |error| disk("locking", &self.0.root.path.join(LOCK_NAME), error);
        let file = self.0.root.open_or_create(LOCK_NAME).map_err(failed)?;
        let operation = if exclusive { FlockOperation::LockExclusive } else { FlockOperation::LockShared };
        rustix::fs::flock(&file, operation).map_err(|error| failed(error.into()))?;
        Ok(file)
    }

    /// The records of one repository or of all, the most recently used first. What is no record is passed over.
    pub(super) fn records(&self, repository: Option<&str>) -> Result<Vec<Filed>, Error> {
        let records = &self.0.records;
        let failed = |error| disk("reading", &records.path, error);
        let beginning = repository.map(prefix).unwrap_or_default();
        let mut found = Vec::new();
        for (file, stat) in records.files().map_err(failed)? {
            if !file.ends_with(SUFFIX) || !file.starts_with(&beginning) {
                continue;
            }
            let Ok(Some(record)) = self.record(&file) else { continue };
            if repository.is_none_or(|name| record.repository == name) {
                found.push(Filed { record, last_used: last_used(&stat) });
            }
        }
        found.sort_by_key(|filed| std::cmp::Reverse(filed.last_used));
        Ok(found)
    }

    /// What is in a record's file; `None` if that is no record, whoever looks.
    pub(super) fn record(&self, file: &str) -> Result<Option<Record>, Error> {
        let failed = |error| disk("reading", &self.0.records.path.join(file), error);
        let opened = match self.0.records.open(file) {
            Ok(Some((opened, _))) => opened,
            Ok(None) => return Ok(None),
            // A link or a pipe that somebody put there.
            Err(error) if error.kind() == io::ErrorKind::Other => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        opened.take(MAX_RECORD_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        Ok(serde_json::from_slice(&bytes).ok().filter(|_| bytes.len() <= MAX_RECORD_BYTES))
    }

    /// Writes a record, with what an earlier one of the same name knew of the same artifact. One that says nothing new only
    /// counts as a use.
    ///
    /// # Errors
    /// One of its blobs is not here (any more), there are too many blobs or referrers, or the disk fails.
    pub fn keep(&self, record: &Record) -> Result<(), Error> {
        let records = &self.0.records;
        let failed = |error| disk("writing to", &records.path, error);
        let lock = self.lock(false)?;
        let file = record.file_name();
        let before = self.record(&file)?;
        let before = before.filter(|found| found.name == record.name && found.repository == record.repository);
        let mut whole = record.clone();
        if let Some(known) = &before
            && known.root.digest() == record.root.digest()
        {
            for (tag, found) in &known.tags {
                if !record.absent.contains(tag) {
                    whole.tags.entry(tag.clone()).or_insert_with(|| found.clone());
                }
            }
            whole.absent.extend(known.absent.iter().filter(|tag| !record.tags.contains_key(*tag)).cloned());
            for (subject, found) in &known.referrers {
                whole.referrers.entry(subject.clone()).or_insert_with(|| found.clone());
            }
            // A part that was lost meanwhile (the disk had changed it) is no reason not to keep the rest.
            let here = known.blobs.iter().filter(|(digest, _)| self.has(digest).unwrap_or(false));
            whole.blobs.extend(here.map(|(digest, size)| (digest.clone(), *size)));
        }
        whole.root = plain(&whole.root);
        let referrers = whole.referrers.values_mut().flatten();
        referrers.chain(whole.tags.values_mut()).for_each(|found| *found = plain(found));
        if whole.blobs.len() > MAX_RECORD_BLOBS {
            return Err(Error::OverLimit(format!(
                "`{}` is made of {} blobs, and at most {MAX_RECORD_BLOBS} are kept of one artifact",
                whole.name,
                whole.blobs.len()
            )));
        }
        for digest in whole.blobs.keys() {
            if !self.has(digest)? {
                return Err(Error::NotFound(format!("`{digest}` of `{}` is not in the store any more", whole.name)));
            }
        }
        if before.is_some_and(|before| before == whole) {
            if let Some((file, _)) = records.open(&file).map_err(failed)? {
                touch(file);
            }
            return Ok(());
        }
        let bytes = serde_json::to_vec(&whole).map_err(|error| failed(error.into()))?;
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(Error::OverLimit(format!(
                "what is to be remembered of `{}` is of {} bytes, and at most {MAX_RECORD_BYTES} are kept of one artifact",
                whole.name,
                bytes.len()
            )));
        }
        let name = unique(UNFINISHED).map_err(failed)?;
        let write = || {
            let mut written = records.create(&name, PRIVATE)?;
            written.write_all(&bytes)?;
            written.sync_all()?;
            records.rename(&name, records, &file)
        };
        let written = write().map_err(failed);
        if written.is_err() {
            let _ = records.remove(&name);
        }
        drop(lock);
        written?;
        self.gc(self.0.max_bytes, None).map(drop)
    }

    /// Whether there is a file of this digest; what is in it is checked when it is read.
    pub(super) fn has(&self, digest: &str) -> Result<bool, Error> {
        let Some(name) = digest.strip_prefix("sha256:").filter(|name| !name.contains('/')) else { return Ok(false) };
        let found = self.0.blobs.stat(name).map_err(|error| disk("reading", &self.0.blobs.path, error))?;
        Ok(found.is_some())
    }
}
