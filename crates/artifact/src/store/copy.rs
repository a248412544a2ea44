//! Copying a whole artifact: with all that is needed to run it elsewhere, and all that is needed to trust it there.
//!
//! What belongs to an artifact: the manifest or index that was asked for, an index's children, configurations and layers,
//! what refers to any of these manifests (signatures, attestations), and cosign's tags beside them. Every digest stays what
//! it is. What nobody ever asked for, offline, is not taken for nothing: the copy is refused. Children come before their index and subjects before what refers to them, so that a copy that breaks off has no
//! tag yet.

use std::collections::HashSet;

use futures::future::BoxFuture;
use oci_spec::image::{Descriptor, Digest};

use super::{file_name, layout::fallback_tag};
use crate::{
    Error, Progress, Repository, Version,
    bounds::{MAX_COPIED_MANIFESTS, MAX_INDEX_DEPTH, MAX_LAYER_BYTES},
    document::{self, Document},
};

/// What cosign puts behind a digest to make a tag: signatures, attestations, bills of material.
const COSIGN_TAGS: [&str; 3] = ["sig", "att", "sbom"];

/// The tags beside a manifest that cosign puts there.
pub(super) fn companion_tags(subject: &Digest) -> Result<[String; 3], Error> {
    let tag = fallback_tag(subject)?;
    Ok(COSIGN_TAGS.map(|kind| format!("{tag}.{kind}")))
}

/// Whose a manifest is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// The artifact itself: nothing that accompanies it may be left out unseen.
    Artifact,
    /// Something that accompanies it; with what is known to accompany that.
    Companion,
}

/// Which children of an index are copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Children {
    /// All, so that the index is whole wherever it goes.
    #[default]
    All,
    /// The one that runs here. The index is copied too, since signatures are over it; only image layouts take one that is
    /// not whole.
    ForUs,
}

/// How an artifact is copied.
#[derive(Clone, Debug)]
pub struct CopyOptions {
    /// Which children of an index.
    pub children: Children,
    /// Bytes of one blob.
    pub max_blob_bytes: u64,
    /// Whoever is told.
    pub progress: Progress,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self { children: Children::All, max_blob_bytes: MAX_LAYER_BYTES, progress: Progress::default() }
    }
}

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// What the version was, and is at the other end.
    pub digest: Digest,
    /// Manifests and indexes, signatures' included.
    pub manifests: usize,
    /// Blobs, those included that were there already.
    pub blobs: usize,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// Copies an artifact and what accompanies it, and gives it `tag` there.
///
/// # Errors
/// It is not there, over a bound, or not what its digests say; one of the repositories fails, or does not know what signs it
/// ([`Error::Unasked`]). What was copied until then
/// stays, without the tag.
pub async fn copy(
    from: &dyn Repository,
    version: &Version,
    to: &dyn Repository,
    tag: Option<&str>,
    options: &CopyOptions,
) -> Result<Copied, Error> {
    options.progress.step("resolving");
    let root = from.resolve(version).await?;
    let mut copying = Copying {
        from,
        to,
        options,
        manifests: HashSet::new(),
        blobs: HashSet::new(),
        done: Copied { digest: root.digest().clone(), manifests: 0, blobs: 0, bytes: 0 },
    };
    options.progress.step("copying");
    copying.manifest(&root, tag, 0, Of::Artifact).await.map_err(Error::harmless)?;
    Ok(copying.done)
}

/// A copy under way.
struct Copying<'a> {
    from: &'a dyn Repository,
    to: &'a dyn Repository,
    options: &'a CopyOptions,
    manifests: HashSet<String>,
    blobs: HashSet<String>,
    done: Copied,
}

