//! The bounds of everything a registry, a web server or an archive may make us hold.
//!
//! Each is checked before the bytes are kept, not after: a length that is announced is refused when it is over the bound,
//! and a length that is not announced is counted while it comes.

use std::time::Duration;

/// A manifest or an index: what the distribution specification asks registries to take at least.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// A module, unless the host file says otherwise.
pub const MAX_MODULE_BYTES: u64 = 256 << 20;
/// A layer that is an archive, as it comes over the wire.
pub const MAX_LAYER_BYTES: u64 = 512 << 20;
/// A configuration, a signature, an attestation, a small document of any kind.
pub const MAX_DOCUMENT_BYTES: u64 = 4 << 20;
/// What a token server answers.
pub const MAX_TOKEN_BYTES: u64 = 64 << 10;
/// What is read of an error that a server explains.
pub const MAX_ERROR_BYTES: u64 = 64 << 10;
/// Layers of one manifest.
pub const MAX_LAYERS: usize = 512;
/// Manifests of one index, and referrers of one artifact.
pub const MAX_MANIFESTS: usize = 512;
/// Indexes within indexes.
pub const MAX_INDEX_DEPTH: usize = 4;
/// Entries of one archive.
pub const MAX_ARCHIVE_ENTRIES: usize = 20_000;
/// How much larger an archive may be when it is unpacked.
pub const MAX_EXPANSION: u64 = 100;
/// Bytes of one archive that are unpacked in all.
pub const MAX_UNPACKED_BYTES: u64 = 2 << 30;
/// Redirects that one request follows.
pub const MAX_REDIRECTS: usize = 5;
/// Tries of one request, the first included.
pub const MAX_TRIES: u32 = 5;
/// How long to wait for the head of an answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a body may stay without a byte.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);
