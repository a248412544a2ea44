//! A repository as the store remembers it, with or without the real one behind it.
//!
//! With one, what is content is asked for once and then had from here; what may change (a tag, what refers to a manifest) is
//! asked every time and remembered. Without one, all answers are from memory: that is how an artifact that was pulled by a
//! digest costs no request, and how a host starts without a network. A digest is only known of a repository that it was
//! pulled from, so that a rule about a repository means what came from there. That there is nothing is only said of what was
//! asked for; of all else it is said that nobody asked.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use oci_spec::image::{Descriptor, Digest, MediaType};
use parking_lot::Mutex;

use super::{Blob, Record, Store, blocking, copy::companion_tags};
use crate::{
    BlobStream, Error, Mirror, Progress, Repository, Version,
    bounds::{MAX_DOCUMENT_BYTES, MAX_MANIFEST_BYTES},
    document::{self, Document},
    repository::{read_blob, sha256},
};

/// Blobs that are held open until the record is written, so that no collection comes between; more are checked then.
const MAX_HELD: usize = 64;
/// Signatures, attestations and the like that are fetched with what they are about, when no policy wants them.
const MAX_COMPANIONS: usize = 64;

/// One pull of one repository; see the module's text. What goes through it is what [`Remembered::keep`] keeps together.
#[derive(Debug)]
pub struct Remembered {
    store: Store,
    name: String,
    live: Option<Arc<dyn Repository>>,
    /// Earlier pulls of this repository, the last first.
    known: Vec<Record>,
    seen: Mutex<Seen>,
}

/// What went through.
#[derive(Debug, Default)]
struct Seen {
    tags: BTreeMap<String, Descriptor>,
    /// Tags that were not there.
    absent: BTreeSet<String>,
    referrers: BTreeMap<String, Vec<Descriptor>>,
    blobs: BTreeMap<String, u64>,
    /// Those of them that the repository sent or was sent.
    own: HashSet<String>,
    held: HashMap<String, Blob>,
    /// Blobs that were handed on as they came; they belong to it if whoever read them has stored them.
    passed: BTreeMap<String, u64>,
}

impl Seen {
    /// Remembers what a tag was, or that it was not there.
    fn answered(&mut self, tag: &str, answer: &Result<Descriptor, Error>) {
        match answer {
            Ok(found) => {
                self.absent.remove(tag);
                self.tags.insert(tag.to_owned(), found.clone());
            }
            Err(Error::NotFound(_)) => {
                self.tags.remove(tag);
                self.absent.insert(tag.to_owned());
            }
            Err(_) => {}
        }
    }
}

impl Store {
    /// What is remembered of a repository, which is not asked: `name` is as [`Repository::name`] says it. Something may be
    /// pushed to it, too: that is how an artifact comes into the store from a tar.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn remembered(&self, name: &str) -> Result<Remembered, Error> {
        let (store, wanted) = (self.clone(), name.to_owned());
        let known = blocking(move || store.records(Some(&wanted))).await?;
        let known = known.into_iter().map(|filed| filed.record).collect();
        Ok(Remembered { store: self.clone(), name: name.to_owned(), live: None, known, seen: Mutex::default() })
    }

    /// A repository with the store before it.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn before(&self, live: Arc<dyn Repository>) -> Result<Remembered, Error> {
        let remembered = self.remembered(&live.name()).await?;
        Ok(Remembered { live: Some(live), ..remembered })
    }
}

impl Remembered {
    /// A blob of at most `limit` bytes, from the store or else by one download into it.
    ///
    /// # Errors
    /// As for [`Store::fetch`].
    pub async fn fetch(&self, descriptor: &Descriptor, limit: u64, progress: &Progress) -> Result<Blob, Error> {
        let blob = match &self.live {
            Some(live) => self.store.fetch(live.as_ref(), descriptor, limit, progress).await?,
            None => self.store.fetch(self, descriptor, limit, progress).await?,
        };
        self.saw(&blob);
        Ok(blob)
    }

