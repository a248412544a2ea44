//! Signatures of cosign over a manifest, made with a key pair: found, and checked against the keys that are trusted.
//!
//! Two layouts are in use and do not see each other, so both are looked at, for each digest that leads to the module:
//!
//! | layout | written by | found | file |
//! | --- | --- | --- | --- |
//! | simple signing | cosign 1 and 2 | the tag `sha256-HEX.sig` | `simple.rs` |
//! | a bundle | cosign 3 | a referrer of the manifest | `bundle.rs` |
//!
//! Facts: both cosigns' output in real registries, sigstore's bundle specification, in-toto's statement and DSSE.
//!
//! Any one good signature by any trusted key is enough; the ones that are not are told, and do no harm. How many are looked
//! at is bounded, so whoever fills a repository with bad ones can only bring about a refusal.

pub(super) mod bundle;
pub(super) mod simple;

use std::sync::Arc;

use bytes::Bytes;
use oci_spec::image::{Descriptor, Digest};
use samara_model::Evidence;
use sha2::{Digest as _, Sha256};

use super::{Outcome, Step, key::PublicKey};
use crate::{
    Error, Repository, Version,
    document::{self, Document},
    repository::read_blob,
    store::blocking,
};

/// Signatures looked at for one artifact.
pub const MAX_SIGNATURES: usize = 64;
/// One signature with all that comes with it: a payload, a bundle.
pub const MAX_SIGNATURE_BYTES: u64 = 256 << 10;

/// What is said offline of what was pulled by somebody who had no use for signatures.
pub(super) const UNASKED: &str = "signatures were not asked for when it was pulled; `samara pull` it with the policy while there is \
                                  a network";

/// The artifact type of simple signing that is found by its subject rather than by a tag.
const SIMPLE_REFERRER: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// What registries without artifact types say of every artifact: its configuration's type.
const UNTELLING: [&str; 2] = ["application/vnd.oci.empty.v1+json", "application/vnd.oci.image.config.v1+json"];

/// Looks for signatures, for as long as they are not enough.
pub(super) struct Search<'a> {
    repository: &'a dyn Repository,
    keys: Arc<[PublicKey]>,
    left: usize,
    /// What was found, in order.
    pub(super) steps: Vec<Step>,
    /// The keys that signed.
    pub(super) good: Vec<PublicKey>,
    /// Whether there may be others: nobody is asked now, and nobody was when the artifact was pulled.
    pub(super) unasked: bool,
    /// Bundles whose signer has no key but a certificate, which `keyless` is about.
    pub(super) certified: Vec<Certified>,
}

/// A bundle with a certificate. What it states was held against the subject, and nothing in it was verified.
pub(super) struct Certified {
    /// What messages call it.
    pub(super) place: String,
    /// As it was found.
    pub(super) bundle: Bytes,
    /// What it must be over.
    pub(super) subject: Digest,
}

/// One signature, to be checked with each key.
pub(in crate::trust) struct Signature {
    /// What was signed.
    pub(in crate::trust) message: Vec<u8>,
    /// Its bytes.
    pub(in crate::trust) signature: Vec<u8>,
    /// What the signer says the key's hint is.
    pub(super) hint: Option<String>,
}

impl<'a> Search<'a> {
    /// A search among everything that one repository has.
    pub(super) fn new(repository: &'a dyn Repository, keys: Vec<PublicKey>) -> Self {
        Self {
            repository,
            keys: keys.into(),
            left: MAX_SIGNATURES,
            steps: Vec::new(),
            good: Vec::new(),
            unasked: false,
            certified: Vec::new(),
        }
    }

    /// Looks for all signatures over `subject`, until `enough` says so.
    pub(super) async fn look(
        &mut self,
        subject: &Digest,
        enough: &(dyn Fn(&Self) -> bool + Sync),
    ) -> Result<(), Error> {
        let mut referrers = match self.repository.referrers(subject).await {
            Err(Error::Unasked(_)) => {
                self.not_asked();
                Vec::new()
            }
            other => other?,
        };
        referrers.retain(may_be_signature);
        // Those that say what they are come first: the bound is for the others.
        referrers.sort_by_key(|found| !artifact_type(found).is_some_and(bundle::is_media_type));
        for referrer in &referrers {
            if self.left == 0 || enough(self) {
                break;
            }
            self.open(subject, referrer.digest(), &format!("referrer `{}`", referrer.digest())).await?;
        }
        let tag = simple::tag(subject);
        if !enough(self) {
            match self.repository.resolve(&Version::Tag(tag.clone())).await {
                Ok(found) => self.open(subject, found.digest(), &format!("tag `{tag}`")).await?,
                Err(Error::NotFound(_)) => {}
                Err(Error::Unasked(_)) => self.not_asked(),
                Err(error) => return Err(error),
            }
        }
        if self.left == 0 {
            let text = format!("{MAX_SIGNATURES} signatures were looked at, and no more are");
            self.steps.push(Step::new(Evidence::Cosign, Outcome::Bad, text));
        }
        Ok(())
    }

