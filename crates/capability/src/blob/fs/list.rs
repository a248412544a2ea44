//! What is in a folder, in pages.
//!
//! A page is in the order of the names on the disk, which is what its cursor is: so it needs no state between pages, and no
//! more memory than its own entries, however many files there are.

use std::collections::BTreeSet;

use cap_std::fs::Dir;

use super::{
    file::{Stored, absent, is_foreign, refused},
    folder::{Folder, folder, is_hash},
};
use crate::blob::{
    BlobError, Listed, Page,
    name::{Kept, escape, unescape},
};

/// The names of a folder that come after another and may be those of names with a prefix: the first `limit` of them in order,
/// and whether there are more. Names behind a hash may be any.
fn after(dir: &Dir, cursor: &str, prefix: &str, limit: usize) -> Result<(BTreeSet<String>, bool), BlobError> {
    let prefix = escape(prefix, Kept::InFiles);
    let mut first = BTreeSet::new();
    let mut more = false;
    for entry in dir.entries().map_err(|error| refused(&error))? {
        let Ok(name) = entry.map_err(|error| refused(&error))?.file_name().into_string() else { continue };
        if name.as_str() > cursor && (name.starts_with(&prefix) || is_hash(&name)) {
            first.insert(name);
        }
        if first.len() > limit {
            first.pop_last();
            more = true;
        }
    }
    Ok((first, more))
}

/// The folders that objects are spread over, in order.
fn shards(objects: &Dir) -> Result<BTreeSet<String>, BlobError> {
    let mut shards = BTreeSet::new();
    for entry in objects.entries().map_err(|error| refused(&error))? {
        let name = entry.map_err(|error| refused(&error))?.file_name().into_string();
        shards.extend(name.ok().filter(|name| is_shard(name)));
    }
    Ok(shards)
}

fn is_shard(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// What is in a file, if it is an object of ours that is still there.
fn listed(dir: &Dir, name: &str) -> Result<Option<(String, Stored)>, BlobError> {
    let stored = match absent(Stored::open(dir, name)) {
        Ok(Some(stored)) => stored,
        Err(error) if !is_foreign(&error) => return Err(refused(&error)),
        Ok(None) | Err(_) => return Ok(None),
    };
    let called = if is_hash(name) { stored.name.clone() } else { unescape(name, Kept::InFiles) };
    Ok(called.map(|called| (called, stored)))
}

impl Folder {
    pub(super) fn list_containers(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<String>, BlobError> {
        let (names, more) = after(&self.containers, cursor.unwrap_or_default(), prefix, limit.max(1))?;
        let cursor = names.last().filter(|_| more).cloned();
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            let Some(dir) = folder(&self.containers, &name)? else { continue };
            let Ok(about) = Stored::open(&dir, "about") else { continue };
            entries.extend(about.name.filter(|name| name.starts_with(prefix)));
        }
        Ok(Page { entries, cursor })
    }

    pub(super) fn list(
        &self,
        container: &str,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Listed>, BlobError> {
        let (from, mut name) = match cursor {
            None => ("", ""),
            Some(cursor) => {
                cursor.split_once('/').filter(|(shard, _)| is_shard(shard)).ok_or(BlobError::UnknownCursor)?
            }
        };
        let objects = self.objects(container)?;
        let limit = limit.max(1);
        let mut entries = Vec::new();
        for shard in shards(&objects)?.range(from.to_owned()..) {
            // Only the page's first folder is begun in its middle.
            let start = if shard == from { std::mem::take(&mut name) } else { "" };
            let Some(dir) = folder(&objects, shard)? else { continue };
            let (names, more) = after(&dir, start, prefix, limit - entries.len())?;
            let last = names.last().cloned();
            for name in names {
                let Some((name, stored)) = listed(&dir, &name)? else { continue };
                if name.starts_with(prefix) {
                    entries.push(Listed { name, bytes: stored.info.bytes, written: stored.info.written });
                }
            }
            if let Some(last) = last.filter(|_| more || entries.len() >= limit) {
                return Ok(Page { entries, cursor: Some(format!("{shard}/{last}")) });
            }
        }
        Ok(Page { entries, cursor: None })
    }
}

/// Hears of each object beneath a container's `objects`: the folder it is in, its name, and what it is.
pub(super) fn each(objects: &Dir, mut heard: impl FnMut(&Dir, &str, &Stored)) -> Result<(), BlobError> {
    for shard in shards(objects)? {
        let Some(dir) = folder(objects, &shard)? else { continue };
        for entry in dir.entries().map_err(|error| refused(&error))? {
            let Ok(name) = entry.map_err(|error| refused(&error))?.file_name().into_string() else { continue };
            if let Some((object, stored)) = listed(&dir, &name)? {
                heard(&dir, &object, &stored);
            }
        }
    }
    Ok(())
}