    /// Keeps all that went through this together, under the reference it was asked by. A reference that is kept already
    /// counts as used; what was known of it stays known while it resolves to the same.
    ///
    /// # Errors
    /// The disk fails, or a blob was removed meanwhile, by somebody who cleared the store.
    pub async fn keep(&self, name: &str, root: &Descriptor, kind: &str) -> Result<(), Error> {
        let (mut record, passed) = {
            let seen = self.seen.lock();
            let record = Record {
                name: name.to_owned(),
                repository: self.name.clone(),
                root: root.clone(),
                kind: kind.to_owned(),
                tags: seen.tags.clone(),
                absent: seen.absent.clone(),
                referrers: seen.referrers.clone(),
                blobs: seen.blobs.clone(),
            };
            (record, seen.passed.clone())
        };
        let store = self.store.clone();
        blocking(move || {
            for (digest, size) in passed {
                if store.has(&digest)? {
                    record.blobs.insert(digest, size);
                }
            }
            store.keep(&record)
        })
        .await
    }

    fn saw(&self, blob: &Blob) {
        let mut seen = self.seen.lock();
        let digest = blob.digest().to_string();
        seen.blobs.insert(digest.clone(), blob.size());
        if seen.held.len() < MAX_HELD {
            seen.held.insert(digest, blob.clone());
        }
    }

    /// A blob that is here, whoever it came from: its digest says what it is.
    async fn here(&self, digest: &Digest) -> Result<Option<Blob>, Error> {
        let held = self.seen.lock().held.get(digest.as_ref()).cloned();
        if held.is_some() {
            return Ok(held);
        }
        let found = self.store.get(digest).await?;
        found.iter().for_each(|blob| self.saw(blob));
        Ok(found)
    }

    /// Whether this digest came from this repository, now or earlier.
    fn knows(&self, digest: &Digest) -> bool {
        let digest = digest.as_ref();
        self.seen.lock().own.contains(digest) || self.known.iter().any(|record| record.blobs.contains_key(digest))
    }

    fn missing(&self, what: &str) -> Error {
        Error::NotFound(format!(
            "`{}{what}` is not in the store, and nobody is asked for it now; `samara pull` it while there is a network",
            self.name
        ))
    }

    /// What a tag was when it was last asked for: a manifest, or nothing; `None` if nobody asked.
    fn recalled_tag(&self, tag: &str) -> Option<Option<Descriptor>> {
        let seen = self.seen.lock();
        let recalled = |tags: &BTreeMap<String, Descriptor>, absent: &BTreeSet<String>| match tags.get(tag) {
            Some(found) => Some(Some(found.clone())),
            None => absent.contains(tag).then_some(None),
        };
        let known = || self.known.iter().find_map(|record| recalled(&record.tags, &record.absent));
        recalled(&seen.tags, &seen.absent).or_else(known)
    }

    /// What referred to a manifest when that was last asked for; `None` if nobody asked.
    fn recalled_referrers(&self, subject: &Digest) -> Option<Vec<Descriptor>> {
        let subject = subject.as_ref();
        let known = || self.known.iter().find_map(|record| record.referrers.get(subject)).cloned();
        self.seen.lock().referrers.get(subject).cloned().or_else(known)
    }