    /// Opens one manifest of signatures.
    async fn open(&mut self, subject: &Digest, digest: &Digest, place: &str) -> Result<(), Error> {
        let bytes = match self.repository.manifest(digest).await {
            Ok(bytes) => bytes,
            // An index of referrers may be older than what it lists.
            Err(error @ (Error::NotFound(_) | Error::Invalid(_) | Error::OverLimit(_))) => {
                self.left = self.left.saturating_sub(1);
                self.bad(&format!("{place} cannot be read: {error}"));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let manifest = match document::read(&bytes, None) {
            Ok(Document::Manifest(manifest)) => manifest,
            Ok(Document::Index(_)) => {
                self.left = self.left.saturating_sub(1);
                self.bad(&format!("{place} is no manifest"));
                return Ok(());
            }
            Err(error) => {
                self.left = self.left.saturating_sub(1);
                self.bad(&format!("{place} cannot be read: {error}"));
                return Ok(());
            }
        };
        let mut any = false;
        for (index, layer) in manifest.layers().iter().enumerate() {
            let media_type = layer.media_type().to_string();
            let is_bundle = bundle::is_media_type(&media_type);
            if !is_bundle && media_type != simple::MEDIA_TYPE {
                continue;
            }
            any = true;
            if self.left == 0 {
                return Ok(());
            }
            self.left -= 1;
            let place = format!("signature {} of {place}", index + 1);
            let blob = match read_blob(self.repository, layer, MAX_SIGNATURE_BYTES).await {
                Ok(blob) => blob,
                Err(error @ (Error::NotFound(_) | Error::Invalid(_) | Error::OverLimit(_))) => {
                    self.bad(&format!("{place} cannot be read: {error}"));
                    continue;
                }
                Err(error) => return Err(error),
            };
            if is_bundle {
                match bundle::read(&blob, subject) {
                    Ok(bundle::Signed::ByKey(signature)) => self.check(signature, subject, &place).await?,
                    Ok(bundle::Signed::ByCertificate) => {
                        let text = format!("{place} was made without a key, which only `keyless` is about");
                        self.steps.push(Step::new(Evidence::Keyless, Outcome::Note, text));
                        self.certified.push(Certified { place, bundle: blob, subject: subject.clone() });
                    }
                    Ok(bundle::Signed::Otherwise(what)) => {
                        let text = format!("{place} is no signature of the artifact but {what}");
                        self.steps.push(Step::new(Evidence::Cosign, Outcome::Note, text));
                    }
                    Err(why) => self.bad(&format!("{place} {why}")),
                }
            } else {
                match simple::read(&blob, layer, subject) {
                    Ok((signature, named)) => {
                        self.check(signature, subject, &place).await?;
                        if let Some(named) = named {
                            let text =
                                format!("{place} was made for the name `{named}`, which is told and not checked");
                            self.steps.push(Step::new(Evidence::Cosign, Outcome::Note, text));
                        }
                    }
                    Err(why) => self.bad(&format!("{place} {why}")),
                }
            }
        }
        if !any {
            // Something else that refers to it: it costs a request, so it counts.
            self.left = self.left.saturating_sub(1);
        }
        Ok(())
    }

    /// Tries every key that is trusted, on a thread that may be busy: whoever signs chooses how much there is to hash.
    async fn check(&mut self, signature: Signature, subject: &Digest, place: &str) -> Result<(), Error> {
        let keys = Arc::clone(&self.keys);
        let Signature { message, signature, hint } = signature;
        let hint = hint.map(|hint| format!(" (its key has the hint `{hint}`)")).unwrap_or_default();
        if keys.is_empty() {
            let text = format!("{place} says that `{subject}` is signed{hint}; no key was given to check it with");
            self.steps.push(Step::new(Evidence::Cosign, Outcome::Note, text));
            return Ok(());
        }
        let by = blocking(move || {
            let hash = Sha256::digest(&message);
            let verifies = |key: &&PublicKey| key.verifies_hashed(&message, &hash, &signature);
            Ok(keys.iter().filter(verifies).cloned().collect::<Vec<_>>())
        })
        .await?;
        if by.is_empty() {
            self.bad(&format!("{place} is by none of the trusted keys{hint}"));
        }
        for key in by {
            let text = format!("{place} over `{subject}` is good: {key}");
            self.steps.push(Step::new(Evidence::Cosign, Outcome::Good, text));
            if !self.good.contains(&key) {
                self.good.push(key);
            }
        }
        Ok(())
    }

    /// Says once that nobody was asked.
    fn not_asked(&mut self) {
        if !std::mem::replace(&mut self.unasked, true) {
            self.steps.push(Step::new(Evidence::Cosign, Outcome::Note, UNASKED));
        }
    }

    fn bad(&mut self, text: &str) {
        self.steps.push(Step::new(Evidence::Cosign, Outcome::Bad, text));
    }
}

/// Whether a referrer may be a signature, by the little that its descriptor tells.
fn may_be_signature(found: &Descriptor) -> bool {
    artifact_type(found)
        .is_none_or(|kind| bundle::is_media_type(kind) || kind == SIMPLE_REFERRER || UNTELLING.contains(&kind))
}

fn artifact_type(found: &Descriptor) -> Option<&str> {
    found.artifact_type().as_ref().map(AsRef::as_ref)
}
