//! Signs a manifest with a key pair, so that every cosign in use verifies it: as a bundle that refers to the manifest, which
//! cosign 3 looks for, and behind a `.sig` tag, which is all that cosign 2 knows.
//!
//! Signatures that are there stay. Signing twice with one key changes nothing: the signature is the same (RFC 6979), and
//! nothing here says when.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use oci_spec::image::{Descriptor, DescriptorBuilder, Digest, ImageManifestBuilder, MediaType, SCHEMA_VERSION};
use serde::Serialize;
use serde_json::json;

use super::{
    cosign::{bundle, simple},
    pair::KeyPair,
};
use crate::{
    Error, Repository, Version,
    bounds::MAX_LAYERS,
    document::{self, Document},
    repository::sha256,
};

const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Tries of adding to a tag that somebody else writes at the same time.
const MAX_TAG_TRIES: usize = 3;

/// How a signature is kept beside what it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureLayout {
    /// A bundle that refers to the manifest: cosign 3, and 2.5 where it is told to.
    Bundle,
    /// A `.sig` tag: every cosign.
    Tag,
}

impl SignatureLayout {
    /// Both, so that every cosign finds one.
    pub const ALL: &[Self] = &[Self::Bundle, Self::Tag];
}

/// A signature that is in a repository.
#[derive(Clone, Debug, Serialize)]
pub struct Signature {
    /// How it is kept.
    pub layout: SignatureLayout,
    /// The manifest that holds it.
    pub manifest: String,
    /// The tag of that manifest, if it needs one to be found.
    pub tag: Option<String>,
    /// Whether it was there before.
    pub already: bool,
}

/// Signs the manifest (or index) `subject` of a repository.
///
/// # Errors
/// It is not there, or the repository cannot be written to.
pub async fn sign(
    repository: &dyn Repository,
    subject: &Digest,
    key: &KeyPair,
    layouts: &[SignatureLayout],
) -> Result<Vec<Signature>, Error> {
    let subject = repository.resolve(&Version::Digest(subject.clone())).await?;
    let mut signatures = Vec::new();
    for layout in layouts {
        signatures.push(match layout {
            SignatureLayout::Bundle => sign_bundle(repository, &subject, key).await?,
            SignatureLayout::Tag => sign_tag(repository, &subject, key).await?,
        });
    }
    Ok(signatures)
}

async fn sign_bundle(repository: &dyn Repository, subject: &Descriptor, key: &KeyPair) -> Result<Signature, Error> {
    let blob = bundle::write(subject.digest(), key.public().hint(), |message| key.sign(message));
    let layer = push(repository, bundle::MEDIA_TYPE, blob).await?;
    let config = push(repository, EMPTY, b"{}".to_vec()).await?;
    // Written field by field: the maps of the types have another order each time, and signing twice must give one manifest.
    // The subject is a plain descriptor: what else a registry said of it is not part of what refers to it.
    let manifest = json!({
        "schemaVersion": SCHEMA_VERSION,
        "mediaType": MediaType::ImageManifest.as_ref(),
        "artifactType": bundle::MEDIA_TYPE,
        "config": config,
        "layers": [layer],
        "subject": descriptor(subject.media_type().as_ref(), subject.size(), subject.digest()),
        "annotations": {
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": bundle::PREDICATE,
        },
    });
    let bytes = to_json(&manifest);
    let digest = sha256(&bytes);
    let already = repository.referrers(subject.digest()).await?.iter().any(|found| *found.digest() == digest);
    if !already {
        repository.push_manifest(None, MediaType::ImageManifest.as_ref(), bytes).await?;
    }
    Ok(Signature { layout: SignatureLayout::Bundle, manifest: digest.to_string(), tag: None, already })
}

async fn sign_tag(repository: &dyn Repository, subject: &Descriptor, key: &KeyPair) -> Result<Signature, Error> {
    let tag = simple::tag(subject.digest());
    let document = simple::write(&repository.name(), subject.digest());
    let signature = STANDARD.encode(key.sign(&document));
    let mut layer = push(repository, simple::MEDIA_TYPE, document).await?;
    layer.set_annotations(Some(HashMap::from([(simple::SIGNATURE.to_owned(), signature)])));
    for _ in 0..MAX_TAG_TRIES {
        let (mut layers, before) = existing(repository, &tag).await?;
        let done = |digest: Digest, already| {
            let (manifest, tag) = (digest.to_string(), Some(tag.clone()));
            Signature { layout: SignatureLayout::Tag, manifest, tag, already }
        };
        if let Some(digest) = &before
            && layers.iter().any(|found| found.digest() == layer.digest() && found.annotations() == layer.annotations())
        {
            return Ok(done(digest.clone(), true));
        }
        if layers.len() >= MAX_LAYERS {
            return Err(Error::OverLimit(format!(
                "`{tag}` has {} signatures, and at most {MAX_LAYERS} are kept",
                layers.len()
            )));
        }
        layers.push(layer.clone());
        let diff_ids: Vec<_> = layers.iter().map(|layer| layer.digest().to_string()).collect();
        let config = json!({
            "architecture": "",
            "os": "",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = push(repository, MediaType::ImageConfig.as_ref(), to_json(&config).to_vec()).await?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(config)
            .layers(layers)
            .build()
            .expect("every field that is needed is set");
        // A tag has no compare-and-swap: look once more, as late as can be, so that a signer of the same moment is not lost.
        if existing(repository, &tag).await?.1 == before {
            let digest =
                repository.push_manifest(Some(&tag), MediaType::ImageManifest.as_ref(), to_json(&manifest)).await?;
            return Ok(done(digest, false));
        }
    }
    Err(Error::Unreachable(format!("`{tag}` of `{}` changes all the time; try again", repository.name())))
}

/// The signatures behind a tag, and what it is now.
async fn existing(repository: &dyn Repository, tag: &str) -> Result<(Vec<Descriptor>, Option<Digest>), Error> {
    let digest = match repository.resolve(&Version::Tag(tag.to_owned())).await {
        Ok(found) => found.digest().clone(),
        Err(Error::NotFound(_)) => return Ok((Vec::new(), None)),
        Err(error) => return Err(error),
    };
    let bytes = repository.manifest(&digest).await?;
    let none = |why: &str| {
        Error::Invalid(format!("`{tag}` of `{}` holds no signatures ({why}); remove that tag", repository.name()))
            .harmless()
    };
    match document::read(&bytes, None) {
        Ok(Document::Manifest(manifest)) => Ok((manifest.layers().clone(), Some(digest))),
        Ok(Document::Index(_)) => Err(none("it is an index")),
        Err(error) => Err(none(&error.to_string())),
    }
}

async fn push(repository: &dyn Repository, media_type: &str, bytes: Vec<u8>) -> Result<Descriptor, Error> {
    let descriptor = descriptor(media_type, bytes.len() as u64, &sha256(&bytes));
    repository.push_blob(&descriptor, bytes.into()).await?;
    Ok(descriptor)
}

fn descriptor(media_type: &str, size: u64, digest: &Digest) -> Descriptor {
    DescriptorBuilder::default()
        .media_type(media_type)
        .size(size)
        .digest(digest.clone())
        .build()
        .expect("every field that is needed is set")
}

fn to_json(document: &impl Serialize) -> Bytes {
    serde_json::to_vec(document).expect("strings and numbers under fixed names are JSON").into()
}
