//! The bounds of everything a registry, a web server or an archive may make us hold.
//!
//! Each is checked before the bytes are kept, not after: a length that is announced is refused when it is over the bound,
//! and a length that is not announced is counted while it comes.

use std::time::Duration;

use samara_model::manifest::ArtifactSettings;

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
/// Layers of one image that are archives, each an open file while it is read; other hosts run images of no more.
pub const MAX_ARCHIVE_LAYERS: usize = 128;
/// Manifests of one index, and referrers of one artifact.
pub const MAX_MANIFESTS: usize = 512;
/// Strings of one manifest or index, keys included: what its few megabytes may become in memory.
pub const MAX_DOCUMENT_STRINGS: usize = 65_536;
/// Manifests of one artifact that is copied, with those of its signatures and their signatures.
pub const MAX_COPIED_MANIFESTS: usize = 2048;
/// Blobs of one artifact that are kept together.
pub const MAX_RECORD_BLOBS: usize = 16_384;
/// Indexes within indexes.
pub const MAX_INDEX_DEPTH: usize = 4;
/// Entries of one archive.
pub const MAX_ARCHIVE_ENTRIES: usize = 20_000;
/// How much larger an archive may be when it is unpacked.
pub const MAX_EXPANSION: u64 = 100;
/// Bytes that an archive may unpack to before [`MAX_EXPANSION`] counts: small files compress as well as they like.
pub const FREE_EXPANSION_BYTES: u64 = 8 << 20;
/// Bytes of one archive that are unpacked in all, or of all layers of one image.
pub const MAX_UNPACKED_BYTES: u64 = 2 << 30;
/// The path of one entry of an archive.
pub const MAX_NAME_BYTES: usize = 4096;
/// The paths of all entries of an archive that are kept.
pub const MAX_NAMES_BYTES: usize = 4 << 20;
/// What describes one entry of a tar besides its header: a long name, extended attributes.
pub const MAX_ENTRY_HEADER_BYTES: u64 = 1 << 20;
/// What is read of a zip before its members are known.
pub const MAX_ZIP_DIRECTORY_BYTES: u64 = 8 << 20;
/// The window of a zstd stream, as a power of two: what its decoder keeps in memory.
pub const MAX_ZSTD_WINDOW_LOG: u32 = 25;
/// Redirects that one request follows.
pub const MAX_REDIRECTS: usize = 5;
/// Tries of one request, the first included.
pub const MAX_TRIES: u32 = 5;
/// How long to wait for the head of an answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a body may stay without a byte.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the whole of a small document may take: a manifest, a token, a list, an error.
pub const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(60);
/// What a body must bring on average, once it was slower than that for [`SLOW_TIMEOUT`].
pub const MIN_BYTES_PER_SECOND: u64 = 4 << 10;
/// How long a body may be slower than [`MIN_BYTES_PER_SECOND`].
pub const SLOW_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a host may begin a blob anew that broke off, where it cannot go on: its whole size again, each time.
pub const MAX_RESTARTS: u32 = 1;
/// The wait before the second try.
pub const FIRST_BACKOFF: Duration = Duration::from_millis(250);
/// The longest wait between two tries, also where the server asks for more (`Retry-After`).
pub const MAX_BACKOFF: Duration = Duration::from_secs(20);
/// How long looking for everybody who signed one artifact may take in all, unless the host file says otherwise.
pub const VERIFY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a pull goes on asking for what accompanies an artifact once that is trusted, so that it is known offline.
pub const COMPANIONS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a credential helper may take.
pub const HELPER_TIMEOUT: Duration = Duration::from_secs(30);
/// Tags of one repository that are listed.
pub const MAX_TAGS: usize = 10_000;
/// Pages of one list.
pub const MAX_PAGES: usize = 100;
/// Bytes of an answer's head.
pub const MAX_HEAD_BYTES: u32 = 64 << 10;
/// Fields of an answer's head.
pub const MAX_HEAD_FIELDS: usize = 100;
/// What is sent in one piece; a larger blob is sent in pieces of this size.
pub const UPLOAD_CHUNK_BYTES: usize = 32 << 20;

/// What one artifact may cost when its contents are read: `[artifacts]` of the host file may say less, or more up to its
/// ceilings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// A module: [`MAX_MODULE_BYTES`].
    pub module_bytes: u64,
    /// A layer or an archive as it comes: [`MAX_LAYER_BYTES`].
    pub layer_bytes: u64,
    /// Entries of one archive: [`MAX_ARCHIVE_ENTRIES`].
    pub archive_entries: usize,
    /// How much larger an archive may become: [`MAX_EXPANSION`].
    pub expansion: u64,
    /// Bytes that are unpacked in all: [`MAX_UNPACKED_BYTES`].
    pub unpacked_bytes: u64,
}

impl Bounds {
    /// What a host file says, and the default of what it does not say.
    pub fn of(settings: &ArtifactSettings) -> Self {
        let default = Self::default();
        Self {
            module_bytes: settings.module_bytes.unwrap_or(default.module_bytes),
            layer_bytes: settings.layer_bytes.unwrap_or(default.layer_bytes),
            archive_entries: settings
                .archive_entries
                .map_or(default.archive_entries, |entries| usize::try_from(entries).unwrap_or(usize::MAX)),
            expansion: settings.expansion.unwrap_or(default.expansion),
            unpacked_bytes: settings.unpacked_bytes.unwrap_or(default.unpacked_bytes),
        }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            module_bytes: MAX_MODULE_BYTES,
            layer_bytes: MAX_LAYER_BYTES,
            archive_entries: MAX_ARCHIVE_ENTRIES,
            expansion: MAX_EXPANSION,
            unpacked_bytes: MAX_UNPACKED_BYTES,
        }
    }
}
