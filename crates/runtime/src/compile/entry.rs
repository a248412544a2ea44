//! One file of the code cache: its name, and the trailer that says what it is and proves it.
//!
//! A file is the compiled code exactly as the engine wrote it, followed by a trailer of [`TRAILER_BYTES`]. The engine
//! finds its sections from the image's header and never looks behind them, so one file, renamed into place once, holds
//! both: code and proof cannot belong to different moments. Integers are little-endian.
//!
//! ```text
//! magic 8 | artifact sha-256 32 | engine hash 32 | concurrency 1 | component 1 | baseline 1 | zero 5 | code length 8 | mac 32
//! ```
//!
//! The MAC is keyed BLAKE3 over the trailer before it and then the code.

use samara_inspect::Encoding;

use super::{
    code::{CodeId, EngineHash, hex},
    facts,
};
use crate::{CodeKind, Tier};

/// Bytes of a trailer.
pub(super) const TRAILER_BYTES: usize = 120;
/// Bytes of a trailer that the MAC covers.
const HEAD_BYTES: usize = 88;
/// Names the format; another format is another magic.
const MAGIC: [u8; 8] = *b"samara\0\x01";
/// How the name of an entry ends.
const SUFFIX: &str = ".code";

/// The file name of an entry: readable, and different for everything that is told apart.
pub(super) fn file_name(id: &CodeId) -> String {
    let engine = hex(&id.engine.0);
    let engine = engine.get(..16).unwrap_or(&engine);
    let encoding = match id.encoding {
        Encoding::Core => "module",
        Encoding::Component => "component",
    };
    format!("{}-{engine}-{encoding}{SUFFIX}", hex(&id.artifact))
}

/// Whether a file of this name could be an entry, or the facts of an artifact. Files of other names in the directory are left alone.
pub(super) fn is_entry_name(name: &str) -> bool {
    let ours = name.ends_with(SUFFIX) || name.ends_with(facts::SUFFIX);
    name.len() <= 128 && name.split('-').next().is_some_and(|hex| hex.len() == 64) && ours
}

/// What a file says it is, and its proof.
#[derive(Debug)]
pub(super) struct Trailer {
    pub(super) id: CodeId,
    pub(super) code_bytes: u64,
    pub(super) mac: blake3::Hash,
}

impl Trailer {
    /// Reads a trailer; `None` if it is not one.
    pub(super) fn parse(bytes: &[u8; TRAILER_BYTES]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (artifact, rest) = rest.split_first_chunk::<32>()?;
        let (engine, rest) = rest.split_first_chunk::<32>()?;
        let (flags, rest) = rest.split_first_chunk::<8>()?;
        let (code_bytes, rest) = rest.split_first_chunk::<8>()?;
        let mac = rest.first_chunk::<32>()?;
        let [concurrency @ (0 | 1), component @ (0 | 1), baseline @ (0 | 1), 0, 0, 0, 0, 0] = *flags else {
            return None;
        };
        let id = CodeId {
            artifact: *artifact,
            engine: EngineHash(*engine),
            kind: CodeKind {
                concurrency: concurrency == 1,
                tier: if baseline == 1 { Tier::Baseline } else { Tier::Optimized },
            },
            encoding: if component == 1 { Encoding::Component } else { Encoding::Core },
        };
        let trailer = Self { id, code_bytes: u64::from_le_bytes(*code_bytes), mac: (*mac).into() };
        (*magic == MAGIC).then_some(trailer)
    }
}

/// The part of the trailer that the MAC covers.
fn head(id: &CodeId, code_bytes: u64) -> [u8; HEAD_BYTES] {
    let component = u8::from(id.encoding == Encoding::Component);
    let baseline = u8::from(id.kind.tier == Tier::Baseline);
    let flags = [u8::from(id.kind.concurrency), component, baseline, 0, 0, 0, 0, 0];
    let parts: [&[u8]; 5] = [&MAGIC, &id.artifact, &id.engine.0, &flags, &code_bytes.to_le_bytes()];
    let mut head = [0; HEAD_BYTES];
    for (to, from) in head.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    head
}

/// Computes an entry's MAC as its code passes by.
pub(super) struct Seal {
    head: [u8; HEAD_BYTES],
    hasher: blake3::Hasher,
}

impl Seal {
    /// Starts the MAC of code of this length.
    pub(super) fn new(key: &[u8; 32], id: &CodeId, code_bytes: u64) -> Self {
        let head = head(id, code_bytes);
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(&head);
        Self { head, hasher }
    }

    /// Adds the next piece of code.
    pub(super) fn update(&mut self, code: &[u8]) {
        self.hasher.update(code);
    }

    /// The MAC.
    pub(super) fn mac(&self) -> blake3::Hash {
        self.hasher.finalize()
    }

    /// The whole trailer.
    pub(super) fn trailer(&self) -> Vec<u8> {
        [self.head.as_slice(), self.mac().as_bytes()].concat()
    }
}