    /// Asks for what accompanies these manifests, as far as nobody asked yet, so that it is known without a network: what
    /// refers to them, tags of signatures, and the small documents that these are made of.
    ///
    /// # Errors
    /// The repository does not answer. What is wrong with one of the documents is passed over.
    pub(crate) async fn ask_around(&self, subjects: &[Digest]) -> Result<(), Error> {
        if self.live.is_none() {
            return Ok(());
        }
        for subject in subjects {
            let mut found = match self.recalled_referrers(subject) {
                Some(recalled) => recalled,
                None => self.referrers(subject).await?,
            };
            for tag in companion_tags(subject)? {
                let tagged = match self.recalled_tag(&tag) {
                    Some(recalled) => recalled,
                    None => match self.resolve(&Version::Tag(tag)).await {
                        Ok(tagged) => Some(tagged),
                        Err(Error::NotFound(_)) => None,
                        Err(error) => return Err(error),
                    },
                };
                found.extend(tagged);
            }
            for companion in found.iter().take(MAX_COMPANIONS) {
                match self.gather(companion.digest()).await {
                    Err(error @ (Error::NotFound(_) | Error::Invalid(_) | Error::OverLimit(_))) => {
                        tracing::debug!(%error, "what accompanies `{subject}` is not kept");
                    }
                    other => other?,
                }
            }
        }
        Ok(())
    }

    /// One manifest and the small documents that it is made of.
    async fn gather(&self, digest: &Digest) -> Result<(), Error> {
        document::only_sha256(digest)?;
        let Document::Manifest(manifest) = document::read(&self.manifest(digest).await?, None)? else { return Ok(()) };
        for part in manifest.layers().iter().chain([manifest.config()]) {
            self.fetch(part, MAX_DOCUMENT_BYTES, &Progress::default()).await?;
        }
        Ok(())
    }

    async fn put(&self, bytes: Bytes) -> Result<Blob, Error> {
        let blob = self.store.put(bytes).await?;
        self.saw(&blob);
        self.seen.lock().own.insert(blob.digest().to_string());
        Ok(blob)
    }
}

#[async_trait]
impl Repository for Remembered {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn resolve(&self, version: &Version) -> Result<Descriptor, Error> {
        match (version, &self.live) {
            (Version::Tag(tag), Some(live)) => {
                let found = live.resolve(version).await;
                self.seen.lock().answered(tag, &found);
                found
            }
            (Version::Tag(tag), None) => {
                let missing = || self.missing(&version.to_string());
                let found = match self.recalled_tag(tag) {
                    Some(Some(found)) => Ok(found),
                    Some(None) => Err(missing()),
                    None => Err(Error::Unasked(missing().to_string())),
                };
                self.seen.lock().answered(tag, &found);
                found
            }
            (Version::Digest(digest), live) => {
                if self.knows(digest)
                    && let Some(blob) = self.here(digest).await?
                    && blob.size() <= MAX_MANIFEST_BYTES
                {
                    let media_type = match document::read(&blob.read().await?, None)? {
                        Document::Manifest(manifest) => {
                            manifest.media_type().clone().unwrap_or(MediaType::ImageManifest)
                        }
                        Document::Index(index) => index.media_type().clone().unwrap_or(MediaType::ImageIndex),
                    };
                    return Ok(Descriptor::new(media_type, blob.size(), digest.clone()));
                }
                match live {
                    Some(live) => live.resolve(version).await,
                    None => Err(self.missing(&version.to_string())),
                }
            }
        }
    }

    async fn manifest(&self, digest: &Digest) -> Result<Bytes, Error> {
        if (self.live.is_some() || self.knows(digest))
            && let Some(blob) = self.here(digest).await?
            && blob.size() <= MAX_MANIFEST_BYTES
        {
            return blob.read().await;
        }
        let missing = || self.missing(&Version::Digest(digest.clone()).to_string());
        let bytes = self.live.as_ref().ok_or_else(missing)?.manifest(digest).await?;
        self.put(bytes.clone()).await?;
        Ok(bytes)
    }

