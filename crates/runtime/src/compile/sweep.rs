//! Keeping the code cache small: what is in it, and throwing away what is old or too much.
//!
//! Several processes may sweep at once; whoever finds an entry gone already goes on. An entry that is removed while
//! somebody runs it stays mapped there.

use std::{
    io,
    time::{Duration, SystemTime},
};

use rustix::fs::{AtFlags, Dir, FileType, Stat};
use samara_inspect::Encoding;

use super::{
    cache::{CodeCache, UNFINISHED, ignore_missing, last_used, open_checked, read_trailer},
    code::{EngineHash, hex},
    entry,
};
use crate::{CodeKind, Tier};

/// After this long, a file that is still unfinished was left by a process that died.
const UNFINISHED_AGE: Duration = Duration::from_secs(60 * 60);

/// One entry of the cache, as its own trailer describes it. Its MAC is checked when it is used, not here.
#[derive(Clone, Debug)]
pub struct CacheEntry {
    /// SHA-256 of the artifact, in lower-case hex.
    pub digest: String,
    /// Core module or component.
    pub encoding: Encoding,
    /// What it was compiled for.
    pub kind: CodeKind,
    /// Bytes of the file.
    pub bytes: u64,
    /// When it was last used, to about a minute.
    pub last_used: SystemTime,
    /// Whether the engine of this program on this machine would use it; else it waits to be removed.
    pub engine_current: bool,
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many entries.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl CodeCache {
    /// The entries, the most recently used first. Files that are not entries are not listed.
    ///
    /// # Errors
    /// The directory cannot be read, or this machine has no engine to compare entries with.
    pub fn list(&self) -> anyhow::Result<Vec<CacheEntry>> {
        let mut current = Vec::new();
        for (concurrency, tier) in [false, true].into_iter().flat_map(|one| Tier::ALL.map(|tier| (one, tier))) {
            let kind = CodeKind { concurrency, tier };
            match wasmtime::Engine::new(&crate::config(kind)) {
                Ok(engine) => current.push(EngineHash::of(&engine, kind)),
                // There are machines that this compiler has no instructions for.
                Err(_) if tier == Tier::Baseline => {}
                Err(error) => return Err(crate::to_anyhow(error)),
            }
        }
        let mut entries = Vec::new();
        for (name, _) in self.files()? {
            let Ok(Some((mut file, stat))) = open_checked(&self.directory, &name) else { continue };
            let Ok(Some(trailer)) = read_trailer(&mut file, &stat) else { continue };
            entries.push(CacheEntry {
                digest: hex(&trailer.id.artifact),
                encoding: trailer.id.encoding,
                kind: trailer.id.kind,
                bytes: size(&stat),
                last_used: last_used(&stat),
                engine_current: current.contains(&trailer.id.engine),
            });
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.last_used));
        Ok(entries)
    }

    /// Removes entries that were not used for `max_age`; of the rest, the most recently used are kept while they fit
    /// `max_bytes`.
    ///
    /// # Errors
    /// The directory cannot be read or written.
    pub fn gc(&self, max_bytes: u64, max_age: Option<Duration>) -> io::Result<Removed> {
        let now = SystemTime::now();
        let mut kept = 0u64;
        self.retain(|stat| {
            let old = max_age.is_some_and(|max| now.duration_since(last_used(stat)).is_ok_and(|age| age > max));
            let total = kept.saturating_add(size(stat));
            let keep = !old && total <= max_bytes;
            if keep {
                kept = total;
            }
            keep
        })
    }

    /// Removes every entry. Running guests keep theirs.
    ///
    /// # Errors
    /// The directory cannot be read or written.
    pub fn clear(&self) -> io::Result<Removed> {
        self.retain(|_| false)
    }

    /// Removes the entries that `keep` does not want; it is asked about the most recently used first.
    fn retain(&self, mut keep: impl FnMut(&Stat) -> bool) -> io::Result<Removed> {
        let mut files = self.files()?;
        files.sort_by_key(|(_, stat)| std::cmp::Reverse((stat.st_mtime, stat.st_mtime_nsec)));
        let mut removed = Removed::default();
        for (name, stat) in files {
            if !keep(&stat) {
                ignore_missing(rustix::fs::unlinkat(&self.directory, &name, AtFlags::empty()))?;
                removed.entries += 1;
                removed.bytes = removed.bytes.saturating_add(size(&stat));
            }
        }
        Ok(removed)
    }

    /// The files that may be entries; unfinished ones of processes that died are removed on the way.
    fn files(&self) -> io::Result<Vec<(String, Stat)>> {
        let mut files = Vec::new();
        for item in Dir::read_from(&self.directory)? {
            let item = item?;
            let Ok(name) = item.file_name().to_str() else { continue };
            let unfinished = name.starts_with(UNFINISHED);
            if !unfinished && !entry::is_entry_name(name) {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                continue;
            }
            if !unfinished {
                files.push((name.to_owned(), stat));
            } else if last_used(&stat).elapsed().is_ok_and(|age| age > UNFINISHED_AGE) {
                ignore_missing(rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()))?;
            }
        }
        Ok(files)
    }
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}
