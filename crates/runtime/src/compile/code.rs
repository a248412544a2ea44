//! Engine code, and the only place where bytes become it.
//!
//! The engine trusts compiled code completely, so the types here say where it came from: a [`CheckedFile`] was
//! authenticated by the cache, [`Compiled`] bytes came from our own compiler a moment ago. Nothing else can be loaded.

use std::{
    fs::File,
    hash::{Hash, Hasher},
    io::{Read, Seek},
    os::fd::AsRawFd,
};

use samara_inspect::Encoding;
use wasmtime::{Engine, Module, component::Component};

use crate::CodeKind;

/// A guest's code, ready to be linked on one engine.
#[derive(Clone)]
pub enum Code {
    /// A core module.
    Module(Module),
    /// A component.
    Component(Component),
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Module(_) => "Code::Module",
            Self::Component(_) => "Code::Component",
        })
    }
}

/// Everything that decides what code the engine accepts, in 32 bytes: its version, its compiler's settings, this
/// machine's instructions, the kind of code and our own version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct EngineHash(pub(super) [u8; 32]);

impl EngineHash {
    pub(super) fn of(engine: &Engine, kind: CodeKind) -> Self {
        let mut hasher = StdHasher(blake3::Hasher::new());
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        kind.hash(&mut hasher);
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Self(hasher.0.finalize().into())
    }
}

/// Feeds what `std::hash::Hash` writes to BLAKE3, because 64 bits are too few for a name.
struct StdHasher(blake3::Hasher);

impl Hasher for StdHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.finalize();
        hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// Which code: of what artifact, for what engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CodeId {
    /// SHA-256 of the WebAssembly.
    pub(super) artifact: [u8; 32],
    /// The engine it runs on.
    pub(super) engine: EngineHash,
    /// What selected that engine's compiler settings; part of `engine` too, kept readable for listings.
    pub(super) kind: CodeKind,
    /// Core module or component.
    pub(super) encoding: Encoding,
}

impl CodeId {
    /// How messages call the artifact.
    pub(super) fn name(&self) -> String {
        let digest = hex(&self.artifact);
        format!("`sha256:{}`", digest.get(..12).unwrap_or(&digest))
    }
}

/// Bytes that our own compiler just wrote.
#[derive(Debug)]
pub(super) struct Compiled(pub(super) Vec<u8>);

/// A file whose contents the cache authenticated through this very descriptor, and that nobody changes: the cache
/// makes its files read-only, and replaces or unlinks them whole.
#[derive(Debug)]
pub(super) struct CheckedFile {
    pub(super) file: File,
    /// Bytes of code at its start; what follows is the cache's own.
    pub(super) code_bytes: u64,
}

/// Code that can be loaded, by any number of engines that share its [`EngineHash`].
#[derive(Debug)]
pub(super) enum Artifact {
    /// In the cache.
    Cached(CheckedFile),
    /// In memory only: there is no cache, or it cannot be written.
    Fresh(Compiled),
}

impl Artifact {
    /// Gives the engine this code. Blocks for as long as mapping a file takes.
    pub(super) fn load(&self, engine: &Engine, encoding: Encoding) -> anyhow::Result<Code> {
        match self {
            Self::Fresh(code) => load_copy(engine, encoding, code),
            Self::Cached(file) => load_mapped(engine, encoding, file).or_else(|mapping| {
                // A file system mounted `noexec` cannot be mapped as code, and without /proc a component's
                // descriptor has no path. Its bytes are just as good.
                tracing::debug!(error = format!("{mapping:#}"), "cached code cannot be mapped; copying it");
                load_copy(engine, encoding, &read(file)?)
            }),
        }
    }
}

fn read(checked: &CheckedFile) -> anyhow::Result<Compiled> {
    let mut file = checked.file.try_clone()?;
    file.rewind()?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(checked.code_bytes)?)?;
    file.take(checked.code_bytes).read_to_end(&mut bytes)?;
    Ok(Compiled(bytes))
}

#[expect(unsafe_code, reason = "the engine cannot check compiled code; `Compiled` says where it came from")]
fn load_copy(engine: &Engine, encoding: Encoding, code: &Compiled) -> anyhow::Result<Code> {
    // SAFETY: `Compiled` is only made from the unmodified output of `precompile_module` and `precompile_component`:
    // by our compile worker, or by the cache, which authenticated it with a key that only this user has.
    let code = unsafe {
        match encoding {
            Encoding::Core => Module::deserialize(engine, &code.0).map(Code::Module),
            Encoding::Component => Component::deserialize(engine, &code.0).map(Code::Component),
        }
    };
    code.map_err(crate::to_anyhow)
}

#[expect(unsafe_code, reason = "the engine cannot check compiled code; `CheckedFile` says that the cache did")]
fn load_mapped(engine: &Engine, encoding: Encoding, checked: &CheckedFile) -> anyhow::Result<Code> {
    // SAFETY: the descriptor being mapped is the one whose contents were authenticated as the unmodified output of
    // our compiler. The file is a regular file of ours with mode 0400, is never written or truncated after it got its
    // name, and stays mapped when it is unlinked; other users cannot reach it, and processes of this user are trusted.
    // The trailer behind the code is outside every section of the image and is not read by the engine.
    let code = unsafe {
        match encoding {
            Encoding::Core => Module::deserialize_open_file(engine, checked.file.try_clone()?).map(Code::Module),
            Encoding::Component => {
                // Components have no call that takes a descriptor; this path names the one that was checked.
                let path = format!("/proc/self/fd/{}", checked.file.as_raw_fd());
                Component::deserialize_file(engine, path).map(Code::Component)
            }
        }
    };
    code.map_err(crate::to_anyhow)
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// 32 bytes of hex, or `None` if it is anything else.
pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}
