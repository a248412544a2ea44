//! What `index.json` lists, and how: tags as annotations, referrers by their subject.

use std::path::Path;

use oci_spec::image::{Descriptor, Digest, ImageIndex, ImageIndexBuilder, ImageManifest, MediaType};

use super::{super::file_name, REF_NAME};
use crate::{
    Error,
    bounds::MAX_MANIFESTS,
    document::{self, Document},
};

/// An index with one manifest more.
pub(super) fn with(
    mut index: ImageIndex,
    added: &Descriptor,
    tag: Option<&str>,
    document: &Document,
) -> Result<ImageIndex, Error> {
    let mut manifests = index.manifests().clone();
    let untagged = |found: &Descriptor, digest: &Digest| found.digest() == digest && tag_of(found).is_none();
    manifests.retain(|found| tag_of(found).is_none_or(|known| Some(known) != tag));
    manifests.retain(|found| !untagged(found, added.digest()));
    if let Document::Index(added) = document {
        // They are reached through it now.
        manifests.retain(|found| !added.manifests().iter().any(|child| untagged(found, child.digest())));
    }
    let listed = manifests.iter().any(|found| found.digest() == added.digest());
    if tag.is_some() || !listed {
        let mut added = added.clone();
        if let Some(tag) = tag {
            added.set_annotations(Some([(REF_NAME.to_owned(), tag.to_owned())].into()));
        }
        manifests.push(added);
    }
    if manifests.len() > MAX_MANIFESTS {
        return Err(Error::OverLimit(format!("a layout lists at most {MAX_MANIFESTS} manifests; begin another")));
    }
    index.set_manifests(manifests);
    Ok(index)
}

/// An index of nothing.
pub(super) fn empty_index() -> ImageIndex {
    ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageIndex)
        .manifests(Vec::new())
        .build()
        .expect("all that an index requires is set")
}

/// Reads `index.json`.
pub(super) fn read_index(bytes: &[u8], name: &Path) -> Result<ImageIndex, Error> {
    let said = |error: Error| match error {
        Error::OverLimit(why) => Error::OverLimit(format!("`{}`: {why}", name.display())),
        other => Error::Invalid(format!("`{}`: {other}", name.display())),
    };
    match document::read(bytes, Some(MediaType::ImageIndex.as_ref())).map_err(said)? {
        Document::Index(index) => Ok(*index),
        Document::Manifest(_) => Err(Error::Invalid(format!("`{}` is no index", name.display()))),
    }
}

/// Reads `oci-layout`.
pub(super) fn read_marker(bytes: &[u8], name: &Path) -> Result<(), Error> {
    let version = serde_json::from_slice::<serde_json::Value>(bytes)
        .ok()
        .and_then(|marker| Some(marker.get("imageLayoutVersion")?.as_str()?.to_owned()));
    match version.as_deref() {
        Some("1.0.0") => Ok(()),
        Some(other) => {
            Err(Error::Invalid(format!("`{}` is a layout of version `{other}`; 1.0.0 is read", name.display())))
        }
        None => Err(Error::Invalid(format!("`{}` does not say of which version the layout is", name.display()))),
    }
}

pub(super) fn tag_of(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations().as_ref()?.get(REF_NAME).map(String::as_str)
}

/// Whether a tag only accompanies an artifact: cosign's (`sha256-<hex>.sig`), and the one for the Referrers API.
pub(super) fn accompanies(tag: &str) -> bool {
    let digits = tag.strip_prefix("sha256-").and_then(|rest| rest.get(..64));
    digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The tag that stands in for the Referrers API.
pub(in crate::store) fn fallback_tag(subject: &Digest) -> Result<String, Error> {
    Ok(format!("sha256-{}", file_name(subject)?))
}

pub(super) fn subject_of(document: &Document) -> Option<&Descriptor> {
    match document {
        Document::Manifest(manifest) => manifest.subject().as_ref(),
        Document::Index(index) => index.subject().as_ref(),
    }
}

pub(super) fn media_type_of(document: &Document) -> MediaType {
    match document {
        Document::Manifest(manifest) => manifest.media_type().clone().unwrap_or(MediaType::ImageManifest),
        Document::Index(index) => index.media_type().clone().unwrap_or(MediaType::ImageIndex),
    }
}

/// A descriptor as the Referrers API gives it.
pub(super) fn as_referrer(listed: &Descriptor, document: &Document) -> Descriptor {
    let mut found = Descriptor::new(listed.media_type().clone(), listed.size(), listed.digest().clone());
    let config_type = |manifest: &ImageManifest| manifest.config().media_type().clone();
    let (artifact_type, annotations) = match document {
        Document::Manifest(manifest) => (
            Some(manifest.artifact_type().clone().unwrap_or_else(|| config_type(manifest))),
            manifest.annotations().clone(),
        ),
        Document::Index(index) => (index.artifact_type().clone(), index.annotations().clone()),
    };
    found.set_artifact_type(artifact_type);
    found.set_annotations(annotations);
    found
}
