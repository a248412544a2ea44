//! An OCI image layout as a [`Repository`]: a folder, or a tar of one, read and written as skopeo and oras do.
//! <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>
//!
//! ```text
//! oci-layout             {"imageLayoutVersion":"1.0.0"}
//! index.json             what there is, with its tags (annotation `org.opencontainers.image.ref.name`)
//! blobs/sha256/<hex>     manifests and blobs
//! ```
//!
//! Layouts come from strangers. Nothing in one is a path that we follow: blobs are asked for by their digits, and links,
//! devices and what is twice there are refused. Manifests are checked here, blobs by whoever reads them, as everywhere.
//!
//! Which manifests `index.json` lists: those with a tag, those that refer to a subject (which is how oras finds them), and
//! roots that were written without a tag. The children of an index are not listed once the index is.

mod archive;
mod folder;
mod index;
mod listed;

use std::{collections::HashSet, fmt, path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use oci_spec::image::{Descriptor, Digest, ImageIndex, MediaType};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

pub(super) use self::index::fallback_tag;
use self::{
    archive::Archive,
    folder::Folder,
    index::{accompanies, as_referrer, empty_index, media_type_of, read_index, read_marker, subject_of, tag_of, with},
    listed::Listed,
};
use super::{blob::Span, blocking};
use crate::{
    BlobStream, Error, Repository, Version,
    bounds::{MAX_MANIFEST_BYTES, MAX_MANIFESTS},
    bundle::listed,
    document::{self, Document},
    repository::{digest_of, sha256},
};

/// The annotation that is a tag.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The file that says that this is a layout.
const MARKER_NAME: &str = "oci-layout";
/// What is in it.
const MARKER: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// Bytes of it that are read.
const MAX_MARKER_BYTES: u64 = 4 << 10;
/// The file that lists what there is.
const INDEX_NAME: &str = "index.json";

/// An image layout. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct ImageLayout(Arc<Place>);

/// A layout that is open. Everything here blocks.
struct Place {
    files: Files,
    /// What its manifests refer to, and the `index.json` of which that was read.
    listed: Mutex<Option<(Arc<ImageIndex>, Arc<Listed>)>>,
}

/// Where a layout's files are.
enum Files {
    Folder(Folder),
    Archive(Archive),
}

impl ImageLayout {
    /// Opens a layout to be read: a folder, or with `archive` a tar of one.
    ///
    /// # Errors
    /// There is none, or it is none; a tar has an entry that no layout has use for: a link, a device, a path that leads out.
    pub async fn open(path: &Path, archive: bool) -> Result<Self, Error> {
        let path = path.to_owned();
        blocking(move || {
            let archived = || Archive::open(&path).map(Files::Archive);
            let files = if archive { archived()? } else { Files::Folder(Folder::open(&path)?) };
            Ok(Self(Arc::new(Place { files, listed: Mutex::default() })))
        })
        .await
        .map_err(Error::harmless)
    }

    /// Opens a layout to be written as well. A folder may be a layout already, which is added to. A tar is made anew beside
    /// `path`, and takes its place when [`ImageLayout::finish`] is called; until then a file of that name stays as it is.
    ///
    /// # Errors
    /// It cannot be written, or the folder has other things in it.
    pub async fn create(path: &Path, archive: bool) -> Result<Self, Error> {
        let path = path.to_owned();
        blocking(move || {
            let archived = || Archive::create(&path).map(Files::Archive);
            let files = if archive { archived()? } else { Files::Folder(Folder::create(&path)?) };
            Ok(Self(Arc::new(Place { files, listed: Mutex::default() })))
        })
        .await
    }

    /// Ends a tar that was created; what is not ended is removed. A folder needs no end.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn finish(&self) -> Result<(), Error> {
        let place = Arc::clone(&self.0);
        blocking(move || match &place.files {
            Files::Folder(_) => Ok(()),
            Files::Archive(archive) => archive.finish(),
        })
        .await
    }

    /// What it lists: tags, where there are, and manifests.
    ///
    /// # Errors
    /// `index.json` is too large or not what it should be.
    pub async fn list(&self) -> Result<Vec<(Option<String>, Descriptor)>, Error> {
        let index = self.index().await?;
        Ok(index.manifests().iter().map(|found| (tag_of(found).map(str::to_owned), found.clone())).collect())
    }

    /// The one artifact in it, for when nobody said which: tags and manifests that only accompany another do not count.
    ///
    /// # Errors
    /// There is none, or there are several, which the message lists.
    pub async fn only(&self) -> Result<Version, Error> {
        let index = self.index().await?;
        let tags: Vec<_> = index.manifests().iter().filter_map(tag_of).filter(|tag| !accompanies(tag)).collect();
        if let [tag] = tags[..] {
            return Ok(Version::Tag(tag.to_owned()));
        }
        if tags.is_empty() {
            let listed = self.listed().await?;
            let mut seen = HashSet::new();
            let untagged = index.manifests().iter().filter(|found| tag_of(found).is_none()).map(Descriptor::digest);
            let roots: Vec<_> =
                untagged.filter(|digest| !listed.refers(digest) && seen.insert(digest.to_string())).collect();
            if let [root] = roots[..] {
                return Ok(Version::Digest(root.clone()));
            }
        }
        let name = self.name();
        Err(Error::NotFound(match tags[..] {
            [] => format!("`{name}` has no tag; write `{name}@sha256:...`"),
            _ => format!(
                "`{name}` has {} tags, write one: {}",
                tags.len(),
                listed(tags.iter().map(|tag| tag.escape_debug().to_string()))
            ),
        }))
    }

    async fn index(&self) -> Result<Arc<ImageIndex>, Error> {
        let place = Arc::clone(&self.0);
        blocking(move || place.index()).await.map_err(Error::harmless)
    }

    async fn listed(&self) -> Result<Arc<Listed>, Error> {
        let place = Arc::clone(&self.0);
        blocking(move || place.listed()).await.map_err(Error::harmless)
    }

    async fn span(&self, digest: &Digest) -> Result<Span, Error> {
        let (place, wanted) = (Arc::clone(&self.0), digest.clone());
        let missing = || Error::NotFound(format!("`{}` has no `{digest}`", self.name()));
        blocking(move || place.blob(&wanted)).await?.ok_or_else(missing)
    }
}

