//! Where manifests and blobs are: one repository of a registry, an image layout, the content store, memory.
//!
//! Implementations move bytes and keep to the bounds; they say nothing of what is in them. A manifest is checked against its
//! digest by whoever implements this, a blob by [`read_blob`] or by the content store, while it comes.

use std::fmt;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream::BoxStream};
use oci_spec::image::{Descriptor, Digest};
use sha2::{Digest as _, Sha256};

use crate::{Error, Version};

/// One repository: everything under one name.
#[async_trait]
pub trait Repository: Send + Sync + fmt::Debug {
    /// How messages name it: `registry.example/team/app`.
    fn name(&self) -> String;

    /// What a tag or a digest names now, with the size and media type of that manifest. One request, no body.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such tag or manifest.
    async fn resolve(&self, version: &Version) -> Result<Descriptor, Error>;

    /// The bytes of a manifest or an index, at most [`crate::bounds::MAX_MANIFEST_BYTES`], checked against the digest.
    ///
    /// # Errors
    /// It is not there, too large, or of another digest.
    async fn manifest(&self, digest: &Digest) -> Result<Bytes, Error>;

    /// The bytes of a blob from `offset` on, not checked, as they come.
    ///
    /// # Errors
    /// It is not there, or another size is announced than the descriptor has.
    async fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobStream, Error>;

    /// The same, when a mirror has sent something else than that blob: from whoever comes after it. Asked for with a mirror that
    /// an earlier stream named, so never of a repository without mirrors.
    ///
    /// # Errors
    /// As of [`Self::blob`].
    async fn blob_after(&self, _: &Mirror, descriptor: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        self.blob(descriptor, offset).await
    }

    /// What refers to this manifest: signatures, attestations. By the Referrers API or by the tag that stands in for it.
    ///
    /// # Errors
    /// Nobody answers; or nobody is asked now and nobody was ever ([`Error::Unasked`]). A repository that knows that there are
    /// none gives an empty list.
    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error>;

    /// Stores a blob under its digest, unless it is there.
    ///
    /// # Errors
    /// It cannot be written to, or not by this login.
    async fn push_blob(&self, descriptor: &Descriptor, bytes: Bytes) -> Result<(), Error>;

    /// Stores a blob of at most `limit` bytes as another repository has it, checked on the way, unless it is there. Reads it
    /// whole, unless an implementation can do without.
    ///
    /// # Errors
    /// It is over the limit or not what the descriptor says; one of the two fails.
    async fn push_blob_from(&self, from: &dyn Repository, descriptor: &Descriptor, limit: u64) -> Result<(), Error> {
        let bytes = read_blob(from, descriptor, limit).await?;
        self.push_blob(descriptor, bytes).await
    }

    /// Stores a manifest under its digest, and under a tag if one is given. A `subject` in it is made findable by
    /// [`Self::referrers`].
    ///
    /// # Errors
    /// It cannot be written to, or not by this login.
    async fn push_manifest(&self, tag: Option<&str>, media_type: &str, bytes: Bytes) -> Result<Digest, Error>;
}

/// A blob on its way.
pub struct BlobStream {
    /// Where it begins: what was asked for, or 0 from a server that cannot begin elsewhere.
    pub offset: u64,
    /// Its bytes in pieces of any size.
    pub chunks: BoxStream<'static, Result<Bytes, Error>>,
    /// Who sends it, if that is a mirror: another one may have the right bytes when these are wrong.
    pub mirror: Option<Mirror>,
}

/// One of the mirrors of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// As messages call it.
    pub host: String,
    /// Its place among them, from 0 on.
    pub place: usize,
}

impl Mirror {
    /// Tells whoever runs this that a mirror is of no use for a blob, and that the next one is asked.
    pub(crate) fn passed_over(&self, digest: &Digest, why: &Error) {
        let why = why.clone().harmless();
        tracing::warn!(
            "`{}`, a mirror, did not send `{digest}`, and whoever comes after it is asked: {why}",
            self.host
        );
    }
}

impl BlobStream {
    /// From the repository itself.
    pub fn new(offset: u64, chunks: BoxStream<'static, Result<Bytes, Error>>) -> Self {
        Self { offset, chunks, mirror: None }
    }
}

impl fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobStream").field("offset", &self.offset).finish_non_exhaustive()
    }
}

/// SHA-256 of bytes, as registries write it.
pub fn sha256(bytes: &[u8]) -> Digest {
    digest_of(Sha256::new_with_prefix(bytes))
}

/// What a running hash has come to.
pub fn digest_of(hash: Sha256) -> Digest {
    let hex = data_encoding::HEXLOWER.encode(&hash.finalize());
    format!("sha256:{hex}").parse().expect("64 hexadecimal digits are a digest")
}

/// A whole blob of at most `limit` bytes, checked against the size and digest of its descriptor.
///
/// # Errors
/// It is over the limit, which is known before a byte is read, or it is not what the descriptor says.
pub async fn read_blob(repository: &dyn Repository, descriptor: &Descriptor, limit: u64) -> Result<Bytes, Error> {
    let (digest, size) = (descriptor.digest(), descriptor.size());
    if size > limit {
        return Err(Error::OverLimit(format!(
            "`{digest}` in `{}` is of {size} bytes, and at most {limit} are read of what it is for",
            repository.name()
        )));
    }
    let mut stream = repository.blob(descriptor, 0).await?;
    loop {
        let mirror = stream.mirror.take();
        let name = mirror.as_ref().map_or_else(|| repository.name(), |mirror| mirror.host.clone());
        let (mirror, error) = match (read_stream(stream, descriptor, &name).await, mirror) {
            (Ok(bytes), _) => return Ok(bytes),
            (Err(error), Some(mirror)) => (mirror, error),
            (Err(error), None) => return Err(error),
        };
        mirror.passed_over(digest, &error);
        stream = repository.blob_after(&mirror, descriptor, 0).await?;
    }
}

/// A whole blob from one stream, checked.
async fn read_stream(mut stream: BlobStream, descriptor: &Descriptor, name: &str) -> Result<Bytes, Error> {
    let (digest, size) = (descriptor.digest(), descriptor.size());
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.chunks.next().await {
        let chunk = chunk?;
        if (bytes.len() as u64).saturating_add(chunk.len() as u64) > size {
            return Err(Error::Invalid(format!(
                "`{digest}` in `{name}` is longer than the {size} bytes that its manifest says"
            )));
        }
        bytes.extend_from_slice(&chunk);
    }
    let found = sha256(&bytes);
    if bytes.len() as u64 != size || found != *digest {
        return Err(Error::Invalid(format!(
            "what `{name}` sent as `{digest}` ({size} bytes) is `{found}` ({} bytes)",
            bytes.len()
        )));
    }
    Ok(bytes.freeze())
}
