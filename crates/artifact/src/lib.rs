//! From any reference to verified bytes: registries, bundles, files, the content store, signatures. No engine, no parsing
//! of Wasm (but for the names in a component's outline, when it is pushed): what is read here is what carries a module, and
//! what runs is what was verified.
//!
//! The straight line of a pull: [`Reference`] -> a [`Repository`] (registry, image layout, store) -> the manifest's bytes,
//! checked against their digest -> the layer that is a module ([`contents`]) -> its bytes, checked against their digest,
//! through the content [`store`] -> the [`trust`] policy over all of them -> [`Artifact`].
//!
//! Everything here is told by strangers. Nothing is buffered over its limit ([`bounds`]), and nothing is written outside of
//! the store.

pub mod bounds;
pub mod bundle;
pub mod contents;
pub mod document;
mod error;
mod grammar;
pub mod pack;
mod progress;
pub mod pull;
mod reference;
pub mod registry;
pub mod repository;
pub mod store;
pub mod trust;

use bytes::Bytes;
pub use error::Error;
pub use oci_spec::image::{Descriptor, Digest, ImageIndex, ImageManifest, MediaType};
pub use progress::{Progress, Watch};
pub use pull::{Fetcher, Looked, Timings};
pub use reference::{OciReference, Reference, Version};
pub use repository::{BlobStream, Mirror, Repository};
pub use store::{Blob, Store, layout::ImageLayout};

/// Bytes with a digest and the place they came from.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The module, a core module or a component, as it was signed.
    pub bytes: Bytes,
    /// SHA-256 of `bytes`.
    pub digest: Digest,
    /// What was asked for.
    pub reference: Reference,
    /// The digest of the manifest it was found through, which is what signatures are over; `None` for a file or a URL.
    pub manifest: Option<Digest>,
    /// Who vouches for it, and what the claims in it allow.
    pub verdict: trust::Verdict,
    /// Where the time of its pull went.
    pub timings: Timings,
}