impl Place {
    /// How messages name it.
    fn name(&self) -> String {
        match &self.files {
            Files::Folder(folder) => format!("oci:{}", folder.path().display()),
            Files::Archive(archive) => format!("oci-archive:{}", archive.path().display()),
        }
    }

    fn index(&self) -> Result<Arc<ImageIndex>, Error> {
        match &self.files {
            Files::Folder(folder) => folder.index(),
            Files::Archive(archive) => Ok(archive.index()),
        }
    }

    /// What the manifests of `index.json` refer to, read once as long as that stays what it is.
    fn listed(&self) -> Result<Arc<Listed>, Error> {
        let index = self.index()?;
        if let Some((of, listed)) = &*self.listed.lock()
            && Arc::ptr_eq(of, &index)
        {
            return Ok(Arc::clone(listed));
        }
        let listed = Arc::new(Listed::read(self, &index)?);
        *self.listed.lock() = Some((index, Arc::clone(&listed)));
        Ok(listed)
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Span>, Error> {
        match &self.files {
            Files::Folder(folder) => folder.blob(digest),
            Files::Archive(archive) => archive.blob(digest),
        }
    }

    /// A manifest whose bytes are where `span` says, checked.
    fn manifest(&self, digest: &Digest, span: &Span) -> Result<Bytes, Error> {
        let name = self.name();
        if span.size > MAX_MANIFEST_BYTES {
            return Err(Error::OverLimit(format!(
                "the manifest `{digest}` in `{name}` is of {} bytes, and at most {MAX_MANIFEST_BYTES} are read",
                span.size
            )));
        }
        let bytes = span.read()?;
        match sha256(&bytes) {
            found if found == *digest => Ok(bytes),
            found => Err(Error::Invalid(format!("what `{name}` has as `{digest}` is `{found}`"))),
        }
    }

    /// Lists a manifest that was just stored.
    fn list(&self, added: &Descriptor, tag: Option<&str>, document: &Document) -> Result<(), Error> {
        let add = |index: ImageIndex| with(index, added, tag, document);
        match &self.files {
            Files::Folder(folder) => folder.update(add),
            Files::Archive(archive) => archive.update(add),
        }
    }

    fn writer(&self, size: u64) -> Result<Writer, Error> {
        match &self.files {
            Files::Folder(folder) => folder.writer().map(Writer::Folder),
            Files::Archive(archive) => archive.writer(size).map(Writer::Archive),
        }
    }
}

/// A blob that is being written. One that is dropped before its end leaves nothing.
enum Writer {
    Folder(folder::BlobWriter),
    Archive(archive::BlobWriter),
}

impl Writer {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Self::Folder(writer) => writer.write(bytes),
            Self::Archive(writer) => writer.write(bytes),
        }
    }

    /// Gives it its name; the caller has checked the digest.
    fn finish(self, digest: &Digest) -> Result<(), Error> {
        match self {
            Self::Folder(writer) => writer.finish(digest),
            Self::Archive(writer) => writer.finish(digest),
        }
    }
}

#[async_trait]
impl Repository for ImageLayout {
    fn name(&self) -> String {
        self.0.name()
    }