    async fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let (digest, size) = (descriptor.digest(), descriptor.size());
        let blob = match (self.here(digest).await?, &self.live) {
            (Some(blob), _) => blob,
            (None, None) => return Err(self.missing(&Version::Digest(digest.clone()).to_string())),
            (None, Some(live)) if size <= MAX_DOCUMENT_BYTES => {
                self.put(read_blob(live.as_ref(), descriptor, MAX_DOCUMENT_BYTES).await?).await?
            }
            (None, Some(live)) => {
                self.seen.lock().passed.insert(digest.to_string(), size);
                return live.blob(descriptor, offset).await;
            }
        };
        if blob.size() != size {
            return Err(Error::Invalid(format!(
                "`{digest}` is of {} bytes, and its manifest says {size}",
                blob.size()
            )));
        }
        Ok(blob.stream(offset))
    }

    async fn blob_after(&self, mirror: &Mirror, descriptor: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        match &self.live {
            Some(live) => live.blob_after(mirror, descriptor, offset).await,
            None => self.blob(descriptor, offset).await,
        }
    }

    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        let found = match &self.live {
            Some(live) => live.referrers(subject).await?,
            None => self.recalled_referrers(subject).ok_or_else(|| {
                Error::Unasked(format!(
                    "what refers to `{}{}` was not asked for when it was pulled, and nobody is asked for it now",
                    self.name,
                    Version::Digest(subject.clone())
                ))
            })?,
        };
        self.seen.lock().referrers.insert(subject.to_string(), found.clone());
        Ok(found)
    }

    async fn push_blob(&self, descriptor: &Descriptor, bytes: Bytes) -> Result<(), Error> {
        let digest = sha256(&bytes);
        if digest != *descriptor.digest() {
            return Err(Error::Invalid(format!("what was to be stored as `{}` is `{digest}`", descriptor.digest())));
        }
        if let Some(live) = &self.live {
            live.push_blob(descriptor, bytes.clone()).await?;
        }
        self.put(bytes).await.map(drop)
    }

    async fn push_blob_from(&self, from: &dyn Repository, descriptor: &Descriptor, limit: u64) -> Result<(), Error> {
        let blob = self.store.fetch(from, descriptor, limit, &Progress::default()).await?;
        self.saw(&blob);
        match &self.live {
            Some(live) => live.push_blob(descriptor, blob.read().await?).await,
            None => Ok(()),
        }
    }

    async fn push_manifest(&self, tag: Option<&str>, media_type: &str, bytes: Bytes) -> Result<Digest, Error> {
        let document = document::read(&bytes, Some(media_type))?;
        if let Some(live) = &self.live {
            live.push_manifest(tag, media_type, bytes.clone()).await?;
        }
        let blob = self.put(bytes).await?;
        let mut descriptor = Descriptor::new(MediaType::from(media_type), blob.size(), blob.digest().clone());
        let subject = match &document {
            Document::Manifest(manifest) => manifest.subject(),
            Document::Index(index) => index.subject(),
        };
        // Of what is only here, whoever brings it brings all there is: of what does not come it is known that it is not there.
        let companions = if self.live.is_none() { companion_tags(blob.digest())?.to_vec() } else { Vec::new() };
        let absent: Vec<_> = companions.into_iter().filter(|tag| self.recalled_tag(tag).is_none()).collect();
        let own = (self.live.is_none()).then(|| self.recalled_referrers(blob.digest()).unwrap_or_default());
        let of_subject = subject.as_ref().and_then(|subject| self.recalled_referrers(subject.digest()));
        let mut seen = self.seen.lock();
        seen.absent.extend(absent);
        if let Some(own) = own {
            seen.referrers.insert(blob.digest().to_string(), own);
        }
        if let Some(tag) = tag {
            seen.answered(tag, &Ok(descriptor.clone()));
        }
        if let Some(subject) = subject {
            if let Document::Manifest(manifest) = &document {
                let config = || manifest.config().media_type().clone();
                descriptor.set_artifact_type(Some(manifest.artifact_type().clone().unwrap_or_else(config)));
            }
            let referrers =
                seen.referrers.entry(subject.digest().to_string()).or_insert(of_subject.unwrap_or_default());
            if !referrers.iter().any(|known| known.digest() == descriptor.digest()) {
                referrers.push(descriptor);
            }
        }
        Ok(blob.digest().clone())
    }
}