impl Copying<'_> {
    /// One manifest, what it is made of, and what accompanies it. Recursion is bounded by `depth`.
    fn manifest<'s>(
        &'s mut self,
        descriptor: &'s Descriptor,
        tag: Option<&'s str>,
        depth: usize,
        of: Of,
    ) -> BoxFuture<'s, Result<(), Error>> {
        Box::pin(async move {
            let digest = descriptor.digest();
            if !self.manifests.insert(digest.to_string()) {
                // Another name of what was copied already, as hostile ones may be of each other.
                let Some(tag) = tag else { return Ok(()) };
                let bytes = self.from.manifest(digest).await?;
                return self.to.push_manifest(Some(tag), descriptor.media_type().as_ref(), bytes).await.map(drop);
            }
            if depth > MAX_INDEX_DEPTH || self.manifests.len() > MAX_COPIED_MANIFESTS {
                return Err(Error::OverLimit(format!(
                    "`{}` has more than {MAX_COPIED_MANIFESTS} manifests that belong together, or more than \
                     {MAX_INDEX_DEPTH} within each other",
                    self.from.name()
                )));
            }
            let bytes = self.from.manifest(digest).await?;
            let media_type = descriptor.media_type().as_ref();
            let read = document::read(&bytes, Some(media_type)).map_err(|error| match error {
                Error::Invalid(text) => Error::Invalid(format!("`{}@{digest}`: {text}", self.from.name())),
                Error::OverLimit(text) => Error::OverLimit(format!("`{}@{digest}`: {text}", self.from.name())),
                other => other,
            });
            let parts = match read? {
                Document::Index(index) => {
                    let chosen = match self.options.children {
                        Children::All => index.manifests().clone(),
                        Children::ForUs => vec![document::for_us(&index)?.clone()],
                    };
                    for child in &chosen {
                        self.manifest(child, None, depth + 1, of).await?;
                    }
                    Vec::new()
                }
                Document::Manifest(manifest) => {
                    manifest.layers().iter().chain([manifest.config()]).cloned().collect::<Vec<_>>()
                }
            };
            for part in &parts {
                self.blob(part).await?;
            }
            let size = bytes.len() as u64;
            self.to.push_manifest(tag, media_type, bytes).await?;
            self.done.manifests += 1;
            self.done.bytes = self.done.bytes.saturating_add(size);
            self.what_accompanies(digest, depth, of).await
        })
    }

    async fn what_accompanies(&mut self, subject: &Digest, depth: usize, of: Of) -> Result<(), Error> {
        let referrers = self.known(self.from.referrers(subject).await, subject, of)?;
        for referrer in referrers.unwrap_or_default() {
            self.manifest(&referrer, None, depth + 1, Of::Companion).await?;
        }
        for tag in companion_tags(subject)? {
            let found = match self.from.resolve(&Version::Tag(tag.clone())).await {
                Err(Error::NotFound(_)) => continue,
                other => self.known(other, subject, of)?,
            };
            if let Some(found) = found {
                self.manifest(&found, Some(&tag), depth + 1, Of::Companion).await?;
            }
        }
        Ok(())
    }

    /// What a repository without a network knows of what accompanies a manifest. That nobody asked is no answer.
    fn known<T>(&self, answer: Result<T, Error>, subject: &Digest, of: Of) -> Result<Option<T>, Error> {
        match (answer, of) {
            (Ok(known), _) => Ok(Some(known)),
            (Err(Error::Unasked(_)), Of::Artifact) => Err(Error::Unasked(format!(
                "the signatures of `{}{}` were not asked for when it was pulled, and a copy would be without them; \
                 `samara pull` it with the policy, or `samara verify` it, while there is a network",
                self.from.name(),
                Version::Digest(subject.clone())
            ))),
            (Err(Error::Unasked(_)), Of::Companion) => {
                tracing::debug!("nobody asked what accompanies `{subject}`, and so it is not copied");
                Ok(None)
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn blob(&mut self, descriptor: &Descriptor) -> Result<(), Error> {
        if !self.blobs.insert(file_name(descriptor.digest())?.to_owned()) {
            return Ok(());
        }
        let size = descriptor.size();
        self.options.progress.total(size);
        self.to.push_blob_from(self.from, descriptor, self.options.max_blob_bytes).await?;
        self.options.progress.received(size);
        self.done.blobs += 1;
        self.done.bytes = self.done.bytes.saturating_add(size);
        Ok(())
    }
}