    async fn resolve(&self, version: &Version) -> Result<Descriptor, Error> {
        let index = self.index().await?;
        match version {
            Version::Tag(tag) => {
                let found = index.manifests().iter().find(|found| tag_of(found) == Some(tag));
                let found = found.ok_or_else(|| {
                    let tags: Vec<_> =
                        index.manifests().iter().filter_map(tag_of).filter(|tag| !accompanies(tag)).collect();
                    let name = self.name();
                    Error::NotFound(format!(
                        "`{name}` has no tag `{tag}`; it has {}",
                        listed(tags.iter().map(|tag| tag.escape_debug().to_string()))
                    ))
                })?;
                document::only_sha256(found.digest())?;
                Ok(Descriptor::new(found.media_type().clone(), found.size(), found.digest().clone()))
            }
            Version::Digest(digest) => {
                let bytes = self.manifest(digest).await?;
                let listed = index.manifests().iter().find(|found| found.digest() == digest);
                let media_type = match listed {
                    Some(listed) => listed.media_type().clone(),
                    None => media_type_of(&document::read(&bytes, None)?),
                };
                Ok(Descriptor::new(media_type, bytes.len() as u64, digest.clone()))
            }
        }
    }

    async fn manifest(&self, digest: &Digest) -> Result<Bytes, Error> {
        let span = self.span(digest).await?;
        let (place, digest) = (Arc::clone(&self.0), digest.clone());
        blocking(move || place.manifest(&digest, &span)).await
    }

    async fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let (digest, size) = (descriptor.digest(), descriptor.size());
        let span = self.span(digest).await?;
        if span.size != size {
            return Err(Error::Invalid(format!(
                "`{digest}` in `{}` is of {} bytes, and its manifest says {size}",
                self.name(),
                span.size
            )));
        }
        Ok(span.stream(offset))
    }

    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        let found = self.listed().await?.referrers(subject).to_vec();
        if found.len() > MAX_MANIFESTS {
            return Err(Error::OverLimit(format!(
                "`{subject}` in `{}` has more than the {MAX_MANIFESTS} referrers that are read",
                self.name()
            )));
        }
        Ok(found)
    }

    async fn push_blob(&self, descriptor: &Descriptor, bytes: Bytes) -> Result<(), Error> {
        let digest = sha256(&bytes);
        if digest != *descriptor.digest() {
            return Err(Error::Invalid(format!("what was to be stored as `{}` is `{digest}`", descriptor.digest())));
        }
        let place = Arc::clone(&self.0);
        blocking(move || place.store(&digest, &bytes)).await
    }

    async fn push_blob_from(&self, from: &dyn Repository, descriptor: &Descriptor, limit: u64) -> Result<(), Error> {
        let (digest, size) = (descriptor.digest().clone(), descriptor.size());
        if size > limit {
            return Err(Error::OverLimit(format!(
                "`{digest}` in `{}` is of {size} bytes, and at most {limit} are copied",
                from.name()
            )));
        }
        let (place, wanted) = (Arc::clone(&self.0), digest.clone());
        if blocking(move || place.holds(&wanted)).await? {
            return Ok(());
        }
        let mut chunks = from.blob(descriptor, 0).await?.chunks;
        let place = Arc::clone(&self.0);
        let mut writer = blocking(move || place.writer(size)).await?;
        let (mut hash, mut length) = (Sha256::new(), 0u64);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            length = length.saturating_add(chunk.len() as u64);
            if length > size {
                break;
            }
            (writer, hash) = blocking(move || {
                hash.update(&chunk);
                writer.write(&chunk).map(|()| (writer, hash))
            })
            .await?;
        }
        let found = digest_of(hash);
        if length != size || found != digest {
            return Err(Error::Invalid(format!(
                "what `{}` sent as `{digest}` ({size} bytes) is `{found}` ({length} bytes)",
                from.name()
            )));
        }
        blocking(move || writer.finish(&digest)).await
    }

    async fn push_manifest(&self, tag: Option<&str>, media_type: &str, bytes: Bytes) -> Result<Digest, Error> {
        let document = document::read(&bytes, Some(media_type))?;
        let digest = sha256(&bytes);
        let descriptor = Descriptor::new(MediaType::from(media_type), bytes.len() as u64, digest.clone());
        let (place, tag) = (Arc::clone(&self.0), tag.map(str::to_owned));
        blocking(move || {
            place.store(&digest, &bytes)?;
            place.list(&descriptor, tag.as_deref(), &document)?;
            Ok(digest)
        })
        .await
    }
}

impl Place {
    /// Whether a blob is there and whole.
    fn holds(&self, digest: &Digest) -> Result<bool, Error> {
        match self.blob(digest)? {
            Some(span) => span.has_digest(digest),
            None => Ok(false),
        }
    }

    fn store(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
        if self.holds(digest)? {
            return Ok(());
        }
        let mut writer = self.writer(bytes.len() as u64)?;
        writer.write(bytes)?;
        writer.finish(digest)
    }
}

impl fmt::Debug for ImageLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ImageLayout").field(&self.name()).finish()
    }
}
