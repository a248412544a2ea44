//! Keeping the store small: what is in it, and throwing away what is old or too much, whole artifacts at a time.
//!
//! The record of an artifact goes first, its blobs after, but for those that another artifact has too. What has no record
//! (a pull that is under way, one that was killed) is left alone while it is young, and what anybody holds open always: a
//! [`Blob`](super::Blob) and a partial file are locked by whoever has them. Killed at any moment, a collection leaves blobs
//! without a record, for the next one.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use oci_spec::image::Digest;

use super::{
    Store, UNFINISHED,
    directory::{Directory, disk, last_used, size, try_lock},
    record::{Filed, SUFFIX},
};
use crate::Error;

/// What has no record is somebody's work of this moment while it is younger.
const YOUNG: Duration = Duration::from_secs(10 * 60);
/// And was left by somebody who does not come back when it is older.
const LEFT_OVER: Duration = Duration::from_secs(24 * 60 * 60);

/// One artifact of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The reference it was pulled by; `None` for blobs of a pull that has not ended, or of artifacts that are gone.
    pub name: Option<String>,
    /// What it resolved to, or the blob.
    pub digest: Digest,
    /// What it is, in a word.
    pub kind: String,
    /// Bytes of all its blobs, also of those that it shares.
    pub bytes: u64,
    /// When it was last used.
    pub last_used: SystemTime,
}

/// What a collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many artifacts.
    pub artifacts: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

/// A file without a record.
struct Loose {
    name: String,
    bytes: u64,
    last_used: SystemTime,
}

impl Store {
    /// What is in it, the most recently used first.
    ///
    /// # Errors
    /// The disk fails.
    pub fn list(&self) -> Result<Vec<Entry>, Error> {
        let records = self.records(None)?;
        let known = blobs_of(&records);
        let mut entries: Vec<_> = records
            .into_iter()
            .map(|Filed { record, last_used }| Entry {
                digest: record.root.digest().clone(),
                bytes: record.bytes(),
                name: Some(record.name),
                kind: record.kind,
                last_used,
            })
            .collect();
        for loose in self.loose(&known)? {
            let Ok(digest) = format!("sha256:{}", loose.name).parse() else { continue };
            let Loose { bytes, last_used, .. } = loose;
            entries.push(Entry { name: None, digest, kind: "blob".to_owned(), bytes, last_used });
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.last_used));
        Ok(entries)
    }

    /// Removes artifacts that were not used for `max_age`; of the rest, the most recently used are kept while they fit
    /// `max_bytes`. What is being pulled or read stays.
    ///
    /// # Errors
    /// The disk fails.
    pub fn gc(&self, max_bytes: u64, max_age: Option<Duration>) -> Result<Removed, Error> {
        self.collect(max_bytes, max_age, YOUNG)
    }

    /// Removes everything that nobody has open at this moment.
    ///
    /// # Errors
    /// The disk fails.
    pub fn clear(&self) -> Result<Removed, Error> {
        self.collect(0, Some(Duration::ZERO), Duration::ZERO)
    }

    fn collect(&self, max_bytes: u64, max_age: Option<Duration>, young: Duration) -> Result<Removed, Error> {
        let _lock = self.lock(true)?;
        let now = SystemTime::now();
        let age = |last_used| now.duration_since(last_used).unwrap_or_default();
        let too_old = |last_used| max_age.is_some_and(|max| age(last_used) > max);
        let mut removed = Removed::default();
        let mut known = HashSet::new();
        let (mut kept, mut kept_bytes) = (HashSet::new(), 0u64);
        // One at a time, however many there are and however large.
        for Loose { name: file, last_used, .. } in files(&self.0.records)? {
            if !file.ends_with(SUFFIX) {
                continue;
            }
            let Ok(record) = self.record(&file) else { continue };
            // Records are written whole and under the lock that is held here: what is none now will be none.
            let Some(record) = record else {
                remove(&self.0.records, &file)?;
                continue;
            };
            known.extend(record.blobs.keys().map(|digest| digits(digest).to_owned()));
            let added: Vec<_> = record.digests().map(|digest| digest.digest().to_owned()).collect();
            let bytes = record.blobs.iter().filter(|(digest, _)| !kept.contains(digits(digest))).map(|(_, size)| *size);
            let total = bytes.fold(kept_bytes, u64::saturating_add);
            if max_bytes > 0 && !too_old(last_used) && total <= max_bytes {
                kept_bytes = total;
                kept.extend(added);
            } else {
                remove(&self.0.records, &file)?;
                removed.artifacts += 1;
            }
        }
        for blob in files(&self.0.blobs)? {
            if kept.contains(&blob.name) {
                continue;
            }
            let old = age(blob.last_used);
            let was_artifacts = known.contains(&blob.name);
            let fits = kept_bytes.saturating_add(blob.bytes) <= max_bytes;
            let stays = old < young || (fits && old < LEFT_OVER && !too_old(blob.last_used));
            if !was_artifacts && stays {
                kept_bytes = kept_bytes.saturating_add(blob.bytes);
            } else if remove_unlocked(&self.0.blobs, &blob.name)? {
                removed.bytes = removed.bytes.saturating_add(blob.bytes);
            }
        }
        for partial in files(&self.0.partial)? {
            // Who writes one that begins so has all the bytes and cannot be waited for: without its lock it is dead.
            let dead = partial.name.starts_with(UNFINISHED);
            let old = age(partial.last_used);
            let stays = old < young || (!dead && old < LEFT_OVER && !too_old(partial.last_used));
            if !stays && remove_unlocked(&self.0.partial, &partial.name)? {
                removed.bytes = removed.bytes.saturating_add(partial.bytes);
            }
        }
        // Records are written under the lock that is held here, so that nobody writes these.
        for left in files(&self.0.records)?.iter().filter(|left| left.name.starts_with(UNFINISHED)) {
            remove(&self.0.records, &left.name)?;
        }
        Ok(removed)
    }

    /// Blobs that no record has.
    fn loose(&self, known: &HashSet<String>) -> Result<Vec<Loose>, Error> {
        let mut files = files(&self.0.blobs)?;
        files.retain(|file| !known.contains(&file.name));
        Ok(files)
    }
}

fn remove(directory: &Directory, name: &str) -> Result<(), Error> {
    directory.remove(name).map_err(|error| disk("removing", &directory.path.join(name), error))
}

/// Removes a file unless somebody holds it.
fn remove_unlocked(directory: &Directory, name: &str) -> Result<bool, Error> {
    match directory.open(name) {
        // Locked until it is gone: whoever waits for the lock then sees that the name is not of this file any more.
        Ok(Some((file, _))) => {
            if !try_lock(&file).map_err(|error| disk("locking", &directory.path.join(name), error))? {
                return Ok(false);
            }
            remove(directory, name)?;
        }
        Ok(None) => return Ok(false),
        // Links and pipes that somebody put there.
        Err(_) => remove(directory, name)?,
    }
    Ok(true)
}

/// The files of a directory, the most recently used first.
fn files(directory: &Directory) -> Result<Vec<Loose>, Error> {
    let files = directory.files().map_err(|error| disk("reading", &directory.path, error))?;
    let mut files: Vec<_> =
        files.into_iter().map(|(name, stat)| Loose { name, bytes: size(&stat), last_used: last_used(&stat) }).collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.last_used));
    Ok(files)
}

fn digits(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

/// The names of the blobs that records have.
fn blobs_of(records: &[Filed]) -> HashSet<String> {
    records.iter().flat_map(|filed| filed.record.blobs.keys()).map(|digest| digits(digest).to_owned()).collect()
}
