//! What was read of an artifact, kept beside its code: reading five megabytes of WebAssembly takes 17 ms, and finding what
//! was found before a fraction of one.
//!
//! The facts decide what a guest may be (its contract, features and footprint), so they are trusted as code is: the file is
//! ours alone, its name is a hash of the whole artifact under the cache's key, and a MAC under that key covers its
//! contents. They are the word of one very build of this program: another one reads the artifact again.

use std::{io::Read, os::unix::fs::MetadataExt, sync::OnceLock};

use samara_inspect::Module;

use super::{
    cache::{CodeCache, Rejected, open_checked, touch},
    code::hex,
};

/// How the name of a file of facts ends.
pub(super) const SUFFIX: &str = ".facts";
/// Bytes of an artifact from which its facts are kept; smaller ones are read as fast as their facts would be.
const LEAST_ARTIFACT_BYTES: usize = 16 << 10;
/// Bytes of a file of facts.
const MAX_BYTES: u64 = 4 << 20;
/// Bytes of the MAC at the end.
const MAC_BYTES: usize = 32;
/// What the key is used for. An entry's own MAC begins with its magic, which is neither.
const NAMES: &[u8; 8] = b"samara\0n";
const CONTENTS: &[u8; 8] = b"samara\0f";

/// Where the facts of one artifact are, or would be.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    cache: &'a CodeCache,
    name: String,
}

impl<'a> Facts<'a> {
    /// The place for this artifact's facts, if they are worth keeping.
    pub(super) fn of(cache: &'a CodeCache, wasm: &[u8]) -> Option<Self> {
        if wasm.len() < LEAST_ARTIFACT_BYTES {
            return None;
        }
        let program = hex(program()?);
        let artifact = cache.keyed(NAMES).update(wasm).finalize().to_hex();
        Some(Self { cache, name: format!("{artifact}-{program}{SUFFIX}") })
    }

    /// The facts, if they are there and ours.
    pub(super) fn find(&self) -> Option<Module> {
        let found = self.load();
        found.inspect_err(|why| tracing::debug!(name = self.name, %why, "facts in the code cache are not used")).ok()?
    }

    fn load(&self) -> Result<Option<Module>, Rejected> {
        let Some((file, stat)) = open_checked(&self.cache.directory, &self.name)? else { return Ok(None) };
        let mut facts = Vec::new();
        (&file).take(MAX_BYTES).read_to_end(&mut facts)?;
        let (facts, mac) = facts.split_last_chunk::<MAC_BYTES>().ok_or(Rejected::Format)?;
        // This comparison takes the same time wherever the two differ.
        if self.seal(facts) != *mac {
            return Err(Rejected::Mac);
        }
        touch(&file, &stat);
        serde_json::from_slice(facts).map(Some).map_err(|_| Rejected::Format)
    }

    /// Keeps what was read. Without it only the next load is slower.
    pub(super) fn keep(&self, module: &Module) {
        let facts = serde_json::to_vec(module).unwrap_or_default();
        if facts.is_empty() || (facts.len() + MAC_BYTES) as u64 > MAX_BYTES {
            return;
        }
        if let Err(error) = self.cache.write(&self.name, &[&facts, self.seal(&facts).as_bytes()]) {
            tracing::debug!(name = self.name, %error, "facts cannot be stored");
        }
    }

    fn seal(&self, facts: &[u8]) -> blake3::Hash {
        self.cache.keyed(CONTENTS).update(self.name.as_bytes()).update(facts).finalize()
    }
}

/// What tells this build of the program from any other: the file it runs from, if that can be found.
fn program() -> Option<&'static [u8; 8]> {
    static PROGRAM: OnceLock<Option<[u8; 8]>> = OnceLock::new();
    let find = || {
        let file = std::fs::metadata("/proc/self/exe").ok()?;
        let mut hasher = blake3::Hasher::new();
        for number in [file.dev(), file.ino(), file.size()] {
            hasher.update(&number.to_le_bytes());
        }
        for number in [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.finalize().as_bytes().first_chunk().copied()
    };
    PROGRAM.get_or_init(find).as_ref()
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt,
        path::{Path, PathBuf},
        sync::atomic::Ordering::Relaxed,
    };

    use bytes::Bytes;

    use super::*;
    use crate::{
        Worker,
        compile::tests::{compiler, private_directory, rewrite, wasm},
    };

    /// A module that is large enough for its facts to be kept, and too large to be read on the thread that asks.
    fn large() -> Bytes {
        wasm(&format!("(module (memory (export \"memory\") 10) (data (i32.const 0) \"{}\"))", "x".repeat(600 << 10)))
    }

    /// The one file of facts in a cache.
    fn facts(directory: &Path) -> PathBuf {
        let names = fs::read_dir(directory).unwrap().map(|item| item.unwrap().path());
        let found: Vec<_> = names.filter(|path| path.extension().is_some_and(|end| end == "facts")).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }

    #[tokio::test]
    async fn what_was_read_of_a_large_artifact_is_found_again_and_is_the_same() {
        let directory = private_directory();
        let bytes = large();
        let read = format!("{:?}", Module::read(&bytes).unwrap());
        for found in [0, 1, 1] {
            let compiler = compiler(Some(directory.path()), Worker::InProcess);
            let module = compiler.read(&bytes).await.unwrap().unwrap();
            assert_eq!((format!("{module:?}"), compiler.counters().facts.load(Relaxed)), (read.clone(), found));
        }
        // What is spoilt in any way is not believed, and is put right.
        let middle = fs::read(facts(directory.path())).unwrap().len() / 2;
        let spoil: [&dyn Fn(&Path); 4] = [
            &|path| rewrite(path, |bytes| bytes[middle] ^= 1),
            &|path| rewrite(path, |bytes| *bytes.last_mut().unwrap() ^= 1),
            &|path| rewrite(path, |bytes| bytes.truncate(20)),
            &|path| fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap(),
        ];
        for spoil in spoil {
            spoil(&facts(directory.path()));
            let compiler = compiler(Some(directory.path()), Worker::InProcess);
            for found in [0, 1] {
                let module = compiler.read(&bytes).await.unwrap().unwrap();
                assert_eq!((format!("{module:?}"), compiler.counters().facts.load(Relaxed)), (read.clone(), found));
            }
        }
        // Nor are the facts of another artifact, authentic as they are.
        let mut other = bytes.to_vec();
        *other.last_mut().unwrap() = b'y';
        let own = facts(directory.path());
        let kept = fs::read(&own).unwrap();
        fs::remove_file(&own).unwrap();
        let other = Bytes::from(other);
        let compiler = compiler(Some(directory.path()), Worker::InProcess);
        drop(compiler.read(&other).await.unwrap().unwrap());
        rewrite(&facts(directory.path()), |bytes| *bytes = kept);
        let module = compiler.read(&other).await.unwrap().unwrap();
        assert_eq!((module.sha256, compiler.counters().facts.load(Relaxed)), (Module::read(&other).unwrap().sha256, 0));
        let listed = compiler.cache().unwrap().list().unwrap();
        assert!(listed.is_empty(), "they are no code: {listed:?}");
        assert_eq!(compiler.cache().unwrap().clear().unwrap().entries, 1, "and go with it");
    }
}
