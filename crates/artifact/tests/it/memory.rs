//! A repository in memory that counts what it is asked, and fails on request.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;
use samara_artifact::{BlobStream, Descriptor, Digest, Error, MediaType, Repository, Version, repository::sha256};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What it does to the blobs that it sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Bytes of a piece.
    pub(crate) chunk: usize,
    /// How long a piece takes.
    pub(crate) pause: Duration,
    /// Pieces after which the connection breaks, on each request.
    pub(crate) breaks_after: Option<usize>,
    /// Whether it always begins at the first byte.
    pub(crate) ignores_offset: bool,
    /// Sends this many bytes too many (or too few, if negative).
    pub(crate) surplus: i64,
    /// Whether the last byte is another one.
    pub(crate) flips: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            chunk: 64 << 10,
            pause: Duration::ZERO,
            breaks_after: None,
            ignores_offset: false,
            surplus: 0,
            flips: false,
        }
    }
}

/// Blobs, manifests and tags in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) name: String,
    pub(crate) manner: Manner,
    /// Requests for blobs.
    pub(crate) requests: AtomicUsize,
    /// Bytes of blobs that were sent.
    pub(crate) sent: AtomicU64,
    /// Where each request for a blob began.
    pub(crate) offsets: Mutex<Vec<u64>>,
    blobs: Mutex<HashMap<String, (String, Bytes)>>,
    tags: Mutex<HashMap<String, Descriptor>>,
    referrers: Mutex<HashMap<String, Vec<Descriptor>>>,
}

impl Memory {
    pub(crate) fn new(manner: Manner) -> Self {
        Self { name: "memory".to_owned(), manner, ..Self::default() }
    }

    /// Adds bytes of a media type.
    pub(crate) fn add(&self, media_type: &str, bytes: impl Into<Bytes>) -> Descriptor {
        let bytes = bytes.into();
        let digest = sha256(&bytes);
        let descriptor = Descriptor::new(MediaType::from(media_type), bytes.len() as u64, digest.clone());
        self.blobs.lock().insert(digest.to_string(), (media_type.to_owned(), bytes));
        descriptor
    }

    /// What a registry would answer for what is behind `/v2/NAME/`: the media type and the bytes.
    pub(crate) fn answer(&self, path: &str) -> Option<(String, Bytes)> {
        let (kind, name) = path.split_once('/')?;
        let digest = name.parse::<Digest>().ok().or_else(|| Some(self.tags.lock().get(name)?.digest().clone()));
        match kind {
            "manifests" | "blobs" => self.found(&digest?).ok(),
            "referrers" => {
                let manifests = self.referrers.lock().get(name).cloned().unwrap_or_default();
                let index = serde_json::json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
                Some((INDEX.to_owned(), index.to_string().into()))
            }
            _ => None,
        }
    }

    fn found(&self, digest: &Digest) -> Result<(String, Bytes), Error> {
        let missing = || Error::NotFound(format!("`{}` has no `{digest}`", self.name));
        self.blobs.lock().get(digest.as_ref()).cloned().ok_or_else(missing)
    }
}

#[async_trait]
impl Repository for Memory {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn resolve(&self, version: &Version) -> Result<Descriptor, Error> {
        match version {
            Version::Tag(tag) => {
                let missing = || Error::NotFound(format!("`{}` has no tag `{tag}`", self.name));
                self.tags.lock().get(tag).cloned().ok_or_else(missing)
            }
            Version::Digest(digest) => {
                let (media_type, bytes) = self.found(digest)?;
                Ok(Descriptor::new(MediaType::from(media_type.as_str()), bytes.len() as u64, digest.clone()))
            }
        }
    }

    async fn manifest(&self, digest: &Digest) -> Result<Bytes, Error> {
        Ok(self.found(digest)?.1)
    }

    async fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let Manner { chunk, pause, breaks_after, ignores_offset, surplus, flips } = self.manner;
        let mut bytes = self.found(descriptor.digest())?.1.to_vec();
        if flips {
            *bytes.last_mut().unwrap() ^= 1;
        }
        bytes.resize(bytes.len().checked_add_signed(isize::try_from(surplus).unwrap()).unwrap(), 7);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.offsets.lock().push(offset);
        let offset = if ignores_offset { 0 } else { offset };
        let bytes = Bytes::from(bytes).slice(usize::try_from(offset).unwrap()..);
        let pieces: Vec<_> = bytes.chunks(chunk).map(|piece| bytes.slice_ref(piece)).collect();
        let sent = pieces.iter().take(breaks_after.unwrap_or(usize::MAX)).map(|piece| piece.len() as u64).sum();
        self.sent.fetch_add(sent, Ordering::Relaxed);
        let pieces = pieces.into_iter().enumerate().map(move |(at, piece)| match breaks_after {
            Some(last) if at >= last => Err(Error::Unreachable("the connection broke".to_owned())),
            _ => Ok(piece),
        });
        let slow = stream::iter(pieces).then(move |piece| async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            piece
        });
        Ok(BlobStream::new(offset, slow.boxed()))
    }

    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        Ok(self.referrers.lock().get(subject.as_ref()).cloned().unwrap_or_default())
    }

    async fn push_blob(&self, descriptor: &Descriptor, bytes: Bytes) -> Result<(), Error> {
        let added = self.add(descriptor.media_type().as_ref(), bytes);
        assert_eq!(added.digest(), descriptor.digest(), "what is pushed is not what its descriptor says");
        Ok(())
    }

    async fn push_manifest(&self, tag: Option<&str>, media_type: &str, bytes: Bytes) -> Result<Digest, Error> {
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let descriptor = self.add(media_type, bytes);
        if let Some(subject) = json["subject"]["digest"].as_str() {
            self.referrers.lock().entry(subject.to_owned()).or_default().push(descriptor.clone());
        }
        if let Some(tag) = tag {
            self.tags.lock().insert(tag.to_owned(), descriptor.clone());
        }
        Ok(descriptor.digest().clone())
    }
}
